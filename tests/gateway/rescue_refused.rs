//! A broken stream that nobody can go on with ends in an error that clients raise; and what bounds the search for who can.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollway_test_support::{
    Break, Config, Dialect, Ending, Event, FakeProvider, Gate, Kind, Model, Price, Provider, Reply,
};

use crate::rescue::{Fate, Pair, asking, heard, nanos, served};
use crate::{MODEL, gateway, provider, streamed};

/// The last event of a stream that never says it is whole.
fn broken(events: &[Event], what: &str) -> Value {
    assert!(!events.iter().any(Event::is_done), "{what}: {events:?}");
    let last = events.last().expect("an event").json().expect("an error");
    assert!(last["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{what}: {last}");
    last
}

fn dialect() -> Dialect {
    Dialect::new(Kind::OpenAi)
}

#[tokio::test]
async fn r08_what_cannot_be_gone_on_with_ends_in_an_error() {
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let schema = json!({"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}, "c": {"type": "string"}}}}});
    let asked_for = [
        json!({"tools": tools}),
        json!({"response_format": schema}),
        json!({"response_format": {"type": "json_object"}}),
        json!({"logprobs": true}),
        json!({"n": 2}),
        json!({"messages": [{"role": "user", "content": "tok-7"}, {"role": "assistant", "content": "tok"}]}),
    ];
    let cut = |_: usize, reply: Reply| reply.cut_after_events(3, Break::Close);
    let kinds = [Kind::OpenAi, Kind::OpenAi];
    let pair = Pair::of([dialect(), dialect()], kinds, "kind: vllm", asked_for.len(), cut).await;
    for (case, fields) in asked_for.iter().enumerate() {
        let mut body = asking(case);
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        let events = pair.gateway.chat(&body).send().await.events().await;
        assert_eq!(broken(&events, &fields.to_string())["error"]["code"], "stream_broken", "{fields}");
    }
    assert_eq!(pair.second.count(), 0);
}

#[tokio::test]
async fn tools_that_are_not_called_do_not_stand_in_the_way() {
    let cut = |_: usize, reply: Reply| reply.cut_after_events(5, Break::Close);
    let pair = Pair::of([dialect(), dialect()], [Kind::OpenAi, Kind::OpenAi], "kind: vllm", 1, cut).await;
    let mut body = asking(0);
    body["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    body["tool_choice"] = json!("none");
    assert!(heard(&pair.gateway.chat(&body).send().await.events().await).text.starts_with("tok-7 tides"));
}

#[tokio::test]
async fn r08_without_the_policys_word_or_anybody_able_it_ends_in_an_error() {
    let resume = "policy: p\nfallback: {midstream: resume}\n";
    // The policy does not want it; the other provider cannot; there is no other.
    for (policy, kind, alone) in
        [("policy: p\n", "kind: vllm", false), (resume, "kind: openai", false), (resume, "kind: vllm", true)]
    {
        let fakes = [FakeProvider::speaking(dialect()).await, FakeProvider::speaking(dialect()).await];
        fakes[0].on(|request| dialect().answer(request).cut_after_events(3, Break::Close));
        let mut config = Config::new().provider(provider("first", &fakes[0], "0.1")).policy("a.yaml", policy);
        if !alone {
            config = config.provider(provider("second", &fakes[1], "0.2").with(kind));
        }
        let gateway = gateway(config).await;
        let events = gateway.chat(&streamed("tok-7")).send().await.events().await;
        assert_eq!(broken(&events, policy)["error"]["code"], "stream_broken");
        assert_eq!(fakes[1].count(), 0, "{policy} {kind}");
    }
}

#[tokio::test]
async fn r08_where_nobody_goes_on_the_providers_own_words_are_told() {
    let fakes = [FakeProvider::start().await, FakeProvider::start().await];
    fakes[0].on(|request| Fate::Error.befall(dialect().answer(request), 3));
    fakes[1].script(Reply::error(500, "server_error", "down"));
    let config = Config::new()
        .provider(provider("first", &fakes[0], "0.1"))
        .provider(provider("second", &fakes[1], "0.2").with("kind: vllm"))
        .policy("a.yaml", "policy: p\nfallback: {midstream: resume}\n");
    let gateway = gateway(config).await;
    let events = gateway.chat(&streamed("tok-7")).send().await.events().await;
    assert_eq!(broken(&events, "an error")["error"]["message"], "worker died");
    assert_eq!(fakes[1].count(), 1);
    let line: Value = serde_json::from_str(&gateway.logged("\"outcome\":\"upstream_error\"").await).unwrap();
    assert!(nanos(&line["cost_usd"]) > 0, "what was told is charged: {line}");
}

/// Three providers, of which the first `breaking` break off behind so many events.
async fn three(breaking: usize, attempts: u32) -> ([FakeProvider; 3], tollway_test_support::Gateway) {
    let fakes = [FakeProvider::start().await, FakeProvider::start().await, FakeProvider::start().await];
    for (place, fake) in fakes.iter().enumerate() {
        fake.on(move |request| {
            let reply = dialect().answer(request);
            if place < breaking { reply.cut_after_events(4, Break::Close) } else { reply }
        });
    }
    let policy = format!(
        "policy: p\nroutes: [a, b, c]\nin_order: true\nfallback: {{attempts: {attempts}, midstream: resume}}\n"
    );
    let config = ["a", "b", "c"].into_iter().zip(&fakes).fold(Config::new(), |config, (name, fake)| {
        config.provider(served(name, Kind::OpenAi, fake, "0.1", 1).with("kind: vllm"))
    });
    let gateway = gateway(config.policy("a.yaml", &policy)).await;
    (fakes, gateway)
}

#[tokio::test]
async fn r20_a_second_break_is_mended_too_within_the_attempts() {
    let (fakes, gateway) = three(2, 3).await;
    let said = heard(&gateway.chat(&asking(0)).send().await.events().await);
    assert!(said.text.ends_with(" again tides at Łódź") && !said.text.contains("no prefix"), "{}", said.text);
    let to: Vec<&Value> = said.resumed.as_array().unwrap().iter().map(|one| &one["to"]).collect();
    assert_eq!(to, ["b/m-0", "c/m-0"]);
    assert_eq!(said.usage["completion_tokens"], 12);
    let line: Value = serde_json::from_str(&gateway.logged("\"outcome\":\"ok\"").await).unwrap();
    assert_eq!(nanos(&line["cost_usd"]), nanos(&said.usage["cost"]));
    assert_eq!(fakes.each_ref().map(FakeProvider::count), [1, 1, 1]);
    let (fakes, gateway) = three(2, 2).await;
    let events = gateway.chat(&asking(0)).send().await.events().await;
    broken(&events, "two attempts are all");
    assert_eq!(fakes.each_ref().map(FakeProvider::count), [1, 1, 0]);
}

#[tokio::test]
async fn r20_broken_streams_are_not_amplified() {
    const REQUESTS: u32 = 1_000;
    let fakes = [FakeProvider::start().await, FakeProvider::start().await, FakeProvider::start().await];
    fakes[0].on(|request| dialect().answer(request).cut_after_events(3, Break::Close));
    fakes[1].script(Reply::error(500, "server_error", "down"));
    fakes[2].script(Reply::error(503, "overloaded", "busy"));
    let model = || Model::new("served", MODEL).price(Price::per_million("0.1", "0.1", "0.1"));
    let config = ["a", "b", "c"].into_iter().zip(&fakes).fold(Config::new(), |config, (name, fake)| {
        config.provider(Provider::fake(name, Kind::OpenAi, fake).with("kind: vllm").model(model()))
    });
    let policy = "policy: p\nroutes: [a, b, c]\nin_order: true\nprobe: off\nfallback: {midstream: resume}\n";
    let gateway = gateway(config.policy("a.yaml", policy)).await;
    let began = Instant::now();
    for _ in 0..REQUESTS {
        let response = gateway.chat(&streamed("tok-7")).send().await;
        if response.status == 200 {
            broken(&response.events().await, "nobody can go on");
        } else {
            response.bytes().await;
        }
    }
    let upstream: usize = fakes.iter().map(FakeProvider::count).sum();
    // A fifth of the requests, two a second, and the twenty that a budget begins with.
    let extra_most = f64::from(REQUESTS) * 0.2 + began.elapsed().as_secs_f64() * 2.0 + 20.0;
    assert!(
        f64::from(upstream as u32) <= f64::from(REQUESTS) + extra_most,
        "{upstream} upstream requests for {REQUESTS}"
    );
}

#[tokio::test]
async fn r23_a_caller_who_leaves_meanwhile_cancels_the_search_and_is_charged() {
    let gate = Gate::new();
    let cut = |_: usize, reply: Reply| reply.cut_after_events(5, Break::Close);
    let slow = dialect().first_token(gate.clone());
    let pair = Pair::of([dialect(), slow], [Kind::OpenAi, Kind::OpenAi], "kind: vllm", 1, cut).await;
    let mut response = pair.gateway.chat(&asking(0)).send().await;
    response.until("tides").await;
    gate.reached(1).await;
    drop(response);
    pair.second
        .until("the search given up", |all| all.iter().all(|one| one.ending == Ending::CallerLeft))
        .await;
    let line: Value = serde_json::from_str(&pair.gateway.logged("\"outcome\":\"cancelled\"").await).unwrap();
    // What was told, and the prompt of who was asked to go on.
    let metrics = pair
        .gateway
        .metrics_until("both are charged", |m| {
            m.sum("tollway_cost_usd_total", &[("provider", "second")]) > 0.0
        })
        .await;
    let both = metrics.sum("tollway_cost_usd_total", &[]);
    assert_eq!((both * 1e9).round() as u64, nanos(&line["cost_usd"]), "{line}");
    assert!(metrics.sum("tollway_cost_usd_total", &[("provider", "first")]) > 0.0);
}

#[tokio::test]
async fn r21_the_search_has_what_is_left_of_the_callers_time() {
    let gate = Gate::new();
    let cut = |_: usize, reply: Reply| reply.cut_after_events(5, Break::Close);
    let slow = dialect().first_token(gate.clone());
    let pair = Pair::of([dialect(), slow], [Kind::OpenAi, Kind::OpenAi], "kind: vllm", 1, cut).await;
    let began = Instant::now();
    let request = pair.gateway.chat(&asking(0)).header("x-stainless-read-timeout", "0.6");
    broken(&request.send().await.events().await, "out of time");
    let took = began.elapsed();
    assert!((Duration::from_millis(500)..Duration::from_secs(4)).contains(&took), "{took:?}");
    gate.open();
}

#[tokio::test]
async fn r08_a_route_that_begins_anew_is_not_taken_for_one_that_goes_on() {
    let thinking = Dialect::new(Kind::DeepSeek).reasoning(2);
    let cut = |_: usize, reply: Reply| reply.cut_after_events(5, Break::Close);
    let pair = Pair::of([dialect(), thinking], [Kind::OpenAi, Kind::DeepSeek], "", 1, cut).await;
    let events = pair.events(0).await;
    broken(&events, "it thinks first");
    let text: String = events
        .iter()
        .filter_map(Event::json)
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(text, "tok-7 tides at Łódź");
    let line: Value =
        serde_json::from_str(&pair.gateway.logged("\"outcome\":\"upstream_error\"").await).unwrap();
    assert_eq!(line["resumed"][0]["route"], "first/m-0", "both are charged: {line}");
}
