//! What an admission asks of Redis, and what the answer says. Pure.

use std::sync::Arc;
use std::time::Duration;

use redis::{FromRedisValue, ParsingError, Value};

use crate::budget::demand::Left;
use crate::budget::{Budget, Concurrency, Demand, Rate, Refusal, Standing, Unit, Why, Window};
use crate::units::NanoUsd;

use super::keys;
use super::turns::turns;

const MINUTE_US: i64 = 60_000_000;

/// What every script answers: a word, numbers, and sometimes texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) word: String,
    pub(super) numbers: Vec<i64>,
    pub(super) texts: Vec<String>,
}

impl FromRedisValue for Answer {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let Value::Array(parts) = value else { return Err("no list".into()) };
        let mut parts = parts.into_iter();
        let word = String::from_redis_value(parts.next().unwrap_or(Value::Nil))?;
        let numbers = Vec::<i64>::from_redis_value(parts.next().unwrap_or(Value::Nil))?;
        let texts = parts.next().map_or(Ok(Vec::new()), Vec::<String>::from_redis_value)?;
        Ok(Self { word, numbers, texts })
    }
}

/// A budget that is asked, with the windows of which the store's clock picks one.
#[derive(Debug, Clone)]
pub(super) struct AskedBudget {
    pub(super) budget: Arc<Budget>,
    pub(super) span: i64,
    pub(super) windows: Vec<(Window, Arc<str>)>,
}
/// Everything that one demand asks for.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) budgets: Vec<AskedBudget>,
    pub(super) rates: Vec<(Arc<Rate>, Arc<str>)>,
    pub(super) places: Vec<(Arc<Concurrency>, Arc<str>)>,
}

impl Ask {
    /// What `demand` asks for at about `at` by the store's clock, in seconds since 1970.
    pub(super) fn new(demand: &Demand, at: i64) -> Self {
        let budgets = demand.budgets.iter().map(|budget| {
            let span = keys::span(budget);
            let windows = turns(&budget.calendar, at).into_iter();
            let named = windows.map(|window| (window, keys::balance(&budget.id, &budget.scope, window)));
            AskedBudget { budget: Arc::clone(budget), span, windows: named.collect() }
        });
        let budgets = budgets.collect();
        let rates = demand.rates.iter().map(|rate| (Arc::clone(rate), keys::rate(rate))).collect();
        let mut places: Vec<(Arc<Concurrency>, Arc<str>)> = Vec::with_capacity(demand.places.len());
        for bound in &demand.places {
            let key = keys::places(bound);
            match places.iter_mut().find(|(_, known)| *known == key) {
                // One request takes one place of a scope, however many bounds that has.
                Some((known, _)) if known.max <= bound.max => {}
                Some((known, _)) => *known = Arc::clone(bound),
                None => places.push((Arc::clone(bound), key)),
            }
        }
        Self { budgets, rates, places }
    }

    pub(super) fn keys(&self, first: [String; 2]) -> Vec<Arc<str>> {
        let balances =
            self.budgets.iter().flat_map(|asked| asked.windows.iter().map(|(_, key)| Arc::clone(key)));
        let rates = self.rates.iter().map(|(_, key)| Arc::clone(key));
        let places = self.places.iter().map(|(_, key)| Arc::clone(key));
        first.into_iter().map(Arc::from).chain(balances).chain(rates).chain(places).collect()
    }

    pub(super) fn arguments(&self, head: [String; 4], demand: &Demand) -> Vec<String> {
        let mut all = Vec::from(head);
        all.extend([hold_name(demand.id), demand.hold.0.to_string()]);
        all.extend([self.budgets.len(), self.rates.len(), self.places.len()].map(|count| count.to_string()));
        for asked in &self.budgets {
            let hard = u8::from(asked.budget.hard).to_string();
            all.extend([asked.budget.limit.0.to_string(), hard, asked.span.to_string()]);
            all.push(asked.windows.len().to_string());
            for (window, _) in &asked.windows {
                all.extend(
                    [window.start, window.end, keys::forgotten(*window)].map(|second| second.to_string()),
                );
            }
        }
        for (rate, _) in &self.rates {
            all.extend([rate.per_minute.to_string(), cost(rate, demand).to_string()]);
        }
        all.extend(self.places.iter().map(|(bound, _)| bound.max.to_string()));
        all
    }

    /// What an answer says; `None` if it cannot be one to this.
    pub(super) fn read(&self, answer: &Answer) -> Option<Verdict> {
        let [now, _, which, wait, told @ ..] = &answer.numbers[..] else { return None };
        let _ = now;
        let (by_budget, by_rate) = told.split_at_checked(self.budgets.len() * 4)?;
        if by_rate.len() != self.rates.len() {
            return None;
        }
        let levels: Vec<Level> = by_budget
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&[at, spent, held, slice]| Level {
                at: usize::try_from(at).unwrap_or(usize::MAX),
                spent,
                held,
                slice,
            })
            .collect();
        if levels.iter().zip(&self.budgets).any(|(level, asked)| level.at >= asked.windows.len()) {
            return None;
        }
        let lefts = self.rates.iter().zip(by_rate);
        let standing = standing(lefts.map(|((rate, _), ahead)| (&**rate, *ahead)));
        if answer.word == "ok" {
            return Some(Verdict { levels, standing, why: None });
        }
        let at = usize::try_from(*which).ok()?.checked_sub(1)?;
        let why = match &*answer.word {
            "budget" => {
                let (asked, level) = (self.budgets.get(at)?, levels.get(at)?);
                Why::Budget {
                    budget: Arc::clone(&asked.budget),
                    spent: NanoUsd(level.spent),
                    held: NanoUsd(level.held),
                }
            }
            "rate" => why_rate(&self.rates.get(at)?.0),
            "places" => why_places(&self.places.get(at)?.0),
            _ => return None,
        };
        let retry_after = u64::try_from(*wait).ok().map(Duration::from_micros);
        Some(Verdict { levels, standing, why: Some(Refusal { why, retry_after, standing }) })
    }
}

/// How a budget stands, as Redis said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    /// Which of the windows asked for is the present one.
    pub(super) at: usize,
    pub(super) spent: i64,
    pub(super) held: i64,
    /// What this replica still has of its slice.
    pub(super) slice: i64,
}

#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) levels: Vec<Level>,
    pub(super) standing: Standing,
    pub(super) why: Option<Refusal>,
}

pub(super) fn why_rate(rate: &Rate) -> Why {
    Why::Rate { scope: rate.scope.clone(), unit: rate.unit, per_minute: rate.per_minute }
}

pub(super) fn why_places(bound: &Concurrency) -> Why {
    Why::Places { scope: bound.scope.clone(), max: bound.max }
}

/// How much of a rate a demand asks for.
pub(super) fn cost(rate: &Rate, demand: &Demand) -> u64 {
    match rate.unit {
        Unit::Requests => 1,
        // One that is longer than a whole minute's worth may pass when nothing else does.
        Unit::Tokens => demand.tokens.min(rate.per_minute),
    }
}

/// The tightest of each unit, from how far ahead each rate's arrival time is of the clock, in microseconds.
pub(super) fn standing<'r>(rates: impl Iterator<Item = (&'r Rate, i64)>) -> Standing {
    let mut standing = Standing::default();
    for (rate, ahead) in rates {
        let free = u128::from((MINUTE_US - ahead).max(0).unsigned_abs()) * u128::from(rate.per_minute);
        let remaining = u64::try_from(free / u128::from(MINUTE_US.unsigned_abs())).unwrap_or(u64::MAX);
        let reset = Duration::from_micros(ahead.max(0).unsigned_abs());
        let left = Left { limit: rate.per_minute, remaining: remaining.min(rate.per_minute), reset };
        let place = match rate.unit {
            Unit::Requests => &mut standing.requests,
            Unit::Tokens => &mut standing.tokens,
        };
        if place.is_none_or(|known| left.remaining < known.remaining) {
            *place = Some(left);
        }
    }
    standing
}

/// A hold's name in Redis.
pub(super) fn hold_name(id: crate::budget::HoldId) -> String {
    format!("{:032x}", id.0)
}

/// And back.
pub(super) fn hold_id(name: &str) -> Option<crate::budget::HoldId> {
    u128::from_str_radix(name, 16).ok().map(crate::budget::HoldId)
}
