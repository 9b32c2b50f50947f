//! A market as last week's access log shows it, so that an edit of a policy can be judged before it is rolled out.
//!
//! Of each route: how long first tokens took for prompts of which length, how that varied, how fast answers came, how often
//! attempts failed, what its cache gave back, and in which slots of time it was slower, dearer or down. What the log cannot
//! say is left at what is usual: a route that was not asked is not in the market, and one that was never pushed to its
//! limit has none.

mod fit;

use jiff::{SignedDuration, Timestamp};

use super::{
    Cache, Errors, FirstToken, Incident, IncidentKind, Limits, MarketRoute, Pace, Scenario, SloClass,
};
use crate::replay::trace::records::{Attempt, Records, Seen};
use crate::routing::Route;
use crate::units::{PicoUsd, Usage};
use fit::{Line, Sample, median};

/// Fewest timed answers from which a route's behaviour is read.
pub const ANSWERS_MIN: usize = 20;
/// How many slots a log is cut into, and the shortest one, in microseconds.
const SLOTS_MAX: u64 = 2016;
const SLOT_US_MIN: u64 = 300_000_000;
/// Fewest observations from which a slot's level is read.
const SLOT_SAMPLES_MIN: usize = 8;
/// By how much a slot must be off, as a factor, before it counts as another level or price.
const LEVEL_OFF: f64 = 1.25;
const PRICE_OFF: f64 = 1.02;
/// Fewest 429s that show a limit.
const LIMITED_MIN: usize = 3;
/// Longest gap after which a hit still says something about a cache, in seconds.
const TTL_S_MAX: f64 = 86_400.0;

/// A market, and what of the log did not get into it.
#[derive(Debug, Clone)]
pub struct Inferred {
    /// The market.
    pub scenario: Scenario,
    /// Routes that were asked too rarely, with how many timed answers each gave.
    pub too_rare: Vec<(Box<str>, usize)>,
    /// Routes that were asked and are not among those given: since removed, or renamed.
    pub unknown: Vec<Box<str>>,
}

/// The market that `records` show, of the `routes` of a snapshot. Requests are held to `slo`.
pub fn from_records(routes: &[Route], records: &Records, slo: SloClass) -> Inferred {
    let span_us = records.trace.span_us().max(1);
    let slot_us = (span_us / SLOTS_MAX).max(SLOT_US_MIN);
    let mut market = Inferred {
        scenario: Scenario {
            name: "records".to_owned(),
            about: format!(
                "What {} requests from {} on showed of the market",
                records.trace.arrivals.len(),
                records.begins
            ),
            begins: records.begins,
            slo,
            routes: Vec::new(),
            local: None,
            incidents: Vec::new(),
        },
        too_rare: Vec::new(),
        unknown: Vec::new(),
    };
    for (place, name) in records.routes.iter().enumerate() {
        let Some(route) = routes.iter().find(|route| *route.name == **name) else {
            market.unknown.push(name.clone());
            continue;
        };
        let attempts: Vec<&Attempt> =
            records.attempts.iter().filter(|attempt| attempt.route as usize == place).collect();
        let observed = Observed { route, attempts, begins: records.begins, span_us, slot_us };
        match observed.market_route() {
            Ok((seen, incidents)) => {
                market.scenario.routes.push(seen);
                market.scenario.incidents.extend(incidents);
            }
            Err(answers) => market.too_rare.push((name.clone(), answers)),
        }
    }
    market
}

/// All that was seen of one route.
struct Observed<'r> {
    route: &'r Route,
    attempts: Vec<&'r Attempt>,
    begins: Timestamp,
    span_us: u64,
    slot_us: u64,
}

impl Observed<'_> {
    /// The route's behaviour and incidents, or how many timed answers there were where that is too few.
    fn market_route(&self) -> Result<(MarketRoute, Vec<Incident>), usize> {
        let samples: Vec<Sample> = self.samples();
        if samples.len() < ANSWERS_MIN {
            return Err(samples.len());
        }
        let rough = Line::through(&samples);
        let levels = self
            .by_slot(samples.iter().map(|sample| (sample.at_us, sample.ttft_s / rough.at(sample.uncached))));
        let level_at =
            |at_us: u64| levels.iter().find(|level| level.holds(at_us)).map_or(1.0, |level| level.value);
        let steady: Vec<Sample> = samples
            .iter()
            .map(|sample| Sample { ttft_s: sample.ttft_s / level_at(sample.at_us), ..*sample })
            .collect();
        let line = Line::through(&steady);
        let down = self.down();
        let mut incidents: Vec<Incident> = Vec::new();
        let mut befall = |from_us: u64, to_us: u64, kind: IncidentKind| {
            let (from, to) = (self.share(from_us), self.share(to_us));
            incidents.push(Incident { route: self.route.name.to_string(), from, to, kind });
        };
        for level in levels.iter().filter(|level| is_off(level.value, LEVEL_OFF)) {
            befall(level.from_us, level.to_us, IncidentKind::Slow(level.value));
        }
        for (from_us, to_us) in &down {
            befall(*from_us, *to_us, IncidentKind::Down);
        }
        for price in self.prices().iter().filter(|price| is_off(price.value, PRICE_OFF)) {
            befall(price.from_us, price.to_us, IncidentKind::Price(price.value));
        }
        let seen = MarketRoute {
            route: self.route.clone(),
            first_token: FirstToken {
                rtt_s: 0.0,
                base_s: line.base_s,
                prefill_tokens_per_s: 1.0 / line.s_per_token,
                noise: line.noise(&steady),
                noise_sigma: 0.02,
                // The tail and the drift are in the noise and the slots already.
                tail_share: 0.0,
                tail_factor: 1.0,
                drift_sigma: 0.0,
                drift_relaxation_s: 900.0,
                day_amplitude: 0.0,
            },
            pace: self.pace(),
            errors: self.errors(&down),
            limits: self.limits(),
            cache: self.cache(),
            cancelled_prompt_billed: 1.0,
        };
        Ok((seen, incidents))
    }

    fn answers(&self) -> impl Iterator<Item = (&Attempt, &Usage, Option<f64>, Option<f64>, Option<PicoUsd>)> {
        self.attempts.iter().filter_map(|attempt| match &attempt.ended {
            Seen::Answered { usage, ttft_s, rest_s, cost } => {
                Some((*attempt, usage, *ttft_s, *rest_s, *cost))
            }
            Seen::Limited | Seen::Failed { .. } => None,
        })
    }

    fn samples(&self) -> Vec<Sample> {
        self.answers()
            .filter_map(|(attempt, usage, ttft_s, _, _)| {
                let ttft_s = ttft_s.filter(|seconds| *seconds > 0.0)?;
                Some(Sample { at_us: attempt.at_us, uncached: float(usage.prompt - usage.cached), ttft_s })
            })
            .collect()
    }

    /// The median of `values` in each slot that has enough of them, slots of about the same level joined.
    fn by_slot(&self, values: impl Iterator<Item = (u64, f64)>) -> Vec<Level> {
        let mut slots: std::collections::BTreeMap<u64, Vec<f64>> = std::collections::BTreeMap::new();
        for (at_us, value) in values {
            slots.entry(at_us / self.slot_us).or_default().push(value);
        }
        let mut levels: Vec<Level> = Vec::new();
        for (slot, mut values) in slots {
            if values.len() < SLOT_SAMPLES_MIN {
                continue;
            }
            let value = median(&mut values).unwrap_or(1.0);
            let (from_us, to_us) = (slot * self.slot_us, (slot + 1) * self.slot_us);
            match levels.last_mut().filter(|last| last.to_us == from_us && !is_off(value / last.value, 1.1)) {
                Some(last) => last.to_us = to_us,
                None => levels.push(Level { from_us, to_us, value }),
            }
        }
        levels
    }

    /// Slots in which most attempts failed, neighbours joined.
    fn down(&self) -> Vec<(u64, u64)> {
        let mut slots: std::collections::BTreeMap<u64, (usize, usize)> = std::collections::BTreeMap::new();
        for attempt in &self.attempts {
            let (all, failed) = slots.entry(attempt.at_us / self.slot_us).or_default();
            *all += 1;
            *failed += usize::from(matches!(attempt.ended, Seen::Failed { .. }));
        }
        let mut down: Vec<(u64, u64)> = Vec::new();
        for (slot, (all, failed)) in slots {
            if all < SLOT_SAMPLES_MIN || failed * 2 < all {
                continue;
            }
            let (from_us, to_us) = (slot * self.slot_us, (slot + 1) * self.slot_us);
            match down.last_mut().filter(|(_, end)| *end == from_us) {
                Some((_, end)) => *end = to_us,
                None => down.push((from_us, to_us)),
            }
        }
        down
    }

    /// What was charged, relative to what the route's card says now.
    #[expect(clippy::cast_precision_loss, reason = "a ratio of two charges, not an amount")]
    fn prices(&self) -> Vec<Level> {
        let Some(card) = &self.route.price else { return Vec::new() };
        let ratios = self.answers().filter_map(|(attempt, usage, _, _, cost)| {
            let since = SignedDuration::from_micros(i64::try_from(attempt.at_us).ok()?);
            let at = self.begins.checked_add(since).ok()?;
            let ours = card.cost_of(usage, at).total().0;
            (ours > 0).then_some((attempt.at_us, cost?.0 as f64 / ours as f64))
        });
        self.by_slot(ratios)
    }

    fn pace(&self) -> Pace {
        let mut logs: Vec<f64> = self
            .answers()
            .filter_map(|(_, usage, _, rest_s, _)| {
                let rest_s = rest_s.filter(|seconds| *seconds > 0.0)?;
                (usage.completion >= 16).then(|| (float(usage.completion - 1) / rest_s).ln())
            })
            .collect();
        let middle = median(&mut logs).unwrap_or_else(|| 60_f64.ln());
        // The quartiles of a normal distribution are 1.349 spreads apart.
        let quarter = |part: usize| logs.get(logs.len() * part / 4).copied().unwrap_or(middle);
        Pace {
            tokens_per_s: middle.exp(),
            noise_sigma: (quarter(3) - quarter(1)).max(0.0) / 1.349,
            stall_share: 0.0,
            stall_s: 0.0,
        }
    }

    /// Failures outside the slots in which the route was down.
    fn errors(&self, down: &[(u64, u64)]) -> Errors {
        let is_up =
            |attempt: &&&Attempt| !down.iter().any(|(from, to)| (*from..*to).contains(&attempt.at_us));
        let up: Vec<&&Attempt> = self.attempts.iter().filter(is_up).collect();
        let failed = up.iter().filter(|attempt| matches!(attempt.ended, Seen::Failed { .. })).count();
        let quick = up.iter().filter(|attempt| attempt.ended == Seen::Failed { quick: true }).count();
        let share = |part: usize, whole: usize| float(part as u64) / float(whole.max(1) as u64);
        Errors {
            share: share(failed, up.len()),
            quick_share: if failed > 0 { share(quick, failed) } else { 0.7 },
            quick_s: 0.3,
        }
    }

    /// Where there were 429s, the most that was served in ten seconds is about what the route takes.
    fn limits(&self) -> Limits {
        let limited = self.attempts.iter().filter(|attempt| attempt.ended == Seen::Limited).count();
        let mut windows: std::collections::BTreeMap<u64, f64> = std::collections::BTreeMap::new();
        for (attempt, usage, ..) in self.answers() {
            *windows.entry(attempt.at_us / 10_000_000).or_default() += float(usage.prompt - usage.cached);
        }
        let most = windows.values().copied().fold(0.0, f64::max) / 10.0;
        Limits {
            uncached_per_s: (limited >= LIMITED_MIN && most > 0.0).then_some(most),
            burst_s: 10.0,
            refusal_s: 0.08,
            says_retry_after: true,
            ..Limits::default()
        }
    }

    /// What came back from the cache: of the prompts that grew from the last one of the same key on this route.
    fn cache(&self) -> Option<Cache> {
        let mut last: std::collections::HashMap<u32, (u64, u64)> = std::collections::HashMap::new();
        let (mut chances, mut hits) = (0_u32, 0_u32);
        let mut pauses: Vec<f64> = Vec::new();
        let mut granularity = 0;
        for (attempt, usage, ..) in self.answers() {
            let before = last.insert(attempt.key, (attempt.at_us, usage.prompt));
            granularity = common_divisor(granularity, usage.cached);
            let Some((at_us, prompt)) = before.filter(|(_, prompt)| usage.prompt >= *prompt) else {
                continue;
            };
            let apart_s = float(attempt.at_us - at_us) / 1e6;
            // Half of the earlier prompt is more than a system prompt that everyone shares.
            let is_hit = usage.cached * 2 >= prompt;
            if is_hit && apart_s <= TTL_S_MAX {
                pauses.push(apart_s);
            }
            if apart_s <= 120.0 {
                chances += 1;
                hits += u32::from(is_hit);
            }
        }
        let all_cached: u64 = self.answers().map(|(_, usage, ..)| usage.cached).sum();
        pauses.sort_by(f64::total_cmp);
        let longest = pauses.get((pauses.len() * 95 / 100).min(pauses.len().saturating_sub(1))).copied();
        (all_cached > 0).then(|| Cache {
            ttl_s: longest.unwrap_or(300.0).max(60.0),
            honoured: if chances > 0 { f64::from(hits) / f64::from(chances) } else { 0.75 },
            granularity_tokens: u32::try_from(granularity).unwrap_or(64).clamp(1, 1024),
        })
    }

    fn share(&self, at_us: u64) -> f64 {
        (float(at_us) / float(self.span_us)).clamp(0.0, 1.0)
    }
}

/// A value that holds for a time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Level {
    from_us: u64,
    to_us: u64,
    value: f64,
}

impl Level {
    fn holds(&self, at_us: u64) -> bool {
        (self.from_us..self.to_us).contains(&at_us) && is_off(self.value, LEVEL_OFF)
    }
}

/// Whether `ratio` is further from one than `factor`, either way.
fn is_off(ratio: f64, factor: f64) -> bool {
    ratio > factor || ratio < 1.0 / factor
}

fn common_divisor(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { common_divisor(other, one % other) }
}

#[expect(clippy::cast_precision_loss, reason = "tokens and microseconds of a log fit a float's 53 bits")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests;
