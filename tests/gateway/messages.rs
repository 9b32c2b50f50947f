//! `POST /v1/messages` and `/v1/messages/count_tokens` over real sockets: Anthropic's shape outside, chat completions inside.

use serde_json::{Value, json};
use tollway_test_support::{
    Break, Config, FakeProvider, Fixture, Gateway, Kind, Message, Model, Price, Provider, Reply, Request,
    Response,
};

use crate::{MODEL, fake, gateway, header, pair, provider};

/// What a Claude client sends.
fn request(more: &Value) -> Value {
    let messages = json!([{"role": "user", "content": "tok-5 hello there"}]);
    let mut request = json!({"model": MODEL, "max_tokens": 64, "messages": messages});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

fn streamed() -> Value {
    request(&json!({"stream": true}))
}

fn post(gateway: &Gateway, body: &Value) -> Request {
    gateway
        .post("/v1/messages", body.to_string())
        .header("anthropic-version", "2023-06-01")
        .header("anthropic-beta", "interleaved-thinking-2025-05-14")
}

/// The error object of an answer, checked for Anthropic's envelope.
async fn error_of(response: Response) -> Value {
    assert_eq!(header(&response, "content-type"), "application/json");
    let id = header(&response, "request-id").to_owned();
    assert_eq!(header(&response, "x-request-id"), id);
    let body = response.json().await;
    assert_eq!((&body["type"], body["request_id"].as_str()), (&json!("error"), Some(&*id)), "{body}");
    assert!(body["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
    body["error"].clone()
}

#[tokio::test]
async fn a_message_goes_out_as_a_chat_and_comes_back_as_a_message() {
    let fake = fake().await;
    let gateway = gateway(Config::new().provider(provider("p", &fake, "0.123456"))).await;
    let response = post(&gateway, &request(&json!({"system": "Be brief."}))).send().await;
    assert_eq!(response.status, 200);
    let (id, cost) =
        (header(&response, "request-id").to_owned(), header(&response, "x-tollway-cost-usd").to_owned());
    assert_eq!((header(&response, "x-request-id"), header(&response, "x-tollway-route")), (&*id, "p/served"));
    let message = response.json().await;
    assert_eq!(
        (&message["id"], &message["type"], &message["role"], &message["model"]),
        (&json!(format!("msg_{id}")), &json!("message"), &json!("assistant"), &json!(MODEL))
    );
    assert!(message["content"][0]["text"].as_str().unwrap().starts_with("tok-5"), "{message}");
    assert_eq!((&message["stop_reason"], &message["stop_sequence"]), (&json!("end_turn"), &Value::Null));
    let usage = &message["usage"];
    let tokens = usage["input_tokens"].as_u64().unwrap() + usage["output_tokens"].as_u64().unwrap();
    assert_eq!(cost, format!("0.{:09}", (tokens * 123_456 + 500) / 1000));
    same_everywhere(&gateway, usage).await;

    let sent = fake.last();
    let body: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(body["messages"][0], json!({"role": "system", "content": "Be brief."}));
    for name in ["x-api-key", "anthropic-version", "anthropic-beta"] {
        assert!(sent.headers.get(name).is_none(), "{name} went on");
    }
}

/// The cost in `usage` is that of the log line and of the metrics, to the nano-dollar.
async fn same_everywhere(gateway: &Gateway, usage: &Value) -> Value {
    let nanos = |cost: f64| format!("{cost:.9}");
    let cost = nanos(usage["cost"].as_f64().unwrap());
    let line: Value = serde_json::from_str(&gateway.logged("\"endpoint\":\"messages\"").await).unwrap();
    assert_eq!(nanos(line["cost_usd"].as_f64().unwrap()), cost, "{line}");
    let metrics =
        gateway.metrics_until("the cost", |metrics| metrics.sum("tollway_cost_usd_total", &[]) > 0.0).await;
    assert_eq!(nanos(metrics.sum("tollway_cost_usd_total", &[])), cost);
    let tokens: u64 =
        ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"]
            .iter()
            .map(|name| usage[*name].as_u64().unwrap())
            .sum();
    assert_eq!(metrics.sum("tollway_tokens_total", &[]) as u64, tokens, "{usage}");
    line
}

#[tokio::test]
async fn every_providers_stream_becomes_a_stream_of_messages_at_its_cost() {
    for (file, kind, [input, cached, output]) in [
        ("openrouter_stream_repeated_finish.sse", Kind::OpenRouter, ["0.66", "0.022", "1.98"]),
        ("together_stream_tool_call.sse", Kind::Together, ["1.32", "0.13", "3.96"]),
        ("fireworks_stream_usage_on_finish.sse", Kind::Fireworks, ["1.74", "0.145", "3.48"]),
        ("fireworks_stream_usage_own_chunk.sse", Kind::Fireworks, ["1.74", "0.145", "3.48"]),
        ("deepseek_stream_thinking.sse", Kind::DeepSeek, ["0.66", "0.022", "1.98"]),
        ("dashscope_stream.sse", Kind::OpenAi, ["0.4", "0.04", "1.6"]),
    ] {
        let expected = &Fixture::named(file).expect;
        let fake = FakeProvider::start().await;
        fake.script(Reply::fixture(file));
        let model = Model::new("served", MODEL).price(Price::per_million(input, cached, output));
        let gateway = gateway(Config::new().provider(Provider::fake("p", kind, &fake).model(model))).await;
        let response = post(&gateway, &streamed()).send().await;
        assert_eq!(header(&response, "content-type"), "text/event-stream; charset=utf-8");
        let message = Message::whole(&response.events().await);
        let content = message["content"].as_array().unwrap();
        assert_eq!(content[0]["thinking"], expected["reasoning"], "{file}: {message}");
        if let Some(calls) = expected["tool_calls"].as_array() {
            for (block, call) in content[1..].iter().zip(calls) {
                assert_eq!((&block["name"], &block["input"]), (&call["name"], &call["arguments"]), "{file}");
            }
            assert_eq!((content.len(), &message["stop_reason"]), (1 + calls.len(), &json!("tool_use")));
        } else {
            assert_eq!((content.len(), &content[1]["text"]), (2, &expected["text"]), "{file}: {message}");
            assert_eq!(message["stop_reason"], "end_turn");
        }
        let usage = &message["usage"];
        let count = |name: &str| expected[name].as_u64().unwrap_or(0);
        assert_eq!(usage["cache_read_input_tokens"], count("cached"), "{file}");
        assert_eq!(usage["cache_creation_input_tokens"], count("cache_write"), "{file}");
        assert_eq!(usage["input_tokens"], count("prompt") - count("cached") - count("cache_write"), "{file}");
        assert_eq!(usage["output_tokens"], count("completion"), "{file}");
        if let Some(cost) = expected["cost_usd"].as_f64() {
            assert_eq!(format!("{:.9}", usage["cost"].as_f64().unwrap()), format!("{cost:.9}"), "{file}");
        }
        same_everywhere(&gateway, usage).await;
    }
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_goes_back() {
    let fake = fake().await;
    let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    let tool = json!({"name": "tide_height", "description": "d", "input_schema": {"type": "object", "properties": {}}});
    let body = request(&json!({"tools": [tool], "tool_choice": {"type": "any"}}));
    let whole = post(&gateway, &body).send().await.json().await;
    let mut body = body;
    body["stream"] = json!(true);
    let message = Message::whole(&post(&gateway, &body).send().await.events().await);
    for message in [&whole, &message] {
        assert_eq!(message["stop_reason"], "tool_use", "{message}");
        let call = message["content"].as_array().unwrap().last().unwrap();
        assert_eq!((&call["name"], &call["input"]["port"]), (&json!("tide_height"), &json!("Cádiz")));
    }
    let call = whole["content"].as_array().unwrap().last().unwrap().clone();
    body["messages"].as_array_mut().unwrap().extend([
        json!({"role": "assistant", "content": whole["content"]}),
        json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"], "content": "2 m"}]}),
    ]);
    body["tool_choice"] = json!({"type": "none"});
    post(&gateway, &body).send().await.bytes().await;
    let sent: Value = serde_json::from_slice(&fake.last().body).unwrap();
    assert_eq!(sent["messages"][1]["tool_calls"][0]["id"], call["id"]);
    assert_eq!(sent["messages"][2], json!({"role": "tool", "tool_call_id": call["id"], "content": "2 m"}));
}

#[tokio::test]
async fn a_fault_before_the_first_token_is_hidden_by_the_next_route() {
    for body in [request(&json!({})), streamed()] {
        let (first, _second, gateway) = pair().await;
        first.script(Reply::error(503, "overloaded", "busy"));
        let response = post(&gateway, &body).send().await;
        assert_eq!((response.status, header(&response, "x-tollway-route")), (200, "second/served"));
    }
}

#[tokio::test]
async fn what_fails_before_the_answer_has_anthropics_shape() {
    let (first, second, gateway) = pair().await;
    let failed = async |body: &Value| {
        let response = post(&gateway, body).send().await;
        let status = response.status;
        let error = error_of(response).await;
        (status, error["type"].as_str().unwrap().to_owned(), error["message"].as_str().unwrap().to_owned())
    };
    let (status, kind, message) = failed(&json!({"model": MODEL, "messages": []})).await;
    assert_eq!((status, &*kind, &*message), (400, "invalid_request_error", "max_tokens: Field required"));
    let (status, kind, _) = failed(&request(&json!({"model": "no-such-model"}))).await;
    assert_eq!((status, &*kind), (404, "not_found_error"));
    let (status, kind, _) = failed(&json!([1])).await;
    assert_eq!((status, &*kind), (400, "invalid_request_error"));
    for fake in [&first, &second] {
        fake.script(Reply::error(400, "bad_request", "temperature is too warm"));
    }
    for body in [request(&json!({})), streamed()] {
        let (status, kind, message) = failed(&body).await;
        assert_eq!((status, &*kind, &*message), (400, "invalid_request_error", "temperature is too warm"));
    }
    for fake in [&first, &second] {
        fake.script(Reply::error(500, "x", "y"));
    }
    let response = post(&gateway, &request(&json!({}))).send().await;
    assert_eq!((response.status, header(&response, "x-should-retry")), (500, "false"));
    assert_eq!(error_of(response).await["type"], "api_error");
    for (method, path) in [("GET", "/v1/messages"), ("POST", "/v1/messages/batches")] {
        let response = gateway.client().request(method, path).send().await;
        assert!(matches!(response.status, 404 | 405), "{path}");
        error_of(response).await;
    }
}

#[tokio::test]
async fn a_key_may_come_in_either_header() {
    let fake = fake().await;
    let config = Config::new()
        .provider(provider("p", &fake, "1"))
        .with("keys: [{name: ci, key: callers-secret-123456}]\nauth: required");
    let gateway = gateway(config).await;
    let body = request(&json!({}));
    for (name, value, status) in [
        ("x-api-key", "callers-secret-123456", 200),
        ("authorization", "Bearer callers-secret-123456", 200),
        ("x-api-key", "another-secret-123456", 401),
        ("x-nothing", "x", 401),
    ] {
        let response = post(&gateway, &body).header(name, value).send().await;
        assert_eq!(response.status, status, "{name}");
        if status == 401 {
            assert_eq!(error_of(response).await["type"], "authentication_error");
        } else {
            response.bytes().await;
            let sent = fake.last();
            assert!(
                sent.headers.iter().all(|(_, value)| !value.contains("callers-secret")),
                "the key went on"
            );
        }
    }
}

#[tokio::test]
async fn r08_a_stream_that_breaks_ends_in_an_error_and_never_stops_well() {
    let whole = Fixture::named("together_stream_tool_call.sse").body.clone();
    let events = tollway_test_support::events(&whole).len();
    let cuts = (3..events - 2).step_by(3).flat_map(|after| {
        [Break::Close, Break::Reset]
            .map(|how| Reply::fixture("together_stream_tool_call.sse").cut_after_events(after, how))
    });
    let text = r#"{"choices":[{"index":0,"delta":{"content":"tok"},"finish_reason":null}]}"#;
    let odd = [
        Reply::fixture("openrouter_stream_midstream_error.sse"),
        Reply::events([text, r#"{"error":"worker died"}"#, "[DONE]"]),
        Reply::events([text, "{\"choices\":[{\"index\":0,", "[DONE]"]),
        Reply::events([text, r#"{"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}"#, "[DONE]"]),
        Reply::events([
            text,
            r#"{"choices":[{"index":0,"delta":{"tool_calls":7},"finish_reason":null}]}"#,
            "[DONE]",
        ]),
    ];
    for reply in cuts.chain(odd) {
        let fake = FakeProvider::start().await;
        fake.script(reply);
        let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
        let response = post(&gateway, &streamed()).send().await;
        assert_eq!(response.status, 200);
        let id = header(&response, "request-id").to_owned();
        let read = Message::read(&response.events().await);
        let error = read.error.expect("an error event");
        assert!(!read.stopped && read.message["stop_reason"].is_null());
        assert_eq!((&error["error"]["type"], &error["request_id"]), (&json!("api_error"), &json!(id)));
        let line: Value =
            serde_json::from_str(&gateway.logged("\"outcome\":\"upstream_error\"").await).unwrap();
        assert!(line["cost_usd"].as_f64().unwrap() > 0.0, "{line}");
    }
}

/// What a provider may say of its usage: the report, and what the log calls the number that was charged.
fn reports() -> Vec<(Value, &'static str)> {
    vec![
        (json!({"prompt_tokens": 100, "completion_tokens": 7}), "reported"),
        (
            json!({"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 60}}),
            "reported",
        ),
        (json!({"prompt_tokens": 100, "completion_tokens": 7, "cached_tokens": 500}), "reported"),
        (
            json!({"prompt_tokens": 100, "completion_tokens": 7, "completion_tokens_details": {"reasoning_tokens": 900}}),
            "reported",
        ),
        (json!({"prompt_tokens": 100, "completion_tokens": 7, "cost": 0.001}), "stated"),
        (json!({"prompt_tokens": -100, "completion_tokens": 7}), "estimated"),
        (json!({"prompt_tokens": 100, "completion_tokens": -7}), "estimated"),
        (json!({"prompt_tokens": 1e300, "completion_tokens": 7}), "estimated"),
        (json!({"prompt_tokens": 0, "completion_tokens": 0}), "estimated"),
        (json!({"prompt_tokens": 100, "completion_tokens": 0}), "estimated"),
        (json!({}), "estimated"),
        (Value::Null, "estimated"),
    ]
}

#[tokio::test]
async fn r31_usage_is_judged_and_a_message_says_what_was_charged() {
    for (report, source) in reports() {
        for stream in [false, true] {
            let fake = FakeProvider::start().await;
            let said = json!({"content": "one two three four"});
            fake.script(if stream {
                let delta = json!({"choices": [{"index": 0, "delta": said, "finish_reason": null}]});
                let finish =
                    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": report});
                Reply::events([delta.to_string(), finish.to_string(), "[DONE]".into()])
            } else {
                let choice = json!({"index": 0, "message": said, "finish_reason": "stop"});
                Reply::json(200, json!({"choices": [choice], "usage": report}).to_string())
            });
            let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
            let response = post(&gateway, &request(&json!({"stream": stream}))).send().await;
            let message =
                if stream { Message::whole(&response.events().await) } else { response.json().await };
            let usage = &message["usage"];
            let line = same_everywhere(&gateway, usage).await;
            assert_eq!(line["usage"], source, "{report}");
            assert_eq!(usage["estimated"] == true, source == "estimated", "{report}: {usage}");
            assert!(usage["output_tokens"].as_u64().unwrap() > 0, "{report}: {usage}");
            let prompt: u64 = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"]
                .iter()
                .map(|name| usage[*name].as_u64().unwrap())
                .sum();
            assert_eq!(line["prompt_tokens"], prompt, "{report}: cached parts stand beside the input");
            assert!(prompt > 0 && prompt <= 100, "{report}: {usage}");

            // The same answer to a chat is charged the same.
            let mut chat = request(&json!({"stream": stream}));
            chat.as_object_mut().unwrap().remove("max_tokens");
            gateway.chat(&chat).send().await.bytes().await;
            let chat: Value = serde_json::from_str(&gateway.logged("\"endpoint\":\"chat\"").await).unwrap();
            for member in ["usage", "completion_tokens", "cached_tokens"] {
                assert_eq!(chat[member], line[member], "{report}: {member}");
            }
        }
    }
}

#[tokio::test]
async fn tokens_are_counted_without_asking_anyone() {
    let fake = fake().await;
    let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    let count = async |text: &str| {
        let body = json!({"model": MODEL, "messages": [{"role": "user", "content": text}]});
        let response = gateway.post("/v1/messages/count_tokens", body.to_string()).send().await;
        assert_eq!(response.status, 200);
        let body = response.json().await;
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
        body["input_tokens"].as_u64().unwrap()
    };
    let (short, long) = (count("Hello").await, count(&"Hello there. ".repeat(400)).await);
    assert!((1..40).contains(&short) && (800..2000).contains(&long), "{short}, {long}");
    assert_eq!(fake.count(), 0);
    let body = json!({"model": "no-such-model", "messages": [{"role": "user", "content": "x"}]});
    let response = gateway.post("/v1/messages/count_tokens", body.to_string()).send().await;
    assert_eq!(response.status, 404);
    assert_eq!(error_of(response).await["type"], "not_found_error");
}
