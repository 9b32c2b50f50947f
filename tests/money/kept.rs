//! Answers kept for equal requests: asked once, told again at no cost, never across teams.

use serde_json::{Value, json};
use tollway_test_support::{Config, Event, Gateway};

use crate::{BINARY, chat, fake, header, ledger, metric_nanos, nanos, provider, streamed};

const KEYS: &str = "keys: [{name: a, key: sk-aaaaaaaaaa, team: red}, {name: b, key: sk-bbbbbbbbbb, team: red}, {name: c, key: sk-cccccccccc, team: blue}]";

async fn keeping(fake: &tollway_test_support::FakeProvider, cache: &str) -> Gateway {
    let config = Config::new()
        .provider(provider("one", fake, "1"))
        .with(KEYS)
        .policy("a.yaml", &format!("policy: p\nprobe: off\ncache: {cache}\n"));
    Gateway::start(BINARY, config).await
}

#[tokio::test]
async fn an_equal_request_is_answered_again_at_no_cost() {
    let fake = fake().await;
    let gateway = keeping(&fake, "{ttl: 10m}").await;
    let first = gateway.chat(&chat(5)).key("sk-aaaaaaaaaa").send().await;
    let cost = nanos(&Value::String(header(&first, "x-tollway-cost-usd").to_owned()));
    let first = first.json().await;
    // Spelled otherwise, by another of the team.
    let spelled = "{ \"max_tokens\":5, \"messages\":[{\"content\":\"tok-1 \\u0068ello\",\"role\":\"user\"}],\"model\": \"test-model-0101\"}";
    let second = gateway.post("/v1/chat/completions", spelled).key("sk-bbbbbbbbbb").send().await;
    assert_eq!(
        (second.status, header(&second, "x-tollway-cache"), header(&second, "x-tollway-attempts")),
        (200, "hit", "0")
    );
    let second = second.json().await;
    assert_eq!(second["choices"], first["choices"]);
    assert_eq!(nanos(&second["usage"]["cost"]), 0);
    assert_eq!(fake.count(), 1);
    let record = ledger(&gateway).pop().unwrap();
    assert_eq!((nanos(&record["amount_usd"]), nanos(&record["saved_usd"])), (0, cost), "{record}");
    assert_eq!(metric_nanos(&gateway, "tollway_saved_usd_total", "source=\"cache_exact\"").await, cost);
    assert_eq!(metric_nanos(&gateway, "tollway_cost_usd_total", "").await, cost);
}

#[tokio::test]
async fn a_stream_is_told_again_as_a_stream_in_the_callers_shape() {
    let fake = fake().await;
    let gateway = keeping(&fake, "{ttl: 10m}").await;
    let words = |events: &[Event]| -> String {
        let chunks = events.iter().filter_map(Event::json);
        chunks
            .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
            .collect()
    };
    let first = gateway.chat(&streamed(6)).key("sk-aaaaaaaaaa").send().await.events().await;
    let second = gateway.chat(&streamed(6)).key("sk-aaaaaaaaaa").send().await;
    assert_eq!(header(&second, "x-tollway-cache"), "hit");
    let second = second.events().await;
    assert_eq!(words(&second), words(&first));
    assert!(second.last().is_some_and(Event::is_done));
    // Who asks for no usage gets none; who asks for a whole answer is asked for by itself.
    let mut quiet = streamed(6);
    quiet["stream_options"] = json!({"include_usage": false});
    let quiet = gateway.chat(&quiet).key("sk-aaaaaaaaaa").send().await;
    assert_eq!(header(&quiet, "x-tollway-cache"), "hit");
    assert!(!quiet.text().await.contains("\"usage\":{"));
    let whole = gateway.chat(&chat(6)).key("sk-aaaaaaaaaa").send().await;
    assert_eq!((header(&whole, "x-tollway-cache"), fake.count()), ("", 2));
}

#[tokio::test]
async fn r55_no_answer_crosses_teams_unless_it_is_told_to_and_a_caller_may_object() {
    let fake = fake().await;
    let gateway = keeping(&fake, "{ttl: 10m}").await;
    for (key, asked) in [("sk-aaaaaaaaaa", 1), ("sk-cccccccccc", 2), ("sk-bbbbbbbbbb", 2)] {
        gateway.chat(&chat(5)).key(key).send().await.bytes().await;
        assert_eq!(fake.count(), asked, "{key}");
    }
    gateway
        .chat(&chat(5))
        .key("sk-aaaaaaaaaa")
        .header("cache-control", "no-cache")
        .send()
        .await
        .bytes()
        .await;
    assert_eq!(fake.count(), 3);
    let shared = keeping(&fake, "{ttl: 10m, scope: all}").await;
    for key in ["sk-aaaaaaaaaa", "sk-cccccccccc"] {
        shared.chat(&chat(5)).key(key).send().await.bytes().await;
    }
    assert_eq!(fake.count(), 4);
}
