//! The gateway and the database of its fleet: every record arrives, metrics say so, and the password is told nobody.

use std::time::{Duration, Instant};

use serde_json::Value;
use tollway_test_support::{Config, Gateway, Postgres};

use crate::{BINARY, charged, chat, fake, ledger, provider};

#[tokio::test]
async fn r51_what_two_gateways_recorded_is_in_one_database_and_its_password_nowhere() {
    let Some(mut postgres) = Postgres::start().await else { return };
    let fake = fake().await;
    let config = |password: &str| {
        Config::new()
            .provider(provider("one", &fake, "3.1"))
            .with(&format!("ledger: '{}'", postgres.url().replace(postgres.password(), password)))
            .policy("a.yaml", "policy: p\nprobe: off\n")
    };
    let gateways = [
        Gateway::start(BINARY, config(postgres.password())).await,
        Gateway::start(BINARY, config(postgres.password())).await,
    ];
    let locked_out = Gateway::start(BINARY, config("another-password")).await;
    for gateway in gateways.iter().chain([&locked_out]) {
        for max in [3, 5, 7] {
            assert_eq!(gateway.chat(&chat(max)).send().await.status, 200);
        }
    }
    let patience = Instant::now() + Duration::from_mins(1);
    while postgres.sql("SELECT coalesce((SELECT count(*) FROM tollway.requests), 0)") != "6" {
        assert!(Instant::now() < patience);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for gateway in &gateways {
        gateway
            .metrics_until("all is sent", |metrics| {
                metrics.sum("tollway_ledger_sink_connected", &[("sink", "postgres")]) == 1.0
                    && metrics.sum("tollway_ledger_sink_behind", &[("sink", "postgres")]) == 0.0
            })
            .await;
    }
    let metrics = locked_out
        .metrics_until("it says that it is refused", |metrics| {
            metrics.sum("tollway_ledger_sink_errors_total", &[("reason", "refused")]) > 0.0
        })
        .await;
    assert_eq!(metrics.sum("tollway_ledger_sink_connected", &[]), 0.0);
    assert!(metrics.sum("tollway_ledger_sink_last_error_timestamp_seconds", &[]) > 1e9);
    let expected: i64 = gateways.iter().map(charged).sum();
    let sum = postgres.sql("SELECT count(*), sum(amount_nanos) FROM tollway.requests");
    assert_eq!(sum, format!("6|{expected}"));
    // Gone, it is nobody's trouble; back, it gets the rest.
    postgres.kill9();
    assert_eq!(gateways[0].chat(&chat(9)).send().await.status, 200);
    gateways[0]
        .metrics_until("it is seen to be gone", |metrics| {
            metrics.sum("tollway_ledger_sink_connected", &[]) == 0.0
        })
        .await;
    postgres.restart().await;
    let patience = Instant::now() + Duration::from_mins(1);
    while postgres.sql("SELECT count(*) FROM tollway.requests") != "7" {
        assert!(Instant::now() < patience);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    gateways[0]
        .metrics_until("it is back", |metrics| {
            metrics.sum("tollway_ledger_sink_connected", &[]) == 1.0
                && metrics.sum("tollway_ledger_sink_behind", &[]) == 0.0
        })
        .await;
    for (gateway, password) in gateways
        .iter()
        .map(|gateway| (gateway, postgres.password()))
        .chain([(&locked_out, "another-password")])
    {
        let logs = gateway.logs();
        assert!(!logs.contains(password), "{logs}");
        let page = gateway.admin().get("/metrics").send().await.text().await;
        assert!(!page.contains(password));
    }
    assert_eq!(ledger(&locked_out).len(), 3);
    let hold: Value = ledger(&gateways[0])[0]["hold"].clone();
    let there = format!("SELECT team FROM tollway.requests WHERE hold = '{}'", hold.as_str().unwrap());
    assert_eq!(postgres.sql(&there), "default");
}
