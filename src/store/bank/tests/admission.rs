//! Budgets, rates and places over several replicas.

use std::time::{Duration, Instant};

use tollway_test_support::Redis;

use crate::budget::{Concurrency, Rate, Unit, Why};
use crate::units::{Clock, NanoUsd};

use super::{Replica, budget, demand, level, until};

/// Calls of the scripts since the statistics were reset.
fn calls(redis: &Redis) -> u64 {
    let stats = redis.command(&[b"INFO", b"commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    line.and_then(|line| line.split(',').next()).map_or(0, |count| count.parse().unwrap())
}

async fn three(redis: &Redis, beat: Duration) -> Vec<Replica> {
    let mut replicas = Vec::new();
    for name in ["a", "b", "c"] {
        let tweak = |options: &mut super::Options| {
            options.beat = beat;
            // A thousand at once may take a busy machine longer than a request usually has.
            options.patience = Duration::from_secs(10);
        };
        replicas.push(Replica::open(redis.url(), name, tweak).await);
    }
    replicas
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_r35_of_a_thousand_at_once_on_three_replicas_those_ten_pass_that_there_is_room_for() {
    let redis = Redis::start().await;
    // No beat comes between while calls are counted.
    let replicas = three(&redis, Duration::from_mins(5)).await;
    let replicas = std::sync::Arc::new(replicas);
    for round in 0..10 {
        // Nobody has heard of the budget before: its first requests come all at once.
        let budget = budget(&format!("team/{round}"), 1_000);
        tokio::time::sleep(Duration::from_millis(20)).await;
        redis.command(&[b"CONFIG", b"RESETSTAT"]);
        let all = (0..1_000).map(|number| {
            let (replicas, demand) = (std::sync::Arc::clone(&replicas), demand(&budget, 100));
            tokio::spawn(async move { replicas[number % 3].admit(&demand).await.map(|_| demand.id) })
        });
        let (mut passed, mut refused) = (Vec::new(), 0);
        for asked in all.collect::<Vec<_>>() {
            match asked.await.unwrap() {
                Ok(id) => passed.push(id),
                Err(refusal) => {
                    assert!(matches!(refusal.why, Why::Budget { .. }), "{refusal:?}");
                    refused += 1;
                }
            }
        }
        assert_eq!((passed.len(), refused), (10, 990));
        assert_eq!(calls(&redis), 1_000, "one round trip each");
        assert_eq!(level(&replicas[0], &budget).await, (0, 1_000));
        for id in passed {
            for replica in &*replicas {
                // Only the one that holds it charges it, and once.
                replica.bank.settle(id, NanoUsd(60), 0);
                replica.bank.settle(id, NanoUsd(60), 0);
            }
        }
        let began = Instant::now();
        while level(&replicas[2], &budget).await != (600, 0) {
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", level(&replicas[2], &budget).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r36_three_replicas_together_keep_to_the_rate() {
    flood(Duration::from_secs(3), 6_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn r36_three_replicas_together_keep_to_the_rate_for_a_minute() {
    flood(Duration::from_mins(1), 6_000).await;
}

/// Asks for more than may come, and compares to what an ideal limiter lets pass.
async fn flood(span: Duration, per_minute: u64) {
    let redis = Redis::start().await;
    let replicas = three(&redis, Duration::from_secs(1)).await;
    let scope = budget("any", 1).scope.clone();
    let rate = std::sync::Arc::new(Rate { scope, unit: Unit::Requests, per_minute });
    let mut all = Vec::new();
    let mut burst = 0_u64;
    let ask = || {
        let mut demand = demand(&budget("any", 1), 0);
        demand.budgets.clear();
        demand.rates.push(std::sync::Arc::clone(&rate));
        demand
    };
    let began = Instant::now();
    // The burst first, so that what follows is the rate.
    while replicas[0].admit(&ask()).await.is_ok() {
        burst += 1;
    }
    let empty = began.elapsed();
    for replica in replicas {
        let rate = std::sync::Arc::clone(&rate);
        all.push(tokio::spawn(async move {
            let mut passed = 0_u64;
            while began.elapsed() < empty + span {
                let mut demand = demand(&budget("any", 1), 0);
                demand.budgets.clear();
                demand.rates.push(std::sync::Arc::clone(&rate));
                match replica.admit(&demand).await {
                    Ok(_) => passed += 1,
                    Err(refusal) => {
                        assert!(matches!(refusal.why, Why::Rate { .. }), "{refusal:?}");
                        let wait = refusal.retry_after.unwrap();
                        assert!(wait <= Duration::from_secs(1), "a wait that is true: {wait:?}");
                        // Not all at the same moment.
                        tokio::time::sleep(wait / 3).await;
                    }
                }
            }
            passed
        }));
    }
    let mut passed = burst;
    for one in all {
        passed += one.await.unwrap();
    }
    let ideal = per_minute as f64 + per_minute as f64 / 60.0 * began.elapsed().as_secs_f64();
    let off = (passed as f64 - ideal).abs() / ideal;
    assert!(off <= 0.01, "{passed} of {ideal}");
}

#[tokio::test]
async fn places_are_of_all_replicas_and_free_again_at_the_end() {
    let redis = Redis::start().await;
    let replicas = three(&redis, Duration::from_millis(50)).await;
    let bound = std::sync::Arc::new(Concurrency { scope: budget("any", 1).scope.clone(), max: 2 });
    let ask = || {
        let mut demand = demand(&budget("team/p", 1_000), 1);
        demand.places.push(std::sync::Arc::clone(&bound));
        demand
    };
    let (first, second) = (ask(), ask());
    replicas[0].admit(&first).await.unwrap();
    replicas[1].admit(&second).await.unwrap();
    let refusal = replicas[2].admit(&ask()).await.unwrap_err();
    assert!(matches!(refusal.why, Why::Places { max: 2, .. }), "{refusal:?}");
    replicas[0].bank.settle(first.id, NanoUsd(1), 0);
    replicas[0].told().await;
    replicas[2].admit(&ask()).await.unwrap();
}

#[tokio::test]
async fn holds_grow_within_the_budget_and_shrink_at_once() {
    let redis = Redis::start().await;
    let replicas = three(&redis, Duration::from_millis(50)).await;
    let [a, b, ..] = &replicas[..] else { panic!() };
    let budget = budget("team/g", 1_000);
    let one = demand(&budget, 600);
    a.admit(&one).await.unwrap();
    let now = || a.clock.now();
    assert!(!a.bank.grow(one.id, NanoUsd(401), now()).await);
    assert!(a.bank.grow(one.id, NanoUsd(400), now()).await);
    assert_eq!(level(b, &budget).await, (0, 1_000));
    a.bank.shrink(one.id, NanoUsd(100));
    a.told().await;
    assert_eq!(level(b, &budget).await, (0, 100));
    b.admit(&demand(&budget, 900)).await.unwrap();
    assert!(!b.bank.grow(one.id, NanoUsd(0), now()).await, "not its own");
    let settled = a.bank.settle(one.id, NanoUsd(990), 0);
    assert!(settled.was_held, "a provider may bill past its bound");
    assert_eq!(settled.crossed.iter().map(|crossed| crossed.percent).collect::<Vec<_>>(), [80]);
    a.told().await;
    assert_eq!(level(b, &budget).await, (990, 900));
    let heard =
        || b.bank.levels(b.clock.now()).iter().map(|level| (level.spent.0, level.held.0)).collect::<Vec<_>>();
    until("b hears of it", || heard() == [(990, 900)]).await;
}

#[tokio::test]
async fn an_admission_that_nobody_waits_for_holds_nothing() {
    let redis = Redis::start().await;
    let replicas = three(&redis, Duration::from_millis(50)).await;
    let budget = budget("team/c", 1_000_000);
    for _ in 0..50 {
        let demand = demand(&budget, 1_000);
        // Polled once: it is on its way and given up.
        let asking = Box::pin(replicas[0].admit(&demand));
        drop(futures_util::future::select(asking, std::future::ready(())).await);
    }
    replicas[0].told().await;
    assert_eq!(level(&replicas[1], &budget).await, (0, 0));
}

#[tokio::test]
#[ignore = "a measurement: run it in a release build on a quiet machine"]
async fn an_admission_takes_less_than_a_millisecond() {
    let redis = Redis::start().await;
    let replica = Replica::open(redis.url(), "a", |_| {}).await;
    let scope = budget("any", 1).scope.clone();
    let rate =
        std::sync::Arc::new(Rate { scope: scope.clone(), unit: Unit::Tokens, per_minute: 1_000_000_000 });
    let bound = std::sync::Arc::new(Concurrency { scope, max: 1_000_000 });
    let budgets = ["key/alice", "team/search", "policy/interactive"].map(|id| budget(id, i64::MAX / 2048));
    let mut times = Vec::new();
    for _ in 0..20_000 {
        let mut demand = demand(&budgets[0], 1_000);
        demand.budgets = budgets.to_vec();
        (demand.rates, demand.places, demand.tokens) = (vec![rate.clone()], vec![bound.clone()], 10);
        let began = Instant::now();
        replica.admit(&demand).await.unwrap();
        times.push(began.elapsed());
        replica.bank.settle(demand.id, NanoUsd(500), 12);
    }
    times.sort_unstable();
    let [p50, p99] = [times[10_000], times[19_800]];
    eprintln!("an admission by Redis: p50 {p50:?}, p99 {p99:?}");
    assert!(p99 < Duration::from_millis(1), "p50 {p50:?}, p99 {p99:?}");
}
