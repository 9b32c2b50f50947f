//! The ledger's first row: how many rows each table must have, and the sum of their checksums. It changes with every commit.

use rusqlite::Connection;

use super::row::{Canonical, Digest, Total, Writing, checked};
use super::schema::LEDGER;

/// What the first row says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Totals {
    /// This replica's name, made with the file.
    pub(super) replica: String,
    /// Transactions so far.
    pub(super) commits: i64,
    /// Requests that began before may have been deleted, in nanoseconds since 1970.
    pub(super) swept_ns: i64,
    pub(super) requests: Total,
    pub(super) attempts: Total,
    pub(super) holds: Total,
    pub(super) spent: Total,
}

const READ: &str = "SELECT one, replica, commits, swept_ns, requests, requests_sum, attempts, attempts_sum, holds, holds_sum, \
                    spent, spent_sum, checksum FROM ledger WHERE one = 1";
const WRITE: &str = "UPDATE ledger SET replica = ?1, commits = ?2, swept_ns = ?3, requests = ?4, requests_sum = ?5, \
                     attempts = ?6, attempts_sum = ?7, holds = ?8, holds_sum = ?9, spent = ?10, spent_sum = ?11, \
                     checksum = ?12 WHERE one = 1";

/// Makes it, in a new file.
pub(super) fn begin(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "INSERT INTO ledger VALUES (1, lower(hex(randomblob(8))), 0, 0, 0, x'', 0, x'', 0, x'', 0, x'', x'')",
    )?;
    let replica = connection.query_row("SELECT replica FROM ledger", [], |row| row.get(0))?;
    Totals { replica, ..Totals::default() }.write(connection)
}

impl Totals {
    /// Reads it; `None` if its checksum is another.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Option<Self>> {
        connection.prepare_cached(READ)?.query_row([], |row| {
            if checked(row, LEDGER, &[], 1, 13, &mut Canonical::default())?.is_none() {
                return Ok(None);
            }
            let total = |at: usize| -> rusqlite::Result<Total> {
                Ok(Total { rows: row.get(at)?, sum: Digest::from_le_bytes(row.get(at + 1)?) })
            };
            Ok(Some(Self {
                replica: row.get(1)?,
                commits: row.get(2)?,
                swept_ns: row.get(3)?,
                requests: total(4)?,
                attempts: total(6)?,
                holds: total(8)?,
                spent: total(10)?,
            }))
        })
    }

    /// Writes it, within the transaction that it counts.
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(WRITE)?;
        let mut canonical = Canonical::default();
        canonical.begin(LEDGER, &[]);
        let mut row = Writing::new(&mut statement, &mut canonical, 1);
        row.text(&self.replica)?;
        row.integer(self.commits)?;
        row.integer(self.swept_ns)?;
        for total in [self.requests, self.attempts, self.holds, self.spent] {
            row.integer(total.rows)?;
            row.blob(&total.sum.to_le_bytes())?;
        }
        row.write().map(|_| ())
    }
}
