//! `POST /v1/responses` at routes that speak it themselves: on as it came, there and back, with our bill and no false ending.

use bytes::Bytes;
use serde_json::{Value, json};
use tollway_test_support::{
    Break, Config, Dialect, Event, FakeProvider, Fixture, Gateway, Kind, Model, Price, Provider, Reply,
    Response,
};

use crate::{MODEL, error_of, gateway, header};

const PATH: &str = "/v1/responses";
const CHAT: &str = "/v1/chat/completions";
/// The kinds whose own address has the API.
const KINDS: [Kind; 4] = [Kind::OpenAi, Kind::OpenRouter, Kind::Fireworks, Kind::DeepSeek];
const IN_ORDER: &str = "policy: p\nroutes: [first, second]\nin_order: true\nprobe: off\n\
    fallback: {attempts: 2, idle_timeout: 400ms, first_token_timeout: 5s}\n";

fn plain(name: &str, kind: Kind, fake: &FakeProvider) -> Provider {
    let model = Model::new("served", MODEL).price(Price::per_million("1", "0.5", "3"));
    Provider::fake(name, kind, fake).model(model)
}

fn native(name: &str, kind: Kind, fake: &FakeProvider) -> Provider {
    plain(name, kind, fake).with("responses: native")
}

async fn alone(kind: Kind, fake: &FakeProvider, policy: &str) -> Gateway {
    gateway(Config::new().provider(native("p", kind, fake)).policy("a.yaml", policy)).await
}

/// A body with all that a careless gateway would rewrite.
fn odd_body(model: &str, more: &str) -> String {
    format!(
        "{{ \"x_unknown\" : 1E2,\"big\":18446744073709551617 ,\n\"model\":\"{model}\",\"input\":[{{\"content\":\"\\u00e9\\/\u{1f600} tok-1\",\
         \"role\":\"user\",\"x\":{{\"deep\":[1.0,-0.0,1e-7]}}}}],\"store\": false, \"include\":[\"reasoning.encrypted_content\"],\
         \"text\":{{\"verbosity\":\"low\"}}{more}}}"
    )
}

fn request(stream: bool) -> Value {
    json!({"model": MODEL, "input": "Say tok-2, please.", "stream": stream})
}

async fn ask(gateway: &Gateway, body: impl ToString) -> Response {
    gateway.post(PATH, body.to_string()).send().await
}

fn nanos(cost: &Value) -> String {
    format!("{:.9}", cost.as_f64().unwrap_or_else(|| panic!("no cost: {cost}")))
}

fn kinds(events: &[Event]) -> Vec<&str> {
    events.iter().filter_map(|event| event.name.as_deref()).collect()
}

/// `text` without the cost that the gateway put in, and that cost.
fn without_cost(text: &str) -> (String, Option<String>) {
    let Some(at) = text.find(",\"cost\":") else { return (text.to_owned(), None) };
    let end = at + text[at..].find('}').unwrap();
    (format!("{}{}", &text[..at], &text[end..]), Some(text[at + 8..end].to_owned()))
}

/// One bill: the access log's, the metric's, and this one.
async fn one_bill(gateway: &Gateway, cost: &str) {
    let line: Value = serde_json::from_str(&gateway.logged("\"outcome\":\"ok\"").await).unwrap();
    assert_eq!(line["endpoint"], "responses");
    assert_eq!(nanos(&line["cost_usd"]), cost);
    let metrics = gateway.metrics_until("the cost", |m| m.sum("tollway_cost_usd_total", &[]) > 0.0).await;
    assert_eq!(format!("{:.9}", metrics.sum("tollway_cost_usd_total", &[])), cost);
}

#[tokio::test]
async fn r05_a_request_arrives_byte_for_byte_but_for_what_must_differ() {
    let fake = FakeProvider::speaking(Dialect::new(Kind::OpenAi)).await;
    let gateway = alone(Kind::OpenAi, &fake, "policy: p\n").await;
    for stream in [",\"stream\":true", ",\"stream\" : false"] {
        let response = ask(&gateway, odd_body(MODEL, stream)).await;
        assert_eq!(response.status, 200);
        response.bytes().await;
        assert_eq!(fake.last().path, PATH);
        assert_eq!(fake.last().body, odd_body("served", stream));
    }
    // Unless it is told not to, a provider keeps what it answers.
    let kept = odd_body(MODEL, "").replace("\"store\": false", "\"store\": true");
    ask(&gateway, kept).await.bytes().await;
    assert_eq!(fake.last().body, odd_body("served", ""));
    let body = request(false).to_string();
    ask(&gateway, &body).await.bytes().await;
    let told = body.replace(MODEL, "served");
    assert_eq!(fake.last().body, told.strip_suffix('}').unwrap().to_owned() + ",\"store\":false}");
}

#[tokio::test]
async fn r05_a_whole_answer_of_every_kind_differs_by_its_cost_alone() {
    for kind in KINDS {
        let price = Price::per_million("1", "0.5", "3");
        let dialect = Dialect::new(kind).reasoning(2).cached(1).price(price);
        let fake = FakeProvider::speaking(dialect.clone()).await;
        let gateway = alone(kind, &fake, "policy: p\n").await;
        let body = request(false).to_string();
        let response = ask(&gateway, &body).await;
        assert_eq!((response.status, header(&response, "x-tollway-route")), (200, "p/served"));
        let in_header: Value = header(&response, "x-tollway-cost-usd").parse().unwrap();
        let got = response.text().await;
        let received = tollway_test_support::received(PATH, &fake.last().text());
        let sent = String::from_utf8(dialect.answer(&received).body().to_vec()).unwrap();
        let (got, cost) = without_cost(&got);
        let (sent, _) = without_cost(&sent);
        assert_eq!(got, sent, "{kind:?}");
        // By hand: what is cached costs half.
        let usage = dialect.usage_of_response(body.as_bytes());
        let by_hand = Value::from(price.cost_pico(&usage) as f64 / 1e12);
        assert_eq!(nanos(&in_header), nanos(&by_hand), "{kind:?}");
        let cost = cost.unwrap();
        assert_eq!(nanos(&cost.split(',').next().unwrap().parse().unwrap()), nanos(&by_hand), "{kind:?}");
        one_bill(&gateway, &nanos(&by_hand)).await;
    }
}

#[tokio::test]
async fn r05_r07_a_stream_of_every_kind_arrives_byte_for_byte_in_any_packets() {
    for kind in KINDS {
        let dialect = Dialect::new(kind).reasoning(2).cached(1);
        for size in [1000, 7, 1] {
            let fake = FakeProvider::start().await;
            let speaking = dialect.clone();
            fake.on(move |request| speaking.answer(request).packets_of(size));
            let gateway = alone(kind, &fake, "policy: p\n").await;
            let response = ask(&gateway, request(true)).await;
            assert!(header(&response, "content-type").starts_with("text/event-stream"));
            let got = response.text().await;
            let received = tollway_test_support::received(PATH, &fake.last().text());
            let sent = String::from_utf8(dialect.answer(&received).body().to_vec()).unwrap();
            let (got, cost) = without_cost(&got);
            assert_eq!(got, sent, "{kind:?} in packets of {size}");
            one_bill(&gateway, &nanos(&cost.unwrap().parse().unwrap())).await;
        }
    }
}

#[tokio::test]
async fn r05_the_recorded_stream_arrives_byte_for_byte_with_its_cost() {
    let file = "openai_responses_stream.sse";
    let whole = String::from_utf8(Fixture::named(file).body.to_vec()).unwrap();
    let fake = FakeProvider::start().await;
    fake.script(Reply::fixture(file));
    let gateway = alone(Kind::OpenAi, &fake, "policy: p\n").await;
    let (got, cost) = without_cost(&ask(&gateway, request(true)).await.text().await);
    assert_eq!(got, whole);
    // 40 in at 1, 4 out at 3 dollars a million.
    assert_eq!(cost.as_deref(), Some("0.000052000"));
    one_bill(&gateway, "0.000052000").await;
}

#[tokio::test]
async fn a_tool_call_goes_there_and_back_in_the_providers_own_words() {
    let fake = FakeProvider::speaking(Dialect::new(Kind::OpenAi)).await;
    let gateway = alone(Kind::OpenAi, &fake, "policy: p\n").await;
    let mut body = request(true);
    body["tools"] = json!([{"type": "function", "name": "tide_height", "parameters": {"type": "object"}}]);
    let events = ask(&gateway, &body).await.events().await;
    let last = events.last().unwrap().json().unwrap();
    let call = last["response"]["output"][0].clone();
    assert_eq!((&call["type"], &call["name"]), (&json!("function_call"), &json!("tide_height")));
    let result = json!({"type": "function_call_output", "call_id": call["call_id"], "output": "4.2 m"});
    body["input"] = json!([{"role": "user", "content": "tok-2"}, call, result]);
    body["stream"] = json!(false);
    let answer = ask(&gateway, &body).await.json().await;
    assert!(answer["output"][0]["content"][0]["text"].as_str().unwrap().starts_with("tok-2"));
    assert_eq!(fake.last().json()["input"], body["input"]);
}

#[tokio::test]
async fn r08_what_a_bound_cut_short_ends_as_incomplete_and_well() {
    let fake = FakeProvider::speaking(Dialect::new(Kind::OpenAi)).await;
    let gateway = alone(Kind::OpenAi, &fake, "policy: p\n").await;
    for stream in [true, false] {
        let mut body = request(stream);
        body["max_output_tokens"] = json!(3);
        let response = ask(&gateway, &body).await;
        let answer = if stream {
            let events = response.events().await;
            assert_eq!(events.last().unwrap().name.as_deref(), Some("response.incomplete"));
            events.last().unwrap().json().unwrap()["response"].clone()
        } else {
            response.json().await
        };
        assert_eq!(answer["incomplete_details"]["reason"], "max_output_tokens");
        assert_eq!(answer["usage"]["output_tokens"], 3);
        assert!(answer["usage"]["cost"].as_f64().unwrap() > 0.0);
    }
    gateway.logged("\"outcome\":\"ok\"").await;
}

#[tokio::test]
async fn what_is_kept_at_a_provider_stays_refused() {
    let fake = FakeProvider::speaking(Dialect::new(Kind::OpenAi)).await;
    let gateway = alone(Kind::OpenAi, &fake, "policy: p\n").await;
    for (name, value, param) in [
        ("previous_response_id", json!("resp_1"), "previous_response_id"),
        ("conversation", json!("conv_1"), "conversation"),
        ("background", json!(true), "background"),
        ("tools", json!([{"type": "web_search"}]), "tools[0].type"),
        ("input", json!([{"type": "item_reference", "id": "msg_1"}]), "input[0].type"),
    ] {
        let mut body = request(false);
        body[name] = value;
        let response = ask(&gateway, &body).await;
        assert_eq!(response.status, 400);
        assert_eq!(error_of(response).await["param"], param);
    }
    assert_eq!(fake.count(), 0);
}

/// A first and a second route, of which those named `native` speak the API.
async fn pair(is_native: [bool; 2]) -> (FakeProvider, FakeProvider, Gateway) {
    let dialect = || Dialect::new(Kind::OpenAi);
    let (first, second) = (FakeProvider::speaking(dialect()).await, FakeProvider::speaking(dialect()).await);
    let provider = |name, fake, is_native| {
        if is_native { native(name, Kind::OpenAi, fake) } else { plain(name, Kind::OpenAi, fake) }
    };
    let config = Config::new()
        .provider(provider("first", &first, is_native[0]))
        .provider(provider("second", &second, is_native[1]))
        .policy("a.yaml", IN_ORDER);
    let gateway = gateway(config).await;
    (first, second, gateway)
}

/// Ways to begin a native stream with a fault.
fn faulty_beginnings() -> Vec<Reply> {
    let created = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"r\",\"error\":null}}\n\n";
    let stream = |events: &str| Reply::stream([created.to_owned() + events]);
    vec![
        Reply::error(500, "server_error", "down"),
        Reply::error(503, "server_error", "busy"),
        stream(
            "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"no\",\"sequence_number\":1}\n\n",
        ),
        stream(
            "data: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"no\"}}}\n\n",
        ),
        stream("data: {\"error\":{\"message\":\"no\"}}\n\n"),
        stream("data: [DONE]\n\n"),
        stream(""),
        stream("data: {not json}\n\n"),
        Reply::json(200, r#"{"id":"r","status":"completed","output":[]}"#),
        Reply::nothing(Break::Reset),
    ]
}

#[tokio::test]
async fn a_route_that_fails_is_replaced_unseen_by_one_of_the_other_kind() {
    for is_native in [[true, false], [false, true], [true, true]] {
        // In each round its own gateway: a breaker would leave the first one out.
        for reply in faulty_beginnings() {
            let (first, second, gateway) = pair(is_native).await;
            first.script(reply);
            let response = ask(&gateway, request(true)).await;
            assert_eq!(header(&response, "x-tollway-route"), "second/served");
            let got = response.text().await;
            let events = tollway_test_support::events(got.as_bytes());
            assert_eq!(kinds(&events).last(), Some(&"response.completed"));
            assert_eq!(first.last().path, if is_native[0] { PATH } else { CHAT });
            assert_eq!(second.last().path, if is_native[1] { PATH } else { CHAT });
            if is_native[1] {
                let received = tollway_test_support::received(PATH, &second.last().text());
                let sent = Dialect::new(Kind::OpenAi).answer(&received).body();
                assert_eq!(without_cost(&got).0, String::from_utf8(sent.to_vec()).unwrap());
            }
            let text: String = events
                .iter()
                .filter(|event| event.name.as_deref() == Some("response.output_text.delta"))
                .filter_map(|event| event.json()?["delta"].as_str().map(str::to_owned))
                .collect();
            assert!(text.starts_with("tok-2 tides"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_fault_under_status_200_is_no_answer() {
    let whole = [
        r#"{"id":"r","object":"response","status":"failed","error":{"code":"server_error","message":"no"},"output":[]}"#,
        r#"{"id":"r","object":"response","status":"in_progress","error":null,"output":[]}"#,
        r#"{"error":{"message":"no","code":502}}"#,
        r#"{"id":"r","object":"response","status":"completed"}"#,
        "<html>",
        "",
    ];
    for body in whole {
        let (first, second, gateway) = pair([true, false]).await;
        first.script(Reply::json(200, body));
        let response = ask(&gateway, request(false)).await;
        assert_eq!(header(&response, "x-tollway-route"), "second/served", "{body}");
        assert_eq!(response.json().await["status"], "completed");
        assert_eq!(second.last().path, CHAT);
        // And where nobody is left, an error.
        second.script(Reply::error(500, "server_error", "down"));
        let response = ask(&gateway, request(false)).await;
        assert!(response.status >= 500, "{}", response.status);
        error_of(response).await;
    }
}

#[tokio::test]
async fn a_route_that_refuses_the_form_is_asked_for_a_chat() {
    let refusals = [
        Reply::error(404, "not_found", "Not Found"),
        Reply::new(405, "Method Not Allowed"),
        Reply::error(404, "not_found", "Item with id 'rs_1' not found. Items are not persisted."),
        Reply::error(400, "invalid_encrypted_content", "The encrypted content gAA could not be verified."),
        Reply::error(400, "unsupported_parameter", "Unsupported parameter: 'include'"),
    ];
    for refusal in refusals {
        for stream in [true, false] {
            let fake = FakeProvider::speaking(Dialect::new(Kind::OpenAi)).await;
            let gateway = alone(Kind::OpenAi, &fake, "policy: p\n").await;
            fake.enqueue(refusal.clone());
            let response = ask(&gateway, request(stream)).await;
            assert_eq!(response.status, 200);
            let text = response.text().await;
            assert!(text.contains("\"status\":\"completed\""), "{text}");
            let paths: Vec<String> = fake.recorded().iter().map(|request| request.path.clone()).collect();
            assert_eq!(paths, [PATH, CHAT]);
            let line: Value = serde_json::from_str(&gateway.logged("\"outcome\":\"ok\"").await).unwrap();
            assert_eq!(line["attempts"], 1);
        }
    }
    // What is wrong with the request itself, or with the model, would be wrong in a chat as well.
    for (refusal, status) in [
        (Reply::error(400, "invalid_value", "Invalid 'input': it is odd"), 400),
        (Reply::error(404, "model_not_found", "The model `served` does not exist"), 502),
    ] {
        let fake = FakeProvider::start().await;
        fake.script(refusal);
        let gateway = alone(Kind::OpenAi, &fake, "policy: p\n").await;
        let response = ask(&gateway, request(false)).await;
        assert!(response.status == status || response.status >= 500, "{}", response.status);
        assert_eq!(fake.count(), 1);
    }
}

/// What a caller gets of the recorded stream, cut short after `events` of its events.
async fn broken(reply: Reply) -> (Bytes, Gateway) {
    let fake = FakeProvider::start().await;
    fake.script(reply);
    let gateway =
        alone(Kind::OpenAi, &fake, "policy: p\nprobe: off\nfallback: {idle_timeout: 300ms}\n").await;
    let got = ask(&gateway, request(true)).await.bytes().await;
    (got, gateway)
}

#[tokio::test]
async fn r08_r19_a_stream_that_breaks_off_ends_in_an_error_with_the_next_number() {
    let file = "openai_responses_stream.sse";
    let whole = Fixture::named(file).body.clone();
    let ends = tollway_test_support::data_ends(&whole);
    for (count, how) in [(5, Break::Close), (6, Break::Reset), (8, Break::Stall), (9, Break::Close)] {
        let (got, gateway) = broken(Reply::fixture(file).cut_after_events(count, how.clone())).await;
        let (told, ours) = got.split_at(ends[count - 1]);
        assert_eq!(told, &whole[..ends[count - 1]], "{how:?}");
        let ours = tollway_test_support::events(ours);
        assert_eq!(kinds(&ours), ["error", "response.failed"], "{how:?}");
        let data: Vec<Value> = ours.iter().filter_map(Event::json).collect();
        assert_eq!(
            (&data[0]["sequence_number"], &data[1]["sequence_number"]),
            (&json!(count), &json!(count + 1))
        );
        assert!(data[0]["error"]["message"].as_str().unwrap().contains("The answer broke off"));
        assert_eq!(data[1]["response"]["id"], "resp_fixture0000000000000001");
        assert_eq!(data[1]["response"]["status"], "failed");
        let line: Value = serde_json::from_str(&gateway.logged("\"endpoint\":\"responses\"").await).unwrap();
        assert_ne!(line["outcome"], "ok");
        assert_eq!(line["usage"], "estimated");
    }
}

#[tokio::test]
async fn r08_a_providers_own_error_goes_on_as_it_came() {
    let file = "openai_responses_stream.sse";
    let whole = Fixture::named(file).body.clone();
    let begun = whole.slice(..tollway_test_support::data_ends(&whole)[5]);
    let known = [
        "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"worker died\",\"param\":null,\"sequence_number\":6}\n\n",
        "event: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":6,\"response\":{\"id\":\"r\",\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"worker died\"}}}\n\n",
    ];
    for event in known {
        let sent = [&begun[..], event.as_bytes()].concat();
        let (got, gateway) = broken(Reply::stream([sent.clone()])).await;
        assert_eq!(got, sent);
        gateway.logged("\"endpoint\":\"responses\"").await;
        assert!(!gateway.logs().contains("\"outcome\":\"ok\""));
    }
    // In words that this API's clients do not know, it is told once more in theirs.
    let odd = "data: {\"error\":{\"message\":\"worker died\",\"code\":502}}\n\n";
    let sent = [&begun[..], odd.as_bytes()].concat();
    let (got, _) = broken(Reply::stream([sent.clone(), b"data: [DONE]\n\n".to_vec()])).await;
    assert_eq!(got[..sent.len()], sent);
    assert_eq!(kinds(&tollway_test_support::events(&got[sent.len()..])), ["error", "response.failed"]);
}

#[tokio::test]
async fn what_stays_open_behind_a_whole_answer_changes_nothing() {
    let file = "openai_responses_stream.sse";
    let whole = String::from_utf8(Fixture::named(file).body.to_vec()).unwrap();
    for how in [Break::Stall, Break::Reset] {
        let fake = FakeProvider::start().await;
        fake.script(
            Reply::stream([whole.clone(), "data: never sent\n\n".to_owned()]).cut_after_events(10, how),
        );
        let gateway =
            alone(Kind::OpenAi, &fake, "policy: p\nprobe: off\nfallback: {idle_timeout: 300ms}\n").await;
        let (got, cost) = without_cost(&ask(&gateway, request(true)).await.text().await);
        assert_eq!(got, whole);
        one_bill(&gateway, &nanos(&cost.unwrap().parse().unwrap())).await;
    }
}

#[tokio::test]
async fn usage_that_never_came_is_estimated_and_says_so() {
    let file = "openai_responses_stream.sse";
    let whole = String::from_utf8(Fixture::named(file).body.to_vec()).unwrap();
    let at = whole.rfind("\"usage\":{").unwrap() + 8;
    let end = at + whole[at..].find("},\"metadata\"").unwrap() + 1;
    let fake = FakeProvider::start().await;
    fake.script(Reply::stream([format!("{}null{}", &whole[..at], &whole[end..])]));
    let gateway = alone(Kind::OpenAi, &fake, "policy: p\n").await;
    let events = ask(&gateway, request(true)).await.events().await;
    let usage = events.last().unwrap().json().unwrap()["response"]["usage"].clone();
    assert_eq!((&usage["estimated"], &usage["output_tokens"]), (&json!(true), &json!(3)), "{usage}");
    let line: Value = serde_json::from_str(&gateway.logged("\"outcome\":\"ok\"").await).unwrap();
    assert_eq!(nanos(&line["cost_usd"]), nanos(&usage["cost"]));
}

#[tokio::test]
async fn what_is_to_be_gone_on_with_is_asked_for_as_a_chat() {
    let fake = FakeProvider::speaking(Dialect::new(Kind::OpenAi)).await;
    let gateway = alone(Kind::OpenAi, &fake, "policy: p\nfallback: {midstream: resume}\n").await;
    for (stream, path) in [(true, CHAT), (false, PATH)] {
        ask(&gateway, request(stream)).await.bytes().await;
        assert_eq!(fake.last().path, path);
    }
    let mut tied = request(true);
    tied["text"] = json!({"format": {"type": "json_object"}});
    ask(&gateway, &tied).await.bytes().await;
    assert_eq!(fake.last().path, PATH, "what cannot be gone on with goes as it came");
}

#[tokio::test]
async fn a_gathered_answer_is_the_one_that_ends_the_stream() {
    let fake = FakeProvider::speaking(Dialect::new(Kind::OpenAi).reasoning(2)).await;
    let policy = "policy: p\nstream_upstream: true\nprobe: off\nfallback: {first_token_timeout: 1s, idle_timeout: 300ms}\n";
    let gateway = alone(Kind::OpenAi, &fake, policy).await;
    let response = ask(&gateway, request(false)).await;
    assert_eq!(header(&response, "content-type"), "application/json");
    let got = response.text().await;
    assert_eq!(fake.last().json()["stream"], true);
    let received = tollway_test_support::received(PATH, &fake.last().text());
    let stream = Dialect::new(Kind::OpenAi).reasoning(2).answer(&received).body();
    let (got, cost) = without_cost(&got);
    assert!(
        String::from_utf8(stream.to_vec()).unwrap().contains(&format!("\"response\":{got}}}\n\n")),
        "{got}"
    );
    one_bill(&gateway, &nanos(&cost.unwrap().parse().unwrap())).await;
    // What breaks off brings nothing.
    fake.on(|request| Dialect::new(Kind::OpenAi).answer(request).cut_after_events(6, Break::Close));
    assert!(ask(&gateway, request(false)).await.status >= 500);
}
