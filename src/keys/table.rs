//! All keys in force, those of the configuration and those of the store, found by the hash of the whole text.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use sha2::Digest as _;

use super::key::Key;
use super::record::{Record, Stored};
use super::secret::{Bytes32, Pepper};

/// The keys, immutable; a change makes another table.
#[derive(Debug, Default)]
pub struct Table {
    /// By the keyed hash, of the store's keys.
    stored: HashMap<Bytes32, Entry>,
    /// By SHA-256, of the configuration's.
    stated: HashMap<Bytes32, Entry>,
    by_name: HashMap<Arc<str>, Arc<Key>>,
    pepper: Option<Pepper>,
    has_stored: bool,
    is_unknown: bool,
    /// Records that this program cannot read, and why: their keys let nobody in.
    pub unreadable: Vec<(Arc<str>, String)>,
}

#[derive(Debug)]
struct Entry {
    hash: Bytes32,
    key: Arc<Key>,
    until: Option<Timestamp>,
    is_revoked: bool,
}

/// A key of the configuration, by the SHA-256 of its text.
pub type StatedKey = (Bytes32, Arc<Key>, Option<Timestamp>);

/// What the store says.
#[derive(Debug, Clone, Default)]
pub enum Known {
    /// There is no store: the configuration's keys are all.
    #[default]
    NoStore,
    /// There is one, which could not be read yet: whoever is unknown may have a key in it.
    NotYet,
    /// This.
    Read(Arc<Stored>),
}

/// What a presented text is.
#[derive(Debug, Clone, Copy)]
pub enum Found<'t> {
    /// A key in force.
    Key(&'t Arc<Key>),
    /// A key whose time is over.
    Expired,
    /// A key that was taken away.
    Revoked,
}

impl Table {
    /// The table of these keys. Where both have a name, the configuration's key is the one that is known by it.
    pub fn new(stated: &[StatedKey], known: &Known) -> Self {
        let mut table = Self { is_unknown: matches!(known, Known::NotYet), ..Self::default() };
        if let Known::Read(stored) = known {
            table.pepper = Some(stored.pepper);
            table.has_stored = !stored.records.is_empty();
            for record in &stored.records {
                match Key::of(record) {
                    Ok(key) => table.add(record, &Arc::new(key)),
                    Err(fault) => table.unreadable.push((Arc::clone(&record.name), fault.to_string())),
                }
            }
        }
        for (hash, key, until) in stated {
            table.by_name.insert(Arc::clone(&key.name), Arc::clone(key));
            let entry = Entry { hash: *hash, key: Arc::clone(key), until: *until, is_revoked: false };
            table.stated.insert(*hash, entry);
        }
        table
    }

    fn add(&mut self, record: &Record, key: &Arc<Key>) {
        let is_revoked = record.revoked.is_some();
        let entry = |hash, until| Entry { hash, key: Arc::clone(key), until, is_revoked };
        if let Some(former) = &record.rotated_from {
            let until = record.expires.map_or(former.until, |expires| expires.min(former.until));
            self.stored.insert(former.hash, entry(former.hash, Some(until)));
        }
        self.stored.insert(record.hash, entry(record.hash, record.expires));
        if !is_revoked {
            self.by_name.insert(Arc::clone(&record.name), Arc::clone(key));
        }
    }

    /// What this text is at `now`; `None`: no key, as far as is known. No store is asked.
    pub fn find(&self, text: &[u8], now: Timestamp) -> Option<Found<'_>> {
        let stored = self.pepper.filter(|_| !self.stored.is_empty());
        let stored = stored.and_then(|pepper| entry_in(&self.stored, &pepper.hash(text)));
        let stated = || {
            let hash = (!self.stated.is_empty()).then(|| Bytes32(sha2::Sha256::digest(text).into()))?;
            entry_in(&self.stated, &hash)
        };
        let entry = stored.or_else(stated)?;
        Some(if entry.is_revoked {
            Found::Revoked
        } else if entry.until.is_some_and(|until| until <= now) {
            Found::Expired
        } else {
            Found::Key(&entry.key)
        })
    }

    /// The key of this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Key>> {
        self.by_name.get(name)
    }

    /// How many keys there are that were not taken away.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Whether nobody can say who has a key: the store could not be read yet.
    pub fn is_unknown(&self) -> bool {
        self.is_unknown
    }

    /// Whether a gateway that is open while no key exists is open no longer. A key that was revoked has existed: taking the
    /// last one away must not open the door to all.
    pub fn closes(&self) -> bool {
        self.has_stored || self.is_unknown
    }
}

/// The hashes are compared once more, all of them: a map's own comparison may end at the first byte that differs.
fn entry_in<'t>(entries: &'t HashMap<Bytes32, Entry>, hash: &Bytes32) -> Option<&'t Entry> {
    entries.get(hash).filter(|entry| entry.hash.is(&hash.0))
}

#[cfg(test)]
#[path = "table/tests.rs"]
mod timing;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::keys::{Ask, KeyText};

    const PEPPER: Pepper = Pepper(Bytes32([5; 32]));

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn record(name: &str, text: &KeyText, expires: Option<u64>) -> Record {
        let ask = Ask { name: Some(name.to_owned()), expires_in_seconds: expires, ..Ask::default() };
        ask.record(&[0; 8], text, &PEPPER, at(0)).unwrap()
    }

    fn table(records: Vec<Record>) -> Table {
        Table::new(&[], &Known::Read(Arc::new(Stored { version: 1, pepper: PEPPER, records })))
    }

    fn word(table: &Table, text: &KeyText, now: i64) -> String {
        match table.find(text.expose().as_bytes(), at(now)) {
            Some(Found::Key(key)) => key.name.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn keys_count_until_they_expire_are_rotated_or_revoked() {
        let texts: Vec<KeyText> = (0..6).map(|n| KeyText::of(&[n; 32])).collect();
        let mut rotated = record("rotated", &texts[1], Some(1000));
        rotated.rotate(&texts[2], &PEPPER, Duration::from_secs(100), at(0));
        let mut revoked = record("revoked", &texts[5], None);
        revoked.rotate(&texts[3], &PEPPER, Duration::from_secs(100), at(0));
        revoked.revoke(at(0));
        let table = table(vec![record("plain", &texts[0], Some(60)), rotated, revoked]);
        assert_eq!(
            (word(&table, &texts[0], 59), word(&table, &texts[0], 60)),
            ("plain".into(), "Some(Expired)".into())
        );
        assert_eq!(
            (word(&table, &texts[1], 99), word(&table, &texts[1], 100)),
            ("rotated".into(), "Some(Expired)".into())
        );
        assert_eq!(
            (word(&table, &texts[2], 999), word(&table, &texts[2], 1000)),
            ("rotated".into(), "Some(Expired)".into())
        );
        assert_eq!(word(&table, &texts[3], 0), "Some(Revoked)");
        assert_eq!(word(&table, &texts[5], 0), "Some(Revoked)", "the text from before its rotation too");
        assert_eq!(word(&table, &texts[4], 0), "None");
        assert!(table.named("plain").is_some() && table.named("revoked").is_none() && table.len() == 2);
    }

    #[test]
    fn both_sources_are_one_table_and_only_keys_close_the_door() {
        let text = KeyText::of(&[1; 32]);
        let stated: StatedKey = (
            Bytes32(sha2::Sha256::digest(b"sk-of-the-file").into()),
            Arc::new(Key { name: "file".into(), ..Key::default() }),
            None,
        );
        let stored = |records| Known::Read(Arc::new(Stored { version: 1, pepper: PEPPER, records }));
        let both = Table::new(std::slice::from_ref(&stated), &stored(vec![record("store", &text, None)]));
        assert!(matches!(both.find(b"sk-of-the-file", at(0)), Some(Found::Key(key)) if &*key.name == "file"));
        assert_eq!(word(&both, &text, 0), "store");
        assert!(both.closes() && both.len() == 2);
        assert!(
            !Table::new(&[stated], &stored(vec![])).closes(),
            "the configuration's keys are compile's matter"
        );
        assert!(Table::new(&[], &Known::NotYet).closes(), "nobody knows");
        assert!(!Table::new(&[], &Known::NoStore).closes());
        let mut gone = record("store", &text, None);
        gone.revoke(at(0));
        assert!(
            Table::new(&[], &stored(vec![gone])).closes(),
            "the last key was revoked: the door stays shut"
        );
    }

    #[test]
    fn r50_only_the_whole_text_is_a_key() {
        let text = KeyText::of(&[1; 32]);
        let table = table(vec![record("a", &text, None)]);
        let whole = text.expose();
        for same in [0, 1, 8, 20, 30, whole.len() - 1] {
            assert!(table.find(&whole.as_bytes()[..same], at(0)).is_none());
            let mut other = whole.to_owned();
            other.replace_range(same..=same, if whole.as_bytes()[same] == b'x' { "y" } else { "x" });
            assert!(table.find(other.as_bytes(), at(0)).is_none(), "equal in the first {same} bytes");
        }
        assert!(table.find(format!("{whole}x").as_bytes(), at(0)).is_none());
    }
}
