//! What a decision costs: time at 4, 16 and 64 candidates, allocations, the looks it rests on, and how many requests a second
//! the replay gets through on one core.
//!
//! Each decision is timed by itself, so that the slowest hundredth shows; what reading the clock takes is taken off. Percentiles
//! are of all that was timed, with whatever else ran on the core. `p99, undisturbed` is of the requests: the same ones come
//! round after round, each counts with its quickest time, and a hundredth of them take longer. Minds are taught by draws of the markets in `tests/scenarios`, prices are theirs, with their windows.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]

mod market;
mod replayed;

use std::hint::black_box;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tollway::routing::choose::decide_into;
use tollway::routing::{Decision, Degraded, RouteId};
use tollway::units::{Mono, Now};
use tollway::upstream::Prefixes;
use tollway_test_support::alloc::{Counting, allocations};

use market::Market;

/// What went wrong, for the one who started the benchmark.
type Error = Box<dyn std::error::Error + Send + Sync>;

#[global_allocator]
static COUNTING: Counting = Counting;

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Error> {
    let quick = std::env::var_os("BENCH_QUICK").is_some_and(|value| value != "0");
    let divisor = if quick { 10 } else { 1 };
    let mut out = std::io::stdout();
    writeln!(out, "| of one | µs: p50 | p99 | p99.9 | mean | p99, undisturbed | allocations |")?;
    writeln!(out, "| --- | ---: | ---: | ---: | ---: | ---: | ---: |")?;
    for count in [4, 16, 64] {
        let market = Market::new(count)?;
        let sample = decisions(&market, 400_000 / divisor);
        writeln!(out, "| decision, {count} candidates | {sample}")?;
    }
    let market = Market::new(16)?;
    writeln!(out, "| outlook, made anew | {}", outlooks(&market, 200_000 / divisor))?;
    writeln!(out, "| prefix of 12,000 tokens looked up, 16 candidates | {}", prefixes(200_000 / divisor))?;
    writeln!(out)?;
    replayed::measure(&mut out, divisor)
}

/// Times of one sort of work, in nanoseconds, ascending.
struct Sample {
    ns: Vec<u64>,
    /// The quickest of each input; empty where no two are of the same.
    quickest: Vec<u64>,
    allocations: u64,
}

/// Times `work` so many times, on so many inputs that come round and round; 0: each is another.
fn sample(times: usize, inputs: usize, mut work: impl FnMut(usize)) -> Sample {
    // Fills caches and gives buffers their room.
    (0..times / 10).for_each(&mut work);
    let mut ns = Vec::with_capacity(times);
    let mut quickest = vec![u64::MAX; inputs];
    let clock = clock_ns();
    let allocations = allocations(|| {
        for at in 0..times {
            let began = Instant::now();
            work(at);
            ns.push(nanos(began.elapsed()).saturating_sub(clock));
        }
    });
    for (at, ns) in ns.iter().enumerate().filter(|_| inputs > 0) {
        quickest[at % inputs] = quickest[at % inputs].min(*ns);
    }
    ns.sort_unstable();
    quickest.sort_unstable();
    Sample { ns, quickest, allocations }
}

/// What reading the clock twice takes, at the median.
fn clock_ns() -> u64 {
    let mut ns: Vec<u64> = (0..10_001).map(|_| nanos(Instant::now().elapsed())).collect();
    ns.sort_unstable();
    ns[ns.len() / 2]
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl std::fmt::Display for Sample {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "figures for people"
    )]
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.ns.len() as f64;
        let us = |ns: &[u64], share: f64| {
            let ns = ns.get((ns.len() as f64 * share) as usize);
            ns.map_or_else(|| "–".to_owned(), |ns| format!("{:.2}", *ns as f64 / 1e3))
        };
        for share in [0.5, 0.99, 0.999] {
            write!(f, "{} | ", us(&self.ns, share))?;
        }
        let mean = self.ns.iter().sum::<u64>() as f64 / count / 1e3;
        let undisturbed = us(&self.quickest, 0.99);
        write!(f, "{mean:.2} | {undisturbed} | {} |", self.allocations as f64 / count)
    }
}

fn decisions(market: &Market, times: usize) -> Sample {
    let mut decision = Decision::default();
    let mut hedged = 0;
    let sample = sample(times, market::REQUESTS, |at| {
        let (facts, now) = market.request(at);
        decide_into(
            &mut decision,
            &market.routes,
            &market.policy,
            black_box(&facts),
            &market.outlooks[..],
            now,
        );
        black_box(&decision);
        hedged += usize::from(decision.hedge.is_some());
        assert!(decision.degraded != Degraded::NoRoute, "somebody serves");
    });
    assert!(hedged > 0, "plans with a second route are among them");
    sample
}

fn outlooks(market: &Market, times: usize) -> Sample {
    let mut minds = market.minds.clone();
    sample(times, 0, |at| {
        let place = at % minds.len();
        let now = market.now.mono.plus(Duration::from_millis(at as u64 / 16));
        black_box(minds[place].outlook(now, false));
    })
}

/// The chain of one prompt, of which each candidate holds another part.
fn prefixes(times: usize) -> Sample {
    let prefixes = Prefixes::default();
    let now = Now { mono: Mono(1_000_000_000_000), wall: jiff::Timestamp::UNIX_EPOCH };
    let chains: Vec<_> = (0..64).map(|at| market::chain(at, 48)).collect();
    for (at, chain) in chains.iter().enumerate() {
        for route in 0..16_u16 {
            let held = (at + usize::from(route) * 7) % chain.len();
            prefixes.served(&chain[..held], RouteId(route), now.mono);
        }
    }
    sample(times, chains.len(), |at| {
        let chain = &chains[at % chains.len()];
        for route in 0..16 {
            black_box(prefixes.held(chain, RouteId(route), now.mono));
        }
    })
}
