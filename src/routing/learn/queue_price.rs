//! The price of a second of our own hardware's prefill work (ν): it rises while the queue is longer than it should be. It is
//! measured in what such a second saves: what the same requests cost elsewhere.

use std::time::Duration;

use crate::routing::decision::Decision;
use crate::routing::outlook::RouteOutlook;
use crate::units::Mono;

use super::prefix::Held;

/// The queue aimed at, in seconds of prefill work; a small engine, which takes long over one prompt, must have another at
/// hand all the same.
const QUEUE_AIM_S: f64 = 0.35;
const AIM_OF_WORK: f64 = 3.0;
/// Share of what promised requests bear that it may take: a queue that makes nobody late is no congestion.
const AIM_OF_PATIENCE: f64 = 0.25;
/// How fast the price follows, a second. It is a matter of minutes: what a long prompt does to those behind it is weighed
/// request by request ([`Behind`]).
const STEP: f64 = 0.02;
/// How long a queue must last to count, in seconds, and how much faster the price falls than it rises.
const LASTS_S: f64 = 10.0;
const FALLS: f64 = 3.0;
/// Where it starts from zero, and its ceiling, as shares of what a second of prefill work saves.
const SEED: f64 = 0.02;
const CEILING: f64 = 3.0;
/// Share of a new request in the running means.
const SMOOTHING: f64 = 0.02;
/// How far back requests are counted, in seconds.
const RATE_S: f64 = 60.0;

/// The price of one engine's queue.
#[derive(Debug, Clone, Copy, Default)]
pub struct QueuePrice {
    /// Over what a second saves.
    price: f64,
    at: Mono,
    /// The queue as it was over the last seconds.
    queued_s: f64,
    /// Running means: what requests cost elsewhere and what is lost when they have to go there, in USD, and their prefill
    /// work here in seconds.
    cost_usd: f64,
    lost_usd: f64,
    work_s: f64,
    limit_s: f64,
    /// Running mean of how long a queue they bear by their promise, in seconds.
    borne_s: f64,
    /// Requests a second.
    rate: f64,
    came: Mono,
    /// Share of them that our own engine was asked for first.
    share: Option<f64>,
}

/// What a request asks of our own engine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demanded {
    /// What it would cost elsewhere, in USD.
    pub cost_usd: f64,
    /// What is lost if it cannot be served here, in USD: what it costs elsewhere and how late it is likely to be there, less
    /// how late it would be here with nobody before it.
    pub lost_usd: f64,
    /// Its prefill work here, in seconds.
    pub work_s: f64,
    /// When its first token is late, in seconds.
    pub limit_s: f64,
    /// Whether that was promised; else it is when it is given up.
    pub promised: bool,
}

impl Demanded {
    /// What a request with a prompt of so many tokens, decided as `decision` says, asks of an engine that should hold `held`
    /// of the prompt and looks as `seen`. `limit`: when its first token is late ([`crate::routing::choose::limit`]), which
    /// without a promise is when it is given up. `None`: nobody whom it would cost anything may serve it, so that there is
    /// no measure.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "tokens of an estimate")]
    pub fn of(
        decision: &Decision,
        limit: Duration,
        prompt_tokens: u64,
        held: Held,
        seen: &RouteOutlook,
    ) -> Option<Self> {
        let hit = seen.cache_hits.at(held.age_s);
        let miss = prompt_tokens as f64;
        let uncached = miss - f64::from(hit) * f64::from(held.tokens);
        let within = |tokens: f64| seen.first_token.within(limit.as_secs_f32(), tokens.max(0.0) as f32);
        let within = hit * within(miss - f64::from(held.tokens)) + (1.0 - hit) * within(miss);
        let late = 1.0 - (1.0 - seen.error.clamp(0.0, 1.0)) * within;
        Some(Self {
            cost_usd: decision.cheapest_usd()?,
            lost_usd: (decision.elsewhere_usd()? - decision.lateness_usd * f64::from(late)).max(0.0),
            work_s: uncached.max(0.0) * f64::from(seen.first_token.token_s()),
            limit_s: limit.as_secs_f64(),
            promised: decision.limit.is_some(),
        })
    }
}

/// What one request's work does to those that come behind it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Behind {
    /// What it costs that those who come within a second are made late, in USD.
    pub usd_per_s: f64,
    /// How long a queue they bear, in seconds.
    pub patience_s: f64,
    /// Share of late requests that our own engine took.
    pub share: f64,
}

impl Behind {
    /// With what another engine's queue says: the heavier burden, and what all of them took.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let heavier = if other.usd_per_s > self.usd_per_s { other } else { self };
        Self { share: (self.share + other.share).min(1.0), ..heavier }
    }
}

impl QueuePrice {
    /// A request was decided at `now`: `here` says whether our own engine was asked first.
    pub fn decided(&mut self, now: Mono, demand: Demanded, here: bool) {
        let Demanded { cost_usd, lost_usd, work_s, limit_s, promised } = demand;
        let passed = now.since(self.came).as_secs_f64();
        self.came = now;
        self.rate = self.rate * (-passed / RATE_S).exp() + 1.0 / RATE_S;
        let took = f64::from(u8::from(here));
        self.share = Some(self.share.map_or(took, |known| known + SMOOTHING * (took - known)));
        if !(cost_usd.is_finite() && work_s.is_finite()) || cost_usd < 0.0 || work_s < 0.0 {
            return;
        }
        let share = if self.work_s == 0.0 { 1.0 } else { SMOOTHING };
        self.limit_s += share * (limit_s - self.limit_s);
        self.cost_usd += share * (cost_usd - self.cost_usd);
        self.lost_usd += share * (lost_usd - self.lost_usd);
        self.work_s += share * (work_s - self.work_s);
        let borne_s = if promised { (limit_s - work_s).max(0.0) } else { 0.0 };
        self.borne_s += share * (borne_s - self.borne_s);
    }

    /// The queue holds `queued_s` seconds of prefill work at `now`; looked at about once a second.
    pub fn look(&mut self, now: Mono, queued_s: f64) {
        let steps = (now.since(self.at).as_secs_f64()).min(10.0);
        if steps < 0.25 {
            return;
        }
        self.at = now;
        // One long prompt is no congestion: what counts is the queue of some seconds.
        self.queued_s += (queued_s - self.queued_s) * (1.0 - (-steps / LASTS_S).exp());
        let queued_s = self.queued_s;
        let aim_s = QUEUE_AIM_S.max(AIM_OF_WORK * self.work_s).max(AIM_OF_PATIENCE * self.borne_s);
        let off = (queued_s - aim_s).clamp(-aim_s, 6.0 * aim_s) / aim_s;
        let off = if off < 0.0 { off * FALLS } else { off };
        let seed = if queued_s > aim_s { SEED } else { 0.0 };
        self.price = (self.price * (STEP * off * steps).exp() + seed * steps).clamp(0.0, CEILING);
    }

    /// What work does to those behind it, a late first token counting `lateness_usd`.
    pub fn behind(&self, lateness_usd: f64) -> Behind {
        Behind {
            usd_per_s: self.rate * lateness_usd.min(self.lost_usd),
            patience_s: (self.limit_s - self.work_s).max(0.0),
            share: self.share.unwrap_or(0.0),
        }
    }

    /// USD for a second of prefill work.
    pub fn usd_per_s(&self) -> f64 {
        if self.work_s > 0.0 { self.price * self.cost_usd / self.work_s } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use crate::routing::{Candidate, RouteId};

    use super::*;

    const DEMANDED: Demanded =
        Demanded { cost_usd: 1e-3, lost_usd: 1e-3, work_s: 0.5, limit_s: 2.0, promised: true };

    #[test]
    fn it_rises_with_the_queue_and_falls_without() {
        let mut price = QueuePrice::default();
        price.decided(Mono(0), DEMANDED, true);
        let at = |second: u64| Mono(second * 1_000_000_000);
        (1..60).for_each(|second| price.look(at(second), 2.0));
        let busy = price.usd_per_s();
        (60..900).for_each(|second| price.look(at(second), 0.0));
        assert!(busy > 1e-3 && price.usd_per_s() < busy / 1e3, "{busy}");
    }

    #[test]
    fn a_queue_that_promised_requests_bear_is_no_congestion() {
        let at = |second: u64| Mono(second * 1_000_000_000);
        let price = |promised: bool, queued_s: f64| {
            let mut price = QueuePrice::default();
            price.decided(Mono(0), Demanded { limit_s: 9.5, promised, ..DEMANDED }, true);
            (1..60).for_each(|second| price.look(at(second), queued_s));
            price.usd_per_s()
        };
        assert!(price(true, 2.0) < 1e-12 && price(true, 4.0) > 1e-4, "nine seconds are borne");
        assert!(price(false, 2.0) > 1e-4, "who was promised nothing may wait, and is not to");
    }

    #[test]
    fn those_behind_count_as_often_as_they_come_and_no_more_than_elsewhere() {
        let mut price = QueuePrice::default();
        let at = |second: u64| Mono(second * 1_000_000_000);
        (0..600).for_each(|second| price.decided(at(second), DEMANDED, second % 2 == 0));
        let behind = price.behind(5e-4);
        assert!((behind.usd_per_s / 5e-4 - 1.0).abs() < 0.05, "one a second: {}", behind.usd_per_s);
        assert!((price.behind(1.0).usd_per_s / 1e-3 - 1.0).abs() < 0.05, "they may go elsewhere");
        // Nobody minds who would be as late elsewhere, or here without a queue.
        let mut idle = QueuePrice::default();
        let useless = Demanded { lost_usd: 0.0, ..DEMANDED };
        (0..600).for_each(|second| idle.decided(at(second), useless, true));
        assert!(idle.behind(1.0).usd_per_s.abs() < 1e-12 && idle.usd_per_s().abs() < 1e-12);
        assert!((behind.patience_s - 1.5).abs() < 1e-6 && (behind.share - 0.5).abs() < 0.1);
    }

    #[test]
    fn what_is_lost_counts_how_late_it_would_be_elsewhere_and_here() {
        let mut seen = RouteOutlook::default();
        (seen.first_token.base_s, seen.first_token.per_token_s, seen.first_token.level) = (0.1, 1e-4, 1.0);
        let own = Candidate { late: 0.0, ..Candidate::costing(RouteId(0), 0.0) };
        let [cheap, dear] = [(1, 2e-3, 0.5), (2, 5e-3, 0.1)]
            .map(|(id, usd, late)| Candidate { late, ..Candidate::costing(RouteId(id), usd) });
        let order = || [own, cheap, dear].into_iter().collect();
        let decision = Decision { order: order(), lateness_usd: 1e-2, ..Decision::default() };
        let lost = |decision: &Decision, limit_s: f64, tokens: u64| {
            let limit = Duration::from_secs_f64(limit_s);
            let held = Held { tokens: 900, age_s: 1.0 };
            Demanded::of(decision, limit, tokens, held, &seen).expect("others cost something").lost_usd
        };
        // 2 + 0.5 × 10 there, 5 + 0.1 × 10 with the other, none of it here.
        assert!((lost(&decision, 60.0, 1_000) - 6e-3).abs() < 2e-4, "{}", lost(&decision, 60.0, 1_000));
        assert!(lost(&decision, 0.01, 1_000) < 1e-12, "as late here");
        let unpromised = Decision { order: order(), ..Decision::default() };
        assert!((lost(&unpromised, 0.01, 1_000) - 2e-3).abs() < 1e-12, "nobody minds: the cheapest");
    }

    #[test]
    fn it_is_measured_by_what_is_left_to_read_and_by_the_cheapest_elsewhere() {
        let mut seen = RouteOutlook::default();
        (seen.first_token.per_token_s, seen.first_token.level) = (1e-3, 2.0);
        seen.cache_hits = crate::routing::outlook::CacheShares::even(0.5);
        let own = Candidate::costing(RouteId(0), 0.0);
        let [cheap, dear] = [(1, 2e-3), (2, 5e-3)].map(|(id, usd)| Candidate::costing(RouteId(id), usd));
        let limit = Duration::from_secs(3);
        // No promise was made.
        let decision = Decision { order: [own, dear, cheap].into_iter().collect(), ..Decision::default() };
        let held = |tokens| Held { tokens, age_s: 1.0 };
        let demanded =
            Demanded::of(&decision, limit, 1_000, held(800), &seen).expect("others cost something");
        assert!((demanded.cost_usd - 2e-3).abs() < 1e-12 && (demanded.limit_s - 3.0).abs() < 1e-12);
        assert!((demanded.work_s - 600.0 * 2e-3).abs() < 1e-6, "half of 800 is expected: {demanded:?}");
        let whole = Demanded::of(&decision, limit, 1_000, held(4_000), &seen).expect("as before");
        assert!(whole.work_s.abs() < 1e-12, "nothing to read is no work, not less: {whole:?}");
        let alone = Decision { order: [own].into_iter().collect(), ..decision };
        // Those behind bear a queue for as long as they are not late, promise or none.
        let mut price = QueuePrice::default();
        price.decided(Mono(0), demanded, true);
        assert!((price.behind(1.0).patience_s - (3.0 - 1.2)).abs() < 1e-6, "{:?}", price.behind(1.0));
        assert_eq!(Demanded::of(&alone, limit, 1_000, held(0), &seen), None, "nowhere else, no measure");
    }
}
