//! Money as a caller, a FinOps person and a crash meet it: the real binary and its real ledger, fake providers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::float_cmp,
    clippy::print_stdout,
    reason = "tests: what cannot go on should stop, and counts of a metrics page are exact in a float"
)]

mod agree;
mod budgets;
mod crash;
mod fleet;
mod kept;
mod ledger_first;
mod limits;
mod lookups;
mod outgrown;
mod probes;
mod sink;

use std::process::Command;

use serde_json::{Value, json};
use tollway_test_support::{Config, Dialect, FakeProvider, Gateway, Kind, Model, Price, Provider, Response};

/// The checkpoint that all fakes serve.
const MODEL: &str = "test-model-0101";
const BINARY: &str = env!("CARGO_BIN_EXE_tollway");

async fn fake() -> FakeProvider {
    FakeProvider::speaking(Dialect::new(Kind::OpenAi)).await
}

/// `fake` as a provider of [`MODEL`] at `price` dollars per million tokens, in and out.
fn provider(name: &str, fake: &FakeProvider, price: &str) -> Provider {
    let model = Model::new("served", MODEL).price(Price::per_million(price, price, price));
    Provider::fake(name, Kind::OpenAi, fake).model(model)
}

/// A request for an answer of at most `max` tokens.
fn chat(max: u64) -> Value {
    json!({"model": MODEL, "max_tokens": max, "messages": [{"role": "user", "content": "tok-1 hello"}]})
}

fn streamed(max: u64) -> Value {
    let mut body = chat(max);
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    body
}

fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers.get(name).unwrap_or_default()
}

/// Everything in the gateway's ledger, oldest first.
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

/// A decimal of dollars in whole nano-dollars.
fn nanos(usd: &Value) -> i64 {
    let text = usd.as_str().map_or_else(|| usd.to_string(), str::to_owned);
    let (sign, text) = text.strip_prefix('-').map_or((1, &*text), |text| (-1, text));
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let rest = format!("{rest:0<9}");
    assert!(rest.len() == 9 && !text.contains(['e', 'E']), "{text}");
    sign * (whole.parse::<i64>().unwrap() * 1_000_000_000 + rest.parse::<i64>().unwrap())
}

/// What the ledger has been charged in all.
fn charged(gateway: &Gateway) -> i64 {
    ledger(gateway).iter().map(|record| nanos(&record["amount_usd"])).sum()
}

/// The exact value of a money series on the page of metrics.
async fn metric_nanos(gateway: &Gateway, family: &str, label: &str) -> i64 {
    let page = gateway.admin().get("/metrics").send().await.text().await;
    let lines = page.lines().filter(|line| {
        line.starts_with(family) && line[family.len()..].starts_with(['{', ' ']) && line.contains(label)
    });
    lines.map(|line| nanos(&Value::String(line.rsplit(' ').next().unwrap().to_owned()))).sum()
}

/// A gateway in front of one provider, under `policy`.
async fn priced(fake: &FakeProvider, price: &str, policy: &str) -> Gateway {
    let config = Config::new().provider(provider("one", fake, price)).policy("a.yaml", policy);
    Gateway::start(BINARY, config).await
}
