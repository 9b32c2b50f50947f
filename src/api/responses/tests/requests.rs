//! Requests: what of them reaches the chat, and what is refused with which words.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::api::body::Call;
use crate::api::responses::translate;
use crate::routing::Endpoint;

use super::chat_of;

fn messages(input: &Value) -> Value {
    chat_of(&json!({"model": "m", "input": input}))["messages"].clone()
}

/// The parameter, the code and the message of a refusal.
fn refused(request: &Value) -> (String, &'static str, String) {
    let error = translate(&request.to_string().into(), 128).unwrap_err();
    (error.param().unwrap_or_default().to_owned(), error.code(), error.to_string())
}

fn with(name: &str, value: &Value) -> Value {
    json!({"model": "m", "input": "x", name: value})
}

#[test]
fn a_text_is_what_the_user_says() {
    assert_eq!(
        chat_of(&json!({"model": "m", "instructions": "Be brief.", "input": "Hi é\n"})),
        json!({"model": "m", "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi é\n"}]})
    );
}

#[test]
fn parts_become_a_chats() {
    let input = json!([{"role": "user", "content": [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]}]);
    assert_eq!(
        messages(&input),
        json!([{"role": "user", "content": [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"}},
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]}])
    );
    let face = super::face_of(&json!({"model": "m", "input": input}));
    assert_eq!(face.images().count, 3);
    // Only texts: one text, which every server takes.
    let input = json!([{"type": "message", "role": "user", "content": [
        {"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]}]);
    assert_eq!(messages(&input), json!([{"role": "user", "content": "a\nb"}]));
}

#[test]
fn leading_system_texts_are_one_message() {
    let input = json!([{"role": "developer", "content": "Two."}, {"role": "system", "content": "Three."},
        {"role": "user", "content": "x"}, {"role": "developer", "content": "Four."}]);
    let chat = chat_of(&json!({"model": "m", "instructions": "One.", "input": input}));
    assert_eq!(
        chat["messages"],
        json!([{"role": "system", "content": "One.\n\nTwo.\n\nThree."}, {"role": "user", "content": "x"},
            {"role": "system", "content": "Four."}])
    );
}

#[test]
fn a_turn_is_one_message_and_its_calls_are_answered_behind_it() {
    let input = json!([
        {"role": "user", "content": "Tide and wind?"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Two calls."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}]},
        {"type": "function_call", "call_id": "a", "name": "tide", "arguments": "{\"p\":1}"},
        {"type": "custom_tool_call", "call_id": "b", "name": "wind", "input": "\"now\""},
        {"type": "function_call_output", "call_id": "a", "output": "4.2 m"},
        {"type": "custom_tool_call_output", "call_id": "b", "output": [
            {"type": "input_text", "text": "a picture"}, {"type": "input_image", "image_url": "data:image/png;base64,AA=="}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Done."}]},
        {"role": "assistant", "content": "High, and windy."},
        {"role": "user", "content": "Thanks."}]);
    assert_eq!(
        messages(&input),
        json!([
            {"role": "user", "content": "Tide and wind?"},
            {"role": "assistant", "content": "Let me see.", "reasoning_content": "Two calls.", "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "tide", "arguments": "{\"p\":1}"}},
                {"id": "b", "type": "function", "function": {"name": "wind", "arguments": "{\"input\":\"\\\"now\\\"\"}"}}]},
            {"role": "tool", "content": "4.2 m", "tool_call_id": "a"},
            {"role": "tool", "content": "a picture", "tool_call_id": "b"},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
            // What led to no call is not repeated.
            {"role": "assistant", "content": "High, and windy."},
            {"role": "user", "content": "Thanks."}])
    );
}

#[test]
fn odd_turns_stay_whole() {
    let input = json!([{"role": "assistant", "content": "a"}, {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": ""}]);
    assert_eq!(
        messages(&input),
        json!([{"role": "assistant", "content": "a"},
            {"role": "assistant", "content": null, "refusal": "no",
             "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]}])
    );
}

#[test]
fn settings_are_called_as_a_chat_calls_them() {
    let chat = chat_of(
        &json!({"model": "m", "input": "x", "max_output_tokens": 64, "temperature": 0.5, "top_p": 0.9,
        "top_logprobs": 2, "reasoning": {"effort": "low", "summary": "auto"}, "text": {"verbosity": "low"},
        "metadata": {"tier": "batch"}, "user": "u", "safety_identifier": "s", "prompt_cache_key": "k",
        "service_tier": "flex", "store": true, "stream": true, "stream_options": {"include_obfuscation": false},
        "truncation": "auto", "background": false, "previous_response_id": null, "include": ["reasoning.encrypted_content"],
        "max_tool_calls": 3, "parallel_tool_calls": true, "tool_choice": "auto", "top_k": 5, "seed": 7}),
    );
    assert_eq!(
        chat,
        json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "max_completion_tokens": 64,
            "temperature": 0.5, "top_p": 0.9, "logprobs": true, "top_logprobs": 2, "reasoning_effort": "low",
            "verbosity": "low", "metadata": {"tier": "batch"}, "user": "u", "safety_identifier": "s",
            "prompt_cache_key": "k", "service_tier": "flex", "stream": true, "top_k": 5, "seed": 7})
    );
    assert_eq!(chat_of(&with("include", &json!(["message.output_text.logprobs"])))["logprobs"], true);
}

#[test]
fn numbers_and_schemas_keep_their_spelling() {
    let body = r#"{"model":"m","input":"x","seed":18446744073709551617,"temperature":1E-1,
        "text":{"format":{"type":"json_schema","name":"t","strict":true,"schema":{"minimum": 1.0}}},
        "tools":[{"type":"function","name":"f","description":"d\u00e9","parameters":{"maximum": 1e400},"strict":null}]}"#;
    let chat = String::from_utf8(translate(&body.to_owned().into(), 128).unwrap().0.to_vec()).unwrap();
    for kept in ["18446744073709551617", "1E-1", r#"{"minimum": 1.0}"#, r#"{"maximum": 1e400}"#] {
        assert!(chat.contains(kept), "{kept} in {chat}");
    }
    assert!(chat.contains(
        r#""response_format":{"type":"json_schema","json_schema":{"name":"t","strict":true,"schema":{"minimum": 1.0}}}"#
    ));
    assert!(chat.contains(
        r#"{"type":"function","function":{"name":"f","description":"dé","parameters":{"maximum": 1e400}}}"#
    ));
}

#[test]
fn tools_of_every_kind_become_functions() {
    let tools = json!([
        {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true},
        {"type": "custom", "name": "patch", "description": "Applies a patch.",
         "format": {"type": "grammar", "syntax": "lark", "definition": "start: \"x\""}},
        {"type": "namespace", "name": "git", "tools": [{"type": "function", "name": "log"}]}]);
    let chat = chat_of(
        &json!({"model": "m", "input": "x", "tools": tools, "tool_choice": {"type": "custom", "name": "patch"},
        "parallel_tool_calls": false}),
    );
    let tools = &chat["tools"];
    assert_eq!(
        tools[0],
        json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": true}})
    );
    assert_eq!(tools[1]["function"]["parameters"]["required"], json!(["input"]));
    assert_eq!(
        tools[1]["function"]["description"],
        "Applies a patch.\n\n`input` must follow this lark grammar:\nstart: \"x\""
    );
    assert_eq!(tools[2]["function"]["name"], "git__log");
    assert_eq!(chat["tool_choice"], json!({"type": "function", "function": {"name": "patch"}}));
    assert_eq!(chat["parallel_tool_calls"], false);
    let allowed =
        json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]});
    let tools = json!([{"type": "function", "name": "f"}, {"type": "function", "name": "g"}]);
    let chat = chat_of(&json!({"model": "m", "input": "x", "tools": tools, "tool_choice": allowed}));
    assert_eq!((&chat["tools"].as_array().unwrap().len(), &chat["tool_choice"]), (&1, &json!("required")));
}

#[test]
fn what_cannot_be_served_is_refused_and_says_what_to_do() {
    let cases = [
        (
            with("previous_response_id", &json!("resp_1")),
            "previous_response_id",
            "unsupported_parameter",
            "whole conversation",
        ),
        (
            with("conversation", &json!("conv_1")),
            "conversation",
            "unsupported_parameter",
            "whole conversation",
        ),
        (with("background", &json!(true)), "background", "unsupported_parameter", "stream"),
        (with("prompt", &json!({"id": "pmpt_1"})), "prompt", "unsupported_parameter", "instructions"),
        (with("n", &json!(2)), "n", "unsupported_parameter", "one answer"),
        (with("response_format", &json!({})), "response_format", "unsupported_parameter", "text.format"),
        (with("max_tokens", &json!(5)), "max_tokens", "unsupported_parameter", "max_output_tokens"),
        (with("max_output_tokens", &json!(0)), "max_output_tokens", "invalid_value", "at least 1"),
        (with("max_output_tokens", &json!("5")), "max_output_tokens", "invalid_type", "an integer"),
        (
            with("tools", &json!([{"type": "function", "name": "f"}, {"type": "web_search"}])),
            "tools[1].type",
            "invalid_value",
            "function",
        ),
        (with("tools", &json!([{"type": "local_shell"}])), "tools[0].type", "invalid_value", "function"),
        (
            with("tools", &json!([{"type": "function", "function": {"name": "f"}}])),
            "tools[0].name",
            "missing_required_parameter",
            "tools[0].name",
        ),
        (with("tool_choice", &json!("required")), "tool_choice", "invalid_value", "no tools"),
        (
            with("tool_choice", &json!({"type": "function", "name": "f"})),
            "tool_choice.name",
            "invalid_value",
            "\"f\"",
        ),
        (
            with("tool_choice", &json!({"type": "file_search"})),
            "tool_choice.type",
            "invalid_value",
            "function",
        ),
        (
            with("text", &json!({"format": {"type": "xml"}})),
            "text.format.type",
            "invalid_value",
            "json_schema",
        ),
        (
            with("text", &json!({"format": {"type": "json_schema", "name": "t"}})),
            "text.format.schema",
            "missing_required_parameter",
            "schema",
        ),
    ];
    refused_each(&cases);
}

#[test]
fn items_that_cannot_be_served_are_refused_with_their_place() {
    let cases = [
        (with("input", &json!([])), "input", "invalid_value", "empty"),
        (with("input", &json!(7)), "input", "invalid_type", "a number"),
        (
            with("input", &json!([{"role": "robot", "content": "x"}])),
            "input[0].role",
            "invalid_value",
            "robot",
        ),
        (
            with("input", &json!([{"role": "user"}])),
            "input[0].content",
            "missing_required_parameter",
            "content",
        ),
        (
            with("input", &json!([{"type": "web_search_call"}])),
            "input[0].type",
            "invalid_value",
            "web_search_call",
        ),
        (
            with("input", &json!([{"type": "item_reference", "id": "x"}])),
            "input[0].type",
            "unsupported_parameter",
            "item itself",
        ),
        (
            with("input", &json!([{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}])),
            "input[0].content[0].file_id",
            "unsupported_parameter",
            "image_url",
        ),
        (
            with("input", &json!([{"role": "user", "content": [{"type": "text2"}]}])),
            "input[0].content[0].type",
            "invalid_value",
            "input_text",
        ),
        (json!({"model": "m"}), "input", "missing_required_parameter", "input"),
        (json!([1]), "", "invalid_json", "an array"),
    ];
    refused_each(&cases);
}

/// A request, the parameter at fault, the code, and words of the message.
type Refused = (Value, &'static str, &'static str, &'static str);

fn refused_each(cases: &[Refused]) {
    for (request, param, code, words) in cases {
        let (at, found, message) = refused(request);
        assert_eq!((at.as_str(), found), (*param, *code), "{request}: {message}");
        assert!(message.contains(words), "{words:?} in {message:?}");
    }
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    for body in [
        r#"{"model":"m","model":"n","input":"x"}"#,
        r#"{"model":"m","input":[{"role":"user","role":"system","content":"x"}]}"#,
        r#"{"model":"m","input":"x""#,
        "{\"model\":\"m\",\"input\":\"\u{1}\"}",
    ] {
        assert!(translate(&body.to_owned().into(), 128).is_err(), "{body}");
    }
    let deep = format!("{{\"model\":\"m\",\"input\":\"x\",\"a\":{}{}}}", "[".repeat(40), "]".repeat(40));
    assert_eq!(translate(&deep.into(), 30).unwrap_err().code(), "invalid_json");
}

/// JSON of a request's vocabulary, put together without sense.
fn nonsense() -> impl Strategy<Value = Value> {
    const WORDS: &[&str] = &[
        "type",
        "role",
        "content",
        "input",
        "message",
        "user",
        "assistant",
        "developer",
        "function",
        "function_call",
        "function_call_output",
        "custom",
        "custom_tool_call",
        "namespace",
        "reasoning",
        "summary",
        "call_id",
        "name",
        "arguments",
        "output",
        "text",
        "input_text",
        "input_image",
        "image_url",
        "tools",
        "tool_choice",
        "format",
        "json_schema",
        "schema",
        "include",
        "allowed_tools",
        "mode",
        "model",
        "instructions",
        "max_output_tokens",
    ];
    let word = || proptest::sample::select(WORDS);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0_u64..3).prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((word(), inner), 0..6).prop_map(|members| members
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_taken_becomes_a_chat(input in nonsense(), tools in nonsense(), choice in nonsense(), text in nonsense()) {
        for request in [
            json!({"model": "m", "input": input}),
            json!({"model": "m", "input": [{"role": "user", "content": input}, input]}),
            json!({"model": "m", "input": "x", "tools": [tools], "tool_choice": choice, "text": text}),
        ] {
            match translate(&request.to_string().into(), 128) {
                Ok((chat, _)) => {
                    let call = Call::parse(Endpoint::Chat, chat.clone(), 128);
                    prop_assert!(call.is_ok(), "{:?}: {} became {:?}", call, request, chat);
                }
                Err(error) => prop_assert!(error.param().is_some(), "{}: {}", error, request),
            }
        }
    }
}
