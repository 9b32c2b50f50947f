//! A broken stream that is told in another shape than chat's goes on as well.

use serde_json::{Value, json};
use tollway_test_support::{Break, Dialect, Event, Kind};

use crate::rescue::{Pair, TOKENS, uncut};

#[tokio::test]
async fn a_stream_in_another_shape_goes_on_as_well() {
    let dialect = Dialect::new(Kind::OpenAi).tokens(TOKENS);
    let whole = uncut(&dialect);
    let pair =
        Pair::of([dialect.clone(), dialect], [Kind::OpenAi, Kind::OpenAi], "kind: vllm", 2, |case, reply| {
            reply.cut_after_events([2, 9][case], Break::Reset)
        })
        .await;
    for case in 0..2 {
        let body = json!({"model": format!("c-{case}"), "stream": true, "max_tokens": 64,
            "messages": [{"role": "user", "content": "say tok-7 twice"}]});
        let events = pair.gateway.post("/v1/messages", body.to_string()).send().await.events().await;
        let names: Vec<&str> = events.iter().filter_map(|event| event.name.as_deref()).collect();
        let count = |name: &str| names.iter().filter(|one| **one == name).count();
        assert_eq!((count("message_start"), count("message_stop"), count("error")), (1, 1, 0), "{names:?}");
        assert_eq!(count("content_block_start"), 1, "{names:?}");
        let chunks: Vec<Value> = events.iter().filter_map(Event::json).collect();
        let text: String = chunks.iter().filter_map(|chunk| chunk["delta"]["text"].as_str()).collect();
        assert_eq!(text, whole, "case {case}");
        let delta = chunks.iter().find(|chunk| chunk["type"] == "message_delta").unwrap();
        assert_eq!(
            (&delta["delta"]["stop_reason"], &delta["usage"]["output_tokens"]),
            (&json!("end_turn"), &json!(TOKENS))
        );
    }
}

#[tokio::test]
async fn responses_go_on_as_well() {
    let dialect = Dialect::new(Kind::OpenAi).tokens(TOKENS);
    let whole = uncut(&dialect);
    let pair =
        Pair::of([dialect.clone(), dialect], [Kind::OpenAi, Kind::OpenAi], "kind: vllm", 1, |_, reply| {
            reply.cut_after_events(6, Break::Reset)
        })
        .await;
    let body = json!({"model": "c-0", "stream": true, "input": "say tok-7 twice"});
    let events = pair.gateway.post("/v1/responses", body.to_string()).send().await.events().await;
    let chunks: Vec<Value> = events.iter().filter_map(Event::json).collect();
    let text: String = chunks
        .iter()
        .filter(|chunk| chunk["type"] == "response.output_text.delta")
        .filter_map(|chunk| chunk["delta"].as_str())
        .collect();
    assert_eq!(text, whole);
    let last = chunks.last().unwrap();
    assert_eq!(
        (&last["type"], &last["response"]["usage"]["output_tokens"]),
        (&json!("response.completed"), &json!(TOKENS))
    );
}
