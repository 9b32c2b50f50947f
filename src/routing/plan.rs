//! Two-stage plans: whom to ask, after how much silence to ask a second one, and whom. A plan costs what it is expected to
//! be billed, and λ for its chance of being late.
//!
//! ```text
//! asked     P_h    = 1 − (1 − e_j)·F_j(τ)
//! late      P_miss = [(1 − e_j)(1 − F_j(s)) + e_j]·[1 − (1 − e_k)·F_k(x)],  x = s − τ
//! second    P_k    = P_h·(1 − e_k)·F_k(x)·(1 − ½·P(j answers by s | silent at τ))
//! worth     J      = in_j + P_h·in_k + (1 − P_k)·(out_j + V_j) + P_k·(out_k + V_k) + λ·P_miss
//! ```
//!
//! V is what else counts: the session stays with whoever answers. Where it is doubted how quick j is, `P_miss` is as if j were as
//! quick as may be believed.
//!
//! j is asked first, k after τ; s is when a first token is late, F the chance of one by a time, e the chance of a quick
//! failure, in and out what prompt and answer cost. The loser's prompt is billed as far as its provider is known to.

use std::cell::OnceCell;
use std::time::Duration;

use super::outlook::RouteOutlook;

/// Doubt about what is expected of a route, as a share of it, that is no reason to hope for better; and the most hoped for.
const DOUBT_USUAL: f32 = 0.2;
const HOPE_MOST: f32 = 0.3;

/// What weighing a candidate rests on. Money in USD, as floats: nothing is charged by it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Offer {
    /// What the prompt is expected to cost, and the answer.
    pub prompt_usd: f64,
    /// As above.
    pub answer_usd: f64,
    /// What both would cost with nothing in the route's cache.
    pub cold_usd: f64,
    /// What else counts: the rest of the session, the objective's own terms.
    pub other_usd: f64,
    /// What its work counts in our own engine's queue.
    pub queue_usd: f64,
    /// Chance of a quick failure.
    pub error: f32,
    /// Chance that the cache keeps its word, and the uncached tokens if it does and if it does not.
    pub hit: f32,
    /// As above.
    pub uncached_hit: f32,
    /// As above.
    pub uncached_miss: f32,
    /// Seconds since what its cache should hold was last served there.
    pub held_age_s: f32,
    /// Tokens of both that are ahead of it in the queue of an engine of our own.
    pub queued: f32,
    /// Chance that the answer is written too slowly.
    pub slow: f32,
    /// Chance that its first token is in time if it does not fail and its cache does not keep its word.
    pub cold_within: f32,
    /// Chance that it does not fail and its first token is in time.
    pub in_time: f32,
    /// How much more it would be, were the route as good as may be believed.
    pub hoped: f32,
}

impl Offer {
    /// Chance of a first token within `seconds`, if it does not fail.
    pub fn within(&self, outlook: &RouteOutlook, seconds: f32) -> f32 {
        self.within_of(outlook.first_token.within(seconds, self.uncached_miss), outlook, seconds)
    }

    /// The same, `miss` being that chance if the cache does not keep its word.
    pub fn within_of(&self, miss: f32, outlook: &RouteOutlook, seconds: f32) -> f32 {
        if self.hit <= 0.0 || self.uncached_hit >= self.uncached_miss {
            return miss;
        }
        let hit = outlook.first_token.within(seconds, self.uncached_hit);
        self.hit * hit + (1.0 - self.hit) * miss
    }

    /// The same chance, were the route as quick as may be believed: what was never asked for long prompts is not known to
    /// be slow with them, and would else never be asked. Optimism about what is uncertain finds the best for the least
    /// regret (Lai and Robbins 1985); what is known well enough is taken as it is.
    pub fn hopeful(&self, outlook: &RouteOutlook, seconds: f32) -> f32 {
        let hope = |tokens: f32| {
            let quicker = (outlook.first_token.doubt(tokens) - DOUBT_USUAL).clamp(0.0, HOPE_MOST);
            outlook.first_token.within(seconds / (1.0 - quicker), tokens)
        };
        let miss = hope(self.uncached_miss);
        if self.hit <= 0.0 || self.uncached_hit >= self.uncached_miss {
            return miss;
        }
        self.hit * hope(self.uncached_hit) + (1.0 - self.hit) * miss
    }

    /// Whether what is expected of the route is so doubtful that there is more to hope for ([`Self::hopeful`]).
    pub fn is_doubtful(&self, outlook: &RouteOutlook) -> bool {
        let doubtful = |tokens: f32| outlook.first_token.is_doubted(tokens, DOUBT_USUAL);
        doubtful(self.uncached_miss) || (self.hit > 0.0 && doubtful(self.uncached_hit))
    }

    /// Whether both have as much to read if their cache does not keep its word.
    pub fn is_cold_as(&self, other: &Self) -> bool {
        self.uncached_miss.to_bits() == other.uncached_miss.to_bits()
    }

    /// Prompt tokens that are expected to be read before its first token, those ahead of it in a queue of our own included.
    pub fn uncached_expected(&self) -> f32 {
        self.uncached_miss - self.hit * (self.uncached_miss - self.uncached_hit)
    }

    /// Seconds within which a first token comes with this chance.
    fn quantile(&self, outlook: &RouteOutlook, chance: f32) -> f32 {
        let uncached = if self.hit > 0.5 { self.uncached_hit } else { self.uncached_miss };
        outlook.first_token.quantile_s(chance, uncached)
    }

    /// Expected cost.
    pub fn cost_usd(&self) -> f64 {
        self.prompt_usd + self.answer_usd
    }

    /// All that counts but lateness: expected cost, queue, the rest of the session, the objective's own terms.
    pub fn counted_usd(&self) -> f64 {
        self.cost_usd() + self.other_usd + self.queue_usd
    }
}

/// What a plan is weighed by.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// What a late first token is worth avoiding, in USD.
    pub lateness_usd: f64,
    /// Seconds left until a first token is late.
    pub left_s: f32,
    /// The earliest time to ask a second route, in seconds from now.
    pub hedge_from_s: f32,
    /// The most that the prompt of a second route may be expected to cost, in USD.
    pub hedge_room_usd: f64,
}

/// A second route and when it is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Second {
    /// Its place among the candidates.
    pub place: usize,
    /// After how many seconds of silence.
    pub after_s: f32,
    /// Chance that it comes to that.
    pub chance: f32,
    /// Chance of a first token in time with it.
    pub in_time: f32,
    /// What lateness counts in its worth, as [`missed`].
    pub late: f32,
    /// What the plan is worth, in USD.
    pub score_usd: f64,
}

/// Chance that the first token is late if `offer` is asked alone, `fallback` being the chance that another is in time after
/// a quick failure.
pub fn late(offer: &Offer, fallback: f32) -> f32 {
    1.0 - rescued(offer, fallback)
}

/// What lateness counts in the score, `late` being the chance of a late first token: an answer that is written too slowly
/// counts as one, and hope is taken off.
pub fn missed(offer: &Offer, late: f32) -> f32 {
    1.0 - (1.0 - late + offer.hoped) * (1.0 - offer.slow)
}

/// Chance that the first token is in time, another route being asked after a quick failure.
pub fn rescued(offer: &Offer, fallback: f32) -> f32 {
    offer.in_time + offer.error * fallback
}

/// Times within which the second route is given to answer, as its quantiles.
const GIVEN: [f32; 2] = [0.80, 0.95];

/// A route that may be asked second: its offer, and when it answers.
#[derive(Debug, Clone)]
pub struct Backup<'a> {
    /// Its place among the candidates.
    pub place: usize,
    /// Its offer.
    pub offer: &'a Offer,
    /// How it looks.
    outlook: &'a RouteOutlook,
    /// Seconds it is given, and the chance that its first token comes within them; made when it is asked for.
    given: OnceCell<[(f32, f32); GIVEN.len()]>,
}

impl<'a> Backup<'a> {
    /// `offer`, seen as a second route.
    pub const fn new(place: usize, offer: &'a Offer, outlook: &'a RouteOutlook) -> Self {
        Self { place, offer, outlook, given: OnceCell::new() }
    }

    fn given(&self) -> [(f32, f32); GIVEN.len()] {
        let (offer, outlook) = (self.offer, self.outlook);
        *self.given.get_or_init(|| {
            GIVEN.map(|chance| {
                let seconds = offer.quantile(outlook, chance);
                (seconds, (1.0 - offer.error) * offer.within(outlook, seconds))
            })
        })
    }

    /// What no plan with it behind `first` can be worth less than, in USD: it is asked as often as the first one alone would
    /// not be in time, whichever answers is the cheaper, and nobody is late.
    pub fn least_usd(&self, first: &Offer) -> f64 {
        let answered = |offer: &Offer| offer.answer_usd + offer.other_usd;
        let asked = f64::from(1.0 - first.in_time) * (self.offer.prompt_usd + self.offer.queue_usd);
        first.prompt_usd + first.queue_usd + asked + answered(first).min(answered(self.offer))
    }
}

/// The best way to ask `backup` after `offer`, if any is better than `best_usd`.
#[inline]
pub fn hedged(
    offer: &Offer,
    outlook: &RouteOutlook,
    backup: &Backup<'_>,
    terms: &Terms,
    best_usd: f64,
) -> Option<Second> {
    let least_usd = backup.least_usd(offer);
    // Most are not worth a look.
    if least_usd >= best_usd { None } else { weighed(offer, outlook, backup, terms, [least_usd, best_usd]) }
}

fn weighed(
    offer: &Offer,
    outlook: &RouteOutlook,
    backup: &Backup<'_>,
    terms: &Terms,
    [least_usd, best_usd]: [f64; 2],
) -> Option<Second> {
    let mut best: Option<Second> = None;
    let mut limit = best_usd;
    for (given_s, answers) in backup.given() {
        let after_s = terms.left_s - given_s;
        if !(after_s > 0.02 && after_s >= terms.hedge_from_s) {
            continue;
        }
        let missed = (1.0 - offer.in_time) * (1.0 - answers);
        // Hope counts for what would be late even so, not for what the second saves.
        let missed_at_best = (1.0 - offer.in_time - offer.hoped).max(0.0) * (1.0 - answers);
        let late = 1.0 - (1.0 - missed_at_best) * (1.0 - offer.slow);
        // Nor are most of the others to be weighed in full.
        if least_usd + terms.lateness_usd * f64::from(late) >= limit {
            continue;
        }
        let asked = 1.0 - (1.0 - offer.error) * offer.within(outlook, after_s);
        // A plan on a second attempt that will be refused for its cost is none.
        if f64::from(asked) * backup.offer.prompt_usd > terms.hedge_room_usd {
            continue;
        }
        let asked_usd = f64::from(asked);
        // Who answers once both are asked: the first as often as it would have been in time, and of those the half.
        let soon = if asked > 1e-4 { ((offer.in_time + asked - 1.0) / asked).clamp(0.0, 1.0) } else { 0.0 };
        let second_answers = asked_usd * f64::from(answers * (1.0 - 0.5 * soon));
        let score_usd = offer.prompt_usd
            + asked_usd * (backup.offer.prompt_usd + backup.offer.queue_usd)
            + offer.queue_usd
            + (offer.answer_usd + offer.other_usd) * (1.0 - second_answers)
            + (backup.offer.answer_usd + backup.offer.other_usd) * second_answers
            + terms.lateness_usd * f64::from(late);
        if score_usd < limit {
            limit = score_usd;
            best = Some(Second {
                place: backup.place,
                after_s,
                chance: asked,
                in_time: 1.0 - missed,
                late,
                score_usd,
            });
        }
    }
    best
}

/// What asking a second route now gains in the chance of being in time, the first having been silent for `age_s`.
///
/// `left_s`: until a first token is late.
pub fn gained(first: &Offer, first_outlook: &RouteOutlook, age_s: f32, second: f32, left_s: f32) -> f32 {
    // A quick failure would have shown by now.
    let silent = 1.0 - first.within(first_outlook, age_s);
    let by_then = first.within(first_outlook, age_s + left_s);
    let soon = if silent > 1e-4 { ((by_then - (1.0 - silent)) / silent).clamp(0.0, 1.0) } else { 0.0 };
    (1.0 - soon) * second
}

/// Seconds as a duration; an endless one for what is not finite.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "held at 0 and at the largest")]
pub(super) fn duration(seconds: f32) -> Duration {
    // Some centuries are endless enough, and the exact conversion takes as long as a lookup of a chance.
    Duration::from_nanos((f64::from(seconds.max(0.0)) * 1e9 + 0.5) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offers of all kinds: `at` counts them.
    fn offer(at: u32) -> Offer {
        let share = |by: u32| f32::from((at.wrapping_mul(by) >> 16) as u16) / f32::from(u16::MAX);
        let usd = |by: u32| f64::from(share(by)) * 1e-3;
        let mut offer = Offer {
            prompt_usd: usd(2_654_435_769),
            answer_usd: usd(1_597_334_677),
            other_usd: usd(668_265_263) * 20.0,
            error: share(374_761_393) * 0.3,
            uncached_miss: share(3_266_489_917) * 20_000.0,
            hit: 0.0,
            ..Offer::default()
        };
        let seen = RouteOutlook::default();
        offer.in_time = (1.0 - offer.error) * offer.within(&seen, 2.0);
        let late = late(&offer, 0.8);
        offer.hoped = (late * share(2_246_822_519)).min(1.0 - offer.in_time - offer.error);
        offer
    }

    #[test]
    fn who_writes_slowly_counts_as_late_and_its_first_token_is_not() {
        let offer = Offer { in_time: 0.8, error: 0.1, slow: 0.5, hoped: 0.05, ..Offer::default() };
        let late = late(&offer, 0.5);
        assert!((late - 0.15).abs() < 1e-6, "{late}");
        let missed = missed(&offer, late);
        assert!((missed - (1.0 - 0.9 * 0.5)).abs() < 1e-6, "{missed}");
    }

    #[test]
    fn no_plan_is_worth_less_than_it_may_cost_at_least() {
        let seen = RouteOutlook::default();
        let mut plans = 0;
        for at in 0..2_000 {
            let (first, second) = (offer(2 * at), offer(2 * at + 1));
            let backup = Backup::new(1, &second, &seen);
            for lateness_usd in [0.0, 1e-3, 0.1] {
                let terms = Terms { lateness_usd, left_s: 2.0, hedge_from_s: 0.0, hedge_room_usd: 1.0 };
                let Some(plan) = hedged(&first, &seen, &backup, &terms, f64::INFINITY) else { continue };
                plans += 1;
                let least = backup.least_usd(&first);
                assert!(plan.score_usd >= least - 1e-12, "{first:?} {second:?}: {} {least}", plan.score_usd);
                assert!(plan.late >= 0.0 && plan.late <= 1.0 - plan.in_time + 1e-6, "{plan:?}");
            }
        }
        assert!(plans > 1_000, "{plans}");
    }
}
