//! Answers kept for equal requests: found before anyone is asked, told as if they were given now, at no cost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};

use crate::api::body::Call;
use crate::api::canon;
use crate::api::face::Start;
use crate::api::tokens::Vocabulary;
use crate::gateway::auth::Caller;
use crate::gateway::reply;
use crate::ledger::HoldContext;
use crate::relay::faced::Faced;
use crate::relay::kept::{By, stream_told, whole_told};
use crate::relay::meter::Meter;
use crate::relay::native::{self, NativeMeter};
use crate::relay::{Bill, RelayBody, whole};
use crate::routing::{CacheScope, Policy};
use crate::store::answers::{KeptAnswer, Ticket};
use crate::units::{Mono, NanoUsd};

use super::Way;

/// Where an answer may be found, and is to be kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    ticket: Ticket,
    /// How long it is kept, and until when if it is kept now.
    ttl: Duration,
    until: Mono,
}

impl Place {
    /// The place of `call` under `policy`, if that keeps answers and the caller does not object.
    pub(super) fn of(
        policy: &Policy,
        caller: &Caller<'_>,
        call: &Call,
        checkpoint: &str,
        headers: &HeaderMap,
        now: Mono,
    ) -> Option<Self> {
        let cache = policy.cache?;
        if objects(headers) {
            return None;
        }
        let owner = match cache.scope {
            CacheScope::Key if !caller.name().is_empty() => ["key", caller.name()],
            CacheScope::Key | CacheScope::Team => ["team", caller.team()],
            CacheScope::All => ["all", ""],
        };
        let mut hasher = blake3::Hasher::new();
        let stream = if call.stream { "stream" } else { "whole" };
        for part in [owner[0], owner[1], &policy.name, checkpoint, stream] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(&canon::canonical(call));
        Some(Self { ticket: Ticket::of(&hasher), ttl: cache.ttl, until: now.plus(cache.ttl) })
    }

    /// Keeps `said`, which `route` gave for `cost`.
    pub(super) fn keeper(
        self,
        way: &Way,
        route: &crate::routing::Route,
    ) -> impl FnOnce(Bytes, NanoUsd) + Send + 'static + use<> {
        let answers = Arc::clone(&way.gateway.answers);
        let mut answer = way.to_keep(route);
        move |said, cost| {
            answer.said = said;
            answer.cost = cost;
            answer.until = self.until;
            answers.keep(&self.ticket, answer, self.ttl);
        }
    }
}

/// Whether the caller wants none but a new answer.
fn objects(headers: &HeaderMap) -> bool {
    let words = headers.get_all(header::CACHE_CONTROL).into_iter().filter_map(|value| value.to_str().ok());
    words.flat_map(|value| value.split(',')).any(|word| matches!(word.trim(), "no-cache" | "no-store"))
}

impl Way {
    /// The answer that was kept at `place`, told now. `context` is for its record.
    pub(super) async fn kept(
        &mut self,
        place: &Place,
        call: &Call,
        context: impl FnOnce(&Self) -> HoldContext,
    ) -> Option<(Response<RelayBody>, Arc<KeptAnswer>)> {
        let books = self.gateway.books.clone();
        let metrics = &books.metrics;
        let now = books.clock.now();
        let answers = Arc::clone(&self.gateway.answers);
        let (answer, look) = answers.get(&place.ticket, now.mono).await;
        if let Some((result, took)) = look {
            metrics.store_operation("answer", result, took.as_secs_f64());
        }
        let told = answer.as_ref().and_then(|answer| Some((Arc::clone(answer), self.told(answer, call)?)));
        metrics.cache_request("exact", if told.is_some() { "hit" } else { "miss" });
        let (answer, mut response) = told?;
        response.headers_mut().insert("x-tollway-cache", HeaderValue::from_static("hit"));
        self.told_again(&answer, context, "cache_exact").await;
        Some((response, answer))
    }

    /// Counts and records that `answer` was told once more.
    pub(super) async fn told_again(
        &mut self,
        answer: &KeptAnswer,
        context: impl FnOnce(&Self) -> HoldContext,
        source: &'static str,
    ) {
        let books = self.gateway.books.clone();
        let metrics = &books.metrics;
        let now = books.clock.now();
        let context = context(self);
        self.trail.route = HeaderValue::from_str(&answer.route).ok();
        metrics.saved(&context.policy, source, answer.cost);
        metrics.ended(&context.policy, &context.team, &answer.provider, &answer.checkpoint, 200, "ok");
        let word = if source == "cache_exact" { "hit" } else { "repeated" };
        self.log(200, "ok", Some(NanoUsd::ZERO), |line| {
            // Writing into memory cannot fail.
            let _ = std::io::Write::write_fmt(
                line,
                format_args!(",\"cache\":\"{word}\",\"cost_usd\":0,\"saved_usd\":{}", answer.cost),
            );
        });
        if let Some(treasury) = self.gateway.treasury() {
            let total = now.mono.since(self.began.mono);
            treasury.record_saved(self.gateway.hold_id(), context, total, answer.cost).await;
        }
    }

    /// An answer by `route` as it is kept, but for its words and what they came to.
    pub(super) fn to_keep(&self, route: &crate::routing::Route) -> KeptAnswer {
        KeptAnswer {
            said: Bytes::new(),
            native: false,
            route: Arc::clone(&route.name),
            provider: Arc::clone(&route.provider),
            checkpoint: Arc::clone(&route.checkpoint),
            cost: NanoUsd::ZERO,
            usage: None,
            id: self.id.as_str().into(),
            at_s: self.began.wall.as_second(),
            until: Mono(0),
        }
    }

    /// `answer` as it is told now, to a request of its own.
    fn told(&self, answer: &KeptAnswer, call: &Call) -> Option<Response<RelayBody>> {
        told(answer, call, self.id.as_str(), self.began.wall.as_second())
    }
}

/// `answer` as the caller of `call` is told it, in a response of this id that is of this second.
pub(super) fn told(answer: &KeptAnswer, call: &Call, id: &str, at_s: i64) -> Option<Response<RelayBody>> {
    let prompt_tokens = call.prompt_tokens_estimated(Vocabulary::of(&answer.checkpoint));
    let start = Start { request_id: id, at_s, prompt_tokens };
    let (none, said) = (HeaderMap::new(), answer.said.clone());
    let bill = answer.usage.map(|(usage, estimated)| Bill { cost: Some(NanoUsd::ZERO), usage, estimated });
    if call.stream {
        let by = if answer.native {
            By::Native(NativeMeter::new(prompt_tokens))
        } else {
            let face = call.face.as_ref().map(|face| Faced::new(face.writer(&start)));
            By::Chat(Box::new(Meter::new(call.include_usage, prompt_tokens)), face)
        };
        let told: VecDeque<Bytes> = stream_told(said, by, bill)?;
        return Some(reply::answer(&none, true, Some(NanoUsd::ZERO), RelayBody::Whole(told)));
    }
    if answer.native {
        let reported = native::reported_in(&said);
        let body = RelayBody::pieces(native::body_with_bill(&said, reported.as_ref(), &bill?));
        return Some(reply::answer(&none, false, Some(NanoUsd::ZERO), body));
    }
    let (answer, of_words) = whole_told(said, call.endpoint.writes())?;
    let body = match &call.face {
        None => {
            let reported = whole::reported(&answer, call.endpoint.writes());
            RelayBody::pieces(whole::body_with_cost(&answer, reported.as_ref(), of_words.cost))
        }
        Some(face) => {
            let bill = bill.unwrap_or(of_words);
            RelayBody::of(face.whole(&answer.body, &start, &bill.into()).ok()?)
        }
    };
    Some(reply::answer(&none, false, Some(NanoUsd::ZERO), body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_may_object() {
        let with = |value: &'static str| {
            HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static(value))])
        };
        assert!(objects(&with("no-cache")) && objects(&with("max-age=0, no-store")));
        assert!(!objects(&with("max-age=0")) && !objects(&HeaderMap::new()));
    }
}
