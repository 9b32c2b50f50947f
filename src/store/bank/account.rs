//! What this replica knows of its own money: what it holds, and what it has spent of each balance. Redis is told of it and
//! may forget it; this and the ledger under it do not. Pure: time comes in.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::budget::book::THRESHOLDS;
use crate::budget::{Budget, Crossed, Demand, HoldId, OnStoreLoss, Settled};
use crate::ledger::Line;
use crate::units::{Mono, NanoUsd};

use super::ask::{Ask, Level};
use super::keys;

/// One hold's part in a balance.
#[derive(Debug, Clone)]
pub(super) struct Stake {
    pub(super) key: Arc<str>,
    /// The budget; none for what was inherited.
    pub(super) budget: Option<Arc<Budget>>,
}

/// A hold that is open.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    pub(super) amount: i64,
    pub(super) stakes: Vec<Stake>,
    pub(super) places: Vec<Arc<str>>,
    /// Rates of tokens: the key, how many a minute, how many were asked for.
    pub(super) tokens: Vec<(Arc<str>, u64, u64)>,
    /// It was admitted without Redis, which does not know of it.
    pub(super) alone: bool,
    /// So much of it stands in what this replica spends alone.
    pub(super) alone_amount: i64,
    pub(super) inherited: bool,
    /// It counts for nothing that Redis keeps, which was never told of it.
    pub(super) free: bool,
    pub(super) on_loss: OnStoreLoss,
}

impl Held {
    /// As it is written to Redis.
    pub(super) fn record(&self) -> String {
        let mut text = format!("{}\n", self.amount);
        if self.inherited {
            text.push_str("i\n");
        }
        for stake in &self.stakes {
            text.extend(["b", &stake.key, "\n"]);
        }
        for key in &self.places {
            text.extend(["p", key, "\n"]);
        }
        text
    }

    /// Reads what a replica wrote; `None` if no replica wrote that.
    pub(super) fn read(record: &str) -> Option<Self> {
        let mut lines = record.lines();
        let amount = lines.next()?.parse().ok()?;
        let mut held = Self { amount, ..Self::default() };
        for line in lines {
            match line.split_at_checked(1)? {
                ("i", _) => held.inherited = true,
                ("b", key) => held.stakes.push(Stake { key: key.into(), budget: None }),
                ("p", key) => held.places.push(key.into()),
                _ => return None,
            }
        }
        Some(held)
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        self.stakes.iter().filter_map(|stake| Some(keys::parse_balance(&stake.key)?.0)).collect()
    }
}

/// A balance as this replica knows it.
#[derive(Debug, Clone)]
pub(super) struct Balance {
    pub(super) line: Line,
    pub(super) forgotten: i64,
    /// What this replica has spent, by its own ledger.
    pub(super) spent: i64,
    /// The budget as last asked for.
    pub(super) budget: Option<Arc<Budget>>,
    /// What all replicas have spent and hold, as last heard, in nano-dollars.
    pub(super) heard: (i64, i64),
    /// What this replica may spend alone until then, and what of it is spent or held.
    pub(super) slice: i64,
    pub(super) slice_until: Mono,
    /// As of which sequence number.
    pub(super) slice_as_of: i64,
    pub(super) alone: i64,
    /// Until then a slice is leased of it, since requests of a policy that spends from slices count here.
    pub(super) shares_until: Mono,
    /// The highest threshold that was told.
    told: u8,
}

impl Balance {
    /// What this replica may still spend without Redis.
    pub(super) fn left_alone(&self, now: Mono) -> i64 {
        if now < self.slice_until { self.slice.saturating_sub(self.alone).max(0) } else { 0 }
    }

    /// The highest threshold that this replica's word brings what is spent past, if nobody here was told of it.
    fn crossed(&mut self) -> Option<Crossed> {
        let budget = self.budget.clone()?;
        let reached = |percent: &u8| {
            i128::from(budget.limit.0) * i128::from(*percent) <= i128::from(self.heard.0) * 100
        };
        let percent = THRESHOLDS.into_iter().rev().find(reached).filter(|percent| *percent > self.told)?;
        self.told = percent;
        Some(Crossed { budget, percent })
    }
}

/// Something that Redis is yet to be told of a hold.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) id: HoldId,
    /// What it holds from now on; `None`: it is over.
    pub(super) rest: Option<i64>,
    /// Keys that are touched.
    pub(super) keys: Vec<Arc<str>>,
    /// Balances whose totals are told again.
    pub(super) totals: Vec<Arc<str>>,
    /// Rates of tokens with how many more were used than asked for.
    pub(super) tokens: Vec<(Arc<str>, u64, i64)>,
}

/// What one replica knows.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) holds: HashMap<HoldId, Held>,
    pub(super) balances: HashMap<Arc<str>, Balance>,
    /// Places taken by open holds, of every bound that this process has ever taken one of.
    pub(super) places: HashMap<Arc<str>, u64>,
    pub(super) changes: Vec<Change>,
    /// Holds of the dead that were charged here: Redis may not know it yet.
    charged: HashSet<HoldId>,
    /// Rates while it is alone: the arrival time by this process's own clock, in microseconds.
    pub(super) rates: HashMap<Arc<str>, u64>,
    /// Budgets that are shown though nothing was spent of them.
    known: Vec<Arc<Budget>>,
}

impl Account {
    /// The balance of this name.
    pub(super) fn balance(&mut self, key: &Arc<str>) -> Option<&mut Balance> {
        if !self.balances.contains_key(key) {
            let (line, forgotten) = keys::parse_balance(key)?;
            let balance = Balance {
                line,
                forgotten,
                spent: 0,
                budget: None,
                heard: (0, 0),
                slice: 0,
                slice_until: Mono(0),
                slice_as_of: 0,
                alone: 0,
                shares_until: Mono(0),
                told: 0,
            };
            self.balances.insert(Arc::clone(key), balance);
        }
        self.balances.get_mut(key)
    }

    /// Puts a hold there that was admitted in the windows that `levels` tell, under this sequence number; `None`: without
    /// Redis, and `levels` tell the windows only.
    pub(super) fn hold(&mut self, demand: &Demand, ask: &Ask, levels: &[Level], sequence: Option<i64>) {
        let mut stakes = Vec::with_capacity(ask.budgets.len());
        for (asked, level) in ask.budgets.iter().zip(levels) {
            let Some((_, key)) = asked.windows.get(level.at) else { continue };
            if let Some(balance) = self.balance(key) {
                balance.budget = Some(Arc::clone(&asked.budget));
                if let Some(sequence) = sequence {
                    balance.heard = (level.spent, level.held + demand.hold.0);
                    balance.slice = balance.slice.min(level.slice);
                    balance.slice_as_of = balance.slice_as_of.max(sequence);
                } else {
                    balance.alone += demand.hold.0;
                }
            }
            stakes.push(Stake { key: Arc::clone(key), budget: Some(Arc::clone(&asked.budget)) });
        }
        let places: Vec<_> = ask.places.iter().map(|(_, key)| Arc::clone(key)).collect();
        for key in &places {
            *self.places.entry(Arc::clone(key)).or_default() += 1;
        }
        let tokens = ask.rates.iter().filter(|(rate, _)| rate.unit == crate::budget::Unit::Tokens);
        let tokens = tokens
            .map(|(rate, key)| (Arc::clone(key), rate.per_minute, demand.tokens.min(rate.per_minute)))
            .collect();
        let alone = sequence.is_none();
        let free = ask.budgets.is_empty() && ask.rates.is_empty() && ask.places.is_empty();
        let amount = demand.hold.0;
        let held = Held {
            amount,
            stakes,
            places,
            tokens,
            alone,
            alone_amount: if alone { amount } else { 0 },
            inherited: false,
            free,
            on_loss: demand.on_loss,
        };
        self.holds.insert(demand.id, held);
    }

    /// Requests that would go on from slices count in these balances: they are leased until then.
    pub(super) fn share(&mut self, ask: &Ask, levels: &[Level], until: Mono) {
        for (asked, level) in ask.budgets.iter().zip(levels) {
            let Some((_, key)) = asked.windows.get(level.at) else { continue };
            if let Some(balance) = self.balances.get_mut(key) {
                balance.shares_until = until;
            }
        }
    }

    /// Charges a hold, once.
    pub(super) fn settle(&mut self, id: HoldId, charged: NanoUsd, tokens: u64) -> Settled {
        let Some(held) = self.holds.remove(&id) else { return Settled::default() };
        if held.inherited {
            self.charged.insert(id);
        }
        let charged = charged.0.max(0);
        let mut settled = Settled { was_held: true, ..Settled::default() };
        for stake in &held.stakes {
            let Some(balance) = self.balance(&stake.key) else { continue };
            balance.spent = balance.spent.saturating_add(charged);
            balance.heard.0 = balance.heard.0.saturating_add(charged);
            balance.heard.1 = balance.heard.1.saturating_sub(held.amount).max(0);
            if held.alone {
                // What Redis had granted is charged first.
                let rest = charged.saturating_sub(held.amount - held.alone_amount).max(0);
                balance.alone = balance.alone.saturating_sub(held.alone_amount).saturating_add(rest);
            }
            settled.crossed.extend(balance.crossed());
        }
        self.leave(&held);
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let more = |asked: u64| signed(tokens).saturating_sub(signed(asked));
        let rates = held.tokens.iter().map(|(key, minute, asked)| (Arc::clone(key), *minute, more(*asked)));
        let rates = rates.filter(|(.., more)| *more != 0).collect();
        if !held.free {
            self.changes.push(Change::of(id, None, &held, rates));
        }
        settled
    }

    /// Holds more, which Redis has granted or this replica alone.
    pub(super) fn grow(&mut self, id: HoldId, extra: NanoUsd, alone: bool) {
        let Some(held) = self.holds.get_mut(&id) else { return };
        held.amount = held.amount.saturating_add(extra.0);
        if alone {
            held.alone = true;
            held.alone_amount = held.alone_amount.saturating_add(extra.0);
        }
        let held = held.clone();
        for stake in &held.stakes {
            if let Some(balance) = self.balance(&stake.key) {
                balance.heard.1 = balance.heard.1.saturating_add(extra.0);
                if alone {
                    balance.alone = balance.alone.saturating_add(extra.0);
                }
            }
        }
    }

    fn leave(&mut self, held: &Held) {
        for key in &held.places {
            if let Some(taken) = self.places.get_mut(key) {
                *taken = taken.saturating_sub(1);
            }
        }
    }

    /// Lets a hold be `to`, if that is less.
    pub(super) fn shrink(&mut self, id: HoldId, to: NanoUsd) {
        let to = to.0.max(0);
        let Some(held) = self.holds.get_mut(&id).filter(|held| to < held.amount) else { return };
        let less = held.amount - to;
        held.amount = to;
        let less_alone = less.min(held.alone_amount);
        held.alone_amount -= less_alone;
        let held = held.clone();
        if held.alone {
            for stake in &held.stakes {
                if let Some(balance) = self.balance(&stake.key) {
                    balance.alone -= less_alone;
                }
            }
        }
        if !held.free {
            self.changes.push(Change::of(id, Some(to), &held, Vec::new()));
        }
    }

    /// Something was asked of Redis that nobody will hear the answer to: it is taken back.
    pub(super) fn take_back(&mut self, id: HoldId, ask: &Ask) {
        let balances =
            ask.budgets.iter().flat_map(|asked| asked.windows.iter().map(|(_, key)| Arc::clone(key)));
        let keys = balances.chain(ask.places.iter().map(|(_, key)| Arc::clone(key))).collect();
        self.changes.push(Change { id, rest: None, keys, totals: Vec::new(), tokens: Vec::new() });
    }

    /// Held by open holds, in each balance.
    pub(super) fn held(&self) -> HashMap<&str, i64> {
        let mut money = HashMap::new();
        for held in self.holds.values() {
            for stake in &held.stakes {
                *money.entry(&*stake.key).or_insert(0) += held.amount;
            }
        }
        money
    }

    /// Takes a dead replica's hold over. False if it is here already, or charged.
    pub(super) fn inherit(&mut self, id: HoldId, held: &Held) -> bool {
        if !held.inherited || self.charged.contains(&id) || self.holds.contains_key(&id) {
            return false;
        }
        for stake in &held.stakes {
            let _ = self.balance(&stake.key);
        }
        self.holds.insert(id, held.clone());
        true
    }

    /// Another replica has taken this hold over and charges it.
    pub(super) fn forget(&mut self, id: HoldId) {
        if let Some(held) = self.holds.remove(&id) {
            self.leave(&held);
        }
    }

    /// Forgets balances that nobody asks for any more.
    pub(super) fn prune(&mut self, second: i64, now: Mono) {
        // Rates that are whole again.
        self.rates.retain(|_, arrival| *arrival > now.0 / 1_000);
        let used: BTreeSet<&str> =
            self.holds.values().flat_map(|held| held.stakes.iter().map(|stake| &*stake.key)).collect();
        self.balances.retain(|key, balance| second < balance.forgotten || used.contains(&**key));
    }

    /// Shows those and no others though nothing was spent of them, in the windows of `at`; forgets those that were shown so.
    pub(super) fn know_only(&mut self, budgets: &[Arc<Budget>], at: jiff::Timestamp) {
        let gone: Vec<Arc<Budget>> = std::mem::replace(&mut self.known, budgets.to_vec());
        for balance in self.balances.values_mut() {
            let line = &balance.line;
            let is_gone = |one: &Arc<Budget>| one.id == line.budget && one.scope == line.scope;
            if gone.iter().any(is_gone) {
                balance.budget = None;
            }
        }
        self.know(at);
    }

    /// Puts those that are known into the windows of `at`.
    pub(super) fn know(&mut self, at: jiff::Timestamp) {
        for budget in self.known.clone() {
            let window = budget.calendar.window(at);
            let key = keys::balance(&budget.id, &budget.scope, window);
            let is_new = !self.balances.contains_key(&key);
            let Some(balance) = self.balance(&key) else { continue };
            balance.budget = Some(Arc::clone(&budget));
            if is_new && keys::span(&budget) > 0 {
                // Heard of its last part: what that says counts in this one, too, until somebody asks again.
                let before = self.balances.values().filter(|one| {
                    let line = &one.line;
                    (&line.budget, &line.scope) == (&budget.id, &budget.scope)
                        && line.window.start < window.start
                        && budget.calendar.counts(line.window, at)
                });
                let heard = before.max_by_key(|one| one.line.window.start).map(|one| one.heard);
                if let (Some(heard), Some(balance)) = (heard, self.balances.get_mut(&key)) {
                    balance.heard = heard;
                }
            }
        }
    }

    /// What the ledger says that this replica has spent of a balance.
    pub(super) fn load(&mut self, line: &Line, spent: NanoUsd) {
        let key = keys::balance(&line.budget, &line.scope, line.window);
        if let Some(balance) = self.balance(&key) {
            balance.spent = balance.spent.max(spent.0);
        }
    }
}

impl Change {
    fn of(id: HoldId, rest: Option<i64>, held: &Held, tokens: Vec<(Arc<str>, u64, i64)>) -> Self {
        let totals: Vec<_> = held.stakes.iter().map(|stake| Arc::clone(&stake.key)).collect();
        Self { id, rest, keys: held.places.clone(), totals, tokens }
    }
}
