//! What the gateway asks on its own account is in its ledger too: what providers bill is what the ledger has.

use std::time::Duration;

use serde_json::{Value, json};
use tollway_test_support::{Client, Config, FakeProvider, Gateway};

use crate::{BINARY, charged, chat, fake, ledger, nanos, provider};

/// What the fake bills for all that it was asked, by asking it the same again: its answers follow from the questions.
async fn bill(fake: &FakeProvider, usd: i64) -> i64 {
    let asked: Vec<_> = fake.recorded().iter().map(|one| (one.path.clone(), one.text())).collect();
    let again = Client::new(fake.address());
    let mut sum = 0;
    for (path, body) in asked {
        let stream = body.contains("\"stream\":true");
        let response = again.post(&path, body).header("content-type", "application/json").send().await;
        let usage = if stream {
            let events = response.events().await;
            let chunks = events.iter().filter_map(tollway_test_support::Event::json);
            chunks
                .filter_map(|chunk| chunk.get("usage").filter(|usage| usage.is_object()).cloned())
                .last()
                .unwrap()
        } else {
            response.json().await["usage"].clone()
        };
        let tokens = |name: &str| usage[name].as_i64().unwrap();
        sum += (tokens("prompt_tokens") + tokens("completion_tokens")) * usd * 1_000;
    }
    sum
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
    // Both are unknown yet, and somebody wants them.
    for fake in [&first, &second] {
        fake.until("probes", |asked| asked.iter().any(|one| one.text().contains("Say yes."))).await;
    }
    let probes = |records: &[Value]| records.iter().filter(|record| record["endpoint"] == "probe").count();
    let patience = std::time::Instant::now() + Duration::from_mins(1);
    let records = loop {
        let records = ledger(&gateway);
        let asked = first.count() + second.count();
        if records.len() == asked && probes(&records) >= 2 {
            break records;
        }
        assert!(std::time::Instant::now() < patience, "{asked} were asked: {records:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    for probe in records.iter().filter(|record| record["endpoint"] == "probe") {
        assert_eq!((&probe["team"], &probe["outcome"]), (&json!("(gateway)"), &json!("ok")), "{probe}");
        assert_eq!((&probe["key"], &probe["policy"]), (&json!(""), &json!("")), "{probe}");
        assert_eq!(probe["attempts"][0]["source"], "reported", "{probe}");
        assert!(nanos(&probe["amount_usd"]) > 0, "{probe}");
    }
    // No probe begins between the two.
    let (billed, charged) = loop {
        let asked = first.count() + second.count();
        let charged = charged(&gateway);
        if ledger(&gateway).len() == asked {
            let billed = bill(&first, 1).await + bill(&second, 2).await;
            // Asked again by the test, which the gateway knows nothing of.
            if first.count() + second.count() == 2 * asked {
                break (billed, charged);
            }
            panic!("a probe came while the bill was made");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(billed, charged);
    // A policy's budget has nothing of what the gateway itself asked.
    let told: i64 = records
        .iter()
        .filter(|record| record["policy"] == "p")
        .map(|record| nanos(&record["amount_usd"]))
        .sum();
    let spent = crate::metric_nanos(&gateway, "tollway_budget_spent_usd", "scope=\"policy\"").await;
    assert_eq!(spent, told);
}
