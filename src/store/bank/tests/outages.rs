//! A Redis that is silent, gone, or cut off from one replica.

use std::time::{Duration, Instant};

use tollway_test_support::Redis;

use crate::budget::{OnStoreLoss, Rate, Unit, Why};
use crate::units::{Clock as _, NanoUsd};

use super::wire::Wire;
use super::{Replica, State, budget, demand, level, until};

#[tokio::test]
async fn r40_a_silent_redis_costs_a_few_requests_a_moment_and_the_rest_nothing() {
    let redis = Redis::start().await;
    let usual = |options: &mut super::Options| options.patience = Duration::from_millis(50);
    let a = Replica::open(redis.url(), "a", usual).await;
    let budget = budget("team/s", 1_000_000);
    a.admit(&demand(&budget, 1)).await.unwrap();
    redis.pause();
    let mut times = Vec::new();
    for _ in 0..200 {
        let (demand, began) = (demand(&budget, 1), Instant::now());
        let refusal = a.admit(&demand).await.unwrap_err();
        times.push(began.elapsed());
        assert_eq!(refusal.why, Why::StoreLost);
        assert!(refusal.retry_after.is_some());
    }
    times.sort_unstable();
    // One waits as long as an answer is waited for; a busy machine may add to it.
    assert!(times[199] < Duration::from_millis(100), "{:?}", times[199]);
    let waited = times.iter().filter(|time| **time > Duration::from_millis(20)).count();
    assert!(waited <= 3 && times[180] < Duration::from_millis(1), "{:?}", &times[180..]);
    // Five seconds of it, and it is seen when it comes back.
    tokio::time::sleep(Duration::from_secs(5)).await;
    redis.resume();
    let began = Instant::now();
    a.opened().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(level(&a, &budget).await, (0, 1), "what was asked meanwhile holds nothing");
}

#[tokio::test]
async fn r40_a_slow_redis_costs_a_request_or_two_and_is_waited_for_from_then_on() {
    let redis = Redis::start().await;
    let wire = Wire::to(redis.url()).await;
    let usual = |options: &mut super::Options| {
        options.patience = Duration::from_millis(50);
        options.patience_max = Duration::from_secs(10);
        // Whatever else is heard makes up for a late answer.
        options.beat = Duration::from_secs(10);
    };
    let a = Replica::open(&wire.url(), "a", usual).await;
    let budget = budget("team/z", 1_000_000);
    for _ in 0..20 {
        a.admit(&demand(&budget, 1)).await.unwrap();
    }
    let joined = a.bank.inner().joined;
    wire.delay(Duration::from_millis(120));
    let began = Instant::now();
    assert_eq!(a.admit(&demand(&budget, 1)).await.unwrap_err().why, Why::StoreLost);
    assert!(began.elapsed() < Duration::from_millis(120), "{:?}", began.elapsed());
    let began = Instant::now();
    assert_eq!(a.admit(&demand(&budget, 1)).await.unwrap_err().why, Why::StoreLost);
    assert!(began.elapsed() < Duration::from_millis(20), "nobody else waits: {:?}", began.elapsed());
    let mut late = 0;
    for _ in 0..12 {
        a.opened().await;
        late += i64::from(a.admit(&demand(&budget, 1)).await.is_err());
    }
    assert!(late <= 2, "{late} of twelve");
    assert_eq!(a.bank.inner().joined, joined, "nothing was given up, and nothing had to be written anew");
    wire.delay(Duration::ZERO);
    a.told().await;
    assert_eq!(level(&a, &budget).await, (0, 32 - late), "what came late is taken back");
}

#[tokio::test]
async fn r41_each_request_is_treated_as_its_policy_says() {
    let redis = Redis::start().await;
    let wire = Wire::to(redis.url()).await;
    let a = Replica::open(&wire.url(), "a", |_| {}).await;
    let budget = budget("team/e", 2_000);
    let of = |on_loss, hold| crate::budget::Demand { on_loss, ..demand(&budget, hold) };
    let admit = async |one: &crate::budget::Demand| a.bank.admit(one, a.clock.now()).await;
    let first = of(OnStoreLoss::LocalShare, 10);
    admit(&first).await.unwrap();
    a.bank.settle(first.id, NanoUsd(10), 0);
    // Since a request asked for it, a slice is leased with the next beat.
    until("a slice", || a.bank.inner().account.balances.values().any(|balance| balance.slice > 0)).await;
    a.told().await;
    wire.cut();
    a.until(&[State::Lost]).await;
    let mut spent = 10;
    let mut go_on = async |on_loss| {
        for _ in 0..50 {
            let one = of(on_loss, 10);
            if admit(&one).await.is_err() {
                return;
            }
            a.bank.settle(one.id, NanoUsd(10), 0);
            spent += 10;
        }
    };
    go_on(OnStoreLoss::Refuse).await;
    go_on(OnStoreLoss::LocalShare).await;
    go_on(OnStoreLoss::Refuse).await;
    assert_eq!(spent, 110, "a twentieth, and that by those alone who may");
    let one = of(OnStoreLoss::Allow, 10);
    admit(&one).await.unwrap();
    a.bank.settle(one.id, NanoUsd(10), 0);
    wire.lay(redis.url());
    a.opened().await;
    a.told().await;
    assert_eq!(level(&a, &budget).await.0, 120, "all is told");
}

#[tokio::test]
async fn r41_what_goes_on_through_a_silence_is_told_when_it_ends() {
    let redis = Redis::start().await;
    let usual = |options: &mut super::Options| {
        options.patience = Duration::from_millis(50);
        options.on_loss = OnStoreLoss::Allow;
    };
    let a = Replica::open(redis.url(), "a", usual).await;
    let budget = budget("team/g", 1_000);
    let before = demand(&budget, 10);
    a.admit(&before).await.unwrap();
    redis.pause();
    // The first waits in vain and goes on by itself, so that it is asked for twice.
    let (during, settled) = (demand(&budget, 10), demand(&budget, 10));
    a.admit(&during).await.unwrap();
    a.admit(&settled).await.unwrap();
    a.bank.settle(settled.id, NanoUsd(7), 0);
    redis.resume();
    a.opened().await;
    a.told().await;
    assert_eq!(level(&a, &budget).await, (7, 20));
    a.bank.settle(during.id, NanoUsd(3), 0);
    a.bank.settle(before.id, NanoUsd(3), 0);
    a.told().await;
    assert_eq!(level(&a, &budget).await, (13, 0));
}

#[tokio::test]
async fn r40_a_bank_waits_for_a_redis_that_is_not_there_yet() {
    let mut redis = Redis::start().await;
    redis.kill9();
    let a = Replica::beside(redis.url(), "a", |_| {});
    let budget = budget("team/n", 100);
    assert_eq!(a.admit(&demand(&budget, 1)).await.unwrap_err().why, Why::StoreLost);
    redis.restart().await;
    a.opened().await;
    a.admit(&demand(&budget, 1)).await.unwrap();
}

/// Three replicas of which the first's wire is cut for a while, all asking all the time; what each was admitted for.
async fn partitioned(on_loss: OnStoreLoss, limit: i64) -> ([i64; 3], (i64, i64)) {
    let redis = Redis::start().await;
    let wire = Wire::to(redis.url()).await;
    let tweak = |options: &mut super::Options| options.on_loss = on_loss;
    let replicas = [
        Replica::open(&wire.url(), "a", tweak).await,
        Replica::open(redis.url(), "b", tweak).await,
        Replica::open(redis.url(), "c", tweak).await,
    ];
    let budget = budget("team/o", limit);
    let mut spent = [0; 3];
    for (replica, spent) in replicas.iter().zip(&mut spent) {
        let one = demand(&budget, 10);
        replica.admit(&one).await.unwrap();
        replica.bank.settle(one.id, NanoUsd(10), 0);
        *spent += 10;
    }
    for replica in &replicas {
        replica.told().await;
    }
    wire.cut();
    replicas[0].until(&[State::Lost]).await;
    for _ in 0..200 {
        for (replica, spent) in replicas.iter().zip(&mut spent) {
            let one = demand(&budget, 10);
            if replica.admit(&one).await.is_ok() {
                replica.bank.settle(one.id, NanoUsd(10), 0);
                *spent += 10;
            }
        }
    }
    wire.lay(redis.url());
    replicas[0].opened().await;
    for replica in &replicas {
        replica.told().await;
    }
    (spent, level(&replicas[1], &budget).await)
}

#[tokio::test]
async fn r41_refuse_spends_nothing_without_redis() {
    let (spent, (told, held)) = partitioned(OnStoreLoss::Refuse, 2_000).await;
    assert_eq!(spent[0], 10, "only what it had before");
    assert_eq!((spent.iter().sum::<i64>(), 0), (told, held));
    assert!((1_990..=2_000).contains(&told), "the others go on: {told}");
}

#[tokio::test]
async fn r41_a_local_share_is_spent_alone_and_never_more() {
    let (spent, (told, held)) = partitioned(OnStoreLoss::LocalShare, 2_000).await;
    assert!(spent[0] > 10 && spent[0] <= 10 + 100, "a twentieth of the limit: {spent:?}");
    assert_eq!(spent.iter().sum::<i64>(), told, "all is told later");
    assert!(told <= 2_000, "{told}");
    assert!(told + held <= 2_000, "what is still leased is of the budget too: {told} {held}");
}

#[tokio::test]
async fn r41_allow_counts_all_of_it_and_tells_it_later() {
    let (spent, (told, held)) = partitioned(OnStoreLoss::Allow, 2_000).await;
    assert_eq!(spent[0], 2_010, "without a bound");
    assert_eq!((spent.iter().sum::<i64>(), 0), (told, held));
    assert!(spent[1] + spent[2] <= 2_000);
}

#[tokio::test]
async fn r41_rates_and_places_go_on_by_a_replicas_share() {
    let redis = Redis::start().await;
    let wire = Wire::to(redis.url()).await;
    let a = Replica::open(&wire.url(), "a", |_| {}).await;
    let b = Replica::open(redis.url(), "b", |_| {}).await;
    a.told().await;
    b.told().await;
    a.told().await;
    wire.cut();
    a.until(&[State::Lost]).await;
    let scope = budget("any", 1).scope.clone();
    let ask = || {
        let mut demand = demand(&budget("any", 1), 0);
        demand.budgets.clear();
        demand.rates.push(std::sync::Arc::new(Rate {
            scope: scope.clone(),
            unit: Unit::Requests,
            per_minute: 60,
        }));
        demand
    };
    let mut passed = 0;
    while a.admit(&ask()).await.is_ok() {
        passed += 1;
    }
    assert_eq!(passed, 30, "half of a minute's worth: there are two");
    let why = a.admit(&ask()).await.unwrap_err().why;
    assert!(matches!(why, Why::Rate { per_minute: 60, .. }), "{why:?}");
}
