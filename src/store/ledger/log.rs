//! How long SQLite's log has grown, and what is to be done about it: copied into the file beside the writer, and begun anew once
//! hardly anything is left to copy, since the writer stops for that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::schema;

/// A log so many times as long as what is worth copying is begun anew.
const FULL_AT: u64 = 4;
/// So much of what is worth copying may be left to copy when the writer stops for it.
const LEFT: u64 = 16;

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// Copy it, beside the writer.
    Copy,
    /// Copy the rest and begin anew, in the writer.
    BeginAnew,
}

/// The log of the writer's connection. All figures are in bytes.
pub(super) struct Log {
    /// Of its present turn: what lies behind it in the file is of an earlier one.
    length: Arc<AtomicU64>,
    /// How long it was when it was last to be copied, and to be begun anew.
    asked_at: u64,
    tried_at: Option<u64>,
    worth_copying: u64,
}

impl Log {
    /// Follows what `connection` writes. The file beside the ledger keeps its length from turn to turn, as long as nothing held
    /// the log up: to cut it and to let it grow again costs more than all the rest.
    pub(super) fn follow(connection: &mut Connection, worth_copying: u64) -> rusqlite::Result<Self> {
        let page = schema::page_bytes(connection)?;
        let kept = worth_copying.saturating_mul(2 * FULL_AT);
        connection.execute_batch(&format!("PRAGMA journal_size_limit = {kept}"))?;
        let length = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&length);
        connection.wal_hook(Some(move |_: &mut Wal, pages: std::ffi::c_int| {
            told.store(u64::try_from(pages).unwrap_or(0) * page, Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { length, asked_at: 0, tried_at: None, worth_copying })
    }

    /// What to do, now that so much of it is copied. Whoever is told to do something does it.
    pub(super) fn step(&mut self, copied: u64) -> Step {
        let length = self.length.load(Ordering::Relaxed);
        let left = length.saturating_sub(copied);
        let full = self.worth_copying.saturating_mul(FULL_AT);
        let little = self.worth_copying / LEFT;
        // Someone who reads what the log had long ago keeps it from being copied: then this is seldom tried.
        let is_held_up = length > full.saturating_mul(2);
        let may_try = self.tried_at.is_none_or(|tried| length.saturating_sub(tried) > self.worth_copying);
        if length > full && (left <= little || is_held_up) && may_try {
            self.tried_at = Some(length);
            return Step::BeginAnew;
        }
        let worth = if length > full && !is_held_up { little } else { self.worth_copying };
        if left > worth && length.saturating_sub(self.asked_at) > worth {
            self.asked_at = length;
            return Step::Copy;
        }
        Step::Nothing
    }

    /// It has begun anew.
    pub(super) fn begun(&mut self) {
        self.length.store(0, Ordering::Relaxed);
        (self.asked_at, self.tried_at) = (0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Log {
        Log { length: Arc::default(), asked_at: 0, tried_at: None, worth_copying: 1_600 }
    }

    fn at(log: &mut Log, length: u64, copied: u64) -> Step {
        log.length.store(length, Ordering::Relaxed);
        log.step(copied)
    }

    #[test]
    fn it_is_copied_as_it_grows_and_begun_anew_once_little_is_left() {
        let mut log = log();
        assert_eq!(at(&mut log, 1_600, 0), Step::Nothing);
        assert_eq!(at(&mut log, 1_601, 0), Step::Copy);
        assert_eq!(at(&mut log, 1_700, 1_601), Step::Nothing);
        assert_eq!(at(&mut log, 3_300, 1_601), Step::Copy);
        assert_eq!(at(&mut log, 6_400, 4_900), Step::Nothing);
        // Full: what is left is copied first.
        assert_eq!(at(&mut log, 6_500, 4_900), Step::Copy);
        assert_eq!(at(&mut log, 6_590, 6_500), Step::BeginAnew);
        log.begun();
        assert_eq!(log.step(0), Step::Nothing);
        assert_eq!(at(&mut log, 1_601, 0), Step::Copy);
    }

    #[test]
    fn where_more_comes_than_is_copied_the_writer_stops_for_it() {
        let mut log = log();
        assert_eq!(at(&mut log, 6_500, 3_000), Step::Copy);
        assert_eq!(at(&mut log, 8_000, 6_500), Step::Copy);
        assert_eq!(at(&mut log, 12_801, 8_000), Step::BeginAnew);
    }

    #[test]
    fn where_a_reader_holds_it_up_both_are_tried_seldom() {
        let mut log = log();
        assert_eq!(at(&mut log, 13_000, 100), Step::BeginAnew);
        let steps: Vec<Step> = (13_001..=16_300).map(|length| at(&mut log, length, 100)).collect();
        let count = |wanted| steps.iter().filter(|step| **step == wanted).count();
        assert_eq!((count(Step::BeginAnew), count(Step::Copy)), (2, 3));
    }
}
