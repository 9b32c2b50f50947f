//! One gateway: a named request is one call upstream and one charge, whoever sends it how often.

use std::time::Duration;

use serde_json::json;
use tollway_test_support::{Dialect, Gate, Gateway, Kind};

use crate::{
    A, BINARY, charges, chat, code, config, counted, fake, header, insisted, is_replayed, named, nanos,
    streamed,
};

/// How long something may take to be seen; only a broken test gets there.
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn r32_a_hundred_racing_duplicates_are_one_call_and_one_charge() {
    let fake = fake().await;
    let gateway = Gateway::start(BINARY, config(&fake, "")).await;
    for body in [chat(6), streamed(6)] {
        let before = (fake.count(), charges(&gateway).iter().sum::<i64>());
        let gate = Gate::new();
        fake.speak(Dialect::new(Kind::OpenAi).first_token(gate.clone()));
        let name = format!("race-{}", body["stream"]);
        let racing: Vec<_> = (0..100)
            .map(|_| {
                let (client, body, name) = (gateway.client().clone(), body.clone(), name.clone());
                tokio::spawn(async move {
                    let (response, refused) = insisted(|| named(&client, &body, &name)).await;
                    let replayed = is_replayed(&response);
                    assert_eq!(response.status, 200);
                    let text = response.text().await;
                    (text, replayed, refused)
                })
            })
            .collect();
        // All but one have been refused before there is an answer.
        gate.reached(1).await;
        let refused = |metrics: &tollway_test_support::Metrics| {
            metrics.sum("tollway_idempotent_requests_total", &[("result", "in_flight")])
        };
        let so_far = refused(&gateway.metrics().await);
        tokio::time::timeout(PATIENCE, async {
            while refused(&gateway.metrics().await) < so_far + 99.0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap();
        gate.open();
        let (mut first, mut again) = (Vec::new(), Vec::new());
        for one in racing {
            let (text, replayed, refused) = one.await.unwrap();
            assert!(replayed || refused == 0, "the first is refused nothing");
            if replayed { again.push(text) } else { first.push(text) }
        }
        assert_eq!((first.len(), again.len(), fake.count()), (1, 99, before.0 + 1));
        // The same words, at no cost.
        let cost = |text: &str| {
            let from = text.find("\"cost\":").unwrap() + 7;
            let end = from + text[from..].find(['}', ',']).unwrap();
            (nanos(&json!(text[from..end])), format!("{}{}", &text[..from], &text[end..]))
        };
        let (paid, words) = cost(&first[0]);
        assert!(paid > 0);
        for text in &again {
            assert_eq!(cost(text), (0, words.clone()));
        }
        // One request was charged, and each of the others recorded at nothing.
        let all = charges(&gateway);
        assert_eq!(all.iter().sum::<i64>(), before.1 + paid);
        assert_eq!(all.iter().filter(|amount| **amount == paid).count(), 1 + before.0);
    }
    assert_eq!((counted(&gateway, "first").await, counted(&gateway, "replayed").await), (2.0, 198.0));
    let held = gateway.metrics().await.sum("tollway_budget_reserved_usd", &[]);
    assert_eq!(held, 0.0);
}

#[tokio::test]
async fn r32_sent_again_it_is_answered_as_it_was_whatever_its_spelling_and_only_then() {
    let fake = fake().await;
    let gateway = Gateway::start(BINARY, config(&fake, "")).await;
    let first = named(gateway.client(), &chat(5), "one").send().await;
    let id = header(&first, "x-request-id").to_owned();
    assert!(!is_replayed(&first) && nanos(&json!(header(&first, "x-tollway-cost-usd"))) > 0);
    first.bytes().await;
    let spelled = "{ \"max_tokens\":5, \"messages\":[{\"content\":\"tok-1 a \\u0077ord of mine\",\"role\":\"user\"}],\"model\": \"test-model-0101\"}";
    let again =
        gateway.post("/v1/chat/completions", spelled).key(A).header("idempotency-key", "one").send().await;
    assert!(is_replayed(&again), "{}", again.status);
    assert_eq!(
        [
            header(&again, "x-tollway-original-request-id"),
            header(&again, "x-tollway-cost-usd"),
            header(&again, "x-tollway-attempts")
        ],
        [&*id, "0.000000000", "0"]
    );
    assert_eq!(nanos(&again.json().await["usage"]["cost"]), 0);
    // Anything else under that name is a mistake: also what an equal answer would be good for.
    let mut by_another = chat(5);
    by_another["user"] = json!("x");
    for other in [chat(6), streamed(5), by_another] {
        let other = named(gateway.client(), &other, "one").send().await;
        assert_eq!((other.status, &*code(other).await), (422, "idempotency_key_reused"));
    }
    // Another name is another request, and no name none.
    for name in ["two", ""] {
        let request = gateway.post("/v1/chat/completions", chat(5).to_string()).key(A);
        let request = if name.is_empty() { request } else { request.header("idempotency-key", name) };
        let response = request.send().await;
        assert!(response.status == 200 && !is_replayed(&response));
        response.bytes().await;
    }
    assert_eq!(fake.count(), 3);
    for bad in ["", &"x".repeat(256)] {
        let bad = named(gateway.client(), &chat(5), bad).send().await;
        assert_eq!((bad.status, &*code(bad).await), (400, "invalid_value"));
    }
}

#[tokio::test]
async fn r32_r55_a_name_is_its_keys_own() {
    let fake = fake().await;
    let gateway = Gateway::start(BINARY, config(&fake, "")).await;
    for (at, key) in [A, "sk-bbbbbbbbbb", "sk-cccccccccc"].into_iter().enumerate() {
        let request = gateway.chat(&chat(5)).key(key).header("idempotency-key", "one");
        let response = request.send().await;
        assert!(!is_replayed(&response), "of {key}");
        response.bytes().await;
        assert_eq!(fake.count(), at + 1);
    }
}

#[tokio::test]
async fn r32_answers_outlive_the_process_whether_it_stops_or_is_killed_and_no_text_lies_about() {
    let fake = fake().await;
    fake.speak(Dialect::new(Kind::OpenAi).saying(["a", " mark", "ed", " answer"]));
    let mut gateway = Gateway::start(BINARY, config(&fake, "")).await;
    let words = async |gateway: &Gateway, body, name| {
        let response = named(gateway.client(), &body, name).send().await;
        (is_replayed(&response), response.text().await)
    };
    let whole = words(&gateway, chat(5), "whole").await.1;
    let stream = words(&gateway, streamed(5), "stream").await.1;
    assert!(whole.contains("a marked answer"));
    for is_killed in [false, true] {
        if is_killed {
            gateway.kill9();
        } else {
            gateway.sigterm();
            gateway.ended().await;
        }
        for end in ["", "-wal"] {
            let bytes = std::fs::read(gateway.path(&format!("data/once.db{end}"))).unwrap_or_default();
            for mark in ["marked answer", "\"mark", "word of mine", "stream\""] {
                assert!(
                    memchr::memmem::find(&bytes, mark.as_bytes()).is_none(),
                    "{mark:?} lies in once.db{end}"
                );
            }
        }
        gateway = gateway.restarted(BINARY, config(&fake, "")).await;
        let again = words(&gateway, chat(5), "whole").await;
        assert!(again.0 && again.1.contains("a marked answer"));
        let again = words(&gateway, streamed(5), "stream").await;
        assert_eq!((again.0, again.1.matches("data: ").count()), (true, stream.matches("data: ").count()));
        let other = named(gateway.client(), &chat(6), "whole").send().await;
        assert_eq!(other.status, 422);
    }
    assert_eq!(fake.count(), 2);
}

#[tokio::test]
async fn r32_an_answer_too_long_to_be_kept_is_not_paid_for_twice() {
    let fake = fake().await;
    fake.speak(Dialect::new(Kind::OpenAi).saying(["x".repeat(700_000), "y".repeat(700_000)]));
    let gateway = Gateway::start(BINARY, config(&fake, "")).await;
    for (at, body) in [chat(5), streamed(5)].into_iter().enumerate() {
        let name = format!("long-{at}");
        let first = named(gateway.client(), &body, &name).send().await;
        assert_eq!(first.status, 200);
        first.bytes().await;
        let again = named(gateway.client(), &body, &name).send().await;
        assert_eq!((again.status, header(&again, "x-should-retry")), (409, "false"));
        assert_eq!(code(again).await, "idempotent_answer_not_kept");
        assert_eq!(fake.count(), at + 1);
    }
}

#[tokio::test]
async fn r29_a_damaged_file_of_answers_is_begun_anew_and_stops_nobody() {
    let fake = fake().await;
    let mut gateway = Gateway::start(BINARY, config(&fake, "")).await;
    named(gateway.client(), &chat(5), "one").send().await.bytes().await;
    gateway.sigterm();
    gateway.ended().await;
    std::fs::write(gateway.path("data/once.db"), vec![b'x'; 20_000]).unwrap();
    let gateway = gateway.restarted(BINARY, config(&fake, "")).await;
    for replayed in [false, true] {
        let response = named(gateway.client(), &chat(5), "one").send().await;
        assert_eq!((response.status, is_replayed(&response)), (200, replayed));
        response.bytes().await;
    }
    assert_eq!(fake.count(), 2);
}

#[tokio::test]
async fn names_mean_nothing_where_nothing_is_kept() {
    let fake = fake().await;
    let gateway = Gateway::start(BINARY, config(&fake, "").with("idempotency: {keep: 0s}")).await;
    for _ in 0..2 {
        let response = named(gateway.client(), &chat(5), "one").send().await;
        assert_eq!((response.status, is_replayed(&response)), (200, false));
        response.bytes().await;
    }
    assert_eq!((fake.count(), gateway.path("data/once.db").exists()), (2, false));
}
