//! Each provider's manners, and the usage that follows from the request.

use serde_json::{Value, json};
use tollway_test_support::{Client, Dialect, Event, FakeProvider, Kind, Price, Usage, events};

use crate::chat;

const CHAT: &str = "/v1/chat/completions";

async fn ask(dialect: &Dialect, path: &str, body: &str) -> (u16, String) {
    let fake = FakeProvider::speaking(dialect.clone()).await;
    let response = Client::new(fake.address()).post(path, body.to_owned()).send().await;
    (response.status, response.text().await)
}

async fn stream(dialect: &Dialect, body: &str) -> Vec<Event> {
    let (status, text) = ask(dialect, CHAT, body).await;
    assert_eq!(status, 200, "{text}");
    events(text.as_bytes())
}

fn usage_of(value: &Value) -> Usage {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let usage = &value["usage"];
    let nested = &usage["completion_tokens_details"]["reasoning_tokens"];
    Usage {
        prompt: count(&usage["prompt_tokens"]),
        cached: count(&usage["prompt_tokens_details"]["cached_tokens"]).max(count(&usage["cached_tokens"])),
        completion: count(&usage["completion_tokens"]),
        reasoning: count(nested).max(count(&usage["reasoning_tokens"])),
    }
}

/// As a caller's SDK joins them: the text, the finish reasons, and the last usage.
fn joined(events: &[Event]) -> (String, Vec<String>, Option<Value>) {
    let chunks: Vec<_> = events.iter().filter_map(Event::json).collect();
    let choices = || chunks.iter().map(|chunk| &chunk["choices"][0]);
    let text = choices().filter_map(|choice| choice["delta"]["content"].as_str()).collect();
    let finishes =
        choices().filter_map(|choice| choice["finish_reason"].as_str().map(str::to_owned)).collect();
    (text, finishes, chunks.iter().rfind(|chunk| chunk["usage"].is_object()).cloned())
}

#[tokio::test]
async fn each_dialect_with_responses_tells_the_same_story_streamed_and_whole() {
    for kind in Kind::ALL {
        let dialect =
            Dialect::new(kind).tokens(5).cached(2).reasoning(3).price(Price::per_million("1", "0.5", "2"));
        let body = r#"{"model":"m","input":"Say tok-1","store":false}"#;
        let (status, whole) = ask(&dialect, "/v1/responses", body).await;
        if kind == Kind::Together {
            assert_eq!(status, 404);
            continue;
        }
        let whole: Value = serde_json::from_str(&whole).unwrap();
        let (_, stream) =
            ask(&dialect, "/v1/responses", &body.replace("false", "false,\"stream\":true")).await;
        let events = events(stream.as_bytes());
        assert_eq!(events.last().unwrap().is_done(), kind == Kind::OpenRouter);
        let told: Vec<Value> = events.iter().filter_map(Event::json).collect();
        for (number, (data, event)) in told.iter().zip(&events).enumerate() {
            assert_eq!(
                (&data["sequence_number"], data["type"].as_str()),
                (&json!(number), event.name.as_deref())
            );
        }
        let deltas = told.iter().filter(|data| data["type"] == "response.output_text.delta");
        let text: String = deltas.filter_map(|data| data["delta"].as_str()).collect();
        assert_eq!(whole["output"][1]["content"][0]["text"], text);
        let last = &told.last().unwrap()["response"];
        assert_eq!((&last["output"], &last["usage"]), (&whole["output"], &whole["usage"]));
        let usage = dialect.usage_of_response(body.as_bytes());
        assert_eq!(usage, Usage { prompt: 6, cached: 2, completion: 8, reasoning: 3 });
        assert_eq!(whole["usage"]["output_tokens_details"]["reasoning_tokens"], 3);
        assert_eq!(whole["usage"]["cost"].is_number(), kind == Kind::OpenRouter);
    }
}

#[tokio::test]
async fn each_dialect_tells_the_same_story_streamed_and_whole() {
    for kind in Kind::ALL {
        let dialect = Dialect::new(kind).tokens(5).cached(2).reasoning(3);
        let body = chat("tok-é-1", "");
        let (_, whole) = ask(&dialect, CHAT, &body).await;
        let whole: Value = serde_json::from_str(&whole).unwrap();
        let asked = chat("tok-é-1", r#","stream":true,"stream_options":{"include_usage":true}"#);
        let events = stream(&dialect, &asked).await;
        let (text, finishes, last) = joined(&events);
        assert_eq!(whole["choices"][0]["message"]["content"], json!(text), "{kind:?}");
        assert_eq!(text, "tok- tides at Łódź turn", "a word ends at the first other character");
        assert!(finishes.iter().all(|finish| finish == "stop"));
        assert_eq!(finishes.len(), if kind == Kind::OpenRouter { 2 } else { 1 });
        let expected = dialect.usage(body.as_bytes());
        assert_eq!(expected, Usage { prompt: 7, cached: 2, completion: 8, reasoning: 3 });
        // Not all say which tokens were reasoning.
        let silent = matches!(kind, Kind::Fireworks | Kind::ModelArts | Kind::Vllm);
        let expected = if silent { Usage { reasoning: 0, ..expected } } else { expected };
        assert_eq!((usage_of(&whole), usage_of(&last.unwrap())), (expected, expected), "{kind:?}");
        assert!(events.last().unwrap().is_done());
    }
}

#[tokio::test]
async fn usage_comes_where_each_provider_puts_it() {
    for kind in Kind::ALL {
        let place = async |more: &str| {
            let events = stream(&Dialect::new(kind), &chat("tok-1", more)).await;
            let from_end = events.iter().rev().position(|event| event.data.contains("prompt_tokens"));
            from_end.map(|place| {
                (place, events[events.len() - 1 - place].json().unwrap()["choices"] == json!([]))
            })
        };
        let unasked = place(r#","stream":true"#).await;
        let asked = place(r#","stream":true,"stream_options":{"include_usage":true}"#).await;
        let (want_unasked, want_asked) = match kind {
            Kind::OpenAi | Kind::DashScope | Kind::Hunyuan | Kind::ModelArts | Kind::Vllm | Kind::Sglang => {
                (None, Some((1, true)))
            }
            Kind::OpenRouter | Kind::DeepSeek => (Some((1, false)), Some((1, false))),
            Kind::Together => (Some((1, true)), Some((1, true))),
            Kind::Fireworks => (Some((1, false)), Some((1, true))),
        };
        assert_eq!((unasked, asked), (want_unasked, want_asked), "{kind:?}");
    }
}

#[tokio::test]
async fn comments_come_from_those_who_send_them() {
    for kind in Kind::ALL {
        let (_, text) = ask(&Dialect::new(kind), CHAT, &chat("tok-1", r#","stream":true"#)).await;
        let first = text.lines().next().unwrap();
        match kind {
            Kind::OpenRouter => assert_eq!(first, ": OPENROUTER PROCESSING"),
            Kind::DeepSeek => assert_eq!(first, ": keep-alive"),
            _ => assert!(first.starts_with("data: {")),
        }
    }
}

#[tokio::test]
async fn openrouter_reports_its_own_cost_exactly() {
    let price = Price::per_million("0.66", "0.022", "1.98");
    let dialect = Dialect::new(Kind::OpenRouter).price(price).tokens(4).cached(3);
    let (_, text) = ask(&dialect, CHAT, &chat("tok-1", "")).await;
    // 4 fresh prompt tokens, 3 cached, 4 generated.
    let pico = 4 * 660_000 + 3 * 22_000 + 4 * 1_980_000;
    assert_eq!(pico, 10_626_000);
    assert!(text.contains(r#""cost":0.000010626,"#), "{text}");
}

#[tokio::test]
async fn fireworks_refuses_what_it_does_not_know() {
    let body = chat("tok-1", r#","temperature":1,"provider":{"sort":"price"}"#);
    let (status, text) = ask(&Dialect::new(Kind::Fireworks), CHAT, &body).await;
    assert_eq!(status, 400);
    let wanted = "Extra inputs are not permitted, field: 'provider', value: {'sort':'price'}";
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["error"]["message"], wanted);
    assert_eq!(ask(&Dialect::new(Kind::OpenRouter), CHAT, &body).await.0, 200);
}

#[tokio::test]
async fn deepseek_refuses_schemas_and_other_models_with_400() {
    let dialect = Dialect::new(Kind::DeepSeek).models(["m"]);
    let schema = chat("tok-1", r#","response_format":{"type":"json_schema","json_schema":{"schema":{}}}"#);
    assert_eq!(ask(&dialect, CHAT, &schema).await.0, 400);
    let other = chat("tok-1", "").replace("\"m\"", "\"n\"");
    assert_eq!(ask(&dialect, CHAT, &other).await.0, 400);
    assert_eq!(ask(&Dialect::new(Kind::Together).models(["m"]), CHAT, &other).await.0, 404);
    assert_eq!(ask(&dialect, CHAT, &chat("tok-1", "")).await.0, 200);
}

#[tokio::test]
async fn a_tool_call_joins_to_its_arguments() {
    let tools = r#","tools":[{"type":"function","function":{"name":"tide_height","parameters":{}}}]"#;
    for kind in Kind::ALL {
        let (_, whole) = ask(&Dialect::new(kind), CHAT, &chat("tok-7", tools)).await;
        let whole: Value = serde_json::from_str(&whole).unwrap();
        let function = &whole["choices"][0]["message"]["tool_calls"][0]["function"];
        assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
        let body = chat("tok-7", &format!(r#","stream":true{tools}"#));
        let chunks: Vec<_> =
            stream(&Dialect::new(kind), &body).await.iter().filter_map(Event::json).collect();
        let calls =
            || chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"][0].as_object());
        assert_eq!(
            calls()
                .filter(|call| call.get("id").is_some_and(|id| id.as_str().is_some_and(|id| !id.is_empty())))
                .count(),
            1,
            "{kind:?}"
        );
        let arguments: String = calls().filter_map(|call| call["function"]["arguments"].as_str()).collect();
        assert_eq!(function["arguments"], json!(arguments));
        let arguments: Value = serde_json::from_str(&arguments).unwrap();
        assert_eq!(arguments, json!({"port": "Cádiz", "token": "tok-7"}));
    }
}

#[tokio::test]
async fn a_schema_is_met_and_a_length_limit_kept() {
    let schema = r#","response_format":{"type":"json_schema","json_schema":{"schema":{"type":"object",
        "properties":{"name":{"type":"string"},"age":{"type":"integer"},"tags":{"type":"array","items":{"enum":["x"]}}}}}}"#;
    let (_, text) = ask(&Dialect::new(Kind::OpenAi), CHAT, &chat("tok-3", schema)).await;
    let content = serde_json::from_str::<Value>(&text).unwrap()["choices"][0]["message"]["content"].clone();
    let content: Value = serde_json::from_str(content.as_str().unwrap()).unwrap();
    assert_eq!(content, json!({"name": "tok-3", "age": 7, "tags": ["x"]}));
    let (_, text) = ask(&Dialect::new(Kind::OpenAi), CHAT, &chat("tok-3", r#","max_tokens":2"#)).await;
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["choices"][0]["message"]["content"], "tok-3 tides");
    assert_eq!(value["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn embeddings_come_as_floats_and_as_base64() {
    let dialect = Dialect::new(Kind::OpenAi);
    let (_, floats) =
        ask(&dialect, "/v1/embeddings", r#"{"model":"e","input":["a b","c"],"dimensions":2}"#).await;
    let floats: Value = serde_json::from_str(&floats).unwrap();
    assert_eq!(floats["data"][1]["embedding"], json!([1.0, 1.125]));
    assert_eq!(floats["usage"]["prompt_tokens"], 3);
    let body = r#"{"model":"e","input":"a","dimensions":2,"encoding_format":"base64"}"#;
    let (_, text) = ask(&dialect, "/v1/embeddings", body).await;
    // 0.0 and 0.125 as little-endian f32: 00000000 0000003e.
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["data"][0]["embedding"], "AAAAAAAAAD4=");
}

#[tokio::test]
async fn model_lists_have_their_shapes_and_keys_are_checked() {
    for kind in Kind::ALL {
        let price = Price::per_million("0.14", "0.028", "0.28");
        let dialect = Dialect::new(kind).models(["m"]).key("sk-1").price(price);
        let fake = FakeProvider::speaking(dialect).await;
        let client = Client::new(fake.address());
        assert_eq!(client.get("/v1/models").key("sk-2").send().await.status, 401);
        let list = client.get("/v1/models").key("sk-1").send().await.json().await;
        let row = if kind == Kind::Together { &list[0] } else { &list["data"][0] };
        assert_eq!(row["id"], "m");
        assert_eq!(row["created"].is_null(), kind == Kind::DeepSeek);
        match kind {
            Kind::OpenRouter => assert_eq!(row["pricing"]["prompt"], "0.00000014"),
            Kind::Together => assert_eq!(row["pricing"]["input"], 0.14),
            _ => assert!(row["pricing"].is_null()),
        }
    }
}

#[tokio::test]
async fn completions_answer_in_text() {
    let dialect = Dialect::new(Kind::Together).tokens(3);
    let (_, text) = ask(&dialect, "/v1/completions", r#"{"model":"m","prompt":"tok-5 x"}"#).await;
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["choices"][0]["text"], "tok-5 tides at");
    assert_eq!(value["usage"]["total_tokens"], 5);
    let (_, text) =
        ask(&dialect, "/v1/completions", r#"{"model":"m","prompt":"tok-5 x","stream":true}"#).await;
    let chunks: Vec<_> = events(text.as_bytes()).iter().filter_map(Event::json).collect();
    let text: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!(
        (text.as_str(), chunks.last().unwrap()["usage"]["prompt_tokens"].as_u64()),
        ("tok-5 tides at", Some(2))
    );
}
