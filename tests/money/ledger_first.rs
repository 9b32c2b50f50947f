//! Killed between the two places in which money is counted, a replica comes back without the fleet having to wait for it: the
//! ledger has each charge before Redis hears of it, and so Redis never knows of more than the ledger, nor of less than it held.

use tollway_test_support::{Cable, Client, Config, Dialect, FakeProvider, Gate, Gateway, Kind, Redis};

use crate::{BINARY, charged, fake, ledger, metric_nanos, nanos, provider, streamed};

const FLEET: &[u8] = b"tollway:{default}:fleet";

fn config(address: std::net::SocketAddr, fake: &FakeProvider) -> Config {
    Config::new()
        .provider(provider("one", fake, "10"))
        .with(&format!("store: 'redis://{address}/0'"))
        .with("auth: open")
        .policy(
            "a.yaml",
            "policy: p\nprobe: off\nfallback: {attempts: 1, midstream: error}\nbudget: {usd: 1, per: month, scope: policy}\n",
        )
}

fn epoch(redis: &Redis) -> String {
    redis.command(&[b"HGET", FLEET, b"epoch"])
}

/// How many requests the fleet's only replica holds by Redis.
fn held(redis: &Redis) -> String {
    let name = redis.command(&[b"KEYS", b"tollway:{default}:holds:*"]);
    let Some(name) = name.lines().find(|line| line.starts_with("tollway")) else { return ":0".to_owned() };
    redis.command(&[b"HLEN", name.as_bytes()]).trim_end().to_owned()
}

/// Asks until Redis admits; what is refused until then costs nothing.
async fn admitted(gateway: &Gateway) {
    let began = std::time::Instant::now();
    loop {
        let response = gateway.chat(&streamed(3)).send().await;
        let status = response.status;
        response.bytes().await;
        if status == 200 {
            return;
        }
        assert_eq!(status, 503);
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "it never opens");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// The sums agree, and nothing stays held.
async fn agreed(gateway: &Gateway, redis: &Redis) {
    let began = std::time::Instant::now();
    loop {
        let told = metric_nanos(gateway, "tollway_budget_spent_usd", "").await;
        let reserved = metric_nanos(gateway, "tollway_budget_reserved_usd", "").await;
        if reserved == 0 && told == charged(gateway) && held(redis) == ":0" {
            return;
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{told} told, {reserved} held");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// A gateway with one request under way, of which it holds all that it can cost.
async fn under_way(
    gateway: &Gateway,
    fake: &FakeProvider,
) -> (Gate, tokio::task::JoinHandle<std::io::Result<()>>) {
    admitted(gateway).await;
    let gate = Gate::new();
    fake.speak(Dialect::new(Kind::OpenAi).first_token(gate.clone()));
    let before = fake.count();
    let client = Client::new(gateway.address());
    let asking = tokio::spawn(async move {
        let request = client.post("/v1/chat/completions", streamed(40).to_string());
        let response = request.header("content-type", "application/json").try_send().await?;
        response.rest().await;
        Ok(())
    });
    fake.arrived(before + 1).await;
    (gate, asking)
}

#[tokio::test(flavor = "multi_thread")]
async fn r27_killed_when_the_ledger_has_a_charge_and_redis_does_not() {
    let (redis, fake) = (Redis::start().await, fake().await);
    let cable = Cable::to(redis.address()).await;
    let mut gateway = Gateway::start(BINARY, config(cable.address(), &fake)).await;
    let (gate, asking) = under_way(&gateway, &fake).await;
    let before = epoch(&redis);
    cable.cut();
    gate.open();
    asking.await.unwrap().unwrap();
    let settled = ledger(&gateway);
    assert_eq!(settled.len(), 2, "the answer was over, and so it is in the ledger: {settled:?}");
    gateway.kill9();
    assert_eq!(held(&redis), ":1", "Redis has not heard of it");
    cable.lay(redis.address());
    let gateway = gateway.restarted(BINARY, config(cable.address(), &fake)).await;
    admitted(&gateway).await;
    assert_eq!(epoch(&redis), before, "nobody has to wait for another epoch");
    agreed(&gateway, &redis).await;
    assert!(ledger(&gateway).iter().all(|record| record["outcome"] == "ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn r27_killed_when_a_charge_is_not_in_the_ledger_yet() {
    let (redis, fake) = (Redis::start().await, fake().await);
    let mut gateway = Gateway::start(BINARY, config(redis.address(), &fake)).await;
    let (gate, asking) = under_way(&gateway, &fake).await;
    let before = epoch(&redis);
    let settled = charged(&gateway);
    // Somebody else writes in the file and does not end: the answer ends without its record, which waits in memory.
    let in_the_way = rusqlite::Connection::open(gateway.path("data/ledger.db")).unwrap();
    in_the_way.execute_batch("BEGIN IMMEDIATE").unwrap();
    gate.open();
    asking.await.unwrap().unwrap();
    gateway.logged("a record could not be written when it was due").await;
    assert_eq!(held(&redis), ":1", "Redis hears of it when the ledger has it, and not before");
    gateway.kill9();
    in_the_way.execute_batch("ROLLBACK").unwrap();
    drop(in_the_way);
    let gateway = gateway.restarted(BINARY, config(redis.address(), &fake)).await;
    let records = ledger(&gateway);
    let lost: Vec<_> = records.iter().filter(|record| record["outcome"] == "lost").collect();
    assert_eq!(lost.len(), 1, "{records:?}");
    assert_eq!(charged(&gateway), settled + nanos(&lost[0]["amount_usd"]), "all that was held");
    admitted(&gateway).await;
    assert_eq!(epoch(&redis), before, "nobody has to wait for another epoch");
    agreed(&gateway, &redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r28_a_charge_that_the_ledger_wrote_late_is_told_then() {
    let (redis, fake) = (Redis::start().await, fake().await);
    let gateway = Gateway::start(BINARY, config(redis.address(), &fake)).await;
    let (gate, asking) = under_way(&gateway, &fake).await;
    let in_the_way = rusqlite::Connection::open(gateway.path("data/ledger.db")).unwrap();
    in_the_way.execute_batch("BEGIN IMMEDIATE").unwrap();
    gate.open();
    asking.await.unwrap().unwrap();
    gateway.logged("a record could not be written when it was due").await;
    in_the_way.execute_batch("ROLLBACK").unwrap();
    agreed(&gateway, &redis).await;
    assert!(ledger(&gateway).iter().all(|record| record["outcome"] == "ok"));
}
