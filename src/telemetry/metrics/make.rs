//! Makes families and registers them. A bug in a metric's own definition is found by the first test that makes one.

use prometheus::{
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
    registered!(registry, HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
}
