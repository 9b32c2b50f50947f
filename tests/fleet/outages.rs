//! Without Redis, or with one that is silent, requests go on as before and each replica by its own evidence.

use std::time::{Duration, Instant};

use tollway_test_support::{Gateway, Redis};

use crate::{
    Fleet, ask, attempts_at_first, left_out, route, until_degraded, until_exchanged, until_left_out,
};

const LOST: &str = "Redis does not answer";

fn times_logged(gateway: &Gateway, text: &str) -> usize {
    gateway.logs().lines().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn r40_without_redis_both_serve_by_their_own_evidence_and_share_again_when_it_is_back() {
    let mut fleet = Fleet::start().await;
    fleet.redis.kill9();
    for gateway in [&fleet.a, &fleet.b] {
        until_degraded(gateway, 1.0).await;
        assert_eq!(route(gateway).await, "first/served");
    }
    fleet.a_is_refused(60).await;
    assert_eq!(route(&fleet.a).await, "second/served", "A goes by what it saw");
    assert_eq!(route(&fleet.b).await, "first/served", "and B by what it saw");
    let attempts = attempts_at_first(&fleet.b).await;
    let began = Instant::now();
    fleet.redis.restart().await;
    for gateway in [&fleet.a, &fleet.b] {
        until_degraded(gateway, 0.0).await;
    }
    assert!(began.elapsed() < Duration::from_secs(6), "its return is seen: {:?}", began.elapsed());
    until_left_out(&fleet.b, "rate_limited").await;
    assert_eq!(route(&fleet.b).await, "second/served", "what A knows was said again");
    assert_eq!(attempts_at_first(&fleet.b).await, attempts);
    for gateway in [&fleet.a, &fleet.b] {
        gateway.logged("Redis is back").await;
        assert_eq!(times_logged(gateway, LOST), 1, "each state is logged once");
    }
}

#[tokio::test]
async fn r40_no_request_waits_for_a_silent_redis() {
    let fleet = Fleet::start().await;
    let usual = slowest_of_ninety_in_a_hundred(&fleet).await;
    fleet.redis.pause();
    let silent = slowest_of_ninety_in_a_hundred(&fleet).await;
    for gateway in [&fleet.a, &fleet.b] {
        until_degraded(gateway, 1.0).await;
    }
    let noticed = slowest_of_ninety_in_a_hundred(&fleet).await;
    fleet.redis.resume();
    // Whoever waited for Redis would have waited at least as long as an answer of its is waited for, if not for ever.
    let most = usual + Duration::from_millis(100);
    assert!(silent < most && noticed < most, "{usual:?}, {silent:?}, {noticed:?}");
    for gateway in [&fleet.a, &fleet.b] {
        until_degraded(gateway, 0.0).await;
        until_exchanged(gateway).await;
    }
    fleet.a_is_refused(30).await;
    until_left_out(&fleet.b, "rate_limited").await;
}

async fn slowest_of_ninety_in_a_hundred(fleet: &Fleet) -> Duration {
    let mut times = Vec::new();
    for number in 0..100 {
        let gateway = if number % 2 == 0 { &fleet.a } else { &fleet.b };
        let began = Instant::now();
        ask(gateway, "x").await.bytes().await;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times[89]
}

#[tokio::test]
async fn a_gateway_starts_and_serves_without_its_redis() {
    let mut redis = Redis::start().await;
    redis.kill9();
    let fleet = Fleet::beside(redis, "").await;
    for gateway in [&fleet.a, &fleet.b] {
        until_degraded(gateway, 1.0).await;
        assert_eq!(route(gateway).await, "first/served");
    }
}

#[tokio::test]
async fn what_others_asked_for_is_forgotten_when_they_fall_silent() {
    let fleet = Fleet::start().await;
    let message = br#"{"v":1,"n":1,"routes":{"first/served":{"rate":1000,"cap":[1.0,0]}}}"#;
    fleet.redis.command(&[b"HSET", b"tollway:{default}:routes", b"ghost", message]);
    until_left_out(&fleet.b, "over_cap").await;
    let began = Instant::now();
    while !left_out(&fleet.b).await.is_null() {
        assert!(began.elapsed() < Duration::from_secs(9), "a ghost is heard for ever");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Its field goes as well, so that nobody who joins later hears it.
    while fleet.redis.command(&[b"HLEN", b"tollway:{default}:routes"]) != ":2\r\n" {
        assert!(began.elapsed() < Duration::from_secs(20), "a ghost stays for ever");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
