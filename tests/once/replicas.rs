//! Named requests over two gateways on one Redis.

use std::time::Duration;

use tollway_test_support::{Dialect, Gate, Gateway, Kind, Redis};

use crate::{BINARY, charges, chat, counted, fake, insisted, is_replayed, named, on, replica, streamed};

/// Rounds in which a machine that is short of time may let Redis seem silent.
const ROUNDS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn r32_a_hundred_racing_duplicates_over_two_replicas_are_one_call_and_one_charge() {
    let (redis, fake) = (Redis::start().await, fake().await);
    let first = replica(&redis, &fake, "").await;
    let second = replica(&redis, &fake, "").await;
    // Where a claim could not be shared in time nothing is promised, and the round does not count.
    for round in 0.. {
        assert!(round < ROUNDS, "Redis was never in time");
        let charged =
            || charges(&first).into_iter().chain(charges(&second)).filter(|amount| *amount > 0).count();
        let before = (fake.count(), charged());
        let unshared = counted(&first, "unshared").await + counted(&second, "unshared").await;
        let gate = Gate::new();
        fake.speak(Dialect::new(Kind::OpenAi).first_token(gate.clone()));
        let body = if round % 2 == 0 { streamed(6) } else { chat(6) };
        let racing: Vec<_> = (0..100)
            .map(|number| {
                let client = if number % 2 == 0 { first.client() } else { second.client() }.clone();
                let (body, name) = (body.clone(), format!("race-{round}"));
                tokio::spawn(async move {
                    let (response, _) = insisted(|| named(&client, &body, &name)).await;
                    (response.status, is_replayed(&response), response.rest().await.0)
                })
            })
            .collect();
        gate.reached(1).await;
        gate.open();
        let mut paid = 0;
        for one in racing {
            let (status, replayed, text) = one.await.unwrap();
            // A budget that Redis does not answer for in time lets nobody pass.
            assert!([200, 503].contains(&status), "{status}: {}", String::from_utf8_lossy(&text));
            paid += usize::from(status == 200 && !replayed);
        }
        let unshared = counted(&first, "unshared").await + counted(&second, "unshared").await - unshared;
        if unshared > 0.0 {
            let calls = f64::from(u32::try_from(fake.count() - before.0).unwrap());
            assert!(
                calls <= 1.0 + unshared,
                "{calls} calls, {unshared} of them by claims that were not shared"
            );
            continue;
        }
        assert_eq!((paid, fake.count(), charged()), (1, before.0 + 1, before.1 + 1));
        break;
    }
}

#[tokio::test]
async fn r32_an_answer_is_told_again_by_another_replica() {
    let (redis, fake) = (Redis::start().await, fake().await);
    let first = replica(&redis, &fake, "").await;
    let second = replica(&redis, &fake, "").await;
    let mut replayed = 0;
    for round in 0..ROUNDS {
        let name = format!("n-{round}");
        let (response, _) = insisted(|| named(first.client(), &streamed(5), &name)).await;
        let text = response.text().await;
        let (again, _) = insisted(|| named(second.client(), &streamed(5), &name)).await;
        if is_replayed(&again) {
            replayed += 1;
            let again = again.text().await;
            assert_eq!(again.matches("data: ").count(), text.matches("data: ").count());
            assert!(again.contains("\"cost\":0.000000000"));
            let other = named(second.client(), &chat(5), &name).send().await;
            assert!(other.status == 422 || counted(&second, "unshared").await > 0.0);
            let stranger = second.chat(&streamed(5)).key("sk-bbbbbbbbbb").header("idempotency-key", &name);
            assert!(!is_replayed(&stranger.send().await), "a name is its key's own");
            break;
        }
        again.rest().await;
    }
    assert_eq!(replayed, 1, "never told again");
    // Nothing of the caller's lies in Redis.
    let keys = redis.command(&[b"KEYS", b"*once*"]);
    let mut values = String::new();
    for key in keys.lines().filter(|line| line.starts_with("tollway:")) {
        assert!(!key.contains("n-0"), "{key}");
        values += &redis.command(&[b"GET", key.as_bytes()]);
    }
    assert!(values.len() > 100 && !values.contains("tok-1") && !values.contains("choices"), "{values}");
}

#[tokio::test]
async fn r32_a_claim_of_a_killed_replica_ends_with_its_lease() {
    let (redis, fake) = (Redis::start().await, fake().await);
    // Without a budget, which has Redis answer in time.
    let config = || on(&redis, &fake, "").policy("a.yaml", "policy: p\nprobe: off\n");
    let mut first = Gateway::start(BINARY, config()).await;
    let second = Gateway::start(BINARY, config()).await;
    let gate = Gate::new();
    fake.speak(Dialect::new(Kind::OpenAi).first_token(gate.clone()));
    let asking = tokio::spawn(named(first.client(), &chat(5), "one").try_send());
    gate.reached(1).await;
    assert_eq!(counted(&first, "unshared").await, 0.0, "Redis was not in time");
    let busy = named(second.client(), &chat(5), "one").send().await;
    assert_eq!(busy.status, 409);
    first.kill9();
    let _ = asking.await;
    gate.open();
    let (response, refused) = insisted(|| named(second.client(), &chat(5), "one")).await;
    assert!(
        response.status == 200 && refused > 0 && !is_replayed(&response),
        "{} {refused}",
        response.status
    );
}

#[tokio::test]
async fn r40_r32_without_redis_named_requests_go_on_and_are_made_once_here() {
    let (mut redis, fake) = (Redis::start().await, fake().await);
    // Without a budget, which would be refused.
    let unlimited = on(&redis, &fake, "").policy("a.yaml", "policy: p\nprobe: off\n");
    let gateway = Gateway::start(BINARY, unlimited).await;
    named(gateway.client(), &chat(5), "before").send().await.bytes().await;
    redis.kill9();
    let gate = Gate::new();
    fake.speak(Dialect::new(Kind::OpenAi).first_token(gate.clone()));
    let asking = tokio::spawn(named(gateway.client(), &chat(5), "one").send());
    gate.reached(1).await;
    let busy = named(gateway.client(), &chat(5), "one").send().await;
    assert_eq!(busy.status, 409);
    gate.open();
    assert_eq!(asking.await.unwrap().status, 200);
    assert!(counted(&gateway, "unshared").await >= 1.0);
    redis.restart().await;
    // Once it is back names are shared again.
    let shared = async {
        for number in 0.. {
            let name = format!("after-{number}");
            named(gateway.client(), &chat(5), &name).send().await.bytes().await;
            let again = named(gateway.client(), &chat(5), &name).send().await;
            if is_replayed(&again) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), shared).await.unwrap();
}
