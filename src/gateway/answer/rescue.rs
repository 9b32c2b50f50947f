//! The way of a request whose stream broke off: decided anew among the routes that can go on with it, and asked within what
//! the request had left of attempts, budget and time.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use smallvec::SmallVec;

use crate::api::body::Call;
use crate::api::continued::SoFar;
use crate::config::Snapshot;
use crate::gateway::auth::Caller;
use crate::gateway::intake::Tags;
use crate::gateway::live::Live;
use crate::gateway::steering::Steering;
use crate::keys::Key;
use crate::providers::fault::{Class, Fault};
use crate::relay::Rescue;
use crate::relay::rescue::{Broke, Continued, Rescued};
use crate::routing::choose::decide_into;
use crate::routing::{Decision, Policy, RequestFacts, Route, RouteId};
use crate::telemetry::Metrics;
use crate::units::Mono;
use crate::upstream::fallback::{Broken, Errand, Served};
use crate::upstream::trial::Course;
use crate::upstream::{Answer, Reason};

use super::decided::Asked;
use super::relayed::answered;

/// All that a request needs to be decided and asked once more, kept while its stream runs.
pub(super) struct Kit {
    pub(super) live: Arc<Live>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) policy_at: usize,
    /// The caller's key.
    pub(super) key: Option<Arc<Key>>,
    pub(super) call: Call,
    pub(super) headers: HeaderMap,
    pub(super) tags: Tags,
    pub(super) asked: Asked,
    pub(super) began: Mono,
    pub(super) limit: Duration,
    /// Who broke off, the last one last.
    pub(super) broken: SmallVec<[RouteId; 4]>,
    pub(super) attempts: u32,
    /// What became of attempts that brought no answer.
    pub(super) course: Arc<Course>,
    /// What the caller is told of the breaks: items of a JSON array.
    pub(super) told: String,
}

impl Kit {
    /// As the relay wants it.
    pub(super) fn rescue(self) -> Rescue {
        Rescue {
            go_on: Box::new(move |broke| {
                Box::pin(async move { Box::new(self).go_on(broke).await.unwrap_or(Rescued::Nobody) })
            }),
        }
    }

    /// Looks for who goes on. Dropping the future cancels the attempt under way.
    async fn go_on(mut self: Box<Self>, broke: Broke) -> Option<Rescued> {
        let Broke { so_far, reason } = broke;
        if self.call.output_tokens_max.is_some_and(|max| so_far.tokens >= max) {
            return Some(Rescued::AtBound);
        }
        let live = Arc::clone(&self.live);
        let snapshot = &live.snapshot;
        let policy = snapshot.policies.get(self.policy_at)?;
        let from = snapshot.route(*self.broken.last()?)?;
        let call = self.call.continued(so_far.clone());
        let waits_from = live.upstreams.clock.now();
        let served = self.ask(policy, from, &call, &so_far, reason).await?;
        let to = served.candidate.route;
        let route = snapshot.route(to)?;
        self.asked.served(&live, &served);
        let lessons = self.asked.lessons(&live, policy, &call, &served)?;
        self.attempts = served.attempts;
        self.broken.push(to);
        self.tell(from, route, so_far.tokens, reason);
        let (answered, answer) = answered(route, served, lessons, waits_from);
        let Answer::Streamed(streamed) = answer else { return None };
        Some(Rescued::By(Continued {
            so_far,
            streamed: *streamed,
            answered,
            series: live.series(&self.metrics, self.policy_at, self.caller().team_arc(), to),
            may_echo: snapshot.provider_of(to).is_some_and(|provider| provider.continuation.may_echo()),
            resumed: format!("[{}]", self.told),
            next: self.rescue(),
        }))
    }

    /// Asks those who can, one after another, until one goes on with what `from` broke off.
    async fn ask(
        &self,
        policy: &Policy,
        from: &Route,
        call: &Call,
        so_far: &SoFar,
        reason: &'static str,
    ) -> Option<Served> {
        let (snapshot, upstreams) = (&self.live.snapshot, &self.live.upstreams);
        let tags: SmallVec<[(&str, &str); 8]> =
            self.tags.iter().map(|(name, value)| (&**name, &**value)).collect();
        let caller = self.caller();
        let now = upstreams.clock.now();
        let facts = RequestFacts {
            output_tokens_max: call.output_tokens_max,
            needs: call.needs,
            deadline: Some(self.limit),
            ..caller.facts(call.endpoint, &tags)
        };
        let steering = Steering::by(snapshot, call, &facts)?;
        let barred = self.barred(snapshot, &steering.eligible, from, so_far.split().0.is_empty());
        let facts = RequestFacts {
            prompt_tokens: self.asked.prompt_tokens.saturating_add(so_far.tokens),
            held: &self.asked.held,
            waited: now.mono.since(self.began),
            tried: &barred,
            ..steering.steered(facts)
        };
        let facts =
            RequestFacts { learned: self.asked.learned(&self.live, policy, &facts, now.mono), ..facts };
        let observed = upstreams.observed_by(policy, facts.eligible, now.mono);
        let mut decision = Decision::default();
        decide_into(&mut decision, &snapshot.routes, policy, &facts, &observed, now);
        let (attempts, budget) = (self.attempts, *self.broken.first()?);
        let broken = Broken { reason: broken_off(from, reason), attempts, budget, barred: barred.clone() };
        let errand = Errand {
            call,
            headers: &self.headers,
            routes: &snapshot.routes,
            route_provider: &snapshot.route_provider,
            policy,
            late: &|| (),
            course: &self.course,
            facts,
            began: self.began,
            limit: self.limit,
            broken: Some(&broken),
        };
        let served = upstreams.serve(&errand, &mut decision).await;
        if let Err(error) = &served {
            tracing::debug!(route = &*from.name, reason, %error, "nobody goes on with a broken stream");
        }
        served.ok()
    }

    fn caller(&self) -> Caller<'_> {
        Caller { key: self.key.as_ref() }
    }

    /// Those of `eligible` who cannot go on: other checkpoints, who broke off, and whose dialect has no way to. An answer of
    /// which nothing was said but blanks is anybody's to begin.
    fn barred(
        &self,
        snapshot: &Snapshot,
        eligible: &[RouteId],
        from: &Route,
        is_blank: bool,
    ) -> SmallVec<[RouteId; 8]> {
        let able = |id: RouteId| {
            let (Some(route), Some(provider)) = (snapshot.route(id), snapshot.provider_of(id)) else {
                return false;
            };
            let can = provider.continuation.serves(self.call.endpoint, &route.upstream_model);
            route.checkpoint == from.checkpoint && (can || is_blank) && !self.broken.contains(&id)
        };
        eligible.iter().copied().filter(|id| !able(*id)).collect()
    }

    fn tell(&mut self, from: &Route, to: &Route, tokens: u64, reason: &str) {
        let comma = if self.told.is_empty() { "" } else { "," };
        let (from, to) = (&from.name, &to.name);
        let one = serde_json::json!({"from": **from, "to": **to, "after_tokens": tokens, "reason": reason});
        self.told = format!("{}{comma}{one}", self.told);
    }
}

/// A broken stream as a failed attempt.
fn broken_off(route: &Route, reason: &str) -> Reason {
    let fault = Fault { class: Class::BrokenStream, retry_after: None, message: reason.to_owned() };
    Reason { route: Arc::clone(&route.name), fault, answer: None }
}
