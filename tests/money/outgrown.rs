//! Answers that go on behind their bound: more is held for them, or they end.

use serde_json::json;
use tollway_test_support::{Gate, Gateway, Reply};

use crate::{charged, fake, ledger, metric_nanos, priced, streamed};

/// At ten dollars per million tokens, in nano-dollars.
const TOKEN: i64 = 10_000;
/// The step of a bound of two hundred tokens.
const STEP: i64 = 64;
const SENT: usize = 2_000;

/// A chunk for the choice at `index` that adds `delta`.
fn chunk(index: usize, delta: &serde_json::Value) -> String {
    let choice = json!({"index": index, "delta": delta, "finish_reason": null});
    json!({"id": "x", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [choice]})
        .to_string()
}

/// Ten times what was asked for, a token an event, whatever bound there was.
fn tenfold(choices: usize, delta: &serde_json::Value) -> Vec<String> {
    let mut events: Vec<String> = (0..SENT).map(|at| chunk(at % choices, delta)).collect();
    for index in 0..choices {
        let choice = json!({"index": index, "delta": {}, "finish_reason": "stop"});
        events.push(json!({"id": "x", "choices": [choice]}).to_string());
    }
    let usage = json!({"prompt_tokens": 20, "completion_tokens": SENT, "total_tokens": SENT + 20});
    events.push(json!({"id": "x", "choices": [], "usage": usage}).to_string());
    events
}

fn kinds() -> [(&'static str, usize, serde_json::Value); 4] {
    let call = json!([{"index": 0, "function": {"arguments": " tide"}}]);
    [
        ("text", 1, json!({"content": " tide"})),
        ("several answers", 2, json!({"content": " tide"})),
        ("reasoning", 1, json!({"reasoning_content": " tide"})),
        ("a tool's arguments", 1, json!({"tool_calls": call})),
    ]
}

async fn settled(gateway: &Gateway) {
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while metric_nanos(gateway, "tollway_budget_reserved_usd", "").await != 0 {
        assert!(std::time::Instant::now() < patience, "something stays held");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn r37_a_stream_that_its_budget_cannot_hold_ends_within_a_step() {
    for (kind, choices, delta) in kinds() {
        let fake = fake().await;
        fake.script(Reply::events(tenfold(choices, &delta)));
        // Enough for what is held, and for little more.
        let policy = "policy: p\nprobe: off\nfallback: {attempts: 1, midstream: error}\nbudget: {usd: 0.004, per: day, scope: policy}\n";
        let gateway = priced(&fake, "10", policy).await;
        let mut body = streamed(200 / choices as u64);
        body["n"] = json!(choices);
        let response = gateway.chat(&body).send().await;
        assert_eq!(response.status, 200, "{kind}");
        let text = response.text().await;
        assert_eq!(text.matches("\"finish_reason\":\"length\"").count(), choices, "{kind}: {text}");
        assert!(text.trim_end().ends_with("data: [DONE]") && !text.contains("error"), "{kind}: {text}");
        let said = text.matches(" tide").count();
        assert!((200..400).contains(&said), "{kind}: {said} of {SENT} tokens came through");
        settled(&gateway).await;
        let spent = charged(&gateway);
        assert!(spent >= i64::try_from(said).unwrap() * TOKEN, "{kind}: what was said is charged: {spent}");
        assert!(spent <= 4_000_000 + STEP * TOKEN, "{kind}: {spent}");
        assert_eq!(spent, metric_nanos(&gateway, "tollway_budget_spent_usd", "").await, "{kind}");
    }
}

#[tokio::test]
async fn r37_a_stream_that_its_budget_has_room_for_is_held_for_as_it_goes_on() {
    for (kind, choices, delta) in kinds() {
        let fake = fake().await;
        let gate = Gate::new();
        let reply = Reply::events(tenfold(choices, &delta)).before_packet(1_500, gate.clone());
        fake.script(reply);
        let policy = "policy: p\nprobe: off\nfallback: {attempts: 1, midstream: error}\nbudget: {usd: 1, per: day, scope: policy}\n";
        let gateway = priced(&fake, "10", policy).await;
        let mut body = streamed(200 / choices as u64);
        body["n"] = json!(choices);
        let response = gateway.chat(&body).send().await;
        let reading = tokio::spawn(response.text());
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let all = (1_500 - STEP) * TOKEN;
        while metric_nanos(&gateway, "tollway_budget_reserved_usd", "").await < all {
            assert!(std::time::Instant::now() < patience, "{kind}: what was said is not held");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        gate.open();
        let text = reading.await.unwrap();
        assert_eq!(text.matches(" tide").count(), SENT, "{kind}");
        assert!(!text.contains("\"length\""), "{kind}");
        settled(&gateway).await;
        let records = ledger(&gateway);
        assert_eq!(records.len(), 1, "{kind}");
        assert_eq!(charged(&gateway), 2_020 * TOKEN, "{kind}: as the provider reported");
    }
}

#[tokio::test]
async fn r37_other_faces_are_told_in_their_own_words_that_it_ended() {
    let policy = "policy: p\nprobe: off\nfallback: {attempts: 1, midstream: error}\nbudget: {usd: 0.004, per: day, scope: policy}\n";
    let fake = fake().await;
    fake.script(Reply::events(tenfold(1, &json!({"content": " tide"}))));
    let gateway = priced(&fake, "10", policy).await;
    let body = json!({"model": crate::MODEL, "max_tokens": 200, "stream": true, "messages": [{"role": "user", "content": "tok-1 hello"}]});
    let text = gateway.post("/v1/messages", body.to_string()).send().await.text().await;
    assert!(
        text.contains("\"stop_reason\":\"max_tokens\"") && text.contains("event: message_stop"),
        "{text}"
    );
    assert!((200..400).contains(&text.matches(" tide").count()), "{text}");

    // In a provider's own words it cannot be ended well, so it is broken off.
    let mut events = vec![
        json!({"type": "response.created", "sequence_number": 0, "response": {"id": "r", "error": null}}),
    ];
    events.extend((1..=SENT).map(
        |number| json!({"type": "response.output_text.delta", "sequence_number": number, "delta": " tide"}),
    ));
    let events =
        events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()));
    fake.script(Reply::stream([events.collect::<String>()]));
    let config = tollway_test_support::Config::new()
        .provider(crate::provider("one", &fake, "10").with("responses: native"))
        .policy("a.yaml", policy);
    let gateway = Gateway::start(crate::BINARY, config).await;
    let body =
        json!({"model": crate::MODEL, "input": "tok-1 hello", "max_output_tokens": 200, "stream": true});
    let text = gateway.post("/v1/responses", body.to_string()).send().await.text().await;
    assert!(text.contains("event: response.failed") && text.contains("outgrew its bound"), "{text}");
    assert!((200..400).contains(&text.matches(" tide").count()), "{text}");
    settled(&gateway).await;
    let spent = charged(&gateway);
    assert!(spent > 200 * TOKEN && spent <= 4_000_000 + STEP * TOKEN, "{spent}");
}
