//! Callers' requests: how they ended, how long they took, and the tokens that they were billed for.

use std::sync::Arc;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use crate::telemetry::money::MoneyCounter;

use super::make::{counters, histograms, int_gauges};
use super::{COST_KINDS, Metrics, TOKEN_KINDS, TTFT_BUCKETS};

const OVERHEAD_BUCKETS: &[f64] =
    &[50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3];
const REQUEST_BUCKETS: &[f64] =
    &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0];
const PER_TOKEN_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0];

/// Families of callers' requests.
#[derive(Debug)]
pub(super) struct RequestFamilies {
    requests: IntCounterVec,
    requests_in_flight: IntGaugeVec,
    request_duration: HistogramVec,
    time_to_first_token: HistogramVec,
    time_per_output_token: HistogramVec,
    overhead: HistogramVec,
    tokens: IntCounterVec,
    client_retries: IntCounterVec,
    rate_limited: IntCounterVec,
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

impl RequestFamilies {
    pub(super) fn new(r: &Registry) -> Self {
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
            client_retries: counters(
                r,
                "tollway_client_retries_total",
                "Requests that the caller's client marked as a retry.",
                &["policy"],
            ),
            rate_limited: counters(
                r,
                "tollway_rate_limited_total",
                "Requests refused by a limit of ours.",
                &["scope", "limit"],
            ),
        }
    }
}

impl Metrics {
    /// The handles of one (policy, team, route).
    pub fn series(&self, policy: &str, team: &str, provider: &str, model: &str) -> Series {
        let route = [policy, provider, model];
        let duration =
            |stream| self.requests.request_duration.with_label_values(&[policy, provider, model, stream]);
        Series {
            ok: self.requests.requests.with_label_values(&[policy, team, provider, model, "200", "ok"]),
            duration_whole: duration("false"),
            duration_stream: duration("true"),
            ttft: self.requests.time_to_first_token.with_label_values(&route),
            per_token: self.requests.time_per_output_token.with_label_values(&[provider, model]),
            overhead: self.requests.overhead.with_label_values(&[policy]),
            tokens: TOKEN_KINDS
                .map(|kind| self.requests.tokens.with_label_values(&[policy, team, provider, model, kind])),
            cost: self.costs.cost.with(&[policy, team, provider, model]),
            cost_components: COST_KINDS.map(|kind| self.costs.cost_component.with(&[provider, model, kind])),
        }
    }

    /// A request ended other than by a 200 that ended well. `code` is the status sent.
    pub fn ended(&self, policy: &str, team: &str, provider: &str, model: &str, code: u16, outcome: &str) {
        let mut digits = [0_u8; 5];
        let code = decimal(code, &mut digits);
        self.requests.requests.with_label_values(&[policy, team, provider, model, code, outcome]).inc();
    }

    /// How many requests this policy is serving.
    pub fn in_flight(&self, policy: &str) -> IntGauge {
        self.requests.requests_in_flight.with_label_values(&[policy])
    }

    /// The caller's own client is retrying.
    pub fn client_retry(&self, policy: &str) {
        self.requests.client_retries.with_label_values(&[policy]).inc();
    }

    /// A limit of ours refused a request.
    pub fn limited(&self, scope: &str, limit: &str) {
        self.requests.rate_limited.with_label_values(&[scope, limit]).inc();
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
