//! A silent first route gets company: the quicker one answers, the other is cancelled, and both are counted.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollway_test_support::{Config, Dialect, Ending, FakeProvider, Gate, Gateway, Kind, Reply};

use crate::{MODEL, fake, gateway, header, provider, streamed};

const TTFT: Duration = Duration::from_secs(1);
const PROMISE: &str = "policy: prompt\nslo: {ttft: 1s}\n";
const WARM: usize = 30;

fn stream_to(route: &str) -> Value {
    let mut body = streamed("tok-1 hello");
    body["model"] = json!(route);
    body
}

/// Two quick providers, of which the gateway knows that they are quick.
async fn quick_pair() -> (FakeProvider, FakeProvider, Gateway) {
    let (first, second) = (fake().await, fake().await);
    let config = Config::new()
        .provider(provider("first", &first, "0.1"))
        .provider(provider("second", &second, "0.2"))
        .policy("a.yaml", PROMISE);
    let gateway = gateway(config).await;
    for route in ["first/served", "second/served"] {
        for _ in 0..WARM {
            let response = gateway.chat(&stream_to(route)).send().await;
            assert_eq!(header(&response, "x-tollway-route"), route);
            response.bytes().await;
        }
    }
    (first, second, gateway)
}

#[tokio::test]
async fn a_slow_first_route_is_overtaken_and_cancelled_at_once() {
    let (first, second, gateway) = quick_pair().await;
    let gate = Gate::new();
    first.speak(Dialect::new(Kind::OpenAi).first_token(gate.clone()));
    let began = Instant::now();
    let response = gateway.chat(&stream_to(MODEL)).send().await;
    let took = began.elapsed();
    assert_eq!((response.status, header(&response, "x-tollway-route")), (200, "second/served"));
    assert_eq!(header(&response, "x-tollway-attempts"), "2");
    let answered = Instant::now();
    first
        .until("the slow attempt cancelled", |requests| {
            requests.last().is_some_and(|last| last.ending == Ending::CallerLeft)
        })
        .await;
    assert!(answered.elapsed() < Duration::from_millis(100), "{:?}", answered.elapsed());
    assert!(took < TTFT + Duration::from_millis(250), "{took:?}");
    assert!(response.text().await.contains("[DONE]"));
    assert_eq!((first.count(), second.count()), (WARM + 1, WARM + 1));
    let metrics = gateway.metrics().await;
    let hedges = |result| metrics.sum("tollway_hedges_total", &[("policy", "prompt"), ("result", result)]);
    assert_eq!((hedges("won"), hedges("lost"), hedges("failed")), (1.0, 0.0, 0.0));
    let wasted = |provider| {
        metrics.sum("tollway_wasted_usd_total", &[("provider", provider), ("reason", "hedge_loser")])
    };
    assert!(wasted("first") > 0.0);
    assert_eq!(wasted("second"), 0.0);
    let cancelled = [("provider", "first"), ("outcome", "cancelled")];
    assert_eq!(metrics.sum("tollway_upstream_attempts_total", &cancelled), 1.0);
    assert_eq!(metrics.sum("tollway_retries_total", &[]), 0.0);
    assert!(metrics.sum("tollway_slo_lateness_usd", &[("policy", "prompt"), ("model", MODEL)]) > 0.0);
    gate.open();
}

#[tokio::test]
async fn a_first_route_that_answers_after_all_wins_and_the_second_is_cancelled() {
    let (first, second, gateway) = quick_pair().await;
    let (slow, slower) = (Gate::new(), Gate::new());
    first.speak(Dialect::new(Kind::OpenAi).first_token(slow.clone()));
    second.speak(Dialect::new(Kind::OpenAi).first_token(slower.clone()));
    let asking = gateway.chat(&stream_to(MODEL));
    let answer = tokio::spawn(async move { asking.send().await });
    slower.reached(1).await;
    slow.open();
    let response = answer.await.unwrap();
    assert_eq!(header(&response, "x-tollway-route"), "first/served");
    second
        .until("the second attempt cancelled", |requests| {
            requests.last().is_some_and(|last| last.ending == Ending::CallerLeft)
        })
        .await;
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("tollway_hedges_total", &[("result", "lost")]), 1.0);
    assert!(metrics.sum("tollway_wasted_usd_total", &[("provider", "second")]) > 0.0);
    slower.open();
}

#[tokio::test]
async fn when_the_first_fails_while_the_second_is_at_it_the_second_answers() {
    let (first, second, gateway) = quick_pair().await;
    let (failing, slow) = (Gate::new(), Gate::new());
    first.script(Reply::error(500, "server_error", "oops").before_head(failing.clone()));
    second.speak(Dialect::new(Kind::OpenAi).first_token(slow.clone()));
    let asking = gateway.chat(&stream_to(MODEL));
    let answer = tokio::spawn(async move { asking.send().await });
    slow.reached(1).await;
    failing.open();
    gateway
        .metrics_until("the first failed", |metrics| {
            metrics.sum("tollway_upstream_attempts_total", &[("outcome", "http_5xx")]) == 1.0
        })
        .await;
    slow.open();
    let response = answer.await.unwrap();
    assert_eq!((response.status, header(&response, "x-tollway-route")), (200, "second/served"));
    assert_eq!(gateway.metrics().await.sum("tollway_hedges_total", &[("result", "won")]), 1.0);
}

#[tokio::test]
async fn what_the_second_refuses_does_not_end_what_the_first_may_still_answer() {
    let (first, second, gateway) = quick_pair().await;
    let slow = Gate::new();
    first.speak(Dialect::new(Kind::OpenAi).first_token(slow.clone()));
    second.script(Reply::error(400, "bad_value", "temperature: at most 1 here"));
    let asking = gateway.chat(&stream_to(MODEL));
    let answer = tokio::spawn(async move { asking.send().await });
    gateway
        .metrics_until("the second refused", |metrics| {
            metrics.sum("tollway_hedges_total", &[("result", "failed")]) == 1.0
        })
        .await;
    slow.open();
    let response = answer.await.unwrap();
    assert_eq!((response.status, header(&response, "x-tollway-route")), (200, "first/served"));
}

#[tokio::test]
async fn whole_answers_and_several_choices_are_not_hedged() {
    let (first, second, gateway) = quick_pair().await;
    let whole = json!({"model": MODEL, "messages": [{"role": "user", "content": "tok-2"}]});
    let mut several = stream_to(MODEL);
    several["n"] = json!(2);
    let slow = Duration::from_millis(1_500);
    for body in [whole, several] {
        let spoken = Dialect::new(Kind::OpenAi);
        first.on(move |request| spoken.answer(request).before_head(slow));
        let response = gateway.chat(&body).send().await;
        assert_eq!((response.status, header(&response, "x-tollway-route")), (200, "first/served"));
        response.bytes().await;
    }
    assert_eq!(second.count(), WARM);
    assert_eq!(gateway.metrics().await.sum("tollway_hedges_total", &[]), 0.0);
}
