//! Connections that wait for a next request, by the origin they lead to: each whole and silent, or it is closed.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use tokio::runtime::{self, Handle};
use tokio::time::Instant;

use super::connection::{Connection, STREAM_READ_BYTES};
use super::framing::{Decoder, Taken};

/// Idle connections are given up before the usual 60 s of the servers at the other end.
const IDLE_MAX: Duration = Duration::from_secs(45);
/// How long an answer that was whole to its reader may take to end.
const UNFINISHED_MAX: Duration = Duration::from_secs(5);
const IDLE_PER_ORIGIN_MAX: usize = 512;

/// Where a connection leads to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    is_https: bool,
    authority: Authority,
    /// Connections for streams have smaller buffers than those for what is read whole; neither can be made the other.
    is_read_whole: bool,
    /// By which runtime they are waited for.
    runtime: Option<runtime::Id>,
}

impl Origin {
    pub(super) fn of(uri: &Uri, is_read_whole: bool) -> Option<Self> {
        let is_https = uri.scheme_str() == Some("https");
        let runtime = Handle::try_current().ok().map(|current| current.id());
        Some(Self { is_https, authority: uri.authority()?.clone(), is_read_whole, runtime })
    }

    /// Whether `other` is the same for another runtime.
    fn is_elsewhere(&self, other: &Self) -> bool {
        self.runtime != other.runtime && *self == Self { runtime: self.runtime, ..other.clone() }
    }
}

/// The connections that wait.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    idle: Arc<Mutex<HashMap<Origin, Vec<Idle>>>>,
}

/// Where a connection is to wait.
#[derive(Debug)]
pub(super) struct Place {
    pool: Pool,
    origin: Origin,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    /// What is to come of the last answer: its end, and no data.
    rest: Option<Decoder>,
    since: Instant,
}

/// What a waiting connection is good for.
enum State {
    Ready,
    Unfinished,
    Useless,
}

impl Idle {
    /// Looks at what has come since.
    fn state(&mut self, now: Instant) -> State {
        let limit = if self.rest.is_some() { UNFINISHED_MAX } else { IDLE_MAX };
        if now.duration_since(self.since) >= limit {
            return State::Useless;
        }
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            let rest = &mut self.rest;
            let read = self.connection.poll_read::<STREAM_READ_BYTES, _>(&mut cx, |read| {
                let Some(decoder) = rest.as_mut().filter(|_| !read.is_empty()) else { return false };
                let mut data = Vec::new();
                match decoder.take(read, &mut data) {
                    Ok(Taken::Partial) => data.is_empty(),
                    Ok(Taken::Whole(bytes)) if bytes == read.len() && data.is_empty() => {
                        *rest = None;
                        true
                    }
                    _ => false,
                }
            });
            match read {
                Poll::Pending => {
                    // What came a moment ago the runtime may not know of yet.
                    return match (self.connection.peek(), &self.rest) {
                        (Err(error), None) if error.kind() == io::ErrorKind::WouldBlock => State::Ready,
                        (Err(error), Some(_)) if error.kind() == io::ErrorKind::WouldBlock => {
                            State::Unfinished
                        }
                        (Ok(1), Some(_)) => State::Unfinished,
                        _ => State::Useless,
                    };
                }
                Poll::Ready(Ok(true)) => {}
                // It was closed, or says what nobody asked for.
                Poll::Ready(_) => return State::Useless,
            }
        }
    }
}

impl Place {
    /// Takes `connection` back, whose last answer has ended.
    pub(super) fn give(self, connection: Connection) {
        self.keep(Idle { connection, rest: None, since: Instant::now() });
    }

    /// Takes `connection` back, of whose last answer only the end is to come: `rest`.
    pub(super) fn give_unfinished(self, connection: Connection, rest: Decoder) {
        let now = Instant::now();
        let mut idle = Idle { connection, rest: Some(rest), since: now };
        if !matches!(idle.state(now), State::Useless) {
            self.keep(idle);
        }
    }

    fn keep(self, one: Idle) {
        let mut all = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = all.entry(self.origin).or_default();
        if waiting.len() < IDLE_PER_ORIGIN_MAX {
            waiting.push(one);
        }
    }
}

impl Pool {
    pub(super) fn place(&self, origin: Origin) -> Place {
        Place { pool: self.clone(), origin }
    }

    /// A connection to `origin`, the last that was used: its other end is the least likely to have given it up. If none waits here,
    /// one that another runtime has used.
    pub(super) fn take(&self, origin: &Origin) -> Option<Connection> {
        self.take_from(origin, origin).or_else(|| self.take_over(origin))
    }

    fn take_over(&self, origin: &Origin) -> Option<Connection> {
        let elsewhere: Vec<Origin> = {
            let all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let others =
                all.iter().filter(|(other, waiting)| !waiting.is_empty() && origin.is_elsewhere(other));
            others.map(|(other, _)| other.clone()).collect()
        };
        elsewhere.iter().find_map(|other| self.take_from(other, origin))
    }

    fn take_from(&self, other: &Origin, origin: &Origin) -> Option<Connection> {
        let now = Instant::now();
        let mut unfinished = Vec::new();
        let found = loop {
            let Some(mut one) = self.pop(other) else { break None };
            if other != origin && one.connection.move_here().is_err() {
                continue;
            }
            match one.state(now) {
                State::Ready => break Some(one.connection),
                State::Unfinished => unfinished.push(one),
                State::Useless => {}
            }
        };
        if !unfinished.is_empty() {
            let mut all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(origin.clone()).or_default().extend(unfinished.into_iter().rev());
        }
        found
    }

    fn pop(&self, origin: &Origin) -> Option<Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).get_mut(origin)?.pop()
    }

    /// Closes what has waited too long, and what its other end has closed. To be called every now and then.
    pub fn sweep(&self) {
        self.sweep_at(Instant::now());
    }

    pub(in crate::upstream) fn sweep_at(&self, now: Instant) {
        let mut useless = Vec::new();
        let mut all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, waiting| {
            useless.extend(waiting.extract_if(.., |one| matches!(one.state(now), State::Useless)));
            !waiting.is_empty()
        });
        // Sockets are closed without the lock.
        drop(all);
        drop(useless);
    }

    /// How many connections wait.
    #[cfg(test)]
    pub(in crate::upstream) fn waiting(&self) -> usize {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).values().map(Vec::len).sum()
    }

    /// Whether the last that waits could be used again at once; if it never can be, it waits no more.
    #[cfg(test)]
    pub(in crate::upstream) fn is_silent(&self) -> bool {
        let mut all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiting) = all.values_mut().find(|waiting| !waiting.is_empty()) else { return false };
        let state = waiting.last_mut().map(|one| one.state(Instant::now()));
        if matches!(state, Some(State::Useless)) {
            waiting.pop();
        }
        matches!(state, Some(State::Ready))
    }
}
