//! Balances, rates and places of one process: whether a demand may be held, and what becomes of it. Pure state, exact, and
//! without a clock of its own.
//!
//! All or nothing of a demand is granted; what is refused costs nothing. A hold is settled exactly once, in the window in which
//! it was admitted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::units::{NanoUsd, Now};

use super::demand::{Demand, HoldId, Left, Refusal, Standing, Why};
use super::line::Budget;
use super::rate::{Rate, Unit};
use super::scope::Scope;
use super::window::{Period, Window};

/// How far what is spent has come, in percent of the limit, when somebody should hear of it.
pub const THRESHOLDS: [u8; 3] = [50, 80, 100];
/// A clock may be set back so far, in seconds, and finds every balance of the calendar as it was.
const SET_BACK: i64 = 3 * 3_600;
/// And so far, every part of a rolling one: parts may be as short as a second, and all that are kept are looked at.
const ROLLING_SET_BACK: i64 = 600;
/// Balances and rates are looked through for old ones whenever so many more have come.
const TIDY_EVERY: usize = 256;

/// The state.
#[derive(Debug, Default)]
pub struct Book {
    accounts: HashMap<Name, Account>,
    rates: HashMap<(Scope, Unit), i128>,
    places: HashMap<Scope, u32>,
    holds: HashMap<HoldId, Hold>,
    /// How many balances and rates there were when they were last looked through.
    known: usize,
}

/// Names a budget of one scope.
type Name = (Arc<str>, Scope);

/// One budget of one scope, in the windows that still count.
#[derive(Debug, Default)]
struct Account {
    /// As it was last asked for; none yet for one that was only loaded.
    budget: Option<Arc<Budget>>,
    /// Whether it is shown though nothing was spent of it.
    known: bool,
    windows: SmallVec<[Balance; 2]>,
}

/// What is spent and held in one window.
#[derive(Debug, Clone, Copy)]
struct Balance {
    window: Window,
    spent: i64,
    held: i64,
    /// Holds in it, those of nothing too: each of them may grow yet.
    holds: u32,
}

#[derive(Debug)]
struct Hold {
    amount: i64,
    tokens: u64,
    lines: SmallVec<[(Arc<Budget>, Window); 4]>,
    rates: SmallVec<[Arc<Rate>; 4]>,
    places: SmallVec<[Scope; 4]>,
}

/// A budget as it stands.
#[derive(Debug, Clone)]
pub struct Level {
    /// Which.
    pub budget: Arc<Budget>,
    /// Spent in what counts now.
    pub spent: NanoUsd,
    /// Held by requests under way.
    pub held: NanoUsd,
    /// When the window ends, in seconds since 1970.
    pub ends: i64,
}

/// A budget of which so much is spent now, and was not before.
#[derive(Debug, Clone)]
pub struct Crossed {
    /// Which.
    pub budget: Arc<Budget>,
    /// One of [`THRESHOLDS`].
    pub percent: u8,
}

/// What settling a hold brought about.
#[derive(Debug, Clone, Default)]
pub struct Settled {
    /// Whether it was held: the second time it is not.
    pub was_held: bool,
    /// Budgets that have passed a threshold by it.
    pub crossed: SmallVec<[Crossed; 1]>,
}

impl Account {
    /// Spent and held in what counts at `now`.
    fn counting(&self, budget: &Budget, now: Now) -> (i64, i64) {
        let counting = self.windows.iter().filter(|one| budget.calendar.counts(one.window, now.wall));
        counting.fold((0, 0), |(spent, held), one| {
            (i64::saturating_add(spent, one.spent), i64::saturating_add(held, one.held))
        })
    }

    /// Forgets old windows when a new one begins, but for those that a clock set back would find itself in.
    fn forget(&mut self, budget: &Budget, begun: Window, now: Now) {
        if self.windows.iter().any(|one| one.window == begun) {
            return;
        }
        let back = match budget.calendar.period {
            period @ Period::Rolling(_) => set_back(period),
            period => set_back(period).max(begun.end.saturating_sub(begun.start)),
        };
        self.retain(budget, now.wall.as_second().saturating_sub(back));
    }

    /// Keeps what counts at `second` or later, what holds stand in, and of a rolling budget what counted beside that when it was
    /// admitted: it may grow yet.
    fn retain(&mut self, budget: &Budget, second: i64) {
        let calendar = &budget.calendar;
        let held = self.windows.iter().filter(|one| one.holds > 0).map(|one| one.window.start);
        let since = match calendar.period {
            Period::Rolling(_) => held.min().map_or(second, |start| start.min(second)),
            _ => second,
        };
        self.windows.retain(|one| one.holds > 0 || since < calendar.counts_until(one.window));
    }

    /// The most that is spent and held in any span that counts `window`: there what is held more must fit.
    fn most(&self, budget: &Budget, window: Window) -> i64 {
        let calendar = &budget.calendar;
        let counts_in = |one: Window, view: Window| match calendar.period {
            Period::Rolling(_) => one.start <= view.start && view.start < calendar.counts_until(one),
            _ => one == view,
        };
        let views = self.windows.iter().map(|one| one.window).filter(|view| counts_in(window, *view));
        let sums = views.map(|view| {
            let counting = self.windows.iter().filter(|one| counts_in(one.window, view));
            counting.fold(0, |sum: i64, one| sum.saturating_add(one.spent).saturating_add(one.held))
        });
        sums.max().unwrap_or(0)
    }

    /// Until so much of what is spent counts no more that `hold` fits beside the rest. What others hold may be given back at any
    /// moment, so it is never waited for longer than a moment.
    fn until_room(&self, budget: &Budget, hold: NanoUsd, now: Now) -> Duration {
        let (calendar, second) = (&budget.calendar, now.wall.as_second());
        let mut counting: SmallVec<[&Balance; 2]> =
            self.windows.iter().filter(|one| calendar.counts(one.window, now.wall)).collect();
        counting.sort_by_key(|one| one.window.end);
        let room = budget.limit.0.saturating_sub(hold.0);
        let mut spent = counting.iter().fold(0_i64, |sum, one| sum.saturating_add(one.spent));
        let mut until = second;
        for one in counting {
            if spent <= room {
                break;
            }
            spent -= one.spent;
            until = calendar.counts_until(one.window);
        }
        Duration::from_secs(u64::try_from(until.saturating_sub(second)).unwrap_or(0)).max(MOMENT)
    }

    fn balance(&mut self, window: Window) -> &mut Balance {
        let place = self.windows.iter().position(|one| one.window == window).unwrap_or_else(|| {
            self.windows.push(Balance { window, spent: 0, held: 0, holds: 0 });
            self.windows.len() - 1
        });
        &mut self.windows[place]
    }
}

impl Book {
    /// Holds all that `demand` asks for, or says why nothing is held. Of several reasons the one that lasts longest is told.
    pub fn admit(&mut self, demand: &Demand, now: Now) -> Result<Standing, Refusal> {
        let clock = i128::from(now.mono.0);
        if let Some((why, retry_after)) = self.longest_refusal(demand, now) {
            return Err(Refusal { why, retry_after, standing: self.standing(demand, clock) });
        }
        for rate in &demand.rates {
            let tat = self.tat(rate);
            // It was looked at just now, and nothing came between.
            if let Ok(after) = rate.take(tat, clock, asked(demand, rate)) {
                self.rates.insert((rate.scope.clone(), rate.unit), after);
            }
        }
        for place in &demand.places {
            *self.places.entry(place.scope.clone()).or_default() += 1;
        }
        let mut lines = SmallVec::new();
        for budget in &demand.budgets {
            let window = budget.calendar.window(now.wall);
            let account = self.accounts.entry(name(budget)).or_default();
            account.budget = Some(Arc::clone(budget));
            account.forget(budget, window, now);
            let balance = account.balance(window);
            balance.held = balance.held.saturating_add(demand.hold.0);
            balance.holds += 1;
            lines.push((Arc::clone(budget), window));
        }
        let standing = self.standing(demand, clock);
        self.holds.insert(
            demand.id,
            Hold {
                amount: demand.hold.0,
                tokens: demand.tokens,
                lines,
                rates: demand.rates.iter().cloned().collect(),
                places: demand.places.iter().map(|place| place.scope.clone()).collect(),
            },
        );
        if self.accounts.len() + self.rates.len() > self.known + TIDY_EVERY {
            self.tidy(now);
        }
        Ok(standing)
    }

    /// Gives back what is held beyond `amount`. A hold never grows by this.
    pub fn shrink(&mut self, id: HoldId, amount: NanoUsd) {
        let Some(hold) = self.holds.get_mut(&id) else { return };
        let back = hold.amount.saturating_sub(amount.0.max(0));
        if back <= 0 {
            return;
        }
        hold.amount -= back;
        for (budget, window) in &hold.lines {
            if let Some(account) = self.accounts.get_mut(&name(budget)) {
                account.balance(*window).held -= back;
            }
        }
    }

    /// Holds `extra` more, all of it or nothing. Whether it is held.
    pub fn grow(&mut self, id: HoldId, extra: NanoUsd) -> bool {
        let Some(one) = self.holds.get_mut(&id) else { return false };
        // In the windows in which it was admitted, whatever turn it is by now.
        let fits = one.lines.iter().filter(|(budget, _)| budget.hard).all(|(budget, window)| {
            let taken = self.accounts.get(&name(budget)).map_or(0, |account| account.most(budget, *window));
            taken.saturating_add(extra.0.max(0)) <= budget.limit.0
        });
        if fits {
            one.amount = one.amount.saturating_add(extra.0);
            for (budget, window) in &one.lines {
                if let Some(account) = self.accounts.get_mut(&name(budget)) {
                    let balance = account.balance(*window);
                    balance.held = balance.held.saturating_add(extra.0);
                }
            }
        }
        fits
    }

    /// Puts `charged` in the place of what was held, also where it is more, and sets the rates of tokens right. Exactly once:
    /// what is not held any more changes nothing.
    pub fn settle(&mut self, id: HoldId, charged: NanoUsd, tokens: u64, now: Now) -> Settled {
        let Some(hold) = self.holds.remove(&id) else { return Settled::default() };
        let mut crossed = SmallVec::new();
        for (budget, window) in &hold.lines {
            let Some(account) = self.accounts.get_mut(&name(budget)) else { continue };
            let before = account.counting(budget, now).0;
            let balance = account.balance(*window);
            balance.held -= hold.amount;
            balance.holds = balance.holds.saturating_sub(1);
            balance.spent = balance.spent.saturating_add(charged.0.max(0));
            let after = account.counting(budget, now).0;
            let passed = THRESHOLDS.into_iter().rev().find(|percent| {
                let at = i128::from(budget.limit.0) * i128::from(*percent);
                i128::from(before) * 100 < at && at <= i128::from(after) * 100
            });
            crossed.extend(passed.map(|percent| Crossed { budget: Arc::clone(budget), percent }));
        }
        let clock = i128::from(now.mono.0);
        for rate in hold.rates.iter().filter(|rate| rate.unit == Unit::Tokens) {
            let more = rate.span(tokens) - rate.span(hold.tokens.min(rate.per_minute));
            let before = self.tat(rate);
            let key = (rate.scope.clone(), rate.unit);
            // What was taken beyond what was asked for is owed from now on: nobody has saved up for it.
            let after = if more > 0 { before.max(clock) + more } else { before + more };
            if after > clock {
                self.rates.insert(key, after);
            } else {
                // It is whole again.
                self.rates.remove(&key);
            }
        }
        for scope in &hold.places {
            if let Some(taken) = self.places.get_mut(scope) {
                *taken = taken.saturating_sub(1);
                if *taken == 0 {
                    self.places.remove(scope);
                }
            }
        }
        Settled { was_held: true, crossed }
    }

    /// Goes on from what was spent before this process began.
    pub fn load(&mut self, budget: &Arc<str>, scope: &Scope, window: Window, spent: NanoUsd) {
        let account = self.accounts.entry((Arc::clone(budget), scope.clone())).or_default();
        let balance = account.balance(window);
        balance.spent = balance.spent.saturating_add(spent.0);
    }

    /// A budget that is shown among the levels from now on, whether anything was spent of it or not.
    pub fn know(&mut self, budget: &Arc<Budget>) {
        let account = self.accounts.entry(name(budget)).or_default();
        (account.budget, account.known) = (Some(Arc::clone(budget)), true);
    }

    /// Those and no others are shown though nothing was spent of them. What was shown so and is no longer is not shown at all until
    /// it is asked for again; what was spent of it stays counted.
    pub fn know_only(&mut self, budgets: &[Arc<Budget>]) {
        for account in self.accounts.values_mut().filter(|account| account.known) {
            (account.budget, account.known) = (None, false);
        }
        for budget in budgets {
            self.know(budget);
        }
        self.accounts.retain(|_, account| account.known || !account.windows.is_empty());
    }

    /// Every budget that was asked for as it stands.
    pub fn levels(&self, now: Now) -> Vec<Level> {
        let level = |account: &Account| {
            let budget = account.budget.clone()?;
            let (spent, held) = account.counting(&budget, now);
            let ends = budget.calendar.window(now.wall).end;
            Some(Level { spent: NanoUsd(spent), held: NanoUsd(held), ends, budget })
        };
        let mut levels: Vec<Level> = self.accounts.values().filter_map(level).collect();
        levels.sort_by(|a, b| (&a.budget.id, &a.budget.scope).cmp(&(&b.budget.id, &b.budget.scope)));
        levels
    }

    /// How many requests hold something.
    pub fn holds(&self) -> usize {
        self.holds.len()
    }

    fn longest_refusal(&self, demand: &Demand, now: Now) -> Option<(Why, Option<Duration>)> {
        let clock = i128::from(now.mono.0);
        let mut worst: Option<(Why, Option<Duration>)> = None;
        let mut refuse = |why: Why, wait: Option<Duration>| {
            let longer = worst.as_ref().is_none_or(|(_, known)| match (known, wait) {
                (Some(known), Some(wait)) => wait > *known,
                (Some(_), None) => true,
                (None, _) => false,
            });
            if longer {
                worst = Some((why, wait));
            }
        };
        for place in &demand.places {
            if self.places.get(&place.scope).is_some_and(|taken| *taken >= place.max) || place.max == 0 {
                refuse(Why::Places { scope: place.scope.clone(), max: place.max }, Some(MOMENT));
            }
        }
        for rate in &demand.rates {
            if let Err(wait) = rate.take(self.tat(rate), clock, asked(demand, rate)) {
                let (scope, unit, per_minute) = (rate.scope.clone(), rate.unit, rate.per_minute);
                refuse(Why::Rate { scope, unit, per_minute }, wait);
            }
        }
        for budget in demand.budgets.iter().filter(|budget| budget.hard) {
            let account = self.accounts.get(&name(budget));
            let (spent, held) = account.map_or((0, 0), |account| account.counting(budget, now));
            if spent.saturating_add(held).saturating_add(demand.hold.0) > budget.limit.0 {
                let why =
                    Why::Budget { budget: Arc::clone(budget), spent: NanoUsd(spent), held: NanoUsd(held) };
                let wait = (demand.hold <= budget.limit)
                    .then(|| account.map_or(MOMENT, |account| account.until_room(budget, demand.hold, now)));
                refuse(why, wait);
            }
        }
        worst
    }

    fn tat(&self, rate: &Rate) -> i128 {
        self.rates.get(&(rate.scope.clone(), rate.unit)).copied().unwrap_or(0)
    }

    /// What is left of the tightest rate of each unit.
    fn standing(&self, demand: &Demand, clock: i128) -> Standing {
        let tightest = |unit: Unit| -> Option<Left> {
            let lefts = demand.rates.iter().filter(|rate| rate.unit == unit);
            lefts.map(|rate| rate.left(self.tat(rate), clock)).min_by_key(|left| left.remaining)
        };
        Standing { requests: tightest(Unit::Requests), tokens: tightest(Unit::Tokens) }
    }

    /// Forgets windows that count for no clock that may be found, and in which nothing is held, and rates that are whole again.
    fn tidy(&mut self, now: Now) {
        let clock = i128::from(now.mono.0);
        self.accounts.retain(|_, account| {
            let Some(budget) = &account.budget else { return true };
            let budget = Arc::clone(budget);
            account.retain(&budget, now.wall.as_second().saturating_sub(set_back(budget.calendar.period)));
            account.known || !account.windows.is_empty()
        });
        self.rates.retain(|_, tat| *tat > clock);
        self.known = self.accounts.len() + self.rates.len();
    }
}

const fn set_back(period: Period) -> i64 {
    match period {
        Period::Rolling(_) => ROLLING_SET_BACK,
        _ => SET_BACK,
    }
}

/// The wait where only another's end helps.
const MOMENT: Duration = Duration::from_secs(1);

fn name(budget: &Budget) -> Name {
    (Arc::clone(&budget.id), budget.scope.clone())
}

fn asked(demand: &Demand, rate: &Rate) -> u64 {
    match rate.unit {
        Unit::Requests => 1,
        // One that is longer than a whole minute's worth may pass when nothing else does.
        Unit::Tokens => demand.tokens.min(rate.per_minute),
    }
}

#[cfg(test)]
mod tests;
