//! The embedded ledger under crashes, damage, full and slow disks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests: what cannot go on should stop"
)]

mod crash;
mod damage;
mod disk;
mod life;
mod postgres;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tollway::budget::{HoldId, Scope, ScopeKind, Window};
use tollway::ledger::{HoldContext, HoldEntry, Line, RequestRecord};
use tollway::store::ledger::{Ledger, LedgerOptions, Recovered};
use tollway::units::{NanoUsd, RequestId, Usage};

/// A month's budget of a team.
fn line(team: &str) -> Line {
    let scope = Scope { kind: ScopeKind::Team, name: team.into() };
    Line {
        budget: format!("team/{team}").into(),
        scope,
        window: Window { start: 1_700_000_000, end: 1_702_000_000 },
    }
}

/// A hold of `nanos` for a request of the team `search`.
fn hold(id: u128, nanos: i64) -> HoldEntry {
    let context = HoldContext {
        id: RequestId::from_bits(id),
        key: "alice".into(),
        user: "alice@example.com".into(),
        team: "search".into(),
        organisation: "acme".into(),
        policy: "interactive".into(),
        tags: vec![("env".into(), "prod".into()), ("app".into(), "web \"2\"".into())],
        model: "deepseek-v4-flash".into(),
        endpoint: "chat",
        stream: true,
        began: Timestamp::from_nanosecond(
            1_700_000_000_000_000_001 + i128::try_from(id % 1_000_000).unwrap(),
        )
        .unwrap(),
        provider: "deepseek".into(),
        route: "deepseek/deepseek-chat".into(),
        checkpoint: "deepseek-v4-flash-0731".into(),
    };
    HoldEntry { id: HoldId(id), amount: NanoUsd(nanos), lines: vec![line("search"), line("all")], context }
}

/// The record of the same request, which cost `nanos` at its second try.
fn record(id: u128, nanos: i64) -> (RequestRecord, Vec<Line>) {
    let (mut record, lines) = hold(id, 0).lost();
    record.outcome = "ok";
    record.status = 200;
    record.total_ms = 1_250;
    record.ttft_ms = Some(310);
    record.amount = NanoUsd(nanos);
    let attempt = &mut record.attempts[0];
    attempt.outcome = "failed";
    attempt.source = "none";
    attempt.reason = "timeout".into();
    let mut second = attempt.clone();
    second.outcome = "ok";
    second.source = "reported";
    second.reason = "".into();
    second.usage = Usage { prompt: 1_000, cached: 600, completion: 50, ..Usage::default() };
    second.amount = NanoUsd(nanos);
    second.parts = [NanoUsd(nanos / 2), NanoUsd(0), NanoUsd(0), NanoUsd(nanos - nanos / 2), NanoUsd(0)];
    second.price_source = "https://api-docs.deepseek.com/quick_start/pricing".into();
    second.price_as_of = "2026-11-01".into();
    second.generation = format!("gen-{id}").into();
    record.attempts.push(second);
    (record, lines)
}

fn open(path: &Path) -> (Ledger, Recovered) {
    Ledger::open(path, LedgerOptions::default()).expect("it opens")
}

fn file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("data/ledger.db")
}
