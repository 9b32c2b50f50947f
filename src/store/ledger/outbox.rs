//! How far the records were sent elsewhere: one row, beside them. Records that were not sent stay, whatever their age.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::error::Error;
use super::{Ledger, Reader};

/// How far records were sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sent {
    /// The database that has them, by the name that it bears itself; empty until one was reached.
    pub target: String,
    /// The place of the last record that it has for good.
    pub place: i64,
}

/// Makes the row where records are sent, and removes it where they are not.
pub(super) fn prepare(connection: &Connection, wanted: bool) -> rusqlite::Result<()> {
    match (wanted, exists(connection)?) {
        (true, false) => connection.execute_batch(
            "BEGIN IMMEDIATE; \
             CREATE TABLE outbox (one INTEGER PRIMARY KEY CHECK (one = 1), target TEXT NOT NULL, place INTEGER NOT NULL); \
             INSERT INTO outbox VALUES (1, '', 0); COMMIT;",
        ),
        (false, true) => connection.execute_batch("DROP TABLE outbox"),
        _ => Ok(()),
    }
}

/// Records up to this place may be deleted; `None`: all may.
pub(super) fn place(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    if !exists(connection)? {
        return Ok(None);
    }
    connection
        .prepare_cached("SELECT place FROM outbox WHERE one = 1")?
        .query_row([], |row| row.get(0))
        .optional()
}

fn exists(connection: &Connection) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'outbox'")?
        .exists([])
}

impl Ledger {
    /// How far records were sent.
    pub async fn sent(&self) -> Result<Sent, Error> {
        self.run(|connection| {
            connection.query_row("SELECT target, place FROM outbox WHERE one = 1", [], |row| {
                Ok(Sent { target: row.get(0)?, place: row.get(1)? })
            })
        })
        .await
    }

    /// Notes that records were sent so far: from here on they may be deleted once they are old enough.
    pub async fn note_sent(&self, sent: Sent) -> Result<(), Error> {
        self.run(move |connection| {
            let Sent { target, place } = sent;
            connection
                .execute("UPDATE outbox SET target = ?1, place = ?2 WHERE one = 1", params![target, place])
        })
        .await
        .map(|_| ())
    }

    /// Looks at it from outside.
    pub fn reader(&self) -> Result<Reader, Error> {
        Reader::open(self.path())
    }
}
