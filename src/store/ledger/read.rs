//! For those who only look: records in the order in which requests came, each with its checksum verified, while a gateway may
//! be writing.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::budget::HoldId;
use crate::ledger::RequestRecord;

use super::columns::{ATTEMPT, ATTEMPT_COLUMNS, REQUEST, REQUEST_COLUMNS, nanos, read_attempt, read_request};
use super::error::Error;
use super::row::{Canonical, checked};
use super::schema::{self, ATTEMPTS, REQUESTS};
use super::verify::misread;

/// Requests that are read in one transaction. The writer cannot empty its log meanwhile, so it is a short one.
const AT_ONCE: i64 = 2_000;

/// A ledger that is read.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
}

/// Requests that came in `[from, to)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    /// The first moment; `None`: since the beginning.
    pub from: Option<Timestamp>,
    /// The first that is no longer in it; `None`: until now.
    pub to: Option<Timestamp>,
}

impl Span {
    /// The same as nanoseconds since 1970, for `began_ns >= from AND began_ns < to`.
    pub fn nanos(self) -> (i64, i64) {
        (self.from.map_or(i64::MIN, nanos), self.to.map_or(i64::MAX, nanos))
    }
}

impl Reader {
    /// Opens the ledger at `path` to be read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { connection: schema::reading(path)?, path: path.to_owned() })
    }

    /// For sums over many records; what is read so is not verified.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What a failed reading means.
    pub fn misread(&self, error: &rusqlite::Error) -> Error {
        misread(error, &self.path)
    }

    /// Each record in turn, until `see` says no more (`false`).
    pub fn each(&self, span: Span, mut see: impl FnMut(RequestRecord) -> bool) -> Result<(), Error> {
        let (mut from, to) = span.nanos();
        let mut after: Vec<u8> = Vec::new();
        let next =
            format!("(began_ns, hold) > (?1, ?2) AND began_ns < ?3 ORDER BY began_ns, hold LIMIT {AT_ONCE}");
        loop {
            let records = self.some(&next, params![from, after, to]).map_err(|error| self.misread(&error))?;
            let Some(last) = records.last() else { return Ok(()) };
            let Ok((_, last)) = last else {
                return records.into_iter().find_map(Result::err).map_or(Ok(()), Err);
            };
            (from, after) = (nanos(last.began), last.hold.0.to_be_bytes().to_vec());
            for record in records {
                if !see(record?.1) {
                    return Ok(());
                }
            }
        }
    }

    /// The records behind the place `after`, in the order in which they were written, each with its own place; `at_most` so many.
    pub fn written_after(&self, after: i64, at_most: u32) -> Result<Vec<(i64, RequestRecord)>, Error> {
        let next = format!("seq > ?1 ORDER BY seq LIMIT {at_most}");
        let records = self.some(&next, params![after]).map_err(|error| self.misread(&error))?;
        records.into_iter().collect()
    }

    /// Of the records at the places from `after` (without it) up to `to` those with an attempt that was charged by our own count, and
    /// that its provider has a name for.
    pub fn unsure_between(&self, after: i64, to: i64) -> Result<Vec<RequestRecord>, Error> {
        let which = "seq IN (SELECT seq FROM attempts WHERE seq > ?1 AND seq <= ?2 AND source = 'estimated' AND generation != '') \
                     ORDER BY seq";
        let records = self.some(which, params![after, to]).map_err(|error| self.misread(&error))?;
        records.into_iter().map(|record| record.map(|(_, record)| record)).collect()
    }

    /// Whether the record of this hold, of a request that came at `began`, is there.
    pub fn has(&self, hold: HoldId, began: Timestamp) -> Result<bool, Error> {
        let of = params![nanos(began), &hold.0.to_be_bytes()[..]];
        let found = self
            .connection
            .prepare_cached("SELECT 1 FROM requests WHERE began_ns = ?1 AND hold = ?2")
            .and_then(|mut found| found.exists(of));
        found.map_err(|error| self.misread(&error))
    }

    /// The place before the first request that came at `since` or later.
    pub fn place_before(&self, since: Timestamp) -> Result<i64, Error> {
        let sql = "SELECT min(seq) - 1 FROM requests WHERE began_ns >= ?1";
        let place: Option<i64> = self
            .connection
            .query_row(sql, [nanos(since)], |row| row.get(0))
            .map_err(|error| self.misread(&error))?;
        Ok(place.map_or(self.newest()?, |place| place))
    }

    /// The place of the record that was written last; 0 where there is none.
    pub fn newest(&self) -> Result<i64, Error> {
        let newest =
            self.connection.query_row("SELECT coalesce(max(seq), 0) FROM requests", [], |row| row.get(0));
        newest.map_err(|error| self.misread(&error))
    }

    /// The next few, with their places; the last one is the fault if there is one.
    fn some(
        &self,
        which: &str,
        of: impl rusqlite::Params,
    ) -> rusqlite::Result<Vec<Result<(i64, RequestRecord), Error>>> {
        let transaction = self.connection.unchecked_transaction()?;
        let mut requests =
            self.connection.prepare_cached(&format!("SELECT {REQUEST} FROM requests WHERE {which}"))?;
        let mut attempts = self
            .connection
            .prepare_cached(&format!("SELECT {ATTEMPT} FROM attempts WHERE seq = ? ORDER BY n"))?;
        let mut canonical = Canonical::default();
        let mut found = Vec::new();
        let mut rows = requests.query(of)?;
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            let damaged = |what: &str| Error::damaged(&self.path, format!("{what} of request {seq}"));
            if checked(row, REQUESTS, &[], 1, REQUEST_COLUMNS, &mut canonical)?.is_none() {
                found.push(Err(damaged("the checksum")));
                break;
            }
            let (mut record, count) = read_request(row)?;
            let parent = record.hold.0.to_be_bytes();
            let mut tries = attempts.query([seq])?;
            let mut sound = true;
            while let Some(row) = tries.next()? {
                sound &= checked(row, ATTEMPTS, &parent, 1, ATTEMPT_COLUMNS, &mut canonical)?.is_some();
                record.attempts.push(read_attempt(row)?);
            }
            if !sound || record.attempts.len() != count {
                found.push(Err(damaged("an attempt")));
                break;
            }
            found.push(Ok((seq, record)));
        }
        drop(rows);
        transaction.commit()?;
        Ok(found)
    }
}
