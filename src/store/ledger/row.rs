//! A row and its checksum: the first 16 bytes of BLAKE3 over the row's values in order, each with its type and length. A
//! table's sum is that of all its rows' checksums, so that a row which is gone, or came back, is seen as well.

use rusqlite::Statement;
use rusqlite::types::ValueRef;

/// A row's checksum.
pub(super) type Digest = u128;

/// How many rows a table has, and the sum of their checksums, wrapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Total {
    pub(super) rows: i64,
    pub(super) sum: Digest,
}

impl Total {
    pub(super) fn add(&mut self, digest: Digest) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(digest);
    }

    pub(super) fn take(&mut self, digest: Digest) {
        self.rows -= 1;
        self.sum = self.sum.wrapping_sub(digest);
    }
}

/// The bytes that a checksum is of.
#[derive(Debug, Default)]
pub(super) struct Canonical(Vec<u8>);

impl Canonical {
    /// Begins a row of a table; `parent` names the row that it belongs to.
    pub(super) fn begin(&mut self, table: u8, parent: &[u8]) {
        self.0.clear();
        self.0.push(table);
        self.0.extend_from_slice(parent);
    }

    fn integer(&mut self, value: i64) {
        self.0.push(1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, kind: u8, value: &[u8]) {
        self.0.push(kind);
        self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.0.extend_from_slice(value);
    }

    /// Takes a value that was read. Numbers with a fraction are in no table of ours.
    pub(super) fn value(&mut self, value: ValueRef<'_>) {
        match value {
            ValueRef::Null => self.0.push(0),
            ValueRef::Integer(value) => self.integer(value),
            ValueRef::Text(value) => self.bytes(2, value),
            ValueRef::Blob(value) => self.bytes(3, value),
            ValueRef::Real(value) => self.bytes(4, &value.to_le_bytes()),
        }
    }

    pub(super) fn digest(&self) -> Digest {
        let mut first = [0; 16];
        first.copy_from_slice(&blake3::hash(&self.0).as_bytes()[..16]);
        Digest::from_le_bytes(first)
    }
}

/// Writes one row: binds each value and counts it into the checksum.
pub(super) struct Writing<'a, 'c> {
    statement: &'a mut Statement<'c>,
    canonical: &'a mut Canonical,
    at: usize,
}

impl<'a, 'c> Writing<'a, 'c> {
    /// `at` is the first parameter that the checksum covers; those before it are bound by the caller.
    pub(super) fn new(statement: &'a mut Statement<'c>, canonical: &'a mut Canonical, at: usize) -> Self {
        Self { statement, canonical, at }
    }

    fn next(&mut self) -> usize {
        self.at += 1;
        self.at - 1
    }

    pub(super) fn integer(&mut self, value: i64) -> rusqlite::Result<()> {
        self.canonical.integer(value);
        let at = self.next();
        self.statement.raw_bind_parameter(at, value)
    }

    pub(super) fn count(&mut self, value: u64) -> rusqlite::Result<()> {
        self.integer(i64::try_from(value).unwrap_or(i64::MAX))
    }

    pub(super) fn text(&mut self, value: &str) -> rusqlite::Result<()> {
        self.canonical.bytes(2, value.as_bytes());
        let at = self.next();
        self.statement.raw_bind_parameter(at, value)
    }

    pub(super) fn blob(&mut self, value: &[u8]) -> rusqlite::Result<()> {
        self.canonical.bytes(3, value);
        let at = self.next();
        self.statement.raw_bind_parameter(at, value)
    }

    pub(super) fn null(&mut self) -> rusqlite::Result<()> {
        self.canonical.value(ValueRef::Null);
        let at = self.next();
        self.statement.raw_bind_parameter(at, rusqlite::types::Null)
    }

    /// Binds the checksum and executes. Also says how many rows changed.
    pub(super) fn write(mut self) -> rusqlite::Result<(Digest, usize)> {
        let digest = self.canonical.digest();
        let at = self.next();
        self.statement.raw_bind_parameter(at, &digest.to_le_bytes()[..])?;
        Ok((digest, self.statement.raw_execute()?))
    }
}

/// The checksum of a row that was read: that of its values from `first` to the last but one, if the last one says the same.
pub(super) fn checked(
    row: &rusqlite::Row<'_>,
    table: u8,
    parent: &[u8],
    first: usize,
    columns: usize,
    canonical: &mut Canonical,
) -> rusqlite::Result<Option<Digest>> {
    canonical.begin(table, parent);
    for at in first..columns - 1 {
        canonical.value(row.get_ref(at)?);
    }
    let digest = canonical.digest();
    let stored = row.get_ref(columns - 1)?;
    Ok((stored == ValueRef::Blob(&digest.to_le_bytes())).then_some(digest))
}
