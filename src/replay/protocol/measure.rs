//! What a run comes to: the figures of a tally that reports show, and their means over seeds.

use serde::Serialize;

use crate::replay::tally::Tally;

/// Figures of one run, or their means over several.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Measure {
    /// All that was spent, in USD.
    pub spend_usd: f64,
    /// Of that, in USD: answers,
    pub answers_usd: f64,
    /// attempts whose answer nobody got,
    pub wasted_usd: f64,
    /// probes,
    pub probes_usd: f64,
    /// and our own node's power.
    pub power_usd: f64,
    /// Share of requests in time.
    pub attainment: f64,
    /// The lowest share in time over 60 s with thirty requests or more; 1 where there is no such minute.
    pub worst_minute: f64,
    /// Share in time by thirds of prompt length, short ones first.
    pub by_size: [f64; 3],
    /// Errors that callers saw.
    pub errors: f64,
    /// Seconds to the first token: the 50th, 95th and 99th percentile.
    pub ttft_s: [f64; 3],
    /// Attempts a request.
    pub attempts: f64,
    /// Second attempts a request.
    pub hedges: f64,
    /// Share of the spend that went into attempts without an answer and probes.
    pub overhead: f64,
    /// First attempts that went to a route that had gone down or slow before they were led elsewhere.
    pub exposed: f64,
    /// Requests that our own node served too late.
    pub local_late: f64,
}

/// Longer waits, and none that ended, are shown as this many seconds.
const NEVER_S: f64 = 4294.0;

impl Measure {
    /// The figures of `tally`.
    #[expect(clippy::cast_precision_loss, reason = "figures for a report")]
    pub fn of(tally: &Tally) -> Self {
        let usd = |amount: crate::units::PicoUsd| amount.0 as f64 * 1e-12;
        let requests = tally.requests.max(1) as f64;
        let mattered = tally.failovers.iter().filter(|one| one.mattered);
        Self {
            spend_usd: tally.spend_usd(),
            answers_usd: usd(tally.answers),
            wasted_usd: usd(tally.wasted),
            probes_usd: usd(tally.probes),
            power_usd: usd(tally.power),
            attainment: tally.attainment(),
            worst_minute: tally.worst_minute().unwrap_or(1.0),
            by_size: tally.by_size(),
            errors: tally.errors as f64,
            ttft_s: tally.quantiles([0.5, 0.95, 0.99]).map(|time| time.min(NEVER_S)),
            attempts: tally.attempts as f64 / requests,
            hedges: tally.hedges as f64 / requests,
            overhead: tally.overhead(),
            exposed: mattered.map(|one| one.exposed as f64).sum(),
            local_late: tally.local_late as f64,
        }
    }

    /// The means of several runs.
    pub fn mean<'m>(all: impl IntoIterator<Item = &'m Self>) -> Self {
        let mut sum = Self::default();
        let mut count = 0.0;
        for one in all {
            count += 1.0;
            for (into, from) in sum.fields().into_iter().zip(one.clone().fields()) {
                *into += *from;
            }
        }
        let count = f64::max(count, 1.0);
        sum.fields().into_iter().for_each(|field| *field /= count);
        sum
    }

    fn fields(&mut self) -> [&mut f64; 19] {
        let [small, middle, large] = &mut self.by_size;
        let [p50, p95, p99] = &mut self.ttft_s;
        [
            &mut self.spend_usd,
            &mut self.answers_usd,
            &mut self.wasted_usd,
            &mut self.probes_usd,
            &mut self.power_usd,
            &mut self.attainment,
            &mut self.worst_minute,
            small,
            middle,
            large,
            &mut self.errors,
            p50,
            p95,
            p99,
            &mut self.attempts,
            &mut self.hedges,
            &mut self.overhead,
            &mut self.exposed,
            &mut self.local_late,
        ]
    }
}
