//! Whole answers: what a stream of the same ends with.

use serde_json::{Value, json};

use super::{START, chunk, face_of, finish, plain, tally, told};

fn whole(face: &super::Face, chat: &Value) -> Value {
    serde_json::from_slice(&face.whole(chat.to_string().as_bytes(), &START, &tally()).unwrap()).unwrap()
}

fn answered(message: &Value, finish: &str) -> Value {
    json!({"id": "c", "model": "up/m", "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 1}})
}

#[test]
fn a_whole_answer_is_what_its_stream_ends_with() {
    let message = json!({"role": "assistant", "reasoning_content": "Hm.", "content": "Good.", "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "tide", "arguments": "{}"}},
        {"id": "b", "type": "function", "function": {"name": "wind", "arguments": "{}"}}]});
    let whole = whole(&plain(), &answered(&message, "tool_calls"));
    let stream = [
        chunk(&json!({"reasoning_content": "Hm."})),
        chunk(&json!({"content": "Good."})),
        chunk(
            &json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "tide", "arguments": "{}"}}]}),
        ),
        chunk(
            &json!({"tool_calls": [{"index": 1, "id": "b", "function": {"name": "wind", "arguments": "{}"}}]}),
        ),
        finish("tool_calls"),
    ];
    assert_eq!(whole, told(&plain(), &stream).last().unwrap()["response"]);
    assert_eq!(whole["status"], "completed");
    assert_eq!(whole["output"].as_array().unwrap().len(), 4);
}

#[test]
fn usage_says_what_is_charged() {
    let bytes = plain()
        .whole(answered(&json!({"content": "x"}), "stop").to_string().as_bytes(), &START, &tally())
        .unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let expected = "\"usage\":{\"input_tokens\":40,\"input_tokens_details\":{\"cached_tokens\":8,\"cache_write_tokens\":0},\
                    \"output_tokens\":4,\"output_tokens_details\":{\"reasoning_tokens\":1},\"total_tokens\":44,\"cost\":0.000740080}";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn settings_are_repeated_as_they_came() {
    let asked = json!({"model": "m", "input": "x", "instructions": "Be brief.", "max_output_tokens": 64,
        "temperature": 0.5, "top_p": 0.9, "metadata": {"a": "b"}, "store": true, "truncation": "auto", "user": "u",
        "parallel_tool_calls": false, "tool_choice": "none", "prompt_cache_key": "k", "safety_identifier": "s",
        "reasoning": {"effort": "low"}, "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "tools": [{"type": "function", "name": "f", "parameters": {"x": 1E2}}]});
    let response = whole(&face_of(&asked), &answered(&json!({"content": "x"}), "stop"));
    let same = [
        "instructions",
        "max_output_tokens",
        "temperature",
        "top_p",
        "metadata",
        "user",
        "tools",
        "text",
        "parallel_tool_calls",
        "tool_choice",
        "prompt_cache_key",
        "safety_identifier",
    ];
    for name in same {
        assert_eq!(response[name], asked[name], "{name}");
    }
    assert_eq!(response["reasoning"], json!({"effort": "low", "summary": null}));
    assert_eq!((&response["store"], &response["background"]), (&json!(false), &json!(false)));
    assert_eq!(response["truncation"], "disabled");
    let bare = whole(&plain(), &answered(&json!({"content": "x"}), "stop"));
    assert_eq!(
        (&bare["tools"], &bare["metadata"], &bare["tool_choice"]),
        (&json!([]), &json!({}), &json!("auto"))
    );
    assert_eq!(bare["text"], json!({"format": {"type": "text"}}));
    assert_eq!((&bare["parallel_tool_calls"], &bare["error"]), (&json!(true), &Value::Null));
}

#[test]
fn a_cut_or_unreadable_answer_does_not_look_whole() {
    let cut = whole(&plain(), &answered(&json!({"content": "x"}), "length"));
    assert_eq!(
        (&cut["status"], &cut["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
    assert!(plain().whole(br#"{"choices":"none"}"#, &START, &tally()).is_err());
    assert!(plain().whole(br#"{"error":{"message":"x"}}"#, &START, &tally()).is_err());
}
