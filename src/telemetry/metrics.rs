//! The metric families, typed. Names, labels and units are a contract with dashboards; label sets are resolved to handles once.

use std::sync::Arc;

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::money::{MoneyCounter, MoneyFamily};
use crate::units::NanoUsd;

/// Kinds of tokens, disjoint: their sum is what is billed.
pub const TOKEN_KINDS: [&str; 5] = ["input", "cache_read", "cache_write", "output", "reasoning"];
/// Kinds of cost; `request` is a fee per request, or the whole of a cost that the provider stated itself.
pub const COST_KINDS: [&str; 5] = ["input", "cache_read", "cache_write", "output", "request"];

const OVERHEAD_BUCKETS: &[f64] =
    &[50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3];
const STORE_BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0];
const TTFT_BUCKETS: &[f64] =
    &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0];
const REQUEST_BUCKETS: &[f64] =
    &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0];
const PER_TOKEN_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0];

/// Every family of this gateway. Fields are named as the families, without prefix and unit.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    requests_in_flight: IntGaugeVec,
    request_duration: HistogramVec,
    time_to_first_token: HistogramVec,
    time_per_output_token: HistogramVec,
    overhead: HistogramVec,
    tokens: IntCounterVec,
    usage_estimated: IntCounterVec,
    unpriced_requests: IntCounterVec,
    price: GaugeVec,
    price_catalog: GaugeVec,
    price_age: GaugeVec,
    price_stale: IntGaugeVec,
    price_drift: GaugeVec,
    attempts: IntCounterVec,
    upstream_duration: HistogramVec,
    retries: IntCounterVec,
    retry_budget_exhausted: IntCounterVec,
    fallbacks: IntCounterVec,
    hedges: IntCounterVec,
    probes: IntCounterVec,
    slo_lateness: GaugeVec,
    slo_degraded: IntGaugeVec,
    client_retries: IntCounterVec,
    breaker_state: IntGaugeVec,
    breaker_transitions: IntCounterVec,
    route_disabled: IntCounterVec,
    rate_limited: IntCounterVec,
    provider_limit_remaining: GaugeVec,
    decisions: IntCounterVec,
    shadow_decisions: IntCounterVec,
    local: [(&'static str, GaugeVec); 4],
    reload_success: IntGauge,
    reload_timestamp: Gauge,
    reload_generation: IntGauge,
    store_operations: IntCounterVec,
    store_duration: HistogramVec,
    store_degraded: IntGauge,
    panics: IntCounter,
    log_lines_dropped: IntCounter,
    cost: MoneyFamily,
    cost_component: MoneyFamily,
    wasted: MoneyFamily,
    shadow_cost: MoneyFamily,
    probe_cost: MoneyFamily,
}

/// The handles of one (policy, team, route), so that a request does no label look-up.
#[derive(Debug)]
pub struct Series {
    /// Requests that ended well with 200.
    pub ok: IntCounter,
    /// First byte in to last byte out, whole answers.
    pub duration_whole: Histogram,
    /// The same for streams.
    pub duration_stream: Histogram,
    /// To the first token, streams only.
    pub ttft: Histogram,
    /// Mean seconds per token after the first.
    pub per_token: Histogram,
    /// Time in the gateway.
    pub overhead: Histogram,
    /// By `TOKEN_KINDS`.
    pub tokens: [IntCounter; 5],
    /// What was charged.
    pub cost: Arc<MoneyCounter>,
    /// By `COST_KINDS`.
    pub cost_components: [Arc<MoneyCounter>; 5],
}

/// A bug in a metric's own definition is found by the first test that makes one.
#[allow(
    clippy::expect_used,
    reason = "names and labels are constants; `every_family_is_well_formed` makes them all"
)]
mod make {
    use super::{
        Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
        Registry,
    };

    const WELL_FORMED: &str = "the family's name and labels are well formed and new";

    macro_rules! registered {
        ($registry:expr, $made:expr) => {{
            let made = $made.expect(WELL_FORMED);
            $registry.register(Box::new(made.clone())).expect(WELL_FORMED);
            made
        }};
    }

    pub(super) fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        registered!(registry, IntCounterVec::new(Opts::new(name, help), labels))
    }
    pub(super) fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
        registered!(registry, IntCounter::new(name, help))
    }
    pub(super) fn int_gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        registered!(registry, IntGaugeVec::new(Opts::new(name, help), labels))
    }
    pub(super) fn int_gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
        registered!(registry, IntGauge::new(name, help))
    }
    pub(super) fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        registered!(registry, GaugeVec::new(Opts::new(name, help), labels))
    }
    pub(super) fn gauge(registry: &Registry, name: &str, help: &str) -> Gauge {
        registered!(registry, Gauge::new(name, help))
    }
    pub(super) fn histograms(
        registry: &Registry,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> HistogramVec {
        registered!(
            registry,
            HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)
        )
    }
}

impl Metrics {
    /// All families, empty.
    #[expect(clippy::too_many_lines, reason = "a table: one family a line")]
    pub fn new() -> Self {
        use make::{counter, counters, gauge, gauges, histograms, int_gauge, int_gauges};
        let registry = Registry::new();
        let r = &registry;
        let build = int_gauges(
            r,
            "tollway_build_info",
            "Version and revision of this binary.",
            &["version", "revision"],
        );
        build
            .with_label_values(&[
                env!("CARGO_PKG_VERSION"),
                option_env!("TOLLWAY_REVISION").unwrap_or("unknown"),
            ])
            .set(1);
        Self {
            requests: counters(
                r,
                "tollway_requests_total",
                "Requests of callers.",
                &["policy", "team", "provider", "model", "code", "outcome"],
            ),
            requests_in_flight: int_gauges(
                r,
                "tollway_requests_in_flight",
                "Requests being served.",
                &["policy"],
            ),
            request_duration: histograms(
                r,
                "tollway_request_duration_seconds",
                "First byte in to last byte out.",
                &["policy", "provider", "model", "stream"],
                REQUEST_BUCKETS,
            ),
            time_to_first_token: histograms(
                r,
                "tollway_time_to_first_token_seconds",
                "To the first token, streams only.",
                &["policy", "provider", "model"],
                TTFT_BUCKETS,
            ),
            time_per_output_token: histograms(
                r,
                "tollway_time_per_output_token_seconds",
                "Mean per response after the first token.",
                &["provider", "model"],
                PER_TOKEN_BUCKETS,
            ),
            overhead: histograms(
                r,
                "tollway_overhead_seconds",
                "Time in the gateway: total less upstream wait.",
                &["policy"],
                OVERHEAD_BUCKETS,
            ),
            tokens: counters(
                r,
                "tollway_tokens_total",
                "Tokens billed, by disjoint kinds.",
                &["policy", "team", "provider", "model", "kind"],
            ),
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
            client_retries: counters(
                r,
                "tollway_client_retries_total",
                "Requests that the caller's client marked as a retry.",
                &["policy"],
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
            rate_limited: counters(
                r,
                "tollway_rate_limited_total",
                "Requests refused by a limit of ours.",
                &["scope", "limit"],
            ),
            provider_limit_remaining: gauges(
                r,
                "tollway_provider_limit_remaining",
                "What a provider's headers say is left.",
                &["provider", "limit"],
            ),
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
            local: [
                (
                    "queue_depth",
                    gauges(
                        r,
                        "tollway_local_queue_depth",
                        "Requests waiting in the local engine.",
                        &["engine"],
                    ),
                ),
                (
                    "running",
                    gauges(r, "tollway_local_running", "Requests running in the local engine.", &["engine"]),
                ),
                (
                    "kv",
                    gauges(
                        r,
                        "tollway_local_kv_cache_usage_ratio",
                        "Share of the local engine's cache in use.",
                        &["engine"],
                    ),
                ),
                (
                    "cost",
                    gauges(r, "tollway_local_cost_usd_per_hour", "What the local engine costs.", &["engine"]),
                ),
            ],
            reload_success: int_gauge(
                r,
                "tollway_config_reload_success",
                "Whether the last reload was taken.",
            ),
            reload_timestamp: gauge(
                r,
                "tollway_config_reload_timestamp_seconds",
                "When a reload was last taken.",
            ),
            reload_generation: int_gauge(
                r,
                "tollway_config_reload_generation",
                "Number of the configuration in force.",
            ),
            store_operations: counters(
                r,
                "tollway_store_operations_total",
                "Exchanges with the shared Redis.",
                &["op", "result"],
            ),
            store_duration: histograms(
                r,
                "tollway_store_duration_seconds",
                "How long they took.",
                &["op"],
                STORE_BUCKETS,
            ),
            store_degraded: int_gauge(
                r,
                "tollway_store_degraded",
                "1 while the shared Redis does not answer and this gateway goes by its own evidence.",
            ),
            panics: counter(r, "tollway_panics_total", "Requests that ended in a bug of ours."),
            log_lines_dropped: counter(
                r,
                "tollway_log_lines_dropped_total",
                "Log lines not written because the writer fell behind.",
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
            shadow_cost: MoneyFamily::new(
                "tollway_shadow_expected_cost_usd_total",
                "Expected cost as decided, and as a policy that only watches would have it.",
                &["policy", "which"],
            ),
            probe_cost: MoneyFamily::new(
                "tollway_probe_cost_usd_total",
                "Cost of probes, as estimated.",
                &["provider", "model"],
            ),
            registry,
        }
    }

    /// The handles of one (policy, team, route).
    pub fn series(&self, policy: &str, team: &str, provider: &str, model: &str) -> Series {
        let route = [policy, provider, model];
        let duration = |stream| self.request_duration.with_label_values(&[policy, provider, model, stream]);
        Series {
            ok: self.requests.with_label_values(&[policy, team, provider, model, "200", "ok"]),
            duration_whole: duration("false"),
            duration_stream: duration("true"),
            ttft: self.time_to_first_token.with_label_values(&route),
            per_token: self.time_per_output_token.with_label_values(&[provider, model]),
            overhead: self.overhead.with_label_values(&[policy]),
            tokens: TOKEN_KINDS
                .map(|kind| self.tokens.with_label_values(&[policy, team, provider, model, kind])),
            cost: self.cost.with(&[policy, team, provider, model]),
            cost_components: COST_KINDS.map(|kind| self.cost_component.with(&[provider, model, kind])),
        }
    }

    /// The page that Prometheus reads.
    pub fn page(&self) -> String {
        let mut page = Vec::new();
        // Encoding into memory fails only for a family without metrics, which gather() leaves out.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut page);
        let mut page = String::from_utf8(page).unwrap_or_default();
        for family in [&self.cost, &self.cost_component, &self.wasted, &self.shadow_cost, &self.probe_cost] {
            family.render(&mut page);
        }
        page
    }

    /// A request ended other than by a 200 that ended well. `code` is the status sent.
    pub fn ended(&self, policy: &str, team: &str, provider: &str, model: &str, code: u16, outcome: &str) {
        let mut digits = [0_u8; 5];
        let code = decimal(code, &mut digits);
        self.requests.with_label_values(&[policy, team, provider, model, code, outcome]).inc();
    }

    /// A policy that only watches decided, too: whether it would ask the same route first, and what both are expected to
    /// cost, as decided and as it would have it, where both ask somebody with a price.
    pub fn shadow(&self, policy: &str, agrees: bool, costs: Option<(NanoUsd, NanoUsd)>) {
        self.shadow_decisions.with_label_values(&[policy, if agrees { "yes" } else { "no" }]).inc();
        if let Some((live, shadow)) = costs {
            self.shadow_cost.with(&[policy, "live"]).add(live);
            self.shadow_cost.with(&[policy, "shadow"]).add(shadow);
        }
    }

    /// How many requests this policy is serving.
    pub fn in_flight(&self, policy: &str) -> IntGauge {
        self.requests_in_flight.with_label_values(&[policy])
    }

    /// A try at a route ended.
    pub fn attempt(&self, provider: &str, model: &str, outcome: &str, seconds: f64) {
        self.attempts.with_label_values(&[provider, model, outcome]).inc();
        self.upstream_duration.with_label_values(&[provider, model]).observe(seconds);
    }

    /// Another try is made after a failure of `provider`.
    pub fn retry(&self, provider: &str, reason: &str) {
        self.retries.with_label_values(&[provider, reason]).inc();
    }

    /// Another try would have been made, but the budget for retries is spent.
    pub fn retry_refused(&self, provider: &str, reason: &str) {
        self.retry_budget_exhausted.with_label_values(&[provider, reason]).inc();
    }

    /// A request moved on.
    pub fn fallback(&self, policy: &str, from: &str, to: &str, reason: &str) {
        self.fallbacks.with_label_values(&[policy, from, to, reason]).inc();
    }

    /// What became of a second attempt: `won`, `lost`, `failed`, or `refused_budget`.
    pub fn hedge(&self, policy: &str, result: &str) {
        self.hedges.with_label_values(&[policy, result]).inc();
    }

    /// A probe ended; where the route has a price, this is its counter.
    pub fn probe(&self, provider: &str, model: &str, outcome: &str) -> Arc<MoneyCounter> {
        self.probes.with_label_values(&[provider, model, outcome]).inc();
        self.probe_cost.with(&[provider, model])
    }

    /// What a policy's promise for a model costs, and whether it cannot be kept.
    pub fn promise(&self, policy: &str, model: &str, lateness_usd: f64, degraded: bool) {
        self.slo_lateness.with_label_values(&[policy, model]).set(lateness_usd);
        self.slo_degraded.with_label_values(&[policy, model]).set(i64::from(degraded));
    }

    /// The caller's own client is retrying.
    pub fn client_retry(&self, policy: &str) {
        self.client_retries.with_label_values(&[policy]).inc();
    }

    /// A breaker's state, of those in `states`.
    pub fn breaker(&self, provider: &str, model: &str, states: &[&str], now_in: &str, moved: bool) {
        for state in states {
            self.breaker_state.with_label_values(&[provider, model, state]).set(i64::from(*state == now_in));
        }
        if moved {
            self.breaker_transitions.with_label_values(&[provider, model, now_in]).inc();
        }
    }

    /// A route was set aside until the operator acts.
    pub fn disabled(&self, provider: &str, model: &str, reason: &str) {
        self.route_disabled.with_label_values(&[provider, model, reason]).inc();
    }

    /// A limit of ours refused a request.
    pub fn limited(&self, scope: &str, limit: &str) {
        self.rate_limited.with_label_values(&[scope, limit]).inc();
    }

    /// What a provider said is left.
    pub fn provider_remaining(&self, provider: &str, limit: &str, left: f64) {
        self.provider_limit_remaining.with_label_values(&[provider, limit]).set(left);
    }

    /// A bill that rests on our own count.
    pub fn estimated(&self, provider: &str, reason: &str) {
        self.usage_estimated.with_label_values(&[provider, reason]).inc();
    }

    /// A response whose cost nobody knows.
    pub fn unpriced(&self, provider: &str, model: &str) {
        self.unpriced_requests.with_label_values(&[provider, model]).inc();
    }

    /// What no caller got.
    pub fn waste(&self, provider: &str, reason: &str) -> Arc<MoneyCounter> {
        self.wasted.with(&[provider, reason])
    }

    /// A decision.
    pub fn decision(&self, policy: &str, strategy: &str, model: &str, reason: &str) -> IntCounter {
        self.decisions.with_label_values(&[policy, strategy, model, reason])
    }

    /// A price in force, in USD per million tokens (for display; charges never read it).
    pub fn price(&self, provider: &str, model: &str, kind: &str, usd_per_mtok: f64) {
        self.price.with_label_values(&[provider, model, kind]).set(usd_per_mtok);
    }

    /// The newest date in a source of prices.
    pub fn price_catalog(&self, source: &str, timestamp_seconds: f64) {
        self.price_catalog.with_label_values(&[source]).set(timestamp_seconds);
    }

    /// How long ago the price in force was read.
    pub fn price_age(&self, provider: &str, model: &str, seconds: f64) {
        self.price_age.with_label_values(&[provider, model]).set(seconds);
    }

    /// Whether the price in force is older than the policy allows.
    pub fn price_stale(&self, policy: &str, provider: &str, model: &str, stale: bool) {
        self.price_stale.with_label_values(&[policy, provider, model]).set(i64::from(stale));
    }

    /// Forgets all that was told of prices: a new configuration may have other routes and policies.
    pub fn forget_prices(&self) {
        self.price.reset();
        self.price_catalog.reset();
        self.price_age.reset();
        self.price_stale.reset();
    }

    /// How far a provider's own statement of cost is from ours.
    pub fn drift(&self, provider: &str, model: &str, ratio: f64) {
        self.price_drift.with_label_values(&[provider, model]).set(ratio);
    }

    /// The local engine's state: `queue_depth`, `running`, `kv`, `cost`.
    pub fn local(&self, engine: &str, values: [f64; 4]) {
        for ((_, gauge), value) in self.local.iter().zip(values) {
            gauge.with_label_values(&[engine]).set(value);
        }
    }

    /// A reload was taken (its number and time) or refused.
    pub fn reload(&self, taken: Option<(u64, f64)>) {
        self.reload_success.set(i64::from(taken.is_some()));
        if let Some((generation, at)) = taken {
            self.reload_generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
            self.reload_timestamp.set(at);
        }
    }

    /// An exchange with the shared Redis ended: `connect` or `exchange`, with `ok`, `timeout` or `error`.
    pub fn store_operation(&self, op: &str, result: &str, seconds: f64) {
        self.store_operations.with_label_values(&[op, result]).inc();
        self.store_duration.with_label_values(&[op]).observe(seconds);
    }

    /// Whether the shared Redis does not answer.
    pub fn store_degraded(&self, degraded: bool) {
        self.store_degraded.set(i64::from(degraded));
    }

    /// A bug of ours ended a request.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// Log lines could not be written.
    pub fn log_dropped(&self) -> IntCounter {
        self.log_lines_dropped.clone()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn decimal(mut value: u16, digits: &mut [u8; 5]) -> &str {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    std::str::from_utf8(&digits[at..]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_well_formed() {
        let metrics = Metrics::new();
        metrics.series("p", "t", "a", "m").ok.inc();
        metrics.ended("p", "t", "a", "m", 503, "upstream_error");
        let page = metrics.page();
        assert!(page.contains("tollway_requests_total{code=\"503\""), "{page}");
        assert!(
            page.contains(
                "tollway_cost_usd_total{policy=\"p\",team=\"t\",provider=\"a\",model=\"m\"} 0.000000000"
            ),
            "{page}"
        );
    }
}
