//! Ten thousand small worlds for the steps of a pursuit: routes fail, stall, refuse and recover at random, and whatever
//! happens, every request ends, nobody is asked twice, and no ejection alone leaves a request without anybody to ask.

use std::time::Duration;

use crate::pricing::{PriceCard, PriceEntry, Rates, Version};
use crate::units::{Mono, Now, PicoUsd, TokenPrice};

use super::choose::{decide_into, limit};
use super::decision::{Candidate, Decision};
use super::facts::RequestFacts;
use super::learn::breaker::{Breaker, State};
use super::learn::errors::Errors;
use super::learn::lengths::mix;
use super::learn::retries::RetryBudget;
use super::outlook::RouteOutlook;
use super::policy::{Fallback, Policy, Slo};
use super::pursuit::{Pursuit, RUNNING_MAX, Step};
use super::route::{Capabilities, Route, RouteId};

const SEEDS: u64 = 10_000;
const REQUESTS: u64 = 4;
const ROUTES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(5);

struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = mix(self.0);
        self.0 % most
    }
}

fn route(at: usize) -> Route {
    let price = TokenPrice(100_000 + 40_000 * at as u64);
    let entry = PriceEntry { source: "test".into(), as_of: "2026-11".into(), confidence: "test".into() };
    let (input, output, request) = (price, price, PicoUsd::ZERO);
    let rates = Rates { input, cached_input: None, cache_write: None, output, request };
    Route::named(&format!("p{at}/m"), "m", Some(PriceCard::new(Version::always(entry, rates), 0)))
}

fn policy(promises: bool) -> Policy {
    Policy {
        slo: Slo { ttft: promises.then_some(Duration::from_secs(1)), attainment: 0.95, ..Slo::default() },
        fallback: Fallback { attempts: 3, first_token_timeout: PATIENCE, ..Fallback::default() },
        probe: false,
        output_tokens_assumed: 100,
        ..Policy::named("p")
    }
}

/// How an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    FirstToken,
    Failure,
    Limit,
}

/// What a route makes of attempts, as far as it changes who may be asked: the first-token estimates stay as they are.
#[derive(Default)]
struct Mind {
    breaker: Breaker,
    errors: Errors,
    good_at: Option<Mono>,
    seen: RouteOutlook,
}

impl Mind {
    fn ended(&mut self, now: Mono, began: Mono, ending: Ending) {
        if ending != Ending::Limit {
            self.errors.counted(now.since(Mono::default()).as_secs_f64(), ending == Ending::Failure);
        }
        match ending {
            Ending::FirstToken => {
                self.breaker.succeeded(now, began);
                self.good_at = Some(now);
            }
            Ending::Failure => drop(self.breaker.failed(now)),
            Ending::Limit => self.seen.limited_until = Some(now.plus(Duration::from_secs(1))),
        }
        self.seen.error = self.breaker.error_rate() * 0.9;
    }

    fn is_known_good(&self, now: Mono) -> bool {
        self.breaker.state(now) == State::Closed
            && self.good_at.is_some_and(|at| now.since(at) < Duration::from_secs(10))
            && self.errors.recent_share() < 0.25
    }
}

/// An attempt under way: when it ends, and how.
#[derive(Clone, Copy)]
struct Under {
    candidate: Candidate,
    began: Mono,
    ends: Mono,
    how: Ending,
}

struct World {
    routes: Vec<Route>,
    policy: Policy,
    minds: Vec<Mind>,
    budget: RetryBudget,
    dice: Dice,
    now: Mono,
    attempts: u64,
    /// Of a hundred: how many attempts at each route fail, and how many stall.
    fails: [u64; ROUTES],
    stalls: [u64; ROUTES],
    limits: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let mut share = |often: u64| {
            let chances = [0, 0, 50, 100];
            std::array::from_fn(|_| {
                if often == 0 { 100 } else { chances[usize::try_from(dice.below(4)).expect("below four")] }
            })
        };
        let (fails, stalls) = (share(seed % 10), share(1));
        let (promises, limits) = (dice.below(4) != 0, dice.below(4) == 0);
        Self {
            routes: (0..ROUTES).map(route).collect(),
            policy: policy(promises),
            minds: (0..ROUTES).map(|_| Mind::default()).collect(),
            budget: RetryBudget::default(),
            dice,
            now: Mono(1),
            attempts: 0,
            fails,
            stalls,
            limits,
        }
    }

    fn decide(&mut self, decision: &mut Decision, facts: &RequestFacts<'_>) -> Vec<RouteOutlook> {
        let now = self.now;
        let seen: Vec<RouteOutlook> = self
            .minds
            .iter()
            .map(|mind| RouteOutlook {
                open_until: mind.breaker.closed_to_others_until(now),
                ..mind.seen.clone()
            })
            .collect();
        let now = Now { mono: now, wall: "2026-11-01T00:00:00Z".parse().expect("a moment") };
        decide_into(decision, &self.routes, &self.policy, facts, seen.as_slice(), now);
        seen
    }

    fn start(&mut self, candidate: Candidate) -> Under {
        let at = usize::from(candidate.route.0);
        self.attempts += 1;
        self.minds[at].breaker.begin(self.now);
        let lasts = |ms: u64| Duration::from_millis(ms);
        let (ends, how) = if self.dice.below(100) < self.fails[at] {
            let how = if self.limits { Ending::Limit } else { Ending::Failure };
            (lasts(1 + self.dice.below(50)), how)
        } else if self.dice.below(100) < self.stalls[at] {
            (PATIENCE, Ending::Failure)
        } else {
            (lasts(100 + self.dice.below(1_500)), Ending::FirstToken)
        };
        Under { candidate, began: self.now, ends: self.now.plus(ends), how }
    }

    /// Drives one request to its end, and says whether it was answered.
    fn request(&mut self) -> bool {
        let began = self.now;
        let eligible = [RouteId(0), RouteId(1), RouteId(2)];
        let base = RequestFacts {
            eligible: &eligible,
            prompt_tokens: 1_000,
            may_hedge: true,
            needs: super::facts::Needs(Capabilities::CHAT),
            ..RequestFacts::default()
        };
        self.budget.deposit(began);
        let mut pursuit = Pursuit::new(began, limit(&self.policy, &base), &self.policy, true);
        let mut under: Vec<Under> = Vec::new();
        let mut decision = Decision::default();
        for _ in 0..1_000 {
            assert!(under.len() <= RUNNING_MAX && pursuit.running().len() == under.len());
            let mut tried = pursuit.tried().to_vec();
            assert!(tried.len() <= 3);
            tried.sort_unstable();
            tried.dedup();
            assert_eq!(tried.len(), pursuit.tried().len(), "nobody is asked twice");
            let waited = pursuit.waited(self.now);
            if under.is_empty() {
                let tried: Vec<RouteId> = pursuit.tried().to_vec();
                self.decide(&mut decision, &RequestFacts { waited, tried: &tried, ..base });
                match pursuit.open(&decision, self.now) {
                    Step::Ask(candidate) => {
                        if !tried.is_empty()
                            && !self.minds[usize::from(candidate.route.0)].is_known_good(self.now)
                            && !self.budget.withdraw_to_go_on(self.now, candidate.last_resort)
                        {
                            return false;
                        }
                        let one = self.start(candidate);
                        under.push(one);
                        pursuit.asked(candidate, &decision, self.now);
                    }
                    Step::Pause(until) => {
                        assert!(until > self.now && decision.wait_min().is_some());
                        self.now = until;
                    }
                    Step::GiveUp => {
                        let ejected = tried.is_empty() && decision.wait_min().is_none();
                        assert!(!ejected, "all left out by ejection alone: {:?}", decision.excluded);
                        return false;
                    }
                    Step::Wait => panic!("there is nobody to wait for"),
                }
                continue;
            }
            let (place, next) = under
                .iter()
                .enumerate()
                .min_by_key(|(_, one)| one.ends)
                .map(|(i, one)| (i, *one))
                .expect("one is under way");
            if let Some(look) = pursuit.look_at().filter(|look| *look < next.ends) {
                self.now = self.now.max(look);
                let tried: Vec<RouteId> = pursuit.tried().to_vec();
                let waited = pursuit.waited(self.now);
                let seen = self.decide(&mut decision, &RequestFacts { waited, tried: &tried, ..base });
                let silent = pursuit.running()[0].candidate.route;
                let step = pursuit.silence(&decision, &seen[usize::from(silent.0)], self.now);
                assert!(pursuit.look_at().is_none_or(|next| next > self.now), "time goes on");
                if let Step::Ask(candidate) = step
                    && self.budget.withdraw(self.now)
                {
                    assert!(!candidate.last_resort);
                    let one = self.start(candidate);
                    under.push(one);
                    pursuit.asked(candidate, &decision, self.now);
                }
                continue;
            }
            self.now = self.now.max(next.ends);
            under.remove(place);
            let mind = &mut self.minds[usize::from(next.candidate.route.0)];
            mind.ended(self.now, next.began, next.how);
            if next.how == Ending::FirstToken {
                self.budget.answered(self.now);
                return true;
            }
            pursuit.lost(next.candidate.route);
        }
        panic!("a request without an end");
    }
}

#[test]
fn r22_ten_thousand_seeds_end_every_request_and_leave_nobody_without_a_route() {
    let (mut answered, mut asked_in_outage, mut outages) = (0_u64, 0, 0_u64);
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..REQUESTS {
            answered += u64::from(world.request());
            world.now = world.now.plus(Duration::from_millis(1 + world.dice.below(3_000)));
        }
        if seed % 10 == 0 {
            outages += REQUESTS;
            asked_in_outage += world.attempts;
        }
    }
    assert!(answered > SEEDS * REQUESTS / 2, "{answered}");
    assert!(asked_in_outage <= outages * 3, "{asked_in_outage} attempts for {outages} requests");
}

/// Of so many requests in a row, one every so often, with everyone failing that often: the share that is answered, and
/// attempts a request.
fn everyone_fails(percent: u64, requests: u32, every: Duration) -> (f64, f64) {
    let (mut answered, mut attempts) = (0_u32, 0);
    for seed in 1..=20 {
        let mut world = World::new(seed);
        (world.fails, world.stalls, world.limits) = ([percent; ROUTES], [0; ROUTES], false);
        let mut due = world.now;
        for _ in 0..requests {
            // Requests overlap, as those of many callers do.
            world.now = due;
            answered += u32::from(world.request());
            due = due.plus(every);
        }
        attempts += world.attempts;
    }
    let all = f64::from(requests * 20);
    let attempts = u32::try_from(attempts).expect("a few for each");
    (f64::from(answered) / all, f64::from(attempts) / all)
}

#[test]
fn r20_with_everyone_failing_half_of_the_time_the_budget_is_spent_and_not_more() {
    // What a fifth of the requests and two a second buy: with few requests, nearly every answer there is to have.
    for (every_ms, least) in [(1_000, 0.85), (300, 0.8), (10, 0.58)] {
        let every = Duration::from_millis(every_ms);
        let (answered, attempts) = everyone_fails(50, 2_000, every);
        // Before its failures were seen a route was taken for good: a few went there for nothing.
        let most = 1.2 + 2.0 * every.as_secs_f64() + 20.0 / 2_000.0 + 0.01;
        assert!(
            answered > least && attempts < most,
            "every {every:?}: {answered} answered, {attempts} attempts"
        );
        let (answered, attempts) = everyone_fails(100, 2_000, every);
        assert!(
            answered == 0.0 && attempts < 1.2,
            "every {every:?}: {answered} answered, {attempts} attempts"
        );
    }
}
