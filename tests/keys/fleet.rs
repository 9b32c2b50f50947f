//! Keys in Redis: every replica has them, and what Redis forgets is given back.

use std::time::{Duration, Instant};

use tollway_test_support::{FakeProvider, Gateway, Redis};

use crate::{admin_token, code, fake, gateway, keys, made, status, told, until};

async fn replica(fake: &FakeProvider, redis: &Redis) -> Gateway {
    gateway(fake, &[&format!("store: '{}'", redis.url())]).await
}

#[tokio::test]
async fn r49_a_key_revoked_anywhere_is_refused_by_all_replicas_within_five_seconds() {
    let (fake, redis) = (fake().await, Redis::start().await);
    let fleet = [replica(&fake, &redis).await, replica(&fake, &redis).await, replica(&fake, &redis).await];
    let key = made(&fleet[0], &["--name", "a"]).await;
    for gateway in &fleet {
        until(gateway, &key, 200).await;
    }
    let path = "/admin/v1/keys/a";
    let revoked = fleet[1].admin().request("DELETE", path).key(&admin_token(&fleet[1])).send().await;
    assert_eq!(revoked.status, 200);
    let began = Instant::now();
    assert_eq!(status(&fleet[1], &key).await, 401, "at once where it was revoked");
    for gateway in &fleet {
        until(gateway, &key, 401).await;
        assert_eq!(code(gateway, &key).await, "revoked_api_key");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn r41_without_redis_known_keys_go_on_and_unknown_ones_cost_nothing() {
    let (fake, redis) = (fake().await, Redis::start().await);
    let gateway = replica(&fake, &redis).await;
    let key = made(&gateway, &["--name", "a"]).await;
    redis.pause();
    let began = Instant::now();
    for number in 0..10 {
        assert_eq!(status(&gateway, &key).await, 200);
        assert_eq!(code(&gateway, &format!("wrong-{number}")).await, "invalid_api_key");
    }
    assert!(began.elapsed() < Duration::from_secs(2), "no request asks Redis: {:?}", began.elapsed());
    redis.resume();
}

#[tokio::test]
async fn r42_what_redis_forgets_is_given_back() {
    let (fake, redis) = (fake().await, Redis::start().await);
    let (a, b) = (replica(&fake, &redis).await, replica(&fake, &redis).await);
    let (kept, gone) = (made(&a, &["--name", "kept"]).await, made(&a, &["--name", "gone"]).await);
    told(&a, &["revoke", "gone"]);
    for gateway in [&a, &b] {
        until(gateway, &kept, 200).await;
        until(gateway, &gone, 401).await;
    }
    redis.command(&[b"FLUSHALL"]);
    let given = Instant::now();
    while redis.command(&[b"HLEN", b"tollway:{default}:keys"]) != ":2\r\n" {
        assert!(given.elapsed() < Duration::from_secs(10), "never given back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let late = replica(&fake, &redis).await;
    for gateway in [&a, &b, &late] {
        until(gateway, &kept, 200).await;
        assert_eq!(code(gateway, &gone).await, "revoked_api_key");
    }
    // And the command line goes on where it was.
    let new = made(&b, &["--name", "new"]).await;
    until(&a, &new, 200).await;
}

#[tokio::test]
async fn a_replica_that_never_saw_its_redis_lets_nobody_in() {
    let (fake, mut redis) = (fake().await, Redis::start().await);
    redis.kill9();
    let gateway = replica(&fake, &redis).await;
    assert_eq!(code(&gateway, "").await, "keys_unavailable");
    assert_eq!(code(&gateway, "tw_live_x").await, "keys_unavailable");
    let refused = keys(&gateway, &["list"]);
    assert_eq!(refused.status.code(), Some(1), "{}", String::from_utf8_lossy(&refused.stderr));
    redis.restart().await;
    until(&gateway, "", 200).await;
}
