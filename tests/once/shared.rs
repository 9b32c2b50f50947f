//! Answers that a policy keeps (`cache`), over two gateways on one Redis.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollway_test_support::{Client, FakeProvider, Gateway, Redis, Response};

use crate::{A, BINARY, chat, fake, header, on, replica, streamed};

/// Turns in which a machine that is short of time may let Redis seem slow, which makes a miss.
const TURNS: u64 = 40;
const CACHE: &str = "cache: {ttl: 10m}\n";

async fn two(redis: &Redis, fake: &FakeProvider, cache: &str) -> [Gateway; 2] {
    [replica(redis, fake, cache).await, replica(redis, fake, cache).await]
}

async fn ask(client: &Client, body: &Value, key: &str) -> Response {
    let response = client.post("/v1/chat/completions", body.to_string()).key(key).send().await;
    assert_eq!(response.status, 200);
    response
}

fn is_hit(response: &Response) -> bool {
    header(response, "x-tollway-cache") == "hit"
}

/// Asks the first gateway, then the second, for one thing after another until the second has it from the first.
async fn crossed(gateways: &[Gateway; 2], of: impl Fn(u64) -> Value) -> Option<(String, String, u64)> {
    for turn in 0..TURNS {
        let body = of(turn);
        let first = ask(gateways[0].client(), &body, A).await;
        assert!(!is_hit(&first));
        let first = first.text().await;
        // It is written behind the answer.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let second = ask(gateways[1].client(), &body, "sk-bbbbbbbbbb").await;
        if is_hit(&second) {
            return Some((first, second.text().await, turn));
        }
        second.rest().await;
    }
    None
}

#[tokio::test]
async fn answers_are_told_again_by_another_replica_whole_and_streamed_and_never_to_another_team() {
    let (redis, fake) = (Redis::start().await, fake().await);
    let gateways = two(&redis, &fake, CACHE).await;
    let (first, second, turn) = crossed(&gateways, |turn| chat(5 + turn)).await.expect("no hit");
    let [first, second]: [Value; 2] = [first, second].map(|text| serde_json::from_str(&text).unwrap());
    assert_eq!(second["choices"], first["choices"]);
    assert_eq!(second["usage"]["cost"], json!(0.0));
    // R55: of another team.
    let other = ask(gateways[0].client(), &chat(5 + turn), "sk-cccccccccc").await;
    assert!(!is_hit(&other));
    other.rest().await;
    let (first, second, _) = crossed(&gateways, |turn| streamed(100 + turn)).await.expect("no hit");
    assert!(second.ends_with("data: [DONE]\n\n") && second.contains("\"cost\":0.000000000"), "{second}");
    assert_eq!(second.matches("data: ").count(), first.matches("data: ").count());
    let metrics = gateways[1].metrics().await;
    assert!(metrics.sum("tollway_store_operations_total", &[("op", "answer"), ("result", "ok")]) >= 2.0);
}

#[tokio::test]
async fn r55_no_kept_answer_crosses_teams_over_replicas() {
    let (redis, fake) = (Redis::start().await, fake().await);
    let gateways = two(&redis, &fake, CACHE).await;
    let (_, _, turn) = crossed(&gateways, |turn| chat(5 + turn)).await.expect("no hit");
    for gateway in &gateways {
        let before = fake.count();
        let mut other = chat(5 + turn);
        // Each gateway by itself: blue has asked for neither of these.
        other["seed"] = json!(gateway.id());
        ask(gateway.client(), &other, A).await.rest().await;
        let response = ask(gateway.client(), &other, "sk-cccccccccc").await;
        assert!(!is_hit(&response));
        response.rest().await;
        assert_eq!(fake.count(), before + 2);
    }
}

#[tokio::test]
async fn what_is_no_answer_in_redis_is_a_miss() {
    let (redis, fake) = (Redis::start().await, fake().await);
    let gateways = two(&redis, &fake, CACHE).await;
    crossed(&gateways, |turn| chat(5 + turn)).await.expect("no hit");
    let kept = || {
        let keys = redis.command(&[b"KEYS", b"tollway:{default}:answers:*"]);
        let keys = keys.lines().filter(|line| line.starts_with("tollway:") && line.len() > 80);
        keys.map(str::to_owned).collect::<Vec<_>>()
    };
    for (at, odd) in ["garbage", "changed", "another's", "a list"].into_iter().enumerate() {
        let body = chat(1_000 + at as u64);
        let known = kept();
        ask(gateways[0].client(), &body, A).await.rest().await;
        let deadline = Instant::now() + Duration::from_mins(1);
        let key = loop {
            if let Some(key) = kept().into_iter().find(|key| !known.contains(key)) {
                break key;
            }
            assert!(Instant::now() < deadline, "never written");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let key = key.as_bytes();
        match odd {
            "garbage" => drop(redis.command(&[b"SET", key, b"nonsense", b"KEEPTTL"])),
            "changed" => drop(redis.command(&[b"SETRANGE", key, b"40", b"\xff\xff\xff"])),
            "another's" => drop(redis.command(&[b"COPY", known[0].as_bytes(), key, b"REPLACE"])),
            _ => {
                redis.command(&[b"DEL", key]);
                redis.command(&[b"RPUSH", key, b"a"]);
                redis.command(&[b"EXPIRE", key, b"600"]);
            }
        }
        let before = fake.count();
        let response = ask(gateways[1].client(), &body, A).await;
        assert!(!is_hit(&response), "{odd}");
        response.rest().await;
        assert_eq!(fake.count(), before + 1, "{odd}");
    }
}

#[tokio::test]
async fn a_redis_that_is_silent_or_gone_is_a_miss_at_once() {
    let (mut redis, fake) = (Redis::start().await, fake().await);
    // Without a budget, which waits for Redis by its own rules.
    let config = || on(&redis, &fake, "").policy("a.yaml", "policy: p\nprobe: off\ncache: {ttl: 10m}\n");
    let gateway = Gateway::start(BINARY, config()).await;
    ask(gateway.client(), &chat(5), A).await.rest().await;
    redis.pause();
    let mut times = Vec::new();
    for number in 0..20 {
        let began = Instant::now();
        ask(gateway.client(), &chat(10 + number), A).await.rest().await;
        times.push(began.elapsed());
    }
    // One of them waited for it, eight milliseconds; the rest is the machine's.
    let looked = gateway.metrics().await;
    let results =
        |result| looked.sum("tollway_store_operations_total", &[("op", "answer"), ("result", result)]);
    assert!(
        results("timeout") <= 2.0 && results("error") >= 17.0,
        "{} {}",
        results("timeout"),
        results("error")
    );
    times.sort();
    assert!(times[10] < Duration::from_secs(1), "{times:?}");
    // This process's own answers are told all the same.
    assert!(is_hit(&ask(gateway.client(), &chat(5), A).await));
    redis.resume();
    redis.kill9();
    ask(gateway.client(), &chat(200), A).await.rest().await;
    assert!(is_hit(&ask(gateway.client(), &chat(200), A).await));
}

#[tokio::test]
async fn r15_what_is_kept_in_redis_is_bounded_by_its_bytes() {
    let (redis, fake) = (Redis::start().await, fake().await);
    fake.speak(
        tollway_test_support::Dialect::new(tollway_test_support::Kind::OpenAi).saying(["x".repeat(900_000)]),
    );
    // Without a budget, which has Redis answer in time.
    let policy = format!("policy: p\nprobe: off\n{CACHE}");
    let gateway = Gateway::start(BINARY, on(&redis, &fake, "").policy("a.yaml", &policy)).await;
    let sum = || -> u64 {
        let said = redis.command(&[b"GET", b"tollway:{default}:answers:bytes"]);
        said.lines().nth(1).and_then(|digits| digits.parse().ok()).unwrap_or(0)
    };
    let mut most = 0;
    for number in 0..90 {
        ask(gateway.client(), &chat(5 + number), A).await.rest().await;
        most = most.max(sum());
    }
    let said = redis.command(&[b"ZCARD", b"tollway:{default}:answers:index"]);
    let kept: u64 = said.trim().trim_start_matches(':').parse().unwrap();
    assert!((50 << 20..=64 << 20).contains(&most), "{most}");
    assert!((50..=74).contains(&kept), "{kept} are kept");
    let values =
        redis.command(&[b"EVAL", b"return #redis.call('KEYS', 'tollway:{default}:answers:*')", b"0"]);
    assert_eq!(values.trim(), format!(":{}", kept + 2));
}
