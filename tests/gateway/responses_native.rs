//! `POST /v1/responses` at routes that speak it themselves: on as it came, there and back, with our bill and no false ending.

use serde_json::{Value, json};
use tollway_test_support::{
    Break, Config, Dialect, Event, FakeProvider, Fixture, Gateway, Kind, Model, Price, Provider, Reply,
    Response,
};

use crate::{MODEL, error_of, gateway, header};

pub(crate) const PATH: &str = "/v1/responses";
pub(crate) const CHAT: &str = "/v1/chat/completions";
/// The kinds whose own address has the API.
const KINDS: [Kind; 4] = [Kind::OpenAi, Kind::OpenRouter, Kind::Fireworks, Kind::DeepSeek];

pub(crate) fn plain(name: &str, kind: Kind, fake: &FakeProvider) -> Provider {
    let model = Model::new("served", MODEL).price(Price::per_million("1", "0.5", "3"));
    Provider::fake(name, kind, fake).model(model)
}

pub(crate) fn native(name: &str, kind: Kind, fake: &FakeProvider) -> Provider {
    plain(name, kind, fake).with("responses: native")
}

pub(crate) async fn alone(kind: Kind, fake: &FakeProvider, policy: &str) -> Gateway {
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

pub(crate) fn request(stream: bool) -> Value {
    json!({"model": MODEL, "input": "Say tok-2, please.", "stream": stream})
}

pub(crate) async fn ask(gateway: &Gateway, body: impl ToString) -> Response {
    gateway.post(PATH, body.to_string()).send().await
}

pub(crate) fn nanos(cost: &Value) -> String {
    format!("{:.9}", cost.as_f64().unwrap_or_else(|| panic!("no cost: {cost}")))
}

pub(crate) fn kinds(events: &[Event]) -> Vec<&str> {
    events.iter().filter_map(|event| event.name.as_deref()).collect()
}

/// `text` without the cost that the gateway put in, and that cost.
pub(crate) fn without_cost(text: &str) -> (String, Option<String>) {
    let Some(at) = text.find(",\"cost\":") else { return (text.to_owned(), None) };
    let end = at + text[at..].find('}').unwrap();
    (format!("{}{}", &text[..at], &text[end..]), Some(text[at + 8..end].to_owned()))
}

/// One bill: the access log's, the metric's, and this one.
pub(crate) async fn one_bill(gateway: &Gateway, cost: &str) {
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
        let nano = (price.cost_pico(&usage) + 500) / 1000;
        let by_hand = format!("0.{nano:09}");
        assert_eq!(nanos(&in_header), by_hand, "{kind:?}");
        let cost = cost.unwrap();
        assert_eq!(nanos(&cost.split(',').next().unwrap().parse().unwrap()), by_hand, "{kind:?}");
        one_bill(&gateway, &by_hand).await;
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
