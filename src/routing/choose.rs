//! The decision: who may serve, best first, when a second one is asked, and why the others may not.
//!
//! Every candidate's score is money: its expected cost, λ for the chance that its first token is late, what choosing it
//! costs the rest of the session, the price of our own queue, and what the objective adds:
//!
//! | objective | λ | adds |
//! |---|---|---|
//! | cost | as learnt | nothing |
//! | balanced | ten mean costs at least | expected cost × first token ÷ target |
//! | latency | fifty mean costs | λ × first token ÷ target |
//! | throughput | fifty mean costs | λ × time per token ÷ 20 ms; a rate below `slo.tokens_per_second` counts as late |
//!
//! The target is `slo.ttft`, or 1 s. The caller's order of models comes first; then, with `in_order`, the place in the policy's
//! `routes`; then the caller's own `provider.order` and the speeds it prefers. What is still equal goes by name, so that the same facts give the same decision.

use std::time::Duration;

use crate::units::Now;

use super::decision::{Candidate, Decision, Degraded, Excluded, Exclusion, Hedge, Held, Rank};
use super::facts::RequestFacts;
use super::filter::{self, Sieve};
use super::learn::dual;
use super::outlook::{Observe, RouteOutlook};
use super::plan::{self, Backup, Terms};
use super::policy::{HedgeAfter, Objective, Policy};
use super::route::{RouteId, Routes};
use super::weigh::{self, Asked};

/// λ of `balanced` is at least this many mean costs.
const BALANCED_LATENESS: f64 = 10.0;
/// With a chance below this no plan is good enough.
const HOPE: f32 = 0.5;
/// Share of λ that counts for later turns of a session: a second route may save them, or they may go elsewhere.
const SESSION_LATENESS: f32 = 0.65;
/// An engine of our own is not asked to take a prompt into its queue that has less than this chance of an answer there within
/// [`QUEUE_BEARS`] times what is left: that is no longer late, that is lost. What is late but not lost is weighed.
const QUEUE_HOPE: f32 = 0.8;
const QUEUE_BEARS: f32 = 2.0;

/// Decides one request into `decision`, whose room is used again: nothing is allocated for as many routes as it has held
/// before, no lock is taken, no clock asked.
///
/// Where the moment rules out everyone (breakers, pauses, the operator's faults), panic mode: the routes with an open
/// breaker come back as a last resort, soonest to return first. Routes whose provider asked for a pause never do:
/// `Decision::wait_min` says when to decide again. Routes that wait for the operator do only if they are all there is.
pub fn decide_into(
    decision: &mut Decision,
    routes: &Routes,
    policy: &Policy,
    facts: &RequestFacts<'_>,
    observe: &(impl Observe + ?Sized),
    now: Now,
) {
    decision.clear();
    let limit = limit(policy, facts);
    decision.limit = policy.slo.ttft.map(|_| limit);
    // Who is late already is given as long again.
    let left_s = if facts.waited < limit { limit.saturating_sub(facts.waited) } else { limit }.as_secs_f32();
    let (asked, sieve) = (Asked::new(policy, facts, left_s), Sieve::new(policy, facts));
    for (place, &id) in facts.eligible.iter().enumerate() {
        // Eligible ids come from the same snapshot as the table, so there is a route for each.
        let Some(route) = routes.get(usize::from(id.0)) else { continue };
        if facts.tried.contains(&id) {
            continue;
        }
        let rates = route.price.as_ref().map(|card| card.rates(facts.prompt_tokens, now.wall));
        if let Some(why) = sieve.lasting(route, place, rates) {
            decision.excluded.push(Excluded { route: id, why });
            continue;
        }
        let seen = observe.outlook(place, id);
        if route.local {
            let queued_s = f64::from(seen.queued_tokens * seen.first_token.token_s());
            let usd_per_s = facts.learned.behind.usd_per_s(queued_s);
            decision.queue_usd_per_s = decision.queue_usd_per_s.max(usd_per_s);
        }
        let candidate = weigh::weigh(id, place, route, rates, seen, &asked);
        match filter::passing(seen, candidate.uncached_expected(), now.mono) {
            None if route.local
                && seen.queued_tokens > 0.0
                && hope(&candidate, seen, left_s * QUEUE_BEARS) < QUEUE_HOPE =>
            {
                let why = Exclusion::Queue { queued: seen.queued_tokens };
                decision.held.push((Held::Queued, candidate));
                decision.excluded.push(Excluded { route: id, why });
            }
            None => decision.order.push(candidate),
            Some(why) => {
                if let Some(held) = Held::from_exclusion(&why) {
                    decision.held.push((held, candidate));
                }
                decision.excluded.push(Excluded { route: id, why });
            }
        }
    }
    if decision.order.is_empty() && !facts.tried.is_empty() {
        queue_after_all(decision, policy, observe);
    }
    let resting = decision.order.is_empty();
    if resting {
        last_resort(decision);
    }
    rank(decision, routes, policy, facts, observe, left_s, now);
    if resting {
        decision.hedge = None;
    }
    decision.degraded = degraded(decision, facts, resting);
}

/// [`decide_into`] with room of its own.
pub fn decide(
    routes: &Routes,
    policy: &Policy,
    facts: &RequestFacts<'_>,
    observe: &(impl Observe + ?Sized),
    now: Now,
) -> Decision {
    let mut decision = Decision::default();
    decide_into(&mut decision, routes, policy, facts, observe, now);
    decision
}

/// The objective in force: the caller's own, else the policy's.
pub fn objective(policy: &Policy, facts: &RequestFacts<'_>) -> Objective {
    facts.wants.objective.unwrap_or(policy.objective)
}

/// When a first token is late, counted from the request's arrival; without a promise, when an attempt would be given up.
pub fn limit(policy: &Policy, facts: &RequestFacts<'_>) -> Duration {
    let tokens = u32::try_from(facts.prompt_tokens).unwrap_or(u32::MAX);
    match policy.slo.ttft {
        Some(ttft) => ttft.saturating_add(policy.slo.ttft_per_1k.saturating_mul(tokens) / 1_000),
        None => policy.fallback.first_token_timeout,
    }
}

/// Chance that our own engine answers within `bears_s` seconds.
fn hope(candidate: &Candidate, seen: &RouteOutlook, bears_s: f32) -> f32 {
    (1.0 - candidate.offer.error) * candidate.offer.within(seen, bears_s)
}

/// Whom others failed, and nobody else is left to ask, joins the queue of our own engine after all, if it is answered there
/// before an attempt is given up: late is better than never. Those who come anew do not, or a queue that outgrows the
/// engine would make everyone late.
fn queue_after_all(decision: &mut Decision, policy: &Policy, observe: &(impl Observe + ?Sized)) {
    let Decision { order, held, excluded, .. } = decision;
    let bears_s = policy.fallback.first_token_timeout.as_secs_f32();
    for (_, candidate) in held.iter().filter(|(why, _)| *why == Held::Queued) {
        let seen = observe.outlook(usize::from(candidate.eligible), candidate.route);
        if hope(candidate, seen, bears_s) >= QUEUE_HOPE {
            excluded.retain(|one| one.route != candidate.route);
            order.push(*candidate);
        }
    }
}

/// Weighs what each candidate would cost the rest of the session, were it asked for every further turn.
fn weigh_sessions(
    decision: &mut Decision,
    routes: &Routes,
    policy: &Policy,
    facts: &RequestFacts<'_>,
    observe: &(impl Observe + ?Sized),
    &Terms { lateness_usd, left_s, .. }: &Terms,
    now: Now,
) {
    let prompt = facts.prompt_tokens;
    let limit_s = limit(policy, facts).as_secs_f32();
    let mut least = (f64::INFINITY, 0.0);
    let mut any_local = false;
    for candidate in &mut decision.order {
        let Some(route) = routes.get(usize::from(candidate.route.0)) else { continue };
        let seen = observe.outlook(usize::from(candidate.eligible), candidate.route);
        let rates = route.price.as_ref().map(|card| &card.at(now.wall).base);
        let (turn_usd, late) = weigh::warm_turn(&candidate.offer, rates, seen, prompt, limit_s, left_s);
        let rest = facts.learned.session_rest;
        candidate.lateness = rest * SESSION_LATENESS * late;
        candidate.session_usd = f64::from(rest) * turn_usd + lateness_usd * f64::from(candidate.lateness);
        any_local |= route.local;
        if !route.local && candidate.session_usd < least.0 {
            least = (candidate.session_usd, candidate.lateness);
        }
    }
    // Where our own hardware has room now, it need not have room for the next turn: that one may cost what it costs
    // elsewhere.
    let is_local = |id: RouteId| routes.get(usize::from(id.0)).is_some_and(|route| route.local);
    if any_local && least.0.is_finite() {
        for candidate in decision.order.iter_mut().filter(|one| is_local(one.route)) {
            (candidate.session_usd, candidate.lateness) = least;
        }
    }
    // As far as our own engine has had room lately, further turns are served there whoever serves this one.
    let share = facts.learned.behind.share;
    if share <= 0.0 {
        return;
    }
    let elsewhere = 1.0 - share;
    #[expect(clippy::cast_possible_truncation, reason = "a share")]
    let elsewhere_f = elsewhere as f32;
    for candidate in &mut decision.order {
        candidate.session_usd *= elsewhere;
        candidate.lateness *= elsewhere_f;
    }
}

/// Puts the candidates in order and finds the best plan.
fn rank(
    decision: &mut Decision,
    routes: &Routes,
    policy: &Policy,
    facts: &RequestFacts<'_>,
    observe: &(impl Observe + ?Sized),
    left_s: f32,
    now: Now,
) {
    let mean = match facts.learned.mean_cost_usd {
        known if known > 0.0 => known,
        _ => decision.unit_usd().unwrap_or(0.0),
    };
    let learnt = facts.learned.lateness_usd.unwrap_or(dual::start(policy.slo.attainment) * mean);
    let objective = objective(policy, facts);
    let lateness_usd = match objective {
        Objective::Cost => learnt,
        Objective::Balanced => learnt.max(BALANCED_LATENESS * mean),
        Objective::Latency | Objective::Throughput => dual::URGENT * mean,
    };
    decision.lateness_usd = lateness_usd;
    let hedge_from_s = match policy.hedging.after {
        HedgeAfter::Silence(silence) => silence.saturating_sub(facts.waited).as_secs_f32(),
        HedgeAfter::Worth | HedgeAfter::Quantile(_) => 0.0,
    };
    let hedge_room_usd = facts.learned.hedge_room_usd.unwrap_or(f64::INFINITY);
    let mut terms = Terms { lateness_usd, left_s, hedge_from_s, hedge_room_usd };
    let best_in_time = decision.order.iter().map(|one| one.offer.in_time).fold(0.0, f32::max);
    if facts.learned.session_rest > 0.01 {
        weigh_sessions(decision, routes, policy, facts, observe, &terms, now);
    }
    // A proven route that is late all the same is no reason to wait for proof of another.
    let proven = |one: &Candidate| !one.ramping && one.offer.in_time >= HOPE;
    let any_proven = decision.order.iter().any(proven);
    for candidate in &mut decision.order {
        let seen = observe.outlook(usize::from(candidate.eligible), candidate.route);
        // As a connection starts slowly: one at once, and one more for each first token that came.
        candidate.waits = any_proven && candidate.ramping && seen.waiting > seen.heard;
        let offer = &mut candidate.offer;
        offer.other_usd += candidate.session_usd + weigh::urge(objective, offer, seen, policy, lateness_usd);
        candidate.late = plan::late(offer, best_in_time * 0.8);
        offer.hoped = offer.hoped.min(candidate.late);
        let missed = plan::missed(offer, candidate.late);
        candidate.lateness += missed;
        candidate.score_usd = offer.counted_usd() + lateness_usd * f64::from(missed);
    }
    if decision.order.first().is_some_and(|one| one.last_resort) {
        return;
    }
    sort(decision, routes);
    let Some(first) = decision.order.first() else { return };
    if !facts.may_hedge || !policy.hedging.is_on() || policy.slo.ttft.is_none() || decision.order.len() < 2 {
        return;
    }
    if let HedgeAfter::Quantile(share) = policy.hedging.after {
        let seen = observe.outlook(usize::from(first.eligible), first.route);
        terms.hedge_from_s = seen.first_token.quantile_s(share, first.offer.uncached_miss);
    }
    let best_rank = first.comes_before();
    let mut best = (first.score_usd, 0, None);
    let backups = backups(decision, first.place.model, observe, &terms);
    for (at, (candidate, rank)) in decision.order.iter().zip(&decision.ranks).enumerate() {
        if rank.before() != best_rank {
            break;
        }
        let seen = observe.outlook(usize::from(candidate.eligible), candidate.route);
        for backup in backups.iter().flatten().filter(|backup| backup.place != at) {
            if let Some(second) = plan::hedged(&candidate.offer, seen, backup, &terms, best.0) {
                best = (second.score_usd, at, Some(second));
            }
        }
    }
    let (_, at, second) = best;
    let Some(second) = second else { return };
    let of_session = |first: &Candidate| first.lateness - plan::missed(&first.offer, first.late);
    let lateness = decision.order.get(at).map_or(0.0, of_session);
    decision.hedge = decision.order.get(second.place).map(|backup| Hedge {
        route: backup.route,
        after: facts.waited.saturating_add(plan::duration(second.after_s)),
        chance: second.chance,
        in_time: second.in_time,
        lateness: lateness + second.late,
        score_usd: second.score_usd,
    });
    if at > 0
        && let Some(front) = decision.order.get_mut(..=at)
    {
        front.rotate_right(1);
    }
}

/// Puts the candidates in order: candidates are large and are moved once, what they are compared by is small.
fn sort(decision: &mut Decision, routes: &Routes) {
    decision.ranks.extend(decision.order.iter().zip(0..).map(|(one, at)| Rank::of(one, at)));
    let (order, ranks) = (decision.order.as_slice(), decision.ranks.as_mut_slice());
    ranks.sort_unstable_by_key(|rank| rank.key);
    // Equals are few, and next to each other now.
    for end in 1..ranks.len() {
        let mut at = end;
        while at > 0 && ranks[at - 1].key == ranks[at].key {
            let [before, this] = [ranks[at - 1].at, ranks[at].at].map(|at| &order[usize::from(at)]);
            if tie(before, this, routes).is_lt() {
                break;
            }
            ranks.swap(at - 1, at);
            at -= 1;
        }
    }
    decision.arrange();
}

/// What goes first of two that are equal else.
fn tie(one: &Candidate, other: &Candidate, routes: &Routes) -> std::cmp::Ordering {
    let names = |candidate: &Candidate| routes.get(usize::from(candidate.route.0)).map(|route| &*route.name);
    (other.stays.cmp(&one.stays))
        .then_with(|| soonest(one).cmp(&soonest(other)))
        .then_with(|| names(one).cmp(&names(other)))
        .then_with(|| one.route.cmp(&other.route))
}

/// The two best to ask second, were they asked with half of the time gone. Another model is a replacement for this one, not
/// for its slowness.
fn backups<'d>(
    decision: &'d Decision,
    model: u8,
    observe: &'d (impl Observe + ?Sized),
    terms: &Terms,
) -> [Option<Backup<'d>>; 2] {
    let mut best: [Option<(f64, usize)>; 2] = [None; 2];
    for (at, candidate) in decision.order.iter().enumerate() {
        let offer = &candidate.offer;
        if candidate.place.model != model {
            continue;
        }
        // Whatever its chance, it is not among the two.
        if best[1].is_some_and(|(known, _)| offer.counted_usd() >= known) {
            continue;
        }
        let answers = (1.0 - offer.error)
            * offer.within(
                observe.outlook(usize::from(candidate.eligible), candidate.route),
                terms.left_s * 0.5,
            );
        let worth = offer.counted_usd() + terms.lateness_usd * f64::from(1.0 - answers);
        if best[0].is_none_or(|(known, _)| worth < known) {
            best = [Some((worth, at)), best[0]];
        } else if best[1].is_none_or(|(known, _)| worth < known) {
            best[1] = Some((worth, at));
        }
    }
    best.map(|found| {
        let (_, at) = found?;
        let candidate = decision.order.get(at)?;
        Some(Backup::new(
            at,
            &candidate.offer,
            observe.outlook(usize::from(candidate.eligible), candidate.route),
        ))
    })
}

/// What ties are broken by.
fn soonest(candidate: &Candidate) -> Duration {
    candidate.ttft_expected.unwrap_or(Duration::from_millis(500))
}

impl Held {
    fn from_exclusion(why: &Exclusion) -> Option<Self> {
        match why {
            Exclusion::BreakerOpen { remaining } => Some(Self::Breaker(*remaining)),
            Exclusion::RateLimited { remaining } => Some(Self::Limited(*remaining)),
            Exclusion::OverCap { .. } | Exclusion::Full { .. } => Some(Self::Limited(Duration::from_secs(1))),
            Exclusion::Queue { .. } => Some(Self::Queued),
            Exclusion::Disabled { remaining } => Some(Self::Operator(*remaining)),
            _ => None,
        }
    }
}

/// Of the routes that the moment rules out, those to ask all the same, soonest to return first.
fn last_resort(decision: &mut Decision) {
    let any = |test: fn(&Held) -> bool| decision.held.iter().any(|(why, _)| test(why));
    let chosen: fn(&Held) -> bool = if any(|why| matches!(why, Held::Breaker(_))) {
        |why| matches!(why, Held::Breaker(_))
    } else if any(|why| matches!(why, Held::Limited(_) | Held::Queued)) {
        |_| false
    } else {
        |_| true
    };
    decision.held.retain(|(why, _)| chosen(why));
    decision.held.sort_unstable_by(|(one, a), (other, b)| {
        one.cmp(other)
            .then(a.offer.cost_usd().total_cmp(&b.offer.cost_usd()))
            .then_with(|| a.route.cmp(&b.route))
    });
    decision
        .order
        .extend(decision.held.iter().map(|(_, candidate)| Candidate { last_resort: true, ..*candidate }));
}

fn degraded(decision: &Decision, facts: &RequestFacts<'_>, resting: bool) -> Degraded {
    let Some(first) = decision.order.first() else { return nobody(decision) };
    let in_time = decision.hedge.map_or(first.in_time, |hedge| hedge.in_time);
    match () {
        () if resting => Degraded::Panic,
        // What was only assumed of a route never seen is no finding.
        () if decision.limit.is_some()
            && (facts.learned.out_of_reach || (first.ttft_expected.is_some() && in_time < HOPE)) =>
        {
            Degraded::Slo
        }
        () => Degraded::No,
    }
}

/// Why nobody is left: what would help soonest is named first.
fn nobody(decision: &Decision) -> Degraded {
    let any = |codes: &[&str]| decision.excluded.iter().any(|one| codes.contains(&one.why.code()));
    if any(&["rate_limited", "over_cap", "full", "queue"]) {
        Degraded::Limited
    } else if any(&["price_over", "wish_price"]) {
        Degraded::Price
    } else if any(&["region", "retention", "quantization", "wish_retention", "wish_quantization"]) {
        Degraded::Residency
    } else {
        Degraded::NoRoute
    }
}
