//! What answers cost, what prices are in force, and where a bill rests on a guess.

use std::sync::Arc;

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Registry};

use crate::telemetry::money::{MoneyCounter, MoneyFamily};

use crate::units::NanoUsd;

use super::Metrics;
use super::make::{counters, gauges, int_gauges};

/// Families of costs and prices.
#[derive(Debug)]
pub(super) struct CostFamilies {
    usage_estimated: IntCounterVec,
    unpriced_requests: IntCounterVec,
    price: GaugeVec,
    price_catalog: GaugeVec,
    price_age: GaugeVec,
    price_stale: IntGaugeVec,
    price_drift: GaugeVec,
    pub(super) cost: MoneyFamily,
    pub(super) cost_component: MoneyFamily,
    pub(super) wasted: MoneyFamily,
    pub(super) saved: MoneyFamily,
    cache_requests: IntCounterVec,
    idempotent_requests: IntCounterVec,
}

impl CostFamilies {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            usage_estimated: counters(
                r,
                "tollway_usage_estimated_total",
                "Bills that rest on our own token count.",
                &["provider", "reason"],
            ),
            unpriced_requests: counters(
                r,
                "tollway_unpriced_requests_total",
                "Requests served without a known price.",
                &["provider", "model"],
            ),
            price: gauges(
                r,
                "tollway_price_usd_per_million_tokens",
                "Price in force.",
                &["provider", "model", "kind"],
            ),
            price_catalog: gauges(
                r,
                "tollway_price_catalog_timestamp_seconds",
                "Newest date in the price book.",
                &["source"],
            ),
            price_age: gauges(
                r,
                "tollway_price_age_seconds",
                "How long ago the price in force was read.",
                &["provider", "model"],
            ),
            price_stale: int_gauges(
                r,
                "tollway_price_stale",
                "1 while the price in force is older than the policy allows.",
                &["policy", "provider", "model"],
            ),
            price_drift: gauges(
                r,
                "tollway_price_drift_ratio",
                "Cost as the provider states it over ours, less one.",
                &["provider", "model"],
            ),
            cost: MoneyFamily::new(
                "tollway_cost_usd_total",
                "Cost of responses.",
                &["policy", "team", "provider", "model"],
            ),
            cost_component: MoneyFamily::new(
                "tollway_cost_component_usd_total",
                "The same by what it was for.",
                &["provider", "model", "kind"],
            ),
            wasted: MoneyFamily::new(
                "tollway_wasted_usd_total",
                "Cost of what no caller got.",
                &["provider", "reason"],
            ),
            saved: MoneyFamily::new(
                "tollway_saved_usd_total",
                "Cost of answers that had not to be paid for again.",
                &["policy", "source"],
            ),
            cache_requests: counters(
                r,
                "tollway_cache_requests_total",
                "Requests that a cache of answers was asked for.",
                &["cache", "result"],
            ),
            idempotent_requests: counters(
                r,
                "tollway_idempotent_requests_total",
                "Requests that their callers named by an Idempotency-Key.",
                &["result"],
            ),
        }
    }
}

impl Metrics {
    /// What was saved under `policy`, by `cache_exact` or `idempotency`.
    pub fn saved(&self, policy: &str, source: &str, amount: NanoUsd) {
        self.costs.saved.with(&[policy, source]).add(amount);
    }

    /// A cache was asked for an answer: `hit` or `miss`.
    pub fn cache_request(&self, cache: &str, result: &str) {
        self.costs.cache_requests.with_label_values(&[cache, result]).inc();
    }

    /// A request that its caller has named was `first`, so as far as this replica knows (`unshared`), `replayed`, or refused:
    /// `in_flight`, `other_body`, `unkept`.
    pub fn named_request(&self, result: &str) {
        self.costs.idempotent_requests.with_label_values(&[result]).inc();
    }

    /// A bill that rests on our own count.
    pub fn estimated(&self, provider: &str, reason: &str) {
        self.costs.usage_estimated.with_label_values(&[provider, reason]).inc();
    }

    /// A response whose cost nobody knows.
    pub fn unpriced(&self, provider: &str, model: &str) {
        self.costs.unpriced_requests.with_label_values(&[provider, model]).inc();
    }

    /// What no caller got.
    pub fn waste(&self, provider: &str, reason: &str) -> Arc<MoneyCounter> {
        self.costs.wasted.with(&[provider, reason])
    }

    /// A price in force, in USD per million tokens (for display; charges never read it).
    pub fn price(&self, provider: &str, model: &str, kind: &str, usd_per_mtok: f64) {
        self.costs.price.with_label_values(&[provider, model, kind]).set(usd_per_mtok);
    }

    /// The newest date in a source of prices.
    pub fn price_catalog(&self, source: &str, timestamp_seconds: f64) {
        self.costs.price_catalog.with_label_values(&[source]).set(timestamp_seconds);
    }

    /// How long ago the price in force was read.
    pub fn price_age(&self, provider: &str, model: &str, seconds: f64) {
        self.costs.price_age.with_label_values(&[provider, model]).set(seconds);
    }

    /// Whether the price in force is older than the policy allows.
    pub fn price_stale(&self, policy: &str, provider: &str, model: &str, stale: bool) {
        self.costs.price_stale.with_label_values(&[policy, provider, model]).set(i64::from(stale));
    }

    /// Forgets all that was told of prices: a new configuration may have other routes and policies.
    pub fn forget_prices(&self) {
        self.costs.price.reset();
        self.costs.price_catalog.reset();
        self.costs.price_age.reset();
        self.costs.price_stale.reset();
    }

    /// How far a provider's own statement of cost is from ours.
    pub fn drift(&self, provider: &str, model: &str, ratio: f64) {
        self.costs.price_drift.with_label_values(&[provider, model]).set(ratio);
    }
}
