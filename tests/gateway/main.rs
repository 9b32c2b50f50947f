//! The whole gateway as a caller and an operator meet it: the real binary, real sockets, fake providers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::float_cmp,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::type_complexity,
    clippy::items_after_statements,
    reason = "tests: what cannot go on should stop, counts of a metrics page are exact in a float, and nothing here is the gateway's task"
)]

mod bad_input;
mod cost;
mod fallback;
mod faults;
mod fidelity;
mod floods;
mod hedges;
mod isolation;
mod kill;
mod learning;
mod manners;
mod messages;
mod models;
mod outages;
mod overload;
mod reload;
mod rerank;
mod rescue;
#[cfg(feature = "embedded-engine")]
mod rescue_engine;
mod rescue_faces;
mod rescue_refused;
mod responses;
mod responses_native;
mod responses_native_faults;
mod shadow;
mod slow_readers;
mod steering;
mod stopping;
mod stream_upstream;

use serde_json::{Value, json};
use tollway_test_support::{Config, Dialect, FakeProvider, Gateway, Kind, Model, Price, Provider, Response};

/// The checkpoint that all fakes serve.
const MODEL: &str = "test-model-0101";

/// A gateway in front of `config`'s providers.
async fn gateway(config: Config) -> Gateway {
    Gateway::start(env!("CARGO_BIN_EXE_tollway"), config).await
}

/// A fake that speaks plain OpenAI.
async fn fake() -> FakeProvider {
    FakeProvider::speaking(Dialect::new(Kind::OpenAi)).await
}

/// `fake` as a provider of [`MODEL`] at `price` dollars per million tokens, in and out.
fn provider(name: &str, fake: &FakeProvider, price: &str) -> Provider {
    let model = Model::new("served", MODEL).price(Price::per_million(price, price, price));
    Provider::fake(name, Kind::OpenAi, fake).model(model)
}

/// Two providers, the first of which is cheaper.
async fn pair() -> (FakeProvider, FakeProvider, Gateway) {
    let (first, second) = (fake().await, fake().await);
    let config =
        Config::new().provider(provider("first", &first, "0.1")).provider(provider("second", &second, "0.2"));
    let gateway = gateway(config).await;
    (first, second, gateway)
}

fn chat(text: &str) -> Value {
    json!({"model": MODEL, "messages": [{"role": "user", "content": text}]})
}

fn streamed(text: &str) -> Value {
    json!({"model": MODEL, "stream": true, "messages": [{"role": "user", "content": text}]})
}

/// A header of an answer.
fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers.get(name).unwrap_or_default()
}

/// The error object of an answer, checked for the shape that every error has.
async fn error_of(response: Response) -> Value {
    let id = header(&response, "x-request-id").to_owned();
    let content_type = header(&response, "content-type").to_owned();
    let body = response.json().await;
    let error = body["error"].clone();
    assert_eq!(content_type, "application/json", "{body}");
    assert!(!id.is_empty(), "an error without x-request-id: {body}");
    for key in ["message", "type"] {
        assert!(error[key].as_str().is_some_and(|text| !text.is_empty()), "{key} in {body}");
    }
    for key in ["param", "code"] {
        assert!(error.get(key).is_some_and(|value| value.is_null() || value.is_string()), "{key} in {body}");
    }
    error
}
