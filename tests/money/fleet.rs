//! One budget over three gateways on one Redis: callers who leave, gateways that are killed and started again, and all sums agree.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tollway_test_support::{Client, Config, Dialect, FakeProvider, Gateway, Kind, Redis};

use crate::{BINARY, charged, chat, metric_nanos, provider, streamed};

const REPLICAS: usize = 3;
fn config(redis: &Redis, fake: &FakeProvider, milli_usd: i64) -> Config {
    Config::new()
        .provider(provider("one", fake, "10"))
        .with(&format!("store: '{}'", redis.url()))
        .with("auth: open")
        .policy(
            "a.yaml",
            &format!(
                "policy: p\nprobe: off\nfallback: {{attempts: 1, midstream: error}}\n\
                 budget: {{usd: {}.{:03}, per: month, scope: policy}}\n",
                milli_usd / 1_000,
                milli_usd % 1_000
            ),
        )
}

#[derive(Default)]
struct Told {
    served: AtomicU64,
    refused: AtomicU64,
    left: AtomicU64,
    other: AtomicU64,
}

async fn caller(number: u64, to: Arc<Mutex<Vec<SocketAddr>>>, stop: Arc<AtomicBool>, told: Arc<Told>) {
    let mut draw = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while !stop.load(Ordering::Relaxed) {
        draw ^= draw << 13;
        draw ^= draw >> 7;
        draw ^= draw << 17;
        let at = usize::try_from(draw >> 8).unwrap() % REPLICAS;
        let address = to.lock().unwrap()[at];
        let tokens = 5 + draw % 40;
        let body = if draw.is_multiple_of(2) { streamed(tokens) } else { chat(tokens) };
        let request = Client::new(address).post("/v1/chat/completions", body.to_string());
        // A gateway that was just killed answers nobody.
        let Ok(mut response) = request.header("content-type", "application/json").try_send().await else {
            told.other.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let counter = match response.status {
            200 if draw % 10 < 3 => {
                let _ = response.next().await;
                response.reset();
                told.left.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            200 => &told.served,
            429 => &told.refused,
            _ => &told.other,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        response.rest().await;
    }
}

async fn kept_by_all(spell: Duration, kill_every: Duration, callers: u64, milli_usd: i64) {
    let limit = milli_usd * 1_000_000;
    let redis = Redis::start().await;
    let fake = FakeProvider::speaking(Dialect::new(Kind::OpenAi).tokens(30)).await;
    fake.keep_no_records();
    let mut gateways = Vec::new();
    for _ in 0..REPLICAS {
        gateways.push(Some(Gateway::start(BINARY, config(&redis, &fake, milli_usd)).await));
    }
    let addresses = gateways.iter().flatten().map(Gateway::address).collect();
    let to: Arc<Mutex<Vec<SocketAddr>>> = Arc::new(Mutex::new(addresses));
    let (stop, told) = (Arc::new(AtomicBool::new(false)), Arc::new(Told::default()));
    let asking: Vec<_> = (0..callers)
        .map(|number| tokio::spawn(caller(number + 1, Arc::clone(&to), Arc::clone(&stop), Arc::clone(&told))))
        .collect();
    let began = Instant::now();
    let mut kills = 0;
    let answered = || told.served.load(Ordering::Relaxed) + told.left.load(Ordering::Relaxed);
    // On a machine that is short of time Redis may seem silent, and nobody is served for a while.
    while began.elapsed() < spell || (answered() < 100 && began.elapsed() < spell * 8) {
        tokio::time::sleep(kill_every).await;
        let at = kills % REPLICAS;
        let mut victim = gateways[at].take().unwrap();
        victim.kill9();
        let again = victim.restarted(BINARY, config(&redis, &fake, milli_usd)).await;
        to.lock().unwrap()[at] = again.address();
        gateways[at] = Some(again);
        kills += 1;
    }
    stop.store(true, Ordering::Relaxed);
    for one in asking {
        one.await.unwrap();
    }
    let gateways: Vec<Gateway> = gateways.into_iter().flatten().collect();
    // Until every hold is settled and told: all sums agree then, and stay so.
    let patience = Instant::now() + Duration::from_mins(1);
    let (spent, recorded) = loop {
        let held = metric_nanos(&gateways[0], "tollway_budget_reserved_usd", "").await;
        let spent = metric_nanos(&gateways[0], "tollway_budget_spent_usd", "").await;
        let recorded: i64 = gateways.iter().map(charged).sum();
        if held == 0 && spent == recorded {
            break (spent, recorded);
        }
        assert!(
            Instant::now() < patience,
            "{held} nano-dollars stay held, {spent} are spent by Redis, {recorded} by the ledgers"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let [served, refused, left, other] =
        [&told.served, &told.refused, &told.left, &told.other].map(|count| count.load(Ordering::Relaxed));
    println!(
        "{kills} kills; {served} served, {left} left, {refused} refused, {other} without an answer; spent {spent} of {limit}"
    );
    assert!(spent <= limit, "{spent}");
    assert_eq!(spent, recorded);
    assert!(served + left >= 100 && left > 10, "{served} {left} {refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r26_r38_one_budget_is_kept_by_three_gateways_of_which_one_after_another_is_killed() {
    kept_by_all(Duration::from_secs(9), Duration::from_secs(3), 32, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "ten minutes unless TOLLWAY_FLEET_SECONDS says otherwise"]
async fn r26_r38_one_budget_is_kept_for_long() {
    let seconds = std::env::var("TOLLWAY_FLEET_SECONDS").ok().and_then(|text| text.parse().ok());
    kept_by_all(Duration::from_secs(seconds.unwrap_or(600)), Duration::from_secs(5), 64, 1_000).await;
}
