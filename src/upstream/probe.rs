//! Probes: tiny requests of our own to routes that somebody wants and nothing was heard of, so that a route that was once
//! judged bad is seen again, and the trial of a half-open breaker is not a caller's.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use smallvec::SmallVec;

use crate::api::body::Call;
use crate::api::tokens::Vocabulary;
use crate::providers::fault::Weight;
use crate::routing::cost::{self, ExpectedTokens};
use crate::routing::learn::breaker::State;
use crate::routing::learn::first_token::Reading;
use crate::routing::{Capabilities, Decision, Endpoint, Exclusion, Policy, Route};
use crate::units::{Mono, PicoUsd, Usage};

use super::answer::Answer;
use super::fallback::Upstreams;
use super::health::RouteHealth;
use super::trial::{Brought, Course, Lost, Patience, Trial, Underway};

/// A route unheard for this long is probed, and at most so often.
pub const INTERVAL: Duration = Duration::from_secs(15);
/// Probes are spread over this much more.
const JITTER: Duration = Duration::from_secs(3);
/// How long after the last request that could have gone there a route is still wanted.
const WANTED_FOR: Duration = Duration::from_mins(10);
/// How long a probe may stay silent.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the answer of one token that was asked for may be billed at.
const ANSWER_TOKENS_MAX: u64 = 16;
/// How long a route that refuses probes as bad requests is left to callers' requests.
const USELESS_FOR: Duration = Duration::from_mins(10);

const BODY: &str = r#"{"model":"probe","stream":true,"max_tokens":1,"messages":[{"role":"system","content":"You check whether a service can be reached. You answer with one word and nothing else: no greeting, no explanation, no punctuation marks and no formatting."},{"role":"user","content":"Say yes."}]}"#;

/// The request that every probe sends. Its own text is well formed, as a test shows.
static PROBE: LazyLock<Option<Call>> =
    LazyLock::new(|| Call::parse(Endpoint::Chat, Bytes::from_static(BODY.as_bytes()), 16).ok());

/// Whether probes may go there at all: never to our own engine, nor where nobody knows what they cost.
fn may_be_probed(route: &Route) -> bool {
    !route.local && route.price.is_some() && route.capabilities.covers(Capabilities::CHAT)
}

/// Whether the moment alone leaves the route out, so that a caller's request would go there at another.
const fn passes(why: &Exclusion) -> bool {
    matches!(
        why,
        Exclusion::BreakerOpen { .. }
            | Exclusion::RateLimited { .. }
            | Exclusion::OverCap { .. }
            | Exclusion::Full { .. }
            | Exclusion::Disabled { .. }
    )
}

/// What a probe brought.
#[derive(Debug)]
pub struct Probed {
    /// The word for it.
    pub outcome: &'static str,
    /// The answer, which is still to be heard to its end; since when it was waited for.
    pub answered: Option<(Answer, Underway, Mono)>,
    /// The attempt where it brought no answer.
    pub lost: SmallVec<[Lost; 2]>,
    /// The tokens of its prompt, by our estimate.
    pub prompt: u64,
}

impl Upstreams {
    /// A request came that could go to these routes, now or at another moment: where its policy probes, they are worth it.
    pub fn wanted(&self, policy: &Policy, routes: &[Route], decision: &Decision, now: Mono) {
        if !policy.probe {
            return;
        }
        let could = decision.order.iter().map(|one| one.route);
        let later = decision.excluded.iter().filter(|one| passes(&one.why)).map(|one| one.route);
        for id in could.chain(later) {
            let index = usize::from(id.0);
            if routes.get(index).is_some_and(may_be_probed)
                && let Some(health) = self.health.get(index)
            {
                health.wanted_at.set(now);
            }
        }
    }

    /// Whether the route at `place` is to be probed at `now`; if so, the next probe is put off. `route` says what it costs.
    pub fn is_probe_due(&self, place: usize, route: Option<&Route>, now: Mono) -> bool {
        let Some(health) = self.health.get(place) else { return false };
        let wanted = health.wanted_at.get().is_some_and(|at| now.since(at) < WANTED_FOR);
        if !wanted || !health.is_probed(now) {
            return false;
        }
        let half_open = health.breaker_state(now) == State::HalfOpen;
        let unheard = health.heard_at.get().is_none_or(|at| now.since(at) >= INTERVAL);
        let rested = health.probe_from.get().is_none_or(|from| from <= now);
        // The trial of a breaker is due when the breaker says so.
        let may = health.may_be_probed(now);
        let introduced = may && !half_open && health.introduces();
        let due = may && (half_open || introduced || (unheard && rested));
        if due {
            health.probe_from.set(now.plus(INTERVAL + jitter(health, now)));
        }
        let cost = route.zip(PROBE.as_ref()).map(|(route, call)| self.cost_of_probe(route, call));
        due && (half_open || introduced || cost.is_none_or(|cost| self.demand.may_probe(now, cost)))
    }

    /// The most tokens that a probe's prompt can be, and those that its answer may be billed at.
    pub fn probe_bounds() -> Option<(u64, u64)> {
        // No tokenizer makes more tokens of a text than it has bytes; some providers bill a handful for the shortest answer.
        PROBE.as_ref().map(|_| (BODY.len() as u64, ANSWER_TOKENS_MAX))
    }

    /// Probes the route at this place; whoever asked accounts for it. Dropping the future cancels the probe.
    pub async fn probe(&self, routes: &[Route], route_provider: &[u16], place: usize) -> Option<Probed> {
        let (call, route) = (PROBE.as_ref()?, routes.get(place)?);
        let provider = route_provider.get(place).map(|at| usize::from(*at));
        let target = provider.and_then(|at| self.targets.get(at)?.as_ref())?;
        let health = self.health.get(place)?;
        let prompt = call.prompt_tokens_estimated(Vocabulary::Unknown);
        let at = self.clock.now().wall;
        let usage = Usage { prompt, ..Usage::default() };
        let cost = route.price.as_ref().map(|card| card.cost_of(&usage, at).total());
        #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
        let reading = Reading::of(prompt as f64);
        let course = Course::default();
        let trial = Trial {
            route,
            target,
            health,
            call,
            headers: &HeaderMap::new(),
            reading,
            prompt: (usage, cost),
            patience: Patience::of(call, false, PATIENCE, PATIENCE),
            gathered: None,
            as_it_came: false,
            beaten: None,
            course: &course,
            hedge_of: None,
        };
        match self.try_route(trial).await {
            Ok(Brought { answer, sent, underway, .. }) => Some(Probed {
                outcome: "ok",
                answered: Some((answer, underway, sent)),
                lost: course.lost(),
                prompt,
            }),
            Err(failed) => {
                if failed.fault.class.weight() == Weight::None {
                    health.unprobeable_until.set(self.clock.now().mono.plus(USELESS_FOR));
                }
                let outcome = failed.fault.class.code();
                Some(Probed { outcome, answered: None, lost: course.lost(), prompt })
            }
        }
    }

    fn cost_of_probe(&self, route: &Route, call: &Call) -> PicoUsd {
        let tokens = ExpectedTokens {
            uncached: call.prompt_tokens_estimated(Vocabulary::Unknown),
            cached: 0,
            output: 1,
        };
        let at = self.clock.now().wall;
        route.price.as_ref().map_or(PicoUsd::ZERO, |card| {
            cost::expected(card, card.rates(tokens.uncached, at), tokens).total()
        })
    }
}

/// A part of [`JITTER`] that differs from route to route and from time to time.
fn jitter(health: &Arc<RouteHealth>, now: Mono) -> Duration {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    #[expect(clippy::cast_possible_truncation, reason = "sixteen bits")]
    let share = u32::from(KEYS.hash_one((health.number().0, now.0)) as u16);
    JITTER * share / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::providers::fault::{Class, Fault};
    use crate::routing::RouteId;
    use crate::routing::learn::route::AttemptId;
    use crate::telemetry::Metrics;
    use crate::units::{Clock as _, ManualClock};
    use crate::upstream::client::Client;
    use crate::upstream::connect::LinkLocalHosts;

    fn upstreams(clock: &Arc<ManualClock>) -> Upstreams {
        Upstreams {
            client: Client::new(None, LinkLocalHosts::default()),
            targets: Vec::new(),
            health: vec![Arc::new(RouteHealth::new(false, RouteId(0)))],
            budgets: vec![Arc::new(Mutex::default())],
            demand: Arc::default(),
            prefixes: Arc::default(),
            stays: Arc::default(),
            metrics: Arc::new(Metrics::new()),
            clock: Arc::clone(clock) as Arc<dyn crate::units::Clock>,
            attempts: Arc::default(),
        }
    }

    #[tokio::test]
    async fn a_wanted_route_is_probed_when_unheard_and_an_open_one_when_its_breaker_lets() {
        let clock = Arc::new(ManualClock::at("2026-11-01T00:00:00Z".parse().expect("a moment")));
        let upstreams = upstreams(&clock);
        let health = &upstreams.health[0];
        let due_after = |s: u64| {
            clock.advance(Duration::from_secs(s));
            upstreams.is_probe_due(0, None, clock.now().mono)
        };
        assert!(!due_after(100), "nobody has asked for it");
        health.wanted_at.set(clock.now().mono);
        health.began(clock.now().mono, AttemptId(0), Reading::of(10.0));
        health.answered(clock.now().mono, AttemptId(0), true);
        assert!(!due_after(10), "it was heard");
        assert!(due_after(6));
        assert!(!due_after(10), "one in fifteen seconds");
        assert!(due_after(9));
        let fault = Fault { class: Class::Server, retry_after: None, message: String::new() };
        for id in 1..4 {
            health.failed(clock.now().mono, AttemptId(id), &fault);
        }
        assert!(!due_after(1), "its breaker is open");
        assert!(due_after(2), "and now waits for a trial");
        health.began(clock.now().mono, AttemptId(4), Reading::of(10.0));
        assert!(!due_after(1), "which is under way");
        health.answered(clock.now().mono, AttemptId(4), true);
        assert!(!due_after(601), "nobody wants it any more");
    }

    #[tokio::test]
    async fn a_route_of_which_nothing_is_known_gets_four_probes_at_once_and_then_one_in_fifteen_seconds() {
        let clock = Arc::new(ManualClock::at("2026-11-01T00:00:00Z".parse().expect("a moment")));
        let upstreams = upstreams(&clock);
        let due_after = |ms: u64| {
            clock.advance(Duration::from_millis(ms));
            upstreams.is_probe_due(0, None, clock.now().mono)
        };
        assert!(!due_after(500), "nobody has asked for it");
        let health = &upstreams.health[0];
        health.wanted_at.set(clock.now().mono);
        for id in 0..4 {
            assert!(due_after(500), "{id}");
            health.began(clock.now().mono, AttemptId(id), Reading::of(10.0));
            health.answered(clock.now().mono, AttemptId(id), true);
        }
        assert!(!due_after(500), "it is known now");
        assert!(due_after(18_000));
    }

    #[test]
    fn a_probe_is_a_small_call() {
        let call = PROBE.as_ref().expect("it is well formed");
        assert!(call.stream && call.output_tokens_max == Some(1));
        let tokens = call.prompt_tokens_estimated(Vocabulary::Unknown);
        assert!((35..80).contains(&tokens), "{tokens}");
    }
}
