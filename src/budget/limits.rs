//! What the requests of one key, user, team or organisation count for, made once from what was granted.

use std::sync::Arc;

use crate::units::{NanoUsd, PicoUsd};

use super::line::{Budget, Concurrency, WhenSpent};
use super::rate::{Rate, Unit};
use super::scope::{Scope, ScopeKind};
use super::window::{Calendar, Period};

/// The largest budget: sums of it stay exact in every store, in whole nano-dollars.
pub const LIMIT_MAX: NanoUsd = NanoUsd(9_000_000_000_000_000);

/// Money granted for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// How much.
    pub limit: NanoUsd,
    /// For how long.
    pub calendar: Calendar,
    /// Whether it stops requests.
    pub hard: bool,
    /// What happens when it is spent.
    pub when_spent: WhenSpent,
}

/// Everything granted to one key, user, team or organisation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Money; at most one for each period.
    pub allowances: Vec<Allowance>,
    /// Requests a minute, above zero.
    pub rpm: Option<u64>,
    /// Prompt and answer tokens a minute, above zero.
    pub tpm: Option<u64>,
    /// Requests at once.
    pub concurrency: Option<u32>,
}

/// What somebody's requests count for, by handles that a [`Demand`](super::Demand) takes.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Budgets.
    pub budgets: Vec<Arc<Budget>>,
    /// Rates.
    pub rates: Vec<Arc<Rate>>,
    /// Bounds on requests at once.
    pub places: Vec<Arc<Concurrency>>,
}

impl Allowance {
    /// A hard one, after which requests are refused.
    pub const fn hard(limit: NanoUsd, calendar: Calendar) -> Self {
        Self { limit, calendar, hard: true, when_spent: WhenSpent::Reject }
    }

    /// The budget of this allowance for `scope`, with its place `id` in configuration and metrics.
    pub fn budget(&self, id: Arc<str>, scope: Scope) -> Budget {
        Budget {
            id,
            scope,
            limit: self.limit,
            calendar: self.calendar.clone(),
            hard: self.hard,
            when_spent: self.when_spent,
        }
    }
}

impl Limits {
    /// What the requests of the `kind` named `name` count for. Its budgets are called `kind/name`, further ones
    /// `kind/name/period`: the same over every reload.
    pub fn of(kind: ScopeKind, name: &Arc<str>, grant: &Grant) -> Self {
        let scope = Scope { kind, name: Arc::clone(name) };
        let place = format!("{}/{name}", kind.word());
        let periods = grant.allowances.iter().map(|allowance| allowance.calendar.period);
        let budget = |(id, allowance): (Arc<str>, &Allowance)| Arc::new(allowance.budget(id, scope.clone()));
        let rate = |unit, per_minute| Arc::new(Rate { scope: scope.clone(), unit, per_minute });
        let rpm = grant.rpm.map(|rpm| rate(Unit::Requests, rpm));
        let tpm = grant.tpm.map(|tpm| rate(Unit::Tokens, tpm));
        let at_once = grant.concurrency.map(|max| Arc::new(Concurrency { scope: scope.clone(), max }));
        Self {
            budgets: ids(&place, periods).into_iter().zip(&grant.allowances).map(budget).collect(),
            rates: rpm.into_iter().chain(tpm).collect(),
            places: at_once.into_iter().collect(),
        }
    }

    /// How many rates and bounds there are.
    pub fn bounds(&self) -> usize {
        self.rates.len() + self.places.len()
    }
}

/// Names for the budgets of one place: the first bears the place's own, the others their period too.
pub fn ids(place: &str, periods: impl Iterator<Item = Period>) -> Vec<Arc<str>> {
    let named = periods.enumerate().map(|(at, period)| match at {
        0 => place.into(),
        _ => format!("{place}/{period}").into(),
    });
    named.collect()
}

/// A limit as typed, in dollars. `None`: no number, negative, more than [`LIMIT_MAX`], or finer than a nano-dollar.
pub fn limit_from_usd(text: &str) -> Option<NanoUsd> {
    let amount = PicoUsd::from_usd_text(text).ok()?;
    let largest = i128::from(LIMIT_MAX.0) * 1_000;
    ((0..=largest).contains(&amount.0) && amount.0 % 1_000 == 0).then(|| amount.to_nanos())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn limits_are_read_to_the_nano_dollar() {
        assert_eq!(limit_from_usd("50"), Some(NanoUsd(50_000_000_000)));
        assert_eq!(limit_from_usd("0.000000001"), Some(NanoUsd(1)));
        assert_eq!(limit_from_usd("9000000"), Some(LIMIT_MAX));
        for odd in ["", "-1", "x", "0.0000000001", "9000000.000000001", "1e400", "NaN"] {
            assert_eq!(limit_from_usd(odd), None, "{odd}");
        }
    }

    #[test]
    fn what_is_granted_becomes_handles_with_names_that_last() {
        let month = Allowance::hard(NanoUsd(7), Calendar::utc(Period::Month));
        let day = Allowance::hard(NanoUsd(2), Calendar::utc(Period::Rolling(Duration::from_hours(24))));
        let grant = Grant { allowances: vec![month, day], rpm: Some(60), tpm: None, concurrency: Some(2) };
        let limits = Limits::of(ScopeKind::Key, &"alice".into(), &grant);
        let named: Vec<_> = limits.budgets.iter().map(|budget| (&*budget.id, budget.limit.0)).collect();
        assert_eq!(named, [("key/alice", 7), ("key/alice/24h", 2)]);
        assert!(limits.budgets.iter().all(|budget| budget.scope.to_string() == "key:alice" && budget.hard));
        assert_eq!((limits.rates.len(), limits.rates[0].unit), (1, Unit::Requests));
        assert_eq!((limits.places[0].max, limits.bounds()), (2, 2));
    }
}
