//! What replicas keep together in Redis: answers, and claims on requests that are under way. A shelf that cannot be reached is
//! empty; nobody waits for a connection to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{Cmd, FromRedisValue, Pipeline, RedisError};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::store::dial::{Dial, Wire};

use super::{SHARED_BYTES_MAX, VALUE_BYTES_MAX};

/// Longest wait for a connection (R40).
const CONNECT_MAX: Duration = Duration::from_millis(250);
/// Longest wait for an answer that no request waits for.
const WRITE_MAX: Duration = Duration::from_millis(250);
/// Wait after a failure to connect; doubles up to the longest.
const WAIT_FIRST: Duration = Duration::from_millis(100);
const WAIT_LONGEST: Duration = Duration::from_secs(4);
/// Writes that wait, and their bytes; what comes beyond is not kept.
const JOBS_MAX: usize = 1_024;
const JOB_BYTES_MAX: u64 = 16 << 20;

/// Puts what it is given within the bounds of its kind.
const PUT: &str = include_str!("shelf.lua");
/// What is at KEYS[1], of which ARGV[3] bytes are read; ARGV[1] is put there for ARGV[2] ms where nothing is, or something
/// that begins with ARGV[4].
const CLAIM: &str = "
    local there = redis.call('GETRANGE', KEYS[1], 0, ARGV[3])
    local odd = ARGV[4] ~= '' and string.sub(there, 1, #ARGV[4]) == ARGV[4]
    if there ~= '' and not odd then return there end
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
    return ''";
/// Takes ARGV[1] away from KEYS[1].
const RELEASE: &str = "
    if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
    return 0";
/// Lets ARGV[1] stay at KEYS[1] for ARGV[2] ms, also where Redis has lost it.
const RENEW: &str = "
    local there = redis.call('GETRANGE', KEYS[1], 0, #ARGV[1])
    if there == ARGV[1] or there == '' then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
    return 0";

/// A kind of values, with a bound of its own: neither takes the other's room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// Answers that a policy keeps.
    Answers,
    /// Answers to requests that their callers named.
    Once,
}

impl Space {
    const fn word(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Once => "once",
        }
    }

    /// The braces keep all keys of a fleet in one slot of a cluster.
    fn key(self, name: &[u8; 32]) -> String {
        format!("tollway:{{default}}:{}:{}", self.word(), blake3::Hash::from_bytes(*name).to_hex())
    }
}

/// Why there is nothing to be had.
#[derive(Debug, thiserror::Error)]
pub enum Away {
    /// There is no connection.
    #[error("not connected")]
    Unconnected,
    /// It stayed silent.
    #[error("no answer in time")]
    Late,
    /// It refused or broke off.
    #[error("{0}")]
    Redis(#[from] RedisError),
}

impl Away {
    /// The label in metrics.
    pub const fn result(&self) -> &'static str {
        match self {
            Self::Unconnected | Self::Redis(_) => "error",
            Self::Late => "timeout",
        }
    }
}

/// Told whether a value was kept.
pub(super) type Done = Box<dyn FnOnce(bool) + Send>;

/// What is done in the background.
pub(super) enum Job {
    Put { space: Space, name: [u8; 32], value: Vec<u8>, ttl: Duration, over: Vec<u8>, done: Option<Done> },
    Release { name: [u8; 32], claim: Vec<u8> },
}

impl Job {
    fn bytes(&self) -> u64 {
        match self {
            Self::Put { value, .. } => value.len() as u64,
            Self::Release { claim, .. } => claim.len() as u64,
        }
    }

    fn drop_undone(self) {
        if let Self::Put { done: Some(done), .. } = self {
            done(false);
        }
    }
}

/// What Redis keeps.
pub struct Shelf {
    dial: Dial,
    wire: Mutex<Wired>,
    lost: Notify,
    jobs: mpsc::Sender<Job>,
    waiting: Mutex<Option<mpsc::Receiver<Job>>>,
    waiting_bytes: AtomicU64,
}

#[derive(Default)]
struct Wired {
    wire: Option<Wire>,
    /// Counts connections.
    number: u64,
}

impl Shelf {
    /// A shelf in the Redis at `url`. Nothing is dialled yet: `run` does.
    pub fn new(url: &str) -> Result<Self, Away> {
        let (jobs, waiting) = mpsc::channel(JOBS_MAX);
        Ok(Self {
            dial: Dial::new(url)?,
            wire: Mutex::default(),
            lost: Notify::new(),
            jobs,
            waiting: Mutex::new(Some(waiting)),
            waiting_bytes: AtomicU64::new(0),
        })
    }

    /// Keeps the connection, and writes what is to be written, until `stop`; then what waits is written yet.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let queue = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut queue) = queue else { return };
        let writing = async {
            loop {
                tokio::select! {
                    biased;
                    job = queue.recv() => match job {
                        Some(job) => self.done(job).await,
                        None => return,
                    },
                    () = stop.cancelled() => return,
                }
            }
        };
        let connecting = async {
            tokio::select! {
                () = self.stay_connected() => {}
                () = stop.cancelled() => {}
            }
        };
        tokio::join!(writing, connecting);
    }

    async fn stay_connected(&self) {
        let mut wait = WAIT_FIRST;
        let mut told = false;
        loop {
            let lost = self.lost.notified();
            if self.wired().wire.is_some() {
                lost.await;
                continue;
            }
            let dialling = Box::pin(self.dial.connect(CONNECT_MAX));
            let dialled = tokio::time::timeout(CONNECT_MAX, dialling).await;
            match dialled.map_err(|_| Away::Late).and_then(|made| made.map_err(Away::from)) {
                Ok(wire) => {
                    let mut wired = self.wired();
                    wired.wire = Some(wire);
                    wired.number += 1;
                    wait = WAIT_FIRST;
                    if std::mem::take(&mut told) {
                        tracing::info!("Redis is back: kept answers are shared again");
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "Redis does not answer: kept answers are not shared until it does");
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(WAIT_LONGEST);
                }
            }
        }
    }

    /// Waits until there is a connection.
    pub async fn connected(&self) {
        while self.wired().wire.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Hands a write over; what there is no room for is not done.
    pub(super) fn push(&self, job: Job) {
        let bytes = job.bytes();
        if self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) > JOB_BYTES_MAX {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            job.drop_undone();
        } else if let Err(refused) = self.jobs.try_send(job) {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            refused.into_inner().drop_undone();
        }
    }

    async fn done(&self, job: Job) {
        self.waiting_bytes.fetch_sub(job.bytes(), Ordering::Relaxed);
        match job {
            Job::Put { space, name, value, ttl, over, done } => {
                let put = self.put(space, &name, &value, ttl, &over).await;
                if let Err(error) = &put {
                    tracing::debug!(%error, "an answer was not kept in Redis");
                }
                if let Some(done) = done {
                    done(put.unwrap_or(false));
                }
            }
            Job::Release { name, claim } => {
                let mut script = eval(RELEASE, &[&Space::Once.key(&name)]);
                // Its time ends by itself.
                let _ = self.ask::<i64>(script.arg(claim), WRITE_MAX).await;
            }
        }
    }

    /// The value of this name, and how long it stays.
    pub(super) async fn get(
        &self,
        space: Space,
        name: &[u8; 32],
        limit: Duration,
    ) -> Result<Option<(Vec<u8>, Duration)>, Away> {
        let key = space.key(name);
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("GETRANGE").arg(&key).arg(0).arg(VALUE_BYTES_MAX).cmd("PTTL").arg(&key);
        let (value, left): (Vec<u8>, i64) = self.ask_all(&pipe, limit).await?;
        let left = u64::try_from(left).unwrap_or(0);
        Ok((!value.is_empty() && left > 0).then_some((value, Duration::from_millis(left))))
    }

    async fn put(
        &self,
        space: Space,
        name: &[u8; 32],
        value: &[u8],
        ttl: Duration,
        over: &[u8],
    ) -> Result<bool, Away> {
        let key = space.key(name);
        let [index, sum] =
            ["index", "bytes"].map(|end| format!("tollway:{{default}}:{}:{end}", space.word()));
        let mut script = eval(PUT, &[&index, &sum, &key]);
        let name = blake3::Hash::from_bytes(*name).to_hex();
        script.arg(value).arg(millis(ttl)).arg(SHARED_BYTES_MAX).arg(name.as_str()).arg(over);
        Ok(self.ask::<i64>(&script, WRITE_MAX).await? == 1)
    }

    /// Puts `claim` where nothing is, or something that begins with `odd`; what else is there comes back.
    pub(super) async fn claim(
        &self,
        name: &[u8; 32],
        claim: &[u8],
        lease: Duration,
        odd: &[u8],
        limit: Duration,
    ) -> Result<Vec<u8>, Away> {
        let mut script = eval(CLAIM, &[&Space::Once.key(name)]);
        script.arg(claim).arg(millis(lease)).arg(VALUE_BYTES_MAX).arg(odd);
        self.ask(&script, limit).await
    }

    /// Lets a claim stay.
    pub(super) async fn renew(&self, name: &[u8; 32], claim: &[u8], lease: Duration) -> Result<(), Away> {
        let mut script = eval(RENEW, &[&Space::Once.key(name)]);
        self.ask::<i64>(script.arg(claim).arg(millis(lease)), WRITE_MAX).await.map(drop)
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd, limit: Duration) -> Result<T, Away> {
        let (mut wire, number) = self.wire_now()?;
        let asked = tokio::time::timeout(limit, Box::pin(command.query_async(&mut wire))).await;
        self.heard(asked.map_err(|_| Away::Late), number)
    }

    async fn ask_all<T: FromRedisValue>(&self, pipe: &Pipeline, limit: Duration) -> Result<T, Away> {
        let (mut wire, number) = self.wire_now()?;
        let asked = tokio::time::timeout(limit, Box::pin(pipe.query_async(&mut wire))).await;
        self.heard(asked.map_err(|_| Away::Late), number)
    }

    fn wire_now(&self) -> Result<(Wire, u64), Away> {
        let wired = self.wired();
        Ok((wired.wire.clone().ok_or(Away::Unconnected)?, wired.number))
    }

    /// A connection on which an answer is late or which broke is not asked again (R25); a refusal breaks nothing.
    fn heard<T>(&self, asked: Result<Result<T, RedisError>, Away>, number: u64) -> Result<T, Away> {
        let answer = asked.and_then(|answer| answer.map_err(Away::from));
        let breaks = match &answer {
            Ok(_) => false,
            Err(Away::Redis(error)) => {
                error.is_io_error() || error.is_connection_dropped() || error.is_timeout() || moved(error)
            }
            Err(_) => true,
        };
        if breaks {
            let mut wired = self.wired();
            if wired.number == number && wired.wire.take().is_some() {
                drop(wired);
                self.lost.notify_one();
            }
        }
        answer
    }

    fn wired(&self) -> MutexGuard<'_, Wired> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client's own words would hold the password.
        f.debug_struct("Shelf").finish_non_exhaustive()
    }
}

/// What is asked is the primary no more.
fn moved(error: &RedisError) -> bool {
    matches!(error.code(), Some("READONLY" | "MOVED" | "ASK" | "CLUSTERDOWN"))
}

fn eval(script: &str, keys: &[&str]) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(script).arg(keys.len()).arg(keys);
    command
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX).clamp(1, 1 << 46)
}
