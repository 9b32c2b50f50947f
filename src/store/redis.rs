//! One connection to Redis, with a bound on every wait. It is dropped at the first error, so that no answer of a command
//! that was given up is ever taken for another's (R25).

use std::time::Duration;

use redis::{ErrorKind, Pipeline, RedisError};

use super::dial::{Dial, Wire};

/// Longest wait for a connection, the greeting included.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_millis(200);
/// The hash vanishes this long after the last replica has written to it, in milliseconds.
const HASH_LASTS_MS: i64 = 10_000;
/// Replicas that are listened to; more tell nothing more.
const REPLICAS_MAX: usize = 256;

/// Why Redis could not be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It stayed silent.
    #[error("no answer in time")]
    Timeout,
    /// It refused, broke off, or answered nonsense.
    #[error("{0}")]
    Redis(#[from] RedisError),
}

impl Error {
    /// The label in metrics.
    pub fn result(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Redis(error) if error.is_timeout() => "timeout",
            Self::Redis(_) => "error",
        }
    }

    /// Whether something else stands where the fleet's hash should.
    fn is_wrong_type(&self) -> bool {
        // An error inside a pipeline comes as its own kind, with the server's word in front.
        let said =
            |error: &RedisError| error.code() == Some("WRONGTYPE") || error.to_string().contains("WRONGTYPE");
        matches!(self, Self::Redis(error) if said(error))
    }
}

/// What each replica has written, by its name.
pub type Replicas = Vec<(Vec<u8>, Vec<u8>)>;

/// What is shared with the other replicas.
pub struct Shared {
    dial: Dial,
    connection: Option<Wire>,
    key: String,
    replica: String,
}

impl Shared {
    /// The state that the fleet shares in the Redis at `url`, for the replica with this name. Nothing is dialled yet.
    pub fn new(url: &str, replica: String) -> Result<Self, Error> {
        // The braces keep all keys of a fleet in one slot of a cluster.
        let key = "tollway:{default}:routes".to_owned();
        Ok(Self { dial: Dial::new(url)?, connection: None, key, replica })
    }

    /// The name of this replica's field.
    pub fn replica(&self) -> &[u8] {
        self.replica.as_bytes()
    }

    /// Whether a connection is there.
    pub const fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Makes a connection, in a second at most. Dropping the future leaves none.
    pub async fn connect(&mut self) -> Result<(), Error> {
        let connecting = Box::pin(self.dial.connect(CONNECT_MAX));
        self.connection =
            Some(tokio::time::timeout(CONNECT_MAX, connecting).await.map_err(|_| Error::Timeout)??);
        Ok(())
    }

    /// In one round trip removes the fields of replicas that are `gone`, writes this one's `message` if there is a new one,
    /// and reads all. An error closes the connection. Dropping the future does too.
    pub async fn exchange(&mut self, message: Option<&[u8]>, gone: &[Vec<u8>]) -> Result<Replicas, Error> {
        let mut pipe = redis::pipe();
        if !gone.is_empty() {
            pipe.cmd("HDEL").arg(&self.key).arg(gone).ignore();
        }
        if let Some(message) = message {
            pipe.cmd("HSET").arg(&self.key).arg(&self.replica).arg(message).ignore();
            pipe.cmd("PEXPIRE").arg(&self.key).arg(HASH_LASTS_MS).ignore();
        }
        pipe.cmd("HGETALL").arg(&self.key);
        let asked = self.ask::<(Replicas,)>(&pipe).await;
        if asked.as_ref().is_err_and(Error::is_wrong_type) {
            // By its name the key is ours, and whatever else stands there would keep the fleet apart for ever.
            self.connect().await?;
            self.ask::<()>(redis::pipe().cmd("DEL").arg(&self.key).ignore()).await?;
        }
        let mut replicas = asked?.0;
        replicas.truncate(REPLICAS_MAX);
        Ok(replicas)
    }

    /// Takes this replica's field away, since it stops.
    pub async fn leave(&mut self) -> Result<(), Error> {
        let mut pipe = redis::pipe();
        pipe.cmd("HDEL").arg(&self.key).arg(&self.replica).ignore();
        self.ask::<()>(&pipe).await
    }

    async fn ask<T: redis::FromRedisValue>(&mut self, pipe: &Pipeline) -> Result<T, Error> {
        let Some(mut connection) = self.connection.take() else {
            return Err(RedisError::from((ErrorKind::Io, "not connected")).into());
        };
        let asking = Box::pin(pipe.query_async::<T>(&mut connection));
        let answer = tokio::time::timeout(ANSWER_MAX, asking).await.map_err(|_| Error::Timeout)??;
        self.connection = Some(connection);
        Ok(answer)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client's own words would hold the password.
        f.debug_struct("Shared")
            .field("key", &self.key)
            .field("replica", &self.replica)
            .finish_non_exhaustive()
    }
}
