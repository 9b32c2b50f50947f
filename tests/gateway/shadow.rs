//! Decisions that are kept for whoever asks why, and policies that only watch.

use serde_json::Value;
use tollway_test_support::{Config, Gateway, Reply};

use crate::{MODEL, chat, fake, gateway, header, provider, streamed};

async fn admin(gateway: &Gateway, path: &str) -> Value {
    let response = gateway.admin().get(path).send().await;
    assert_eq!(response.status, 200, "{path}");
    response.json().await
}

#[tokio::test]
async fn a_policy_that_watches_decides_nothing_and_says_what_it_would_do() {
    let (cheap, dear) = (fake().await, fake().await);
    let config = Config::new()
        .provider(provider("cheap", &cheap, "0.1"))
        .provider(provider("dear", &dear, "0.4"))
        .policy("10-watch.yaml", "{policy: saving, mode: shadow, routes: [cheap]}")
        .policy("20-watch.yaml", "{policy: same, mode: shadow, match: {endpoints: [chat]}}")
        .policy("30-watch.yaml", "{policy: elsewhere, mode: shadow, match: {teams: [nobody]}}")
        .policy("90-live.yaml", "{policy: live, routes: [dear]}");
    let gateway = gateway(config).await;
    let answer = gateway.chat(&chat("hello")).send().await;
    assert_eq!((answer.status, header(&answer, "x-tollway-policy")), (200, "live"));
    assert_eq!(header(&answer, "x-tollway-route"), "dear/served");
    let id = header(&answer, "x-request-id").to_owned();
    assert_eq!((cheap.count(), dear.count()), (0, 1));

    let rows = admin(&gateway, "/admin/v1/decisions").await;
    let rows = rows.as_array().unwrap();
    let policies: Vec<&str> = rows.iter().map(|row| row["policy"].as_str().unwrap()).collect();
    assert_eq!(policies, ["same", "saving", "live"]);
    assert!(rows.iter().all(|row| row["request_id"] == *id && row["model"] == MODEL));
    let marks: Vec<_> = rows.iter().map(|row| (row["shadow"].as_bool(), row["agrees"].as_bool())).collect();
    assert_eq!(marks, [(Some(true), Some(false)), (Some(true), Some(false)), (Some(false), None)]);
    assert!(rows[0]["outcome"].is_null(), "a shadow has no outcome");

    let full = admin(&gateway, &format!("/admin/v1/decisions/{id}")).await;
    assert_eq!(full["plan"]["first"], "dear/served");
    let shadows: Vec<&str> =
        full["shadows"].as_array().unwrap().iter().map(|one| one["policy"].as_str().unwrap()).collect();
    assert_eq!(shadows, ["saving", "same"]);
    assert!(full["shadows"][0]["sentence"].as_str().unwrap().starts_with("cheap/served: "), "{full}");

    let metrics = gateway.metrics().await;
    let decided = |policy, agrees| {
        metrics.sum("tollway_shadow_decisions_total", &[("policy", policy), ("agrees", agrees)])
    };
    assert_eq!(
        (decided("saving", "no"), decided("saving", "yes"), decided("elsewhere", "no")),
        (1.0, 0.0, 0.0)
    );
    let cost = |which| {
        metrics.sum("tollway_shadow_expected_cost_usd_total", &[("policy", "saving"), ("which", which)])
    };
    // Four times the price, so four times the cost, but for the last nano-dollar.
    assert!((cost("live") - 4.0 * cost("shadow")).abs() < 4e-9 && cost("shadow") > 0.0, "{}", cost("live"));
}

#[tokio::test]
async fn a_decision_is_kept_with_how_its_request_ended_and_stands_in_its_log_line() {
    let (first, second) = (fake().await, fake().await);
    let config = Config::new()
        .provider(provider("first", &first, "0.1"))
        .provider(provider("second", &second, "0.2"))
        .policy("10.yaml", "{policy: only-one, match: {tags: {only: one}}, routes: [first]}")
        .policy("20.yaml", "{policy: elsewhere, match: {tags: {data: eu}}, constraints: {regions: [eu]}}")
        .policy("90.yaml", "{policy: default}");
    let gateway = gateway(config).await;
    let answer = gateway.chat(&streamed("hello")).send().await;
    let id = header(&answer, "x-request-id").to_owned();
    answer.events().await;
    let line: Value = serde_json::from_str(&gateway.logged("\"outcome\":\"ok\"").await).unwrap();
    let sentence = line["decision"].as_str().unwrap();
    assert!(sentence.starts_with("first/served: ") && sentence.contains("next second/served"), "{sentence}");
    let full = admin(&gateway, &format!("/admin/v1/decisions/{id}")).await;
    assert_eq!(full["sentence"], sentence);
    assert_eq!(full["candidates"].as_array().unwrap().len(), 2);
    let outcome = &full["outcome"];
    assert_eq!((outcome["outcome"].as_str(), outcome["route"].as_str()), (Some("ok"), Some("first/served")));
    assert_eq!(outcome["attempts"], 1);
    assert!(outcome["ttft_ms"].is_u64() && outcome["total_ms"].is_u64(), "{outcome}");
    assert_eq!(
        outcome["cost_usd"].as_str().unwrap().parse::<f64>().unwrap(),
        line["cost_usd"].as_f64().unwrap()
    );

    // One that nobody may serve, and one that nobody served.
    let refused = gateway.chat(&chat("x")).header("x-tollway-tags", "data=eu").send().await;
    assert_eq!(refused.status, 503);
    first.script(Reply::error(400, "bad", "This will not do."));
    let failed = gateway.chat(&chat("x")).header("x-tollway-tags", "only=one").send().await;
    let failed_id = header(&failed, "x-request-id").to_owned();
    assert_eq!(failed.status, 400);
    let full = admin(&gateway, &format!("/admin/v1/decisions/{failed_id}")).await;
    assert_eq!(
        (full["policy"].as_str(), full["outcome"]["route"].as_str()),
        (Some("only-one"), Some("first/served"))
    );
    assert_ne!(full["outcome"]["outcome"], "ok");
    assert!(full["outcome"]["cost_usd"].is_null());
    let degraded = admin(&gateway, "/admin/v1/decisions?degraded=true").await;
    let degraded = degraded.as_array().unwrap();
    assert_eq!(degraded.len(), 1);
    assert_eq!(
        (degraded[0]["policy"].as_str(), degraded[0]["degraded"].as_str()),
        (Some("elsewhere"), Some("residency"))
    );
    let named = admin(&gateway, "/admin/v1/decisions?policy=default&limit=1").await;
    assert_eq!(named[0]["request_id"], *id);
    for (path, status) in [
        ("/admin/v1/decisions/req_unknown", 404),
        ("/admin/v1/decisions?limit=0", 400),
        ("/admin/v1/decisions?degraded=sometimes", 400),
    ] {
        assert_eq!(gateway.admin().get(path).send().await.status, status, "{path}");
    }
}

#[tokio::test]
async fn an_explanation_shows_the_promise_and_what_was_measured() {
    let (quick, other) = (fake().await, fake().await);
    let config = Config::new()
        .provider(provider("quick", &quick, "0.1"))
        .provider(provider("other", &other, "0.2"))
        .policy("10.yaml", "{policy: promised, slo: {ttft: 2s, ttft_per_1k: 100ms, attainment: 0.9}}");
    let gateway = gateway(config).await;
    let path = format!("/admin/v1/explain?model={MODEL}&prompt_tokens=2000");
    let before = admin(&gateway, &path).await;
    assert_eq!(
        (&before["promise"]["within_ms"], &before["promise"]["attainment"]),
        (&2_200.into(), &0.9.into())
    );
    assert!(before["sentence"].as_str().unwrap().contains("not measured yet"), "{before}");
    assert_eq!(before["degraded"], "no", "an assumption is no finding");
    gateway.chat(&streamed("hello")).send().await.events().await;
    // What is known of a route is looked at anew ten times a second.
    let mut after = admin(&gateway, &path).await;
    for _ in 0..500 {
        if after["candidates"][0]["ttft_ms_expected"].is_u64() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        after = admin(&gateway, &path).await;
    }
    let first = &after["candidates"][0];
    assert_eq!(first["route"], "quick/served");
    assert!(first["ttft_ms_expected"].is_u64() && first["in_time"].as_f64().unwrap() > 0.5, "{first}");
    assert!(first["new"].as_bool().unwrap() && after["candidates"][1]["ttft_ms_expected"].is_null());
    // What a late answer counts is learnt by now: mean costs of requests of this size, not of the one asked about.
    assert_ne!(after["promise"]["lateness_usd"], before["promise"]["lateness_usd"]);
    assert!(after["sentence"].as_str().unwrap().contains(" within 2.2 s"), "{after}");
}
