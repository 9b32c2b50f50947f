//! The real gateway in a replayed market: fake upstreams that answer in real time by the simulator's own draws, callers that
//! keep a trace's times, and a comparison of what came of it with what the simulator says of the same trace.
//!
//! `make replay-live` takes five minutes; the suite has a short run that only looks for errors and for wrong accounts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tests: what cannot go on should stop, a report is read by people, and nothing here is the gateway's task"
)]

mod accounts;
mod callers;
mod market;
mod report;
mod setup;
mod texts;

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;
use tollway::replay::router::ours::{Knows, Ours};
use tollway::replay::run::{Rules, run};
use tollway::replay::scenario::{IncidentKind, Scenario, Shapes, load};
use tollway::replay::tally::Tally;
use tollway::replay::trace::{Kind, Trace, generate};
use tollway::replay::world::World;
use tollway::routing::Policy;
use tollway_test_support::{Gateway, Metrics};

use market::Market;
use report::Compared;

/// Share of first tokens that the policy promises in time.
const ATTAINMENT: f64 = 0.95;
/// Requests a second.
const RATE: f64 = 3.0;

/// Requests of a trace of `kind` that last for `seconds` at [`RATE`].
fn trace(kind: Kind, seed: u64, seconds: f64) -> Trace {
    let trace = generate(kind, seed, (seconds * RATE).round() as usize);
    let rate = trace.span_us() as f64 / 1e6 / seconds;
    trace.scaled(rate)
}

/// The same with answers of a second or so.
fn short(mut trace: Trace) -> Trace {
    trace.arrivals.iter_mut().for_each(|arrival| arrival.output_tokens = arrival.output_tokens.min(60));
    trace
}

fn scenario(name: &str) -> &'static Scenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios").join(name);
    let scenario = load(&path, &Shapes::fitted()).unwrap_or_else(|problems| panic!("{problems}"));
    Box::leak(Box::new(scenario))
}

/// What the simulator says.
fn simulated(scenario: &Scenario, trace: &Trace, seed: u64, policies: &[Policy]) -> Tally {
    let mut world = World::new(scenario, trace, seed);
    let mut router = Ours::new(&world, policies, Knows::Learnt, scenario.begins);
    run(&mut world, scenario, Rules::new(scenario.slo), &mut router)
}

/// What the gateway did.
async fn lived(scenario: &'static Scenario, trace: Trace, seed: u64) -> Compared {
    let trace: &'static Trace = Box::leak(Box::new(trace));
    // The gateway starts meanwhile.
    let began = Instant::now() + Duration::from_secs(3);
    let (market, addresses) = Market::open(scenario, trace, seed, began).await;
    let policy = setup::policy(scenario, ATTAINMENT);
    let config = setup::config(&market.routes(), &addresses, trace, &policy);
    let policies = setup::compiled(&config, &policy);
    let gateway = Gateway::start(env!("CARGO_BIN_EXE_tollway"), config).await;
    let prices = async {
        let first_us = trace.arrivals.first().map_or(0, |arrival| arrival.at_us);
        let mut times: Vec<u64> = scenario
            .incidents
            .iter()
            .filter(|one| matches!(one.kind, IncidentKind::Price(_)))
            .flat_map(|one| [one.from, one.to])
            .map(|share| first_us + (share * trace.span_us() as f64) as u64 + 1_000)
            .collect();
        times.sort_unstable();
        for at in times {
            tokio::time::sleep_until(market.at(at)).await;
            let generation = |metrics: &Metrics| metrics.sum("tollway_config_reload_generation", &[]);
            let before = generation(&gateway.metrics().await);
            let config = setup::config(&market.reprice(), &addresses, trace, &policy);
            std::fs::write(gateway.path("draft.tmp"), config.yaml()).unwrap();
            std::fs::rename(gateway.path("draft.tmp"), gateway.path("tollway.yaml")).unwrap();
            gateway.sighup();
            gateway.metrics_until("prices taken", |metrics| generation(metrics) > before).await;
            market.prices_known();
        }
    };
    let (answers, ()) = tokio::join!(callers::ask_all(&market, &gateway, trace), prices);
    let counted = |metrics: &Metrics| metrics.sum("tollway_requests_total", &[]) >= answers.len() as f64;
    let metrics = gateway.metrics_until("every request", counted).await;
    if std::env::var_os("REPLAY_LIVE_LOGS").is_some() {
        println!("{}", gateway.logs());
    }
    Compared {
        scenario,
        trace,
        simulated: simulated(scenario, trace, seed, &policies),
        seen: answers,
        bills: market.bills(),
        prices: market.prices(),
        firsts: market.firsts(),
        metrics,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_bad_day_reaches_no_caller() {
    let compared = lived(scenario("live.yaml"), short(trace(Kind::Prefixes, 1, 15.0)), 1).await;
    compared.no_errors();
    println!("{}", compared.accounts());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes five minutes: make replay-live"]
async fn five_minutes_are_as_the_simulator_says() {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
    };
    let kind = if std::env::var("REPLAY_LIVE_TRACE").is_ok_and(|kind| kind == "chat") {
        Kind::Chat
    } else {
        Kind::Prefixes
    };
    let seed = number("REPLAY_LIVE_SEED", 3);
    let compared =
        lived(scenario("live.yaml"), trace(kind, seed, number("REPLAY_LIVE_SECONDS", 300) as f64), seed)
            .await;
    println!("{compared}");
    compared.no_errors();
    println!("{}", compared.accounts());
    compared.as_simulated();
}

/// The simulator alone, seed by seed: for choosing a market in which incidents matter.
#[test]
#[ignore = "only prints"]
fn what_the_simulator_says() {
    let scenario = scenario("live.yaml");
    for (kind, seed) in
        [Kind::Chat, Kind::Prefixes].into_iter().flat_map(|kind| (1..=4).map(move |seed| (kind, seed)))
    {
        let trace = trace(kind, seed, 300.0);
        let policy = setup::policy(scenario, ATTAINMENT);
        let world = World::new(scenario, &trace, seed);
        let addresses = vec![std::net::SocketAddr::from(([127, 0, 0, 1], 1)); world.routes.len()];
        let config = setup::config(&world.routes, &addresses, &trace, &policy);
        let tally = simulated(scenario, &trace, seed, &setup::compiled(&config, &policy));
        let (usd, share) = (tally.spend_usd(), tally.attainment() * 100.0);
        let served: Vec<u64> = tally.served.iter().map(|one| one.0).collect();
        println!(
            "{} {seed}: {usd:.5} USD, {share:.2} % in time, {} errors, served {served:?}",
            kind.name(),
            tally.errors
        );
        tally.failovers.iter().for_each(|one| println!("  {one:?}"));
    }
}
