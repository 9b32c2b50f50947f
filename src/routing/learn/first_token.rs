//! When a route's first token comes: T = level · (a·n + b·u), u uncached prompt tokens, n a call's own luck with median
//! near 1. a and b are learnt by least squares (`line`), the level by a filter (`level`), the luck by a histogram (`shape`).
//!
//! Luck strikes the part that does not depend on the prompt more than the part that does: a long prompt's time varies less,
//! in proportion, than a short one's. How much of it strikes the prompt's part is learnt, too (`luck_share`).

pub use super::first_token_outlook::{FirstTokenOutlook, STRUCK};
use super::first_token_outlook::{Tables, fast_ln};
use super::heard::{self, struck};
use super::level::{Belief, Level};
use super::line::{LEVEL_SIGMA, Line};
use super::luck_share::{LuckShare, SHARES};
pub use super::prior::{PREFILL_LUCK, Prior};
pub use super::reading::Reading;
use super::shape::{BINS, Shape, place};

/// How much of its weight a sample keeps at each further one.
const MEMORY: f64 = 0.9985;
/// How much of the level's movement is taken out before line and luck are fitted. The line is fitted to what the level was thought
/// to be before the call: so a call's surprise is shared out between the two by how well each is known, and none is told it twice.
/// The rest lets both follow what lasts; were all taken out, line, level and luck could each make up for the other two, and drift
/// apart until short prompts say the wrong thing of long ones. Little is left: who asks a route when it is quick must not think it
/// quick by habit.
const LEVEL_TAKEN_OUT: f32 = 0.9;
/// The same for the luck of hardware of our own, which has next to none.
const OWN_LEVEL_TAKEN_OUT: f32 = 1.0;
/// Samples after which half of that is taken out: before, what is taken for a level may be a bad first guess.
const SETTLES: f32 = 30.0;
/// How much of its weight a first guess keeps at each sample that contradicts it.
const GUESS_KEPT: f64 = 0.6;
/// What the first answers of hardware of our own take over what was expected, or the other way round, before the guess is
/// dropped: nobody knows beforehand how many tokens a second a model reads on somebody's hardware.
const OWN_OFF: f64 = 1.5;
/// And what it takes of a prompt to tell: what a shorter one takes is not its tokens' doing.
const OWN_TELLING: f64 = 100.0;
/// How much calls to hardware of our own differ, as a share, when the level learns: what is off is a level or a line that is
/// wrong, and must not pass for luck.
const OWN_LUCK_SIGMA: f32 = 0.15;
/// What the line is thought to be off at most, as a share, when the level learns.
const DOUBT_MOST: f64 = 1.0;
/// The likelihood of silence never falls below this share of an even one.
const SILENCE_EVEN: f32 = 0.02;

/// The estimator of one route.
#[derive(Debug, Clone)]
pub struct FirstToken {
    line: Line,
    shape: Shape,
    /// Of an engine of our own: waits with a queue, over what was expected of them.
    waits: Option<Shape>,
    level: Level,
    passed_s: f64,
    samples: f32,
    /// Share of luck that strikes the prompt's part.
    prefill_luck: f64,
    luck_share: LuckShare,
}

impl Default for FirstToken {
    fn default() -> Self {
        Self::new(Prior::default())
    }
}

/// The logarithm of a call's luck: `ratio` is its time over what was expected at the level.
fn luck(ratio: f32, struck: f32) -> f32 {
    (1.0 + (ratio - 1.0) / struck).max(0.06).ln()
}

impl FirstToken {
    /// An estimator that begins with `prior`.
    pub fn new(prior: Prior) -> Self {
        Self {
            line: Line::new(&prior),
            shape: Shape::default(),
            waits: prior.queues.then(Shape::default),
            level: if prior.queues { Level::own() } else { Level::default() },
            passed_s: 0.0,
            samples: 0.0,
            prefill_luck: prior.prefill_luck,
            luck_share: LuckShare::new(prior.prefill_luck),
        }
    }

    fn parts(&self, uncached: f64) -> (f64, f32) {
        let (base_s, prefill_s) = (self.line.base_s(), self.line.per_token_s() * uncached);
        (base_s + prefill_s, struck(self.prefill_luck, base_s, prefill_s))
    }

    /// Seconds for each uncached prompt token, at the level now.
    pub fn token_s(&self) -> f64 {
        self.line.per_token_s() * f64::from(self.level.mean_log().exp())
    }

    /// Expected seconds at the level now.
    pub fn now_s(&self, uncached: f64) -> f64 {
        self.usual_s(uncached) * f64::from(self.level.mean_log().exp())
    }

    /// Expected seconds at the usual level.
    pub fn usual_s(&self, uncached: f64) -> f64 {
        self.line.usual_s(uncached)
    }

    /// Moves on to `at_s`, in seconds of a clock that never goes back.
    #[expect(clippy::cast_possible_truncation, reason = "seconds since the last look")]
    pub fn pass(&mut self, at_s: f64) {
        let passed = at_s - self.passed_s;
        if passed > 0.25 {
            self.level.pass(passed as f32);
            self.passed_s = at_s;
        }
    }

    /// A first token came after `time_s` for `uncached` prompt tokens.
    pub fn heard(&mut self, at_s: f64, uncached: f64, time_s: f64) {
        let before = self.noticed(at_s, Reading::of(uncached), time_s);
        self.settled(uncached, time_s, before);
    }

    /// What the level is thought to be.
    pub fn level(&self) -> Belief {
        self.level.belief()
    }

    /// A first token came after `time_s`, and it is not known yet how much of the prompt was read: the level learns at once,
    /// and how much of luck strikes prompts. Returns what the level was thought to be before.
    pub fn noticed(&mut self, at_s: f64, reading: Reading, time_s: f64) -> Belief {
        self.pass(at_s);
        let before = self.level.belief();
        let own = self.waits.is_some();
        let density = if own { Shape::even(OWN_LUCK_SIGMA) } else { self.shape.density() };
        let line = [self.line.base_s(), self.line.per_token_s()];
        // Where the line is not known well, a time says less of the level. That of our own hardware is fixed, and has next to no luck.
        let doubt = if own { 0.0 } else { self.line.sigma(reading.expected()).min(DOUBT_MOST) };
        if !own && LuckShare::is_told_by(self.line.base_s() / self.usual_s(reading.miss)) {
            let likely = SHARES.map(|share| {
                let cases = heard::cases(reading, time_s, line, share, doubt);
                self.level.chance(|quicker| heard::likelihood(&cases, &density, quicker))
            });
            self.luck_share.seen(likely);
            self.prefill_luck = self.luck_share.of_prefill();
        }
        let cases = heard::cases(reading, time_s, line, self.prefill_luck, doubt);
        self.level.weigh(|quicker| heard::likelihood(&cases, &density, quicker));
        before
    }

    /// Of a first token that came after `time_s` it is known now that `uncached` tokens were read: line and luck learn. `before` is
    /// what the level was thought to be when it came.
    #[expect(clippy::cast_possible_truncation, reason = "ratios of seconds")]
    pub fn settled(&mut self, uncached: f64, time_s: f64, before: Belief) {
        let own = self.waits.is_some();
        let (expected, struck) = self.parts(uncached);
        let ratio = (time_s / expected) as f32;
        let level = self.level.mean_log();
        let of_luck = if own { OWN_LEVEL_TAKEN_OUT } else { LEVEL_TAKEN_OUT };
        let tells = self.tells_of_luck(expected);
        self.shape.seen(luck(ratio * (-level * of_luck).exp(), struck), tells);
        self.samples += 1.0;
        let tells_of_hardware = own && self.samples < SETTLES && uncached >= OWN_TELLING;
        if tells_of_hardware && (time_s / expected).ln().abs() > OWN_OFF.ln() {
            self.line.guess_again(uncached, time_s);
            self.level = Level::own();
            return;
        }
        let taken_out = LEVEL_TAKEN_OUT * self.samples / (self.samples + SETTLES);
        let (level, level_sigma) =
            if own { (level, LEVEL_SIGMA) } else { (before.log, f64::from(before.sigma)) };
        let usual = time_s * f64::from((-level * taken_out).exp());
        // One call in the tail does not bend the line; while little is known, what looks like a tail may be the rule.
        let usual = usual.min((3.0 + 30.0 / f64::from(self.samples)) * expected);
        // What comes while far too little is expected would weigh for ever, were it weighed by that. Otherwise all weigh by what
        // was expected: by what came, the slow would weigh less than the quick, and the line would come to lie too low.
        let scale = if usual > 2.0 * expected { usual } else { expected };
        let surprises = usual > 2.0 * expected || usual < 0.5 * expected;
        // A guess that the first samples contradict is given up.
        let keep = if surprises && self.samples < SETTLES { GUESS_KEPT } else { MEMORY };
        self.line.fade(keep);
        self.line.add(uncached, usual, scale, f64::from(struck), level_sigma);
        // Of our own hardware the line is fitted to what the level is thought to be by now: where it moves, the level must not.
        let moved = (self.parts(uncached).0 / expected).ln() as f32;
        if own && moved.abs() > 0.02 {
            self.level.shift(-moved);
        }
    }

    /// How much a call of which `expected_s` were expected tells of luck: as much as the base takes of it, since the rest tells
    /// how well line and level are known.
    #[expect(clippy::cast_possible_truncation, reason = "a share")]
    fn tells_of_luck(&self, expected_s: f64) -> f32 {
        if self.waits.is_some() { 1.0 } else { (self.line.base_s() / expected_s) as f32 }
    }

    /// A first token came after so many times what was expected when its prompt was queued.
    #[expect(clippy::cast_possible_truncation, reason = "a logarithm")]
    pub fn waited(&mut self, ratio: f64) {
        if let Some(waits) = &mut self.waits {
            waits.seen(ratio.max(1e-3).ln() as f32, 1.0);
        }
    }

    /// It was given up after so many times that.
    #[expect(clippy::cast_possible_truncation, reason = "a logarithm")]
    pub fn waited_in_vain(&mut self, ratio: f64) {
        if let Some(waits) = &mut self.waits {
            waits.censored(ratio.max(1e-3).ln() as f32, 1.0);
        }
    }

    /// An attempt was given up after `age_s` of silence.
    #[expect(clippy::cast_possible_truncation, reason = "ratios of seconds")]
    pub fn silent(&mut self, at_s: f64, reading: Reading, age_s: f64) {
        self.pass(at_s);
        let cumulative = self.shape.cumulative();
        let still = self.still_silent(&cumulative, reading, age_s);
        self.level.weigh(still);
        // Where the cache may have failed, silence is no matter of luck alone.
        if reading.is_certain() {
            let (expected, struck) = self.parts(reading.hit);
            let level = self.level.mean_log();
            let silence = luck((age_s / expected) as f32 * (-level).exp(), struck);
            self.shape.censored(silence, self.tells_of_luck(expected));
        }
    }

    /// Chance that a call is still silent after `age_s`, at the level as it was before that silence.
    #[expect(clippy::cast_possible_truncation, reason = "ratios of seconds")]
    pub fn still(&self, reading: Reading, age_s: f64) -> f32 {
        let (cumulative, quicker) = (self.shape.cumulative(), (-self.level.mean_log()).exp());
        let one = |(uncached, chance): (f64, f32)| {
            let (expected, struck) = self.parts(uncached);
            chance * survival(&cumulative, (age_s / expected) as f32, struck, quicker)
        };
        reading.cases().map(one).iter().sum()
    }

    /// Chance, by how many times quicker than usual the route is, that a call is still silent after `age_s`.
    #[expect(clippy::cast_possible_truncation, reason = "ratios of seconds")]
    fn still_silent(
        &self,
        cumulative: &[f32; BINS + 1],
        reading: Reading,
        age_s: f64,
    ) -> impl Fn(f32) -> f32 + use<> {
        let cumulative = *cumulative;
        let cases = reading.cases().map(|(uncached, chance)| {
            let (expected, struck) = self.parts(uncached);
            ((age_s / expected) as f32, struck, chance)
        });
        move |quicker| {
            let one = |(ratio, struck, chance): (f32, f32, f32)| {
                if chance > 0.0 { chance * survival(&cumulative, ratio, struck, quicker) } else { 0.0 }
            };
            cases.into_iter().map(one).sum::<f32>() + SILENCE_EVEN
        }
    }

    /// What a decision needs, with what the attempts now under way tell: `waiting` are their readings and ages in seconds.
    pub fn outlook(&mut self, at_s: f64, waiting: impl Iterator<Item = (Reading, f64)>) -> FirstTokenOutlook {
        self.outlook_behind(at_s, waiting, false)
    }

    /// The same of an engine of our own, where others are `ahead` of who comes now, or nobody: how long their prompts take
    /// together is less certain than how long its own is read.
    #[expect(clippy::cast_possible_truncation, reason = "seconds and shares")]
    pub fn outlook_behind(
        &mut self,
        at_s: f64,
        waiting: impl Iterator<Item = (Reading, f64)>,
        ahead: bool,
    ) -> FirstTokenOutlook {
        self.pass(at_s);
        let cumulative = self.shape.cumulative();
        let mut level = self.level.clone();
        for (reading, age_s) in waiting {
            level.weigh(self.still_silent(&cumulative, reading, age_s));
        }
        let cumulative = self.waits.as_ref().filter(|_| ahead).map_or(cumulative, Shape::cumulative);
        let centre = level.mean_log();
        let mut within = Tables::up_to(self.prefill_luck as f32);
        for (log, weight) in level.points() {
            within.add(&cumulative, centre - log, weight);
        }
        FirstTokenOutlook {
            base_s: self.line.base_s() as f32,
            per_token_s: self.line.per_token_s() as f32,
            prefill_luck: self.prefill_luck as f32,
            level: centre.exp(),
            doubt: self.line.doubt(),
            within: within.done(),
        }
    }
}

/// Chance that a call is still silent at `ratio` of its expected time, the route being so many times `quicker` than usual.
fn survival(cumulative: &[f32; BINS + 1], ratio: f32, struck: f32, quicker: f32) -> f32 {
    let luck = 1.0 + (ratio * quicker - 1.0) / struck;
    if luck <= 0.08 {
        return 1.0;
    }
    let (bin, into) = place(fast_ln(luck));
    1.0 - (cumulative[bin] + (cumulative[bin + 1] - cumulative[bin]) * into)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lucks with median 1, in a fixed order that is no order.
    fn lucks() -> impl Iterator<Item = f64> {
        (0_u32..).map(|i| {
            let share = (f64::from(i.wrapping_mul(2_654_435_769) >> 8) + 0.5) / f64::from(1_u32 << 24);
            ((share - 0.5) * 1.2).exp()
        })
    }

    fn taught(base: f64, per_token: f64, calls: usize) -> FirstToken {
        let mut first = FirstToken::default();
        for (i, luck) in lucks().take(calls).enumerate() {
            let tokens = [100.0, 2_000.0, 9_000.0, 500.0][i % 4];
            #[expect(clippy::cast_precision_loss, reason = "small")]
            first.heard(i as f64, tokens, base * luck + per_token * tokens);
        }
        first
    }

    #[test]
    fn it_learns_base_slope_and_spread() {
        let outlook = taught(0.4, 0.05e-3, 2_000).outlook(2_000.0, std::iter::empty());
        for (tokens, time, least, most) in [
            (100.0, 0.41, 0.35, 0.65),
            (100.0, 0.75, 0.95, 1.0),
            (100.0, 0.22, 0.0, 0.06),
            (9_000.0, 0.86, 0.35, 0.65),
            (9_000.0, 1.3, 0.93, 1.0),
        ] {
            let within = outlook.within(time, tokens);
            assert!((least..=most).contains(&within), "{tokens} {time}: {within}");
        }
        let median = outlook.quantile_s(0.5, 100.0);
        assert!((0.35..0.47).contains(&median), "{median}");
    }

    #[test]
    fn a_quick_answer_to_a_short_prompt_makes_long_ones_no_slower() {
        let mut first = FirstToken::default();
        let before = first.line.per_token_s();
        (0..4_u8).for_each(|second| first.heard(f64::from(second), 60.0, 0.3));
        assert!(
            first.line.base_s() < 0.6 && (first.line.per_token_s() / before - 1.0).abs() < 0.05,
            "{first:?}"
        );
    }

    #[test]
    fn short_prompts_alone_say_nothing_wrong_of_long_ones() {
        let (base, per_token) = (0.5, 0.04e-3);
        // Long prompts for a while, and then for hours none, as where another route is preferred for them.
        for (long_until, long_each) in [(240, 3), (100, 10)] {
            let mut first = FirstToken::default();
            let mut off = 0.0;
            for (i, luck) in (0_u32..).zip(lucks().take(2_000)) {
                let tokens = if i < long_until && i % long_each == 0 { 100_000.0 } else { 60.0 };
                let expected = base + per_token * tokens;
                first.heard(f64::from(i) * 15.0, tokens, base * (luck - 1.0) + expected);
                off += (first.now_s(100_000.0) / (base + per_token * 100_000.0)).ln().abs() / 2_000.0;
            }
            assert!(off < 0.1, "{long_until}: off by {off} on average");
        }
    }

    #[test]
    fn how_much_of_luck_strikes_prompts_is_told_from_a_level_that_wanders() {
        for (truth, least, most) in [(0.0, 0.0, 0.1), (0.4, 0.25, 0.5)] {
            let mut first = FirstToken::default();
            for (i, luck) in (0_u32..).zip(lucks().take(1_500)) {
                let tokens = [60.0, 40_000.0, 2_000.0][i as usize % 3];
                let level = (0.2 * (f64::from(i) / 40.0).sin()).exp();
                let time_s = level * (0.5 * luck + 0.04e-3 * tokens * (1.0 + truth * (luck - 1.0)));
                first.heard(f64::from(i) * 8.0, tokens, time_s);
            }
            assert!((least..most).contains(&first.prefill_luck), "{truth}: {}", first.prefill_luck);
        }
    }

    #[test]
    fn who_is_asked_only_while_quick_is_not_thought_quick_by_habit() {
        let (base, per_token) = (0.5, 0.04e-3);
        let mut first = FirstToken::default();
        for (i, luck) in (0_u32..).zip(lucks().take(4_000)) {
            let log = 0.25 * (f64::from(i) / 120.0).sin();
            // Long prompts go there only in its quick hours, short ones always.
            let tokens = if log < -0.12 && i % 4 == 0 { 60_000.0 } else { 60.0 };
            first.heard(f64::from(i) * 8.0, tokens, log.exp() * (base * luck + per_token * tokens));
        }
        let off = (first.usual_s(60_000.0) / (base + per_token * 60_000.0)).ln();
        // In the hours in which it was asked it was quicker by e^0.19.
        assert!(off.abs() < 0.1, "off by {off}: {first:?}");
    }

    #[test]
    fn what_few_long_prompts_take_is_laid_to_the_line_where_the_line_is_not_known() {
        // A token takes twice and more what is assumed of a route.
        let (base, per_token) = (1.0, 0.067e-3);
        for few in 1..4 {
            let mut first = FirstToken::default();
            for (i, luck) in (0_u32..).zip(lucks().take(60 * (few + 1))) {
                let (tokens, luck) = if i > 59 && i % 60 == 0 { (60_000.0, 1.0) } else { (60.0, luck) };
                first.heard(f64::from(i) * 10.0, tokens, base * luck + per_token * tokens);
            }
            let off = (first.now_s(60_000.0) / (base + per_token * 60_000.0)).ln();
            assert!(off.abs() < 0.17, "ten minutes after {few}: off by {off}");
        }
    }

    #[test]
    fn a_minute_unheard_makes_a_steady_route_no_gamble() {
        let mut first = taught(0.4, 0.05e-3, 2_000);
        let mut late = |at_s: f64| 1.0 - first.outlook(at_s, std::iter::empty()).within(3.0, 9_000.0);
        let (before, after) = (late(2_000.0), late(2_060.0));
        assert!(after - before < 0.003, "{before} {after}");
    }

    #[test]
    fn what_a_cached_prompt_takes_on_our_own_hardware_is_not_its_few_tokens_doing() {
        for (time_s, tokens) in [(0.3, 1.0), (0.3, 12.0), (0.02, 1.0)] {
            let mut first = FirstToken::new(Prior::OWN);
            first.heard(1.0, tokens, time_s);
            let long_s = first.now_s(4_000.0);
            assert!(long_s < 1.5, "{time_s} for {tokens}: {long_s} for a long one");
        }
        // Of an engine that is slow, a prompt of some length says so at once.
        let mut slow = FirstToken::new(Prior::OWN);
        slow.heard(1.0, 400.0, 0.4);
        assert!((slow.now_s(4_000.0) - 3.0).abs() < 1.0, "{slow:?}");
    }

    #[test]
    fn silence_is_evidence_before_any_answer() {
        let mut first = taught(0.4, 0.05e-3, 500);
        let calm = first.outlook(500.0, std::iter::empty()).within(0.8, 100.0);
        let waiting = first
            .outlook(500.0, [2.0, 1.7, 1.5].into_iter().map(|age_s| (Reading::of(100.0), age_s)))
            .within(0.8, 100.0);
        assert!(calm > 0.9 && waiting < 0.4, "{calm} {waiting}");
        // It was a look, not a lesson.
        assert!(first.outlook(500.0, std::iter::empty()).within(0.8, 100.0) > 0.9);
    }
}
