//! Faults of the disk that nobody can order from outside. All else is tested in `tests/ledger/`.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use jiff::Timestamp;

use super::*;
use crate::budget::{Scope, ScopeKind, Window};
use crate::ledger::HoldContext;
use crate::units::RequestId;

/// Files whose next commits fail, with SQLite's extended code and how often.
static FAULTS: Mutex<Vec<(PathBuf, i32, u32)>> = Mutex::new(Vec::new());

/// What the writer asks before each commit.
pub(super) fn fault(path: &Path) -> rusqlite::Result<()> {
    let mut faults = FAULTS.lock().unwrap();
    let Some(fault) = faults.iter_mut().find(|(of, _, times)| of == path && *times > 0) else {
        return Ok(());
    };
    fault.2 -= 1;
    Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(fault.1), None))
}

fn order(path: &Path, code: i32, times: u32) {
    FAULTS.lock().unwrap().push((path.to_owned(), code, times));
}

fn entry(id: u128) -> HoldEntry {
    let window = Window { start: 0, end: 3600 };
    let line = Line {
        budget: "team/search".into(),
        scope: Scope { kind: ScopeKind::Team, name: "search".into() },
        window,
    };
    let context = HoldContext {
        id: RequestId::from_bits(id),
        key: "alice".into(),
        user: "".into(),
        team: "search".into(),
        organisation: "".into(),
        policy: "interactive".into(),
        tags: Vec::new(),
        model: "deepseek-v4-flash".into(),
        endpoint: "chat",
        stream: true,
        began: Timestamp::from_second(100).unwrap(),
        provider: "deepseek".into(),
        route: "deepseek/deepseek-chat".into(),
        checkpoint: "deepseek-v4-flash-0731".into(),
    };
    HoldEntry { id: HoldId(id), amount: NanoUsd(1_000), lines: vec![line], context }
}

fn settled(id: u128, nanos: i64) -> (RequestRecord, Vec<Line>) {
    let (mut record, lines) = entry(id).lost();
    record.outcome = "ok";
    record.amount = NanoUsd(nanos);
    record.attempts[0].amount = NanoUsd(nanos);
    record.attempts[0].outcome = "ok";
    (record, lines)
}

#[tokio::test]
async fn r28_an_io_error_refuses_holds_keeps_records_and_passes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let (ledger, _) = Ledger::open(&path, LedgerOptions::default()).unwrap();
    ledger.hold(&entry(1)).await.unwrap();
    ledger.hold(&entry(2)).await.unwrap();
    order(&path, rusqlite::ffi::SQLITE_IOERR_WRITE, 3);
    let (record, lines) = settled(1, 70);
    assert!(matches!(ledger.settle(record.clone(), lines.clone()).await, Err(Error::NotYet(_))));
    assert!(matches!(ledger.hold(&entry(3)).await, Err(Error::Io(_))));
    // Twice told is written once.
    ledger.settle_detached(record, lines.clone());
    let well = async {
        while ledger.trouble().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), well).await.unwrap();
    ledger.hold(&entry(3)).await.unwrap();
    assert_eq!(ledger.spent(lines).await.unwrap(), [NanoUsd(70)]);
    ledger.close().await.unwrap();
    let (_, recovered) = Ledger::open(&path, LedgerOptions::default()).unwrap();
    let lost: Vec<u128> = recovered.lost.iter().map(|(record, _)| record.hold.0).collect();
    assert_eq!(lost, [2, 3]);
}

#[tokio::test]
async fn r28_a_failed_sync_is_not_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let (ledger, _) =
        Ledger::open(&path, LedgerOptions { durability: Durability::Power, ..LedgerOptions::default() })
            .unwrap();
    ledger.hold(&entry(1)).await.unwrap();
    order(&path, rusqlite::ffi::SQLITE_IOERR_FSYNC, 1);
    let (record, lines) = settled(1, 70);
    // The hold is in the file, so that the next start charges it in full.
    assert!(ledger.settle(record.clone(), lines.clone()).await.is_err());
    for _ in 0..3 {
        assert!(matches!(ledger.hold(&entry(2)).await, Err(Error::Io(_))));
        assert!(matches!(ledger.settle(record.clone(), lines.clone()).await, Err(Error::Io(_))));
    }
    drop(ledger.close().await);
    let (ledger, recovered) = Ledger::open(&path, LedgerOptions::default()).unwrap();
    assert_eq!(recovered.lost.len(), 1);
    assert_eq!(ledger.spent(lines).await.unwrap(), [NanoUsd(1_000)]);
}

#[tokio::test]
#[ignore = "a measurement: run it in a release build on a quiet machine"]
#[allow(clippy::disallowed_methods, clippy::print_stderr, reason = "a measurement of real time")]
async fn r28_a_hold_is_durable_within_five_milliseconds() {
    for durability in [Durability::Process, Durability::Power] {
        let folder = tempfile::tempdir().unwrap();
        let options = LedgerOptions { durability, ..LedgerOptions::default() };
        let (ledger, _) = Ledger::open(&folder.path().join("ledger.db"), options).unwrap();
        let mut times = Vec::new();
        for id in 1..=5_000 {
            let began = std::time::Instant::now();
            ledger.hold(&entry(id)).await.unwrap();
            times.push(began.elapsed());
            let (record, lines) = settled(id, 70);
            ledger.settle_detached(record, lines);
        }
        times.sort_unstable();
        let [p50, p99] = [times[2_500], times[4_950]];
        eprintln!("a hold, {durability:?}: p50 {p50:?}, p99 {p99:?}");
        assert!(p99 <= Duration::from_millis(5), "{durability:?}: p50 {p50:?}, p99 {p99:?}");
        ledger.close().await.unwrap();
    }
}
