//! This process and what stands beside it: build, configuration, shared Redis, local engine, bugs and lost log lines.

use prometheus::{Gauge, GaugeVec, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry};

use super::Metrics;
use super::make::{counter, counters, gauge, gauges, histograms, int_gauge, int_gauges};

const STORE_BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0];

/// Families of this process and its neighbours.
#[derive(Debug)]
pub(super) struct ProcessFamilies {
    /// As `Metrics::local` is told them.
    local: [GaugeVec; 4],
    reload_success: IntGauge,
    reload_timestamp: Gauge,
    reload_generation: IntGauge,
    store_operations: IntCounterVec,
    store_duration: HistogramVec,
    store_degraded: IntGauge,
    panics: IntCounter,
    log_lines_dropped: IntCounter,
}

impl ProcessFamilies {
    pub(super) fn new(r: &Registry) -> Self {
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
            local: [
                gauges(r, "tollway_local_queue_depth", "Requests waiting in the local engine.", &["engine"]),
                gauges(r, "tollway_local_running", "Requests running in the local engine.", &["engine"]),
                gauges(
                    r,
                    "tollway_local_kv_cache_usage_ratio",
                    "Share of the local engine's cache in use.",
                    &["engine"],
                ),
                gauges(r, "tollway_local_cost_usd_per_hour", "What the local engine costs.", &["engine"]),
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
        }
    }
}

impl Metrics {
    /// The local engine's state: `queue_depth`, `running`, `kv`, `cost`.
    pub fn local(&self, engine: &str, values: [f64; 4]) {
        for (gauge, value) in self.process.local.iter().zip(values) {
            gauge.with_label_values(&[engine]).set(value);
        }
    }

    /// A reload was taken (its number and time) or refused.
    pub fn reload(&self, taken: Option<(u64, f64)>) {
        self.process.reload_success.set(i64::from(taken.is_some()));
        if let Some((generation, at)) = taken {
            self.process.reload_generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
            self.process.reload_timestamp.set(at);
        }
    }

    /// An exchange with the shared Redis ended: `connect` or `exchange`, with `ok`, `timeout` or `error`.
    pub fn store_operation(&self, op: &str, result: &str, seconds: f64) {
        self.process.store_operations.with_label_values(&[op, result]).inc();
        self.process.store_duration.with_label_values(&[op]).observe(seconds);
    }

    /// Whether the shared Redis does not answer.
    pub fn store_degraded(&self, degraded: bool) {
        self.process.store_degraded.set(i64::from(degraded));
    }

    /// A bug of ours ended a request.
    pub fn panicked(&self) {
        self.process.panics.inc();
    }

    /// Log lines could not be written.
    pub fn log_dropped(&self) -> IntCounter {
        self.process.log_lines_dropped.clone()
    }
}
