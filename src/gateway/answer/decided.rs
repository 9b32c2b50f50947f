//! What a request is decided by beyond its own words: what was learnt of such requests, which of its prompt is cached where,
//! and what the decision promises. And what is told when nobody may serve it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use smallvec::SmallVec;

use crate::api::body::Call;
use crate::api::prefix;
use crate::config::NameKind;
use crate::gateway::auth::Caller;
use crate::gateway::decisions::Made;
use crate::gateway::failure::Failure;
use crate::gateway::live::Live;
use crate::routing::choose::{decide_into, limit};
use crate::routing::explain::Explanation;
use crate::routing::learn::prefix::{Block, Held};
use crate::routing::learn::queue_price::Demanded;
use crate::routing::{Decision, Learned, Policy, RequestFacts, RouteId};
use crate::units::{Mono, Now};
use crate::upstream::fallback::Served;
use crate::upstream::{self, Asking, Lessons};

use super::Way;

/// The checkpoint that the routes `eligible` have, and who asks for it.
fn asking_of(live: &Live, caller: &Caller<'_>, eligible: &[RouteId]) -> (Arc<str>, Asking) {
    let first = eligible.first().and_then(|id| live.snapshot.route(*id));
    let model = first.map_or_else(|| "none".into(), |route| Arc::clone(&route.checkpoint));
    let asking = Asking::new(caller.name(), caller.team(), &model);
    (model, asking)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate in tokens"
)]
fn prompt_tokens(call: &Call, bytes_per_token: f32) -> u64 {
    (call.prompt_bytes as f32 / bytes_per_token) as u64 + 1
}

/// The prompt's length by what its asker's tokens measure.
pub(super) fn tokens_estimated(live: &Live, caller: &Caller<'_>, call: &Call, eligible: &[RouteId]) -> u64 {
    let (_, asking) = asking_of(live, caller, eligible);
    prompt_tokens(call, live.upstreams.demand.bytes_per_token(asking))
}

/// A request as the tables of what was learnt know it.
pub(super) struct Asked {
    asking: Asking,
    model: Arc<str>,
    /// The prompt's length by what its asker's tokens measure.
    pub(super) prompt_tokens: u64,
    chain: Vec<Block>,
    /// What each eligible route should hold of the prompt.
    pub(super) held: SmallVec<[Held; 8]>,
}

impl Asked {
    /// `call` by `caller`, for which the routes `eligible` have the model.
    pub(super) fn of(live: &Live, caller: &Caller<'_>, call: &Call, eligible: &[RouteId], now: Mono) -> Self {
        let upstreams = &live.upstreams;
        let (model, asking) = asking_of(live, caller, eligible);
        let bytes_per_token = upstreams.demand.bytes_per_token(asking);
        let prompt_tokens = prompt_tokens(call, bytes_per_token);
        let chain = if call.endpoint.writes() {
            prefix::chain(call, &upstreams.prefixes.salt(caller.team(), caller.name()), bytes_per_token)
        } else {
            Vec::new()
        };
        let mut held = SmallVec::new();
        if !chain.is_empty() {
            held.extend(eligible.iter().map(|id| {
                let health = upstreams.health.get(usize::from(id.0));
                health.map_or_else(Held::default, |health| {
                    upstreams.prefixes.held(&chain, health.number(), now)
                })
            }));
        }
        let held_most = held.iter().map(|held: &Held| u64::from(held.tokens)).max().unwrap_or(0);
        if call.endpoint.writes() {
            upstreams.demand.came(asking, held_most * 2 > prompt_tokens);
        }
        Self { asking, model, prompt_tokens, chain, held }
    }

    /// The checkpoint that is asked for.
    pub(super) fn model(&self) -> &str {
        &self.model
    }

    /// What was learnt of such requests.
    pub(super) fn learned(
        &self,
        live: &Live,
        policy: &Policy,
        facts: &RequestFacts<'_>,
        now: Mono,
    ) -> Learned {
        live.learned(self.asking, policy, facts, now)
    }

    /// Tells the price of each queue of our own what the request would cost elsewhere, and what work it would be there.
    pub(super) fn weighed(
        &self,
        live: &Live,
        policy: &Policy,
        facts: &RequestFacts<'_>,
        decision: &Decision,
        now: Mono,
    ) {
        for (place, id) in facts.eligible.iter().enumerate() {
            let Some(route) = live.snapshot.route(*id).filter(|route| route.local) else { continue };
            let Some(health) = live.upstreams.health.get(usize::from(id.0)) else { continue };
            let held = self.held.get(place).copied().unwrap_or_default();
            let seen = health.outlook_at(now);
            let demanded = Demanded::of(decision, limit(policy, facts), self.prompt_tokens, held, &seen);
            let Some(demanded) = demanded else { continue };
            let here = decision.order.first().is_some_and(|first| first.route == *id);
            live.upstreams.demand.queue_decided(&route.name, now, demanded, here);
        }
    }

    /// The promise that the decision makes, if it makes one: to a stream, under a policy with `slo.ttft`.
    pub(super) fn promise<'l>(
        &self,
        live: &'l Live,
        policy: &'l Policy,
        facts: &RequestFacts<'_>,
        decision: &Decision,
        began: Mono,
    ) -> Option<Promise<'l>> {
        if !facts.may_hedge || policy.slo.ttft.is_none() {
            return None;
        }
        live.upstreams.demand.promised(self.asking, policy, &self.model, decision);
        Some(Promise {
            live,
            policy,
            asking: self.asking,
            began,
            limit: limit(policy, facts),
            open: true.into(),
        })
    }

    /// The route that brought a first token has read the prompt.
    pub(super) fn served(&self, live: &Live, served: &Served) {
        if let Some(health) = live.upstreams.health.get(usize::from(served.candidate.route.0)) {
            let parts = live.upstreams.prefixes.served(&self.chain, health.number(), served.answered);
            health.read(served.answered, &parts);
        }
    }

    /// What the answer will teach when it is over.
    pub(super) fn lessons(
        &self,
        live: &Live,
        policy: &Policy,
        call: &Call,
        served: &Served,
    ) -> Option<Lessons> {
        Some(Lessons {
            demand: Arc::clone(&live.upstreams.demand),
            asking: self.asking,
            policy: Arc::clone(&policy.name),
            prompt_bytes: call.prompt_bytes,
            prompt_tokens: self.prompt_tokens,
            held: served.held,
            attempt: served.attempt,
            health: Arc::clone(live.upstreams.health.get(usize::from(served.candidate.route.0))?),
        })
    }
}

impl Live {
    /// What was learnt of requests of `asking` under `policy`, and what a second of an engine of our own counts.
    pub fn learned(&self, asking: Asking, policy: &Policy, facts: &RequestFacts<'_>, now: Mono) -> Learned {
        let demand = &self.upstreams.demand;
        let mut learned = demand.learned(asking, policy, facts.prompt_tokens, facts.output_tokens_max);
        learned.hedge_room_usd = demand.hedge_room_usd(policy, now, learned.mean_cost_usd);
        for id in facts.eligible {
            let Some(route) = self.snapshot.route(*id).filter(|route| route.local) else { continue };
            learned.behind = learned.behind.with(demand.behind(&route.name, now));
        }
        learned
    }
}

/// A promise under way. Dropped, because the caller left, it counts as broken if it was late by then, and else not at all.
pub(super) struct Promise<'l> {
    live: &'l Live,
    policy: &'l Policy,
    asking: Asking,
    began: Mono,
    limit: Duration,
    open: AtomicBool,
}

impl Promise<'_> {
    /// The first token came at `at`.
    pub(super) fn answered(self, at: Mono) {
        self.finished(at.since(self.began) > self.limit);
    }

    /// No first token came within the limit: what comes later changes nothing.
    pub(super) fn late(&self) {
        self.finished(true);
    }

    /// Nobody answered. Where the request itself was at fault, nothing was promised.
    pub(super) fn failed(self, error: &upstream::Error) {
        if matches!(error, upstream::Error::Refused(_)) {
            self.open.store(false, Ordering::Relaxed);
        } else {
            self.finished(true);
        }
    }

    fn finished(&self, late: bool) {
        if self.open.swap(false, Ordering::Relaxed) {
            self.live.upstreams.demand.finished(self.asking, self.policy, late);
        }
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        if self.live.upstreams.clock.now().mono.since(self.began) > self.limit {
            self.finished(true);
        }
    }
}

impl Way {
    /// Decides into `decision`. A failure where nobody may serve, now or within the promise.
    pub(super) fn decide(
        &mut self,
        live: &Live,
        (policy_at, policy): (usize, &Policy),
        facts: &RequestFacts<'_>,
        kind: NameKind,
        decision: &mut Decision,
    ) -> Result<(), Failure> {
        let now = self.gateway.books.clock.now();
        let observed = live.upstreams.observed_by(policy, facts.eligible, now.mono);
        decide_into(decision, &live.snapshot.routes, policy, facts, &observed, now);
        let made = Made { snapshot: &live.snapshot, policy_at, policy, decision, facts, now };
        let (decisions, metrics) = (&self.gateway.decisions, &self.gateway.books.metrics);
        self.seen.decision = Some(decisions.keep(&self.id, &made, &observed, metrics));
        live.upstreams.wanted(policy, &live.snapshot.routes, decision, now.mono);
        let reason = if decision.order.is_empty() { "none" } else { kind_name(kind) };
        let first = decision.order.first().and_then(|candidate| live.snapshot.route(candidate.route));
        let model = first.map_or("none", |route| &*route.checkpoint);
        self.gateway.books.metrics.decision(&policy.name, policy.objective.name(), model, reason).inc();
        let passes = decision.limit.zip(decision.wait_min()).is_some_and(|(limit, wait)| wait < limit);
        if decision.order.is_empty() && !passes {
            return Err(nobody(live, policy, facts, decision, now));
        }
        Ok(())
    }
}

/// What is told where `decision` has nobody to ask.
pub(super) fn nobody(
    live: &Live,
    policy: &Policy,
    facts: &RequestFacts<'_>,
    decision: &Decision,
    now: Now,
) -> Failure {
    if !decision.excluded.is_empty() && decision.excluded.iter().all(|one| one.why.code() == "forbidden") {
        return Failure::ModelForbidden { model: facts.model.to_owned() };
    }
    if let Some(wait) = decision.wait_min() {
        return Failure::AllLimited { wait };
    }
    let explanation = Explanation::new(&live.snapshot.routes, policy, decision, facts, now);
    if decision.excluded.iter().any(|one| one.why.is_wish()) {
        return Failure::Unwanted { reasons: left_out(facts.model, policy, &explanation) };
    }
    Failure::NoRoute { reasons: left_out(facts.model, policy, &explanation) }
}

fn left_out(model: &str, policy: &Policy, explanation: &Explanation) -> String {
    if explanation.excluded.is_empty() {
        return format!(
            "None of the providers that offer {model:?} is set up here: GET /v1/models lists what is."
        );
    }
    let each: Vec<String> =
        explanation.excluded.iter().map(|one| format!("{}: {}", one.route, one.why)).collect();
    format!("Under the policy {:?}: {}", &*policy.name, each.join("; "))
}

const fn kind_name(kind: NameKind) -> &'static str {
    match kind {
        NameKind::Canonical => "canonical",
        NameKind::Alias => "alias",
        NameKind::Upstream => "upstream_id",
        NameKind::Pin => "pinned",
    }
}
