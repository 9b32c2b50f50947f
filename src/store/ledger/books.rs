//! One transaction: holds, records and sums go into it together, or none of them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, params};

use crate::budget::{HoldId, Scope};
use crate::ledger::{HoldEntry, Line, RequestRecord};

use super::columns::{self, ATTEMPT, HoldRow, REQUEST};
use super::error::Error;
use super::row::{Canonical, Digest, Writing, checked};
use super::schema::{ATTEMPTS, HOLDS, REQUESTS, SPENT};
use super::totals::Totals;

/// Balances that are kept in memory at most; beyond, all are forgotten and read again.
const BALANCES_MAX: usize = 100_000;

/// What the writer knows by heart of what is in the file.
pub(super) struct Books {
    pub(super) totals: Totals,
    /// Holds in the file, with their checksums and places. In the order in which they came, unlike in that of their random
    /// ids, they fill few pages and leave whole ones behind.
    live: HashMap<HoldId, (Digest, i64)>,
    balances: HashMap<Name, Balance>,
    touched: Vec<Name>,
    next_seq: i64,
    next_hold: i64,
    next_line: i64,
    canonical: Canonical,
}

/// Names a balance: budget, scope, the window's start.
type Name = (Arc<str>, Scope, i64);

struct Balance {
    id: i64,
    end: i64,
    nanos: i64,
    /// As it is in the file; `None`: it is not there.
    digest: Option<Digest>,
    touched: bool,
}

/// The statements of one transaction: each is fetched when it is first needed, since most need few of them.
pub(super) struct Statements<'c> {
    request: Prepared<'c>,
    attempt: Prepared<'c>,
    hold: Prepared<'c>,
    unhold: Prepared<'c>,
    balance: Prepared<'c>,
    find: Prepared<'c>,
}

struct Prepared<'c> {
    connection: &'c Connection,
    sql: &'static str,
    statement: Option<CachedStatement<'c>>,
}

impl<'c> Prepared<'c> {
    fn get(&mut self) -> rusqlite::Result<&mut CachedStatement<'c>> {
        match &mut self.statement {
            Some(statement) => Ok(statement),
            none => Ok(none.insert(self.connection.prepare_cached(self.sql)?)),
        }
    }
}

/// The index on (began, hold) tells a record that is there already.
static INTO_REQUESTS: LazyLock<String> = LazyLock::new(|| {
    let places = places(REQUEST);
    format!("INSERT INTO requests ({REQUEST}) VALUES ({places}) ON CONFLICT (began_ns, hold) DO NOTHING")
});
static INTO_ATTEMPTS: LazyLock<String> =
    LazyLock::new(|| format!("INSERT INTO attempts ({ATTEMPT}) VALUES ({})", places(ATTEMPT)));
const INTO_HOLDS: &str = "INSERT INTO holds VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (seq) DO UPDATE SET amount_nanos = excluded.amount_nanos, \
     lines = excluded.lines, context = excluded.context, checksum = excluded.checksum";
const INTO_SPENT: &str = "INSERT INTO spent VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET \
     amount_nanos = excluded.amount_nanos, checksum = excluded.checksum";
const BALANCE: &str = "SELECT id, budget, kind, name, window_start, window_end, amount_nanos, checksum FROM spent \
     WHERE budget = ? AND kind = ? AND name = ? AND window_start = ?";

fn places(columns: &str) -> String {
    vec!["?"; columns.split(',').count()].join(", ")
}

impl<'c> Statements<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        let of = |sql| Prepared { connection, sql, statement: None };
        Self {
            request: of(&INTO_REQUESTS),
            attempt: of(&INTO_ATTEMPTS),
            hold: of(INTO_HOLDS),
            unhold: of("DELETE FROM holds WHERE seq = ?"),
            balance: of(INTO_SPENT),
            find: of(BALANCE),
        }
    }
}

impl Books {
    /// Reads what must be known; each hold is given to `found`.
    pub(super) fn load(
        connection: &Connection,
        path: &Path,
        mut found: impl FnMut(HoldEntry),
    ) -> Result<Self, Error> {
        let failed = |error: rusqlite::Error| super::verify::misread(&error, path);
        let totals = Totals::read(connection).map_err(failed)?;
        let totals =
            totals.ok_or_else(|| Error::damaged(path, "its first row does not bear its checksum"))?;
        let mut live = HashMap::new();
        super::verify::holds(connection, path, &totals, |entry, digest, place| {
            live.insert(entry.id, (digest, place));
            found(entry);
        })?;
        let next = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(failed);
        // A place is never given twice: who was sent the records up to one asks for what is behind it.
        let sent = super::outbox::place(connection).map_err(failed)?.unwrap_or(0);
        Ok(Self {
            totals,
            live,
            balances: HashMap::new(),
            touched: Vec::new(),
            next_seq: next("SELECT coalesce(max(seq), 0) + 1 FROM requests")?.max(sent.saturating_add(1)),
            next_hold: next("SELECT coalesce(max(seq), 0) + 1 FROM holds")?,
            next_line: next("SELECT coalesce(max(id), 0) + 1 FROM spent")?,
            canonical: Canonical::default(),
        })
    }

    /// How many requests are held.
    pub(super) fn live(&self) -> usize {
        self.live.len()
    }

    /// Whether this one is.
    pub(super) fn is_live(&self, hold: HoldId) -> bool {
        self.live.contains_key(&hold)
    }

    pub(super) fn hold(&mut self, to: &mut Statements<'_>, hold: &HoldRow) -> rusqlite::Result<()> {
        let old = self.live.get(&hold.id).copied();
        let place = old.map_or(self.next_hold, |(_, place)| place);
        self.canonical.begin(HOLDS, &[]);
        let into = to.hold.get()?;
        into.raw_bind_parameter(1, place)?;
        let mut row = Writing::new(into, &mut self.canonical, 2);
        hold.write(&mut row)?;
        let (digest, _) = row.write()?;
        self.live.insert(hold.id, (digest, place));
        match old {
            Some((old, _)) => self.totals.holds.take(old),
            None => self.next_hold += 1,
        }
        self.totals.holds.add(digest);
        Ok(())
    }

    pub(super) fn release(&mut self, to: &mut Statements<'_>, hold: HoldId) -> rusqlite::Result<()> {
        if let Some((digest, place)) = self.live.remove(&hold) {
            to.unhold.get()?.execute([place])?;
            self.totals.holds.take(digest);
        }
        Ok(())
    }

    /// Writes a record, unless it is there, adds it to its balances, and ends its hold. Whether it was written.
    pub(super) fn settle(
        &mut self,
        to: &mut Statements<'_>,
        record: &RequestRecord,
        lines: &[Line],
    ) -> rusqlite::Result<bool> {
        let mut ids = String::from("[");
        for line in lines {
            let id = self.balance(to, line)?.id;
            let comma = if ids.len() > 1 { "," } else { "" };
            let _ = std::fmt::Write::write_fmt(&mut ids, format_args!("{comma}{id}"));
        }
        ids.push(']');
        self.canonical.begin(REQUESTS, &[]);
        let into = to.request.get()?;
        into.raw_bind_parameter(1, self.next_seq)?;
        let mut row = Writing::new(into, &mut self.canonical, 2);
        columns::write_request(&mut row, record, &ids)?;
        let (digest, changed) = row.write()?;
        let is_new = changed > 0;
        if is_new {
            self.totals.requests.add(digest);
            for (at, attempt) in record.attempts.iter().enumerate() {
                self.canonical.begin(ATTEMPTS, &record.hold.0.to_be_bytes());
                let into = to.attempt.get()?;
                into.raw_bind_parameter(1, self.next_seq)?;
                let mut row = Writing::new(into, &mut self.canonical, 2);
                columns::write_attempt(&mut row, at, attempt)?;
                self.totals.attempts.add(row.write()?.0);
            }
            self.next_seq += 1;
            for line in lines {
                let balance = self.balance(to, line)?;
                // Held at the largest number rather than wrapped: a balance never goes back.
                balance.nanos = balance.nanos.saturating_add(record.amount.0);
                if !std::mem::replace(&mut balance.touched, true) {
                    self.touched.push(name(line));
                }
            }
        }
        self.release(to, record.hold)?;
        Ok(is_new)
    }

    fn balance(&mut self, to: &mut Statements<'_>, line: &Line) -> rusqlite::Result<&mut Balance> {
        let name = name(line);
        if !self.balances.contains_key(&name) {
            let canonical = &mut self.canonical;
            let found = to
                .find
                .get()?
                .query_row(
                    params![line.budget, line.scope.kind.word(), line.scope.name, line.window.start],
                    |row| {
                        let digest = checked(row, SPENT, &[], 0, 8, canonical)?;
                        Ok((digest, row.get(0)?, row.get(5)?, row.get(6)?))
                    },
                )
                .optional()?;
            let balance = match found {
                Some((Some(digest), id, end, nanos)) => {
                    Balance { id, end, nanos, digest: Some(digest), touched: false }
                }
                Some((None, ..)) => return Err(corrupt("a balance does not bear its checksum")),
                None => {
                    self.next_line += 1;
                    Balance {
                        id: self.next_line - 1,
                        end: line.window.end,
                        nanos: 0,
                        digest: None,
                        touched: false,
                    }
                }
            };
            self.balances.insert(name.clone(), balance);
        }
        self.balances.get_mut(&name).ok_or_else(|| corrupt("a balance is gone"))
    }

    /// Writes the balances that changed and the first row: the last things before a commit.
    pub(super) fn finish(
        &mut self,
        to: &mut Statements<'_>,
        connection: &Connection,
    ) -> rusqlite::Result<()> {
        for name in self.touched.drain(..) {
            let Some(balance) = self.balances.get_mut(&name) else { continue };
            let (budget, scope, start) = &name;
            self.canonical.begin(SPENT, &[]);
            let mut row = Writing::new(to.balance.get()?, &mut self.canonical, 1);
            row.integer(balance.id)?;
            row.text(budget)?;
            row.text(scope.kind.word())?;
            row.text(&scope.name)?;
            row.integer(*start)?;
            row.integer(balance.end)?;
            row.integer(balance.nanos)?;
            let (digest, _) = row.write()?;
            if let Some(old) = balance.digest.replace(digest) {
                self.totals.spent.take(old);
            }
            self.totals.spent.add(digest);
            balance.touched = false;
        }
        if self.balances.len() > BALANCES_MAX {
            self.balances.clear();
        }
        self.totals.commits += 1;
        self.totals.write(connection)
    }

    /// Forgets what is known of balances, some of which are about to be deleted.
    pub(super) fn forget_balances(&mut self) {
        self.balances.clear();
    }
}

/// Sets a balance that is in the file to `nanos`.
pub(super) fn raise(
    connection: &Connection,
    totals: &mut Totals,
    id: i64,
    nanos: i64,
) -> rusqlite::Result<()> {
    let mut canonical = Canonical::default();
    connection.execute("UPDATE spent SET amount_nanos = ?2 WHERE id = ?1", [id, nanos])?;
    let (old, new) = connection.query_row("SELECT * FROM spent WHERE id = ?", [id], |row| {
        canonical.begin(SPENT, &[]);
        for at in 0..7 {
            canonical.value(row.get_ref(at)?);
        }
        Ok((Digest::from_le_bytes(row.get(7)?), canonical.digest()))
    })?;
    connection
        .execute("UPDATE spent SET checksum = ?2 WHERE id = ?1", params![id, &new.to_le_bytes()[..]])?;
    totals.spent.take(old);
    totals.spent.add(new);
    Ok(())
}

fn name(line: &Line) -> Name {
    (Arc::clone(&line.budget), line.scope.clone(), line.window.start)
}

/// As if SQLite itself had found it.
fn corrupt(what: &str) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, Some(what.to_owned()))
}
