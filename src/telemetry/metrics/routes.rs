//! Tries at providers, and what became of the routes: breakers, limits, those set aside.

use prometheus::{GaugeVec, HistogramVec, IntCounterVec, IntGaugeVec, Registry};

use super::make::{counters, gauges, histograms, int_gauges};
use super::{Metrics, TTFT_BUCKETS};

/// Families of routes and of tries at them.
#[derive(Debug)]
pub(super) struct RouteFamilies {
    attempts: IntCounterVec,
    upstream_duration: HistogramVec,
    retries: IntCounterVec,
    retry_budget_exhausted: IntCounterVec,
    fallbacks: IntCounterVec,
    breaker_state: IntGaugeVec,
    breaker_transitions: IntCounterVec,
    route_disabled: IntCounterVec,
    provider_limit_remaining: GaugeVec,
}

impl RouteFamilies {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            attempts: counters(
                r,
                "tollway_upstream_attempts_total",
                "Tries at providers.",
                &["provider", "model", "outcome"],
            ),
            upstream_duration: histograms(
                r,
                "tollway_upstream_duration_seconds",
                "A try until its answer or first token.",
                &["provider", "model"],
                TTFT_BUCKETS,
            ),
            retries: counters(r, "tollway_retries_total", "Tries after the first.", &["provider", "reason"]),
            retry_budget_exhausted: counters(
                r,
                "tollway_retry_budget_exhausted_total",
                "Tries not made because the retry budget was spent.",
                &["provider", "reason"],
            ),
            fallbacks: counters(
                r,
                "tollway_fallbacks_total",
                "Requests that moved to another provider.",
                &["policy", "from", "to", "reason"],
            ),
            breaker_state: int_gauges(
                r,
                "tollway_breaker_state",
                "1 for the state it is in, 0 for the others.",
                &["provider", "model", "state"],
            ),
            breaker_transitions: counters(
                r,
                "tollway_breaker_transitions_total",
                "Changes of a breaker's state.",
                &["provider", "model", "to"],
            ),
            route_disabled: counters(
                r,
                "tollway_route_disabled_total",
                "Times a route was set aside until the operator acts.",
                &["provider", "model", "reason"],
            ),
            provider_limit_remaining: gauges(
                r,
                "tollway_provider_limit_remaining",
                "What a provider's headers say is left.",
                &["provider", "limit"],
            ),
        }
    }
}

impl Metrics {
    /// A try at a route ended.
    pub fn attempt(&self, provider: &str, model: &str, outcome: &str, seconds: f64) {
        self.routes.attempts.with_label_values(&[provider, model, outcome]).inc();
        self.routes.upstream_duration.with_label_values(&[provider, model]).observe(seconds);
    }

    /// Another try is made after a failure of `provider`.
    pub fn retry(&self, provider: &str, reason: &str) {
        self.routes.retries.with_label_values(&[provider, reason]).inc();
    }

    /// Another try would have been made, but the budget for retries is spent.
    pub fn retry_refused(&self, provider: &str, reason: &str) {
        self.routes.retry_budget_exhausted.with_label_values(&[provider, reason]).inc();
    }

    /// A request moved on.
    pub fn fallback(&self, policy: &str, from: &str, to: &str, reason: &str) {
        self.routes.fallbacks.with_label_values(&[policy, from, to, reason]).inc();
    }

    /// A breaker's state, of those in `states`.
    pub fn breaker(&self, provider: &str, model: &str, states: &[&str], now_in: &str, moved: bool) {
        for state in states {
            self.routes
                .breaker_state
                .with_label_values(&[provider, model, state])
                .set(i64::from(*state == now_in));
        }
        if moved {
            self.routes.breaker_transitions.with_label_values(&[provider, model, now_in]).inc();
        }
    }

    /// A route was set aside until the operator acts.
    pub fn disabled(&self, provider: &str, model: &str, reason: &str) {
        self.routes.route_disabled.with_label_values(&[provider, model, reason]).inc();
    }

    /// What a provider said is left.
    pub fn provider_remaining(&self, provider: &str, limit: &str, left: f64) {
        self.routes.provider_limit_remaining.with_label_values(&[provider, limit]).set(left);
    }
}
