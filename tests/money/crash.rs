//! kill -9 at whatever moment: nothing that a provider may bill is missing from the ledger afterwards.

use tollway_test_support::{Config, Dialect, FakeProvider, Gate, Gateway, Kind};

use crate::{BINARY, charged, chat, fake, ledger, metric_nanos, nanos, provider, streamed};

fn config(fake: &FakeProvider) -> Config {
    Config::new().provider(provider("one", fake, "10")).policy(
        "a.yaml",
        "policy: p\nprobe: off\nfallback: {attempts: 1, midstream: error}\nbudget: {usd: 1, per: month, scope: policy}\n",
    )
}

#[tokio::test]
async fn r27_a_request_under_way_at_a_kill_is_charged_what_was_held() {
    let fake = fake().await;
    let mut gateway = Gateway::start(BINARY, config(&fake)).await;
    gateway.chat(&chat(7)).send().await.bytes().await;
    let settled = charged(&gateway);
    let gate = Gate::new();
    fake.speak(Dialect::new(Kind::OpenAi).first_token(gate.clone()));
    let asking = tokio::spawn(gateway.chat(&streamed(100)).send());
    fake.arrived(2).await;
    gateway.kill9();
    let _ = asking.await;
    let gateway = gateway.restarted(BINARY, config(&fake)).await;
    let records = ledger(&gateway);
    assert_eq!(records.len(), 2, "{records:?}");
    let lost = records.iter().find(|record| record["outcome"] == "lost").expect("the one under way");
    // 100 answer tokens at 10 micro-dollars, and the prompt.
    let amount = nanos(&lost["amount_usd"]);
    assert!((1_000_000..5_000_000).contains(&amount), "{lost}");
    assert_eq!(charged(&gateway), settled + amount);
    assert_eq!(
        metric_nanos(&gateway, "tollway_budget_spent_usd", "").await,
        settled + amount,
        "the budget goes on from there"
    );
    assert_eq!(metric_nanos(&gateway, "tollway_budget_reserved_usd", "").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn r27_kills_under_load_lose_nothing_that_was_billed() {
    let fake = fake().await;
    let mut gateway = Gateway::start(BINARY, config(&fake)).await;
    let mut told = 0;
    for round in 0..6_u64 {
        let before = fake.count();
        let asking: Vec<_> = (0..40)
            .map(|at| {
                let body = if at % 2 == 0 { chat(5) } else { streamed(5) };
                let request = gateway.chat(&body);
                tokio::spawn(async move {
                    let response = request.try_send().await.ok()?;
                    let cost = response.headers.get("x-tollway-cost-usd").map(str::to_owned);
                    let whole = matches!(response.rest().await.1, tollway_test_support::End::Whole);
                    cost.filter(|_| whole)
                })
            })
            .collect();
        fake.arrived(before + 1 + usize::try_from(round * 6).unwrap()).await;
        gateway.kill9();
        for one in asking {
            told += one.await.unwrap().map_or(0, |cost| nanos(&serde_json::Value::String(cost)));
        }
        gateway = gateway.restarted(BINARY, config(&fake)).await;
    }
    // Whatever reached the provider is in the ledger: settled, or lost with all that was held.
    let records = ledger(&gateway);
    let asked: usize = records.iter().map(|record| record["attempts"].as_array().unwrap().len()).sum();
    assert!(asked >= fake.count(), "{asked} attempts recorded, {} made", fake.count());
    let sum: i64 = records.iter().map(|record| nanos(&record["amount_usd"])).sum();
    assert!(sum >= told, "{sum} recorded, {told} told to callers");
    assert_eq!(metric_nanos(&gateway, "tollway_budget_spent_usd", "").await, sum);
    assert_eq!(metric_nanos(&gateway, "tollway_budget_reserved_usd", "").await, 0);
}
