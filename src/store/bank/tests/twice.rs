//! What is settled more than once: by one replica, by two, and told again after a connection broke.

use tollway_test_support::Redis;

use crate::units::NanoUsd;

use super::wire::Wire;
use super::{Replica, budget, demand, level};

#[tokio::test]
async fn r32_a_hold_that_is_settled_twice_from_two_replicas_counts_once() {
    let redis = Redis::start().await;
    let wire = Wire::to(redis.url()).await;
    let a = Replica::open(&wire.url(), "a", |_| ()).await;
    let b = Replica::open(redis.url(), "b", |_| ()).await;
    let budget = budget("team/twice", 10_000);
    let one = demand(&budget, 100);
    a.admit(&one).await.unwrap();
    assert!(a.bank.settle(one.id, NanoUsd(70), 0).was_held);
    for other in [&a, &b, &a, &b] {
        assert!(!other.bank.settle(one.id, NanoUsd(70), 0).was_held);
    }
    a.told().await;
    b.told().await;
    assert_eq!(level(&b, &budget).await, (70, 0));
    // All that it has spent is told again over another connection, and another.
    for _ in 0..3 {
        wire.cut();
        // Noticed, or not yet: either way it joins anew with all that it knows.
        let _ = a.admit(&demand(&budget, 1)).await;
        wire.lay(redis.url());
        a.opened().await;
        a.bank.settle(one.id, NanoUsd(70), 0);
        a.told().await;
        assert_eq!(level(&b, &budget).await.0, 70);
    }
}
