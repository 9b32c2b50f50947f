//! Goes on without what is damaged: everything that still bears its checksum is copied into a new file. The old one is kept.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

use super::columns::{ATTEMPT, ATTEMPT_COLUMNS, REQUEST, REQUEST_COLUMNS};
use super::error::Error;
use super::row::{Canonical, checked};
use super::schema::{self, ATTEMPTS, HOLDS, REQUESTS, SPENT, beside};
use super::totals::Totals;
use super::verify::misread;
use super::witness::Witness;
use super::{Durability, Verified, verify};

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// Where the damaged files are now.
    pub kept_as: PathBuf,
    /// What the new ledger has.
    pub kept: Verified,
    /// How many requests the old one should have had, if it could still say so.
    pub expected: Option<i64>,
    /// Balances that were raised to what their records add up to.
    pub raised: u64,
}

/// Repairs the ledger at `path`; no gateway may be writing to it. `mark` ends the names under which the old files are kept.
pub fn repair(path: &Path, mark: &str) -> Result<Repaired, Error> {
    let witness = Witness::take(path)?;
    if !path.is_file() {
        return Err(Error::Absent(path.to_owned()));
    }
    let io = |error: std::io::Error| Error::io(path, &error);
    let old = beside(path, &format!(".damaged-{mark}"));
    let salvaged = beside(path, ".salvaged");
    // A copy is worked on, since merely opening a file may change its log.
    copy(path, &old).map_err(io)?;
    copy(path, &salvaged).map_err(io)?;
    let new = beside(path, ".repaired");
    remove(&new).map_err(io)?;
    schema::create(&new)?;
    let from = Connection::open(&salvaged).map_err(|error| Error::of(&error, path))?;
    let to = Connection::open(&new).map_err(|error| Error::of(&error, path))?;
    let expected = Totals::read(&from).ok().flatten();
    let moved = Moving { from: &from, to: &to, path, canonical: Canonical::default() }.all(expected.as_ref());
    let raised = moved.map_err(|error| misread(&error, path))?;
    drop((from, to));
    remove(&salvaged).map_err(io)?;
    let connection = schema::reading(&new)?;
    let kept = verify::whole(&connection, &new)?;
    let commits = Totals::read(&connection).ok().flatten().map_or(0, |totals| totals.commits);
    drop(connection);
    // The log goes first: without its file it means nothing, with another's it would be read as that one's.
    for end in ["-wal", "-shm"] {
        let _ = fs::remove_file(beside(path, end));
    }
    fs::rename(&new, path).map_err(io)?;
    witness.note(commits, Durability::Power);
    Ok(Repaired { kept_as: old, kept, expected: expected.map(|totals| totals.requests.rows), raised })
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::copy(from, to)?;
    match fs::copy(beside(from, "-wal"), beside(to, "-wal")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    for end in ["", "-wal", "-shm", "-journal"] {
        match fs::remove_file(beside(path, end)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// From the old file into the new one.
struct Moving<'a> {
    from: &'a Connection,
    to: &'a Connection,
    path: &'a Path,
    canonical: Canonical,
}

impl Moving<'_> {
    fn all(&mut self, expected: Option<&Totals>) -> rusqlite::Result<u64> {
        self.to.execute_batch("BEGIN IMMEDIATE")?;
        let mut totals = Totals::read(self.to)?.unwrap_or_default();
        if let Some(expected) = expected {
            totals.replica.clone_from(&expected.replica);
            (totals.commits, totals.swept_ns) = (expected.commits, expected.swept_ns);
        }
        // One more, so that nobody takes the file for the one it was made from.
        totals.commits += 1;
        let mut charged: HashMap<i64, i64> = HashMap::new();
        let mut attempts: HashMap<i64, usize> = HashMap::new();
        let sql = format!(
            "SELECT {}, r.hold FROM attempts a JOIN requests r ON r.seq = a.seq",
            ATTEMPT.split(", ").map(|column| format!("a.{column}")).collect::<Vec<_>>().join(", ")
        );
        self.table(
            &sql,
            "a.seq",
            ("attempts", ATTEMPTS, 1, ATTEMPT_COLUMNS),
            Some(ATTEMPT_COLUMNS),
            |row, digest| {
                *attempts.entry(row.get(0)?).or_default() += 1;
                totals.attempts.add(digest);
                Ok(true)
            },
        )?;
        let sql = format!("SELECT {REQUEST} FROM requests");
        self.table(&sql, "seq", ("requests", REQUESTS, 1, REQUEST_COLUMNS), None, |row, digest| {
            let seq: i64 = row.get(0)?;
            let all = usize::try_from(row.get::<_, i64>(19)?).unwrap_or(0);
            // A request of which an attempt is lost would not add up; its amount is in its balances all the same.
            if attempts.get(&seq).copied().unwrap_or(0) != all {
                return Ok(false);
            }
            let lines: Vec<i64> = serde_json::from_str(row.get_ref(20)?.as_str()?).unwrap_or_default();
            for line in lines {
                let sum = charged.entry(line).or_default();
                *sum = sum.saturating_add(row.get(17)?);
            }
            totals.requests.add(digest);
            Ok(true)
        })?;
        self.drop_orphans(&mut totals)?;
        let sql = "SELECT seq, id, amount_nanos, lines, context, checksum FROM holds";
        self.table(sql, "seq", ("holds", HOLDS, 1, 6), None, |_, digest| {
            totals.holds.add(digest);
            Ok(true)
        })?;
        let mut below = Vec::new();
        let sql =
            "SELECT id, budget, kind, name, window_start, window_end, amount_nanos, checksum FROM spent";
        self.table(sql, "id", ("spent", SPENT, 0, 8), None, |row, digest| {
            totals.spent.add(digest);
            let (id, nanos): (i64, i64) = (row.get(0)?, row.get(6)?);
            let sum = charged.get(&id).copied().unwrap_or(0);
            if sum > nanos {
                below.push((id, sum));
            }
            Ok(true)
        })?;
        for (id, sum) in &below {
            super::books::raise(self.to, &mut totals, *id, *sum)?;
        }
        // Where records are lost their balances keep what they cost: as if they had been swept away.
        let lost = expected.is_none_or(|expected| {
            expected.requests != totals.requests || expected.attempts != totals.attempts
        });
        if lost {
            totals.swept_ns = self.to.query_row(
                "SELECT max(?1, coalesce(max(began_ns), 0) + 1, coalesce((SELECT max(window_end) FROM spent), 0) * 1000000000)
                 FROM requests",
                [totals.swept_ns],
                |row| row.get(0),
            )?;
        }
        totals.write(self.to)?;
        self.to.execute_batch("COMMIT; PRAGMA journal_mode = DELETE;")?;
        Ok(below.len() as u64)
    }

    /// Copies what bears its checksum and `take` wants: from the front up to the first page that cannot be read, then from the
    /// back down to it.
    fn table(
        &mut self,
        select: &str,
        key: &str,
        (name, letter, first, columns): (&str, u8, usize, usize),
        parent: Option<usize>,
        mut take: impl FnMut(&rusqlite::Row<'_>, u128) -> rusqlite::Result<bool>,
    ) -> rusqlite::Result<()> {
        let places = vec!["?"; columns].join(", ");
        let mut insert = self.to.prepare(&format!("INSERT OR IGNORE INTO {name} VALUES ({places})"))?;
        for order in ["ASC", "DESC"] {
            let Ok(mut statement) = self.from.prepare(&format!("{select} ORDER BY {key} {order}")) else {
                tracing::warn!(path = %self.path.display(), name, "a table cannot be read at all");
                return Ok(());
            };
            let mut rows = statement.query([])?;
            let broken = loop {
                let row = match rows.next() {
                    Ok(Some(row)) => row,
                    Ok(None) => break false,
                    Err(_) => break true,
                };
                let hold = parent.and_then(|column| row.get::<_, Vec<u8>>(column).ok()).unwrap_or_default();
                let Ok(Some(digest)) = checked(row, letter, &hold, first, columns, &mut self.canonical)
                else {
                    continue;
                };
                let values: Vec<rusqlite::types::Value> =
                    (0..columns).map(|at| row.get(at)).collect::<rusqlite::Result<_>>()?;
                let known =
                    insert.execute(rusqlite::params_from_iter(values.iter())).is_ok_and(|new| new == 0);
                if !known && !take(row, digest)? {
                    let key = key.trim_start_matches("a.");
                    self.to.execute(&format!("DELETE FROM {name} WHERE {key} = ?"), [&values[0]])?;
                }
            };
            if !broken {
                break;
            }
        }
        Ok(())
    }

    /// Attempts whose request is not there any more.
    fn drop_orphans(&self, totals: &mut Totals) -> rusqlite::Result<()> {
        let mut orphans = self
            .to
            .prepare("DELETE FROM attempts WHERE seq NOT IN (SELECT seq FROM requests) RETURNING checksum")?;
        for digest in orphans.query_map(params![], |row| row.get(0))? {
            totals.attempts.take(u128::from_le_bytes(digest?));
        }
        Ok(())
    }
}
