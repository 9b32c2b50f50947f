//! Two replicas of the real gateway, one Redis that is real too, and fake providers: what one learns the other knows, and
//! without Redis each goes on by itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::float_cmp,
    reason = "tests: what cannot go on should stop, counts of a metrics page are exact in a float, and real time is measured"
)]

mod outages;
mod sharing;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollway_test_support::{
    Config, Dialect, FakeProvider, Gateway, Kind, Model, Price, Provider, Redis, Reply, Response,
};

/// The checkpoint that both fakes serve.
const MODEL: &str = "test-model-0101";

/// Two replicas that share a Redis and two providers, the first of which is cheaper.
struct Fleet {
    redis: Redis,
    first: FakeProvider,
    _second: FakeProvider,
    a: Gateway,
    b: Gateway,
}

impl Fleet {
    /// A fleet that is in touch.
    async fn start() -> Self {
        Self::in_touch(Self::beside(Redis::start().await, "").await).await
    }

    async fn in_touch(fleet: Self) -> Self {
        for gateway in [&fleet.a, &fleet.b] {
            until_degraded(gateway, 0.0).await;
            until_exchanged(gateway).await;
        }
        fleet
    }

    /// Two replicas that trust the certificates in the file `trusted`, if there is a name.
    async fn beside(redis: Redis, trusted: &str) -> Self {
        let fake = || FakeProvider::speaking(Dialect::new(Kind::OpenAi));
        let (first, second) = (fake().await, fake().await);
        let config = || {
            Config::new()
                .provider(provider("first", &first, "0.1"))
                .provider(provider("second", &second, "0.2"))
                // Probes would bring evidence that nobody shared.
                .policy("a.yaml", "policy: p\nprobe: off\n")
                .with(&format!("store: '{}'", redis.url()))
                // Who has a key cannot be said without Redis, and these tests are of other things.
                .with("auth: open")
        };
        let config = || if trusted.is_empty() { config() } else { config().env("SSL_CERT_FILE", trusted) };
        let start = |config| Gateway::start(env!("CARGO_BIN_EXE_tollway"), config);
        let (a, b) = (start(config()).await, start(config()).await);
        Self { redis, first, _second: second, a, b }
    }

    /// The first provider refuses A for its rate, for `seconds`.
    async fn a_is_refused(&self, seconds: u32) {
        let refusal = Reply::error(429, "rate_limit_exceeded", "slow");
        self.first.enqueue(refusal.header("retry-after", &seconds.to_string()));
        assert_eq!(route(&self.a).await, "second/served", "the refused request goes on");
    }
}

fn provider(name: &str, fake: &FakeProvider, price: &str) -> Provider {
    let model = Model::new("served", MODEL).price(Price::per_million(price, price, price));
    Provider::fake(name, Kind::OpenAi, fake).model(model)
}

fn chat(text: &str) -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": text}]})
}

async fn ask(gateway: &Gateway, text: &str) -> Response {
    let response = gateway.chat(&chat(text)).send().await;
    assert_eq!(response.status, 200);
    response
}

/// Who serves a request now.
async fn route(gateway: &Gateway) -> String {
    let response = ask(gateway, "x").await;
    let route = response.headers.get("x-tollway-route").unwrap().to_owned();
    response.bytes().await;
    route
}

/// Why the first provider would be left out now, as `explain` says; empty if it would not.
async fn left_out(gateway: &Gateway) -> Value {
    let page = gateway.admin().get(&format!("/admin/v1/explain?model={MODEL}")).send().await.json().await;
    let excluded = page["excluded"].as_array().unwrap_or_else(|| panic!("{page}"));
    excluded.iter().find(|excluded| excluded["route"] == "first/served").cloned().unwrap_or_default()
}

/// Waits until the first provider is left out for a reason that holds `word`; returns how long that took.
async fn until_left_out(gateway: &Gateway, word: &str) -> Duration {
    let began = Instant::now();
    loop {
        let why = left_out(gateway).await;
        if why.to_string().contains(word) {
            return began.elapsed();
        }
        assert!(began.elapsed() < Duration::from_secs(20), "never left out for {word}: {why}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until two more exchanges with Redis have ended: whatever stood there before has been heard.
async fn until_exchanged(gateway: &Gateway) {
    let ok = [("op", "exchange"), ("result", "ok")];
    let before = gateway.metrics().await.sum("tollway_store_operations_total", &ok);
    gateway
        .metrics_until("two exchanges", |metrics| {
            metrics.sum("tollway_store_operations_total", &ok) >= before + 2.0
        })
        .await;
}

async fn until_degraded(gateway: &Gateway, wanted: f64) {
    gateway
        .metrics_until("degraded or not", |metrics| metrics.sum("tollway_store_degraded", &[]) == wanted)
        .await;
}

/// Attempts of `gateway` at the first provider.
async fn attempts_at_first(gateway: &Gateway) -> f64 {
    gateway.metrics().await.sum("tollway_upstream_attempts_total", &[("provider", "first")])
}
