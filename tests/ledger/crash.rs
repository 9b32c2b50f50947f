//! R27: killed at any moment, under load. What was acknowledged is there; what was not settled is charged in full.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use tollway::store::ledger::{Ledger, LedgerOptions, verify};
use tollway::units::NanoUsd;

use crate::{file, hold, line, open, record};

/// Holds are of so much, records of less.
const HELD: i64 = 10_000;

fn cost(id: u128) -> i64 {
    i64::try_from(id % 9_000).unwrap()
}

/// Not a test: what the killed process does. Callers hold and settle without end and print what was acknowledged.
#[test]
#[ignore = "started by the test below"]
fn writes_until_killed() {
    let Ok(path) = std::env::var("LEDGER_TO_WRITE") else { return };
    let round: u128 = std::env::var("LEDGER_ROUND").unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // A log that is copied and emptied all the time, so that kills fall there too.
    let options = LedgerOptions { log_bytes: 128 << 10, ..LedgerOptions::default() };
    let (ledger, recovered) = Ledger::open(std::path::Path::new(&path), options).unwrap();
    for (lost, _) in recovered.lost {
        say(&format!("lost {}", lost.hold.0));
    }
    let callers = tokio::task::LocalSet::new();
    for caller in 0..50_u128 {
        let ledger = ledger.clone();
        callers.spawn_local(async move {
            for turn in 0.. {
                let id = round * 100_000_000 + turn * 50 + caller;
                ledger.hold(&hold(id, HELD)).await.unwrap();
                say(&format!("held {id}"));
                // Some take their time, some are let go by a `Drop`.
                if id.is_multiple_of(7) {
                    tokio::task::yield_now().await;
                }
                let (record, lines) = record(id, cost(id));
                if id.is_multiple_of(5) {
                    ledger.settle_detached(record, lines);
                } else {
                    ledger.settle(record, lines).await.unwrap();
                    say(&format!("settled {id}"));
                }
            }
        });
    }
    runtime.block_on(callers);
}

fn say(line: &str) {
    // One write for the line, so that the pipe has whole lines of what was acknowledged.
    let _ = std::io::stdout().write_all(format!("\n{line}\n").as_bytes());
}

#[test]
fn r27_killed_at_any_moment_nothing_acknowledged_is_lost() {
    let kills = std::env::var("LEDGER_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(12_u64);
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    // What each hold was last known to be: held, settled or lost.
    let mut known: BTreeMap<u128, &'static str> = BTreeMap::new();
    let mut killed_between = 0;
    for round in 1..=kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::writes_until_killed", "--ignored", "--nocapture"])
            .env("LEDGER_TO_WRITE", &path)
            .env("LEDGER_ROUND", round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        // Killed after so many acknowledgements, which is some moment of its work.
        let (mut left, mut line) = (round * 7919 % 3_000 + 1, String::new());
        while lines.read_line(&mut line).unwrap() > 0 {
            note(&mut known, &line);
            left = left.saturating_sub(1);
            if left == 0 {
                // A second one changes nothing.
                let _ = child.kill();
            }
            line.clear();
        }
        child.wait().unwrap();
        assert_eq!(left, 0, "the child ended by itself");
        killed_between += usize::from(known.values().any(|last| *last == "held"));
    }
    assert!(killed_between > 0, "no kill fell between a hold and its settlement");
    let (ledger, recovered) = open(&path);
    for (lost, _) in recovered.lost {
        known.insert(lost.hold.0, "lost");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let balance = runtime.block_on(ledger.spent(vec![line("search")])).unwrap()[0];
    runtime.block_on(ledger.close()).unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    let mut statement = connection.prepare("SELECT hold, outcome, amount_nanos FROM requests").unwrap();
    let mut there = BTreeMap::new();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let id = u128::from_be_bytes(row.get(0).unwrap());
        let is_new = there.insert(id, (row.get::<_, String>(1).unwrap(), row.get::<_, i64>(2).unwrap()));
        assert!(is_new.is_none(), "{id} is there twice");
    }
    for (id, last) in &known {
        let (outcome, amount) = there.get(id).unwrap_or_else(|| panic!("{id}, {last}, is gone"));
        let expected = match (*last, outcome.as_str()) {
            ("settled" | "held", "ok") => cost(*id),
            ("held" | "lost", "lost") => HELD,
            other => panic!("{id}: {other:?}"),
        };
        assert_eq!(*amount, expected, "{id}");
    }
    assert_eq!(there.values().map(|(_, amount)| amount).sum::<i64>(), balance.0);
    drop(rows);
    drop(statement);
    drop(connection);
    let verified = verify::file(&path).unwrap();
    assert_eq!((verified.amount, verified.holds), (balance, 0));
    assert!(balance > NanoUsd::ZERO);
    drop(Ledger::open(&path, LedgerOptions::default()).unwrap());
}

fn note(known: &mut BTreeMap<u128, &'static str>, line: &str) {
    for word in ["held", "settled", "lost"] {
        if let Some(id) = line.trim().strip_prefix(word).and_then(|id| id.trim().parse().ok()) {
            known.insert(id, word);
        }
    }
}
