//! A Redis that forgets: emptied, killed, restored from an old copy, failed over to a replica that lagged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use tollway_test_support::Redis;

use crate::budget::Budget;
use crate::units::NanoUsd;

use super::wire::{Wire, host};
use super::{Replica, State, budget, demand, level, until};

/// Two replicas that ask without a pause until told to stop.
struct Load {
    replicas: Vec<Arc<Replica>>,
    budget: Arc<Budget>,
    spent: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    async fn on(url: &str, limit: i64) -> Self {
        let budget = budget("team/l", limit);
        let (spent, stop) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
        let (mut replicas, mut tasks) = (Vec::new(), Vec::new());
        for name in ["a", "b"] {
            let replica = Arc::new(
                Replica::open(url, name, |options| options.patience = Duration::from_millis(50)).await,
            );
            replicas.push(Arc::clone(&replica));
            for _ in 0..4 {
                let (replica, budget) = (Arc::clone(&replica), Arc::clone(&budget));
                let (spent, stop) = (Arc::clone(&spent), Arc::clone(&stop));
                tasks.push(tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let one = demand(&budget, 100);
                        if replica.admit(&one).await.is_ok() {
                            tokio::time::sleep(Duration::from_millis(3)).await;
                            let settled = replica.bank.settle(one.id, NanoUsd(90), 0);
                            assert!(settled.was_held);
                            spent.fetch_add(90, Ordering::Relaxed);
                        } else {
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                    }
                }));
            }
        }
        Self { replicas, budget, spent, stop, tasks }
    }

    /// Waits until so much more was spent.
    async fn go_on(&self, by: i64) {
        let from = self.spent.load(Ordering::Relaxed);
        until("more is spent", || self.spent.load(Ordering::Relaxed) >= from + by).await;
    }

    fn epoch(&self) -> i64 {
        self.replicas.iter().map(|replica| replica.bank.inner().epoch).max().unwrap()
    }

    /// All of the budget is spent, and not a nano-dollar more.
    async fn spends_what_there_is(self) {
        let limit = self.budget.limit.0;
        until("it is spent", || self.spent.load(Ordering::Relaxed) > limit - 100).await;
        // A moment more in which too much could be admitted.
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        let spent = self.spent.load(Ordering::Relaxed);
        assert!(spent <= limit, "{spent} of {limit}");
        for replica in &self.replicas {
            replica.opened().await;
            replica.told().await;
        }
        assert_eq!(level(&self.replicas[0], &self.budget).await, (spent, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_an_emptied_redis_is_noticed_and_written_anew_before_anybody_is_admitted() {
    let redis = Redis::start().await;
    let load = Load::on(redis.url(), 200_000).await;
    for _ in 0..3 {
        load.go_on(20_000).await;
        let epoch = load.epoch();
        redis.command(&[b"FLUSHALL"]);
        until("another epoch", || load.epoch() > epoch).await;
    }
    load.spends_what_there_is().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_a_killed_redis_that_comes_back_empty_is_written_anew() {
    let mut redis = Redis::start().await;
    let load = Load::on(redis.url(), 200_000).await;
    for _ in 0..2 {
        load.go_on(30_000).await;
        redis.kill9();
        for replica in &load.replicas {
            replica.until(&[State::Lost]).await;
        }
        redis.restart().await;
    }
    load.spends_what_there_is().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_an_old_copy_is_noticed_by_what_was_acknowledged_since() {
    let mut redis = Redis::start().await;
    let load = Load::on(redis.url(), 200_000).await;
    load.go_on(20_000).await;
    assert!(redis.command(&[b"SAVE"]).starts_with("+OK"));
    load.go_on(40_000).await;
    let epoch = load.epoch();
    redis.kill9();
    redis.restart().await;
    until("another epoch", || load.epoch() > epoch).await;
    load.spends_what_there_is().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_a_failover_that_loses_acknowledged_writes_is_noticed() {
    let (mut first, second) = (Redis::start().await, Redis::start().await);
    let port = host(first.url()).port().to_string();
    first.command(&[b"CONFIG", b"SET", b"repl-diskless-sync-delay", b"0"]);
    second.command(&[b"REPLICAOF", b"127.0.0.1", port.as_bytes()]);
    let wire = Wire::to(first.url()).await;
    let load = Load::on(&wire.url(), 400_000).await;
    let linked = || second.command(&[b"INFO", b"replication"]).contains("master_link_status:up");
    until("the replica follows", linked).await;
    load.go_on(20_000).await;
    until("it has all", || second.command(&[b"EXISTS", b"tollway:{default}:fleet"]) == ":1\r\n").await;
    // Its link is cut, and the primary goes on.
    second.command(&[b"REPLICAOF", b"NO", b"ONE"]);
    load.go_on(40_000).await;
    let epoch = load.epoch();
    first.kill9();
    wire.lay(second.url());
    until("another epoch", || load.epoch() > epoch).await;
    load.spends_what_there_is().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_a_silence_of_five_seconds_under_load_loses_nothing() {
    let redis = Redis::start().await;
    let load = Load::on(redis.url(), 150_000).await;
    load.go_on(20_000).await;
    redis.pause();
    tokio::time::sleep(Duration::from_secs(5)).await;
    redis.resume();
    load.spends_what_there_is().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r42_sentinels_name_the_new_primary_and_what_it_lacks_is_written_again() {
    let (mut first, second) = (Redis::start().await, Redis::start().await);
    let port = host(first.url()).port().to_string();
    first.command(&[b"CONFIG", b"SET", b"repl-diskless-sync-delay", b"0"]);
    second.command(&[b"REPLICAOF", b"127.0.0.1", port.as_bytes()]);
    let linked = || second.command(&[b"INFO", b"replication"]).contains("master_link_status:up");
    until("the replica follows", linked).await;
    let sentinel = Redis::sentinel(&first).await;
    // It looks for replicas every ten seconds.
    let address = sentinel.url().trim_start_matches("redis+sentinel://").trim_end_matches("/main/0");
    let client = redis::Client::open(format!("redis://{address}")).unwrap();
    let mut asking = client.get_multiplexed_async_connection().await.unwrap();
    let began = std::time::Instant::now();
    loop {
        let mut question = redis::cmd("SENTINEL");
        let known: Vec<redis::Value> =
            question.arg("REPLICAS").arg("main").query_async(&mut asking).await.unwrap();
        if !known.is_empty() {
            break;
        }
        assert!(began.elapsed() < super::PATIENCE, "the sentinel never knows both");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let load = Load::on(sentinel.url(), 400_000).await;
    load.go_on(20_000).await;
    first.kill9();
    for replica in &load.replicas {
        replica.until(&[State::Lost]).await;
    }
    load.go_on(20_000).await;
    load.spends_what_there_is().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_one_node_keeps_budgets_as_one_redis_does() {
    let redis = Redis::cluster().await;
    let load = Load::on(redis.url(), 100_000).await;
    load.go_on(20_000).await;
    let epoch = load.epoch();
    redis.command(&[b"FLUSHALL"]);
    until("another epoch", || load.epoch() > epoch).await;
    let looked = || load.replicas[0].bank.findings().iter().any(|finding| finding.setting == "persistence");
    until("its settings are read", looked).await;
    assert!(load.replicas[0].bank.findings().iter().all(|finding| !finding.grave));
    load.spends_what_there_is().await;
}

#[tokio::test]
async fn r42_a_former_life_that_charged_more_than_redis_knows_begins_another_epoch() {
    let redis = Redis::start().await;
    let a = Replica::open(redis.url(), "a", |_| {}).await;
    let budget = budget("team/f", 1_000);
    let one = demand(&budget, 100);
    a.admit(&one).await.unwrap();
    let line = a.bank.inner().account.holds[&one.id].lines().remove(0);
    let epoch = a.bank.inner().epoch;
    a.die();
    let again = Replica::beside(redis.url(), "a", |_| {});
    again.bank.load(&line, NanoUsd(100));
    again.opened().await;
    assert_eq!(again.bank.inner().epoch, epoch, "it was held: nothing is missing");
    again.die();
    let third = Replica::beside(redis.url(), "a", |_| {});
    third.bank.load(&line, NanoUsd(300));
    third.opened().await;
    assert!(third.bank.inner().epoch > epoch, "more than was ever held");
    assert_eq!(level(&third, &budget).await, (300, 0));
}

#[tokio::test]
async fn r43_a_setting_that_is_changed_is_found() {
    let redis = Redis::start().await;
    let a = Replica::open(redis.url(), "a", |_| {}).await;
    until("it has looked", || a.bank.findings().iter().any(|finding| finding.setting == "persistence")).await;
    assert!(a.bank.findings().iter().all(|finding| !finding.grave));
    redis.command(&[b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-lru"]);
    let mut link = a.bank.inner().link.clone().unwrap();
    let findings = crate::store::bank::settings::check(&mut link).await;
    assert!(
        findings.iter().any(|finding| finding.setting == "maxmemory-policy" && finding.grave),
        "{findings:?}"
    );
}
