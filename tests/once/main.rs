//! Requests that are made once, and answers that are told again: the real binary, alone and with others on one Redis.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::float_cmp,
    reason = "tests: what cannot go on should stop, and counts of a metrics page are exact in a float"
)]

mod alone;
mod failures;
mod replicas;
mod shapes;
mod shared;

use std::process::Command;

use serde_json::{Value, json};
use tollway_test_support::{
    Client, Config, Dialect, FakeProvider, Gateway, Kind, Model, Price, Provider, Redis, Request, Response,
};

/// The checkpoint that all fakes serve.
const MODEL: &str = "test-model-0101";
const BINARY: &str = env!("CARGO_BIN_EXE_tollway");
const KEYS: &str = "keys: [{name: a, key: sk-aaaaaaaaaa, team: red}, {name: b, key: sk-bbbbbbbbbb, team: red}, \
                    {name: c, key: sk-cccccccccc, team: blue}]";
/// Of the key `a`.
const A: &str = "sk-aaaaaaaaaa";

async fn fake() -> FakeProvider {
    FakeProvider::speaking(Dialect::new(Kind::OpenAi)).await
}

/// A gateway's configuration in front of `fake`, under a policy with `more`.
fn config(fake: &FakeProvider, more: &str) -> Config {
    let model = Model::new("served", MODEL).price(Price::per_million("1", "1", "1"));
    let policy = format!(
        "policy: p\nprobe: off\nfallback: {{attempts: 1, midstream: error}}\nbudget: {{usd: 5, per: month, scope: policy}}\n{more}"
    );
    Config::new()
        .provider(Provider::fake("one", Kind::OpenAi, fake).model(model))
        .with(KEYS)
        .policy("a.yaml", &policy)
}

/// The same on `redis`.
fn on(redis: &Redis, fake: &FakeProvider, more: &str) -> Config {
    config(fake, more).with(&format!("store: '{}'", redis.url()))
}

/// A gateway on `redis` that admits requests: a new epoch of budgets opens some seconds after the first replica came.
async fn replica(redis: &Redis, fake: &FakeProvider, more: &str) -> Gateway {
    let gateway = Gateway::start(BINARY, on(redis, fake, more)).await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    let mut warm_up = chat(1);
    warm_up["seed"] = json!(gateway.id());
    loop {
        let response = gateway.chat(&warm_up).key(A).send().await;
        if response.status == 200 {
            response.rest().await;
            return gateway;
        }
        assert!(std::time::Instant::now() < deadline, "never open");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn chat(max: u64) -> Value {
    json!({"model": MODEL, "max_tokens": max, "messages": [{"role": "user", "content": "tok-1 a word of mine"}]})
}

fn streamed(max: u64) -> Value {
    let mut body = chat(max);
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    body
}

/// `body` by the key `a`, named `name`.
fn named(to: &Client, body: &Value, name: &str) -> Request {
    to.post("/v1/chat/completions", body.to_string()).key(A).header("idempotency-key", name)
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers.get(name).unwrap_or_default()
}

fn is_replayed(response: &Response) -> bool {
    header(response, "idempotent-replayed") == "true"
}

/// The code of an error.
async fn code(response: Response) -> String {
    response.json().await["error"]["code"].as_str().unwrap_or_default().to_owned()
}

/// What named requests came to so far.
async fn counted(gateway: &Gateway, result: &str) -> f64 {
    gateway.metrics().await.sum("tollway_idempotent_requests_total", &[("result", result)])
}

/// All records of a gateway, oldest first.
fn ledger(gateway: &Gateway) -> Vec<Value> {
    let output = Command::new(BINARY)
        .args(["ledger", "export", "--format", "jsonl", "--ledger"])
        .arg(gateway.path("data/ledger.db"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What it was charged, request by request.
fn charges(gateway: &Gateway) -> Vec<i64> {
    ledger(gateway).iter().map(|record| nanos(&record["amount_usd"])).collect()
}

/// A decimal of dollars in whole nano-dollars.
fn nanos(usd: &Value) -> i64 {
    let text = usd.as_str().map_or_else(|| usd.to_string(), str::to_owned);
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let rest = format!("{rest:0<9}");
    assert!(rest.len() == 9 && !text.contains(['e', 'E']), "{text}");
    whole.parse::<i64>().unwrap() * 1_000_000_000 + rest.parse::<i64>().unwrap()
}

/// Asks until the answer is no conflict. How often it was one.
async fn insisted(request: impl Fn() -> Request) -> (Response, usize) {
    let mut refused = 0;
    loop {
        let response = request().send().await;
        if response.status != 409 {
            return (response, refused);
        }
        assert_eq!(header(&response, "retry-after"), "1");
        response.rest().await;
        refused += 1;
        // A while, as a client would.
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    }
}
