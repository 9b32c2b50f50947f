//! What routing decided, what policies that only watch would have, and what the promises cost.

use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGaugeVec, Registry};

use crate::telemetry::money::MoneyFamily;
use crate::units::NanoUsd;

use super::Metrics;
use super::make::{counters, gauges, int_gauges};

/// Families of routing decisions and promises.
#[derive(Debug)]
pub(super) struct DecisionFamilies {
    decisions: IntCounterVec,
    shadow_decisions: IntCounterVec,
    pub(super) shadow_cost: MoneyFamily,
    slo_lateness: GaugeVec,
    slo_degraded: IntGaugeVec,
}

impl DecisionFamilies {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            decisions: counters(
                r,
                "tollway_routing_decisions_total",
                "Routing decisions.",
                &["policy", "strategy", "model", "reason"],
            ),
            shadow_decisions: counters(
                r,
                "tollway_shadow_decisions_total",
                "What policies that only watch would have decided.",
                &["policy", "agrees"],
            ),
            shadow_cost: MoneyFamily::new(
                "tollway_shadow_expected_cost_usd_total",
                "Expected cost as decided, and as a policy that only watches would have it.",
                &["policy", "which"],
            ),
            slo_lateness: gauges(
                r,
                "tollway_slo_lateness_usd",
                "What one late first token is worth avoiding.",
                &["policy", "model"],
            ),
            slo_degraded: int_gauges(
                r,
                "tollway_slo_degraded",
                "1 while no price keeps the promised share.",
                &["policy", "model"],
            ),
        }
    }
}

impl Metrics {
    /// A decision.
    pub fn decision(&self, policy: &str, strategy: &str, model: &str, reason: &str) -> IntCounter {
        self.decisions.decisions.with_label_values(&[policy, strategy, model, reason])
    }

    /// A policy that only watches decided, too: whether it would ask the same route first, and what both are expected to
    /// cost, as decided and as it would have it, where both ask somebody with a price.
    pub fn shadow(&self, policy: &str, agrees: bool, costs: Option<(NanoUsd, NanoUsd)>) {
        self.decisions.shadow_decisions.with_label_values(&[policy, if agrees { "yes" } else { "no" }]).inc();
        if let Some((live, shadow)) = costs {
            self.decisions.shadow_cost.with(&[policy, "live"]).add(live);
            self.decisions.shadow_cost.with(&[policy, "shadow"]).add(shadow);
        }
    }

    /// What a policy's promise for a model costs, and whether it cannot be kept.
    pub fn promise(&self, policy: &str, model: &str, lateness_usd: f64, degraded: bool) {
        self.decisions.slo_lateness.with_label_values(&[policy, model]).set(lateness_usd);
        self.decisions.slo_degraded.with_label_values(&[policy, model]).set(i64::from(degraded));
    }
}
