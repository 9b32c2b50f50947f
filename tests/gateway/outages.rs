//! One of three providers, or all of them, in trouble: who is asked meanwhile, and how soon all is well again.

use std::time::{Duration, Instant};

use tollway_test_support::{Config, Dialect, FakeProvider, Gateway, Kind, Model, Price, Provider, Reply};

use crate::{chat, fake, gateway, header, provider, streamed};

const APART: [&str; 3] = ["0.1", "0.2", "0.3"];
/// Two probe intervals.
const TWO_PROBES: Duration = Duration::from_secs(30);

/// Three providers at these prices.
async fn three(policy: &str, prices: [&str; 3]) -> ([FakeProvider; 3], Gateway) {
    let fakes = [fake().await, fake().await, fake().await];
    let config = Config::new()
        .provider(provider("first", &fakes[0], prices[0]))
        .provider(provider("second", &fakes[1], prices[1]))
        .provider(provider("third", &fakes[2], prices[2]))
        .policy("a.yaml", policy);
    let gateway = gateway(config).await;
    (fakes, gateway)
}

async fn asked(gateway: &Gateway, provider: &str) -> f64 {
    gateway.metrics().await.sum("tollway_upstream_attempts_total", &[("provider", provider)])
}

async fn until_back(gateway: &Gateway) {
    let began = Instant::now();
    loop {
        let response = gateway.chat(&streamed("x")).send().await;
        let is_first = header(&response, "x-tollway-route") == "first/served";
        response.bytes().await;
        if is_first {
            return;
        }
        assert!(began.elapsed() < TWO_PROBES, "never back:\n{}", gateway.logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn r20_with_everyone_down_hardly_more_is_asked_than_callers_ask() {
    const REQUESTS: usize = 1_500;
    let (fakes, gateway) = three("policy: p\n", APART).await;
    for fake in &fakes {
        fake.script(Reply::error(500, "server_error", "down"));
    }
    for number in 0..REQUESTS {
        let body = if number % 2 == 0 { chat("x") } else { streamed("x") };
        let response = gateway.chat(&body).send().await;
        assert!(matches!(response.status, 500 | 502 | 503), "{}", response.status);
        response.bytes().await;
    }
    let upstream: usize = fakes.iter().map(FakeProvider::count).sum();
    assert!(upstream * 10 <= REQUESTS * 12, "{upstream} upstream requests for {REQUESTS}");
}

#[tokio::test]
async fn r20_with_every_second_attempt_failing_the_budget_is_spent_on_answers_and_holds() {
    const REQUESTS: usize = 1_000;
    let (fakes, gateway) = three("policy: p\n", APART).await;
    for fake in &fakes {
        let well = Dialect::new(Kind::OpenAi);
        fake.on(move |request| {
            if request.index % 2 == 0 {
                Reply::error(500, "server_error", "down")
            } else {
                well.answer(request)
            }
        });
    }
    let mut answered = 0;
    for _ in 0..REQUESTS {
        let response = gateway.chat(&chat("x")).send().await;
        answered += usize::from(response.status == 200);
        response.bytes().await;
    }
    let upstream: usize = fakes.iter().map(FakeProvider::count).sum();
    assert!(answered * 20 > REQUESTS * 11, "{answered} of {REQUESTS}");
    assert!(upstream * 10 <= REQUESTS * 13, "{upstream} upstream requests for {REQUESTS}");
}

/// Every request deposits where its extra attempts draw, whichever checkpoint of its name they go to.
#[tokio::test]
async fn r20_the_checkpoints_of_one_name_have_one_budget() {
    const REQUESTS: usize = 600;
    let fakes = [fake().await, fake().await];
    for fake in &fakes {
        let well = Dialect::new(Kind::OpenAi);
        // Not often enough for a breaker, and too often for a safe place to go on to.
        fake.on(move |request| {
            if request.index % 3 == 0 {
                Reply::error(500, "server_error", "down")
            } else {
                well.answer(request)
            }
        });
    }
    let seller = |name: &str, fake: &FakeProvider, checkpoint: &str| {
        let model = Model::new("served", checkpoint).price(Price::per_million("0.1", "0.1", "0.1"));
        Provider::fake(name, Kind::OpenAi, fake).model(model)
    };
    let config = Config::new()
        .provider(seller("first", &fakes[0], "one-0101"))
        .provider(seller("second", &fakes[1], "two-0202"))
        .policy("a.yaml", "policy: p\nroutes: [first, second]\nin_order: true\nprobe: off\n")
        .with("aliases: {either: [one-0101, two-0202]}");
    let gateway = gateway(config).await;
    let mut body = chat("x");
    body["model"] = "either".into();
    let mut answered = 0;
    for _ in 0..REQUESTS {
        let response = gateway.chat(&body).send().await;
        answered += usize::from(response.status == 200);
        response.bytes().await;
    }
    assert!(answered * 4 > REQUESTS * 3, "{answered} of {REQUESTS}");
}

#[tokio::test]
async fn r22_a_killed_provider_is_left_alone_and_back_within_two_probes() {
    const REQUESTS: u32 = 1_000;
    let (fakes, gateway) = three("policy: p\n", APART).await;
    for _ in 0..30 {
        let response = gateway.chat(&streamed("x")).send().await;
        assert_eq!(header(&response, "x-tollway-route"), "first/served");
        response.bytes().await;
    }
    fakes[0].kill();
    while gateway.metrics().await.sum("tollway_breaker_transitions_total", &[("to", "open")]) == 0.0 {
        assert_eq!(gateway.chat(&chat("x")).send().await.status, 200, "hidden by another route");
    }
    let before = asked(&gateway, "first").await;
    for _ in 0..REQUESTS {
        let response = gateway.chat(&chat("x")).send().await;
        assert_eq!((response.status, header(&response, "x-tollway-attempts")), (200, "1"));
        response.bytes().await;
    }
    let hit = asked(&gateway, "first").await - before;
    assert!(hit * 50.0 < f64::from(REQUESTS), "{hit} of {REQUESTS} asked the dead one");
    fakes[0].revive();
    until_back(&gateway).await;
    let metrics = gateway.metrics().await;
    assert!(metrics.sum("tollway_probes_total", &[("provider", "first"), ("outcome", "ok")]) >= 1.0);
    assert!(metrics.sum("tollway_probe_cost_usd_total", &[("provider", "first")]) > 0.0);
}

#[tokio::test]
async fn r22_a_slow_provider_is_left_alone() {
    const REQUESTS: u32 = 300;
    // So close that a second attempt beside the slow one costs more than going elsewhere.
    let close = ["0.1", "0.11", "0.12"];
    let (fakes, gateway) = three("policy: p\nslo: {ttft: 500ms, attainment: 0.99}\n", close).await;
    for route in ["first/served", "second/served", "third/served"] {
        for _ in 0..25 {
            let mut body = streamed("x");
            body["model"] = route.into();
            gateway.chat(&body).send().await.bytes().await;
        }
    }
    fakes[0].speak(Dialect::new(Kind::OpenAi).first_token(Duration::from_secs(3)));
    let mut detected = 0;
    while detected < 10 {
        let response = gateway.chat(&streamed("x")).send().await;
        detected = if header(&response, "x-tollway-attempts") == "1" { detected + 1 } else { 0 };
        response.bytes().await;
    }
    let before = asked(&gateway, "first").await;
    for _ in 0..REQUESTS {
        let response = gateway.chat(&streamed("x")).send().await;
        assert_eq!(response.status, 200);
        response.bytes().await;
    }
    let hit = asked(&gateway, "first").await - before;
    assert!(hit * 50.0 < f64::from(REQUESTS), "{hit} of {REQUESTS} asked the slow one");
}

#[tokio::test]
async fn r22_a_flapping_provider_costs_nobody_an_answer() {
    let (fakes, gateway) = three("policy: p\n", APART).await;
    for round in 0..10 {
        if round % 2 == 0 {
            fakes[0].kill();
        } else {
            fakes[0].revive();
        }
        for _ in 0..60 {
            let response = gateway.chat(&streamed("x")).send().await;
            assert_eq!(response.status, 200, "round {round}");
            response.bytes().await;
        }
    }
}

#[tokio::test]
async fn r22_with_all_down_the_answer_is_quick_and_the_first_one_back_serves() {
    let (fakes, gateway) = three("policy: p\n", APART).await;
    fakes.iter().for_each(FakeProvider::kill);
    let mut statuses = Vec::new();
    for _ in 0..50 {
        let began = Instant::now();
        let response = gateway.chat(&chat("x")).send().await;
        statuses.push(response.status);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        response.bytes().await;
    }
    // As long as some breakers are closed a failed chain is 502; with all of them open it is 503.
    assert!(statuses.iter().all(|status| matches!(status, 502 | 503)), "{statuses:?}");
    assert!(statuses[10..].iter().all(|status| *status == 503), "{statuses:?}");
    let line = gateway.metrics().await.sum("tollway_breaker_state", &[("state", "open")]);
    assert_eq!(line, 3.0, "all three are open");
    fakes[0].revive();
    until_back(&gateway).await;
}
