//! A decision carried out: one route is asked, a second beside it while it is silent, the next one when it fails, until one
//! answers. `routing::pursuit` says which step is due; here it is taken. The caller has seen nothing yet, so that failures
//! are replaced unseen, and the slower of two is cancelled unseen.
//!
//! Extra attempts come from a budget, not a count alone. Going on to a route that has just answered others is free; going to
//! one that nobody has seen work lately draws on the budget (a fifth of the requests, plus a few a second), so that an outage
//! of everything costs hardly more upstream requests than there are callers' requests. A second attempt beside a silent one
//! always draws on it, and on what the policy allows such attempts to cost. One at a route with an open breaker, where nothing
//! else is left, must be paid for by an answer as well, unless it is the request's first.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use http::HeaderMap;
use smallvec::SmallVec;

use crate::api::body::Call;
use crate::routing::choose::{decide_into, limit};
use crate::routing::learn::hedge_spend::Stake;
use crate::routing::learn::prefix::Held;
use crate::routing::learn::retries::RetryBudget;
use crate::routing::learn::route::AttemptId;
use crate::routing::pursuit::{Pursuit, Step};
use crate::routing::{Candidate, Decision, Policy, RequestFacts, Route, RouteId};
use crate::telemetry::Metrics;
use crate::units::{Clock, Mono, PicoUsd};

use super::answer::Answer;
use super::attempt::{Failed, Target};
use super::client::Client;
use super::demand::Demand;
use super::error::{Error, Reason};
use super::health::{RouteHealth, Table};
use super::prefix::Prefixes;
use super::stays::Stays;
use super::story::Story;
use super::trial::{Brought, Course, Patience, Trial, Underway, may_go_as_it_came};

/// All that attempts need, made once per snapshot.
pub struct Upstreams {
    /// Connections.
    pub client: Client,
    /// By provider, `None` for one that is not usable.
    pub targets: Vec<Option<Target>>,
    /// By route.
    pub health: Vec<Arc<RouteHealth>>,
    /// For extra attempts: by route, one for all routes of a checkpoint.
    pub budgets: Vec<Arc<Mutex<RetryBudget>>>,
    /// What is learnt of requests.
    pub demand: Arc<Demand>,
    /// Which prompts were served where.
    pub prefixes: Arc<Prefixes>,
    /// Where conversations are that their callers name.
    pub stays: Arc<Stays>,
    /// Where attempts are counted.
    pub metrics: Arc<Metrics>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Numbers attempts, also over reloads.
    pub attempts: Arc<AtomicU64>,
}

/// One request's wish, as the fallback needs it.
pub struct Errand<'a> {
    /// The request.
    pub call: &'a Call,
    /// Its head, of which a few fields go on.
    pub headers: &'a HeaderMap,
    /// All routes, and each one's provider.
    pub routes: &'a [Route],
    /// By route.
    pub route_provider: &'a [u16],
    /// The policy that decides.
    pub policy: &'a Policy,
    /// Called, maybe more than once, while a first token that is late has not come: nobody need wait to know that.
    pub late: &'a (dyn Fn() + Sync),
    /// What is kept of it in case its caller leaves.
    pub course: &'a Course,
    /// What it decides by; each further decision adds what has happened since.
    pub facts: RequestFacts<'a>,
    /// When the request came, and how long it may take in all.
    pub began: Mono,
    /// As above.
    pub limit: Duration,
    /// The stream that broke off, if this is to go on with it.
    pub broken: Option<&'a Broken>,
}

/// A stream that broke off after its caller had seen some of it.
#[derive(Debug)]
pub struct Broken {
    /// Who broke it off, and how.
    pub reason: Reason,
    /// Attempts made for the request so far.
    pub attempts: u32,
    /// Whose budget further ones draw on.
    pub budget: RouteId,
    /// Routes that are not to be asked: who broke off, and who cannot go on.
    pub barred: SmallVec<[RouteId; 8]>,
}

/// An answer, and how it came about.
#[derive(Debug)]
pub struct Served {
    /// The answer.
    pub answer: Answer,
    /// Who gave it.
    pub candidate: Candidate,
    /// How many tries it took.
    pub attempts: u32,
    /// When the try that brought it began.
    pub sent: Mono,
    /// When its first token, or the whole of it, was here.
    pub answered: Mono,
    /// What failed before.
    pub failures: Vec<Reason>,
    /// What its route was expected to hold of the prompt.
    pub held: Held,
    /// What its route knows the try by.
    pub attempt: AttemptId,
    /// Keeps it counted as running at its route.
    pub underway: Underway,
}

type Outcome = Result<Brought, Failed>;

/// What ends a wait.
#[expect(clippy::large_enum_variant, reason = "one lives at a time")]
enum Event {
    /// The attempt in this lane is over.
    Over(usize, Outcome),
    /// The one attempt under way is still silent at the time it is looked at.
    Silent,
}

impl Upstreams {
    /// What is known of the routes of a request.
    pub fn observed(&self, eligible: &[RouteId]) -> Table {
        Table::of(&self.health, eligible, self.clock.now().mono, false)
    }

    /// The same for a request that `policy` decides: where it probes, routes whose breaker waits for a trial are left to
    /// the probe.
    pub fn observed_by(&self, policy: &Policy, eligible: &[RouteId], now: Mono) -> Table {
        Table::of(&self.health, eligible, now, policy.probe)
    }

    /// Asks by `decision`, and decides again into it whenever a step is due, until a route answers. Dropping the future
    /// cancels the attempts under way.
    pub async fn serve(&self, errand: &Errand<'_>, decision: &mut Decision) -> Result<Served, Error> {
        let began = self.clock.now().mono;
        let due = limit(errand.policy, &errand.facts);
        let mut pursuit = Pursuit::new(errand.began, due, errand.policy, errand.facts.may_hedge);
        let mut story = Story::default();
        if let Some(broken) = errand.broken {
            // To go on with a broken stream is to try again: it is counted, and paid for, as that.
            pursuit = pursuit.after(broken.attempts, &broken.barred);
            story.failures.push(broken.reason.clone());
        } else if let Some(mut budget) = self.budget(errand) {
            budget.deposit(began);
        }
        let beaten = AtomicBool::new(false);
        // The first lane is part of this future; a second one, which few requests need, is made when it is.
        let mut front = pin!(None);
        let mut back = None;
        let mut lanes: [Option<Candidate>; 2] = [None; 2];
        let mut stake = None;
        let mut is_fresh = true;
        loop {
            if pursuit.running().is_empty() {
                if !std::mem::take(&mut is_fresh) {
                    self.decide_again(errand, &pursuit, &story, decision);
                }
                let now = self.clock.now().mono;
                let left = errand.limit.saturating_sub(now.since(errand.began));
                if left.is_zero() {
                    let reasons = story.failures;
                    return Err(Error::DeadlinePassed { limit: errand.limit, reasons });
                }
                match self.open(errand, &pursuit, &story, decision, now) {
                    Step::Ask(candidate) => {
                        let Some(trial) = self.trial(errand, &candidate, left, &beaten, false) else {
                            return Err(Error::Exhausted(story.failures));
                        };
                        front.set(Some(self.try_route(trial)));
                        lanes[0] = Some(candidate);
                        story.gambles += usize::from(candidate.last_resort);
                        pursuit.asked(candidate, decision, now);
                    }
                    Step::Pause(until) => {
                        tokio::time::sleep(until.since(now).min(left)).await;
                        continue;
                    }
                    Step::GiveUp | Step::Wait => return Err(story.over()),
                }
            }
            // Once the request itself was found at fault nobody else is asked.
            let look = self.until(pursuit.look_at().filter(|_| story.refused.is_none()));
            match event(front.as_mut(), &mut back, look).await {
                Event::Over(at, Ok(brought)) => {
                    let Some(candidate) = lanes.get_mut(at).and_then(Option::take) else { continue };
                    // Dropped, the other one is cancelled: its connection closed or its stream reset.
                    beaten.store(true, Ordering::Relaxed);
                    front.set(None);
                    drop(back.take());
                    if let (Some(stake), Some(slower)) = (stake, lanes.iter().flatten().next()) {
                        self.demand.hedged(errand.policy, stake, stake.lost(slower.route));
                    }
                    if let Some(mut budget) = self.budget(errand) {
                        budget.answered(brought.answered);
                    }
                    let before = errand.broken.map_or(0, |broken| broken.attempts);
                    let attempts =
                        u32::try_from(pursuit.attempts()).unwrap_or(u32::MAX).saturating_add(before);
                    return Ok(served(errand, brought, candidate, attempts, story.failures));
                }
                Event::Over(at, Err(failed)) => {
                    if at == 0 {
                        front.set(None);
                    } else {
                        back = None;
                    }
                    let Some(candidate) = lanes.get_mut(at).and_then(Option::take) else { continue };
                    pursuit.lost(candidate.route);
                    story.failed(errand, candidate.route, failed);
                    if pursuit.running().is_empty()
                        && let Some(refused) = story.refused
                    {
                        return Err(Error::Refused(refused));
                    }
                }
                Event::Silent => {
                    let second = self.second(errand, &mut pursuit, &mut story, decision);
                    let Some((candidate, at_stake)) = second else { continue };
                    stake = Some(at_stake);
                    let now = self.clock.now().mono;
                    let left = errand.limit.saturating_sub(now.since(errand.began));
                    let Some(trial) = self.trial(errand, &candidate, left, &beaten, true) else { continue };
                    let second = self.try_route(trial);
                    if lanes[0].is_none() {
                        front.set(Some(second));
                        lanes[0] = Some(candidate);
                    } else {
                        back = Some(Box::pin(second));
                        lanes[1] = Some(candidate);
                    }
                    pursuit.asked(candidate, decision, now);
                }
            }
        }
    }

    /// What a request's extra attempts draw on: the budget of the first route of its name, whichever checkpoint they go to.
    /// A request deposits nowhere else.
    fn budget(&self, errand: &Errand<'_>) -> Option<MutexGuard<'_, RetryBudget>> {
        let route = errand.broken.map(|broken| &broken.budget).or_else(|| errand.facts.eligible.first())?;
        // A panic while it was held can only have left a credit half counted.
        Some(self.budgets.get(usize::from(route.0))?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends at `look`, or never.
    async fn until(&self, look: Option<Mono>) {
        match look {
            Some(at) => tokio::time::sleep(at.since(self.clock.now().mono)).await,
            None => std::future::pending().await,
        }
    }

    fn decide_again(&self, errand: &Errand<'_>, pursuit: &Pursuit, story: &Story, decision: &mut Decision) {
        let now = self.clock.now();
        let facts = RequestFacts { waited: pursuit.waited(now.mono), tried: pursuit.tried(), ..errand.facts };
        let observed = self.observed_by(errand.policy, facts.eligible, now.mono);
        decide_into(decision, errand.routes, errand.policy, &facts, &observed, now);
        if story.context_wanted > 0 {
            let has_room = |id: RouteId| {
                let route = errand.routes.get(usize::from(id.0));
                route.and_then(|route| route.context_tokens).is_some_and(|room| room > story.context_wanted)
            };
            decision.order.retain(|candidate| has_room(candidate.route));
        }
    }

    /// Whom to ask with nobody under way, as far as the budget allows.
    fn open(
        &self,
        errand: &Errand<'_>,
        pursuit: &Pursuit,
        story: &Story,
        decision: &mut Decision,
        now: Mono,
    ) -> Step {
        loop {
            let step = pursuit.open(decision, now);
            let Step::Ask(candidate) = step else { return step };
            let Some((route, _, health)) = self.parts(errand, candidate.route) else { return Step::GiveUp };
            let Some(last) = story.failures.last() else { return step };
            if self.may_retry(errand, last, route, &candidate, health, now) {
                return step;
            }
            decision.order.remove(0);
            if decision.order.is_empty() {
                return Step::GiveUp;
            }
        }
    }

    /// Whether another try may be made after a failure, and what it is counted as.
    fn may_retry(
        &self,
        errand: &Errand<'_>,
        last: &Reason,
        route: &Route,
        candidate: &Candidate,
        health: &RouteHealth,
        now: Mono,
    ) -> bool {
        let from = last.route.split('/').next().unwrap_or_default();
        let reason = last.fault.class.code();
        let paid = |mut it: MutexGuard<'_, RetryBudget>| it.withdraw_to_go_on(now, candidate.last_resort);
        if !health.is_known_good(now) && !self.budget(errand).is_some_and(paid) {
            self.metrics.retry_refused(from, reason);
            return false;
        }
        self.metrics.retry(from, reason);
        self.metrics.fallback(&errand.policy.name, from, &route.provider, reason);
        true
    }

    /// Whom to ask beside the one that is silent, if it is worth its price and paid for; and what is at stake.
    fn second(
        &self,
        errand: &Errand<'_>,
        pursuit: &mut Pursuit,
        story: &mut Story,
        decision: &mut Decision,
    ) -> Option<(Candidate, Stake)> {
        let silent = pursuit.running().first()?.candidate;
        if pursuit.is_late(self.clock.now().mono) {
            (errand.late)();
        }
        self.decide_again(errand, pursuit, story, decision);
        let now = self.clock.now().mono;
        let known = self.health.get(usize::from(silent.route.0))?.outlook_at(now);
        let Step::Ask(candidate) = pursuit.silence(decision, &known, now) else { return None };
        let route = errand.routes.get(usize::from(candidate.route.0))?;
        // What has no price is never free: nobody could say what it adds.
        let stake = self.prompt_cost(errand, route, &candidate).and_then(|prompt| {
            let stake = Stake::new(&silent, prompt);
            let whole = candidate.cost_expected.unwrap_or(prompt);
            self.demand.may_hedge(errand.policy, now, stake, whole).then_some(stake)
        });
        if let Some(stake) = stake {
            if self.budget(errand).is_some_and(|mut budget| budget.withdraw(now)) {
                return Some((candidate, stake));
            }
            self.demand.hedged(errand.policy, stake, PicoUsd::ZERO);
        }
        if !std::mem::replace(&mut story.hedge_refused, true) {
            self.metrics.hedge(&errand.policy.name, "refused_budget");
        }
        None
    }

    fn parts<'a>(
        &'a self,
        errand: &Errand<'a>,
        id: RouteId,
    ) -> Option<(&'a Route, &'a Target, &'a Arc<RouteHealth>)> {
        let index = usize::from(id.0);
        let provider = usize::from(*errand.route_provider.get(index)?);
        Some((errand.routes.get(index)?, self.targets.get(provider)?.as_ref()?, self.health.get(index)?))
    }

    fn trial<'a>(
        &'a self,
        errand: &Errand<'a>,
        candidate: &Candidate,
        left: Duration,
        beaten: &'a AtomicBool,
        is_hedge: bool,
    ) -> Option<Trial<'a>> {
        let (route, target, health) = self.parts(errand, candidate.route)?;
        let fallback = &errand.policy.fallback;
        let as_stream = errand.policy.stream_upstream && !errand.call.stream && errand.call.endpoint.writes();
        Some(Trial {
            route,
            target,
            health,
            call: errand.call,
            headers: errand.headers,
            reading: candidate.reading(),
            prompt: self.prompt_charge(errand, route, candidate),
            patience: Patience::of(errand.call, as_stream, fallback.first_token_timeout, left),
            gathered: as_stream.then_some((fallback.idle_timeout, left)),
            as_it_came: may_go_as_it_came(errand.policy, errand.call),
            beaten: Some(beaten),
            course: errand.course,
            hedge_of: is_hedge.then_some(&*errand.policy.name),
        })
    }
}

fn served(
    errand: &Errand<'_>,
    brought: Brought,
    candidate: Candidate,
    attempts: u32,
    failures: Vec<Reason>,
) -> Served {
    let Brought { answer, sent, answered, underway, id } = brought;
    let place = errand.facts.eligible.iter().position(|id| *id == candidate.route);
    let held = place.and_then(|place| errand.facts.held.get(place)).copied().unwrap_or_default();
    Served { answer, candidate, attempts, sent, answered, failures, held, attempt: id, underway }
}

/// Waits for whichever comes first: either lane's outcome, or the time to look.
async fn event<F: Future<Output = Outcome>>(
    mut front: Pin<&mut Option<F>>,
    back: &mut Option<Pin<Box<F>>>,
    look: impl Future<Output = ()>,
) -> Event {
    let mut look = pin!(look);
    std::future::poll_fn(move |cx| {
        if let Some(front) = front.as_mut().as_pin_mut()
            && let Poll::Ready(outcome) = front.poll(cx)
        {
            return Poll::Ready(Event::Over(0, outcome));
        }
        if let Some(back) = back.as_mut()
            && let Poll::Ready(outcome) = back.as_mut().poll(cx)
        {
            return Poll::Ready(Event::Over(1, outcome));
        }
        look.as_mut().poll(cx).map(|()| Event::Silent)
    })
    .await
}
