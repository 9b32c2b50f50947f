//! How many records a second the ledger takes, beside a plain SQLite insert of the same rows in batches, and how much memory.
//!
//! A record is a request's row or an attempt's. Each request of ours is also held before and counted in two balances, each row
//! bears a checksum, and whoever settles waits for the disk; the plain insert does nothing of all this.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]

mod plain;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tollway::budget::{HoldId, Scope, ScopeKind, Window};
use tollway::ledger::{AttemptRecord, HoldContext, HoldEntry, Line, RequestRecord};
use tollway::store::ledger::{Durability, Ledger, LedgerOptions};
use tollway::units::{NanoUsd, RequestId, Usage};

/// What went wrong, for the one who started the benchmark.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// Requests under way at once.
const AT_ONCE: u64 = 2_000;
/// A request's row and its attempt's.
const RECORDS: u64 = 2;

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
    let requests = if quick { 50_000 } else { 1_000_000 };
    let folder = tempfile::tempdir()?;
    let mut out = std::io::stdout();
    writeln!(out, "| into | records/s | of plain | memory, MiB | file, MiB |")?;
    writeln!(out, "| --- | ---: | ---: | ---: | ---: |")?;
    let plain = {
        let path = folder.path().join("plain.db");
        let took = plain::write(&path, requests)?;
        let rate = per_second(requests, took);
        writeln!(
            out,
            "| plain SQLite, batches of 2,000 requests | {rate} | 1.00 | {} | {} |",
            resident(),
            mebibytes(&path)
        )?;
        std::fs::remove_file(path)?;
        rate
    };
    for (name, durability, held) in [
        ("the ledger, `process`", Durability::Process, true),
        ("the same without holds", Durability::Process, false),
        ("the ledger, `power`", Durability::Power, true),
    ] {
        let path = folder.path().join("data/ledger.db");
        let took = ours(&path, requests, durability, held)?;
        let rate = per_second(requests, took);
        let (whole, part) = (rate / plain, rate % plain * 100 / plain);
        writeln!(out, "| {name} | {rate} | {whole}.{part:02} | {} | {} |", resident(), mebibytes(&path))?;
        std::fs::remove_dir_all(folder.path().join("data"))?;
    }
    Ok(())
}

fn per_second(requests: u64, took: Duration) -> u64 {
    u64::try_from(u128::from(requests * RECORDS) * 1_000_000 / took.as_micros().max(1)).unwrap_or(u64::MAX)
}

/// One thread of requests beside the writer's: two cores.
fn ours(
    path: &std::path::Path,
    requests: u64,
    durability: Durability,
    held: bool,
) -> Result<Duration, Error> {
    let (ledger, _) = Ledger::open(path, LedgerOptions { durability, ..LedgerOptions::default() })?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let local = tokio::task::LocalSet::new();
    let names = Arc::new(Names::new());
    let began = Instant::now();
    let all = async {
        let callers = (0..AT_ONCE).map(|caller| {
            let (ledger, names) = (ledger.clone(), Arc::clone(&names));
            tokio::task::spawn_local(async move {
                for request in (caller..requests).step_by(usize::try_from(AT_ONCE)?) {
                    if held {
                        ledger.hold(&names.hold(request)).await?;
                    }
                    ledger.settle(names.record(request), names.lines.clone()).await?;
                }
                Ok::<(), Error>(())
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await??;
        }
        ledger.close().await?;
        Ok::<(), Error>(())
    };
    runtime.block_on(local.run_until(all))?;
    Ok(began.elapsed())
}

/// What does not change from request to request.
struct Names {
    context: HoldContext,
    attempt: AttemptRecord,
    lines: Vec<Line>,
}

impl Names {
    fn new() -> Self {
        let line = |kind: ScopeKind, name: &str| Line {
            budget: format!("{}/{name}", kind.word()).into(),
            scope: Scope { kind, name: name.into() },
            window: Window { start: 1_793_000_000, end: 1_795_600_000 },
        };
        let context = HoldContext {
            id: RequestId::from_bits(0),
            key: "alice".into(),
            user: "alice@example.com".into(),
            team: "search".into(),
            organisation: "acme".into(),
            policy: "interactive".into(),
            tags: vec![("env".into(), "prod".into())],
            model: "deepseek-v4-flash".into(),
            endpoint: "chat",
            stream: true,
            began: Timestamp::UNIX_EPOCH,
            provider: "deepseek".into(),
            route: "deepseek/deepseek-chat".into(),
            checkpoint: "deepseek-v4-flash-0731".into(),
        };
        let entry = HoldEntry {
            id: HoldId(0),
            amount: NanoUsd(554_488),
            lines: Vec::new(),
            context: context.clone(),
        };
        let mut attempt = entry.lost().0.attempts.remove(0);
        attempt.usage =
            Usage { prompt: 2_000, cached: 1_500, completion: 300, reasoning: 120, ..Usage::default() };
        attempt.source = "reported";
        attempt.reason = "".into();
        attempt.price_source = "https://api-docs.deepseek.com/quick_start/pricing".into();
        attempt.price_as_of = "2026-11-01".into();
        attempt.outcome = "ok";
        Self { context, attempt, lines: vec![line(ScopeKind::Team, "search"), line(ScopeKind::Key, "alice")] }
    }

    fn hold(&self, request: u64) -> HoldEntry {
        let context = HoldContext { began: began(request), id: id(request), ..self.context.clone() };
        HoldEntry {
            id: HoldId(scattered(request)),
            amount: NanoUsd(900_000),
            lines: self.lines.clone(),
            context,
        }
    }

    fn record(&self, request: u64) -> RequestRecord {
        let context = HoldContext { began: began(request), id: id(request), ..self.context.clone() };
        let entry = HoldEntry {
            id: HoldId(scattered(request)),
            amount: NanoUsd(554_488),
            lines: Vec::new(),
            context,
        };
        let mut record = entry.lost().0;
        record.outcome = "ok";
        record.status = 200;
        record.total_ms = 1_840;
        record.ttft_ms = Some(320);
        let generation = format!("gen-1793000000-{request:020}").into();
        record.attempts = vec![AttemptRecord { generation, asked: record.began, ..self.attempt.clone() }];
        record
    }
}

fn id(request: u64) -> RequestId {
    RequestId::from_bits(scattered(request))
}

fn began(request: u64) -> Timestamp {
    let nanos = 1_793_000_000_000_000_000 + i128::from(request) * 20_000;
    Timestamp::from_nanosecond(nanos).unwrap_or(Timestamp::MAX)
}

/// As random ids are.
fn scattered(request: u64) -> u128 {
    u128::from(request).wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645)
}

/// Memory of this process that is in use, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn mebibytes(path: &std::path::Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len() >> 20)
}
