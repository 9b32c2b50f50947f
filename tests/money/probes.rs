//! What the gateway asks on its own account is in its ledger too: what providers bill is what the ledger has.

use std::time::{Duration, Instant};

use serde_json::json;
use tollway_test_support::{Config, Dialect, FakeProvider, Gateway, Kind, Reply};

use crate::{BINARY, chat, fake, ledger, nanos, provider};

/// What the fake bills for all that it was asked.
fn bill(fake: &FakeProvider, usd: i64) -> i64 {
    let tokens = fake.recorded().into_iter().chain(fake.probed()).map(|one| {
        let usage = Dialect::new(Kind::OpenAi).usage(&one.body);
        i64::try_from(usage.prompt + usage.completion).unwrap()
    });
    tokens.sum::<i64>() * usd * 1_000
}

#[tokio::test]
async fn what_probes_cost_is_the_gateways_own_and_all_that_is_billed_is_in_the_ledger() {
    let (first, second) = (fake().await, fake().await);
    let config = Config::new()
        .provider(provider("first", &first, "1"))
        .provider(provider("second", &second, "2"))
        .policy("a.yaml", "policy: p\nbudget: {usd: 1, per: month, scope: policy}\n");
    let gateway = Gateway::start(BINARY, config).await;
    assert_eq!(gateway.chat(&chat(7)).send().await.status, 200);
    // Nothing is known of it yet, and somebody wants it.
    second.until_probed().await;
    let patience = Instant::now() + Duration::from_mins(1);
    let asked = || [&first, &second].map(|fake| fake.count() + fake.probed().len()).iter().sum::<usize>();
    let records = loop {
        let before = asked();
        let records = ledger(&gateway);
        let billed = bill(&first, 1) + bill(&second, 2);
        // None is under way.
        if records.len() == before && before == asked() {
            assert_eq!(billed, records.iter().map(|record| nanos(&record["amount_usd"])).sum::<i64>());
            break records;
        }
        assert!(Instant::now() < patience, "{before} were asked: {records:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(records.iter().any(|record| record["endpoint"] == "probe"));
    for probe in records.iter().filter(|record| record["endpoint"] == "probe") {
        assert_eq!((&probe["team"], &probe["outcome"]), (&json!("(gateway)"), &json!("ok")), "{probe}");
        assert_eq!((&probe["key"], &probe["policy"]), (&json!(""), &json!("")), "{probe}");
        assert_eq!(probe["attempts"][0]["source"], "reported", "{probe}");
        assert!(nanos(&probe["amount_usd"]) > 0, "{probe}");
    }
    // A policy's budget has nothing of what the gateway itself asked.
    let told: i64 = records
        .iter()
        .filter(|record| record["policy"] == "p")
        .map(|record| nanos(&record["amount_usd"]))
        .sum();
    let spent = crate::metric_nanos(&gateway, "tollway_budget_spent_usd", "scope=\"policy\"").await;
    assert_eq!(spent, told);
    let output = std::process::Command::new(BINARY)
        .args(["report", "--by", "team,endpoint", "--ledger"])
        .arg(gateway.path("data/ledger.db"))
        .output()
        .unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(report.contains("(gateway), probe"), "{report}");
}

#[tokio::test]
async fn what_a_probe_costs_in_vain_is_no_waste_of_any_callers() {
    let (first, second) = (fake().await, fake().await);
    second.script(Reply::json(200, "{\"choices\": [{\"mess"));
    let config =
        Config::new().provider(provider("first", &first, "1")).provider(provider("second", &second, "2"));
    let gateway = Gateway::start(BINARY, config).await;
    assert_eq!(gateway.chat(&chat(7)).send().await.status, 200);
    let patience = Instant::now() + Duration::from_mins(1);
    while crate::metric_nanos(&gateway, "tollway_probe_cost_usd_total", "provider=\"second\"").await == 0 {
        assert!(Instant::now() < patience, "the second was probed {} times", second.probed().len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(crate::metric_nanos(&gateway, "tollway_wasted_usd_total", "").await, 0);
}
