//! What an answer cost, in the body, the header, the log line and the metrics: the same integers everywhere.

use serde_json::{Value, json};
use tollway_test_support::{Config, FakeProvider, Fixture, Kind, Model, Price, Provider, Reply};

use crate::{MODEL, chat, fake, gateway, header, provider};

/// Each fixture that has an answer, at the price of its provider's card: (file, kind, input, cached, output).
const PRICED: [(&str, Kind, [&str; 3]); 5] = [
    ("openrouter_stream_repeated_finish.sse", Kind::OpenRouter, ["0.66", "0.022", "1.98"]),
    ("together_stream_tool_call.sse", Kind::Together, ["1.32", "0.13", "3.96"]),
    ("fireworks_stream_usage_on_finish.sse", Kind::Fireworks, ["1.74", "0.145", "3.48"]),
    ("fireworks_stream_usage_own_chunk.sse", Kind::Fireworks, ["1.74", "0.145", "3.48"]),
    ("deepseek_stream_thinking.sse", Kind::DeepSeek, ["0.66", "0.022", "1.98"]),
];

async fn answer_of(
    file: &str,
    kind: Kind,
    [input, cached, output]: [&str; 3],
    body: &Value,
) -> (Vec<Value>, String, f64) {
    let fake = FakeProvider::start().await;
    fake.script(Reply::fixture(file));
    let model = Model::new("served", MODEL).price(Price::per_million(input, cached, output));
    let gateway = gateway(Config::new().provider(Provider::fake("p", kind, &fake).model(model))).await;
    let response = gateway.chat(body).send().await;
    assert_eq!(response.status, 200);
    let events = response.events().await;
    assert!(events.last().is_some_and(tollway_test_support::Event::is_done), "{file}: {events:?}");
    let chunks: Vec<Value> = events.iter().filter_map(tollway_test_support::Event::json).collect();
    let line = gateway.logged("\"outcome\":\"ok\"").await;
    let metrics =
        gateway.metrics_until("the cost", |metrics| metrics.sum("tollway_cost_usd_total", &[]) > 0.0).await;
    (chunks, line, metrics.sum("tollway_cost_usd_total", &[]))
}

#[tokio::test]
async fn the_cost_of_every_fixture_is_that_of_its_manifest_to_the_nano_dollar() {
    for (file, kind, price) in PRICED {
        let expected = Fixture::named(file).expect["cost_usd"].as_f64().unwrap();
        let nanos = |cost: f64| format!("{cost:.9}");
        let asked = json!({"model": MODEL, "stream": true, "stream_options": {"include_usage": true},
            "messages": [{"role": "user", "content": "x"}]});
        let (chunks, line, metric) = answer_of(file, kind, price, &asked).await;
        let with_usage: Vec<&Value> = chunks.iter().filter(|chunk| chunk["usage"].is_object()).collect();
        assert_eq!(with_usage.len(), 1, "{file}: usage once");
        assert_eq!(with_usage[0]["choices"], json!([]), "{file}: in a chunk of its own");
        assert_eq!(chunks.last(), with_usage.first().copied(), "{file}: at the end");
        assert_eq!(
            nanos(with_usage[0]["usage"]["cost"].as_f64().unwrap()),
            nanos(expected),
            "{file}: in the body"
        );
        let logged: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(nanos(logged["cost_usd"].as_f64().unwrap()), nanos(expected), "{file}: in the log");
        assert_eq!(nanos(metric), nanos(expected), "{file}: in the metrics");
        assert!(
            !logged["price_as_of"].as_str().unwrap().is_empty()
                && !logged["price_source"].as_str().unwrap().is_empty()
        );
    }
}

#[tokio::test]
async fn r08_usage_that_nobody_asked_for_is_accounted_and_not_sent() {
    for (file, kind, price) in
        PRICED.into_iter().filter(|(file, ..)| !file.contains("finish") && !file.contains("deepseek"))
    {
        let body = json!({"model": MODEL, "stream": true, "messages": [{"role": "user", "content": "x"}]});
        let (chunks, _, metric) = answer_of(file, kind, price, &body).await;
        assert!(chunks.iter().all(|chunk| !chunk["usage"].is_object()), "{file}");
        assert!(
            chunks.iter().all(|chunk| chunk["choices"].as_array().is_some_and(|c| !c.is_empty())),
            "{file}"
        );
        assert!(metric > 0.0);
    }
}

#[tokio::test]
async fn a_padded_body_has_its_cost_and_its_padding() {
    let fake = FakeProvider::start().await;
    fake.script(Reply::fixture("openrouter_body_padded.json"));
    let model = Model::new("served", MODEL).price(Price::per_million("0.105", "0.021", "0.21"));
    let gateway =
        gateway(Config::new().provider(Provider::fake("p", Kind::OpenRouter, &fake).model(model))).await;
    let response = gateway.chat(&chat("x")).send().await;
    assert_eq!(header(&response, "x-tollway-cost-usd"), "0.000006930");
    let original = Fixture::named("openrouter_body_padded.json").body.clone();
    assert_eq!(response.bytes().await, original, "OpenRouter states the cost itself, so nothing is put in");
}

#[tokio::test]
async fn header_body_log_and_metrics_agree_for_a_whole_answer() {
    let fake = fake().await;
    let gateway = gateway(Config::new().provider(provider("p", &fake, "0.123456"))).await;
    let response = gateway.chat(&chat("tok-1 what now")).send().await;
    let told = header(&response, "x-tollway-cost-usd").to_owned();
    let body = response.json().await;
    let usage = &body["usage"];
    let tokens = usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
    let by_hand = (tokens * 123_456 + 500) / 1000;
    assert_eq!(told, format!("0.{by_hand:09}"));
    assert_eq!(usage["cost"].to_string().parse::<f64>().unwrap(), told.parse::<f64>().unwrap());
    let line: Value = serde_json::from_str(&gateway.logged("\"outcome\":\"ok\"").await).unwrap();
    assert_eq!(line["cost_usd"].as_f64(), told.parse().ok());
    let metrics = gateway.metrics().await;
    assert_eq!(format!("{:.9}", metrics.sum("tollway_cost_usd_total", &[])), told);
    assert_eq!(format!("{:.9}", metrics.sum("tollway_cost_component_usd_total", &[])), told);
    assert_eq!(metrics.sum("tollway_tokens_total", &[]) as u64, tokens);
}

#[tokio::test]
async fn cache_writes_cost_their_own_price() {
    let fake = FakeProvider::start().await;
    fake.script(Reply::fixture("dashscope_stream.sse"));
    let base_url = fake.base_url();
    let config = Config::new().with(&format!(
        "providers: {{p: {{kind: dashscope, base_url: \"{base_url}\", api_key: k-123456789, models: [{{id: served, model: {MODEL}, \
         price: {{input: 0.4, cached_input: 0.04, cache_write: 0.5, output: 1.6}}}}]}}}}"
    ));
    let gateway = gateway(config).await;
    let body = json!({"model": MODEL, "stream": true, "stream_options": {"include_usage": true}, "messages": [{"role": "user", "content": "x"}]});
    let events = gateway.chat(&body).send().await.events().await;
    let usage = events
        .iter()
        .filter_map(tollway_test_support::Event::json)
        .find(|chunk| chunk["usage"].is_object())
        .unwrap();
    // 300 × 400,000 + 1,800 × 500,000 + 33 × 1,600,000 pico-dollars.
    assert_eq!(usage["usage"]["cost"].as_f64(), Some(0.001_072_8));
}

#[tokio::test]
async fn r33_a_route_without_a_price_is_left_out_unless_the_policy_allows_it() {
    let fake = fake().await;
    let unpriced = || Provider::fake("p", Kind::OpenAi, &fake).model(Model::new("served", MODEL));
    let strict = gateway(Config::new().provider(unpriced())).await;
    let response = strict.chat(&chat("x")).send().await;
    assert_eq!(response.status, 503);
    let error = crate::error_of(response).await;
    assert!(error["message"].as_str().unwrap().contains("p/served"), "{error}");
    let lenient =
        gateway(Config::new().provider(unpriced()).policy("a.yaml", "policy: a\nallow_unpriced: true\n"))
            .await;
    let response = lenient.chat(&chat("x")).send().await;
    assert_eq!(response.status, 200);
    assert!(response.headers.get("x-tollway-cost-usd").is_none(), "unknown is not zero");
    assert!(response.json().await["usage"].get("cost").is_none());
    assert_eq!(lenient.metrics().await.sum("tollway_unpriced_requests_total", &[]), 1.0);
}
