//! `stream_upstream`: an answer that is no stream, asked for as one and put together: the same answer.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollway_test_support::{Break, Config, Dialect, FakeProvider, Gateway, Kind, Model, Price, Provider};

use crate::{MODEL, gateway, header};

const POLICY: &str = "policy: p\nstream_upstream: true\nfallback: {first_token_timeout: 1s, idle_timeout: 600ms}\nprobe: off\n";

fn provider(name: &str, kind: Kind, fake: &FakeProvider, price: &str) -> Provider {
    let model = Model::new("served", MODEL).price(Price::per_million(price, price, price));
    Provider::fake(name, kind, fake).model(model)
}

async fn alone(dialect: Dialect, kind: Kind, policy: &str) -> (FakeProvider, Gateway) {
    let fake = FakeProvider::speaking(dialect).await;
    let config = Config::new().provider(provider("p", kind, &fake, "1")).policy("a.yaml", policy);
    let gateway = gateway(config).await;
    (fake, gateway)
}

fn asked() -> Vec<Value> {
    let chat = |more: Value| {
        let mut body = json!({"model": MODEL, "messages": [{"role": "user", "content": "say tok-7 twice"}]});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    let tool = json!([{"type": "function", "function": {"name": "port", "parameters": {"type": "object"}}}]);
    vec![chat(json!({})), chat(json!({"stream": false, "max_tokens": 5})), chat(json!({"tools": tool}))]
}

/// What of an answer must be the same, however it was asked for.
fn essence(answer: &Value) -> Value {
    let choice = &answer["choices"][0];
    let message = &choice["message"];
    let thought = message["reasoning"].as_str().or(message["reasoning_content"].as_str());
    let calls = message["tool_calls"].as_array().filter(|calls| !calls.is_empty());
    json!({"object": answer["object"], "created": answer["created"], "model": answer["model"], "role": message["role"],
        "text": message["content"].as_str().filter(|text| !text.is_empty()), "thought": thought, "calls": calls,
        "finish": choice["finish_reason"], "index": choice["index"], "usage": answer["usage"]})
}

#[tokio::test]
async fn a_gathered_answer_is_the_answer() {
    for kind in Kind::ALL {
        // The plain fake thinks aloud in streams alone.
        let thoughts = if kind == Kind::OpenAi { 0 } else { 2 };
        let dialect = || Dialect::new(kind).reasoning(thoughts).cached(3);
        let (plain_fake, plain) = alone(dialect(), kind, "policy: p\n").await;
        let (fake, gathering) = alone(dialect(), kind, POLICY).await;
        for body in asked() {
            let expected = plain.chat(&body).send().await;
            let response = gathering.chat(&body).send().await;
            assert_eq!(header(&response, "content-type"), "application/json", "{kind:?}");
            assert_eq!(
                header(&response, "x-tollway-cost-usd"),
                header(&expected, "x-tollway-cost-usd"),
                "{kind:?}"
            );
            let (answer, expected) = (response.json().await, expected.json().await);
            assert_eq!(essence(&answer), essence(&expected), "{kind:?} {body}\n{answer:#}");
            assert_eq!(fake.last().json()["stream"], true);
        }
        assert!(plain_fake.recorded().iter().all(|one| one.json()["stream"] != true));
        let line: Value = serde_json::from_str(&gathering.logged("\"outcome\":\"ok\"").await).unwrap();
        assert_eq!((&line["stream"], &line["usage"]), (&json!(false), &json!("reported")));
    }
}

#[tokio::test]
async fn a_stream_that_breaks_unseen_is_replaced_from_the_beginning() {
    for how in [Break::Close, Break::Reset, Break::Stall] {
        let dialect = Dialect::new(Kind::OpenAi);
        let fakes = [FakeProvider::start().await, FakeProvider::speaking(dialect.clone()).await];
        fakes[0].on(move |request| dialect.answer(request).cut_after_events(5, how.clone()));
        let config = Config::new()
            .provider(provider("first", Kind::OpenAi, &fakes[0], "0.1"))
            .provider(provider("second", Kind::OpenAi, &fakes[1], "0.2"))
            .policy("a.yaml", POLICY);
        let gateway = gateway(config).await;
        let response = gateway.chat(&asked()[0]).send().await;
        assert_eq!((response.status, header(&response, "x-tollway-route")), (200, "second/served"));
        assert_eq!(response.json().await["choices"][0]["finish_reason"], "stop");
    }
}

#[tokio::test]
async fn r21_time_outs_count_from_token_to_token() {
    // Longer than a whole answer of 5 tokens may take (a first token's second and 5/30 s), and never silent for long.
    let slow = Dialect::new(Kind::OpenAi).tokens(5).gap(Duration::from_millis(300));
    let (_fake, gathering) = alone(slow.clone(), Kind::OpenAi, POLICY).await;
    let mut body = asked()[0].clone();
    body["max_tokens"] = json!(5);
    let began = Instant::now();
    let response = gathering.chat(&body).send().await;
    assert_eq!(response.status, 200);
    assert!(began.elapsed() > Duration::from_millis(1_300), "{:?}", began.elapsed());
    // The caller's own time bounds it all the same.
    let response = gathering.chat(&body).header("x-stainless-read-timeout", "0.9").send().await;
    assert_eq!(response.status, 504);
}
