//! Answers kept for equal requests: found before anyone is asked, told as if they were given now, at no cost.

use std::collections::VecDeque;
use std::sync::Arc;

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
use crate::relay::kept::{stream_told, whole_told};
use crate::relay::{RelayBody, whole};
use crate::routing::{CacheScope, Policy};
use crate::store::answers::{AnswerKey, KeptAnswer};
use crate::units::{Mono, NanoUsd};

use super::Way;

/// Where an answer may be found, and is to be kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    key: AnswerKey,
    /// Until when, if it is kept now.
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
        Some(Self { key: *hasher.finalize().as_bytes(), until: now.plus(cache.ttl) })
    }

    /// Keeps `said`, which `route` gave for `cost`.
    pub(super) fn keeper(
        self,
        way: &Way,
        route: &crate::routing::Route,
    ) -> impl FnOnce(Bytes, NanoUsd) + Send + 'static + use<> {
        let answers = Arc::clone(&way.gateway.answers);
        let (name, provider, checkpoint) =
            (Arc::clone(&route.name), Arc::clone(&route.provider), Arc::clone(&route.checkpoint));
        move |said, cost| {
            answers.keep(
                self.key,
                KeptAnswer { said, route: name, provider, checkpoint, cost, until: self.until },
            );
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
    ) -> Option<Response<RelayBody>> {
        let books = self.gateway.books.clone();
        let metrics = &books.metrics;
        let now = books.clock.now();
        let answer = self.gateway.answers.get(&place.key, now.mono);
        let told = answer.as_ref().and_then(|answer| Some((Arc::clone(answer), self.told(answer, call)?)));
        metrics.cache_request("exact", if told.is_some() { "hit" } else { "miss" });
        let (answer, mut response) = told?;
        let context = context(self);
        response.headers_mut().insert("x-tollway-cache", HeaderValue::from_static("hit"));
        self.trail.route = HeaderValue::from_str(&answer.route).ok();
        metrics.saved(&context.policy, "cache_exact", answer.cost);
        metrics.ended(&context.policy, &context.team, &answer.provider, &answer.checkpoint, 200, "ok");
        self.log(200, "ok", Some(NanoUsd::ZERO), |line| {
            // Writing into memory cannot fail.
            let _ = std::io::Write::write_fmt(
                line,
                format_args!(",\"cache\":\"hit\",\"cost_usd\":0,\"saved_usd\":{}", answer.cost),
            );
        });
        if let Some(treasury) = self.gateway.treasury() {
            let total = now.mono.since(self.began.mono);
            treasury.record_saved(self.gateway.hold_id(), context, total, answer.cost).await;
        }
        Some(response)
    }

    fn told(&self, answer: &KeptAnswer, call: &Call) -> Option<Response<RelayBody>> {
        let prompt_tokens = call.prompt_tokens_estimated(Vocabulary::of(&answer.checkpoint));
        let start = Start { request_id: self.id.as_str(), at_s: self.began.wall.as_second(), prompt_tokens };
        let (none, said) = (HeaderMap::new(), answer.said.clone());
        if call.stream {
            let face = call.face.as_ref().map(|face| Faced::new(face.writer(&start)));
            let told: VecDeque<Bytes> = stream_told(said, call.include_usage, prompt_tokens, face)?;
            return Some(reply::answer(&none, true, Some(NanoUsd::ZERO), RelayBody::Whole(told)));
        }
        let (answer, bill) = whole_told(said, call.endpoint.writes())?;
        let body = match &call.face {
            None => {
                let reported = whole::reported(&answer, call.endpoint.writes());
                RelayBody::pieces(whole::body_with_cost(&answer, reported.as_ref(), bill.cost))
            }
            Some(face) => RelayBody::of(face.whole(&answer.body, &start, &bill.into()).ok()?),
        };
        Some(reply::answer(&none, false, Some(NanoUsd::ZERO), body))
    }
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
