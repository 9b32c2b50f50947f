//! Whether the file is what was written: every row's checksum, every table's sum, and whether records and balances agree.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};

use crate::budget::{Scope, Window};
use crate::ledger::{HoldEntry, Line};
use crate::units::NanoUsd;

use super::columns::{ATTEMPT, ATTEMPT_COLUMNS, HoldRow, REQUEST, REQUEST_COLUMNS, scope_kind};
use super::error::Error;
use super::row::{Canonical, Digest, Total, checked};
use super::schema::{ATTEMPTS, HOLDS, REQUESTS, SPENT, beside};
use super::totals::Totals;
use super::witness::Witness;

/// Files up to this size are verified whole at every start, in well under a second.
const WHOLE_BYTES_MAX: u64 = 16 << 20;
/// Of longer ones, so many of the newest requests.
const NEWEST: i64 = 10_000;

const BALANCE: &str = "id, budget, kind, name, window_start, window_end, amount_nanos, checksum";

/// What was found to be in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verified {
    /// Requests.
    pub requests: u64,
    /// Their attempts.
    pub attempts: u64,
    /// Requests under way, or left by a gateway that died.
    pub holds: u64,
    /// Balances.
    pub balances: u64,
    /// What all requests that are kept cost.
    pub amount: NanoUsd,
}

/// Verifies the ledger at `path`, which a gateway may be writing.
pub fn file(path: &Path) -> Result<Verified, Error> {
    if !path.is_file() {
        return Err(Error::Absent(path.to_owned()));
    }
    // What only a start would look at, where no gateway has it.
    let witness = Witness::take(path).ok();
    if witness.is_some() {
        super::wal::check(path)?;
    }
    let connection = super::schema::reading(path)?;
    if let Some(witness) = witness {
        witness.compare(path, totals(&connection, path)?.commits)?;
    }
    // All of it as it is at one moment.
    connection.execute_batch("BEGIN").map_err(|error| misread(&error, path))?;
    whole(&connection, path)
}

/// Anything but a full or failing disk that keeps a ledger from being read is damage.
pub(super) fn misread(error: &rusqlite::Error, path: &Path) -> Error {
    match (Error::of(error, path), error.sqlite_error_code()) {
        (error, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) => error,
        (Error::Query(what), _) => Error::damaged(path, what),
        (error, _) => error,
    }
}

/// What a start looks at: all that balances rest on, and of the records as much as can be read in a moment.
pub(super) fn at_start(connection: &Connection, path: &Path) -> Result<(), Error> {
    let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    if bytes(path) + bytes(&beside(path, "-wal")) <= WHOLE_BYTES_MAX {
        return whole(connection, path).map(|_| ());
    }
    let totals = totals(connection, path)?;
    for table in ["ledger", "holds", "spent"] {
        structure(connection, path, &format!("PRAGMA integrity_check({table})"))?;
    }
    holds(connection, path, &totals, |_, _, _| ())?;
    balances(connection, path, &totals, |_| ())?;
    let newest = connection
        .query_row("SELECT coalesce(max(seq), 0) FROM requests", [], |row| row.get::<_, i64>(0))
        .map_err(|error| misread(&error, path))?;
    requests(connection, path, newest - NEWEST, |_, _| ())?;
    attempts(connection, path, newest - NEWEST)?;
    Ok(())
}

/// All of it.
pub(super) fn whole(connection: &Connection, path: &Path) -> Result<Verified, Error> {
    structure(connection, path, "PRAGMA integrity_check")?;
    let totals = totals(connection, path)?;
    holds(connection, path, &totals, |_, _, _| ())?;
    let mut charged: HashMap<i64, i64> = HashMap::new();
    let mut amount = 0_i64;
    let found = requests(connection, path, i64::MIN, |nanos, lines| {
        amount = amount.saturating_add(nanos);
        for line in lines {
            let sum = charged.entry(line).or_default();
            *sum = sum.saturating_add(nanos);
        }
    })?;
    same(path, "requests", found, totals.requests)?;
    same(path, "attempts", attempts(connection, path, i64::MIN)?, totals.attempts)?;
    let odd = connection.query_row(
        "SELECT count(*) FROM requests r WHERE r.amount_nanos != \
         (SELECT coalesce(sum(a.amount_nanos), 0) FROM attempts a WHERE a.seq = r.seq)",
        [],
        |row| row.get::<_, i64>(0),
    );
    match odd.map_err(|error| misread(&error, path))? {
        0 => {}
        odd => return Err(Error::damaged(path, format!("the attempts of {odd} requests do not add up"))),
    }
    // Records of a window may have been swept away if it began before the last sweep's day.
    let whole_since = totals.swept_ns.div_euclid(1_000_000_000).saturating_add(86_400);
    let mut wrong = None;
    balances(connection, path, &totals, |balance| {
        let sum = charged.get(&balance.id).copied().unwrap_or(0);
        let fits = sum == balance.nanos
            || (sum < balance.nanos && totals.swept_ns > 0 && balance.start < whole_since);
        if !fits {
            wrong.get_or_insert_with(|| {
                let (sum, spent) = (NanoUsd(sum), NanoUsd(balance.nanos));
                format!("its records of balance {} add up to {sum}, and the balance is {spent}", balance.name)
            });
        }
    })?;
    if let Some(wrong) = wrong {
        return Err(Error::damaged(path, wrong));
    }
    let count = |total: Total| u64::try_from(total.rows).unwrap_or(0);
    Ok(Verified {
        requests: count(totals.requests),
        attempts: count(totals.attempts),
        holds: count(totals.holds),
        balances: count(totals.spent),
        amount: NanoUsd(amount),
    })
}

fn totals(connection: &Connection, path: &Path) -> Result<Totals, Error> {
    Totals::read(connection)
        .map_err(|error| misread(&error, path))?
        .ok_or_else(|| Error::damaged(path, "its first row does not bear its checksum"))
}

fn same(path: &Path, table: &str, found: Total, written: Total) -> Result<(), Error> {
    if found == written {
        return Ok(());
    }
    let (found, written) = (found.rows, written.rows);
    Err(Error::damaged(
        path,
        format!("{written} rows were written to `{table}`, and {found} of them or others are there"),
    ))
}

fn structure(connection: &Connection, path: &Path, pragma: &str) -> Result<(), Error> {
    let failed = |error: rusqlite::Error| misread(&error, path);
    let said: String = connection.query_row(pragma, [], |row| row.get(0)).map_err(failed)?;
    if said == "ok" { Ok(()) } else { Err(Error::damaged(path, said)) }
}

/// Holds, each given to `found` with its checksum and its place.
pub(super) fn holds(
    connection: &Connection,
    path: &Path,
    totals: &Totals,
    mut found: impl FnMut(HoldEntry, Digest, i64),
) -> Result<(), Error> {
    let (mut total, mut unread) = (Total::default(), 0);
    each(
        connection,
        path,
        "SELECT seq, id, amount_nanos, lines, context, checksum FROM holds ORDER BY seq",
        (HOLDS, "holds", 1, 6),
        None,
        |row, digest| {
            total.add(digest);
            match HoldRow::read(row)? {
                Some(entry) => found(entry, digest, row.get(0)?),
                None => unread += 1,
            }
            Ok(())
        },
    )?;
    if unread > 0 {
        return Err(Error::damaged(path, format!("{unread} holds make no sense to this version")));
    }
    same(path, "holds", total, totals.holds)
}

/// A balance as it stands in the file.
pub(super) struct Balance {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) start: i64,
    pub(super) nanos: i64,
}

fn balances(
    connection: &Connection,
    path: &Path,
    totals: &Totals,
    mut found: impl FnMut(Balance),
) -> Result<(), Error> {
    let mut total = Total::default();
    each(
        connection,
        path,
        &format!("SELECT {BALANCE} FROM spent"),
        (SPENT, "spent", 0, 8),
        None,
        |row, digest| {
            total.add(digest);
            let text = |at: usize| row.get::<_, String>(at);
            let name = format!("{} of {}:{}", text(1)?, text(2)?, text(3)?);
            found(Balance { id: row.get(0)?, name, start: row.get(4)?, nanos: row.get(6)? });
            Ok(())
        },
    )?;
    same(path, "spent", total, totals.spent)
}

/// The balances whose window ends after `since`, in seconds since 1970.
pub(super) fn balances_since(
    connection: &Connection,
    path: &Path,
    since: i64,
) -> Result<Vec<(Line, NanoUsd)>, Error> {
    let mut found = Vec::new();
    let sql = format!("SELECT {BALANCE} FROM spent WHERE window_end > {since}");
    each(connection, path, &sql, (SPENT, "spent", 0, 8), None, |row, _| {
        found.extend(line(row)?.map(|line| (line, row.get(6).map(NanoUsd))));
        Ok(())
    })?;
    found.into_iter().map(|(line, nanos)| Ok((line, nanos.map_err(|error| misread(&error, path))?))).collect()
}

/// What one balance stands at.
pub(super) fn spent(connection: &Connection, path: &Path, line: &Line) -> Result<NanoUsd, Error> {
    let failed = |error: rusqlite::Error| misread(&error, path);
    let sql = format!(
        "SELECT {BALANCE} FROM spent WHERE budget = ? AND kind = ? AND name = ? AND window_start = ?"
    );
    let of = params![line.budget, line.scope.kind.word(), line.scope.name, line.window.start];
    let mut statement = connection.prepare_cached(&sql).map_err(failed)?;
    let mut rows = statement.query(of).map_err(failed)?;
    let Some(row) = rows.next().map_err(failed)? else { return Ok(NanoUsd::ZERO) };
    match checked(row, SPENT, &[], 0, 8, &mut Canonical::default()).map_err(failed)? {
        Some(_) => row.get(6).map(NanoUsd).map_err(failed),
        None => Err(Error::damaged(path, "a balance does not bear its checksum")),
    }
}

/// The balances that a record counts in; `None` where it is not there.
pub(super) fn lines_of(
    connection: &Connection,
    hold: crate::budget::HoldId,
    began_ns: i64,
) -> rusqlite::Result<Option<Vec<Line>>> {
    let mut found =
        connection.prepare_cached("SELECT lines FROM requests WHERE began_ns = ?1 AND hold = ?2")?;
    let ids: Option<String> =
        found.query_row(params![began_ns, &hold.0.to_be_bytes()[..]], |row| row.get(0)).optional()?;
    let Some(ids) = ids else { return Ok(None) };
    let ids: Vec<i64> = serde_json::from_str(&ids).unwrap_or_default();
    let mut balance = connection.prepare_cached(&format!("SELECT {BALANCE} FROM spent WHERE id = ?1"))?;
    let mut lines = Vec::new();
    for id in ids {
        lines.extend(balance.query_row([id], line).optional()?.flatten());
    }
    Ok(Some(lines))
}

/// A balance's line; `None` for a scope that this version does not know.
fn line(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Line>> {
    let kind: Arc<str> = row.get(2)?;
    let Some(kind) = scope_kind(&kind) else { return Ok(None) };
    let window = Window { start: row.get(4)?, end: row.get(5)? };
    Ok(Some(Line { budget: row.get(1)?, scope: Scope { kind, name: row.get(3)? }, window }))
}

/// Requests after `after`; amount and lines of each are given to `found`.
fn requests(
    connection: &Connection,
    path: &Path,
    after: i64,
    mut found: impl FnMut(i64, Vec<i64>),
) -> Result<Total, Error> {
    let mut total = Total::default();
    each(
        connection,
        path,
        &format!("SELECT {REQUEST} FROM requests WHERE seq > {after} ORDER BY seq"),
        (REQUESTS, "requests", 1, REQUEST_COLUMNS),
        None,
        |row, digest| {
            total.add(digest);
            let lines = row.get_ref(20)?.as_str()?;
            found(row.get(17)?, serde_json::from_str(lines).unwrap_or_default());
            Ok(())
        },
    )?;
    Ok(total)
}

fn attempts(connection: &Connection, path: &Path, after: i64) -> Result<Total, Error> {
    let mut total = Total::default();
    let columns: Vec<String> = ATTEMPT.split(", ").map(|column| format!("a.{column}")).collect();
    let sql = format!(
        "SELECT {}, r.hold FROM attempts a LEFT JOIN requests r ON r.seq = a.seq WHERE a.seq > {after} ORDER BY a.seq, a.n",
        columns.join(", ")
    );
    each(
        connection,
        path,
        &sql,
        (ATTEMPTS, "attempts", 1, ATTEMPT_COLUMNS),
        Some(ATTEMPT_COLUMNS),
        |_, digest| {
            total.add(digest);
            Ok(())
        },
    )?;
    Ok(total)
}

/// Reads rows of a table (its letter, its name, the first column that the checksum covers, how many columns there are) and
/// gives each to `found` with its checksum. `parent` is the column that names the row above.
fn each(
    connection: &Connection,
    path: &Path,
    sql: &str,
    (table, name, first, columns): (u8, &str, usize, usize),
    parent: Option<usize>,
    mut found: impl FnMut(&rusqlite::Row<'_>, Digest) -> rusqlite::Result<()>,
) -> Result<(), Error> {
    let failed = |error: rusqlite::Error| misread(&error, path);
    let mut canonical = Canonical::default();
    let mut statement = connection.prepare(sql).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut at = 0_u64;
    while let Some(row) = rows.next().map_err(failed)? {
        at += 1;
        let above = match parent {
            Some(column) => match row.get_ref(column).map_err(failed)? {
                ValueRef::Blob(hold) => hold,
                _ => &[],
            },
            None => &[],
        };
        match checked(row, table, above, first, columns, &mut canonical).map_err(failed)? {
            Some(digest) => found(row, digest).map_err(failed)?,
            None => {
                return Err(Error::damaged(path, format!("row {at} of `{name}` does not bear its checksum")));
            }
        }
    }
    Ok(())
}
