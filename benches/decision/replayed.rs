//! How many requests a second the replay gets through.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use tollway::replay::router::ours::{Knows, Ours};
use tollway::replay::run::{Rules, run};
use tollway::replay::scenario::{Shapes, load};
use tollway::replay::trace::{Kind, generate};
use tollway::replay::world::World;
use tollway::routing::{Policy, Slo};

use super::Error;

/// Rounds, of which the quickest counts: the others shared the core with somebody.
const ROUNDS: usize = 3;

/// Replays generated traces in the reference market.
pub(crate) fn measure(out: &mut impl Write, divisor: usize) -> Result<(), Error> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/reference.yaml");
    let scenario = load(&path, &Shapes::fitted()).map_err(|problems| problems.to_string())?;
    writeln!(out, "| replay of | requests | a second, one core | attempts |")?;
    writeln!(out, "| --- | ---: | ---: | ---: |")?;
    for (kind, count) in [(Kind::Chat, 20_000), (Kind::Prefixes, 12_000), (Kind::Agents, 3_000)] {
        let trace = generate(kind, 1, count / divisor);
        let policies = [policy(scenario.slo.ttft_s, scenario.slo.ttft_s_per_1k)];
        let (mut best, mut attempts) = (Duration::MAX, 0);
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let mut world = World::new(&scenario, &trace, 1);
            let mut router = Ours::new(&world, &policies, Knows::Learnt, scenario.begins);
            let tally = run(&mut world, &scenario, Rules::new(scenario.slo), &mut router);
            best = best.min(began.elapsed());
            attempts = tally.attempts;
        }
        let requests = trace.arrivals.len();
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let rate = requests as f64 / best.as_secs_f64();
        writeln!(out, "| {} | {requests} | {rate:.0} | {attempts} |", kind.name())?;
    }
    Ok(())
}

fn policy(ttft_s: f64, ttft_s_per_1k: f64) -> Policy {
    Policy {
        slo: Slo {
            ttft: Some(Duration::from_secs_f64(ttft_s)),
            ttft_per_1k: Duration::from_secs_f64(ttft_s_per_1k),
            tokens_per_second: None,
            attainment: 0.99,
        },
        ..Policy::named("bench")
    }
}
