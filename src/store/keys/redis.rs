//! Keys of a fleet in Redis: the hash `tollway:{default}:keys`, a counter of its changes, and the pepper of the hashes.
//!
//! Redis may forget (a restart without persistence, a failover that lost acknowledged writes). Each replica remembers what it
//! read, also over a restart of its own; the first that finds a counter behind its own gives everything back. So a key that
//! was revoked stays so as long as one replica knows it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use redis::{FromRedisValue, Pipeline};
use tokio::sync::Mutex;

use crate::keys::{Bytes32, Pepper, Stored};
use crate::store;
use crate::store::dial::{Dial, Wire};

use super::{Error, KEYS_MAX, random, records};

/// The braces keep all keys of a fleet in one slot of a cluster.
const KEYS: &str = "tollway:{default}:keys";
const VERSION: &str = "tollway:{default}:keys:version";
const PEPPER: &str = "tollway:{default}:keys:pepper";

/// Longest wait for a connection, the greeting included.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Longest wait for an answer: no request waits for it, and all keys may be long.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Puts ARGV[3] in the place of ARGV[2] at ARGV[1], unless something else stands there; blanks are nothing.
const SWAP: &str = "
    if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return -1 end
    if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
    return redis.call('INCR', KEYS[2])";

/// Gives back what was lost: ARGV is the version, the pepper, then names and records. Nothing if another was quicker.
const GIVE_BACK: &str = "
    if tonumber(redis.call('GET', KEYS[2]) or '0') >= tonumber(ARGV[1]) then return 0 end
    redis.call('SET', KEYS[3], ARGV[2])
    for at = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
    redis.call('SET', KEYS[2], ARGV[1])
    return 1";

/// The keys in Redis.
pub(super) struct Remote {
    dial: Dial,
    connection: Mutex<Option<Wire>>,
    /// The version that was read last; -1: none.
    seen: AtomicI64,
    copy: PathBuf,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client's own words would hold the password.
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

impl Remote {
    pub(super) fn new(url: &str, state_dir: &Path) -> Result<Self, Error> {
        Ok(Self {
            dial: Dial::new(url).map_err(store::Error::from)?,
            connection: Mutex::new(None),
            seen: AtomicI64::new(-1),
            copy: state_dir.join("keys-of-redis.json"),
        })
    }

    pub(super) async fn read(&self) -> Result<Stored, Error> {
        let pepper = self.pepper().await?;
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("GET").arg(VERSION).cmd("HGETALL").arg(KEYS);
        let (version, all): (Option<i64>, Vec<(String, String)>) = self.ask(&pipe).await?;
        let version = version.unwrap_or(0);
        self.seen.store(version, Ordering::Relaxed);
        let records = records(all.iter().map(|(name, record)| (name.as_str(), record.as_str())));
        Ok(Stored { version, pepper, records })
    }

    pub(super) async fn changed(&self, known: Option<&Arc<Stored>>) -> Result<Option<Stored>, Error> {
        let mut pipe = redis::pipe();
        pipe.cmd("GET").arg(VERSION);
        let (version,): (Option<i64>,) = self.ask(&pipe).await?;
        let version = version.unwrap_or(0);
        if let Some(known) = known.filter(|known| version < known.version) {
            self.give_back(known).await?;
        } else if version == self.seen.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.read().await.map(Some)
    }

    async fn give_back(&self, known: &Stored) -> Result<(), Error> {
        let mut pipe = redis::pipe();
        pipe.cmd("EVAL").arg(GIVE_BACK).arg(3).arg(KEYS).arg(VERSION).arg(PEPPER);
        pipe.arg(known.version).arg(hex(&known.pepper));
        for record in known.records.iter().take(KEYS_MAX) {
            pipe.arg(&*record.name).arg(super::raw(record));
        }
        let (given,): (i64,) = self.ask(&pipe).await?;
        if given == 1 {
            let keys = known.records.len();
            tracing::warn!(
                keys,
                "Redis had lost keys that were made or revoked: this replica gave them back"
            );
        }
        Ok(())
    }

    /// The pepper, made by whoever comes first.
    pub(super) async fn pepper(&self) -> Result<Pepper, Error> {
        let fresh = Pepper(Bytes32(random()?));
        let mut pipe = redis::pipe();
        pipe.cmd("SET").arg(PEPPER).arg(hex(&fresh)).arg("NX").ignore().cmd("GET").arg(PEPPER);
        let (text,): (String,) = self.ask(&pipe).await?;
        let hash = blake3::Hash::from_hex(&text)
            .map_err(|_| Error::Refused(format!("Redis: what stands at {PEPPER} is not a pepper")))?;
        Ok(Pepper(Bytes32(*hash.as_bytes())))
    }

    pub(super) async fn get(&self, name: &str) -> Result<Option<String>, Error> {
        let mut pipe = redis::pipe();
        pipe.cmd("HGET").arg(KEYS).arg(name);
        let (raw,): (Option<String>,) = self.ask(&pipe).await?;
        Ok(raw)
    }

    pub(super) async fn swap(
        &self,
        name: &str,
        before: Option<&str>,
        after: Option<&str>,
    ) -> Result<bool, Error> {
        let mut pipe = redis::pipe();
        pipe.cmd("EVAL").arg(SWAP).arg(2).arg(KEYS).arg(VERSION).arg(name);
        pipe.arg(before.unwrap_or_default()).arg(after.unwrap_or_default());
        let (version,): (i64,) = self.ask(&pipe).await?;
        Ok(version >= 0)
    }

    pub(super) fn remembered(&self) -> Option<Stored> {
        let text = fs::read(&self.copy).ok()?;
        serde_json::from_slice(&text).ok()
    }

    pub(super) fn remember(&self, stored: &Stored) -> Result<(), Error> {
        let write = || -> io::Result<()> {
            self.copy.parent().map_or(Ok(()), fs::create_dir_all)?;
            let draft = self.copy.with_extension(format!("json.{}", std::process::id()));
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            file.write_all(&serde_json::to_vec(stored)?)?;
            file.sync_all()?;
            fs::rename(&draft, &self.copy)
        };
        write().map_err(|error| Error::Io { path: self.copy.clone(), error })
    }

    /// One round trip, and a connection before it where there is none. It is dropped at the first error, and whenever the
    /// future is, so that no answer is ever taken for another's (R25).
    async fn ask<T: FromRedisValue>(&self, pipe: &Pipeline) -> Result<T, Error> {
        let mut place = self.connection.lock().await;
        let mut connection = match place.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let asking = Box::pin(pipe.query_async::<T>(&mut connection));
        let answer = tokio::time::timeout(ANSWER_MAX, asking).await.map_err(|_| store::Error::Timeout)?;
        let answer = answer.map_err(store::Error::from)?;
        *place = Some(connection);
        Ok(answer)
    }

    async fn connect(&self) -> Result<Wire, Error> {
        let connecting = Box::pin(self.dial.connect(CONNECT_MAX));
        let made = tokio::time::timeout(CONNECT_MAX, connecting).await.map_err(|_| store::Error::Timeout)?;
        Ok(made.map_err(store::Error::from)?)
    }
}

fn hex(pepper: &Pepper) -> String {
    blake3::Hash::from_bytes(pepper.0.0).to_string()
}
