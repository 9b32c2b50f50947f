//! What is learnt from traffic steers the next request, stays a tenant's own, and outlives a reload.

use serde_json::{Value, json};
use tollway_test_support::{
    Config, Dialect, Ending, Gate, Gateway, Kind, Model, Price, Provider, Reply, Response,
};

use crate::{MODEL, chat, fake, gateway, header, provider, streamed};

/// A conversation of `turns` turns that begins with `opening`.
fn conversation(opening: &str, turns: usize) -> Value {
    let mut messages = vec![json!({"role": "system", "content": opening.repeat(800)})];
    for turn in 0..turns {
        messages.push(json!({"role": "user", "content": format!("question {turn}")}));
        messages.push(json!({"role": "assistant", "content": format!("answer {turn}")}));
    }
    json!({"model": MODEL, "stream": true, "messages": messages})
}

async fn ask(gateway: &Gateway, key: &str, body: &Value) -> Response {
    gateway.chat(body).header("authorization", &format!("Bearer {key}")).send().await
}

async fn route(gateway: &Gateway, key: &str, body: &Value) -> String {
    let response = ask(gateway, key, body).await;
    assert_eq!(response.status, 200);
    let route = header(&response, "x-tollway-route").to_owned();
    response.bytes().await;
    route
}

#[tokio::test]
async fn a_conversation_stays_where_its_prefix_is_cached_and_another_tenants_does_not() {
    let (warm, cold) = (fake().await, fake().await);
    warm.speak(Dialect::new(Kind::OpenAi).cached(1_500));
    let model = |price| Model::new("served", MODEL).price(price);
    let config = |more: &str| {
        let config = Config::new()
            .provider(
                Provider::fake("warm", Kind::OpenAi, &warm).model(model(Price::per_million("0.13", "0.01", "0.1"))),
            )
            .provider(
                Provider::fake("zcold", Kind::OpenAi, &cold).model(model(Price::per_million("0.1", "0.1", "0.1"))),
            )
            .with("keys: [{name: one, key: key-of-one-123, team: a}, {name: two, key: key-of-two-123, team: b}]");
        if more.is_empty() { config } else { config.provider(provider(more, &cold, "9")) }
    };
    let gateway = gateway(config("")).await;
    let mut first = conversation("tok-1 once ", 1);
    first["model"] = json!("warm/served");
    assert_eq!(route(&gateway, "key-of-one-123", &first).await, "warm/served");
    assert_eq!(route(&gateway, "key-of-one-123", &conversation("tok-1 once ", 2)).await, "warm/served");
    assert_eq!(route(&gateway, "key-of-one-123", &conversation("tok-2 other ", 2)).await, "zcold/served");
    assert_eq!(
        route(&gateway, "key-of-two-123", &conversation("tok-1 once ", 2)).await,
        "zcold/served",
        "the same text of another tenant"
    );
    // A provider in front of the others moves every route's place in the snapshot.
    std::fs::write(gateway.path("tollway.yaml"), config("aaa").yaml()).unwrap();
    gateway
        .metrics_until("the reload", |metrics| metrics.sum("tollway_config_reload_generation", &[]) >= 2.0)
        .await;
    assert_eq!(route(&gateway, "key-of-one-123", &conversation("tok-1 once ", 3)).await, "warm/served");
    assert_eq!(route(&gateway, "key-of-one-123", &conversation("tok-3 new ", 3)).await, "zcold/served");
}

#[tokio::test]
async fn a_reload_keeps_what_was_learnt_of_a_route() {
    let (first, second) = (fake().await, fake().await);
    first.script(Reply::error(429, "rate_limit_exceeded", "slow").header("retry-after", "60"));
    let config = Config::new()
        .provider(provider("first", &first, "0.1"))
        .provider(provider("second", &second, "0.2"))
        .policy("a.yaml", "policy: before\n");
    let gateway = gateway(config).await;
    assert_eq!(header(&gateway.chat(&chat("x")).send().await, "x-tollway-route"), "second/served");
    gateway.write_policy("a.yaml", "policy: after\n");
    gateway
        .metrics_until("the reload", |metrics| metrics.sum("tollway_config_reload_generation", &[]) >= 2.0)
        .await;
    let response = gateway.chat(&chat("x")).send().await;
    assert_eq!(
        (header(&response, "x-tollway-policy"), header(&response, "x-tollway-route")),
        ("after", "second/served")
    );
    assert_eq!(first.count(), 1, "its pause outlives the reload");
}

#[tokio::test]
async fn r23_a_caller_who_leaves_before_the_first_token_cancels_the_attempt_and_has_a_line_and_a_cost() {
    let (only, gate) = (fake().await, Gate::new());
    only.speak(Dialect::new(Kind::OpenAi).first_token(gate.clone()));
    let gateway = gateway(Config::new().provider(provider("only", &only, "0.1"))).await;
    let asking = gateway.chat(&streamed("x"));
    let caller = tokio::spawn(async move { asking.send().await });
    gate.reached(1).await;
    caller.abort();
    only.until("the attempt cancelled", |requests| requests[0].ending == Ending::CallerLeft).await;
    let line: Value = serde_json::from_str(&gateway.logged("\"outcome\":\"cancelled\"").await).unwrap();
    assert_eq!(
        (&line["status"], &line["attempts"], &line["usage"]),
        (&499.into(), &1.into(), &"estimated".into())
    );
    assert!(line["decision"].as_str().unwrap().starts_with("only/"), "{line}");
    let metrics = gateway.metrics().await;
    let sum = |name: &str, labels: &[(&str, &str)]| metrics.sum(name, labels);
    let nanos = |usd: f64| (usd * 1e9).round();
    let cost = nanos(line["cost_usd"].as_f64().unwrap());
    assert!(cost > 0.0, "most providers bill a prompt that they began to read");
    assert_eq!(nanos(sum("tollway_cost_usd_total", &[("provider", "only"), ("team", "default")])), cost);
    assert_eq!(nanos(sum("tollway_cost_component_usd_total", &[("provider", "only")])), cost);
    assert_eq!(nanos(sum("tollway_wasted_usd_total", &[("reason", "cancelled_stream")])), cost);
    assert_eq!(sum("tollway_wasted_usd_total", &[("reason", "hedge_loser")]), 0.0);
    assert_eq!(sum("tollway_requests_total", &[("outcome", "cancelled"), ("code", "499")]), 1.0);
    assert_eq!(
        sum("tollway_upstream_attempts_total", &[("provider", "only"), ("outcome", "cancelled")]),
        1.0
    );
    gate.open();
    assert_eq!(gateway.chat(&streamed("x")).send().await.status, 200, "it is no failure of the route");
}

#[tokio::test]
async fn a_pause_that_ends_within_the_promise_is_waited_for() {
    let only = fake().await;
    let config = Config::new()
        .provider(provider("only", &only, "0.1"))
        .policy("a.yaml", "policy: p\nslo: {ttft: 5s}\n");
    let gateway = gateway(config).await;
    only.enqueue(Reply::error(429, "rate_limit_exceeded", "slow").header("retry-after", "1"));
    assert_eq!(gateway.chat(&streamed("x")).send().await.status, 429, "asked once, and nobody else is there");
    let response = gateway.chat(&streamed("x")).send().await;
    assert_eq!(response.status, 200, "waited for");
    assert_eq!(only.count(), 2);
}
