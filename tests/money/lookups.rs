//! Streams that were cut before their usage came: what was charged is asked for afterwards, and the ledger follows.

use serde_json::{Value, json};
use tollway_test_support::{Config, Dialect, FakeProvider, Gateway, Kind, Model, Price, Provider};

use crate::{BINARY, MODEL, charged, chat, ledger, metric_nanos, nanos, streamed};

const POLICY: &str =
    "policy: p\nprobe: off\nfallback: {midstream: error}\nbudget: {usd: 1, per: month, scope: policy}\n";

#[tokio::test]
async fn a_stream_that_nobody_heard_out_is_charged_what_the_provider_says() {
    let price = Price::per_million("3", "3", "7");
    let dialect = Dialect::new(Kind::OpenRouter).tokens(40).price(price).known_late(1);
    let fake = FakeProvider::speaking(dialect.clone().gap(std::time::Duration::from_millis(20))).await;
    // Our own list is dearer than what is charged, so that all that is estimated is too much.
    let model = Model::new("served", MODEL).price(Price::per_million("30", "30", "30"));
    let config = Config::new()
        .provider(Provider::fake("router", Kind::OpenRouter, &fake).model(model))
        .policy("a.yaml", POLICY);
    let gateway = Gateway::start(BINARY, config).await;
    let stated = gateway.chat(&chat(5)).send().await;
    assert_eq!(stated.status, 200);
    let mut left = gateway.chat(&streamed(40)).send().await;
    left.next().await.unwrap();
    left.reset();
    gateway
        .metrics_until("it was looked up", |metrics| {
            metrics.sum("tollway_ledger_lookups_total", &[("provider", "router"), ("result", "adjusted")])
                >= 1.0
        })
        .await;
    let records = ledger(&gateway);
    assert_eq!(records.len(), 3, "{records:?}");
    let [estimated, adjusted] = &records[1..] else { panic!("{records:?}") };
    let (estimated, adjusted) =
        if adjusted["outcome"] == "adjusted" { (estimated, adjusted) } else { (adjusted, estimated) };
    let attempt = |record: &Value| record["attempts"][0].clone();
    assert_eq!(
        (&estimated["outcome"], &attempt(estimated)["source"]),
        (&json!("cancelled"), &json!("estimated"))
    );
    assert_eq!(attempt(estimated)["generation"], attempt(adjusted)["generation"]);
    assert_eq!((&adjusted["id"], &adjusted["began"]), (&estimated["id"], &estimated["began"]));
    assert_ne!(adjusted["hold"], estimated["hold"]);
    assert_eq!(
        (&attempt(adjusted)["source"], &attempt(adjusted)["prompt_tokens"]),
        (&json!("stated"), &json!(0))
    );
    // What it charged, each answer rounded as it is recorded: all of it, to the nano-dollar.
    let expected = i64::try_from(dialect.charged()).unwrap() / 1_000;
    assert_eq!(charged(&gateway), expected, "{records:?}");
    let difference = nanos(&estimated["amount_usd"]);
    let moved = expected - nanos(&records[0]["amount_usd"]) - difference;
    let direction = if moved < 0 { "direction=\"less\"" } else { "direction=\"more\"" };
    assert!(moved != 0);
    assert_eq!(metric_nanos(&gateway, "tollway_ledger_adjusted_usd_total", direction).await, moved.abs());
    assert_eq!(metric_nanos(&gateway, "tollway_budget_spent_usd", "scope=\"policy\"").await, expected);
    // The first time it was not known yet.
    let metrics = gateway.metrics().await;
    assert!(metrics.sum("tollway_ledger_lookups_total", &[("result", "missing")]) >= 1.0);
    // Once, also for who begins anew.
    let mut gateway = gateway;
    gateway.kill9();
    let config = Config::new()
        .provider(
            Provider::fake("router", Kind::OpenRouter, &fake)
                .model(Model::new("served", MODEL).price(Price::per_million("30", "30", "30"))),
        )
        .policy("a.yaml", POLICY);
    let gateway = gateway.restarted(BINARY, config).await;
    let mut left = gateway.chat(&streamed(40)).send().await;
    left.next().await.unwrap();
    left.reset();
    gateway
        .metrics_until("the second was looked up", |metrics| {
            metrics.sum("tollway_ledger_lookups_total", &[("result", "adjusted")]) >= 1.0
        })
        .await;
    assert_eq!(ledger(&gateway).len(), 5);
    assert_eq!(charged(&gateway), i64::try_from(dialect.charged()).unwrap() / 1_000);
    let name = attempt(adjusted)["generation"].as_str().unwrap().to_owned();
    let asked = fake.recorded().iter().filter(|one| one.path.ends_with(&name)).count();
    assert_eq!(asked, 2, "not yet, then known, and never again");
}
