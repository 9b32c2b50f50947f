//! R28, R29: a disk that is full, and one that stands still.

use std::future::Future;
use std::sync::mpsc::sync_channel;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tollway::store::ledger::{Error, Ledger, LedgerOptions, verify};
use tollway::units::NanoUsd;

use crate::{file, hold, line, open, record};

/// Lets the file have so many more pages; SQLite then says that the disk is full.
async fn room(ledger: &Ledger, pages: i64) {
    let set = ledger.run(move |connection| {
        let count: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        connection
            .query_row(&format!("PRAGMA max_page_count = {}", count + pages), [], |row| row.get::<_, i64>(0))
    });
    set.await.unwrap();
}

#[tokio::test]
async fn r29_a_full_disk_refuses_work_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let (ledger, _) = open(&path);
    room(&ledger, 40).await;
    // Requests come until one is refused; each has the same dear context.
    let mut held = Vec::new();
    let refusal = loop {
        let id = held.len() as u128 + 1;
        match ledger.hold(&hold(id, 10_000)).await {
            Ok(()) => held.push(id),
            Err(error) => break error,
        }
        assert!(held.len() < 10_000, "the disk is never full");
    };
    assert!(matches!(refusal, Error::Full(_)), "{refusal}");
    assert!(matches!(ledger.hold(&hold(0, 1)).await, Err(Error::Full(_))));
    // Those under way end: their records wait in memory, one for each.
    for id in &held {
        let (record, lines) = record(*id, 1_000);
        match ledger.settle(record, lines).await {
            // Room that a probe found is used.
            Ok(()) | Err(Error::NotYet(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(ledger.figures().kept_back <= held.len() as u64);
    room(&ledger, 1_000_000).await;
    let well = async {
        while ledger.trouble().is_some() || ledger.figures().kept_back > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), well).await.unwrap();
    ledger.hold(&hold(99_999, 5)).await.unwrap();
    let spent = ledger.spent(vec![line("search")]).await.unwrap();
    assert_eq!(spent, [NanoUsd(i64::try_from(held.len()).unwrap() * 1_000)]);
    ledger.release(tollway::budget::HoldId(99_999)).await.unwrap();
    ledger.close().await.unwrap();
    let verified = verify::file(&path).unwrap();
    assert_eq!((verified.requests, verified.holds), (held.len() as u64, 0));
}

#[tokio::test]
async fn r28_a_disk_that_stands_still_bounds_what_waits_and_loses_nothing() {
    const BOUND: usize = 100;
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let options = LedgerOptions { queue_max: BOUND, ..LedgerOptions::default() };
    let (ledger, _) = Ledger::open(&path, options).unwrap();
    for id in 1..=50 {
        ledger.hold(&hold(id, 10_000)).await.unwrap();
    }
    // The writer hangs as it would in a write that does not return.
    let (stands, standing) = sync_channel(1);
    let (go_on, going_on) = sync_channel::<()>(1);
    let stall = ledger.run(move |_| {
        let _ = stands.send(());
        let _ = going_on.recv();
        Ok(())
    });
    standing.recv().unwrap();
    let mut waiting = Vec::new();
    let refused = loop {
        let mut one = Box::pin(ledger.hold(&hold(1_000 + waiting.len() as u128, 10_000)));
        match one.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => waiting.push(one),
            Poll::Ready(answer) => break answer.unwrap_err(),
        }
        assert!(waiting.len() <= BOUND, "more waits than may");
    };
    assert!(matches!(refused, Error::Busy(_)), "{refused}");
    // What ends a hold is taken all the same, and a `Drop` does not wait for it.
    for id in 1..=50 {
        let (record, lines) = record(id, 1_000);
        ledger.settle_detached(record, lines);
    }
    assert!(ledger.figures().waiting <= (BOUND + 50) as u64);
    // Some of those who wait give up.
    waiting.truncate(10);
    go_on.send(()).unwrap();
    stall.await.unwrap();
    for one in waiting {
        one.await.unwrap();
    }
    let spent = ledger.spent(vec![line("search")]).await.unwrap();
    assert_eq!(spent, [NanoUsd(50_000)]);
    ledger.close().await.unwrap();
    let verified = verify::file(&path).unwrap();
    assert_eq!((verified.requests, verified.holds), (50, 10));
}

#[tokio::test]
async fn the_log_stays_short_while_the_writer_never_rests() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let worth_copying = 256 << 10;
    let options = LedgerOptions { log_bytes: worth_copying, ..LedgerOptions::default() };
    let (ledger, _) = Ledger::open(&path, options).unwrap();
    let log = path.with_file_name("ledger.db-wal");
    let turn = || std::fs::read(&log).unwrap().get(12..24).unwrap_or_default().to_vec();
    let mut turns = std::collections::HashSet::new();
    // Some forty thousand pages, of a thousand and more to a turn.
    for id in 1..=4_000 {
        ledger.hold(&hold(id, 1_000)).await.unwrap();
        let (record, lines) = record(id, 10);
        ledger.settle(record, lines).await.unwrap();
        if id % 100 == 0 {
            turns.insert(turn());
        }
    }
    assert!(turns.len() > 5, "{} turns", turns.len());
    let length = std::fs::metadata(&log).unwrap().len();
    assert!(length < 12 * worth_copying, "{length} bytes");
    assert_eq!(ledger.spent(vec![line("search")]).await.unwrap(), [NanoUsd(40_000)]);
    // What is left of earlier turns behind the present one is no damage.
    let copy = tempfile::tempdir().unwrap();
    for end in ["", "-wal"] {
        let name = format!("ledger.db{end}");
        std::fs::copy(path.with_file_name(&name), copy.path().join(&name)).unwrap();
    }
    let (again, _) = Ledger::open(&copy.path().join("ledger.db"), LedgerOptions::default()).unwrap();
    assert_eq!(again.spent(vec![line("search")]).await.unwrap(), [NanoUsd(40_000)]);
    again.close().await.unwrap();
    ledger.close().await.unwrap();
    assert_eq!(verify::file(&path).unwrap().requests, 4_000);
}

#[tokio::test]
async fn old_records_go_and_balances_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let wall = "2023-11-20T00:00:00Z".parse().unwrap();
    let clock = std::sync::Arc::new(tollway::units::ManualClock::at(wall));
    let retention = Some(Duration::from_hours(400 * 24));
    let options = LedgerOptions { retention, clock: clock.clone(), ..LedgerOptions::default() };
    let (ledger, _) = Ledger::open(&path, options).unwrap();
    let count = 1_200;
    for id in 1..=count {
        let (record, lines) = record(id, 10);
        ledger.settle_detached(record, lines);
    }
    let requests = async || {
        let count = ledger
            .run(|connection| {
                connection.query_row("SELECT count(*) FROM requests", [], |row| row.get::<_, i64>(0))
            })
            .await;
        count.unwrap()
    };
    ledger.sweep().await.unwrap();
    assert_eq!(requests().await, 1_200);
    // 410 days on, the month's window is not yet 400 days old, and its records are.
    clock.advance(Duration::from_hours(400 * 24));
    for _ in 0..3 {
        ledger.sweep().await.unwrap();
    }
    assert_eq!(requests().await, 0);
    assert_eq!(ledger.spent(vec![line("search")]).await.unwrap(), [NanoUsd(12_000)]);
    let (late, lines) = record(5_000, 7);
    ledger.settle(late, lines).await.unwrap();
    assert_eq!(ledger.spent(vec![line("search")]).await.unwrap(), [NanoUsd(12_007)]);
    clock.advance(Duration::from_hours(30 * 24));
    for _ in 0..3 {
        ledger.sweep().await.unwrap();
    }
    assert_eq!(ledger.balances(0).await.unwrap(), []);
    ledger.close().await.unwrap();
    assert_eq!(verify::file(&path).unwrap(), tollway::store::ledger::Verified::default());
}
