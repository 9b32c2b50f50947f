//! Ten thousand requests while the cheapest of three providers dies: none is lost, none is doubled, all add up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tollway_test_support::{Config, Gateway};

use crate::{MODEL, fake, gateway, provider};

const REQUESTS: usize = 10_000;
const CALLERS: usize = 64;
const KILLED_AT: usize = 3_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cheapest_wins_and_its_death_costs_nobody_an_answer() {
    let fakes = [fake().await, fake().await, fake().await];
    let config = Config::new()
        .provider(provider("cheap", &fakes[0], "0.1"))
        .provider(provider("middle", &fakes[1], "0.2"))
        .provider(provider("dear", &fakes[2], "0.3"));
    let gateway = Arc::new(gateway(config).await);
    let next = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> =
        (0..CALLERS).map(|_| tokio::spawn(caller(Arc::clone(&gateway), Arc::clone(&next)))).collect();
    while next.load(Ordering::SeqCst) < KILLED_AT {
        tokio::task::yield_now().await;
    }
    let before = fakes[0].count();
    fakes[0].kill();
    let mut nanos = 0;
    let mut by_route = std::collections::BTreeMap::<String, usize>::new();
    for caller in callers {
        for (route, cost) in caller.await.unwrap() {
            *by_route.entry(route).or_default() += 1;
            nanos += cost;
        }
    }
    assert_eq!(by_route.values().sum::<usize>(), REQUESTS, "{by_route:?}");
    assert!(before >= KILLED_AT - CALLERS, "the cheapest served until it died: {before}");
    assert!(by_route["middle/served"] > REQUESTS / 2, "{by_route:?}");
    assert!(!by_route.contains_key("dear/served"), "{by_route:?}");
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("tollway_requests_total", &[("outcome", "ok")]) as usize, REQUESTS);
    assert_eq!(metrics.sum("tollway_requests_total", &[]) as usize, REQUESTS);
    assert_eq!(
        (metrics.sum("tollway_cost_usd_total", &[]) * 1e9).round() as u64,
        nanos,
        "to the nano-dollar"
    );
}

/// Asks until all requests are taken; every second one is a stream. Each answer must hold its own request's token.
async fn caller(gateway: Arc<Gateway>, next: Arc<AtomicUsize>) -> Vec<(String, u64)> {
    let mut served = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::SeqCst);
        if number >= REQUESTS {
            return served;
        }
        let token = format!("tok-{number}-end");
        let stream = number % 2 == 1;
        let mut body =
            json!({"model": MODEL, "stream": stream, "messages": [{"role": "user", "content": token}]});
        if stream {
            body["stream_options"] = json!({"include_usage": true});
        }
        let response = gateway.chat(&body).send().await;
        assert_eq!(response.status, 200, "request {number}");
        let route = response.headers.get("x-tollway-route").unwrap().to_owned();
        let text = response.text().await;
        assert_eq!(text.matches(&token).count(), 1, "request {number}: {text}");
        if stream {
            assert_eq!(text.matches("[DONE]").count(), 1, "request {number}: {text}");
            assert!(!text.contains("\"error\""), "request {number}: {text}");
        }
        let cost = text
            .rsplit("\"cost\":0.")
            .next()
            .and_then(|rest| rest.get(..9))
            .and_then(|digits| digits.parse().ok());
        served.push((route, cost.unwrap_or_else(|| panic!("no cost in request {number}: {text}"))));
    }
}
