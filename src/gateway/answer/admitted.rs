//! Whether a request may spend what it can cost: what is asked for, of which budgets and limits, and what is made of a request
//! that a budget can hold in part only.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::api::body::Call;
use crate::api::tokens::Vocabulary;
use crate::budget::{Demand, Refusal, WhenSpent, Why};
use crate::gateway::auth::Caller;
use crate::gateway::failure::Failure;
use crate::gateway::live::Live;
use crate::ledger::{Bounds, HoldContext};
use crate::pricing::PriceCard;
use crate::routing::{Decision, Policy, RequestFacts, Route, RouteId};
use crate::treasury::Denied;
use crate::units::NanoUsd;
use crate::upstream::trial::is_rescue_wanted;

use super::Way;
use super::demand::Payer;

/// The shortest answer that a request is admitted for where its budget cannot hold all it asked for, in tokens.
const ANSWER_TOKENS_MIN: u64 = 64;
/// Tokens that a provider's own words around a prompt may add to it.
const PROMPT_TOKENS_AROUND: u64 = 64;

/// An answer is taken to be no longer where nobody says how long it may be, in tokens.
const OUTPUT_TOKENS_MAX: u64 = 131_072;

/// What a request is admitted for.
pub(super) struct Ask<'w> {
    pub(super) live: &'w Live,
    pub(super) caller: &'w Caller<'w>,
    pub(super) policy_at: usize,
    pub(super) policy: &'w Policy,
    pub(super) tags: &'w [(&'w str, &'w str)],
    pub(super) limit: Duration,
}

impl Ask<'_> {
    /// What the caller's key or team belongs to; empty if that is nothing.
    fn organisation(&self) -> &str {
        let of_team = || self.live.snapshot.groups.teams.get(self.caller.team())?.organisation.as_deref();
        match self.caller.organisation() {
            "" => of_team().unwrap_or_default(),
            own => own,
        }
    }
}

/// What follows for a request from what its budgets hold.
#[derive(Debug, Default)]
pub(super) struct Terms {
    /// Its answer may have so many tokens: fewer than it asked for.
    pub(super) output_max: Option<u64>,
    /// Only these routes may serve it, the others being too dear.
    pub(super) only: Option<Only>,
}

/// Who may still serve when a budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Only {
    /// The cheapest.
    Cheapest,
    /// This machine's own engine.
    Local,
}

/// The most that a request can cost, by the routes that may come to serve it.
struct Cost<'l> {
    cards: Vec<&'l PriceCard>,
    bounds: Bounds,
    from: Timestamp,
    until: Timestamp,
}

impl<'l> Cost<'l> {
    fn of(ask: &Ask<'l>, call: &Call, decision: &Decision, estimated: u64, now: Timestamp) -> Self {
        let routes = || {
            let later = decision.excluded.iter().filter(|one| one.why.is_for_now()).map(|one| one.route);
            let all = decision.order.iter().map(|candidate| candidate.route).chain(later);
            all.filter_map(|id| ask.live.snapshot.route(id))
        };
        let resumes = is_rescue_wanted(ask.policy, call);
        let room = routes().filter_map(|route| route.context_tokens).max();
        let room = longest(ask.policy.output_tokens_max, room);
        let (prompt, output) = lengths(call, estimated, room);
        let attempts = ask.policy.fallback.attempts;
        Self {
            cards: routes().filter_map(|route| route.price.as_ref()).collect(),
            bounds: Bounds { prompt, output, attempts, searches: searches(call, prompt), resumes },
            from: now,
            until: SignedDuration::try_from(ask.limit)
                .ok()
                .and_then(|limit| now.checked_add(limit).ok())
                .unwrap_or(now),
        }
    }

    fn ceiling(&self) -> NanoUsd {
        self.bounds.ceiling(self.cards.iter().copied(), self.from, self.until)
    }

    /// The same for an answer of at most as many tokens as `left` pays for; `None`: too few to be of use, or no fewer than were
    /// asked for, so that asking again would change nothing.
    fn within(&mut self, left: NanoUsd) -> Option<u64> {
        let cards = self.cards.iter().copied();
        let output = self.bounds.output_within(left, cards, self.from, self.until)?.min(self.bounds.output);
        let least = ANSWER_TOKENS_MIN.min(self.bounds.output);
        let is_less = output < self.bounds.output;
        self.bounds.output = output;
        (is_less && output >= least).then_some(output)
    }
}

/// The most tokens that prompt and answer may have. No byte of a prompt makes more than one token, and what is `estimated` is
/// hardly ever a quarter short. `room` is the longest context of any route.
pub(super) fn lengths(call: &Call, estimated: u64, room: Option<u64>) -> (u64, u64) {
    let prompt = (estimated + estimated / 4).min(call.prompt_bytes) + PROMPT_TOKENS_AROUND;
    if !call.endpoint.writes() {
        return (prompt, 0);
    }
    let each = call.output_tokens_max.or(room).unwrap_or(OUTPUT_TOKENS_MAX);
    (prompt, each.saturating_mul(call.choices))
}

/// The most searches that a reranker may bill: one for each hundred documents, of which a long one counts as several, five hundred
/// tokens of it and the query at a time.
fn searches(call: &Call, prompt: u64) -> u64 {
    const TOKENS_EACH: u64 = 250;
    if call.documents == 0 { 1 } else { call.documents.saturating_add(prompt / TOKENS_EACH).div_ceil(100) }
}

/// Why a request was not admitted as it was decided.
enum Unheld {
    /// It is not to be served.
    Failed(Failure),
    /// It is to be decided again, among these only; the budget is then counted past its limit.
    Narrow(Only, Arc<str>),
}

impl Way {
    /// Decides and holds what the decision can cost, narrowing the choice while a spent budget asks for that. `decide` decides
    /// anew without the routes that it is given. What comes back are those routes, and the terms.
    pub(super) async fn decide_and_admit(
        &mut self,
        ask: &Ask<'_>,
        call: &Call,
        facts: &RequestFacts<'_>,
        decision: &mut Decision,
        decide: impl Fn(&mut Self, &RequestFacts<'_>, &mut Decision) -> Result<(), Failure>,
    ) -> Result<(Vec<RouteId>, Terms), Failure> {
        let mut terms = Terms::default();
        let (mut barred, mut softened) = (Vec::new(), Vec::new());
        loop {
            let facts = RequestFacts { tried: &barred, ..*facts };
            decide(self, &facts, decision)?;
            match self.admit(ask, call, &facts, decision, &softened, &mut terms).await {
                Ok(()) => return Ok((barred, terms)),
                Err(Unheld::Failed(failure)) => return Err(failure),
                Err(Unheld::Narrow(only, budget)) => {
                    terms.only = Some(only);
                    softened.push(budget);
                    barred = others(ask.live, decision, facts.eligible, only);
                }
            }
        }
    }

    async fn admit(
        &mut self,
        ask: &Ask<'_>,
        call: &Call,
        facts: &RequestFacts<'_>,
        decision: &Decision,
        softened: &[Arc<str>],
        terms: &mut Terms,
    ) -> Result<(), Unheld> {
        terms.output_max = ask.policy.output_tokens_max.filter(|_| call.output_tokens_max.is_none());
        terms.output_max = terms.output_max.map(|max| max.saturating_mul(call.choices));
        let Some(treasury) = self.gateway.treasury() else { return Ok(()) };
        let now = self.gateway.books.clock.now();
        let mut demand = self.demand(ask, softened);
        let mut estimated = facts.prompt_tokens;
        if !demand.budgets.is_empty() {
            // What was learnt of such prompts is good on average; this one is looked at.
            let first = decision.order.first().and_then(|first| ask.live.snapshot.route(first.route));
            let vocabulary = Vocabulary::of(first.map_or("", |route| &route.checkpoint));
            estimated = estimated.max(call.prompt_tokens_estimated(vocabulary));
        }
        let mut cost = Cost::of(ask, call, decision, estimated, now.wall);
        let context = self.hold_context(ask, call, decision);
        loop {
            demand.hold = cost.ceiling();
            demand.tokens = cost.bounds.prompt.saturating_add(cost.bounds.output);
            match treasury.admit(demand.clone(), context.clone()).await {
                Ok((purse, standing)) => {
                    self.purse = Some(purse);
                    self.trail.standing = standing;
                    return Ok(());
                }
                Err(Denied::Ledger(error)) => {
                    self.gateway.books.metrics.ledger_error();
                    tracing::error!(%error, "a hold could not be written: the request is refused");
                    return Err(Unheld::Failed(Failure::NoLedger));
                }
                Err(Denied::Refused(refusal)) => {
                    self.trail.standing = refusal.standing;
                    if let Why::Budget { budget, spent, held } = &refusal.why {
                        let only = match budget.when_spent {
                            WhenSpent::Reject => None,
                            WhenSpent::CheapestOnly => Some(Only::Cheapest),
                            WhenSpent::LocalOnly => Some(Only::Local),
                        };
                        if let Some(only) = only {
                            return Err(Unheld::Narrow(only, Arc::clone(&budget.id)));
                        }
                        let left = budget.limit.0.saturating_sub(spent.0).saturating_sub(held.0);
                        // Each turn asks for less, until it is held or would be of no use.
                        if NanoUsd(left) < demand.hold
                            && let Some(output) = cost.within(NanoUsd(left))
                        {
                            terms.output_max = Some(output);
                            continue;
                        }
                    }
                    self.count_refusal(&refusal);
                    return Err(Unheld::Failed(Failure::Refused(refusal)));
                }
            }
        }
    }

    /// A route has begun to answer, and nobody else will be asked: what others might have cost is given back.
    pub(super) async fn give_back(&mut self, call: &Call, estimated: u64, route: &Route) {
        let Some(purse) = self.purse.as_mut() else { return };
        let now = self.gateway.books.clock.now().wall;
        let (prompt, output) = lengths(call, estimated, route.context_tokens);
        let searches = searches(call, prompt);
        let bounds = Bounds { prompt, output, attempts: 1, searches, resumes: false };
        let own = bounds.ceiling(&route.price, now, now);
        purse.shrink(NanoUsd(own.0.saturating_add(self.course.lost_amount().0))).await;
    }

    fn count_refusal(&self, refusal: &Refusal) {
        let metrics = &self.gateway.books.metrics;
        match &refusal.why {
            Why::Budget { budget, .. } => {
                metrics.budget_denied(budget.scope.kind.word(), &crate::treasury::shown_name(budget, false));
            }
            Why::Rate { scope, unit, .. } => {
                let limit = match unit {
                    crate::budget::Unit::Requests => "requests",
                    crate::budget::Unit::Tokens => "tokens",
                };
                metrics.limited(scope.kind.word(), limit);
            }
            Why::Places { scope, .. } => metrics.limited(scope.kind.word(), "concurrency"),
            Why::StoreLost => {}
        }
    }

    /// What the ledger must know of the request before it is sent.
    pub(super) fn hold_context(&self, ask: &Ask<'_>, call: &Call, decision: &Decision) -> HoldContext {
        let first = decision.order.first().and_then(|candidate| ask.live.snapshot.route(candidate.route));
        let name =
            |of: fn(&Route) -> &Arc<str>| first.map_or_else(|| "".into(), |route| Arc::clone(of(route)));
        HoldContext {
            id: self.id.clone(),
            key: ask.caller.name().into(),
            user: ask.caller.user().into(),
            team: ask.caller.team_arc(),
            organisation: ask.organisation().into(),
            policy: Arc::clone(&ask.policy.name),
            tags: ask.tags.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            model: call.model.clone(),
            endpoint: call.surface_name(),
            stream: call.stream,
            began: self.began.wall,
            provider: name(|route| &route.provider),
            route: name(|route| &route.name),
            checkpoint: name(|route| &route.checkpoint),
        }
    }

    fn demand(&self, ask: &Ask<'_>, softened: &[Arc<str>]) -> Demand {
        let payer = Payer {
            key: ask.caller.name(),
            user: ask.caller.user(),
            team: ask.caller.team(),
            organisation: ask.organisation(),
            own: ask.caller.limits(),
            tags: ask.tags,
        };
        payer.demand(&ask.live.snapshot, ask.policy_at, softened, self.gateway.hold_id())
    }
}

/// How long an answer is at most whose caller does not say: as long as the policy lets it be, or as there is room.
fn longest(of_policy: Option<u64>, room: Option<u64>) -> Option<u64> {
    match (of_policy, room) {
        (Some(max), Some(room)) => Some(max.min(room)),
        (max, room) => max.or(room),
    }
}

/// All of `eligible` but those that may still serve.
fn others(live: &Live, decision: &Decision, eligible: &[RouteId], only: Only) -> Vec<RouteId> {
    let stays = |id: &RouteId| match only {
        Only::Local => live.snapshot.route(*id).is_some_and(|route| route.local),
        Only::Cheapest => decision
            .order
            .iter()
            .min_by_key(|candidate| candidate.cost_expected.map_or(i128::MAX, |cost| cost.0))
            .is_some_and(|cheapest| cheapest.route == *id),
    };
    eligible.iter().copied().filter(|id| !stays(id)).collect()
}
