//! A hold's life: made durable, settled once, or charged in full.

use tollway::budget::HoldId;
use tollway::store::ledger::{Error, Ledger, LedgerOptions};
use tollway::units::NanoUsd;

use crate::{file, hold, line, open, record};

#[tokio::test]
async fn a_hold_is_settled_once_and_its_balances_know() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let (ledger, recovered) = open(&path);
    assert!(recovered.lost.is_empty());
    ledger.hold(&hold(1, 5_000)).await.unwrap();
    assert!(matches!(Ledger::open(&path, LedgerOptions::default()), Err(Error::Held(_))));
    for _ in 0..2 {
        let (record, lines) = record(1, 1_234);
        ledger.settle(record, lines).await.unwrap();
    }
    let lines = vec![line("search"), line("all"), line("nobody")];
    assert_eq!(ledger.spent(lines.clone()).await.unwrap(), [NanoUsd(1_234), NanoUsd(1_234), NanoUsd(0)]);
    let mut balances = ledger.balances(1_701_000_000).await.unwrap();
    balances.sort();
    assert_eq!(balances, [(line("all"), NanoUsd(1_234)), (line("search"), NanoUsd(1_234))]);
    assert_eq!(ledger.balances(1_702_000_000).await.unwrap(), []);
    let replica = ledger.replica().to_owned();
    ledger.close().await.unwrap();
    assert_eq!(ledger.hold(&hold(2, 5_000)).await, Err(Error::Closed));
    let (ledger, recovered) = open(&path);
    assert_eq!(recovered, tollway::store::ledger::Recovered::default());
    assert_eq!(ledger.replica(), replica);
    // Once more, of another process.
    let (again, of) = record(1, 1_234);
    ledger.settle(again, of).await.unwrap();
    assert_eq!(ledger.spent(lines).await.unwrap()[0], NanoUsd(1_234));
}

#[tokio::test]
async fn r32_racing_settles_of_one_hold_count_once() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&file(&folder));
    ledger.hold(&hold(7, 9_000)).await.unwrap();
    let settles = (0..100).map(|_| {
        let (record, lines) = record(7, 100);
        ledger.settle(record, lines)
    });
    for settle in settles.collect::<Vec<_>>() {
        settle.await.unwrap();
    }
    assert_eq!(ledger.spent(vec![line("search")]).await.unwrap(), [NanoUsd(100)]);
    assert_eq!((ledger.figures().settled, ledger.figures().held), (1, 0));
}

#[tokio::test]
async fn r27_what_a_dead_process_held_is_charged_in_full() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let (ledger, _) = open(&path);
    for (id, nanos) in [(1, 100), (2, 200), (3, 400), (4, 800)] {
        ledger.hold(&hold(id, nanos)).await.unwrap();
    }
    // More is needed for the third, the fourth gives all back, the first ends.
    ledger.hold(&hold(3, 1_600)).await.unwrap();
    ledger.release(HoldId(4)).await.unwrap();
    let (record, lines) = record(1, 60);
    ledger.settle(record, lines).await.unwrap();
    ledger.close().await.unwrap();
    let unsure = LedgerOptions { charge_lost: false, ..LedgerOptions::default() };
    let (ledger, recovered) = Ledger::open(&path, unsure).unwrap();
    assert_eq!(recovered.unsettled, [hold(2, 200), hold(3, 1_600)]);
    ledger.close().await.unwrap();
    let (ledger, recovered) = open(&path);
    assert_eq!(recovered.lost, [hold(2, 200).lost(), hold(3, 1_600).lost()]);
    assert_eq!(ledger.spent(vec![line("all")]).await.unwrap(), [NanoUsd(60 + 200 + 1_600)]);
    ledger.close().await.unwrap();
    assert_eq!(open(&path).1.lost, []);
}

#[tokio::test]
async fn a_hold_that_nobody_waits_for_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&file(&folder));
    drop(ledger.hold(&hold(1, 100)));
    // In the list behind the hold and its release.
    ledger.run(|_| Ok(())).await.unwrap();
    let held = ledger
        .run(|connection| connection.query_row("SELECT count(*) FROM holds", [], |row| row.get::<_, i64>(0)));
    assert_eq!(held.await.unwrap(), 0);
}

#[tokio::test]
async fn others_keep_small_tables_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let (ledger, _) = open(&path);
    ledger.run(|connection| connection.execute_batch("CREATE TABLE keys (name TEXT) STRICT")).await.unwrap();
    let failed = ledger.run(|connection| {
        connection.execute("INSERT INTO keys VALUES ('gone')", [])?;
        connection.execute("INSERT INTO nothing VALUES (1)", [])
    });
    assert!(matches!(failed.await, Err(Error::Query(_))));
    ledger.run(|connection| connection.execute("INSERT INTO keys VALUES ('alice')", [])).await.unwrap();
    ledger.close().await.unwrap();
    let (ledger, _) = open(&path);
    let names: Vec<String> = ledger
        .run(|connection| {
            connection.prepare("SELECT name FROM keys")?.query_map([], |row| row.get(0))?.collect()
        })
        .await
        .unwrap();
    assert_eq!(names, ["alice"]);
}
