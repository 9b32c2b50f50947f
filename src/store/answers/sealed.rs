//! A kept answer as it lies on a disk or in Redis: sealed with a secret that only an equal request brings with it.
//!
//! Whoever reads the file or Redis can read no answer, what was changed there is no answer, and one that was put under another's
//! name is none either.

use std::sync::Arc;

use bytes::Bytes;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

use crate::units::{Mono, NanoUsd, Usage};

use super::KeptAnswer;

/// The format; also what tells an answer from a claim.
pub(super) const FORMAT: u8 = 1;

/// What a request is known by: where its answer lies, what opens it, and what its words are compared under.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    name: [u8; 32],
    secret: [u8; 32],
    compares: [u8; 32],
}

impl Ticket {
    /// The ticket of whatever was put into `hasher`: nothing in it tells of that, and no part of it of another.
    pub fn of(hasher: &blake3::Hasher) -> Self {
        let (mut name, mut secret, mut compares) = ([0; 32], [0; 32], [0; 32]);
        let mut bits = hasher.finalize_xof();
        for part in [&mut name, &mut secret, &mut compares] {
            bits.fill(part);
        }
        Self { name, secret, compares }
    }

    /// Where its answer lies.
    pub const fn name(&self) -> &[u8; 32] {
        &self.name
    }

    /// What a body is compared by, which tells nothing of it to who has not the ticket.
    pub fn print_of(&self, body: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.compares, body).as_bytes()
    }

    fn key(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&CHACHA20_POLY1305, &self.secret).ok().map(LessSafeKey::new)
    }

    fn bound_to(&self) -> Aad<[u8; 32]> {
        Aad::from(self.name)
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}

/// What stands before the words.
#[derive(Serialize, Deserialize)]
struct Head {
    route: Arc<str>,
    provider: Arc<str>,
    checkpoint: Arc<str>,
    nanos: i64,
    tokens: Option<[u64; 5]>,
    estimated: bool,
    native: bool,
    id: Arc<str>,
    at_s: i64,
}

/// `answer` as it is kept; `None`: the system has no random bits.
pub(super) fn seal(ticket: &Ticket, answer: &KeptAnswer) -> Option<Vec<u8>> {
    let tokens =
        |usage: Usage| [usage.prompt, usage.cached, usage.cache_write, usage.completion, usage.reasoning];
    let head = Head {
        tokens: answer.usage.map(|(usage, _)| tokens(usage)),
        estimated: answer.usage.is_some_and(|(_, estimated)| estimated),
        route: Arc::clone(&answer.route),
        provider: Arc::clone(&answer.provider),
        checkpoint: Arc::clone(&answer.checkpoint),
        nanos: answer.cost.0,
        native: answer.native,
        id: Arc::clone(&answer.id),
        at_s: answer.at_s,
    };
    let head = serde_json::to_vec(&head).ok()?;
    let length = u32::try_from(head.len()).ok()?;
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce).ok()?;
    let mut words = Vec::with_capacity(4 + head.len() + answer.said.len() + CHACHA20_POLY1305.tag_len());
    words.extend_from_slice(&length.to_le_bytes());
    words.extend_from_slice(&head);
    words.extend_from_slice(&answer.said);
    let nonce_used = Nonce::assume_unique_for_key(nonce);
    ticket.key()?.seal_in_place_append_tag(nonce_used, ticket.bound_to(), &mut words).ok()?;
    Some([&[FORMAT][..], &nonce, &words].concat())
}

/// The answer that `bytes` hold, given out until `until`; `None`: they are none that was kept under this ticket.
pub(super) fn open(ticket: &Ticket, bytes: &[u8], until: Mono) -> Option<KeptAnswer> {
    let rest = bytes.strip_prefix(&[FORMAT])?;
    let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
    let mut sealed = sealed.to_vec();
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let length = ticket.key()?.open_in_place(nonce, ticket.bound_to(), &mut sealed).ok()?.len();
    sealed.truncate(length);
    let words = Bytes::from(sealed);
    let (length, _) = words.split_first_chunk::<4>()?;
    let said_at = usize::try_from(u32::from_le_bytes(*length)).ok()?.checked_add(4)?;
    let head: Head = serde_json::from_slice(words.get(4..said_at)?).ok()?;
    Some(KeptAnswer {
        said: words.slice(said_at..),
        native: head.native,
        route: head.route,
        provider: head.provider,
        checkpoint: head.checkpoint,
        cost: NanoUsd(head.nanos),
        usage: head.tokens.map(|tokens| (usage_of(tokens), head.estimated)),
        id: head.id,
        at_s: head.at_s,
        until,
    })
}

fn usage_of([prompt, cached, cache_write, completion, reasoning]: [u64; 5]) -> Usage {
    Usage { prompt, cached, cache_write, completion, reasoning }
}

#[cfg(test)]
pub(super) mod made {
    //! For tests: tickets and answers.

    use super::*;

    pub(crate) fn ticket(of: &str) -> Ticket {
        Ticket::of(blake3::Hasher::new().update(of.as_bytes()))
    }

    pub(crate) fn answer(said: &'static str) -> KeptAnswer {
        KeptAnswer {
            said: Bytes::from_static(said.as_bytes()),
            native: false,
            route: "p/m".into(),
            provider: "p".into(),
            checkpoint: "m".into(),
            cost: NanoUsd(5),
            usage: Some((Usage { prompt: 3, completion: 2, ..Usage::default() }, true)),
            id: "req_1".into(),
            at_s: 7,
            until: Mono(9),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::made::{answer, ticket};
    use super::*;

    #[test]
    fn only_who_asks_the_same_opens_what_was_sealed() {
        let sealed = seal(&ticket("a"), &answer("a secret of the caller's")).unwrap();
        let opened = open(&ticket("a"), &sealed, Mono(9)).unwrap();
        assert_eq!(
            (&*opened.said, opened.cost, &*opened.id),
            (&b"a secret of the caller's"[..], NanoUsd(5), "req_1")
        );
        assert_eq!(opened.usage, answer("").usage);
        assert!(open(&ticket("b"), &sealed, Mono(9)).is_none());
        assert!(
            memchr::memmem::find(&sealed, b"secret").is_none()
                && memchr::memmem::find(&sealed, b"p/m").is_none()
        );
    }

    #[test]
    fn r29_whatever_is_changed_is_no_answer() {
        let sealed = seal(&ticket("a"), &answer("hello")).unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&ticket("a"), &changed, Mono(9)).is_none(), "a bit of byte {at}");
            assert!(open(&ticket("a"), &sealed[..at], Mono(9)).is_none(), "cut at {at}");
        }
    }

    proptest::proptest! {
        #[test]
        fn r17_no_bytes_make_the_opener_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            proptest::prop_assert!(open(&ticket("a"), &bytes, Mono(9)).is_none());
        }
    }
}
