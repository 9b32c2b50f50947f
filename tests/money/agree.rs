//! One amount, told everywhere: in the header, in `usage.cost`, in the log, in the metrics, in the budget and in the ledger.

use serde_json::{Value, json};
use tollway_test_support::{Break, Config, Gateway, Reply};

use crate::{
    BINARY, MODEL, charged, chat, fake, header, ledger, metric_nanos, nanos, priced, provider, streamed,
};

const POLICY: &str = "policy: p\nprobe: off\nbudget: {usd: 1, per: month, scope: policy}\n";

#[tokio::test]
async fn an_answer_costs_the_same_wherever_it_is_told() {
    let fake = fake().await;
    let gateway = priced(&fake, "3.1", POLICY).await;
    let whole = gateway.chat(&chat(7)).send().await;
    let told = nanos(&Value::String(header(&whole, "x-tollway-cost-usd").to_owned()));
    let body = whole.json().await;
    assert_eq!(nanos(&body["usage"]["cost"]), told);
    let usage = &body["usage"];
    let tokens = usage["prompt_tokens"].as_i64().unwrap() + usage["completion_tokens"].as_i64().unwrap();
    assert_eq!(told, tokens * 3_100);

    let events = gateway.chat(&streamed(7)).send().await.events().await;
    let chunks: Vec<Value> = events.iter().filter_map(tollway_test_support::Event::json).collect();
    let in_stream = nanos(&chunks.last().unwrap()["usage"]["cost"]);
    assert_eq!(in_stream, told, "the same question");

    let records = ledger(&gateway);
    assert_eq!(records.len(), 2);
    for record in &records {
        assert_eq!(nanos(&record["amount_usd"]), told, "{record}");
        assert_eq!((&record["outcome"], &record["status"]), (&json!("ok"), &json!(200)));
        assert_eq!(
            (&record["policy"], &record["team"], &record["model"]),
            (&json!("p"), &json!("default"), &json!(MODEL))
        );
        let attempt = &record["attempts"][0];
        assert_eq!((&attempt["route"], &attempt["source"]), (&json!("one/served"), &json!("reported")));
        let parts = ["input_usd", "cache_read_usd", "cache_write_usd", "output_usd", "request_usd"];
        assert_eq!(parts.iter().map(|part| nanos(&attempt[part])).sum::<i64>(), told);
        assert!(!attempt["price_source"].as_str().unwrap().is_empty());
    }
    assert_eq!(metric_nanos(&gateway, "tollway_cost_usd_total", "").await, told * 2);
    assert_eq!(metric_nanos(&gateway, "tollway_budget_spent_usd", "scope=\"policy\"").await, told * 2);
    assert_eq!(metric_nanos(&gateway, "tollway_budget_reserved_usd", "").await, 0);
    // Lines are written by a thread of their own.
    for id in records.iter().map(|record| record["id"].as_str().unwrap()) {
        let line: Value = serde_json::from_str(&gateway.logged(id).await).unwrap();
        assert_eq!(nanos(&line["cost_usd"]), told, "{line}");
    }
}

#[tokio::test]
async fn attempts_without_an_answer_are_charged_to_who_asked() {
    let (first, second) = (fake().await, fake().await);
    let config = Config::new()
        .provider(provider("first", &first, "1"))
        .provider(provider("second", &second, "2"))
        .policy("a.yaml", POLICY);
    let gateway = Gateway::start(BINARY, config).await;
    // Its head comes, and then nothing that could be read: who took the prompt bills it.
    first.script(Reply::empty());
    let response = gateway.chat(&chat(7)).send().await;
    assert_eq!((response.status, header(&response, "x-tollway-attempts")), (200, "2"));
    let told = nanos(&Value::String(header(&response, "x-tollway-cost-usd").to_owned()));
    let record = ledger(&gateway).pop().unwrap();
    let attempts = record["attempts"].as_array().unwrap();
    let words: Vec<_> =
        attempts.iter().map(|one| (one["outcome"].as_str().unwrap(), nanos(&one["amount_usd"]))).collect();
    assert_eq!((words[0].0, words[1].0), ("failed", "ok"), "{record}");
    assert!(words[0].1 > 0, "{record}");
    assert_eq!((words[0].1 + words[1].1, nanos(&record["amount_usd"])), (told, told), "{record}");
    assert_eq!(metric_nanos(&gateway, "tollway_cost_usd_total", "").await, told);
    assert_eq!(charged(&gateway), told);
}

#[tokio::test]
async fn what_nobody_answered_and_who_left_are_recorded_too() {
    let fake = fake().await;
    let gateway = priced(&fake, "1", "policy: p\nprobe: off\nfallback: {midstream: error}\n").await;
    fake.script(Reply::error(500, "x", "no"));
    assert_eq!(gateway.chat(&chat(7)).send().await.status, 500, "as every route said it");
    let record = ledger(&gateway).pop().unwrap();
    assert_eq!(
        (&record["status"], &record["outcome"], &record["amount_usd"]),
        (&json!(500), &json!("upstream_error"), &json!("0.000000000"))
    );
    assert_eq!(record["attempts"][0]["outcome"], "failed");

    fake.script(Reply::fixture("fireworks_stream_usage_own_chunk.sse").cut_after_events(3, Break::Reset));
    gateway.chat(&streamed(7)).send().await.bytes().await;
    gateway.logged("\"outcome\":\"upstream_error\",\"stream\":true").await;
    let record = ledger(&gateway).pop().unwrap();
    assert_eq!((&record["status"], &record["outcome"]), (&json!(200), &json!("upstream_error")), "{record}");
    assert!(nanos(&record["amount_usd"]) > 0, "{record}");
    assert_eq!(record["attempts"][0]["outcome"], "broken");
}
