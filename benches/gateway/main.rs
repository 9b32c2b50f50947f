//! What the gateway costs: CPU per request and per relayed chunk, memory per idle stream, beside a direct connection, nginx
//! and a bare hyper proxy. All run at once, and take turns in rounds, so that a noisy machine is equally noisy to each.
//!
//! `scripts/bench.sh` builds and runs it. The same program serves as the upstream and as the bare proxy, each as a process
//! of its own: what is measured is a process.

mod bare_proxy;
mod load;
mod process;
mod report;
mod scenario;
mod targets;
mod upstream;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use load::Load;
use process::Usage;
use report::{Report, Sample};
use scenario::Scenario;
use targets::{Place, Target};

/// What went wrong, for the one who started the benchmark.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// How much is done.
struct Size {
    rounds: usize,
    /// Every count of requests is divided by this.
    divisor: usize,
    idle_streams: usize,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["upstream", address] => parsed(address).and_then(upstream::run),
        ["bare-proxy", address, upstream] => {
            parsed(address).and_then(|address| bare_proxy::run(address, upstream))
        }
        only => measure(only),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parsed(address: &str) -> Result<SocketAddr, Error> {
    Ok(address.parse()?)
}

/// Measures all targets, or those whose names are in `only`.
fn measure(only: &[&str]) -> Result<(), Error> {
    let quick = std::env::var_os("BENCH_QUICK").is_some_and(|value| value != "0");
    let size = if quick {
        Size { rounds: 2, divisor: 8, idle_streams: 100 }
    } else {
        Size { rounds: 7, divisor: 1, idle_streams: 1000 }
    };
    let rounds = std::env::var("BENCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let size = Size { rounds: rounds.unwrap_or(size.rounds), ..size };
    let part = std::env::var("BENCH_ONLY").unwrap_or_default();
    let (place, upstream) = (Place::new()?, targets::upstream()?);
    let fresh = || -> Result<Vec<Target>, Error> {
        let mut all = targets::all(&place, upstream.address)?;
        all.retain(|target| only.is_empty() || only.contains(&target.name));
        Ok(all)
    };
    let mut report = Report::new(quick);
    let mut scenarios = Scenario::all().to_vec();
    scenarios.retain(|scenario| scenario.name.contains(&part));
    if !scenarios.is_empty() {
        take_turns(&scenarios, &fresh()?, &size, &mut report)?;
    }
    if Scenario::idle().name.contains(&part) {
        for target in fresh()? {
            if let Some(bytes) = memory(&target, size.idle_streams)? {
                report.memory(target.name, bytes / size.idle_streams as u64);
            }
        }
    }
    write!(std::io::stdout(), "{report}")?;
    Ok(())
}

/// Every target in turn, for every scenario, round by round.
fn take_turns(
    scenarios: &[Scenario],
    targets: &[Target],
    size: &Size,
    report: &mut Report,
) -> Result<(), Error> {
    for scenario in scenarios {
        for target in targets {
            // The first requests open connections and fill caches.
            Load::new(scenario, target.address)
                .run(scenario, scenario.requests / 20 + scenario.connections)?;
        }
    }
    for round in 1..=size.rounds {
        for scenario in scenarios {
            for target in targets {
                report.add(scenario.name, target.name, sample(scenario, target, size.divisor)?);
            }
        }
        writeln!(std::io::stderr(), "round {round} of {}", size.rounds)?;
    }
    Ok(())
}

fn sample(scenario: &Scenario, target: &Target, divisor: usize) -> Result<Sample, Error> {
    let load = Load::new(scenario, target.address);
    let requests = (scenario.requests / divisor).max(scenario.connections);
    let before = target.usage()?;
    let wall = load.run(scenario, requests)?;
    // What is still to be done for the last requests is the target's cost too: a batch of log lines waits for 100 ms.
    std::thread::sleep(Duration::from_millis(150));
    let cpu = match (before, target.usage()?) {
        (Some(Usage { cpu: before }), Some(Usage { cpu: after })) => Some(after.saturating_sub(before)),
        _ => None,
    };
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let units = (requests * scenario.units) as f64;
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    #[expect(clippy::cast_precision_loss, reason = "as above")]
    let waited = micros(wall) * scenario.connections as f64 / requests as f64;
    Ok(Sample { cpu_us: cpu.map(|cpu| micros(cpu) / units), wait_us: waited })
}

/// Memory that `streams` streams take while they stand still, in bytes.
fn memory(target: &Target, streams: usize) -> Result<Option<u64>, Error> {
    let scenario = Scenario::idle();
    // One stream first, so that what the process makes once is there already.
    drop(load::hold(&scenario, target.address, 1)?);
    let Some(before) = target.resident()? else { return Ok(None) };
    let held = load::hold(&scenario, target.address, streams)?;
    let after = target.resident()?.unwrap_or(before);
    drop(held);
    Ok(Some(after.saturating_sub(before)))
}
