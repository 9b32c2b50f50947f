//! The price of a second of our own hardware's prefill work (ν): what it takes from those that come behind.
//!
//! Who comes while more work waits than it bears is late. A request that bears a queue of p seconds comes too late for it
//! for `clamp(q + w − p, 0, w)` seconds more when a request with w seconds of work joins a queue of q, were nothing to follow. As
//! other work goes on coming, ρ seconds a second, what is put before it is worked off at 1 − ρ (the busy period of a queue:
//! Kleinrock, Queueing Systems, 1975, volume 1, section 5.8):
//!
//! ```text
//! toll(q, w) = Σ ℓ_p ÷ (1 − ρ) · clamp(q + w − p, 0, w)        ν(q) = Σ_{p ≤ q} ℓ_p ÷ (1 − ρ)
//! ```
//!
//! `ℓ_p` is what is lost a second, in USD, if none of those requests is served in time that our own engine takes now and that
//! bear p. Where there is more work than can be done, the queue is as long as most bear, and whoever brings less for a second
//! of work than it takes from the others goes elsewhere.

use std::time::Duration;

use crate::routing::decision::Decision;
use crate::routing::outlook::RouteOutlook;
use crate::routing::plan::Offer;
use crate::units::Mono;

use super::prefix::Held;

/// The queue that is to be borne by who was promised nothing, in seconds of prefill work; a small engine, which takes long
/// over one prompt, must have another at hand all the same.
const QUEUE_AIM_S: f64 = 0.35;
const AIM_OF_WORK: f64 = 3.0;
/// How far back requests are counted, in seconds.
const RATE_S: f64 = 60.0;
/// The load that is reckoned with at most: of a minute's requests it is known no better, and a price keeps it below one.
const LOAD_MAX: f64 = 0.8;
/// Share of a new request in the running means.
const SMOOTHING: f64 = 0.02;
/// The queues that requests are told apart by, in seconds: none, a tenth, and so on in steps of six tenths up to 72.
const BORNE: usize = 16;
const BORNE_S: [f64; BORNE] = borne_s();

const fn borne_s() -> [f64; BORNE] {
    let mut all = [0.0; BORNE];
    let (mut at, mut seconds) = (1, 0.1);
    while at < BORNE {
        all[at] = seconds;
        seconds *= 1.6;
        at += 1;
    }
    all
}

/// What makes the price of one engine's queue.
#[derive(Debug, Clone, Copy, Default)]
pub struct QueuePrice {
    /// What those that it takes would lose a second, in USD, by the queue that they bear.
    losses: [f64; BORNE],
    /// Prefill work that it takes on, in seconds a second.
    load: f64,
    /// When both were brought up to date.
    at: Mono,
    /// Running mean of the prefill work of all that come, in seconds; 0: nobody came yet.
    work_s: f64,
    /// Share of them that our own engine was asked for first.
    share: Option<f64>,
}

/// What a request asks of our own engine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demanded {
    /// What is lost if it comes too late here, in USD. With a promise: λ, or what it costs elsewhere with how late it is likely
    /// to be there, whichever is less, less how late it would be here with nobody before it. Else what it costs elsewhere.
    pub loss_usd: f64,
    /// Its prefill work here, in seconds.
    pub work_s: f64,
    /// How long a queue it bears by its promise, in seconds; `None`: nothing was promised.
    pub bears_s: Option<f64>,
}

impl Demanded {
    /// What a request with a prompt of so many tokens, decided as `decision` says, asks of an engine that should hold `held`
    /// of the prompt and looks as `seen`. `limit`: when its first token is late ([`crate::routing::choose::limit`]). `None`:
    /// nobody whom it would cost anything may serve it, so that there is no measure.
    #[expect(clippy::cast_precision_loss, reason = "tokens of an estimate")]
    pub fn of(
        decision: &Decision,
        limit: Duration,
        prompt_tokens: u64,
        held: Held,
        seen: &RouteOutlook,
    ) -> Option<Self> {
        let (miss, held_tokens) = (prompt_tokens as f32, held.tokens as f32);
        let offer = Offer {
            hit: if held.tokens == 0 { 0.0 } else { seen.cache_hits.at(held.age_s) },
            uncached_hit: (miss - held_tokens).max(0.0),
            uncached_miss: miss,
            ..Offer::default()
        };
        let work_s = f64::from(offer.uncached_expected() * seen.first_token.token_s());
        let loss_usd = if decision.limit.is_some() {
            let within = offer.within(seen, limit.as_secs_f32());
            let late = f64::from(1.0 - (1.0 - seen.error.clamp(0.0, 1.0)) * within);
            let lateness_usd = decision.lateness_usd;
            (decision.elsewhere_usd()? - lateness_usd * late).min(lateness_usd).max(0.0)
        } else {
            decision.cheapest_usd()?
        };
        let bears_s = decision.limit.map(|_| (limit.as_secs_f64() - work_s).max(0.0));
        Some(Self { loss_usd, work_s, bears_s })
    }
}

/// What a request's work does to those that come behind it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Behind {
    /// What they lose for each second for which they come too late, in USD, by the queue that they bear.
    losses: [f32; BORNE],
    /// Share of late requests that our own engine took.
    pub share: f64,
}

impl Behind {
    /// As if those who come bore a queue of `bears_s` seconds and lost `usd` a second. Where they bear none, each second of work
    /// counts as much, whatever the queue.
    pub fn bearing(bears_s: f64, usd: f64, share: f64) -> Self {
        let mut losses = [0.0; BORNE];
        spread(&mut losses, bears_s, usd);
        #[expect(clippy::cast_possible_truncation, reason = "an estimate")]
        Self { losses: losses.map(|loss| loss as f32), share }
    }

    /// With what another engine's queue says: the heavier burden, and what all of them took.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let all = |one: &Self| one.losses.iter().sum::<f32>();
        let heavier = if all(&other) > all(&self) { other } else { self };
        Self { share: (self.share + other.share).min(1.0), ..heavier }
    }

    /// What `work_s` seconds of work take from them, in USD, behind a queue of `queued_s`.
    pub fn usd(&self, queued_s: f64, work_s: f64) -> f64 {
        let over = |(loss, bears_s): (&f32, f64)| {
            f64::from(*loss) * (queued_s + work_s - bears_s).max(0.0).min(work_s)
        };
        self.losses.iter().zip(BORNE_S).map(over).sum()
    }

    /// What the next second of work counts behind a queue of `queued_s` (ν), in USD.
    pub fn usd_per_s(&self, queued_s: f64) -> f64 {
        let late = self.losses.iter().zip(BORNE_S).filter(|(_, bears_s)| *bears_s <= queued_s);
        late.map(|(loss, _)| f64::from(*loss)).sum()
    }
}

/// Adds `usd` to the two between whose queues `bears_s` lies, so that their mean is that.
fn spread(losses: &mut [f64; BORNE], bears_s: f64, usd: f64) {
    let above = BORNE_S.iter().position(|one| *one > bears_s).unwrap_or(BORNE - 1).max(1);
    let (from, to) = (BORNE_S[above - 1], BORNE_S[above]);
    let share = ((bears_s - from) / (to - from)).clamp(0.0, 1.0);
    losses[above - 1] += usd * (1.0 - share);
    losses[above] += usd * share;
}

impl QueuePrice {
    /// A request was decided at `now`: `here` says whether our own engine was asked first.
    pub fn decided(&mut self, now: Mono, demand: Demanded, here: bool) {
        let Demanded { loss_usd, work_s, bears_s } = demand;
        let took = f64::from(u8::from(here));
        self.share = Some(self.share.map_or(took, |known| known + SMOOTHING * (took - known)));
        if !(loss_usd.is_finite() && work_s.is_finite()) || loss_usd < 0.0 || work_s < 0.0 {
            return;
        }
        self.work_s += if self.work_s == 0.0 { 1.0 } else { SMOOTHING } * (work_s - self.work_s);
        if here {
            let kept = self.kept(now);
            self.at = now;
            self.losses.iter_mut().for_each(|loss| *loss *= kept);
            self.load = self.load * kept + work_s / RATE_S;
            let bears_s = bears_s.unwrap_or(QUEUE_AIM_S.max(AIM_OF_WORK * self.work_s));
            spread(&mut self.losses, bears_s, loss_usd / RATE_S);
        }
    }

    /// What work does at `now` to those behind it.
    pub fn behind(&self, now: Mono) -> Behind {
        let kept = self.kept(now);
        let scale = kept / (1.0 - (self.load * kept).min(LOAD_MAX));
        #[expect(clippy::cast_possible_truncation, reason = "an estimate")]
        Behind { losses: self.losses.map(|loss| (loss * scale) as f32), share: self.share.unwrap_or(0.0) }
    }

    /// Share of what was counted that counts still.
    fn kept(&self, now: Mono) -> f64 {
        (-now.since(self.at).as_secs_f64() / RATE_S).exp()
    }
}

#[cfg(test)]
mod tests {
    use crate::routing::{Candidate, RouteId};

    use super::*;

    const DEMANDED: Demanded = Demanded { loss_usd: 1e-3, work_s: 0.01, bears_s: Some(2.0) };

    fn at(second: u64) -> Mono {
        Mono(second * 1_000_000_000)
    }

    /// One of `demand` a second for ten minutes, every one of them here.
    fn asked(demand: Demanded) -> QueuePrice {
        let mut price = QueuePrice::default();
        (0..=600).for_each(|second| price.decided(at(second), demand, true));
        price
    }

    fn is_near(found: f64, wanted: f64) -> bool {
        (found / wanted - 1.0).abs() < 0.05
    }

    #[test]
    fn those_behind_are_late_for_as_long_as_the_queue_is_longer_than_they_bear() {
        let behind = asked(DEMANDED).behind(at(600));
        // One a second, each of which loses a thousandth; what they bear lies between 1.64 and 2.62.
        for (queued_s, work_s, late_s) in
            [(0.0, 1.0, 0.0), (0.5, 1.0, 0.0), (0.0, 6.0, 4.0), (2.7, 1.0, 1.0), (9.0, 3.0, 3.0)]
        {
            let (usd, wanted) = (behind.usd(queued_s, work_s), late_s * 1e-3 / 0.99);
            assert!(is_near(usd, wanted) || usd.max(wanted) < 1e-12, "{queued_s} {work_s}: {usd}");
        }
        let (short, long) = (behind.usd_per_s(1.0), behind.usd_per_s(3.0));
        assert!(short < 1e-12 && is_near(long, 1e-3 / 0.99), "{short} {long}");
    }

    #[test]
    fn a_loaded_engine_takes_longer_to_be_rid_of_what_is_put_before_others() {
        let usd = |work_s| asked(Demanded { work_s, ..DEMANDED }).behind(at(600)).usd(9.0, 1.0);
        assert!(is_near(usd(0.5), 1e-3 / 0.5), "{}", usd(0.5));
        assert!(is_near(usd(3.0), 1e-3 / (1.0 - LOAD_MAX)), "more than it can do: {}", usd(3.0));
    }

    #[test]
    fn who_goes_elsewhere_is_not_made_late_and_all_is_forgotten_in_time() {
        let mut price = QueuePrice::default();
        (0..600).for_each(|second| price.decided(at(second), DEMANDED, second % 2 == 0));
        let behind = price.behind(at(600));
        assert!(is_near(behind.usd(9.0, 1.0), 0.5e-3 / 0.995), "{}", behind.usd(9.0, 1.0));
        assert!((behind.share - 0.5).abs() < 0.1);
        assert!(price.behind(at(1_800)).usd(9.0, 1.0) < 1e-9, "nobody came for long");
        assert_eq!(QueuePrice::default().behind(at(600)), Behind::default());
    }

    #[test]
    fn who_was_promised_nothing_may_wait_and_is_not_to() {
        let unpromised = |work_s| asked(Demanded { bears_s: None, work_s, ..DEMANDED }).behind(at(600));
        let few = unpromised(0.01);
        assert!(few.usd(0.0, 0.1) < 1e-12 && few.usd_per_s(0.6) > 1e-3, "a third of a second");
        let long = unpromised(0.5);
        assert!(long.usd(0.0, 0.9) < 1e-12 && long.usd_per_s(1.7) > 1e-3, "three prompts");
    }

    #[test]
    fn the_heavier_of_two_burdens_counts_and_what_both_took() {
        let (light, heavy) = (Behind::bearing(1.0, 1e-3, 0.3), Behind::bearing(0.0, 2e-3, 0.8));
        for both in [light.with(heavy), heavy.with(light)] {
            assert!((both.usd(0.0, 1.0) - 2e-3).abs() < 1e-9 && (both.share - 1.0).abs() < 1e-12, "{both:?}");
        }
    }

    #[test]
    fn what_is_lost_counts_how_late_it_would_be_elsewhere_and_here() {
        let mut seen = RouteOutlook::default();
        (seen.first_token.base_s, seen.first_token.per_token_s, seen.first_token.level) = (0.1, 1e-4, 1.0);
        let own = Candidate { late: 0.0, ..Candidate::costing(RouteId(0), 0.0) };
        let [cheap, dear] = [(1, 2e-3, 0.5), (2, 5e-3, 0.1)]
            .map(|(id, usd, late)| Candidate { late, ..Candidate::costing(RouteId(id), usd) });
        let lost = |lateness_usd: f64, limit_s: f64, promised: bool| {
            let limit = Duration::from_secs_f64(limit_s);
            let order = [own, cheap, dear].into_iter().collect();
            let promise = promised.then_some(limit);
            let decision = Decision { order, lateness_usd, limit: promise, ..Decision::default() };
            let held = Held { tokens: 900, age_s: 1.0 };
            Demanded::of(&decision, limit, 1_000, held, &seen).expect("others cost something").loss_usd
        };
        // 2 + 0.5 × 10 there, 5 + 0.1 × 10 with the other, none of it here.
        assert!((lost(1e-2, 60.0, true) - 6e-3).abs() < 2e-4, "{}", lost(1e-2, 60.0, true));
        assert!(lost(1e-2, 0.01, true) < 1e-12, "as late here");
        assert!((lost(1e-3, 60.0, true) - 1e-3).abs() < 1e-5, "late is not worth more than that");
        assert!((lost(0.0, 0.01, false) - 2e-3).abs() < 1e-12, "nobody minds: the cheapest");
    }

    #[test]
    fn its_work_is_what_is_left_to_read() {
        let mut seen = RouteOutlook::default();
        (seen.first_token.per_token_s, seen.first_token.level) = (1e-3, 2.0);
        seen.cache_hits = crate::routing::outlook::CacheShares::even(0.5);
        let [own, other] = [(0, 0.0), (1, 2e-3)].map(|(id, usd)| Candidate::costing(RouteId(id), usd));
        let limit = Duration::from_secs(3);
        let order = [own, other].into_iter().collect();
        let decision = Decision { order, limit: Some(limit), ..Decision::default() };
        let held = |tokens| Held { tokens, age_s: 1.0 };
        let of = |decision: &Decision, tokens| Demanded::of(decision, limit, 1_000, held(tokens), &seen);
        let demanded = of(&decision, 800).expect("another costs something");
        assert!((demanded.work_s - 600.0 * 2e-3).abs() < 1e-6, "half of 800 is expected: {demanded:?}");
        assert!((demanded.bears_s.expect("promised") - 1.8).abs() < 1e-6, "{demanded:?}");
        let whole = of(&decision, 4_000).expect("as before");
        assert!((whole.work_s - 1.0).abs() < 1e-6, "no less than nothing is left of a hit: {whole:?}");
        let alone = Decision { order: [own].into_iter().collect(), ..decision };
        assert_eq!(of(&alone, 0), None, "nowhere else, no measure");
    }
}
