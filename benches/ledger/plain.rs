//! What the ledger is held against: the same rows, by prepared statements in large transactions, and nothing else.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::{Error, Names};

const TABLES: &str = "
PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -32768;
CREATE TABLE requests (seq INTEGER PRIMARY KEY, hold BLOB, began_ns INTEGER, id TEXT, key TEXT, user TEXT, team TEXT,
    organisation TEXT, policy TEXT, tags TEXT, model TEXT, endpoint TEXT, stream INTEGER, ttft_ms INTEGER, total_ms INTEGER,
    status INTEGER, outcome TEXT, amount_nanos INTEGER, saved_nanos INTEGER, attempts INTEGER, lines TEXT);
CREATE UNIQUE INDEX requests_began ON requests (began_ns, hold);
CREATE TABLE attempts (seq INTEGER, n INTEGER, provider TEXT, route TEXT, checkpoint TEXT, prompt INTEGER, cached INTEGER,
    cache_write INTEGER, completion INTEGER, reasoning INTEGER, source TEXT, reason TEXT, amount INTEGER, a INTEGER, b INTEGER,
    c INTEGER, d INTEGER, e INTEGER, unpriced INTEGER, price_source TEXT, price_as_of TEXT, generation TEXT, asked_ns INTEGER,
    outcome TEXT, PRIMARY KEY (seq, n)) WITHOUT ROWID;
";

/// Writes so many requests with an attempt each.
pub(super) fn write(path: &Path, requests: u64) -> Result<Duration, Error> {
    let connection = Connection::open(path)?;
    connection.execute_batch(TABLES)?;
    let places = |count: usize| vec!["?"; count].join(", ");
    let mut request = connection.prepare(&format!("INSERT INTO requests VALUES ({})", places(21)))?;
    let mut attempt = connection.prepare(&format!("INSERT INTO attempts VALUES ({})", places(24)))?;
    let names = Names::new();
    let began = Instant::now();
    for first in (0..requests).step_by(2_000) {
        connection.execute_batch("BEGIN")?;
        for number in first..requests.min(first + 2_000) {
            let record = names.record(number);
            let seq = i64::try_from(number)?;
            request.execute(params![
                seq,
                &record.hold.0.to_be_bytes()[..],
                i64::try_from(record.began.as_nanosecond())?,
                record.id.as_str(),
                record.key,
                record.user,
                record.team,
                record.organisation,
                record.policy,
                "{\"env\":\"prod\"}",
                record.model,
                record.endpoint,
                record.stream,
                record.ttft_ms.map(i64::try_from).transpose()?,
                i64::try_from(record.total_ms)?,
                record.status,
                record.outcome,
                record.amount.0,
                record.saved.0,
                1,
                "[1,2]"
            ])?;
            let made = &record.attempts[0];
            let count = |tokens: u64| i64::try_from(tokens);
            attempt.execute(params![
                seq,
                0,
                made.provider,
                made.route,
                made.checkpoint,
                count(made.usage.prompt)?,
                count(made.usage.cached)?,
                count(made.usage.cache_write)?,
                count(made.usage.completion)?,
                count(made.usage.reasoning)?,
                made.source,
                made.reason,
                made.amount.0,
                made.parts[0].0,
                made.parts[1].0,
                made.parts[2].0,
                made.parts[3].0,
                made.parts[4].0,
                made.unpriced,
                made.price_source,
                made.price_as_of,
                made.generation,
                i64::try_from(made.asked.as_nanosecond())?,
                made.outcome
            ])?;
        }
        connection.execute_batch("COMMIT")?;
    }
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(began.elapsed())
}
