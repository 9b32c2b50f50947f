//! What a replay counts: spend, promptness, who served whom, what was wasted.

use crate::routing::RouteId;
use crate::units::PicoUsd;

/// Counts of one run.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Requests.
    pub requests: u64,
    /// Requests whose first token came in time.
    pub in_time: u64,
    /// Requests that ended with an error for the caller.
    pub errors: u64,
    /// What answers cost.
    pub answers: PicoUsd,
    /// What attempts cost whose answer nobody got.
    pub wasted: PicoUsd,
    /// What probes cost.
    pub probes: PicoUsd,
    /// What our own node's power cost.
    pub power: PicoUsd,
    /// Attempts, and those that were second ones.
    pub attempts: u64,
    /// As above.
    pub hedges: u64,
    /// By request in the order of the trace: microseconds to the first token (`u32::MAX`: none), whether in time.
    pub first_tokens: Vec<FirstTokenOf>,
    /// By route: requests served, and what they cost.
    pub served: Vec<(u64, PicoUsd)>,
    /// By tag set, by key and by model: requests, in time, cost. Keys beyond the first 64 are counted together.
    pub by_tags: Vec<Group>,
    /// As above.
    pub by_model: Vec<Group>,
    /// Requests served by our own node that were late.
    pub local_late: u64,
    /// Outages and slow-downs: how soon first attempts went elsewhere.
    pub failovers: Vec<Failover>,
}

/// One request's first token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FirstTokenOf {
    /// Arrival, in microseconds from the trace's start.
    pub at_us: u64,
    /// Microseconds to the first token; `u32::MAX`: none came.
    pub took_us: u32,
    /// Prompt tokens.
    pub prompt_tokens: u32,
    /// Whether it was in time.
    pub in_time: bool,
    /// The route that it came from; `None`: none came.
    pub served_by: Option<RouteId>,
}

/// Counts of some requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Group {
    /// How many.
    pub requests: u64,
    /// In time.
    pub in_time: u64,
    /// What they cost.
    pub cost: PicoUsd,
}

/// How an incident on a route was met.
#[derive(Debug, Clone, PartialEq)]
pub struct Failover {
    /// The route, by its place.
    pub route: usize,
    /// How many times slower it became; `None`: it went down.
    pub slow: Option<f64>,
    /// When it began, in microseconds.
    pub began_us: u64,
    /// Seconds until at most a twentieth of a sliding twenty first attempts went there; `None`: never while it lasted, or
    /// too little traffic to tell.
    pub seconds: Option<f64>,
    /// First attempts that went there until then.
    pub exposed: u64,
    /// Whether the route had a share of the traffic before.
    pub mattered: bool,
}

impl Tally {
    /// All that was spent.
    pub fn spend(&self) -> PicoUsd {
        self.answers + self.wasted + self.probes + self.power
    }

    /// All that was spent, in USD; for reports.
    #[expect(clippy::cast_precision_loss, reason = "a figure for a report")]
    pub fn spend_usd(&self) -> f64 {
        self.spend().0 as f64 * 1e-12
    }

    /// Share of the spend that went into second attempts, failures and probes.
    #[expect(clippy::cast_precision_loss, reason = "a share for a report")]
    pub fn overhead(&self) -> f64 {
        (self.wasted + self.probes).0 as f64 / (self.spend().0.max(1)) as f64
    }

    /// Share in time.
    pub fn attainment(&self) -> f64 {
        share(self.in_time, self.requests)
    }

    /// The lowest share in time over 60 s with at least thirty requests, sliding; `None`: there is no such minute.
    pub fn worst_minute(&self) -> Option<f64> {
        let list = &self.first_tokens;
        let (mut from, mut late) = (0, 0_usize);
        let mut worst: Option<f64> = None;
        for (to, one) in list.iter().enumerate() {
            late += usize::from(!one.in_time);
            while one.at_us.saturating_sub(list[from].at_us) > 60_000_000 {
                late -= usize::from(!list[from].in_time);
                from += 1;
            }
            let count = to + 1 - from;
            if count >= 30 {
                let here = 1.0 - share(late as u64, count as u64);
                worst = Some(worst.map_or(here, |known| known.min(here)));
            }
        }
        worst
    }

    /// Seconds to the first token at these shares of requests.
    pub fn quantiles<const N: usize>(&self, shares: [f64; N]) -> [f64; N] {
        let mut times: Vec<u32> = self.first_tokens.iter().map(|one| one.took_us).collect();
        times.sort_unstable();
        shares.map(|share| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a place in a list"
            )]
            let at = (share * times.len() as f64) as usize;
            times.get(at.min(times.len().saturating_sub(1))).map_or(0.0, |us| f64::from(*us) / 1e6)
        })
    }

    /// Share in time by thirds of prompt length, short ones first.
    pub fn by_size(&self) -> [f64; 3] {
        let mut list: Vec<&FirstTokenOf> = self.first_tokens.iter().collect();
        list.sort_by_key(|one| one.prompt_tokens);
        let third = list.len().div_ceil(3).max(1);
        let mut shares = [1.0; 3];
        for (slot, part) in shares.iter_mut().zip(list.chunks(third)) {
            *slot = share(part.iter().filter(|one| one.in_time).count() as u64, part.len() as u64);
        }
        shares
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share for a report")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}
