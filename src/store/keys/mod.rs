//! Where virtual keys are kept: a SQLite file of their own in `state_dir`, or a Redis that all replicas share.
//!
//! Both hold a record a name and a counter of changes. A change is compare-and-set on the record, so that the command line
//! and any number of gateways may write at once. A gateway polls the counter and reads everything when it has moved: keys
//! are few, changes rare, and a request never waits for either.

mod file;
mod redis;
pub mod secret_file;
mod usage;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::keys::{Ask, Fault, KeyText, Pepper, Record, Stored};

pub use usage::usage;

/// Most keys in a store, those that were revoked lately included.
pub const KEYS_MAX: usize = 100_000;
/// Longest record that is read, in bytes.
const RECORD_BYTES_MAX: usize = 64 << 10;
/// How often a change is tried again when somebody else was quicker.
const TRIES: usize = 16;

/// Why a store could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error("{path}: {error}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What SQLite says.
        error: rusqlite::Error,
    },
    /// A file beside it.
    #[error("{path}: {error}", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Something that this program does not use, for keys would be lost if it did.
    #[error("{0}")]
    Refused(String),
    /// Redis.
    #[error("Redis: {0}")]
    Redis(#[from] super::Error),
    /// No random bits were to be had.
    #[error("the system gives no random bits: {0}")]
    Random(getrandom::Error),
}

/// Why a key is not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Ask(#[from] Fault),
    /// The name is taken.
    #[error("there is a key named {0:?} already; revoke or rotate it, or choose another name")]
    Exists(String),
    /// There is no such key.
    #[error("there is no key named {0:?}")]
    Missing(String),
    /// It ended.
    #[error("the key {0:?} was revoked or has expired; create another")]
    Ended(String),
    /// There are as many as there may be.
    #[error("there are {KEYS_MAX} keys, and no more are kept; revoked ones make room after 90 days")]
    Full,
    /// Too many changes of one key at once.
    #[error("the key is being changed by others; try again")]
    Contended,
    /// The store.
    #[error(transparent)]
    Store(#[from] Error),
}

/// A store of keys.
#[derive(Debug, Clone)]
pub struct KeyStore(Kind);

#[derive(Debug, Clone)]
enum Kind {
    File(Arc<file::File>),
    Redis(Arc<redis::Remote>),
}

/// A record as it stands in the store, to be compared with.
type Raw = String;

impl KeyStore {
    /// The keys of the gateway on this machine, in its `state_dir`; made if there are none yet.
    pub fn in_folder(state_dir: &Path) -> Result<Self, Error> {
        Ok(Self(Kind::File(Arc::new(file::File::open(state_dir)?))))
    }

    /// The keys of a fleet, in the Redis at `url`. What was last read is kept in `state_dir`, so that a replica that starts
    /// without Redis knows its callers. Nothing is dialled yet.
    pub fn in_redis(url: &str, state_dir: &Path) -> Result<Self, Error> {
        Ok(Self(Kind::Redis(Arc::new(redis::Remote::new(url, state_dir)?))))
    }

    /// All keys, whether or not they have changed.
    pub async fn read(&self) -> Result<Stored, Error> {
        match &self.0 {
            Kind::File(file) => blocking(file, file::File::read).await,
            Kind::Redis(remote) => remote.read().await,
        }
    }

    /// All keys if they have changed since this was asked last. Where Redis has lost what `known` still knows, it is given
    /// back first.
    pub async fn changed(&self, known: Option<&Arc<Stored>>) -> Result<Option<Stored>, Error> {
        match &self.0 {
            Kind::File(file) => blocking(file, file::File::changed).await,
            Kind::Redis(remote) => remote.changed(known).await,
        }
    }

    /// What was last read from Redis, by this replica or the one before it.
    pub fn remembered(&self) -> Option<Stored> {
        match &self.0 {
            Kind::File(_) => None,
            Kind::Redis(remote) => remote.remembered(),
        }
    }

    /// Keeps `stored` for a start without Redis. It may block.
    pub async fn remember(&self, stored: &Arc<Stored>) -> Result<(), Error> {
        let Kind::Redis(remote) = &self.0 else { return Ok(()) };
        let stored = Arc::clone(stored);
        blocking(remote, move |remote| remote.remember(&stored)).await
    }

    /// Makes a key. `is_taken` says of a name whether it stands elsewhere.
    pub async fn create(
        &self,
        ask: Ask,
        is_taken: impl Fn(&str) -> bool,
        now: Timestamp,
    ) -> Result<(Record, KeyText), Refusal> {
        let stored = self.read().await?;
        for old in stored.records.iter().filter(|record| record.is_forgotten(now)) {
            let raw = self.get(&old.name).await?;
            if let Some(raw) = raw.filter(|raw| parsed(raw).is_some_and(|record| record.is_forgotten(now))) {
                self.swap(&old.name, Some(raw), None).await?;
            }
        }
        let kept = stored.records.iter().filter(|record| !record.is_forgotten(now)).count();
        if kept >= KEYS_MAX {
            return Err(Refusal::Full);
        }
        let text = KeyText::of(&random()?);
        let record = ask.record(&random()?, &text, &stored.pepper, now)?;
        if is_taken(&record.name) || !self.swap(&record.name, None, Some(raw(&record))).await? {
            return Err(Refusal::Exists(record.name.to_string()));
        }
        Ok((record, text))
    }

    /// Takes a key away. Doing it again changes nothing.
    pub async fn revoke(&self, name: &str, now: Timestamp) -> Result<Record, Refusal> {
        self.change(name, |record| {
            record.revoke(now);
            Ok(())
        })
        .await
    }

    /// Gives a key another text; the old one counts for `overlap` yet.
    pub async fn rotate(
        &self,
        name: &str,
        overlap: Duration,
        now: Timestamp,
    ) -> Result<(Record, KeyText), Refusal> {
        let pepper = self.pepper().await?;
        let text = KeyText::of(&random()?);
        let record = self.change(name, |record| {
            if record.state(now) != crate::keys::State::Active {
                return Err(Refusal::Ended(name.to_owned()));
            }
            record.rotate(&text, &pepper, overlap, now);
            Ok(())
        });
        Ok((record.await?, text))
    }

    async fn change(
        &self,
        name: &str,
        change: impl Fn(&mut Record) -> Result<(), Refusal>,
    ) -> Result<Record, Refusal> {
        for _ in 0..TRIES {
            let before = self.get(name).await?;
            let record = before.as_deref().and_then(parsed);
            let (Some(before), Some(mut record)) = (before, record) else {
                return Err(Refusal::Missing(name.to_owned()));
            };
            change(&mut record)?;
            let after = raw(&record);
            if after == before || self.swap(name, Some(before), Some(after)).await? {
                return Ok(record);
            }
        }
        Err(Refusal::Contended)
    }

    async fn pepper(&self) -> Result<Pepper, Error> {
        match &self.0 {
            Kind::File(file) => Ok(file.pepper()),
            Kind::Redis(remote) => remote.pepper().await,
        }
    }

    async fn get(&self, name: &str) -> Result<Option<Raw>, Error> {
        match &self.0 {
            Kind::File(file) => {
                let name = name.to_owned();
                blocking(file, move |file| file.get(&name)).await
            }
            Kind::Redis(remote) => remote.get(name).await,
        }
    }

    /// Puts `after` in the place of `before`, unless something else stands there.
    async fn swap(&self, name: &str, before: Option<Raw>, after: Option<Raw>) -> Result<bool, Error> {
        match &self.0 {
            Kind::File(file) => {
                let name = name.to_owned();
                blocking(file, move |file| file.swap(&name, before.as_deref(), after.as_deref())).await
            }
            Kind::Redis(remote) => remote.swap(name, before.as_deref(), after.as_deref()).await,
        }
    }
}

/// Does what may wait for a disk where it holds up nobody.
async fn blocking<S, T>(
    store: &Arc<S>,
    work: impl FnOnce(&S) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error>
where
    S: Send + Sync + 'static,
    T: Send + 'static,
{
    let store = Arc::clone(store);
    let done = tokio::task::spawn_blocking(move || work(&store)).await;
    done.unwrap_or_else(|_| Err(Error::Refused("the store of keys ended in a bug".to_owned())))
}

fn raw(record: &Record) -> Raw {
    // Strings, numbers and times always serialise.
    serde_json::to_string(record).unwrap_or_default()
}

/// A record of this program's; others are left alone, and let nobody in.
fn parsed(raw: &str) -> Option<Record> {
    if raw.len() > RECORD_BYTES_MAX {
        return None;
    }
    serde_json::from_str(raw).ok()
}

/// The records among what stands in a store, by name.
fn records<'r>(raws: impl Iterator<Item = (&'r str, &'r str)>) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for (name, raw) in raws.take(KEYS_MAX) {
        match parsed(raw).filter(|record| &*record.name == name) {
            Some(record) => records.push(record),
            None => {
                tracing::error!(key = ?name.chars().take(64).collect::<String>(), "this key cannot be read, and lets nobody in");
            }
        }
    }
    records.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    records
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bits = [0; N];
    getrandom::fill(&mut bits).map_err(Error::Random)?;
    Ok(bits)
}
