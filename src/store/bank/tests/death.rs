//! Replicas that die, are cut off, and come back.

use std::time::Duration;

use tollway_test_support::Redis;

use crate::budget::Why;
use crate::units::NanoUsd;

use super::wire::Wire;
use super::{Replica, budget, demand, level, until};

const LEASE: Duration = Duration::from_millis(600);

fn short(options: &mut super::Options) {
    options.lease = LEASE;
}

#[tokio::test]
async fn r38_what_a_dead_replica_held_is_charged_once_by_another_after_its_lease() {
    let redis = Redis::start().await;
    let a = Replica::open(redis.url(), "a", short).await;
    let mut b = Replica::open(redis.url(), "b", short).await;
    let mut c = Replica::open(redis.url(), "c", short).await;
    let budget = budget("team/d", 10_000);
    let mut demands: Vec<_> = (0..20).map(|_| demand(&budget, 100)).collect();
    for demand in &mut demands {
        let scope = budget.scope.clone();
        demand.places.push(std::sync::Arc::new(crate::budget::Concurrency { scope, max: 20 }));
        a.admit(demand).await.unwrap();
    }
    a.bank.settle(demands[0].id, NanoUsd(30), 0);
    a.told().await;
    assert_eq!(level(&b, &budget).await, (30, 1_900));
    a.die();
    let mut inherited = Vec::new();
    for _ in 0..19 {
        let hold = tokio::select! {
            hold = b.inherited.recv() => hold.inspect(|hold| drop(b.bank.settle(hold.id, hold.amount, 0))),
            hold = c.inherited.recv() => hold.inspect(|hold| drop(c.bank.settle(hold.id, hold.amount, 0))),
            () = tokio::time::sleep(super::PATIENCE) => panic!("only {}", inherited.len()),
        };
        let hold = hold.unwrap();
        assert_eq!((hold.amount, hold.lines.len(), &*hold.lines[0].budget), (NanoUsd(100), 1, "team/d"));
        inherited.push(hold.id);
    }
    b.told().await;
    c.told().await;
    assert_eq!(level(&b, &budget).await, (1_930, 0), "nothing stays held");
    assert!(b.inherited.try_recv().is_err() && c.inherited.try_recv().is_err());
    let mut all: Vec<_> = demands[1..].iter().map(|demand| demand.id).collect();
    all.sort_unstable();
    inherited.sort_unstable();
    assert_eq!(inherited, all);
    // Its places are free too.
    for mut demand in (0..20).map(|_| demand(&budget, 1)) {
        demand.places.clone_from(&demands[0].places);
        b.admit(&demand).await.unwrap();
    }
    // Returning, the dead is told which of its holds are charged already.
    let again = Replica::beside(redis.url(), "a", short);
    let ids: Vec<_> = demands.iter().map(|demand| demand.id).collect();
    let mut gone = again.bank.reclaim(&ids).await.unwrap();
    gone.sort_unstable();
    assert_eq!(gone, all);
}

#[tokio::test]
async fn a_replica_that_comes_back_within_its_lease_keeps_what_its_ledger_has() {
    let redis = Redis::start().await;
    let long = |options: &mut super::Options| options.lease = Duration::from_secs(30);
    let a = Replica::open(redis.url(), "a", long).await;
    let mut b = Replica::open(redis.url(), "b", long).await;
    let budget = budget("team/k", 10_000);
    let demands: Vec<_> = (0..3).map(|_| demand(&budget, 100)).collect();
    for demand in &demands {
        a.admit(demand).await.unwrap();
    }
    a.bank.settle(demands[0].id, NanoUsd(40), 0);
    a.told().await;
    let line = a.bank.inner().account.holds[&demands[1].id].lines().remove(0);
    a.die();
    // It had journalled the second, and died before it had the third.
    let again = Replica::beside(redis.url(), "a", long);
    again.bank.load(&line, NanoUsd(140));
    assert_eq!(again.bank.reclaim(&[demands[1].id]).await.unwrap(), []);
    again.opened().await;
    assert_eq!(level(&b, &budget).await, (140, 0));
    assert!(b.inherited.try_recv().is_err());
}

#[tokio::test]
async fn a_replica_that_was_cut_off_does_not_charge_what_another_has_charged() {
    let redis = Redis::start().await;
    let wire = Wire::to(redis.url()).await;
    let a = Replica::open(&wire.url(), "a", short).await;
    let mut b = Replica::open(redis.url(), "b", short).await;
    let budget = budget("team/x", 10_000);
    let one = demand(&budget, 100);
    a.admit(&one).await.unwrap();
    wire.cut();
    let refusal = loop {
        if let Err(refusal) = a.admit(&demand(&budget, 1)).await {
            break refusal;
        }
    };
    assert_eq!(refusal.why, Why::StoreLost);
    let hold = b.inherited.recv().await.unwrap();
    assert!(b.bank.settle(hold.id, hold.amount, 0).was_held);
    wire.lay(redis.url());
    a.opened().await;
    assert!(!a.bank.settle(one.id, NanoUsd(70), 0).was_held, "the other has charged it");
    let two = demand(&budget, 10);
    a.admit(&two).await.unwrap();
    a.bank.settle(two.id, NanoUsd(5), 0);
    a.told().await;
    b.told().await;
    assert_eq!(level(&b, &budget).await, (105, 0));
}

#[tokio::test]
async fn who_dies_while_it_charges_for_the_dead_is_charged_for_in_turn() {
    let redis = Redis::start().await;
    let a = Replica::open(redis.url(), "a", short).await;
    let b = Replica::open(redis.url(), "b", short).await;
    let budget = budget("team/t", 10_000);
    a.admit(&demand(&budget, 100)).await.unwrap();
    a.die();
    until("b has taken it", || !b.bank.inner().account.holds.is_empty()).await;
    b.die();
    // Nobody is left: the next life of b is handed it again.
    let mut again = Replica::open(redis.url(), "b", short).await;
    let hold = again.inherited.recv().await.unwrap();
    assert_eq!(hold.amount, NanoUsd(100));
    again.bank.settle(hold.id, hold.amount, 0);
    again.told().await;
    assert_eq!(level(&again, &budget).await, (100, 0));
}

#[tokio::test]
async fn after_a_pause_longer_than_the_lease_nobody_is_taken_for_dead() {
    let redis = Redis::start().await;
    let mut replicas = Vec::new();
    for name in ["a", "b", "c"] {
        replicas.push(Replica::open(redis.url(), name, short).await);
    }
    let budget = budget("team/z", 10_000);
    for replica in &replicas {
        replica.admit(&demand(&budget, 100)).await.unwrap();
    }
    redis.pause();
    tokio::time::sleep(LEASE * 3).await;
    redis.resume();
    for replica in &replicas {
        replica.opened().await;
        replica.told().await;
    }
    tokio::time::sleep(LEASE * 2).await;
    assert_eq!(level(&replicas[0], &budget).await, (0, 300));
    for replica in &mut replicas {
        assert!(replica.inherited.try_recv().is_err());
    }
}
