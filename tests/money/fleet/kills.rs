//! One after another is killed and comes back, while callers ask until the budget is spent and beyond.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tollway_test_support::{Client, Dialect, Gate, Kind, Redis};

use crate::streamed;

use super::load::{Load, MAX, Terms, Told, call};
use super::{Fleet, LONGEST, Lane, REPLICAS, sums};

const LANE: &str = "all";

struct Run {
    requests: u64,
    callers: u64,
    limit: i64,
    /// Tokens, of which the limit pays for so many: most of what is asked for, and not all of it.
    pays_for: i64,
    kills: Kills,
}

/// When the next is killed.
enum Kills {
    /// After so long.
    Every(Duration),
    /// After so many requests.
    Each(u64),
}

/// What a request with the longest answer holds, and how many tokens its prompt has: by one that is under way.
pub(super) async fn measured(fleet: &Fleet, redis: &Redis, lane: &Lane) -> (i64, i64) {
    let gateway = fleet.running().next().unwrap();
    let began = Instant::now();
    let client = Client::new(gateway.address());
    let ask = || {
        let request = client.post("/v1/chat/completions", streamed(MAX).to_string());
        let request = request.header("content-type", "application/json");
        request.header("x-tollway-tags", &format!("lane={}", lane.name)).send()
    };
    let usage = loop {
        let response = ask().await;
        let status = response.status;
        let text = response.text().await;
        if status == 200 {
            break text;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "it never opens: {text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let prompt = usage.rsplit_once("\"prompt_tokens\":").unwrap().1;
    let prompt = prompt.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
    let gate = Gate::new();
    fleet.fake.speak(Dialect::new(Kind::OpenAi).tokens(LONGEST).first_token(gate.clone()));
    let asking = tokio::spawn(ask());
    gate.reached(1).await;
    // The one before is told by now, or soon.
    while sums::holds(redis) != 1 {
        assert!(began.elapsed() < Duration::from_mins(1), "one request is under way");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let held = sums::of(redis, lane, 'h');
    fleet.fake.speak(Dialect::new(Kind::OpenAi).tokens(LONGEST));
    gate.open();
    asking.await.unwrap().bytes().await;
    (held - i64::try_from(MAX).unwrap() * fleet.token, prompt)
}

async fn kept_by_all(run: Run) {
    let Run { requests, callers, limit, pays_for, kills: when } = run;
    let redis = Redis::start().await;
    let lane = Lane { name: LANE, on_store_loss: "refuse", limit };
    let mut fleet = Fleet::start(redis.url(), vec![lane], limit / pays_for).await;
    let (around, prompt) = measured(&fleet, &redis, &fleet.lanes[0]).await;
    let token = fleet.token;
    let terms = || Terms { token, prompt, around, lanes: vec![LANE] };
    let (longest, shortest) = (terms().ceiling(MAX), terms().ceiling(1));
    let load = Load::new(terms(), requests, Duration::ZERO);
    let began = Instant::now();
    let addresses = Arc::new(std::sync::RwLock::new(fleet.addresses.lock().unwrap().clone()));
    let asking: Vec<_> = (0..callers)
        .map(|number| {
            let addresses = Arc::clone(&addresses);
            tokio::spawn(call(number + 1, Arc::clone(&load), move || addresses.read().unwrap().clone()))
        })
        .collect();
    let mut kills = 0;
    while load.left() > 0 {
        // Until it is time for the next, or all is asked.
        let (from, since) = (load.left(), Instant::now());
        let due = || match when {
            Kills::Every(time) => since.elapsed() >= time,
            Kills::Each(requests) => load.left() + requests <= from,
        };
        while load.left() > 0 && !due() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if load.left() > 0 {
            fleet.kill(kills % REPLICAS).await;
            addresses.write().unwrap().clone_from(&fleet.addresses.lock().unwrap());
            kills += 1;
        }
    }
    for one in asking {
        one.await.unwrap();
    }
    let took = began.elapsed();
    let told = &load.told[0];
    let sums = sums::agreed(&fleet, &redis, &[told]).await[0];
    print(told, &sums, limit, kills, took);
    // Whoever is under way or was killed holds at most so much; what has just ended may not be told yet.
    let bound = i64::try_from(2 * callers).unwrap() * longest;
    println!(
        "  false refusals: {} of them would have been paid for by what was not spent, but that was held; most of it then {} nano-dollars, \
         the bound {bound} (two for each caller, {longest} each); refused although it could be held: {}",
        told.false_refusals.load(Ordering::Relaxed),
        told.most_room.load(Ordering::Relaxed),
        told.unfounded.load(Ordering::Relaxed),
    );
    assert!(sums.spent <= limit, "{sums:?}");
    assert_eq!(told.unfounded.load(Ordering::Relaxed), 0, "a request that could be held is never refused");
    assert!(told.most_room.load(Ordering::Relaxed) <= bound, "more was held than can be under way");
    assert!(kills >= 1 && told.left.load(Ordering::Relaxed) > 10);
    let (_, answered_before) = told.first.lock().unwrap().expect("the budget is spent at last");
    assert!(answered_before * 2 > requests, "most of it is real work: {answered_before} of {requests}");
    to_the_last_cent(&fleet, &terms(), &redis, limit - sums.spent, shortest).await;
}

/// What is left still pays for whatever it can hold.
async fn to_the_last_cent(fleet: &Fleet, terms: &Terms, redis: &Redis, left: i64, shortest: i64) {
    let fits = (1..=MAX).rev().find(|tokens| terms.ceiling(*tokens) <= left);
    let Some(tokens) = fits else {
        println!("  left: {left} nano-dollars, less than the shortest request holds ({shortest})");
        return;
    };
    let request = fleet.running().next().unwrap().chat(&streamed(tokens));
    let response = request.header("x-tollway-tags", &format!("lane={LANE}")).send().await;
    let status = response.status;
    let text = response.text().await;
    assert_eq!(status, 200, "{left} are left, and {} would be held: {text}", terms.ceiling(tokens));
    println!("  left: {left} nano-dollars, of which one more request of {tokens} tokens was served");
    sums::agreed(fleet, redis, &[]).await;
}

fn print(told: &Told, sums: &sums::Sums, limit: i64, kills: usize, took: Duration) {
    let of = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    let (asked, answered) = (of(&told.asked), told.answered());
    println!(
        "{asked} requests in {} s, {kills} kills: {answered} answered ({} whole, {} left by their callers, {} cut off by a kill), refused {:?}",
        took.as_secs(),
        of(&told.served),
        of(&told.left),
        of(&told.broken),
        told.refused.lock().unwrap(),
    );
    if let Some((asked_before, answered_before)) = *told.first.lock().unwrap() {
        println!(
            "  until the budget first refused: {asked_before} requests, {answered_before} answered; after that: {} requests, {} answered",
            asked - asked_before,
            answered - answered_before
        );
    }
    println!(
        "  spent {} of {limit} nano-dollars; sum of the ledgers {}, of their attempts {}, by Redis {}; {} charges told to callers, each in \
         the ledgers once; nothing held",
        sums.spent,
        sums.requests,
        sums.attempts,
        sums.spent,
        told.charges.lock().unwrap().len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn r26_r38_one_budget_is_kept_by_three_gateways_of_which_one_after_another_is_killed() {
    let (requests, limit, kills) = (1_500, 100_000_000, Kills::Each(300));
    kept_by_all(Run { requests, callers: 32, limit, pays_for: 36_000, kills }).await;
}

/// `TOLLWAY_FLEET_REQUESTS=n` asks another number.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: `make fleet`"]
async fn r26_r38_one_budget_is_kept_over_two_hundred_thousand_requests() {
    let requests = std::env::var("TOLLWAY_FLEET_REQUESTS").ok().and_then(|text| text.parse().ok());
    let requests = requests.unwrap_or(200_000);
    let (limit, kills) = (1_000_000_000, Kills::Every(Duration::from_secs(5)));
    let pays_for = i64::try_from(requests).unwrap() * 24;
    kept_by_all(Run { requests, callers: 64, limit, pays_for, kills }).await;
}
