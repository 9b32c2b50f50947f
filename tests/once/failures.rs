//! What failed is not kept: whoever tries again is served, at whatever point it went wrong.

use tollway_test_support::{Break, Dialect, Ending, Gate, Gateway, Kind, Reply};

use crate::{BINARY, chat, config, counted, fake, insisted, is_replayed, ledger, named, nanos, streamed};

#[tokio::test(flavor = "multi_thread")]
async fn r32_storms_of_retries_pass_after_each_kind_of_failure_and_are_one_answer() {
    let failing: [(&str, Reply); 7] = [
        ("a fault", Reply::error(500, "server_error", "no")),
        ("a limit", Reply::error(429, "rate_limit_exceeded", "later").header("retry-after-ms", "1")),
        ("a refusal", Reply::error(400, "bad", "no")),
        ("a page", Reply::html(502)),
        ("a reset before the head", Reply::nothing(Break::Reset)),
        ("no answer in it", Reply::json(200, "{\"error\":{\"message\":\"no\"}}")),
        ("nonsense", Reply::json(200, "nonsense")),
    ];
    let cut = |how| Reply::fixture("fireworks_stream_usage_own_chunk.sse").cut_after_events(4, how);
    let broken = [("a cut", cut(Break::Close)), ("a reset", cut(Break::Reset))];
    for (is_stream, what, reply) in failing
        .iter()
        .flat_map(|(what, reply)| [(false, *what, reply.clone()), (true, *what, reply.clone())])
        .chain(broken.into_iter().map(|(what, reply)| (true, what, reply)))
    {
        // Each by itself: a route that fails again and again is left alone.
        let fake = fake().await;
        let gateway = Gateway::start(BINARY, config(&fake, "")).await;
        let body = if is_stream { streamed(5) } else { chat(5) };
        fake.enqueue(reply);
        let first = named(gateway.client(), &body, "one").send().await;
        assert!(!is_replayed(&first), "{what}");
        first.rest().await;
        let storm: Vec<_> = (0..20)
            .map(|_| {
                let (client, body) = (gateway.client().clone(), body.clone());
                tokio::spawn(async move {
                    // The route may rest for a moment after a failure.
                    loop {
                        let (response, _) = insisted(|| named(&client, &body, "one")).await;
                        let (status, replayed) = (response.status, is_replayed(&response));
                        let (text, _) = response.rest().await;
                        if status == 200 {
                            return (replayed, String::from_utf8_lossy(&text).into_owned());
                        }
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    }
                })
            })
            .collect();
        let mut served = 0;
        for one in storm {
            let (replayed, text) = one.await.unwrap();
            served += usize::from(!replayed);
            assert!(!is_stream || text.ends_with("data: [DONE]\n\n"), "{what}: {text}");
        }
        assert_eq!((served, fake.count()), (1, 2), "{what}, stream: {is_stream}");
        // What failed may cost something too, as far as its provider may bill it.
        let paid = ledger(&gateway)
            .into_iter()
            .filter(|one| one["outcome"] == "ok" && nanos(&one["amount_usd"]) > 0);
        assert_eq!(paid.count(), 1, "{what}");
    }
}

#[tokio::test]
async fn r32_who_leaves_a_stream_lets_its_name_go_and_stops_the_provider() {
    let fake = fake().await;
    let gateway = Gateway::start(BINARY, config(&fake, "")).await;
    let gate = Gate::new();
    fake.script(Reply::fixture("fireworks_stream_usage_own_chunk.sse").before_packet(4, gate.clone()));
    let mut leaving = named(gateway.client(), &streamed(8), "one").send().await;
    leaving.until("Short").await;
    assert_eq!(named(gateway.client(), &streamed(8), "one").send().await.status, 409);
    leaving.reset();
    fake.until("the call to end", |records| records.iter().all(|one| one.ending == Ending::CallerLeft)).await;
    gate.open();
    let (again, _) = insisted(|| named(gateway.client(), &streamed(8), "one")).await;
    assert!(!is_replayed(&again));
    let text = again.text().await;
    assert!(text.trim_end().ends_with("[DONE]"), "{text}");
    // From now on it is kept.
    let again = named(gateway.client(), &streamed(8), "one").send().await;
    assert!(is_replayed(&again));
    assert_eq!(fake.count(), 2);
}

#[tokio::test]
async fn r32_who_leaves_before_an_answer_lets_the_name_go() {
    let fake = fake().await;
    let gateway = Gateway::start(BINARY, config(&fake, "")).await;
    let gate = Gate::new();
    fake.speak(Dialect::new(Kind::OpenAi).first_token(gate.clone()));
    let leaving = tokio::spawn(named(gateway.client(), &chat(8), "one").send());
    gate.reached(1).await;
    leaving.abort();
    fake.until("the call to end", |records| records.iter().all(|one| one.ending == Ending::CallerLeft)).await;
    gate.open();
    let (again, _) = insisted(|| named(gateway.client(), &chat(8), "one")).await;
    assert!(again.status == 200 && !is_replayed(&again));
    assert_eq!(counted(&gateway, "first").await, 2.0);
}

#[tokio::test]
async fn r32_a_kill_while_it_is_under_way_lets_the_name_go() {
    let fake = fake().await;
    let mut gateway = Gateway::start(BINARY, config(&fake, "")).await;
    let gate = Gate::new();
    fake.speak(Dialect::new(Kind::OpenAi).first_token(gate.clone()));
    let asking = tokio::spawn(named(gateway.client(), &chat(8), "one").try_send());
    gate.reached(1).await;
    gateway.kill9();
    let _ = asking.await;
    gate.open();
    let gateway = gateway.restarted(BINARY, config(&fake, "")).await;
    let again = named(gateway.client(), &chat(8), "one").send().await;
    assert!(again.status == 200 && !is_replayed(&again));
}

#[tokio::test]
async fn r32_an_answer_that_was_whole_before_its_caller_left_is_kept() {
    let fake = fake().await;
    let gateway = Gateway::start(BINARY, config(&fake, "")).await;
    let mut response = named(gateway.client(), &streamed(5), "one").send().await;
    response.until("[DONE]").await;
    response.reset();
    let again = named(gateway.client(), &streamed(5), "one").send().await;
    assert!(is_replayed(&again));
    assert_eq!(fake.count(), 1);
}
