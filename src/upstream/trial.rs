//! One attempt with all that hangs on it: it is counted and its route learns from it, however it ends. A future that is
//! dropped teaches too: nothing is lost when a caller leaves or another route was quicker.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use smallvec::SmallVec;

use crate::api::body::Call;
use crate::pricing::PriceEntry;
use crate::providers::fault::{Class, Weight};
use crate::providers::headroom;
use crate::routing::learn::breaker::State;
use crate::routing::learn::first_token::Reading;
use crate::routing::learn::route::{AttemptId, Change};
use crate::routing::{Midstream, Policy, Route};
use crate::telemetry::Metrics;
use crate::units::{Clock, Mono, NanoUsd, PicoUsd, Usage};

use super::answer::Answer;
use super::attempt::{Asking, Failed, Target, attempt};
use super::fallback::Upstreams;
use super::health::RouteHealth;

/// A whole answer is given the time of its first token and then of its tokens at this slowest acceptable rate.
const TOKENS_PER_SECOND_MIN: u64 = 30;
/// Tokens a whole answer may have when its caller set no bound.
const TOKENS_UNBOUNDED: u64 = 8_192;

/// What became of a request's attempts that brought no answer, for whoever accounts for it: its caller may leave before
/// anything is answered, and what was asked beside or before the answer is paid for all the same.
#[derive(Debug, Default)]
pub struct Course {
    asked: AtomicU32,
    lost: Mutex<SmallVec<[Lost; 2]>>,
}

/// An attempt that brought no answer.
#[derive(Debug, Clone)]
pub struct Lost {
    /// Whom it asked.
    pub provider: Arc<str>,
    /// For what.
    pub checkpoint: Arc<str>,
    /// `provider/upstream-model`.
    pub route: Arc<str>,
    /// Its prompt by our estimate, where it is billed.
    pub usage: Usage,
    /// What that costs: most providers bill what was cancelled, and who took the prompt and fell silent bills it, too. Zero
    /// where the provider refused it; `None` where it is billed and nobody knows a price.
    pub cost: Option<PicoUsd>,
    /// The line of the price book behind it.
    pub price: Option<PriceEntry>,
    /// What became of it.
    pub fate: Fate,
    /// When it was asked.
    pub sent: Mono,
}

/// What became of an attempt without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its caller left.
    Left,
    /// Another was quicker.
    Beaten,
    /// It failed, for this reason.
    Failed(&'static str),
}

impl Lost {
    /// The cost as recorded.
    pub fn amount(&self) -> NanoUsd {
        self.cost.unwrap_or_default().to_nanos()
    }
}

impl Course {
    /// Attempts made.
    pub fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Those that brought no answer, in the order in which that was known.
    pub fn lost(&self) -> SmallVec<[Lost; 2]> {
        // A panic while it was held can only have left one attempt out.
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What they cost together, each rounded as it is recorded.
    pub fn lost_amount(&self) -> NanoUsd {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        NanoUsd(lost.iter().fold(0, |sum, one| sum.saturating_add(one.amount().0)))
    }

    fn lose(&self, one: Lost) {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).push(one);
    }
}

/// Whether `policy` wants a broken stream of `call` gone on with, and it could be.
pub fn is_rescue_wanted(policy: &Policy, call: &Call) -> bool {
    policy.fallback.midstream == Midstream::Resume && call.cannot_go_on().is_none()
}

/// Whether a route that speaks the API of `call`'s caller may be sent the request as it came. What is to be gone on with,
/// should it break off, is asked for as a chat: only that can be.
pub(super) fn may_go_as_it_came(policy: &Policy, call: &Call) -> bool {
    call.native().is_some() && !is_rescue_wanted(policy, call)
}

/// What is asked of whom.
pub(super) struct Trial<'a> {
    pub(super) route: &'a Route,
    pub(super) target: &'a Target,
    pub(super) health: &'a Arc<RouteHealth>,
    pub(super) call: &'a Call,
    pub(super) headers: &'a HeaderMap,
    /// How much of the prompt the route will have to read.
    pub(super) reading: Reading,
    /// What reading the prompt is billed as there, and at what cost, where a price is known.
    pub(super) prompt: (Usage, Option<PicoUsd>),
    pub(super) patience: Patience,
    /// For an answer that is no stream and is asked for as one: how long it may be silent, and how long it may take.
    pub(super) gathered: Option<(Duration, Duration)>,
    /// Whether a request to another API than this gateway's own may go on as it came.
    pub(super) as_it_came: bool,
    /// Set by whoever drives, once another attempt has won; none for a probe.
    pub(super) beaten: Option<&'a AtomicBool>,
    /// Of the request, or the probe, that it is for.
    pub(super) course: &'a Course,
    /// The policy's name, if this is a second attempt beside a silent one.
    pub(super) hedge_of: Option<&'a str>,
}

/// What an attempt brought.
#[derive(Debug)]
pub(super) struct Brought {
    pub(super) answer: Answer,
    pub(super) sent: Mono,
    pub(super) answered: Mono,
    pub(super) underway: Underway,
    pub(super) id: AttemptId,
}

/// An answer under way: its route counts it as running until it is told how it ended, or this is dropped.
pub struct Underway {
    open: Option<(Arc<RouteHealth>, Arc<dyn Clock>)>,
}

impl std::fmt::Debug for Underway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Underway").field("open", &self.open.is_some()).finish()
    }
}

impl Underway {
    /// The answer is over; `well`: after so many tokens in so many seconds since the first.
    pub fn ended(&mut self, well: Option<(u64, f32)>) {
        if let Some((health, clock)) = self.open.take() {
            health.ended(clock.now().mono, well);
        }
    }

    /// The stream broke after its first token. Says what that changed.
    pub fn broke(&mut self) -> Change {
        self.open.take().map_or(Change::None, |(health, clock)| health.broke(clock.now().mono))
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.ended(None);
    }
}

/// How long one attempt may stay silent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) limit: Duration,
    /// Whether that is the route's full time, so that silence is its fault. A caller in a hurry proves nothing.
    pub(super) full: bool,
}

impl Patience {
    /// For `call`, of which `left` is left, where a first token may take `first_token`.
    pub(super) fn of(call: &Call, as_stream: bool, first_token: Duration, left: Duration) -> Self {
        let granted = if call.stream || as_stream {
            first_token
        } else {
            let tokens = call.output_tokens_max.unwrap_or(TOKENS_UNBOUNDED).min(1 << 20);
            first_token.saturating_add(Duration::from_millis(tokens * 1000 / TOKENS_PER_SECOND_MIN))
        };
        Self { limit: granted.min(left), full: granted <= left }
    }
}

impl Trial<'_> {
    /// Notes an attempt that brought no answer.
    fn lost(&self, sent: Mono, at: Timestamp, fate: Fate, billed: bool) {
        let route = self.route;
        let (usage, cost) = if billed { self.prompt } else { (Usage::default(), Some(PicoUsd::ZERO)) };
        self.course.lose(Lost {
            provider: Arc::clone(&route.provider),
            checkpoint: Arc::clone(&route.checkpoint),
            route: Arc::clone(&route.name),
            usage,
            cost,
            price: route.price.as_ref().map(|card| card.entry_in_force(usage.prompt, at).clone()),
            fate,
            sent,
        });
    }
}

impl Upstreams {
    /// Makes the attempt. Dropping the future cancels it.
    pub(super) async fn try_route(&self, trial: Trial<'_>) -> Result<Brought, Failed> {
        let Trial { route, health, call, .. } = trial;
        let sent = self.clock.now().mono;
        let id = AttemptId(self.attempts.fetch_add(1, Ordering::Relaxed));
        health.began(sent, id, trial.reading);
        trial.course.asked.fetch_add(1, Ordering::Relaxed);
        let mut open = Open { upstreams: self, trial: &trial, id, sent, outcome: "cancelled" };
        let asking = Asking {
            call,
            upstream_model: &route.upstream_model,
            caller_headers: trial.headers,
            patience: trial.patience.limit,
            gathered: trial.gathered,
            as_it_came: trial.as_it_came,
        };
        let outcome = attempt(&self.client, trial.target, asking).await;
        let answered = self.clock.now().mono;
        open.outcome = outcome.as_ref().map_or_else(outcome_of, |_| "ok");
        match outcome {
            Ok(answer) => {
                let streamed = matches!(answer, Answer::Streamed(_));
                let change = health.answered(answered, id, streamed);
                let underway = Underway { open: Some((Arc::clone(health), Arc::clone(&self.clock))) };
                self.tell(route, change, None);
                self.heed_headroom(route, health, answer.headers());
                Ok(Brought { answer, sent, answered, underway, id })
            }
            Err(mut failed) => {
                if failed.fault.class == Class::Rate && failed.fault.retry_after.is_none() {
                    failed.fault.retry_after =
                        failed.headers.as_ref().and_then(|h| headroom::reset(h, self.clock.now().wall));
                }
                let hurried =
                    failed.fault.class == Class::Timeout && failed.answer.is_none() && !trial.patience.full;
                let change = if hurried {
                    health.abandoned(answered, id);
                    Change::None
                } else {
                    health.failed(answered, id, &failed.fault)
                };
                self.tell(route, change, Some(&failed));
                // Who took the prompt and brought no answer bills it; who refused it does not.
                let billed =
                    matches!(failed.fault.class, Class::Timeout | Class::BrokenStream | Class::Malformed);
                if billed {
                    self.waste(&trial, "failed_attempt");
                }
                trial.lost(sent, self.clock.now().wall, Fate::Failed(failed.fault.class.code()), billed);
                Err(failed)
            }
        }
    }

    /// An attempt's prompt was paid for in vain. A probe's never is: what all probes cost is counted by itself.
    fn waste(&self, trial: &Trial<'_>, reason: &str) {
        let is_probe = trial.beaten.is_none();
        if let (false, Some(cost)) = (is_probe, trial.prompt.1) {
            self.metrics.waste(&trial.route.provider, reason).add(cost.to_nanos());
        }
    }

    /// A provider that says nothing is left is left alone until it says there is more.
    fn heed_headroom(&self, route: &Route, health: &RouteHealth, headers: &HeaderMap) {
        if !headroom::is_stated(headers) {
            return;
        }
        let now = self.clock.now();
        for left in headroom::left(headers, now.wall) {
            self.metrics.provider_remaining(&route.provider, left.limit, left.remaining);
            if let Some(reset) = left.reset.filter(|_| left.remaining == 0.0) {
                health.exhausted(now.mono, reset);
            }
        }
    }

    /// What an operator must hear of.
    fn tell(&self, route: &Route, change: Change, failed: Option<&Failed>) {
        let provider = &*route.provider;
        if let Some(failed) = failed {
            let (reason, message) = (failed.fault.class.code(), failed.fault.message.as_str());
            tracing::debug!(route = &*route.name, reason, message, "an attempt failed");
            if change == Change::Disabled && failed.fault.class.weight() == Weight::Disabled {
                self.metrics.disabled(provider, &route.checkpoint, reason);
                tracing::error!(
                    provider,
                    route = &*route.name,
                    reason,
                    message,
                    "this provider refuses our account or the model: check its key, its credit and the model id; other routes serve meanwhile"
                );
            }
        }
        let reason = failed.map_or("recovered", |failed| failed.fault.class.code());
        tell_breaker(&self.metrics, provider, &route.checkpoint, &route.name, change, reason);
    }
}

/// Counts and logs that a route's breaker moved, if it did.
pub fn tell_breaker(
    metrics: &Metrics,
    provider: &str,
    checkpoint: &str,
    route: &str,
    change: Change,
    reason: &str,
) {
    if let Change::Breaker(state) = change {
        let states = State::ALL.map(State::name);
        metrics.breaker(provider, checkpoint, &states, state.name(), true);
        tracing::warn!(provider, route, state = state.name(), reason, "circuit breaker");
    }
}

fn outcome_of(failed: &Failed) -> &'static str {
    match (failed.fault.class, failed.answer.as_ref().map(|answer| answer.0)) {
        (_, Some(StatusCode::TOO_MANY_REQUESTS)) => "http_429",
        (_, Some(status)) if status.is_client_error() => "http_4xx",
        (_, Some(_)) => "http_5xx",
        (Class::Timeout, None) => "timeout",
        (Class::Connect, None) => "connect",
        (Class::BrokenStream, None) => "stream_cut",
        (_, None) => "malformed",
    }
}

/// An attempt under way. Dropped, it is counted; dropped before it had an outcome, its route learns that it was silent.
struct Open<'a> {
    upstreams: &'a Upstreams,
    trial: &'a Trial<'a>,
    id: AttemptId,
    sent: Mono,
    outcome: &'static str,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let Self { upstreams, trial, .. } = self;
        let now = upstreams.clock.now().mono;
        let seconds = now.since(self.sent).as_secs_f64();
        let cancelled = self.outcome == "cancelled";
        upstreams.metrics.attempt(&trial.route.provider, &trial.route.checkpoint, self.outcome, seconds);
        if cancelled {
            trial.health.abandoned(now, self.id);
            let beaten = trial.beaten.is_some_and(|beaten| beaten.load(Ordering::Relaxed));
            if beaten {
                upstreams.waste(trial, "hedge_loser");
            } else {
                upstreams.waste(trial, "cancelled_stream");
            }
            let fate = if beaten { Fate::Beaten } else { Fate::Left };
            trial.lost(self.sent, upstreams.clock.now().wall, fate, true);
        }
        if let Some(policy) = trial.hedge_of {
            let result = if cancelled {
                "lost"
            } else if self.outcome == "ok" {
                "won"
            } else {
                "failed"
            };
            upstreams.metrics.hedge(policy, result);
        }
    }
}
