//! One connection to Redis on which requests and the bank's own task speak at once, each script in one round trip.
//!
//! It is given up at the first answer that is odd, or when nothing is heard any more: what was asked is not known to have been done
//! then, and the bank writes everything again, under another generation, before anybody is admitted over a new one.

use std::fmt::Display;
use std::time::Duration;

use redis::{ErrorKind, FromRedisValue, RedisError, ServerErrorKind, Value};

use crate::store::dial::{Dial, Wire};

/// First wait for a connection, with all that is asked on it first (R40). It doubles with each that was too short.
pub(super) const CONNECT_MAX: Duration = Duration::from_millis(250);
/// Longest wait of a request for a Redis that was quick and says nothing (R40).
pub(super) const ANSWER_MAX: Duration = Duration::from_millis(50);

/// The scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Admit,
    Settle,
    Grow,
    Beat,
    Join,
    Inherit,
    Reclaim,
}

impl Script {
    const ALL: [Self; 7] =
        [Self::Admit, Self::Settle, Self::Grow, Self::Beat, Self::Join, Self::Inherit, Self::Reclaim];

    /// The whole text.
    fn text(self) -> String {
        const PRELUDE: &str = include_str!("lua/prelude.lua");
        let clock = if cfg!(test) { include_str!("lua/test_clock.lua") } else { "" };
        [PRELUDE, clock, self.own()].concat()
    }

    const fn own(self) -> &'static str {
        macro_rules! script {
            ($name:literal) => {
                include_str!(concat!("lua/", $name, ".lua"))
            };
        }
        match self {
            Self::Admit => script!("admit"),
            Self::Settle => script!("settle"),
            Self::Grow => script!("grow"),
            Self::Beat => script!("beat"),
            Self::Join => script!("join"),
            Self::Inherit => script!("inherit"),
            Self::Reclaim => script!("reclaim"),
        }
    }
}

/// Errors that Redis begins its answer with.
const CODES: [&str; 15] = [
    "READONLY",
    "LOADING",
    "MOVED",
    "ASK",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "CROSSSLOT",
    "BUSY",
    "OOM",
    "NOREPLICAS",
    "MISCONF",
    "WRONGTYPE",
    "NOPERM",
    "NOAUTH",
    "NOSCRIPT",
];

/// Why Redis did not do as it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// It stayed silent.
    #[error("no answer in time")]
    Timeout,
    /// It refused or broke off.
    #[error("{0}")]
    Redis(#[from] RedisError),
    /// It answered what makes no sense.
    #[error("an answer that makes no sense")]
    Odd,
}

impl Error {
    /// The word in logs and metrics.
    pub fn word(&self) -> &'static str {
        let Self::Redis(error) = self else {
            return if matches!(self, Self::Timeout) { "timeout" } else { "odd" };
        };
        if error.is_timeout() {
            return "timeout";
        }
        // An error inside a script comes with the script's words around it.
        let said = error.to_string();
        let code = error.code().unwrap_or_default();
        let known = CODES.into_iter().find(|known| *known == code || said.contains(known));
        known.unwrap_or(if error.is_io_error() { "unreachable" } else { "error" })
    }

    /// What an operator can do about it; empty where nothing is to be said.
    pub fn advice(&self) -> &'static str {
        match self.word() {
            "READONLY" => "this Redis is a replica: `store` must name the primary",
            "LOADING" => "it is reading its data",
            "MOVED" | "ASK" | "CLUSTERDOWN" | "CROSSSLOT" => "this Redis is a node of a cluster",
            "BUSY" => "a script of somebody else runs in it without end",
            "OOM" => "its memory is full: raise `maxmemory`, and let nothing else live in it",
            "NOREPLICAS" => "it has fewer replicas than `min-replicas-to-write`",
            "MISCONF" => "it cannot write its data to its disk",
            "NOPERM" | "NOAUTH" => "its user may not run scripts, or not on keys that begin with `tollway:`",
            _ => "",
        }
    }

    /// Whether what stands in Redis cannot be what was written there.
    pub(super) fn is_doubt(&self) -> bool {
        matches!(self.word(), "WRONGTYPE" | "odd" | "error")
    }
}

/// A connection, and what the scripts are called on it.
#[derive(Clone)]
pub(super) struct Link {
    connection: Wire,
    names: [Option<std::sync::Arc<str>>; Script::ALL.len()],
}

impl Link {
    /// Dials, and leaves the scripts there. Dropping the future leaves no connection.
    pub(super) async fn open(dial: &Dial, limit: Duration) -> Result<Self, Error> {
        let opening = async {
            let connection = dial.connect(limit).await?;
            let mut link = Self { connection, names: [const { None }; _] };
            for (place, script) in Script::ALL.into_iter().enumerate() {
                let load = redis::cmd("SCRIPT").arg("LOAD").arg(script.text()).to_owned();
                // Where it may not be left there it is sent each time.
                link.names[place] = match link.ask::<String>(&load).await {
                    Ok(name) => Some(name.into()),
                    Err(Error::Redis(error)) if !error.is_io_error() && !is_passing(&error) => None,
                    Err(error) => return Err(error),
                };
            }
            Ok(link)
        };
        tokio::time::timeout(limit, Box::pin(opening)).await.unwrap_or(Err(Error::Timeout))
    }

    /// Whether something that nobody waits for any more may be asked again: a client of a cluster does so where a node has gone.
    pub(super) const fn may_ask_twice(&self) -> bool {
        matches!(self.connection, Wire::Cluster(_))
    }

    /// Runs a script.
    pub(super) async fn call<T: FromRedisValue>(
        &mut self,
        script: Script,
        keys: &[impl AsRef<str>],
        arguments: &[impl Display],
        limit: Duration,
    ) -> Result<T, Error> {
        let command = |verb: &str, text: &str| {
            let mut command = redis::cmd(verb);
            command.arg(text).arg(keys.len());
            for key in keys {
                command.arg(key.as_ref());
            }
            for argument in arguments {
                command.arg(argument.to_string());
            }
            command
        };
        let name = Script::ALL.iter().position(|one| *one == script).and_then(|at| self.names[at].clone());
        let calling = async {
            if let Some(name) = name {
                match self.ask(&command("EVALSHA", &name)).await {
                    Err(Error::Redis(error)) if is_unknown(&error) => {}
                    answer => return answer,
                }
            }
            self.ask(&command("EVAL", &script.text())).await
        };
        tokio::time::timeout(limit, calling).await.unwrap_or(Err(Error::Timeout))
    }

    /// Sends one plain command.
    pub(super) async fn plain<T: FromRedisValue>(
        &mut self,
        words: &[&str],
        limit: Duration,
    ) -> Result<T, Error> {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        tokio::time::timeout(limit, self.ask(&command)).await.unwrap_or(Err(Error::Timeout))
    }

    async fn ask<T: FromRedisValue>(&mut self, command: &redis::Cmd) -> Result<T, Error> {
        let value: Value = Box::pin(command.query_async(&mut self.connection)).await?;
        if let Value::ServerError(error) = value {
            return Err(Error::Redis(error.into()));
        }
        T::from_redis_value(value).map_err(|_| Error::Odd)
    }
}

/// The script is not there, or may not be called by its name.
fn is_unknown(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::NoScript | ServerErrorKind::NoPerm))
}

/// Nothing can be had from this Redis for now.
fn is_passing(error: &RedisError) -> bool {
    matches!(error.code(), Some("LOADING" | "BUSY" | "MASTERDOWN" | "NOAUTH" | "CLUSTERDOWN"))
}
