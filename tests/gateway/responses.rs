//! `POST /v1/responses` over real sockets: translated to chat completions and back, with one bill and no false ending.

use serde_json::{Value, json};
use tollway_test_support::{
    Break, Config, Dialect, Event, FakeProvider, Fixture, Gateway, Kind, Model, Price, Provider, Reply,
    Response,
};

use crate::{MODEL, error_of, fake, gateway, header, pair, provider};

const PATH: &str = "/v1/responses";

fn request(input: &Value) -> Value {
    json!({"model": MODEL, "input": input})
}

fn streamed(input: &Value) -> Value {
    json!({"model": MODEL, "input": input, "stream": true})
}

async fn ask(gateway: &Gateway, body: &Value) -> Response {
    gateway.post(PATH, body.to_string()).send().await
}

/// A stream's events, checked for what holds of all: names, numbers without a gap, no `[DONE]`.
fn told(events: &[Event]) -> Vec<Value> {
    let read = events.iter().enumerate().map(|(number, event)| {
        let data = event.json().unwrap_or_else(|| panic!("not JSON: {event:?}"));
        assert_eq!(event.name.as_deref(), data["type"].as_str());
        assert_eq!(data["sequence_number"], number, "{events:?}");
        data
    });
    read.collect()
}

/// The deltas of one kind, joined.
fn joined(events: &[Value], kind: &str) -> String {
    events.iter().filter(|event| event["type"] == kind).filter_map(|event| event["delta"].as_str()).collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["type"].as_str()).collect()
}

fn nanos(cost: &Value) -> String {
    format!("{:.9}", cost.as_f64().unwrap_or_else(|| panic!("no cost: {cost}")))
}

#[tokio::test]
async fn a_whole_answer_and_its_one_bill() {
    let fake = FakeProvider::speaking(Dialect::new(Kind::OpenAi).reasoning(2).cached(1)).await;
    let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    let response = ask(&gateway, &request(&json!("Say tok-1, please."))).await;
    assert_eq!(response.status, 200);
    assert_eq!(header(&response, "x-tollway-route"), "p/served");
    let in_header: Value = header(&response, "x-tollway-cost-usd").parse().unwrap();
    let body = response.json().await;
    assert_eq!((&body["object"], &body["status"]), (&json!("response"), &json!("completed")));
    assert!(body["id"].as_str().unwrap().starts_with("resp_"));
    let text = body["output"][0]["content"][0]["text"].as_str().unwrap();
    assert!(text.starts_with("tok-1 tides"), "{text}");
    // What went up is a chat, and what is billed is what it reported.
    let sent = fake.last();
    assert_eq!(sent.path, "/v1/chat/completions");
    let sent: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(
        sent,
        json!({"model": "served", "messages": [{"role": "user", "content": "Say tok-1, please."}]})
    );
    let usage = &body["usage"];
    assert_eq!((&usage["output_tokens"], &usage["input_tokens"]), (&json!(14), &json!(7)));
    assert_eq!(usage["input_tokens_details"]["cached_tokens"], 1);
    assert_eq!(usage["output_tokens_details"]["reasoning_tokens"], 2);
    assert_eq!(usage["total_tokens"], 21);
    assert_eq!(nanos(&usage["cost"]), nanos(&in_header));
    let line: Value = serde_json::from_str(&gateway.logged("\"outcome\":\"ok\"").await).unwrap();
    assert_eq!(nanos(&line["cost_usd"]), nanos(&in_header));
    assert_eq!(line["endpoint"], "responses");
    let metrics = gateway.metrics_until("the cost", |m| m.sum("tollway_cost_usd_total", &[]) > 0.0).await;
    assert_eq!(format!("{:.9}", metrics.sum("tollway_cost_usd_total", &[])), nanos(&in_header));
}

#[tokio::test]
async fn a_stream_in_openais_order_with_the_cost_at_its_end() {
    let fake = fake().await;
    let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    let response = ask(&gateway, &streamed(&json!([{"role": "user", "content": "tok-2"}]))).await;
    assert_eq!(response.status, 200);
    assert!(header(&response, "content-type").starts_with("text/event-stream"));
    let events = told(&response.events().await);
    let kinds = kinds(&events);
    assert_eq!(
        kinds[..5],
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta"
        ]
    );
    assert_eq!(
        kinds[kinds.len() - 4..],
        [
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed"
        ]
    );
    let last = &events[events.len() - 1]["response"];
    assert_eq!(last["output"][0]["content"][0]["text"], joined(&events, "response.output_text.delta"));
    assert!(joined(&events, "response.output_text.delta").starts_with("tok-2 tides"));
    let line: Value = serde_json::from_str(&gateway.logged("\"outcome\":\"ok\"").await).unwrap();
    assert_eq!(nanos(&last["usage"]["cost"]), nanos(&line["cost_usd"]));
    assert!(line["cost_usd"].as_f64().unwrap() > 0.0);
    let sent: Value = serde_json::from_slice(&fake.last().body).unwrap();
    assert_eq!(sent["stream_options"], json!({"include_usage": true}));
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_goes_back() {
    let tools = json!([{"type": "function", "name": "tide_height", "parameters": {"type": "object"}}]);
    for stream in [false, true] {
        let fake = fake().await;
        let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
        let mut body = json!({"model": MODEL, "input": "Tide? tok-3", "tools": tools, "stream": stream});
        let response = ask(&gateway, &body).await;
        let answer = if stream {
            let events = told(&response.events().await);
            let arguments = joined(&events, "response.function_call_arguments.delta");
            assert_eq!(
                serde_json::from_str::<Value>(&arguments).unwrap(),
                json!({"port": "Cádiz", "token": "tok-3"})
            );
            events[events.len() - 1]["response"].clone()
        } else {
            response.json().await
        };
        let call = answer["output"][0].clone();
        assert_eq!((&call["type"], &call["name"]), (&json!("function_call"), &json!("tide_height")));
        let result = json!({"type": "function_call_output", "call_id": call["call_id"], "output": "4.2 m"});
        body["input"] = json!([{"role": "user", "content": "Tide? tok-3"}, call, result]);
        body["stream"] = json!(false);
        let words = ask(&gateway, &body).await.json().await;
        assert!(words["output"][0]["content"][0]["text"].as_str().unwrap().starts_with("tok-3"));
        let sent: Value = serde_json::from_slice(&fake.last().body).unwrap();
        assert_eq!(
            sent["messages"],
            json!([{"role": "user", "content": "Tide? tok-3"},
                {"role": "assistant", "content": null, "tool_calls": [{"id": "call_tok-3", "type": "function",
                    "function": {"name": "tide_height", "arguments": call["arguments"]}}]},
                {"role": "tool", "content": "4.2 m", "tool_call_id": "call_tok-3"}])
        );
    }
}

#[tokio::test]
async fn what_nobody_keeps_is_refused_in_openais_envelope() {
    let fake = fake().await;
    let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    let mut body = request(&json!("x"));
    body["previous_response_id"] = json!("resp_1");
    let response = ask(&gateway, &body).await;
    assert_eq!(response.status, 400);
    let error = error_of(response).await;
    assert_eq!(
        (&error["param"], &error["code"]),
        (&json!("previous_response_id"), &json!("unsupported_parameter"))
    );
    assert_eq!(error["type"], "invalid_request_error");
    assert!(error["message"].as_str().unwrap().contains("send the whole conversation in 'input'"));
    let mut body = request(&json!("x"));
    body["tools"] = json!([{"type": "web_search"}]);
    let error = error_of(ask(&gateway, &body).await).await;
    assert_eq!(error["param"], "tools[0].type");
    for (method, path) in [
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/v1/responses/resp_1/input_items"),
    ] {
        let response = gateway.client().request(method, path).send().await;
        assert_eq!(response.status, 404, "{method} {path}");
        assert!(error_of(response).await["message"].as_str().unwrap().contains("resp_1"));
    }
    let response = ask(&gateway, &json!({"model": "no-such-model", "input": "x"})).await;
    assert_eq!(response.status, 404);
    assert_eq!(error_of(response).await["code"], "model_not_found");
    assert_eq!(fake.count(), 0);
}

#[tokio::test]
async fn a_route_that_fails_before_it_speaks_is_replaced_unseen() {
    let (first, second, gateway) = pair().await;
    for reply in [
        Reply::error(500, "server_error", "down"),
        Reply::events([json!({"error": {"message": "no"}}).to_string()]),
        Reply::events(Vec::<String>::new()),
    ] {
        first.script(reply);
        let response = ask(&gateway, &streamed(&json!("tok-5"))).await;
        assert_eq!(header(&response, "x-tollway-route"), "second/served");
        let events = told(&response.events().await);
        assert_eq!(kinds(&events)[events.len() - 1], "response.completed");
    }
    // Nobody left: an error before any event, in OpenAI's envelope.
    second.script(Reply::error(500, "server_error", "down"));
    for body in [request(&json!("x")), streamed(&json!("x"))] {
        let response = ask(&gateway, &body).await;
        assert!(response.status >= 500, "{}", response.status);
        assert_eq!(header(&response, "content-type"), "application/json");
        assert!(response.json().await["error"]["message"].is_string());
    }
}

#[tokio::test]
async fn r08_a_stream_that_breaks_fails_and_never_completes() {
    let chunk = |text: &str| {
        json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]})
            .to_string()
    };
    let whole = [chunk("The"), chunk(" three"), chunk(" rivers")];
    let own_error = [chunk("The"), json!({"error": {"message": "worker died", "code": 502}}).to_string()];
    let cases = [
        (Reply::events(&whole).cut_after_events(2, Break::Close), "The three", "The answer broke off"),
        (Reply::events(&whole).cut_after_events(2, Break::Reset), "The three", "The answer broke off"),
        (
            Reply::stream(whole.iter().map(|chunk| format!("data: {chunk}\n\n"))),
            "The three rivers",
            "The answer broke off",
        ),
        (Reply::events(&own_error), "The", "worker died"),
    ];
    for (reply, text, words) in cases {
        let fake = FakeProvider::start().await;
        fake.script(reply);
        let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
        let events = told(&ask(&gateway, &streamed(&json!("x"))).await.events().await);
        assert_eq!(joined(&events, "response.output_text.delta"), text);
        let kinds = kinds(&events);
        assert_eq!(kinds[kinds.len() - 2..], ["error", "response.failed"], "{kinds:?}");
        assert!(!kinds.contains(&"response.completed") && !kinds.contains(&"response.output_item.done"));
        let last = &events[events.len() - 1]["response"];
        assert_eq!(last["status"], "failed");
        assert!(last["error"]["message"].as_str().unwrap().contains(words), "{last}");
        assert_eq!(last["output"][0]["content"][0]["text"], text);
        gateway.logged("\"endpoint\":\"responses\"").await;
        assert!(!gateway.logs().contains("\"outcome\":\"ok\""));
    }
}

#[tokio::test]
async fn every_dialects_fixture_is_told_in_full() {
    let fixtures = [
        ("openrouter_stream_repeated_finish.sse", Kind::OpenRouter, ["0.66", "0.022", "1.98"]),
        ("together_stream_tool_call.sse", Kind::Together, ["1.32", "0.13", "3.96"]),
        ("fireworks_stream_usage_on_finish.sse", Kind::Fireworks, ["1.74", "0.145", "3.48"]),
        ("fireworks_stream_usage_own_chunk.sse", Kind::Fireworks, ["1.74", "0.145", "3.48"]),
        ("deepseek_stream_thinking.sse", Kind::DeepSeek, ["0.66", "0.022", "1.98"]),
    ];
    for (file, kind, [input, cached, output]) in fixtures {
        let expected = &Fixture::named(file).expect;
        let fake = FakeProvider::start().await;
        let model = Model::new("served", MODEL).price(Price::per_million(input, cached, output));
        let gateway = gateway(Config::new().provider(Provider::fake("p", kind, &fake).model(model))).await;
        for size in [1000, 7, 1] {
            fake.script(Reply::fixture(file).packets_of(size));
            let events = told(&ask(&gateway, &streamed(&json!("x"))).await.events().await);
            let text = |name: &str| expected[name].as_str().unwrap_or_default().to_owned();
            assert_eq!(joined(&events, "response.output_text.delta"), text("text"), "{file}");
            assert_eq!(joined(&events, "response.reasoning_text.delta"), text("reasoning"), "{file}");
            let last = &events[events.len() - 1]["response"];
            assert_eq!(last["status"], "completed", "{file}");
            let calls =
                last["output"].as_array().unwrap().iter().filter(|item| item["type"] == "function_call");
            let calls: Vec<Value> = calls
                .map(|call| {
                    let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
                    json!({"name": call["name"], "arguments": arguments})
                })
                .collect();
            let wanted = expected["tool_calls"].as_array().cloned().unwrap_or_default();
            assert_eq!(calls, wanted, "{file}");
            let usage = &last["usage"];
            assert_eq!(
                (&usage["input_tokens"], &usage["output_tokens"]),
                (&expected["prompt"], &expected["completion"]),
                "{file}"
            );
            assert_eq!(nanos(&usage["cost"]), nanos(&expected["cost_usd"]), "{file}");
        }
    }
}
