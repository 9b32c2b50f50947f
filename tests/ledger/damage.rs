//! R29: a changed byte, a shortened file, a log with a hole: seen at the opening, or harmless. Never a wrong balance.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use tollway::ledger::Line;
use tollway::store::ledger::{Error, Ledger, LedgerOptions};
use tollway::units::NanoUsd;

use crate::{file, hold, line, open, record};

/// A ledger of a few requests, two of them under way, closed; or killed, with its log beside it.
fn small(folder: &Path, closed: bool) -> PathBuf {
    let path = folder.join("ledger.db");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (ledger, _) = open(&path);
        for id in 1..=6 {
            ledger.hold(&hold(id, 10_000)).await.unwrap();
        }
        for id in 1..=4 {
            let (record, lines) = record(id, 1_000);
            ledger.settle(record, lines).await.unwrap();
        }
        if closed {
            ledger.close().await.unwrap();
        } else {
            let copy = folder.join("copy");
            fs::create_dir(&copy).unwrap();
            for end in ["", "-wal", ".lock"] {
                fs::copy(folder.join(format!("ledger.db{end}")), copy.join(format!("ledger.db{end}")))
                    .unwrap();
            }
            ledger.close().await.unwrap();
        }
    });
    if closed { path } else { folder.join("copy/ledger.db") }
}

/// What there is to know: balances and holds.
type Truth = (Vec<(Line, NanoUsd)>, Vec<u128>);

fn truth(path: &Path) -> Result<Truth, Error> {
    let options = LedgerOptions { charge_lost: false, ..LedgerOptions::default() };
    let (ledger, recovered) = Ledger::open(path, options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let balances = runtime.block_on(ledger.balances(0));
    let closed = runtime.block_on(ledger.close());
    let mut balances = balances?;
    balances.sort();
    closed?;
    Ok((balances, recovered.unsettled.iter().map(|hold| hold.id.0).collect()))
}

/// A copy of all three files, elsewhere.
fn copy(from: &Path, to: &Path) -> PathBuf {
    for end in ["", "-wal", ".lock"] {
        let name = format!("ledger.db{end}");
        match fs::read(from.with_file_name(&name)) {
            Ok(bytes) => fs::write(to.join(&name), bytes).unwrap(),
            Err(_) => drop(fs::remove_file(to.join(&name))),
        }
    }
    drop(fs::remove_file(to.join("ledger.db-shm")));
    to.join("ledger.db")
}

fn expected() -> Truth {
    (vec![(line("all"), NanoUsd(4_000)), (line("search"), NanoUsd(4_000))], vec![5, 6])
}

#[test]
fn r29_a_flipped_bit_anywhere_is_seen_or_harmless() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = small(folder.path(), true);
    assert_eq!(truth(&path).unwrap(), expected());
    let length = fs::metadata(&path).unwrap().len();
    let step = step();
    let mut seen = 0;
    for at in (0..length).step_by(step) {
        let copy = copy(&path, other.path());
        flip(&copy, at);
        match truth(&copy) {
            Ok(found) => assert_eq!(found, expected(), "byte {at} was changed, and nobody saw it"),
            Err(error) => {
                seen += 1;
                let text = error.to_string();
                assert!(text.contains("tollway ledger") || text.contains("format"), "byte {at}: {text}");
            }
        }
    }
    assert!(seen > 10, "only {seen} changes were seen");
}

/// Every byte takes minutes; `LEDGER_STEP=1` does so. A prime, so that each place of a page has its turn.
fn step() -> usize {
    std::env::var("LEDGER_STEP").ok().and_then(|step| step.parse().ok()).unwrap_or(499)
}

fn flip(path: &Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << (at % 8))], at).unwrap();
}

#[test]
fn r29_a_flipped_bit_in_the_log_is_seen_or_harmless() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = small(folder.path(), false);
    let log = path.with_file_name("ledger.db-wal");
    let length = fs::metadata(&log).unwrap().len();
    assert!(length > 10_000, "the log has {length} bytes");
    for at in (0..length).step_by(step() * 2 + 1) {
        let copy = copy(&path, other.path());
        flip(&copy.with_file_name("ledger.db-wal"), at);
        if let Ok(found) = truth(&copy) {
            assert_eq!(found, expected(), "byte {at} of the log was changed, and nobody saw it");
        }
    }
}

#[test]
fn r29_a_shortened_file_is_never_a_new_beginning() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = small(folder.path(), true);
    let length = fs::metadata(&path).unwrap().len();
    for at in (0..length).step_by(step() * 3) {
        let copy = copy(&path, other.path());
        fs::File::options().write(true).open(&copy).unwrap().set_len(at).unwrap();
        if let Ok(found) = truth(&copy) {
            assert_eq!(found, expected(), "{at} bytes of {length} passed for a whole ledger");
        }
    }
    let copy = copy(&path, other.path());
    fs::remove_file(&copy).unwrap();
    let error = truth(&copy).unwrap_err().to_string();
    assert!(error.contains("it is gone"), "{error}");
}

#[test]
fn r29_a_shortened_log_is_cut_only_where_nobody_was_told() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = small(folder.path(), false);
    let log = fs::read(path.with_file_name("ledger.db-wal")).unwrap();
    for at in (0..log.len()).step_by(step() * 5) {
        let copy = copy(&path, other.path());
        fs::write(copy.with_file_name("ledger.db-wal"), &log[..at]).unwrap();
        assert!(truth(&copy).is_err(), "a log of {at} bytes passed for one of {}", log.len());
    }
    // A frame that was being written when the process died: nobody was told of it.
    for more in [&[7; 5][..], &log[32..32 + 24], &log[32..32 + 600]] {
        let copy = copy(&path, other.path());
        let torn = [&log[..], more].concat();
        fs::write(copy.with_file_name("ledger.db-wal"), torn).unwrap();
        assert_eq!(truth(&copy).unwrap(), expected());
    }
}

#[test]
fn r29_a_log_with_a_hole_is_not_cut_there() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = small(folder.path(), false);
    let copy = copy(&path, other.path());
    flip(&copy.with_file_name("ledger.db-wal"), 32 + 24 + 100);
    // Even where nobody remembers how much there was.
    fs::remove_file(copy.with_file_name("ledger.db.lock")).unwrap();
    let error = truth(&copy).unwrap_err().to_string();
    assert!(error.contains("ledger.db-wal is damaged") && error.contains("written after it"), "{error}");
}

#[test]
fn an_older_copy_is_not_taken_for_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (ledger, _) = open(&path);
    runtime.block_on(ledger.close()).unwrap();
    let old = fs::read(&path).unwrap();
    let (ledger, _) = open(&path);
    let (record, lines) = record(1, 1_000);
    runtime.block_on(ledger.settle(record, lines)).unwrap();
    runtime.block_on(ledger.close()).unwrap();
    fs::write(&path, old).unwrap();
    let error = truth(&path).unwrap_err().to_string();
    assert!(error.contains("acknowledged, are gone"), "{error}");
}
