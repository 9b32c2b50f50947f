//! The ledger: whether it can be written, how far its records were sent elsewhere, and what looking up charges brought.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use crate::telemetry::money::MoneyFamily;
use crate::units::NanoUsd;

use super::Metrics;
use super::make::{counter, counters, int_gauge, int_gauges};

/// Families of the ledger.
#[derive(Debug)]
pub(super) struct LedgerFamilies {
    errors: IntCounter,
    waiting: IntGauge,
    held: IntGauge,
    unwritten: IntGauge,
    writable: IntGauge,
    behind: IntGaugeVec,
    connected: IntGaugeVec,
    last_error: IntGaugeVec,
    send_errors: IntCounterVec,
    lookups: IntCounterVec,
    pub(super) adjusted: MoneyFamily,
}

/// The one place that records are sent to.
const SINK: [&str; 1] = ["postgres"];

impl LedgerFamilies {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            errors: counter(
                r,
                "tollway_ledger_errors_total",
                "Records that could not be written when they were due.",
            ),
            waiting: int_gauge(r, "tollway_ledger_waiting", "Entries that wait to be written to the ledger."),
            held: int_gauge(r, "tollway_ledger_holds", "Requests whose hold is in the ledger."),
            unwritten: int_gauge(r, "tollway_ledger_unwritten", "Records that were not written at all."),
            writable: int_gauge(r, "tollway_ledger_writable", "1 while the ledger can be written."),
            behind: int_gauges(
                r,
                "tollway_ledger_sink_behind",
                "Records that are not known to be in the database yet.",
                &["sink"],
            ),
            connected: int_gauges(
                r,
                "tollway_ledger_sink_connected",
                "1 while the database takes records.",
                &["sink"],
            ),
            last_error: int_gauges(
                r,
                "tollway_ledger_sink_last_error_timestamp_seconds",
                "When sending records last failed; 0: never.",
                &["sink"],
            ),
            send_errors: counters(
                r,
                "tollway_ledger_sink_errors_total",
                "Failures of sending records to the database.",
                &["sink", "reason"],
            ),
            lookups: counters(
                r,
                "tollway_ledger_lookups_total",
                "Charges that were asked for at the provider, since its usage never came.",
                &["provider", "result"],
            ),
            adjusted: MoneyFamily::new(
                "tollway_ledger_adjusted_usd_total",
                "What providers say they charged beyond (more) or below (less) what was estimated.",
                &["provider", "direction"],
            ),
        }
    }
}

impl Metrics {
    /// A record could not be written when it was due.
    pub fn ledger_error(&self) {
        self.ledger.errors.inc();
    }

    /// How the ledger's writer is getting on; `trouble`: it cannot write.
    pub fn ledger_levels(&self, waiting: u64, held: u64, unwritten: u64, trouble: bool) {
        let set = |gauge: &IntGauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.ledger.waiting, waiting);
        set(&self.ledger.held, held);
        set(&self.ledger.unwritten, unwritten);
        self.ledger.writable.set(i64::from(!trouble));
    }

    /// A provider was asked what it charged: `adjusted`, `missing`, `failed` or `given_up`.
    pub fn looked_up(&self, provider: &str, result: &str) {
        self.ledger.lookups.with_label_values(&[provider, result]).inc();
    }

    /// A provider charged so much beyond what was estimated, or less.
    pub fn adjusted(&self, provider: &str, difference: NanoUsd) {
        let direction = if difference < NanoUsd::ZERO { "less" } else { "more" };
        self.ledger.adjusted.with(&[provider, direction]).add(NanoUsd(difference.0.saturating_abs()));
    }

    /// How sending records elsewhere is getting on: how many are left to send, whether they are taken, how often it failed by the
    /// word for it, and when last.
    pub fn ledger_sending(&self, behind: u64, connected: bool, failures: &[(&'static str, u64)], last: i64) {
        let ledger = &self.ledger;
        ledger.behind.with_label_values(&SINK).set(i64::try_from(behind).unwrap_or(i64::MAX));
        ledger.connected.with_label_values(&SINK).set(i64::from(connected));
        ledger.last_error.with_label_values(&SINK).set(last);
        for (reason, count) in failures {
            let counter = ledger.send_errors.with_label_values(&[SINK[0], reason]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }
}
