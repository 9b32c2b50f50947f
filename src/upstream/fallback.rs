//! From one route to the next until one answers: before the caller has seen anything, so that a failure is replaced unseen.
//!
//! Retries come from a budget, not a count alone. Going on to a route that has just answered others is free; going to one
//! that nobody has seen work lately draws on the budget (a fifth of the requests, plus a few a second), so that an outage
//! of everything costs hardly more upstream requests than there are callers' requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tower::retry::budget::{Budget, TpsBudget};

use crate::api::body::Call;
use crate::providers::fault::{Class, Weight};
use crate::providers::headroom;
use crate::routing::learn::breaker::State;
use crate::routing::learn::route::{AttemptId, Change};
use crate::routing::{Candidate, Decision, Fallback, Route, RouteId};
use crate::telemetry::Metrics;
use crate::units::{Clock, Mono};

use super::answer::Answer;
use super::attempt::{Failed, Target, attempt};
use super::connect::Client;
use super::error::{Error, Reason};
use super::health::{RouteHealth, Table};

/// Retries a second that are always allowed, and the share of requests that may be retried beyond that.
const RETRIES_PER_SECOND_MIN: u32 = 10;
const RETRY_SHARE: f32 = 0.2;
const RETRY_WINDOW: Duration = Duration::from_secs(10);
/// A whole answer is given the time of its first token and then of its tokens at this slowest acceptable rate.
const TOKENS_PER_SECOND_MIN: u64 = 30;
/// Tokens a whole answer may have when its caller set no bound.
const TOKENS_UNBOUNDED: u64 = 8_192;

/// The gateway's budget for retries, shared by all requests.
#[derive(Debug)]
pub struct RetryBudget(TpsBudget);

impl Default for RetryBudget {
    fn default() -> Self {
        Self(TpsBudget::new(RETRY_WINDOW, RETRIES_PER_SECOND_MIN, RETRY_SHARE))
    }
}

/// All that attempts need, made once per snapshot.
pub struct Upstreams {
    /// Connections.
    pub client: Client,
    /// By provider, `None` for one that is not usable.
    pub targets: Vec<Option<Target>>,
    /// By route.
    pub health: Vec<Arc<RouteHealth>>,
    /// For retries.
    pub retries: Arc<RetryBudget>,
    /// Where attempts are counted.
    pub metrics: Arc<Metrics>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Numbers attempts.
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
    /// The order of attempts.
    pub decision: &'a Decision,
    /// How attempts are replaced.
    pub fallback: &'a Fallback,
    /// Name of the policy, for the metrics.
    pub policy: &'a str,
    /// When the request came, and how long it may take in all.
    pub began: Mono,
    /// As above.
    pub limit: Duration,
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
    /// When the last try began.
    pub sent: Mono,
    /// When its first token, or the whole of it, was here.
    pub answered: Mono,
    /// What failed before.
    pub failures: Vec<Reason>,
}

impl Upstreams {
    /// What is known of the routes of a request.
    pub fn observed(&self, eligible: &[RouteId]) -> Table {
        let outlook = |id: &RouteId| self.health.get(usize::from(id.0)).map(|health| health.outlook());
        Table(eligible.iter().map(|id| outlook(id).unwrap_or_default()).collect())
    }

    /// Tries routes in the decision's order until one answers. Dropping the future cancels the attempt that is under way.
    pub async fn serve(&self, errand: &Errand<'_>) -> Result<Served, Error> {
        self.retries.0.deposit();
        let mut failures: Vec<Reason> = Vec::new();
        let mut context_wanted = 0_u64;
        for candidate in &errand.decision.order {
            if failures.len() as u64 >= u64::from(errand.fallback.attempts.max(1)) {
                break;
            }
            if candidate.last_resort && !failures.is_empty() {
                // Nobody is known to work: one gamble a request, or an outage of everything would be amplified.
                break;
            }
            let Some((route, target, health)) = self.parts(errand, candidate.route) else { continue };
            if context_wanted > 0 && route.context_tokens.is_none_or(|tokens| tokens <= context_wanted) {
                continue;
            }
            let now = self.clock.now().mono;
            let left = errand.limit.saturating_sub(now.since(errand.began));
            if left.is_zero() {
                return Err(Error::DeadlinePassed { limit: errand.limit, reasons: failures });
            }
            if let Some(last) = failures.last()
                && !self.may_retry(errand, last, route, health, now)
            {
                continue;
            }
            let patience = Patience::of(errand, left);
            match self.try_route(errand, route, target, health, patience).await {
                Ok((answer, sent, answered)) => {
                    let attempts = u32::try_from(failures.len()).unwrap_or(u32::MAX).saturating_add(1);
                    return Ok(Served { answer, candidate: *candidate, attempts, sent, answered, failures });
                }
                Err(failed) => {
                    let class = failed.fault.class;
                    let reason =
                        Reason { route: Arc::clone(&route.name), fault: failed.fault, answer: failed.answer };
                    if !class.elsewhere() {
                        return Err(Error::Refused(Box::new(reason)));
                    }
                    if class == Class::ContextOverflow {
                        context_wanted = context_wanted.max(route.context_tokens.unwrap_or(0));
                    }
                    failures.push(reason);
                }
            }
        }
        let elapsed = self.clock.now().mono.since(errand.began);
        if elapsed >= errand.limit {
            return Err(Error::DeadlinePassed { limit: errand.limit, reasons: failures });
        }
        Err(Error::Exhausted(failures))
    }

    fn parts<'a>(
        &'a self,
        errand: &Errand<'a>,
        id: RouteId,
    ) -> Option<(&'a Route, &'a Target, &'a RouteHealth)> {
        let index = usize::from(id.0);
        let provider = usize::from(*errand.route_provider.get(index)?);
        Some((errand.routes.get(index)?, self.targets.get(provider)?.as_ref()?, self.health.get(index)?))
    }

    /// Whether another try may be made, and what it is counted as.
    fn may_retry(
        &self,
        errand: &Errand<'_>,
        last: &Reason,
        route: &Route,
        health: &RouteHealth,
        now: Mono,
    ) -> bool {
        let from = last.route.split('/').next().unwrap_or_default();
        let reason = last.fault.class.code();
        if !health.is_known_good(now) && !self.retries.0.withdraw() {
            self.metrics.retry_refused(from, reason);
            return false;
        }
        self.metrics.retry(from, reason);
        self.metrics.fallback(errand.policy, from, &route.provider, reason);
        true
    }

    async fn try_route(
        &self,
        errand: &Errand<'_>,
        route: &Route,
        target: &Target,
        health: &RouteHealth,
        patience: Patience,
    ) -> Result<(Answer, Mono, Mono), Failed> {
        let sent = self.clock.now().mono;
        let id = AttemptId(self.attempts.fetch_add(1, Ordering::Relaxed));
        health.began(sent, id, errand.call.prompt_tokens_estimated() as f64);
        let mut count =
            Counted { metrics: &self.metrics, clock: &*self.clock, route, sent, outcome: "cancelled" };
        let outcome =
            attempt(&self.client, target, errand.call, &route.upstream_model, errand.headers, patience.limit)
                .await;
        let answered = self.clock.now().mono;
        count.outcome = outcome.as_ref().map_or_else(outcome_of, |_| "ok");
        drop(count);
        match outcome {
            Ok(answer) => {
                let streamed = matches!(answer, Answer::Streamed(_));
                let change = health.answered(answered, id, streamed);
                self.tell(route, change, None);
                self.heed_headroom(route, health, answer.headers());
                Ok((answer, sent, answered))
            }
            Err(mut failed) => {
                if failed.fault.class == Class::Rate && failed.fault.retry_after.is_none() {
                    failed.fault.retry_after =
                        failed.headers.as_ref().and_then(|h| headroom::reset(h, self.clock.now().wall));
                }
                let hurried =
                    failed.fault.class == Class::Timeout && failed.answer.is_none() && !patience.full;
                let change = if hurried {
                    health.abandoned(answered, id);
                    Change::None
                } else {
                    health.failed(answered, id, &failed.fault)
                };
                self.tell(route, change, Some(&failed));
                Err(failed)
            }
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
        if let Change::Breaker(state) = change {
            let states = State::ALL.map(State::name);
            self.metrics.breaker(provider, &route.checkpoint, &states, state.name(), true);
            let reason = failed.map_or("recovered", |failed| failed.fault.class.code());
            tracing::warn!(provider, route = &*route.name, state = state.name(), reason, "circuit breaker");
        }
    }
}

/// How long one attempt may stay silent.
#[derive(Debug, Clone, Copy)]
struct Patience {
    limit: Duration,
    /// Whether that is the route's full time, so that silence is its fault. A caller in a hurry proves nothing.
    full: bool,
}

impl Patience {
    fn of(errand: &Errand<'_>, left: Duration) -> Self {
        let first_token = errand.fallback.first_token_timeout;
        let granted = if errand.call.stream {
            first_token
        } else {
            let tokens = errand.call.output_tokens_max.unwrap_or(TOKENS_UNBOUNDED).min(1 << 20);
            first_token.saturating_add(Duration::from_millis(tokens * 1000 / TOKENS_PER_SECOND_MIN))
        };
        Self { limit: granted.min(left), full: granted <= left }
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

/// Counts an attempt once, also when its future is dropped.
struct Counted<'a> {
    metrics: &'a Metrics,
    clock: &'a dyn Clock,
    route: &'a Route,
    sent: Mono,
    outcome: &'static str,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let seconds = self.clock.now().mono.since(self.sent).as_secs_f64();
        self.metrics.attempt(&self.route.provider, &self.route.checkpoint, self.outcome, seconds);
    }
}
