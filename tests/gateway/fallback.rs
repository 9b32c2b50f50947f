//! A failed attempt is replaced before its caller has seen anything; whose fault it was decides how.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollway_test_support::{
    BlackHole, Break, Config, FakeProvider, Fixture, Gate, Kind, Model, Price, Provider, Reply,
};

use crate::{MODEL, chat, error_of, fake, gateway, header, pair, provider, streamed};

const QUICK: &str = "policy: quick\nfallback: {attempts: 3, first_token_timeout: 300ms, idle_timeout: 2s}\n";

fn chunk(delta: &Value, finish: &Value) -> String {
    json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    .to_string()
}

/// Faults that another route must hide, whole and streamed.
fn faults() -> Vec<(&'static str, Reply)> {
    let role = chunk(&json!({"role": "assistant", "content": ""}), &Value::Null);
    vec![
        ("408", Reply::error(408, "timeout", "late")),
        ("409", Reply::error(409, "conflict", "again")),
        ("425", Reply::error(425, "early", "again")),
        ("429", Reply::error(429, "rate_limit_exceeded", "slow down")),
        ("500", Reply::error(500, "server_error", "oops")),
        ("502 HTML", Reply::html(502)),
        ("503", Reply::error(503, "overloaded", "busy")),
        ("529", Reply::error(529, "overloaded", "busy")),
        ("401", Reply::error(401, "invalid_api_key", "Incorrect API key provided: sk-first-fixture-key")),
        ("402", Reply::error(402, "insufficient_quota", "pay")),
        ("403", Reply::error(403, "forbidden", "no")),
        ("404", Reply::error(404, "model_not_found", "no such model")),
        ("302", Reply::redirect(302, "http://127.0.0.1:9/")),
        ("an empty body", Reply::empty()),
        ("HTML under 200", Reply::html(200)),
        ("an error under 200", Reply::json(200, r#"{"error":{"message":"upstream died","code":502}}"#)),
        ("no choices", Reply::json(200, r#"{"id":"x","object":"chat.completion","choices":[]}"#)),
        ("truncated JSON", Reply::json(200, r#"{"id":"x","choices":[{"index":0,"#)),
        ("closed without a head", Reply::nothing(Break::Close)),
        ("reset without a head", Reply::nothing(Break::Reset)),
        (
            "reset inside the body",
            Reply::chat("hello there", tollway_test_support::Usage::default())
                .cut_after_bytes(20, Break::Reset),
        ),
        (
            "a stream that opens with an error",
            Reply::events([r#"{"error":{"message":"overloaded","code":503}}"#]),
        ),
        ("a stream with nothing in it", Reply::events(Vec::<String>::new())),
        ("a stream that ends before its content", Reply::events([role]).cut_after_events(1, Break::Close)),
    ]
}

#[tokio::test]
async fn every_fault_before_the_first_token_is_hidden_by_the_next_route() {
    for (what, reply) in faults() {
        for body in [chat("tok-7 hi"), streamed("tok-7 hi")] {
            let (first, second, gateway) = pair().await;
            first.script(reply.clone());
            let response = gateway.chat(&body).send().await;
            assert_eq!(response.status, 200, "{what}");
            assert_eq!(header(&response, "x-tollway-route"), "second/served", "{what}");
            assert_eq!(header(&response, "x-tollway-attempts"), "2", "{what}");
            let text = response.text().await;
            assert!(text.contains("tok-7"), "{what}: {text}");
            assert_eq!((first.count(), second.count()), (1, 1), "{what}: each asked once");
            let metrics = gateway.metrics().await;
            assert_eq!(
                metrics.sum("tollway_fallbacks_total", &[("from", "first"), ("to", "second")]),
                1.0,
                "{what}"
            );
            assert!(gateway.metrics().await.sum("tollway_panics_total", &[]) == 0.0);
        }
    }
}

#[tokio::test]
async fn silence_before_the_first_token_ends_an_attempt() {
    let (first, second) = (fake().await, fake().await);
    first.script(Reply::nothing(Break::Stall));
    let config = Config::new()
        .provider(provider("first", &first, "0.1"))
        .provider(provider("second", &second, "0.2"))
        .policy("a.yaml", QUICK);
    let gateway = gateway(config).await;
    let body = json!({"model": MODEL, "stream": true, "max_tokens": 4, "messages": [{"role": "user", "content": "tok-1"}]});
    let began = Instant::now();
    let response = gateway.chat(&body).send().await;
    assert_eq!(header(&response, "x-tollway-route"), "second/served");
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(response.text().await.contains("[DONE]"));
    first.until("the attempt given up", |requests| requests.len() == 1).await;
    // A stream of comments is silence too.
    first.script(Reply::stream([": keep-alive\n\n"; 20]).between_packets(Duration::from_millis(50)));
    assert_eq!(header(&gateway.chat(&body).send().await, "x-tollway-route"), "second/served");
}

#[tokio::test]
async fn r21_a_host_that_never_answers_a_connection_is_left_for_another() {
    let (hole, second) = (BlackHole::open().await, fake().await);
    let model = Model::new("served", MODEL).price(Price::per_million("0.1", "0.1", "0.1"));
    let config = Config::new()
        .provider(Provider::black_hole("first", Kind::OpenAi, &hole).model(model))
        .provider(provider("second", &second, "0.2"))
        .policy("a.yaml", QUICK);
    let gateway = gateway(config).await;
    let body = json!({"model": MODEL, "stream": true, "messages": [{"role": "user", "content": "x"}]});
    assert_eq!(header(&gateway.chat(&body).send().await, "x-tollway-route"), "second/served");
}

#[tokio::test]
async fn a_callers_fault_is_told_as_it_came_and_not_repeated_elsewhere() {
    for status in [400, 413, 422] {
        let (first, second, gateway) = pair().await;
        let refusal = r#"{"error":{"message":"temperature: must be at most 2","type":"invalid_request_error","param":"temperature","code":null}}"#;
        first.script(Reply::json(status, refusal));
        let response = gateway.chat(&chat("x")).send().await;
        if status == 413 {
            // Too long for that route: another may take it.
            assert_eq!(header(&response, "x-tollway-route"), "second/served");
            continue;
        }
        assert_eq!(response.status, status);
        assert_eq!(response.text().await, refusal);
        assert_eq!(second.count(), 0);
        assert_eq!(gateway.metrics().await.sum("tollway_breaker_transitions_total", &[]), 0.0);
    }
}

#[tokio::test]
async fn a_context_too_small_goes_only_where_there_is_more_room() {
    let (first, same, larger) = (fake().await, fake().await, fake().await);
    let overflow = r#"{"error":{"message":"This model's maximum context length is 1000 tokens. However, you requested 1200 tokens","code":"context_length_exceeded","type":"invalid_request_error","param":"messages"}}"#;
    first.script(Reply::json(400, overflow));
    let model = |price, context| {
        Model::new("served", MODEL).price(Price::per_million(price, price, price)).context(context)
    };
    let config = Config::new()
        .provider(Provider::fake("first", Kind::OpenAi, &first).model(model("0.1", 1000)))
        .provider(Provider::fake("same", Kind::OpenAi, &same).model(model("0.2", 1000)))
        .provider(Provider::fake("larger", Kind::OpenAi, &larger).model(model("0.3", 8000)));
    let gateway = gateway(config).await;
    let response = gateway.chat(&chat("x")).send().await;
    assert_eq!((response.status, header(&response, "x-tollway-route")), (200, "larger/served"));
    assert_eq!(same.count(), 0);
    larger.script(Reply::json(400, overflow));
    let response = gateway.chat(&chat("x")).send().await;
    assert_eq!(response.status, 400);
    assert_eq!(response.text().await, overflow);
}

#[tokio::test]
async fn r51_the_operators_troubles_reach_the_operator_and_not_the_caller() {
    for (status, reason) in [(401, "bad_key"), (402, "no_money"), (403, "bad_key")] {
        let only = fake().await;
        only.script(Reply::error(
            status,
            "x",
            "Incorrect API key provided: sk-first-fixture-key at 10.0.0.5",
        ));
        let gateway = gateway(Config::new().provider(provider("first", &only, "0.1"))).await;
        let response = gateway.chat(&chat("x")).send().await;
        assert_eq!(response.status, 503);
        assert_eq!(header(&response, "x-should-retry"), "false");
        let error = error_of(response).await;
        let text = error.to_string();
        assert!(!text.contains("sk-first") && !text.contains("10.0.0.5") && !text.contains("key"), "{text}");
        assert_eq!(error["type"], "tollway_error");
        let metrics = gateway.metrics().await;
        assert_eq!(
            metrics.sum("tollway_route_disabled_total", &[("provider", "first"), ("reason", reason)]),
            1.0
        );
        let line = gateway.logged("check its key").await;
        assert!(line.contains("first") && !line.contains("sk-first-fixture-key"), "{line}");
        // Set aside: the next request does not ask it again.
        only.forget();
        assert_eq!(gateway.chat(&chat("x")).send().await.status, 503);
    }
}

#[tokio::test]
async fn retry_after_is_obeyed_and_handed_on() {
    let (first, second, gateway) = pair().await;
    first.script(Reply::error(429, "rate_limit_exceeded", "slow").header("retry-after", "30"));
    for _ in 0..5 {
        assert_eq!(header(&gateway.chat(&chat("x")).send().await, "x-tollway-route"), "second/served");
    }
    assert_eq!(first.count(), 1, "not asked again before its time");
    second.script(Reply::error(429, "rate_limit_exceeded", "slow").header("retry-after", "7"));
    assert_eq!(gateway.chat(&chat("x")).send().await.status, 429);
    let response = gateway.chat(&chat("x")).send().await;
    assert_eq!(response.status, 429);
    let wait: u64 = header(&response, "retry-after").parse().unwrap();
    assert!((1..=7).contains(&wait), "{wait}");
    assert_eq!(error_of(response).await["code"], "rate_limit_exceeded");
    assert_eq!(second.count(), 6);
}

#[tokio::test]
async fn a_retry_after_on_a_success_means_nothing() {
    let first = fake().await;
    first.script(Reply::fixture("together_stream_tool_call.sse"));
    let gateway = gateway(Config::new().provider(provider("first", &first, "0.1"))).await;
    for _ in 0..3 {
        let response = gateway.chat(&streamed("x")).send().await;
        assert_eq!(response.status, 200);
        response.bytes().await;
    }
    assert_eq!(first.count(), 3);
}

#[tokio::test]
async fn r20_an_outage_of_everything_is_not_amplified() {
    let (first, second, gateway) = pair().await;
    for fake in [&first, &second] {
        fake.script(Reply::error(500, "server_error", "down"));
    }
    const REQUESTS: usize = 2000;
    for _ in 0..REQUESTS {
        let response = gateway.chat(&chat("x")).send().await;
        assert!(matches!(response.status, 500 | 502 | 503), "{}", response.status);
        response.bytes().await;
    }
    let upstream = first.count() + second.count();
    assert!(upstream * 10 <= REQUESTS * 12, "{upstream} upstream requests for {REQUESTS}");
}

#[tokio::test]
async fn r22_a_broken_route_is_left_alone_and_let_back() {
    let (first, second, gateway) = pair().await;
    first.script(Reply::error(500, "server_error", "down"));
    for _ in 0..50 {
        assert_eq!(gateway.chat(&chat("x")).send().await.status, 200);
    }
    assert_eq!(second.count(), 50);
    // Three failures open it; after that each opening is one trial that failed.
    let opened = gateway
        .metrics()
        .await
        .sum("tollway_breaker_transitions_total", &[("provider", "first"), ("to", "open")]);
    assert!(opened >= 1.0);
    assert_eq!(first.count(), opened as usize + 2);
    first.speak(tollway_test_support::Dialect::new(Kind::OpenAi));
    let deadline = Instant::now() + Duration::from_secs(20);
    while header(&gateway.chat(&chat("x")).send().await, "x-tollway-route") != "first/served" {
        assert!(Instant::now() < deadline, "never let back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    gateway
        .metrics_until("the breaker closed", |m| {
            m.sum("tollway_breaker_state", &[("provider", "first"), ("state", "closed")]) == 1.0
        })
        .await;
}

#[tokio::test]
async fn r08_a_stream_cut_after_its_first_token_never_looks_whole() {
    let whole = Fixture::named("fireworks_stream_usage_own_chunk.sse").body.clone();
    let events = tollway_test_support::events(&whole).len();
    for how in [Break::Close, Break::Reset] {
        for after in 3..events - 2 {
            let fake = FakeProvider::start().await;
            fake.script(
                Reply::fixture("fireworks_stream_usage_own_chunk.sse").cut_after_events(after, how.clone()),
            );
            let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
            let events = gateway.chat(&streamed("x")).send().await.events().await;
            assert!(
                !events.iter().any(tollway_test_support::Event::is_done),
                "cut after {after}, yet [DONE]"
            );
            let last = events.last().unwrap().json().unwrap();
            assert_eq!(last["error"]["code"], "stream_broken", "cut after {after}: {last}");
            let line: Value =
                serde_json::from_str(&gateway.logged("\"outcome\":\"upstream_error\"").await).unwrap();
            assert_eq!(line["usage"], "estimated");
            assert!(line["cost_usd"].as_f64().unwrap() > 0.0, "what was delivered is charged");
        }
    }
}

#[tokio::test]
async fn a_mid_stream_fault_of_the_providers_own_words_reaches_the_caller() {
    let fake = FakeProvider::start().await;
    fake.script(Reply::fixture("openrouter_stream_midstream_error.sse"));
    let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    let events = gateway.chat(&streamed("x")).send().await.events().await;
    let last = events.last().unwrap().json().unwrap();
    assert_eq!(last["error"]["code"], 502);
    assert!(!events.iter().any(tollway_test_support::Event::is_done));
}

#[tokio::test]
async fn a_stream_that_stalls_is_ended_after_the_idle_time() {
    let fake = FakeProvider::start().await;
    let gate = Gate::new();
    fake.script(Reply::fixture("fireworks_stream_usage_own_chunk.sse").before_packet(3, gate.clone()));
    let config = Config::new()
        .provider(provider("p", &fake, "1"))
        .policy("a.yaml", "policy: a\nfallback: {idle_timeout: 400ms}\n");
    let gateway = gateway(config).await;
    let began = Instant::now();
    let events = gateway.chat(&streamed("x")).send().await.events().await;
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert!(events.last().unwrap().json().unwrap()["error"]["message"].as_str().unwrap().contains("silent"));
    gate.open();
}

#[tokio::test]
async fn the_deadline_of_the_callers_client_bounds_the_chain() {
    let (first, second, gateway) = pair().await;
    for fake in [&first, &second] {
        fake.script(Reply::nothing(Break::Stall));
    }
    let began = Instant::now();
    let response = gateway.chat(&streamed("x")).header("x-stainless-read-timeout", "0.4").send().await;
    assert_eq!(response.status, 504);
    assert!(began.elapsed() < Duration::from_secs(5));
    let error = error_of(response).await;
    assert_eq!(
        (error["code"].as_str(), error["type"].as_str()),
        (Some("deadline_exceeded"), Some("tollway_error"))
    );
}
