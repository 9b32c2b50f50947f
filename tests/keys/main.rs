//! Virtual keys on the real gateway: made, used, rotated and revoked by the command line and over the admin listener, on one
//! machine and in a fleet with a real Redis.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::float_cmp,
    reason = "tests: what cannot go on should stop, and real time is measured"
)]

mod api;
mod door;
mod fleet;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollway_test_support::{Config, Dialect, FakeProvider, Gateway, Kind, Model, Price, Provider, Response};

/// The checkpoint that the fake serves.
const MODEL: &str = "test-model-0101";

/// A gateway in front of one fake.
async fn gateway(fake: &FakeProvider, entries: &[&str]) -> Gateway {
    Gateway::start(env!("CARGO_BIN_EXE_tollway"), config(fake, entries)).await
}

fn config(fake: &FakeProvider, entries: &[&str]) -> Config {
    let model = Model::new("served", MODEL).price(Price::per_million("1", "1", "1"));
    let config = Config::new()
        .provider(Provider::fake("p", Kind::OpenAi, fake).model(model))
        .policy("a.yaml", "policy: p\nprobe: off\n");
    entries.iter().fold(config, |config, entry| config.with(entry))
}

async fn fake() -> FakeProvider {
    FakeProvider::speaking(Dialect::new(Kind::OpenAi)).await
}

fn chat() -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": "x"}]})
}

/// Asks with a key; an empty one is not sent.
async fn ask(gateway: &Gateway, key: &str) -> Response {
    let request = gateway.chat(&chat());
    if key.is_empty() { request.send().await } else { request.key(key).send().await }
}

async fn status(gateway: &Gateway, key: &str) -> u16 {
    let response = ask(gateway, key).await;
    let status = response.status;
    response.bytes().await;
    status
}

/// The code of the error that a key meets.
async fn code(gateway: &Gateway, key: &str) -> String {
    let error = ask(gateway, key).await.json().await;
    error["error"]["code"].as_str().unwrap_or_else(|| panic!("{error}")).to_owned()
}

/// Waits until a key is answered with `wanted`; returns how long that took.
async fn until(gateway: &Gateway, key: &str, wanted: u16) -> Duration {
    let began = Instant::now();
    while status(gateway, key).await != wanted {
        assert!(began.elapsed() < Duration::from_secs(20), "never {wanted}");
        // A key that is not known yet is a failed login, of which there may not be too many.
        tokio::time::sleep(Duration::from_millis(if wanted == 200 { 50 } else { 5 })).await;
    }
    began.elapsed()
}

/// `tollway keys …` in a gateway's own folder, as its operator runs it.
fn keys(gateway: &Gateway, words: &[&str]) -> Output {
    keys_in(&gateway.path(""), words)
}

fn keys_in(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollway"));
    command.arg("keys").args(words).args(["--config", "tollway.yaml"]).current_dir(folder).env_clear();
    command.output().unwrap()
}

/// The same, for its JSON.
fn told(gateway: &Gateway, words: &[&str]) -> Value {
    let output = keys(gateway, &[words, &["--output", "json"]].concat());
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Makes a key, and waits until the gateway has it.
async fn made(gateway: &Gateway, words: &[&str]) -> String {
    let made = told(gateway, &[&["create"], words].concat());
    known(gateway, &made["prefix"]).await;
    made["key"].as_str().unwrap().to_owned()
}

/// Waits until the gateway has a key that begins so.
async fn known(gateway: &Gateway, prefix: &Value) {
    let (began, token) = (Instant::now(), admin_token(gateway));
    loop {
        let page = gateway.admin().get("/admin/v1/keys").key(&token).send().await.json().await;
        if page["keys"].as_array().is_some_and(|keys| keys.iter().any(|key| key["prefix"] == *prefix)) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "never known: {page}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The token that the gateway made for itself.
fn admin_token(gateway: &Gateway) -> String {
    std::fs::read_to_string(gateway.path("data/admin.token")).unwrap().trim().to_owned()
}
