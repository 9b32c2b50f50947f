//! What second attempts may cost: a policy's hedged spend over ten minutes, held to a share of all its spend in them. And
//! probes, likewise.

use std::time::Duration;

use crate::routing::decision::Candidate;
use crate::routing::route::RouteId;
use crate::units::{Mono, PicoUsd};

/// The window, and how finely it moves on.
const SLICES: usize = 10;
const SLICE: Duration = Duration::from_mins(1);
/// What probes may cost, in parts per million of the spend: where there is little traffic they are rarer.
pub const PROBE_SHARE_PPM: u32 = 15_000;
/// As many requests like the one that asks count as paid for already, so that the first ones of a policy may be hedged.
const AS_IF_PAID: i128 = 20;

/// What a second attempt puts at stake: the prompt of whichever is slower.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stake {
    silent: Option<RouteId>,
    /// The prompt of the one that is silent, as if its cache had none of it: that is what silence mostly comes of.
    first: PicoUsd,
    second: PicoUsd,
}

impl Stake {
    /// With a second attempt whose prompt is expected to cost `second` beside `silent`.
    pub fn new(silent: &Candidate, second: PicoUsd) -> Self {
        let first = silent.cost_expected.map_or(PicoUsd::ZERO, |_| silent.prompt_cold());
        Self { silent: Some(silent.route), first, second }
    }

    /// The most that may be lost.
    pub fn most(self) -> PicoUsd {
        self.first.max(self.second)
    }

    /// What is lost where `slower` was.
    pub fn lost(self, slower: RouteId) -> PicoUsd {
        if Some(slower) == self.silent { self.first } else { self.second }
    }
}

/// The spend of one policy, in whole pico-dollars.
#[derive(Debug, Clone, Default)]
pub struct HedgeSpend {
    slices: [Slice; SLICES],
    /// The number of the slice that is being filled.
    slice: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    hedged: PicoUsd,
    total: PicoUsd,
}

impl HedgeSpend {
    /// A request was answered for `cost`.
    pub fn spent(&mut self, now: Mono, cost: PicoUsd) {
        self.pass(now);
        let slice = self.current();
        slice.total += cost;
    }

    /// Whether so much may be put at stake ([`Stake::most`]) for a request that is expected to cost `whole`; if so, it is
    /// counted. `share_ppm`: the policy's `max_extra_cost`, in parts per million.
    pub fn take(&mut self, now: Mono, stake: PicoUsd, whole: PicoUsd, share_ppm: u32) -> bool {
        let may = share_ppm > 0 && stake <= self.room(now, whole, share_ppm);
        if may {
            self.current().hedged += stake;
        }
        may
    }

    /// What a plan's second attempt may be expected to cost now, for a request that is expected to cost `whole`: what there
    /// is room for, and a plan that keeps to the share by itself is always borne.
    pub fn bears(&mut self, now: Mono, whole: PicoUsd, share_ppm: u32) -> PicoUsd {
        self.room(now, whole, share_ppm).max(whole.times_ppm(share_ppm))
    }

    fn room(&mut self, now: Mono, whole: PicoUsd, share_ppm: u32) -> PicoUsd {
        self.pass(now);
        let hedged: PicoUsd = self.slices.iter().map(|slice| slice.hedged).sum();
        let total: PicoUsd = self.slices.iter().map(|slice| slice.total).sum();
        let allowed = (total + PicoUsd(whole.0.saturating_mul(AS_IF_PAID))).times_ppm(share_ppm);
        PicoUsd(allowed.0 - hedged.0)
    }

    /// Of what was counted by [`Self::take`] a moment ago, so much was lost: [`Stake::lost`].
    pub fn settle(&mut self, stake: PicoUsd, lost: PicoUsd) {
        let slice = self.current();
        slice.hedged = PicoUsd((slice.hedged.0 - stake.0 + lost.0).max(0));
    }

    fn current(&mut self) -> &mut Slice {
        #[expect(clippy::cast_possible_truncation, reason = "below the number of slices")]
        let at = (self.slice % SLICES as u64) as usize;
        &mut self.slices[at]
    }

    fn pass(&mut self, now: Mono) {
        let slice = Duration::from_nanos(now.0).as_secs() / SLICE.as_secs();
        for _ in 0..slice.saturating_sub(self.slice).min(SLICES as u64) {
            self.slice += 1;
            *self.current() = Slice::default();
        }
        self.slice = self.slice.max(slice);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Mono {
        Mono(s * 1_000_000_000)
    }

    #[test]
    fn hedges_are_held_to_their_share_and_the_window_moves_on() {
        let mut spend = HedgeSpend::default();
        let (prompt, whole, share) = (PicoUsd(600), PicoUsd(1_000), 50_000);
        let mut taken = 0;
        for i in 0..1_000_u64 {
            spend.spent(at(i / 10), whole);
            taken += u32::from(spend.take(at(i / 10), prompt, whole, share));
        }
        // A twentieth of 1,020 requests, in prompts of six tenths of one.
        assert_eq!(taken, 85);
        assert!(spend.take(at(1_000), prompt, whole, share), "the old is forgotten");
        assert!(!spend.take(at(1_000), prompt, whole, share));
        spend.settle(prompt, PicoUsd::ZERO);
        assert!(spend.take(at(1_000), prompt, whole, share));
        assert!(spend.room(at(1_000), whole, share) < prompt);
        assert!(!HedgeSpend::default().take(at(0), PicoUsd::ZERO, whole, 0), "no share, no hedge");
        // Where the cheaper of the two lost, there is room again.
        spend.settle(prompt, PicoUsd(400));
        assert!(spend.take(at(1_000), PicoUsd(200), whole, share));
        assert!(!spend.take(at(1_000), prompt, whole, share));
    }

    #[test]
    fn a_clock_that_stands_late_still_has_one_window() {
        let mut spend = HedgeSpend::default();
        spend.spent(at(1_000_000), PicoUsd(1_000_000));
        assert!(spend.take(at(1_000_300), PicoUsd(49_000), PicoUsd(1_000), 50_000));
    }
}
