//! What one replica learns, the other acts on.

use std::time::{Duration, Instant};

use serde_json::json;
use tollway_test_support::{Dialect, Kind, Redis, Reply};

use crate::{Fleet, ask, attempts_at_first, left_out, route, until_exchanged, until_left_out};

/// News are there within this time.
const SOON: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_refusal_of_one_replica_is_a_pause_for_the_other() {
    let fleet = Fleet::start().await;
    fleet.a_is_refused(30).await;
    let took = until_left_out(&fleet.b, "rate_limited").await;
    assert!(took < SOON, "{took:?}");
    assert_eq!(route(&fleet.b).await, "second/served");
    assert_eq!((fleet.first.count(), attempts_at_first(&fleet.b).await), (1, 0.0), "B has never asked it");
}

#[tokio::test]
async fn an_open_breaker_of_one_replica_holds_for_the_other_until_it_is_closed() {
    let fleet = Fleet::start().await;
    fleet.first.script(Reply::error(500, "server_error", "broken"));
    for _ in 0..3 {
        assert_eq!(route(&fleet.a).await, "second/served");
    }
    let took = until_left_out(&fleet.b, "breaker").await;
    assert!(took < SOON, "{took:?}");
    assert_eq!(route(&fleet.b).await, "second/served");
    assert_eq!(attempts_at_first(&fleet.b).await, 0.0, "B has not failed itself");
    fleet.first.speak(Dialect::new(Kind::OpenAi));
    // A's trial closes its breaker, and B may ask at once.
    let pinned = json!({"model": "first/served", "messages": [{"role": "user", "content": "x"}]});
    let began = Instant::now();
    while fleet.a.chat(&pinned).send().await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(20), "A's breaker stays open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until_exchanged(&fleet.b).await;
    assert!(left_out(&fleet.b).await.is_null());
    assert_eq!(route(&fleet.b).await, "first/served");
}

#[tokio::test]
async fn the_cap_is_of_what_the_whole_fleet_asks_for() {
    let fleet = Fleet::start().await;
    let long = "word ".repeat(4_000);
    for _ in 0..5 {
        ask(&fleet.a, &long).await.bytes().await;
        ask(&fleet.b, &long).await.bytes().await;
    }
    // Rates are said every second: what was asked above is told twice over by then.
    for _ in 0..3 {
        until_exchanged(&fleet.a).await;
        until_exchanged(&fleet.b).await;
    }
    fleet.a_is_refused(1).await;
    until_left_out(&fleet.b, "over_cap").await;
    until_left_out(&fleet.a, "over_cap").await;
    for gateway in [&fleet.a, &fleet.b] {
        let why = left_out(gateway).await["why"].to_string();
        let figures: Vec<u32> =
            why.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
        let [rate, cap] = figures[..] else { panic!("{why}") };
        // Of its own half alone A would have learnt a cap below half of what both ask for.
        assert!(cap * 10 > rate * 7, "a cap of the fleet: {why}");
        assert!(rate > cap, "both count: {why}");
    }
}

#[tokio::test]
async fn garbage_in_redis_is_ignored_and_cleared_where_it_is_in_the_way() {
    let fleet = Fleet::start().await;
    let key: &[u8] = b"tollway:{default}:routes";
    let write = |field: &[u8], value: &[u8]| fleet.redis.command(&[b"HSET", key, field, value]);
    write(b"text", b"not a message");
    write(b"\xff\x00", &[0xff; 1_000]);
    write(b"later", br#"{"v":2,"n":1,"routes":{"first/served":{"limited_ms":60000}}}"#);
    write(b"types", br#"{"v":1,"n":1,"routes":{"first/served":{"limited_ms":"60000"}}}"#);
    write(b"minus", br#"{"v":1,"n":1,"routes":{"first/served":{"limited_ms":-1}}}"#);
    write(b"great", br#"{"v":1,"n":1,"routes":{"first/served":{"rate":1e999}}}"#);
    write(b"large", &vec![b'['; 1 << 20]);
    write(b"other", br#"{"v":1,"n":1,"routes":{"no/route":{"limited_ms":60000,"new":[]}}}"#);
    for gateway in [&fleet.a, &fleet.b] {
        until_exchanged(gateway).await;
        assert!(left_out(gateway).await.is_null());
        assert_eq!(route(gateway).await, "first/served");
    }
    assert!(fleet.redis.command(&[b"SET", key, b"no hash at all"]).starts_with("+OK"));
    fleet.a_is_refused(30).await;
    until_left_out(&fleet.b, "rate_limited").await;
    assert_eq!(route(&fleet.b).await, "second/served");
    for gateway in [&fleet.a, &fleet.b] {
        assert_eq!(gateway.metrics().await.sum("tollway_panics_total", &[]), 0.0);
    }
}

#[tokio::test]
async fn a_replica_that_stops_takes_its_word_away() {
    let mut fleet = Fleet::start().await;
    fleet.a_is_refused(30).await;
    until_left_out(&fleet.b, "rate_limited").await;
    let fields = || fleet.redis.command(&[b"HLEN", b"tollway:{default}:routes"]);
    assert_eq!(fields(), ":2\r\n");
    fleet.a.sigterm();
    assert!(fleet.a.ended().await.success());
    assert_eq!(fleet.redis.command(&[b"HLEN", b"tollway:{default}:routes"]), ":1\r\n");
    until_exchanged(&fleet.b).await;
    assert_eq!(route(&fleet.b).await, "second/served", "the provider's wait is not over");
}

#[tokio::test]
async fn over_tls_with_a_password_it_is_the_same_and_the_password_stays_unsaid() {
    let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let trusted = directory.path().join("trusted.pem");
    std::fs::write(&trusted, pair.cert.pem()).unwrap();
    let redis = Redis::with_tls(&pair.cert.pem(), &pair.signing_key.serialize_pem(), "hunter-2-secret").await;
    let mut fleet = Fleet::in_touch(Fleet::beside(redis, trusted.to_str().unwrap()).await).await;
    fleet.a_is_refused(30).await;
    until_left_out(&fleet.b, "rate_limited").await;
    fleet.redis.kill9();
    fleet.b.logged("Redis does not answer").await;
    for gateway in [&fleet.a, &fleet.b] {
        assert!(!gateway.logs().contains("hunter-2-secret"), "r51: {}", gateway.logs());
    }
}
