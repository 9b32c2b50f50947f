//! Budgets that hold: nobody spends past one, nobody is refused who fits, and what happens when one is spent.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tollway_test_support::{Config, Dialect, Gate, Gateway, Kind};

use crate::{BINARY, charged, chat, fake, header, ledger, metric_nanos, nanos, priced, provider, streamed};

/// Waits until nothing is held any more.
async fn settled(gateway: &Gateway) {
    let patience = std::time::Instant::now() + Duration::from_secs(10);
    while metric_nanos(gateway, "tollway_budget_reserved_usd", "").await != 0 {
        assert!(std::time::Instant::now() < patience, "something stays held");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r34_no_burst_gets_past_a_budget_and_what_is_left_is_not_refused() {
    let fake = fake().await;
    // A token costs 10 micro-dollars: a request of 20 answer tokens holds at most 3.5 milli-dollars and spends a tenth of that.
    let gateway = Arc::new(
        priced(
            &fake,
            "10",
            "policy: p\nprobe: off\nfallback: {attempts: 1}\nbudget: {usd: 0.02, per: day, scope: policy}\n",
        )
        .await,
    );
    let limit = 20_000_000;
    let burst = (0..300).map(|_| {
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move {
            let response = gateway.chat(&chat(20)).send().await;
            let (status, code) = (response.status, response.json().await["error"]["code"].clone());
            assert!(status == 200 || (status == 429 && code == "insufficient_quota"), "{status} {code}");
            status == 200
        })
    });
    let mut served = 0;
    for one in burst.collect::<Vec<_>>() {
        served += i64::from(one.await.unwrap());
    }
    settled(&gateway).await;
    let spent = charged(&gateway);
    assert!(spent <= limit && served > 0, "{spent} nano-dollars for {served}");
    assert_eq!(spent, metric_nanos(&gateway, "tollway_budget_spent_usd", "").await);
    // One after another all of it can be spent but for less than a request may cost.
    loop {
        let response = gateway.chat(&chat(20)).send().await;
        if response.status != 200 {
            assert_eq!(header(&response, "x-should-retry"), "false");
            let wait: u64 = header(&response, "retry-after").parse().unwrap();
            assert!((1..=86_400).contains(&wait), "until midnight: {wait}");
            break;
        }
        response.bytes().await;
    }
    let spent = charged(&gateway);
    assert!(spent <= limit, "{spent}");
    assert!(limit - spent < 3_500_000, "refused with {} nano-dollars left", limit - spent);
}

#[tokio::test]
async fn an_answer_is_as_long_as_what_is_left_pays_for() {
    let fake = fake().await;
    fake.speak(Dialect::new(Kind::OpenAi).tokens(5_000));
    let policy = "policy: p\nprobe: off\nfallback: {attempts: 1, midstream: error}\nbudget: {usd: 0.01, per: day, scope: policy}\n";
    let gateway = priced(&fake, "10", policy).await;
    // 4,000 answer tokens would cost 40 milli-dollars; 10 are there.
    for body in [streamed(4_000), chat(4_000)] {
        let response = gateway.chat(&body).send().await;
        if response.status == 429 {
            break;
        }
        assert_eq!(response.status, 200);
        let bound = fake_bound(&fake);
        assert!((64..1_000).contains(&bound), "{bound}");
        assert_eq!(header(&response, "x-tollway-output-tokens-max"), bound.to_string());
        let text = response.text().await;
        assert!(text.contains("\"finish_reason\":\"length\""), "{text}");
    }
    settled(&gateway).await;
    let spent = charged(&gateway);
    assert!((5_000_000..=10_000_000).contains(&spent), "{spent}");
}

fn fake_bound(fake: &tollway_test_support::FakeProvider) -> u64 {
    let body: Value = serde_json::from_slice(&fake.last().body).unwrap();
    body["max_tokens"].as_u64().unwrap()
}

#[tokio::test]
async fn a_spent_budget_may_leave_the_cheapest_route_or_none() {
    let (dear, cheap) = (fake().await, fake().await);
    let config = Config::new()
        .provider(provider("dear", &dear, "10"))
        .provider(provider("cheap", &cheap, "1"))
        .policy(
            "a.yaml",
            "policy: p\nprobe: off\nroutes: [dear, cheap]\nin_order: true\nfallback: {attempts: 1}\n\
             budget: {usd: 0.004, per: day, scope: policy, when_spent: cheapest-only}\n",
        );
    let gateway = Gateway::start(BINARY, config).await;
    let mut routes = Vec::new();
    for _ in 0..40 {
        let response = gateway.chat(&chat(20)).send().await;
        assert_eq!(response.status, 200);
        routes.push(header(&response, "x-tollway-route").to_owned());
        response.bytes().await;
    }
    assert_eq!(routes[0], "dear/served");
    let turned =
        routes.iter().position(|route| route == "cheap/served").expect("the budget is spent at some time");
    assert!(routes[turned..].iter().all(|route| route == "cheap/served"), "{routes:?}");
    settled(&gateway).await;
    assert_eq!(charged(&gateway), metric_nanos(&gateway, "tollway_budget_spent_usd", "").await);
}

#[tokio::test]
async fn r38_callers_who_leave_give_back_what_they_held() {
    let fake = fake().await;
    let gate = Gate::new();
    fake.speak(Dialect::new(Kind::OpenAi).first_token(gate.clone()));
    let gateway = priced(
        &fake,
        "10",
        "policy: p\nprobe: off\nfallback: {attempts: 1}\nbudget: {usd: 1, per: day, scope: policy}\n",
    )
    .await;
    for round in 1..=5 {
        let request = gateway.chat(&streamed(1_000));
        let asking = tokio::spawn(request.send());
        fake.arrived(round).await;
        assert!(metric_nanos(&gateway, "tollway_budget_reserved_usd", "").await > 0);
        asking.abort();
        let _ = asking.await;
        settled(&gateway).await;
    }
    let records = ledger(&gateway);
    assert_eq!(records.len(), 5);
    for record in records {
        assert_eq!((&record["outcome"], &record["status"]), (&json!("cancelled"), &json!(499)));
        let amount = nanos(&record["amount_usd"]);
        assert!(amount > 0 && amount < 5_000_000, "its prompt: {record}");
    }
}

#[tokio::test]
async fn what_writes_nothing_is_refused_at_once_when_its_budget_is_spent() {
    let fake = fake().await;
    let policy =
        "policy: p\nprobe: off\nfallback: {attempts: 1}\nbudget: {usd: 0.00001, per: day, scope: policy}\n";
    let gateway = priced(&fake, "10", policy).await;
    let body = json!({"model": crate::MODEL, "input": "tok-1 a text that costs more than there is"});
    let response = gateway.post("/v1/embeddings", body.to_string()).send().await;
    assert_eq!((response.status, fake.count()), (429, 0));
    assert_eq!(response.json().await["error"]["code"], "insufficient_quota");
}
