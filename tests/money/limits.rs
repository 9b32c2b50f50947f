//! Requests and tokens a minute, and requests at once: what is refused, how it is told, and that a refusal costs nothing.

use tollway_test_support::{Config, Dialect, Gate, Gateway, Kind};

use crate::{BINARY, chat, fake, header, ledger, provider, streamed};

async fn limited(fake: &tollway_test_support::FakeProvider, limits: &str) -> Gateway {
    let config = Config::new()
        .provider(provider("one", fake, "1"))
        .with(&format!("keys: [{{name: a, key: sk-test-0123456789, team: t, {limits}}}]"))
        .policy("a.yaml", "policy: p\nprobe: off\nfallback: {attempts: 1}\n");
    Gateway::start(BINARY, config).await
}

#[tokio::test]
async fn requests_a_minute_are_counted_down_and_refused() {
    let fake = fake().await;
    let gateway = limited(&fake, "rpm: 3").await;
    for left in ["2", "1", "0"] {
        let response = gateway.chat(&chat(5)).key("sk-test-0123456789").send().await;
        assert_eq!(response.status, 200);
        assert_eq!(header(&response, "x-ratelimit-limit-requests"), "3");
        assert_eq!(header(&response, "x-ratelimit-remaining-requests"), left);
        response.bytes().await;
    }
    let response = gateway.chat(&chat(5)).key("sk-test-0123456789").send().await;
    assert_eq!(response.status, 429);
    let wait: u64 = header(&response, "retry-after").parse().unwrap();
    assert!((1..=20).contains(&wait), "one comes back every 20 s: {wait}");
    assert_eq!(header(&response, "x-ratelimit-remaining-requests"), "0");
    let error = response.json().await["error"].clone();
    assert_eq!(
        (error["code"].as_str(), error["type"].as_str()),
        (Some("rate_limit_exceeded"), Some("requests"))
    );
    assert_eq!((fake.count(), ledger(&gateway).len()), (3, 3), "a refusal costs nothing");
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("tollway_rate_limited_total", &[("scope", "key"), ("limit", "requests")]), 1.0);
}

#[tokio::test]
async fn tokens_a_minute_are_set_right_when_the_answer_is_known() {
    let fake = fake().await;
    fake.speak(Dialect::new(Kind::OpenAi).tokens(10));
    let gateway = limited(&fake, "tpm: 2000").await;
    // Each asks for more than half of a minute's, and uses some twenty.
    for _ in 0..4 {
        let response = gateway.chat(&chat(1_200)).key("sk-test-0123456789").send().await;
        assert_eq!(response.status, 200);
        assert_eq!(header(&response, "x-ratelimit-limit-tokens"), "2000");
        response.bytes().await;
    }
    let response = gateway.chat(&chat(1)).key("sk-test-0123456789").send().await;
    let left: u64 = header(&response, "x-ratelimit-remaining-tokens").parse().unwrap();
    assert!((1_600..2_000).contains(&left), "{left}");
}

#[tokio::test]
async fn requests_at_once_are_bounded_and_a_place_is_free_when_one_ends() {
    let fake = fake().await;
    let gate = Gate::new();
    fake.speak(Dialect::new(Kind::OpenAi).first_token(gate.clone()));
    let gateway = limited(&fake, "concurrency: 2").await;
    let ask = || tokio::spawn(gateway.chat(&streamed(5)).key("sk-test-0123456789").send());
    let (one, other) = (ask(), ask());
    fake.arrived(2).await;
    let third = gateway.chat(&streamed(5)).key("sk-test-0123456789").send().await;
    assert_eq!(third.status, 429);
    assert_eq!(third.json().await["error"]["code"], "concurrency_limit_exceeded");
    gate.open();
    for asking in [one, other] {
        let response = asking.await.unwrap();
        assert_eq!(response.status, 200);
        response.bytes().await;
    }
    assert_eq!(gateway.chat(&streamed(5)).key("sk-test-0123456789").send().await.status, 200);
}
