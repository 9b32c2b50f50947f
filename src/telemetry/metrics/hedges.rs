//! Requests beyond those that callers sent: second attempts beside a silent one, and probes.

use std::sync::Arc;

use prometheus::{IntCounterVec, Registry};

use crate::telemetry::money::{MoneyCounter, MoneyFamily};

use super::Metrics;
use super::make::counters;

/// Families of requests beyond those that callers sent.
#[derive(Debug)]
pub(super) struct HedgeFamilies {
    hedges: IntCounterVec,
    probes: IntCounterVec,
    pub(super) probe_cost: MoneyFamily,
}

impl HedgeFamilies {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            hedges: counters(
                r,
                "tollway_hedges_total",
                "Second attempts beside a silent one, and those not made for their price.",
                &["policy", "result"],
            ),
            probes: counters(
                r,
                "tollway_probes_total",
                "Requests of our own to routes that nothing was heard of.",
                &["provider", "model", "outcome"],
            ),
            probe_cost: MoneyFamily::new(
                "tollway_probe_cost_usd_total",
                "Cost of probes, as estimated.",
                &["provider", "model"],
            ),
        }
    }
}

impl Metrics {
    /// What became of a second attempt: `won`, `lost`, `failed`, or `refused_budget`.
    pub fn hedge(&self, policy: &str, result: &str) {
        self.hedges.hedges.with_label_values(&[policy, result]).inc();
    }

    /// A probe ended; where the route has a price, this is its counter.
    pub fn probe(&self, provider: &str, model: &str, outcome: &str) -> Arc<MoneyCounter> {
        self.hedges.probes.with_label_values(&[provider, model, outcome]).inc();
        self.hedges.probe_cost.with(&[provider, model])
    }
}
