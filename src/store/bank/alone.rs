//! What a replica may do while Redis does not answer: nothing, what it has leased beforehand, or all.
//!
//! Rates and places go on in every case, each replica by its share of them: no replica ever has the whole of a limit while
//! there are others.

use std::time::Duration;

use crate::budget::{Demand, HoldId, OnStoreLoss, Refusal, Standing};
use crate::units::{NanoUsd, Now};

use super::account::Account;
use super::ask::{Ask, Level, cost, standing, why_places, why_rate};
use super::{Bank, State, lost, store_second};

const MINUTE_US: u64 = 60_000_000;

impl Bank {
    pub(super) fn admit_alone(&self, demand: &Demand, now: Now) -> Result<Standing, Refusal> {
        let mut inner = self.inner();
        // An open bank does not see what was admitted beside it.
        if inner.state == State::Open || is_refused(demand) {
            return Err(lost());
        }
        let at = store_second(now, inner.ahead);
        let ask = Ask::new(demand, at);
        let living = u64::from(inner.living.max(1));
        let account = &mut inner.account;
        let levels = levels(&ask, at).ok_or_else(lost)?;
        if demand.on_loss == OnStoreLoss::LocalShare {
            for (asked, level) in ask.budgets.iter().zip(&levels).filter(|(asked, _)| asked.budget.hard) {
                let (_, key) = &asked.windows[level.at];
                let left = account.balances.get(key).map_or(0, |balance| balance.left_alone(now.mono));
                if demand.hold.0 > left {
                    return Err(lost());
                }
            }
        }
        let standing = rates_alone(account, &ask, demand, living, now)?;
        for (bound, key) in &ask.places {
            let share = (u64::from(bound.max) / living).max(1);
            if account.places.get(key).copied().unwrap_or(0) >= share {
                let retry_after = Some(Duration::from_secs(1));
                return Err(Refusal { why: why_places(bound), retry_after, standing });
            }
        }
        for (rate, key) in &ask.rates {
            let tat = arrival(account, key, now) + span(rate.per_minute, living, cost(rate, demand));
            account.rates.insert(key.clone(), tat);
        }
        account.hold(demand, &ask, &levels, None);
        Ok(standing_alone(account, &ask, now))
    }

    pub(super) fn grow_alone(&self, id: HoldId, extra: NanoUsd, now: Now) -> bool {
        let mut inner = self.inner();
        let Some(held) = inner.account.holds.get(&id).cloned() else { return false };
        let fits = held.stakes.iter().all(|stake| {
            let hard = stake.budget.as_ref().is_none_or(|budget| budget.hard);
            let balance = inner.account.balances.get(&stake.key);
            match held.on_loss {
                OnStoreLoss::Allow => true,
                OnStoreLoss::Refuse => !hard,
                OnStoreLoss::LocalShare => {
                    !hard || balance.is_some_and(|balance| extra.0 <= balance.left_alone(now.mono))
                }
            }
        });
        if fits {
            inner.account.grow(id, extra, true);
        }
        fits
    }
}

/// Whether without Redis nothing of it may pass.
pub(super) fn is_refused(demand: &Demand) -> bool {
    demand.on_loss == OnStoreLoss::Refuse && demand.budgets.iter().any(|budget| budget.hard)
}

/// The windows of second `at`; `None` if a calendar has none.
fn levels(ask: &Ask, at: i64) -> Option<Vec<Level>> {
    let place = |asked: &super::ask::AskedBudget| {
        let at = asked.windows.iter().position(|(window, _)| window.start <= at && at < window.end)?;
        Some(Level { at, spent: 0, held: 0, slice: 0 })
    };
    ask.budgets.iter().map(place).collect()
}

fn rates_alone(
    account: &Account,
    ask: &Ask,
    demand: &Demand,
    living: u64,
    now: Now,
) -> Result<Standing, Refusal> {
    let here = now.mono.0 / 1_000;
    let standing = standing_alone(account, ask, now);
    for (rate, key) in &ask.rates {
        let cost = cost(rate, demand);
        let passed = arrival(account, key, now) + span(rate.per_minute, living, cost);
        if passed > here + MINUTE_US {
            let never = cost > rate.per_minute;
            let retry_after = (!never).then(|| Duration::from_micros(passed - here - MINUTE_US));
            return Err(Refusal { why: why_rate(rate), retry_after, standing });
        }
    }
    Ok(standing)
}

fn standing_alone(account: &Account, ask: &Ask, now: Now) -> Standing {
    let ahead = |key| i64::try_from(arrival(account, key, now) - now.mono.0 / 1_000).unwrap_or(i64::MAX);
    standing(ask.rates.iter().map(|(rate, key)| (&**rate, ahead(key))))
}

fn arrival(account: &Account, key: &std::sync::Arc<str>, now: Now) -> u64 {
    account.rates.get(key).copied().unwrap_or(0).max(now.mono.0 / 1_000)
}

/// How long `cost` takes at a replica's share of a rate, in microseconds.
fn span(per_minute: u64, living: u64, cost: u64) -> u64 {
    let span = u128::from(cost) * u128::from(MINUTE_US) * u128::from(living) / u128::from(per_minute.max(1));
    u64::try_from(span).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}
