//! The keys in force: those of the configuration and those of the store, in one table that is swapped whole. A request looks
//! into the table and nowhere else; one task keeps it up with the store.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::config::Snapshot;
use crate::keys::table::{Known, StatedKey};
use crate::keys::{Ask, Bytes32, Key, KeyText, Record, Stored, Table};
use crate::store::KeyStore;
use crate::store::keys::{Error, Refusal};

/// How often the store is asked whether keys have changed: a revocation is in force within a second (R49).
const LOOKS_EVERY: Duration = Duration::from_millis(250);
/// Wait after a failure; doubles up to the longest.
const WAIT_FIRST: Duration = Duration::from_millis(250);
const WAIT_LONGEST: Duration = Duration::from_secs(2);

/// All keys, and where they are kept.
#[derive(Debug, Default)]
pub struct Keyring {
    table: ArcSwap<Table>,
    parts: Mutex<Parts>,
    store: Option<KeyStore>,
}

#[derive(Debug, Default)]
struct Parts {
    stated: Vec<StatedKey>,
    known: Known,
}

impl Keyring {
    /// The keys of `snapshot` and those that are read from `store` from now on.
    pub fn new(snapshot: &Snapshot, store: Option<KeyStore>) -> Self {
        let known = match store.as_ref().map(KeyStore::remembered) {
            None => Known::NoStore,
            Some(None) => Known::NotYet,
            Some(Some(stored)) => Known::Read(Arc::new(stored)),
        };
        let keyring = Self { store, ..Self::default() };
        keyring.change(|parts| *parts = Parts { stated: stated(snapshot), known });
        keyring
    }

    /// The keys in force, to keep for one request.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Puts the keys of another configuration in force.
    pub fn under(&self, snapshot: &Snapshot) {
        let stated = stated(snapshot);
        self.change(|parts| parts.stated = stated);
    }

    /// Whether keys are kept anywhere beside the configuration.
    pub fn has_store(&self) -> bool {
        self.store.is_some()
    }

    /// What the store said last.
    pub fn stored(&self) -> Option<Arc<Stored>> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Known::Read(stored) = &parts.known { Some(Arc::clone(stored)) } else { None }
    }

    /// Makes a key, and puts it in force here. `None`: there is no store.
    pub async fn create(&self, ask: Ask, now: Timestamp) -> Option<Result<(Record, KeyText), Refusal>> {
        let store = self.store.as_ref()?;
        let table = self.table();
        let made = store.create(ask, |name| table.named(name).is_some(), now).await;
        Some(self.after(store, made).await)
    }

    /// Takes a key away, here at once.
    pub async fn revoke(&self, name: &str, now: Timestamp) -> Option<Result<Record, Refusal>> {
        let store = self.store.as_ref()?;
        Some(self.after(store, store.revoke(name, now).await).await)
    }

    /// Gives a key another text.
    pub async fn rotate(
        &self,
        name: &str,
        overlap: Duration,
        now: Timestamp,
    ) -> Option<Result<(Record, KeyText), Refusal>> {
        let store = self.store.as_ref()?;
        Some(self.after(store, store.rotate(name, overlap, now).await).await)
    }

    /// What is in the store now, in force here as well.
    pub async fn read(&self) -> Option<Result<Arc<Stored>, Error>> {
        let store = self.store.as_ref()?;
        Some(store.read().await.map(|stored| self.take(stored)))
    }

    /// Keeps up with the store until `stop`.
    pub async fn follow(&self, stop: CancellationToken) {
        let Some(store) = &self.store else { return };
        let mut failures = 0_u32;
        loop {
            let Some(looked) = stop.run_until_cancelled(self.look(store)).await else { return };
            let rest = match looked {
                Ok(()) => {
                    if std::mem::take(&mut failures) > 0 {
                        tracing::info!("the store of keys is back");
                    }
                    LOOKS_EVERY
                }
                Err(error) => {
                    if failures == 0 {
                        tracing::warn!(
                            %error,
                            "the store of keys cannot be read: keys that are known go on, and changes are not seen"
                        );
                    }
                    failures = failures.saturating_add(1);
                    (WAIT_FIRST * 2_u32.saturating_pow(failures.min(8) - 1)).min(WAIT_LONGEST)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// Looks once whether keys have changed in the store.
    async fn look(&self, store: &KeyStore) -> Result<(), Error> {
        let known = self.stored();
        let Some(stored) = store.changed(known.as_ref()).await? else { return Ok(()) };
        let stored = self.take(stored);
        store.remember(&stored).await
    }

    /// The first look, before anybody is let in. What cannot be read is tried again by `follow`.
    pub async fn prepare(&self) -> Result<(), Error> {
        match &self.store {
            Some(store) => self.look(store).await,
            None => Ok(()),
        }
    }

    async fn after<T>(&self, store: &KeyStore, changed: Result<T, Refusal>) -> Result<T, Refusal> {
        let changed = changed?;
        // It stands in the store whatever becomes of this: `follow` sees it within its time.
        if let Ok(stored) = store.read().await {
            self.take(stored);
        }
        Ok(changed)
    }

    /// Puts what was read in force, unless something newer is.
    fn take(&self, stored: Stored) -> Arc<Stored> {
        let stored = Arc::new(stored);
        let newest = Arc::clone(&stored);
        self.change(|parts| match &parts.known {
            Known::Read(known) if known.version > newest.version => {}
            _ => parts.known = Known::Read(newest),
        });
        stored
    }

    fn change(&self, change: impl FnOnce(&mut Parts)) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut parts);
        let table = Table::new(&parts.stated, &parts.known);
        for (name, why) in &table.unreadable {
            tracing::error!(key = &**name, why = &**why, "this key cannot be used, and lets nobody in");
        }
        // Under the lock, so that of two changes the later one's table is in force.
        self.table.store(Arc::new(table));
    }
}

/// The configuration's keys as the table has them.
pub fn stated(snapshot: &Snapshot) -> Vec<StatedKey> {
    let one = |key: &crate::config::Key| {
        let stated = Key {
            name: Arc::clone(&key.name),
            team: Arc::clone(&key.team),
            user: key.user.clone(),
            organisation: key.organisation.clone(),
            models: key.models.clone(),
            tags: key.tags.clone(),
            limits: key.limits.clone(),
        };
        (Bytes32(key.hash), Arc::new(stated), key.expires)
    };
    snapshot.keys.iter().map(one).collect()
}
