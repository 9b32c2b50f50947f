//! Old records are deleted in small batches between other work, but none that is still to be sent elsewhere. Balances stay what they are, until their window is as old.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::books::{Books, Statements};
use super::columns::nanos;
use super::outbox;
use super::row::Digest;

/// Requests deleted at once: few enough that nobody waits long for the next transaction.
const BATCH: i64 = 500;

/// Deletes one batch of what began before `now` less `retention`. How many rows went.
pub(super) fn sweep(
    connection: &Connection,
    books: &mut Books,
    now: Timestamp,
    retention: Duration,
) -> rusqlite::Result<usize> {
    let Ok(before) = now.checked_sub(retention) else { return Ok(0) };
    let sent = outbox::place(connection)?.unwrap_or(i64::MAX);
    let due = "SELECT 1 FROM requests WHERE began_ns < ?1 AND seq <= ?3 UNION ALL \
               SELECT 1 FROM spent WHERE window_end < ?2 LIMIT 1";
    if !connection.prepare_cached(due)?.exists(params![nanos(before), before.as_second(), sent])? {
        return Ok(0);
    }
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let mut deleted = 0;
    let old = "SELECT seq FROM requests WHERE began_ns < ?1 AND seq <= ?3 ORDER BY began_ns LIMIT ?2";
    let old: Vec<i64> = connection
        .prepare_cached(old)?
        .query_map(params![nanos(before), BATCH, sent], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut request =
        connection.prepare_cached("DELETE FROM requests WHERE seq = ? RETURNING began_ns, checksum")?;
    let mut attempts = connection.prepare_cached("DELETE FROM attempts WHERE seq = ? RETURNING checksum")?;
    for seq in old {
        let (began, digest) = request
            .query_row([seq], |row| Ok((row.get::<_, i64>(0)?, Digest::from_le_bytes(row.get(1)?))))?;
        books.totals.requests.take(digest);
        books.totals.swept_ns = books.totals.swept_ns.max(began.saturating_add(1));
        for digest in attempts.query_map([seq], |row| row.get(0).map(Digest::from_le_bytes))? {
            books.totals.attempts.take(digest?);
        }
        deleted += 1;
    }
    let ended = "DELETE FROM spent WHERE id IN (SELECT id FROM spent WHERE window_end < ?1 LIMIT ?2) RETURNING checksum";
    let mut ended = connection.prepare_cached(ended)?;
    for digest in ended.query_map(params![before.as_second(), BATCH], |row| row.get(0))? {
        books.totals.spent.take(Digest::from_le_bytes(digest?));
        deleted += 1;
    }
    // One that is in memory may be among them.
    books.forget_balances();
    books.finish(&mut Statements::new(connection), connection)?;
    connection.execute_batch("COMMIT")?;
    Ok(deleted)
}
