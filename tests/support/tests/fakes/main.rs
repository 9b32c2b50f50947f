//! The fakes themselves: what they send is what was scripted, byte for byte and break for break.

#![allow(clippy::disallowed_methods, reason = "tests live in real time")]

mod breaks;
mod dialects;
mod fixtures;
mod lives;
mod packets;

use tollway_test_support::{Client, FakeProvider, Reply, Response};

/// A chat that asks for that token back.
fn chat(token: &str, more: &str) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"say {token} now"}}]{more}}}"#)
}

/// The answer of a fresh fake with that script.
async fn answer(reply: Reply) -> (FakeProvider, Response) {
    let fake = FakeProvider::start().await;
    fake.script(reply);
    let response = Client::new(fake.address()).post("/v1/chat/completions", chat("tok-1", "")).send().await;
    (fake, response)
}
