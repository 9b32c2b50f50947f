//! Who is let in, for how long, and what guessing costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tollway_test_support::Gateway;

use crate::{code, config, fake, gateway, keys, made, status, told, until};

#[tokio::test]
async fn the_first_key_closes_a_door_that_nobody_configured() {
    let fake = fake().await;
    let gateway = gateway(&fake, &[]).await;
    assert_eq!((status(&gateway, "").await, status(&gateway, "whatever").await), (200, 200));
    let key = made(&gateway, &["--name", "first"]).await;
    until(&gateway, "", 401).await;
    assert_eq!(code(&gateway, "").await, "missing_api_key");
    assert_eq!(code(&gateway, "whatever").await, "invalid_api_key");
    told(&gateway, &["revoke", "first"]);
    until(&gateway, &key, 401).await;
    assert_eq!(code(&gateway, &key).await, "revoked_api_key");
    assert_eq!(status(&gateway, "").await, 401, "the last key is gone, and the door stays shut");
}

#[tokio::test]
async fn where_the_door_is_open_a_revoked_key_is_refused_all_the_same() {
    let fake = fake().await;
    let gateway = gateway(&fake, &["auth: open"]).await;
    let key = made(&gateway, &["--name", "a"]).await;
    assert_eq!(status(&gateway, "").await, 200);
    told(&gateway, &["revoke", "a"]);
    until(&gateway, &key, 401).await;
    assert_eq!((status(&gateway, "").await, status(&gateway, "none of ours").await), (200, 200));
}

#[tokio::test]
async fn keys_of_the_file_and_of_the_store_are_one() {
    let fake = fake().await;
    let gateway = gateway(&fake, &["keys: [{name: file, key: sk-of-the-file, team: t}]"]).await;
    let key = told(&gateway, &["create", "--team", "search", "--models", "other-*"])["key"].clone();
    until(&gateway, key.as_str().unwrap(), 403).await;
    assert_eq!(status(&gateway, "sk-of-the-file").await, 200);
    let taken = keys(&gateway, &["create", "--name", "file"]);
    assert_eq!(taken.status.code(), Some(1), "{}", String::from_utf8_lossy(&taken.stderr));
}

#[tokio::test]
async fn a_rotated_key_has_two_texts_and_then_one() {
    let fake = fake().await;
    let gateway = gateway(&fake, &[]).await;
    let old = made(&gateway, &["--name", "a"]).await;
    let new = told(&gateway, &["rotate", "a", "--overlap", "1h"])["key"].as_str().unwrap().to_owned();
    until(&gateway, &new, 200).await;
    assert_eq!(status(&gateway, &old).await, 200);
    let newest = told(&gateway, &["rotate", "a", "--overlap", "1s"])["key"].as_str().unwrap().to_owned();
    until(&gateway, &newest, 200).await;
    assert_eq!(code(&gateway, &old).await, "invalid_api_key", "the one before the last is nobody's");
    until(&gateway, &new, 401).await;
    assert_eq!(code(&gateway, &new).await, "expired_api_key");
    let list = told(&gateway, &["list"]).to_string();
    for text in [old, new, newest] {
        assert!(!list.contains(&text) && !gateway.logs().contains(&text), "a key is shown once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r49_a_key_revoked_under_load_is_refused_within_a_second() {
    let fake = fake().await;
    let gateway = Arc::new(gateway(&fake, &[]).await);
    let key = Arc::new(made(&gateway, &["--name", "a"]).await);
    let others = made(&gateway, &["--name", "b"]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (gateway, key, stop) = (Arc::clone(&gateway), Arc::clone(&key), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut last = None;
                while !stop.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    if status(&gateway, &key).await == 200 {
                        last = Some(asked);
                    }
                }
                last
            })
        })
        .collect();
    told(&gateway, &["revoke", "a"]);
    let revoked = Instant::now();
    until(&gateway, &key, 401).await;
    assert!(revoked.elapsed() < Duration::from_secs(1), "{:?}", revoked.elapsed());
    while revoked.elapsed() < Duration::from_secs(2) {
        assert_eq!(status(&gateway, &others).await, 200, "another key is not touched");
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        let last = caller.await.unwrap();
        let late = last.map(|last| last.saturating_duration_since(revoked)).unwrap_or_default();
        assert!(late < Duration::from_secs(1), "let in {late:?} after it was revoked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r55_guessing_is_limited_by_address_and_good_keys_go_on() {
    let fake = fake().await;
    let gateway = Arc::new(gateway(&fake, &[]).await);
    let key = made(&gateway, &["--name", "a"]).await;
    let usual = slowest_of_ninety_in_a_hundred(&gateway, &key).await;
    let stop = Arc::new(AtomicBool::new(false));
    let guessers: Vec<_> = (0..2)
        .map(|guesser| {
            let (gateway, stop) = (Arc::clone(&gateway), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut wrong, mut limited) = (0, 0);
                while !stop.load(Ordering::Relaxed) {
                    let guess = format!("tw_live_{guesser}{wrong:0>47}");
                    match status(&gateway, &guess).await {
                        401 => wrong += 1,
                        429 => limited += 1,
                        other => panic!("{other}"),
                    }
                }
                (wrong, limited)
            })
        })
        .collect();
    until(&gateway, "tw_live_no", 429).await;
    let limited = crate::ask(&gateway, "tw_live_no").await;
    assert!(limited.headers.get("retry-after").is_some());
    assert_eq!(limited.json().await["error"]["code"], json!("too_many_failed_logins"));
    let beside = slowest_of_ninety_in_a_hundred(&gateway, &key).await;
    stop.store(true, Ordering::Relaxed);
    let (mut wrong, mut limited) = (0, 0);
    for guesser in guessers {
        let (w, l) = guesser.await.unwrap();
        (wrong, limited) = (wrong + w, limited + l);
    }
    assert!(wrong < 60 && limited > 100, "{wrong} wrong, {limited} limited");
    assert!(beside < usual * 10 + Duration::from_millis(200), "{usual:?}, {beside:?}");
}

async fn slowest_of_ninety_in_a_hundred(gateway: &Gateway, key: &str) -> Duration {
    let mut times = Vec::new();
    for _ in 0..100 {
        let began = Instant::now();
        assert_eq!(status(gateway, key).await, 200, "a good key is never asked to wait");
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times[89]
}

#[tokio::test]
async fn r50_a_blank_secret_refuses_to_start() {
    let fake = fake().await;
    let folder = tempfile::tempdir().unwrap();
    for (name, blank) in [("keys.pepper", ""), ("keys.pepper", "00")] {
        std::fs::write(folder.path().join(name), blank).unwrap();
        std::fs::write(folder.path().join("keys.db"), "").unwrap();
        let config = config(&fake, &[&format!("state_dir: {}", folder.path().display())]);
        let said = Gateway::try_start(env!("CARGO_BIN_EXE_tollway"), config).await.unwrap_err();
        assert!(said.contains("keys.pepper"), "{said}");
    }
    for entry in ["keys: [{name: a, key: ''}]", "admin: {listen: '127.0.0.1:0', token: ''}"] {
        let started = Gateway::try_start(env!("CARGO_BIN_EXE_tollway"), config(&fake, &[entry])).await;
        assert!(started.is_err(), "{entry}");
    }
}
