//! Answers kept for equal requests (`Answers`), and those to requests that a caller has named (`Once`): bounded by bytes and time.
//!
//! The former are in this process, and where there is one in the Redis that replicas share; the latter in a file of this
//! machine's (`file`), or in that Redis. `shelf` is what Redis keeps, `sealed` what any of them keep of an answer.

mod file;
mod once;
mod sealed;
mod shelf;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::units::{Clock, Mono, NanoUsd, Usage};

pub use file::File;
pub use once::{Claim, Claimed, Once};
pub use sealed::Ticket;
pub use shelf::{Away, Shelf};

use shelf::{Job, Space};

/// What all kept answers may take, in bytes.
const BYTES_MAX: u64 = 64 << 20;
/// What an answer takes beside its own bytes.
const OVERHEAD: u64 = 512;
/// Answers that room is made for at the start.
const USUAL: usize = 4_096;
/// What kept answers may take in Redis, in bytes.
const SHARED_BYTES_MAX: u64 = 64 << 20;
/// The longest that a request waits for Redis to say whether it has an answer; it is asked anew then.
const LOOK_MAX: Duration = Duration::from_millis(8);
/// Longest value that is read from Redis: an answer, its head and its seal.
const VALUE_BYTES_MAX: usize = (1 << 20) + (64 << 10);

/// An answer.
#[derive(Debug, Clone)]
pub struct KeptAnswer {
    /// The upstream's words. Empty: they were too many to be kept.
    pub said: Bytes,
    /// Whether they are a provider's own Responses events.
    pub native: bool,
    /// `provider/upstream-model` that gave it.
    pub route: Arc<str>,
    /// Its provider.
    pub provider: Arc<str>,
    /// Its checkpoint.
    pub checkpoint: Arc<str>,
    /// What it cost.
    pub cost: NanoUsd,
    /// Its tokens, and whether they are our own count; `None`: its words tell.
    pub usage: Option<(Usage, bool)>,
    /// The id of the request that it was given to.
    pub id: Arc<str>,
    /// When that came, in seconds since 1970.
    pub at_s: i64,
    /// Until when it is given out.
    pub until: Mono,
}

/// The answers.
pub struct Answers {
    kept: Cache<[u8; 32], Arc<KeptAnswer>, Bytewise>,
    shared: Option<(Arc<Shelf>, Arc<dyn Clock>)>,
}

/// What Redis said of an answer, for a metric, and how long it took.
pub type Look = (&'static str, Duration);

#[derive(Clone)]
struct Bytewise;

impl Weighter<[u8; 32], Arc<KeptAnswer>> for Bytewise {
    fn weight(&self, _: &[u8; 32], answer: &Arc<KeptAnswer>) -> u64 {
        answer.said.len() as u64 + OVERHEAD
    }
}

impl Answers {
    /// None yet, and none but this process's.
    pub fn new() -> Self {
        Self { kept: Cache::with_weighter(USUAL, BYTES_MAX, Bytewise), shared: None }
    }

    /// The same, and those of other replicas too.
    pub fn shared(redis: Arc<Shelf>, clock: Arc<dyn Clock>) -> Self {
        Self { shared: Some((redis, clock)), ..Self::new() }
    }

    /// The answer to the request of this ticket, if it was given and is fresh. Redis is asked for what is not here: that takes
    /// some milliseconds at most, and where it fails there is no answer.
    pub async fn get(&self, ticket: &Ticket, now: Mono) -> (Option<Arc<KeptAnswer>>, Option<Look>) {
        if let Some(answer) = self.kept.get(ticket.name()) {
            if now < answer.until {
                return (Some(answer), None);
            }
            self.kept.remove(ticket.name());
        }
        let Some((redis, clock)) = &self.shared else { return (None, None) };
        let found = redis.get(Space::Answers, ticket.name(), LOOK_MAX).await;
        let after = clock.now().mono;
        let look = |result| Some((result, after.since(now)));
        match found {
            Err(away) => (None, look(away.result())),
            Ok(None) => (None, look("miss")),
            Ok(Some((bytes, left))) => {
                let Some(answer) = sealed::open(ticket, &bytes, after.plus(left)) else {
                    return (None, look("corrupt"));
                };
                let answer = Arc::new(answer);
                self.kept.insert(*ticket.name(), Arc::clone(&answer));
                (Some(answer), look("ok"))
            }
        }
    }

    /// Keeps an answer for so long in place of any other of its ticket. Nobody waits for Redis.
    pub fn keep(&self, ticket: &Ticket, answer: KeptAnswer, ttl: Duration) {
        if let Some((redis, _)) = &self.shared
            && let Some(value) = sealed::seal(ticket, &answer)
        {
            let name = *ticket.name();
            redis.push(Job::Put { space: Space::Answers, name, value, ttl, over: Vec::new(), done: None });
        }
        self.kept.insert(*ticket.name(), Arc::new(answer));
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answers").field("kept", &self.kept.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::sealed::made::{answer, ticket};
    use super::*;

    fn long(bytes: usize, until: u64) -> KeptAnswer {
        KeptAnswer { said: Bytes::from(vec![b'x'; bytes]), until: Mono(until), ..answer("") }
    }

    #[tokio::test]
    async fn an_answer_is_given_out_until_its_time() {
        let answers = Answers::new();
        answers.keep(&ticket("1"), long(10, 100), Duration::from_nanos(100));
        assert_eq!(answers.get(&ticket("1"), Mono(99)).await.0.unwrap().cost, NanoUsd(5));
        assert!(answers.get(&ticket("2"), Mono(99)).await.0.is_none());
        assert!(answers.get(&ticket("1"), Mono(100)).await.0.is_none());
    }

    #[test]
    fn r15_kept_answers_are_bounded_by_their_bytes() {
        let answers = Answers::new();
        for place in 0..200 {
            answers.keep(&ticket(&format!("{place}")), long(1 << 20, u64::MAX), Duration::MAX);
        }
        assert!(answers.kept.weight() <= BYTES_MAX && answers.kept.len() >= 32, "{answers:?}");
    }
}
