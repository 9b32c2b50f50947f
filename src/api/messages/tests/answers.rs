//! Whole answers and errors.

use serde_json::{Value, json};

use super::{START, face, tally, translated, with};
use crate::api::face::Said;

fn told(chat: &Value) -> Value {
    let told = face(&json!({})).whole(chat.to_string().as_bytes(), &START, &tally()).unwrap();
    serde_json::from_slice(&told).unwrap()
}

#[test]
fn a_whole_answer() {
    let message =
        told(&json!({"id": "x", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": "I look.", "reasoning_content": "Hm.", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}},
            {"type": "function", "function": {"name": "g", "arguments": ""}},
            {"id": "call_3", "type": "function", "function": {"name": "h", "arguments": "{\"a\":"}},
        ]}}]}));
    assert_eq!(
        message,
        json!({
            "id": "msg_req-1", "type": "message", "role": "assistant", "model": "m",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "unsigned:"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "toolu_req-1_1", "name": "g", "input": {}},
                {"type": "tool_use", "id": "call_3", "name": "h", "input": {"unparsed_arguments": "{\"a\":"}},
            ],
            "stop_reason": "tool_use", "stop_sequence": null, "stop_details": null,
            "usage": {"input_tokens": 5, "cache_creation_input_tokens": 1, "cache_read_input_tokens": 4,
                "output_tokens": 5, "output_tokens_details": {"thinking_tokens": 2}, "cost": 0.000_740_080},
        })
    );
}

#[test]
fn why_an_answer_ended() {
    let ended = |choice: Value| {
        let mut choice = choice;
        choice["message"]["content"] = json!("x");
        let chat = json!({"choices": [choice]}).to_string();
        let stopping = face(&json!({"stop_sequences": ["END"]}));
        let message = stopping.whole(chat.as_bytes(), &START, &tally()).unwrap();
        let message: Value = serde_json::from_slice(&message).unwrap();
        (message["stop_reason"].as_str().unwrap().to_owned(), message["stop_sequence"].clone())
    };
    assert_eq!(ended(json!({"finish_reason": "stop"})), ("end_turn".into(), Value::Null));
    assert_eq!(
        ended(json!({"finish_reason": "eos", "stop_reason": 151_645})),
        ("end_turn".into(), Value::Null)
    );
    assert_eq!(
        ended(json!({"finish_reason": "stop", "matched_stop": "<|im_end|>"})),
        ("end_turn".into(), Value::Null)
    );
    assert_eq!(ended(json!({"finish_reason": "length"})), ("max_tokens".into(), Value::Null));
    assert_eq!(ended(json!({"finish_reason": "content_filter"})), ("refusal".into(), Value::Null));
    assert_eq!(
        ended(json!({"finish_reason": "stop", "stop_reason": "END"})),
        ("stop_sequence".into(), json!("END"))
    );
    assert_eq!(
        ended(json!({"finish_reason": "stop", "matched_stop": "END"})),
        ("stop_sequence".into(), json!("END"))
    );
    assert_eq!(
        ended(json!({"finish_reason": "stop", "message": {"refusal": "No."}})),
        ("refusal".into(), Value::Null)
    );
    let filtered =
        told(&json!({"choices": [{"finish_reason": "content_filter", "message": {"content": ""}}]}));
    assert_eq!(filtered["content"], json!([]));
    let details = json!({"type": "refusal", "category": null, "explanation": null});
    assert_eq!(filtered["stop_details"], details);
}

#[test]
fn thoughts_are_hidden_from_who_wants_none() {
    let chat =
        json!({"choices": [{"message": {"content": "x", "reasoning": "Hm."}, "finish_reason": "stop"}]});
    assert_eq!(told(&chat)["content"].as_array().unwrap().len(), 2);
    let face = face(&json!({"thinking": {"type": "disabled"}}));
    let told = face.whole(chat.to_string().as_bytes(), &START, &tally()).unwrap();
    let told: Value = serde_json::from_slice(&told).unwrap();
    assert_eq!(told["content"], json!([{"type": "text", "text": "x"}]));
}

#[test]
fn an_omitted_thought_stands_in_its_signature_and_comes_back_from_it() {
    let chat =
        json!({"choices": [{"message": {"content": "x", "reasoning": "Hm."}, "finish_reason": "stop"}]});
    let face = face(&json!({"thinking": {"type": "adaptive", "display": "omitted"}}));
    let told = face.whole(chat.to_string().as_bytes(), &START, &tally()).unwrap();
    let content = serde_json::from_slice::<Value>(&told).unwrap()["content"].clone();
    assert_eq!(content[0], json!({"type": "thinking", "thinking": "", "signature": "unsigned:Hm."}));

    let mut out = Vec::new();
    let mut writer = crate::api::messages::Writer::new(&face, &START);
    for delta in [json!({"reasoning": "Hm"}), json!({"reasoning": "."}), json!({"content": "x"})] {
        let chunk = json!({"choices": [{"delta": delta}]}).to_string();
        writer.event(chunk.as_bytes(), &mut out).unwrap();
    }
    writer.done(&tally(), &mut out);
    let streamed = tollway_test_support::Message::whole(&tollway_test_support::events(&out));
    assert_eq!(streamed["content"], content);

    let messages = json!([{"role": "user", "content": "?"}, {"role": "assistant", "content": content}]);
    let (chat, _) = translated(&with(&json!({"messages": messages}))).unwrap();
    assert_eq!(chat["messages"][1], json!({"role": "assistant", "content": "x", "reasoning_content": "Hm."}));
}

#[test]
fn an_answer_of_another_shape_is_not_told() {
    for odd in ["{}", "[]", r#"{"choices":[]}"#, r#"{"choices":[{"message":{"tool_calls":7}}]}"#] {
        assert!(face(&json!({})).whole(odd.as_bytes(), &START, &tally()).is_err(), "{odd}");
    }
}

#[test]
fn errors_have_anthropics_types() {
    for (status, kind) in [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (408, "timeout_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ] {
        let status = http::StatusCode::from_u16(status).unwrap();
        let said = Said { status, kind: "x", param: None, code: "c", message: "m", request_id: "r" };
        let error: Value = serde_json::from_slice(&crate::api::messages::error(&said)).unwrap();
        assert_eq!(
            error,
            json!({"type": "error", "error": {"type": kind, "message": "m"}, "request_id": "r"})
        );
    }
}
