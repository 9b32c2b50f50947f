//! Requests that their callers name by an `Idempotency-Key`: each is made once. Sent again it is answered as it was, and while it
//! is under way it is refused; what failed, or was not heard to its end, is made anew.
//!
//! A name is its key's own: others may use the same word. Nothing is kept of the request but what compares its words.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use crate::api::body::Call;
use crate::api::canon;
use crate::gateway::auth::Caller;
use crate::gateway::failure::Failure;
use crate::ledger::HoldContext;
use crate::relay::noted::{KeepingIt, Noting, noted};
use crate::relay::{Bill, RelayBody};
use crate::routing::Route;
use crate::store::answers::{Claim, Claimed, KeptAnswer, Ticket};
use crate::units::NanoUsd;
use crate::upstream::Whole;

use super::Way;
use super::kept;

/// As clients of Stripe's know it, and the drafts of the IETF.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const ORIGINAL: HeaderName = HeaderName::from_static("x-tollway-original-request-id");
/// Longest name, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// A request that its caller has named.
#[derive(Debug)]
pub(super) struct Named {
    ticket: Ticket,
    print: [u8; 32],
}

/// What is to be done with a request.
pub(super) enum Turn {
    /// It was answered before.
    Answered(Response<RelayBody>),
    /// It is to be served.
    Serve(Claim),
}

impl Named {
    /// The name in `headers`, for `body` at the endpoint `at`.
    pub(super) fn of(
        caller: &Caller<'_>,
        headers: &HeaderMap,
        at: &str,
        body: &Bytes,
    ) -> Result<Option<Self>, Failure> {
        let mut words = headers.get_all(KEY).into_iter();
        let Some(word) = words.next() else { return Ok(None) };
        let word = word.as_bytes();
        if words.next().is_some() || word.is_empty() || word.len() > KEY_BYTES_MAX {
            return Err(Failure::IdempotencyKey);
        }
        let mut hasher = blake3::Hasher::new();
        for part in [b"once", caller.name().as_bytes(), caller.team().as_bytes(), word] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let ticket = Ticket::of(&hasher);
        // Read before, so that this cannot fail; if it did, the words as they came would be compared.
        let mut words = canon::whole(body).unwrap_or_else(|_| body.to_vec());
        words.push(b' ');
        words.extend_from_slice(at.as_bytes());
        Ok(Some(Self { ticket, print: ticket.print_of(&words) }))
    }
}

impl Way {
    /// Claims the request's name.
    pub(super) async fn claim(
        &mut self,
        named: Named,
        call: &Call,
        context: impl FnOnce(&Self) -> HoldContext,
    ) -> Result<Turn, Failure> {
        let Named { ticket, print } = named;
        let claimed = self.gateway.once.claim(ticket, print).await;
        let metrics = Arc::clone(&self.gateway.books.metrics);
        let count = |result| metrics.named_request(result);
        match claimed {
            Claimed::Ours(claim) => {
                count(if claim.is_known() { "first" } else { "unshared" });
                Ok(Turn::Serve(claim))
            }
            Claimed::Busy => {
                count("in_flight");
                Err(Failure::KeyInUse)
            }
            Claimed::Other => {
                count("other_body");
                Err(Failure::KeyReused)
            }
            Claimed::Unkept => {
                count("unkept");
                Err(Failure::AnswerUnkept)
            }
            Claimed::Kept(answer) => {
                let Some(mut response) = kept::told(&answer, call, &answer.id, answer.at_s) else {
                    // It was told once; this version cannot tell it again.
                    count("unkept");
                    return Err(Failure::AnswerUnkept);
                };
                count("replayed");
                let headers = response.headers_mut();
                headers.insert(REPLAYED, HeaderValue::from_static("true"));
                headers.extend(HeaderValue::from_str(&answer.id).ok().map(|id| (ORIGINAL, id)));
                self.told_again(&answer, context, "idempotency").await;
                Ok(Turn::Answered(response))
            }
        }
    }

    /// An answer that was kept for equal requests, as it was told to this one.
    pub(super) fn as_told(&self, answer: &KeptAnswer) -> KeptAnswer {
        KeptAnswer { id: self.id.as_str().into(), at_s: self.began.wall.as_second(), ..answer.clone() }
    }

    /// Takes a stream by `route` down for whoever sends its request again.
    pub(super) fn noting(&self, claim: Option<Claim>, native: bool, route: &Route) -> Option<Box<Noting>> {
        let (claim, answer) = (claim?, self.to_keep(route));
        Some(Box::new(Noting::new(native, move |said, native, bill| {
            Box::pin(claim.keep(&came_to(answer, said, native, bill)))
        })))
    }

    /// Keeps a whole answer by `route` for whoever sends its request again.
    pub(super) fn note(
        &self,
        claim: Option<Claim>,
        native: bool,
        route: &Route,
        whole: &Whole,
        bill: Bill,
    ) -> Option<KeepingIt> {
        let answer = came_to(self.to_keep(route), noted(whole), native, bill);
        Some(Box::pin(claim?.keep(&answer)))
    }
}

fn came_to(answer: KeptAnswer, said: Bytes, native: bool, bill: Bill) -> KeptAnswer {
    let cost = bill.cost.unwrap_or(NanoUsd::ZERO);
    KeptAnswer { said, native, cost, usage: Some((bill.usage, bill.estimated)), ..answer }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Key;

    fn named(key: &str, team: &str, words: &[&str], body: &str) -> Result<Option<Named>, Failure> {
        let key = Arc::new(Key { name: key.into(), team: team.into(), ..Key::default() });
        let values = words.iter().map(|word| (KEY, HeaderValue::from_bytes(word.as_bytes()).unwrap()));
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(name, value);
        }
        Named::of(&Caller { key: Some(&key) }, &headers, "chat", &Bytes::from(body.to_owned()))
    }

    #[test]
    fn r55_a_name_is_its_keys_own() {
        let all: Vec<Named> = [("a", "red"), ("b", "red"), ("a", "blue")]
            .into_iter()
            .map(|(key, team)| named(key, team, &["x"], "{}").unwrap().unwrap())
            .collect();
        for (at, one) in all.iter().enumerate() {
            assert!(all[..at].iter().all(|other| other.ticket != one.ticket && other.print != one.print));
        }
    }

    #[test]
    fn a_names_words_are_compared_by_what_they_say() {
        let print = |body| named("a", "red", &["x"], body).unwrap().unwrap().print;
        assert_eq!(print(r#"{"a":1,"b":"A"}"#), print(r#"{ "b":"\u0041", "a":1 }"#));
        assert_ne!(print(r#"{"a":1}"#), print(r#"{"a":2}"#));
    }

    #[test]
    fn a_name_is_one_word_of_some_length() {
        assert!(named("a", "red", &[], "{}").unwrap().is_none());
        for bad in [&[""][..], &["a", "a"], &[&"x".repeat(256)]] {
            assert!(named("a", "red", bad, "{}").is_err());
        }
        assert!(named("a", "red", &[&"x".repeat(255)], "{}").unwrap().is_some());
    }
}
