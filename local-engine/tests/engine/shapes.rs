//! Answers that must have a shape: JSON, JSON by a schema, function calls.

use serde_json::{Value, json};

use crate::support::{Worker, streamed_text, text};

fn tools() -> Value {
    json!([
        {"type": "function", "function": {"name": "get_weather", "description": "The weather in a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"], "additionalProperties": false}}},
        {"type": "function", "function": {"name": "get_time", "description": "The time in a city",
            "parameters": {"type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}, "required": ["zone"], "additionalProperties": false}}},
    ])
}

#[test]
fn a_schema_is_kept_whole_and_streamed() {
    let worker = Worker::start(&[]);
    let schema = json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["name", "age"], "additionalProperties": false});
    let fields = json!({"messages": [{"role": "user", "content": "Invent a person."}], "max_tokens": 80, "temperature": 0.9, "seed": 5,
        "response_format": {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}});
    for answer in [text(&worker.chat(&fields)).to_owned(), streamed_text(&worker.stream(&fields))] {
        let person: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        assert!(
            person["name"].is_string() && person["age"].as_u64().is_some_and(|age| age <= 99),
            "{person}"
        );
        // In the order the schema has them.
        assert!(answer.find("name").unwrap() < answer.find("age").unwrap());
    }
}

#[test]
fn json_is_an_object() {
    let worker = Worker::start(&[]);
    let answer = worker.chat(&json!({"messages": [{"role": "user", "content": "Say {\"a\": 1}"}], "response_format": {"type": "json_object"}, "max_tokens": 200}));
    // A small model may not come to an end; what it wrote is an object's beginning all the same.
    let whole = serde_json::from_str::<Value>(text(&answer));
    assert!(
        whole.is_ok_and(|value| value.is_object())
            || (answer["choices"][0]["finish_reason"] == "length" && text(&answer).starts_with('{'))
    );
}

#[test]
fn a_named_function_is_called() {
    let worker = Worker::start(&[]);
    let fields = json!({"messages": [{"role": "user", "content": "What is the weather in Paris?"}], "tools": tools(), "max_tokens": 80,
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}}});
    let answer = worker.chat(&fields);
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    let call = &answer["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(call["function"]["name"], "get_weather");
    let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    assert!(arguments["city"].is_string(), "{arguments}");
}

#[test]
fn a_required_call_is_streamed_in_parts() {
    let worker = Worker::start(&[]);
    let fields = json!({"messages": [{"role": "user", "content": "What time is it in UTC?"}], "tools": tools(), "tool_choice": "required", "max_tokens": 120});
    let events = worker.stream(&fields);
    let deltas: Vec<&Value> = events
        .iter()
        .map(|event| &event["choices"][0]["delta"]["tool_calls"][0])
        .filter(|call| !call.is_null())
        .collect();
    assert!(deltas[0]["id"].as_str().unwrap().starts_with("call_") && deltas[1]["id"].is_null());
    let name = deltas[0]["function"]["name"].as_str().unwrap();
    let arguments: String =
        deltas.iter().map(|delta| delta["function"]["arguments"].as_str().unwrap()).collect();
    let arguments: Value =
        serde_json::from_str(&arguments).unwrap_or_else(|error| panic!("{error}: {arguments}"));
    let wanted = if name == "get_time" { "zone" } else { "city" };
    assert!(arguments[wanted].is_string(), "{name} {arguments}");
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn tools_on_auto_are_answered_in_words_and_earlier_calls_are_read() {
    let worker = Worker::start(&[]);
    let messages = json!([
        {"role": "user", "content": "What is the weather in Paris?"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\":\"Paris\"}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]);
    let answer = worker.chat(&json!({"messages": messages, "tools": tools(), "tool_choice": "auto"}));
    assert!(!text(&answer).is_empty());
    assert!(answer["choices"][0]["message"]["tool_calls"].is_null());
}
