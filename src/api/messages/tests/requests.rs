//! Messages requests, held against what Anthropic's API says of them.

use serde_json::{Value, json};

use super::{translated, with};
use crate::api::body::Error;
use crate::api::messages::{Purpose, translate};

fn chat(request: &Value) -> Value {
    translated(request).unwrap_or_else(|error| panic!("{request}: {error}")).0
}

fn refusal(request: &Value) -> (String, String) {
    let error = translated(request).err().unwrap_or_else(|| panic!("{request} was taken"));
    (error.param().unwrap_or_default().to_owned(), error.to_string())
}

fn of_messages(messages: &Value) -> Value {
    chat(&with(&json!({"messages": messages})))["messages"].clone()
}

#[test]
fn the_least_request() {
    let expected = json!({"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]});
    assert_eq!(chat(&with(&json!({}))), expected);
}

#[test]
fn the_system_prompt_is_the_first_message_without_the_line_for_billing() {
    let request = with(&json!({"system": "Be brief."}));
    assert_eq!(chat(&request)["messages"][0], json!({"role": "system", "content": "Be brief."}));
    let blocks = json!([
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=93af;"},
        {"type": "text", "text": "You are a tool.", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "Be brief."},
    ]);
    let messages = chat(&with(&json!({"system": blocks})))["messages"].clone();
    assert_eq!(messages[0], json!({"role": "system", "content": "You are a tool.\n\nBe brief."}));
    assert_eq!(messages.as_array().unwrap().len(), 2);
}

#[test]
fn text_and_images() {
    let content = json!([
        {"type": "text", "text": "What is \"this\"?"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
    ]);
    let request = with(&json!({"messages": [{"role": "user", "content": content}]}));
    let (chat, face) = translated(&request).unwrap();
    let parts = json!([
        {"type": "text", "text": "What is \"this\"?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]);
    assert_eq!(chat["messages"], json!([{"role": "user", "content": parts}]));
    assert_eq!((face.images.count, face.images.bytes), (2, 4));
    let texts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    assert_eq!(of_messages(&json!([{"role": "user", "content": texts}]))[0]["content"], "a\n\nb");
}

#[test]
fn documents_of_text_and_search_results_are_text() {
    let content = json!([
        {"type": "document", "title": "A", "source": {"type": "text", "media_type": "text/plain", "data": "b"}},
        {"type": "search_result", "title": "C", "source": "https://d", "content": [{"type": "text", "text": "e"}],
            "citations": {"enabled": false}},
    ]);
    let messages = of_messages(&json!([{"role": "user", "content": content}]));
    assert_eq!(messages[0]["content"], "A\n\nb\n\nC\nhttps://d\n\ne");
}

#[test]
fn a_turn_with_tools_and_thoughts_goes_there_as_it_came_back() {
    let messages = json!([
        {"role": "user", "content": "Weather in Rome and Oslo?"},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Two calls.", "signature": "unsigned:"},
            {"type": "redacted_thinking", "data": "xyz"},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Rome", "n": 18_446_744_073_709_551_615_u64}},
            {"type": "tool_use", "id": "call_2", "name": "weather", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"},
            {"type": "tool_result", "tool_use_id": "call_2", "is_error": true, "content": [
                {"type": "text", "text": "no such"}, {"type": "text", "text": "city"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
            ]},
            {"type": "text", "text": "So?"},
        ]},
    ]);
    assert_eq!(
        of_messages(&messages),
        json!([
            {"role": "user", "content": "Weather in Rome and Oslo?"},
            {"role": "assistant", "content": "I look.", "reasoning_content": "Two calls.", "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Rome\",\"n\":18446744073709551615}"}},
                {"id": "call_2", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
            ]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
            {"role": "tool", "tool_call_id": "call_2", "content": "Error: no such\ncity"},
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
                {"type": "text", "text": "So?"},
            ]},
        ])
    );
    let silent = json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": [
        {"type": "tool_use", "id": "c", "name": "f", "input": {}}]}, {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "c"}]}]);
    let silent = of_messages(&silent);
    assert_eq!(silent[1]["content"], Value::Null);
    assert_eq!(silent[2], json!({"role": "tool", "tool_call_id": "c", "content": ""}));
}

#[test]
fn tools_and_which_to_call() {
    let tool = json!({"name": "f", "description": "d", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}, "strict": false});
    let function = json!({"name": "f", "description": "d", "parameters": {"type": "object"}});
    for (choice, expected) in [
        (json!({"type": "auto"}), json!("auto")),
        (json!({"type": "any"}), json!("required")),
        (json!({"type": "none"}), json!("none")),
        (json!({"type": "tool", "name": "f"}), json!({"type": "function", "function": {"name": "f"}})),
    ] {
        let chat = chat(&with(&json!({"tools": [tool], "tool_choice": choice})));
        assert_eq!(chat["tools"], json!([{"type": "function", "function": function}]));
        assert_eq!((&chat["tool_choice"], &chat["parallel_tool_calls"]), (&expected, &Value::Null));
    }
    let one = json!({"type": "auto", "disable_parallel_tool_use": true});
    assert_eq!(chat(&with(&json!({"tools": [tool], "tool_choice": one})))["parallel_tool_calls"], false);
    assert_eq!(chat(&with(&json!({"tools": [], "tool_choice": {"type": "auto"}}))), chat(&with(&json!({}))));
}

#[test]
fn a_deferred_tool_is_loaded_once_a_search_has_found_it() {
    let tool = |name: &str, deferred: bool| json!({"name": name, "input_schema": {"type": "object"}, "defer_loading": deferred});
    let tools = json!([tool("search", false), tool("fetch", true), tool("other", true)]);
    let names = |chat: Value| -> Vec<String> {
        let tools = chat["tools"].as_array().unwrap().iter();
        tools.map(|tool| tool["function"]["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(chat(&with(&json!({"tools": tools})))), ["search"]);
    let messages = json!([
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "search", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c",
            "content": [{"type": "tool_reference", "tool_name": "fetch"}]}]},
    ]);
    let chat = chat(&with(&json!({"tools": tools, "messages": messages})));
    assert_eq!(chat["messages"][2]["content"], "The tool fetch can be called from now on.");
    assert_eq!(names(chat), ["search", "fetch"]);
}

#[test]
fn messages_of_one_speaker_are_one_and_late_instructions_are_the_users_to_say() {
    let messages = json!([
        {"role": "system", "content": "First."},
        {"role": "user", "content": "a"},
        {"role": "system", "content": [{"type": "text", "text": "Be kind."}]},
        {"role": "user", "content": [
            {"type": "image", "source": {"type": "url", "url": "u"}}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c"},
        {"role": "system", "content": "d"},
    ]);
    let chat = chat(&with(&json!({"system": "Zeroth.", "messages": messages})));
    assert_eq!(
        chat["messages"],
        json!([
            {"role": "system", "content": "Zeroth.\n\nFirst."},
            {"role": "user", "content": [
                {"type": "text", "text": "a\n\n<system-reminder>\nBe kind.\n</system-reminder>"},
                {"type": "image_url", "image_url": {"url": "u"}},
                {"type": "text", "text": "b"},
            ]},
            {"role": "assistant", "content": "c"},
            {"role": "user", "content": "<system-reminder>\nd\n</system-reminder>"},
        ])
    );
}

#[test]
fn the_other_members() {
    let request = with(&json!({
        "stop_sequences": ["END"], "temperature": 0.5, "top_p": 0.9, "top_k": 40, "stream": true,
        "metadata": {"user_id": "u-1", "tier": "batch", "odd": "a,b", "number": 1},
        "output_config": {"effort": "xhigh", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "service_tier": "auto", "context_management": {"edits": []}, "betas": ["x"], "container": null,
        "provider": {"sort": "price"}, "seed": 7,
    }));
    let (chat, face) = translated(&request).unwrap();
    assert_eq!(
        chat,
        json!({
            "model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}],
            "stop": ["END"], "temperature": 0.5, "top_p": 0.9, "top_k": 40, "stream": true, "user": "u-1",
            "reasoning_effort": "high", "provider": {"sort": "price"}, "seed": 7,
            "response_format": {"type": "json_schema",
                "json_schema": {"name": "answer", "strict": true, "schema": {"type": "object"}}},
        })
    );
    assert_eq!(face.tags.as_slice(), [("tier".into(), "batch".into())]);
}

#[test]
fn what_cannot_be_served_is_refused_by_its_path() {
    let user = |block: Value| json!({"messages": [{"role": "user", "content": [block]}]});
    for (more, param, words) in [
        (json!({"max_tokens": null}), "max_tokens", "max_tokens: Field required"),
        (json!({"max_tokens": 0}), "max_tokens", "greater than or equal to 1"),
        (json!({"max_tokens": "9"}), "max_tokens", "valid integer"),
        (json!({"model": null}), "model", "Field required"),
        (json!({"messages": []}), "messages", "at least one"),
        (json!({"messages": [{"role": "tool", "content": "x"}]}), "messages.0.role", "'user' or 'assistant'"),
        (json!({"messages": [["user", "x"]]}), "messages.0", "valid dictionary, but it is an array"),
        (json!({"messages": [{"role": "user"}]}), "messages.0.content", "Field required"),
        (
            json!({"messages": [{"role": "user", "content": 7}]}),
            "messages.0.content",
            "valid list, but it is a number",
        ),
        (
            user(
                json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": ""}}),
            ),
            "messages.0.content.0.source.type",
            "send the text",
        ),
        (user(json!({"type": "server_tool_use"})), "messages.0.content.0.type", "server_tool_use"),
        (
            user(json!({"type": "image", "source": {"type": "file", "file_id": "f"}})),
            "messages.0.content.0.source.type",
            "'base64' or 'url'",
        ),
        (user(json!({"type": "text"})), "messages.0.content.0.text", "Field required"),
        (
            user(json!({"type": "tool_result", "content": "x"})),
            "messages.0.content.0.tool_use_id",
            "Field required",
        ),
        (
            json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
            "tools.0.type",
            "Anthropic's own",
        ),
        (json!({"tools": [{"name": "f"}]}), "tools.0.input_schema", "Field required"),
        (json!({"tool_choice": {"type": "any"}}), "tool_choice", "while providing tools"),
        (json!({"thinking": {"type": "enabled"}}), "thinking.budget_tokens", "Field required"),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 9}}), "thinking.budget_tokens", "1024"),
        (
            json!({"thinking": {"type": "adaptive", "display": "x"}}),
            "thinking.display",
            "'summarized' or 'omitted'",
        ),
        (
            user(json!({"type": "search_result", "citations": {"enabled": true}})),
            "messages.0.content.0.citations.enabled",
            "citations",
        ),
        (json!({"thinking": {"type": "hard"}}), "thinking.type", "adaptive"),
        (json!({"mcp_servers": [{"type": "url"}]}), "mcp_servers", "as tools"),
        (json!({"container": "c"}), "container", "code execution"),
        (json!({"inference_geo": "us"}), "inference_geo", "constraints.regions"),
        (json!({"n": 2}), "n", "is one"),
        (json!({"stop": "x"}), "stop", "stop_sequences"),
        (json!({"user": "x", "metadata": {"user_id": "u"}}), "user", "already"),
        (json!({"output_config": {"format": {"type": "xml"}}}), "output_config.format.type", "json_schema"),
    ] {
        let (named, message) = refusal(&with(&more));
        assert_eq!(named, param, "{message}");
        assert!(message.starts_with(&format!("{param}: ")) && message.contains(words), "{message}");
    }
}

#[test]
fn what_is_not_json_is_refused_as_such() {
    for body in ["", "{", "[]", "{\"model\":\"m\",\"model\":\"n\"}", "{} {}"] {
        assert!(translate(body.as_bytes(), 128, Purpose::Answer).is_err(), "{body}");
    }
    let deep = with(&json!({"tools": [{"name": "f", "input_schema": {"a": {"b": {"c": {}}}}}]})).to_string();
    assert!(matches!(translate(deep.as_bytes(), 4, Purpose::Answer), Err(Error::NotJson(_))));
    assert!(
        translate(br#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#, 128, Purpose::Count)
            .is_ok()
    );
}
