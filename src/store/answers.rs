//! Answers kept for equal requests, in this process: bounded by bytes; what nobody asks for makes room first.

use std::sync::Arc;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::units::{Mono, NanoUsd};

/// What all kept answers may take, in bytes.
const BYTES_MAX: u64 = 64 << 20;
/// What an answer takes beside its own bytes.
const OVERHEAD: u64 = 512;
/// Answers that room is made for at the start.
const USUAL: usize = 4_096;

/// Names a request, whoever spells it how.
pub type AnswerKey = [u8; 32];

/// An answer.
#[derive(Debug, Clone)]
pub struct KeptAnswer {
    /// The upstream's words, without what it said they cost.
    pub said: Bytes,
    /// `provider/upstream-model` that gave it.
    pub route: Arc<str>,
    /// Its provider.
    pub provider: Arc<str>,
    /// Its checkpoint.
    pub checkpoint: Arc<str>,
    /// What it cost.
    pub cost: NanoUsd,
    /// Until when it is given out.
    pub until: Mono,
}

/// The answers.
pub struct Answers {
    kept: Cache<AnswerKey, Arc<KeptAnswer>, Bytewise>,
}

#[derive(Clone)]
struct Bytewise;

impl Weighter<AnswerKey, Arc<KeptAnswer>> for Bytewise {
    fn weight(&self, _: &AnswerKey, answer: &Arc<KeptAnswer>) -> u64 {
        answer.said.len() as u64 + OVERHEAD
    }
}

impl Answers {
    /// None yet.
    pub fn new() -> Self {
        Self { kept: Cache::with_weighter(USUAL, BYTES_MAX, Bytewise) }
    }

    /// The answer to the request of this name, if it was given and is fresh.
    pub fn get(&self, key: &AnswerKey, now: Mono) -> Option<Arc<KeptAnswer>> {
        let answer = self.kept.get(key)?;
        if now < answer.until {
            return Some(answer);
        }
        self.kept.remove(key);
        None
    }

    /// Keeps an answer in place of any other of its name.
    pub fn keep(&self, key: AnswerKey, answer: KeptAnswer) {
        self.kept.insert(key, Arc::new(answer));
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answers").field("kept", &self.kept.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize, until: u64) -> KeptAnswer {
        KeptAnswer {
            said: Bytes::from(vec![b'x'; bytes]),
            route: "p/m".into(),
            provider: "p".into(),
            checkpoint: "m".into(),
            cost: NanoUsd(5),
            until: Mono(until),
        }
    }

    #[test]
    fn an_answer_is_given_out_until_its_time() {
        let answers = Answers::new();
        answers.keep([1; 32], answer(10, 100));
        assert_eq!(answers.get(&[1; 32], Mono(99)).unwrap().cost, NanoUsd(5));
        assert!(answers.get(&[2; 32], Mono(99)).is_none());
        assert!(answers.get(&[1; 32], Mono(100)).is_none());
    }

    #[test]
    fn r15_kept_answers_are_bounded_by_their_bytes() {
        let answers = Answers::new();
        for place in 0..200_u8 {
            answers.keep([place; 32], answer(1 << 20, u64::MAX));
        }
        assert!(answers.kept.weight() <= BYTES_MAX && answers.kept.len() >= 32, "{answers:?}");
    }
}
