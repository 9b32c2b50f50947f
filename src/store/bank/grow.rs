//! Holds that become larger while their request goes on.

use std::sync::Arc;

use crate::budget::HoldId;
use crate::units::{NanoUsd, Now};

use super::ask::{Answer, hold_name};
use super::link::{Error, Script};

use super::{Bank, State, keys, store_second, turns};

impl Bank {
    /// Holds `extra` more, all of it or nothing. Whether it is held.
    pub async fn grow(&self, id: HoldId, extra: NanoUsd, now: Now) -> bool {
        let (state, free) = {
            let inner = self.inner();
            (inner.state, inner.account.holds.get(&id).is_some_and(|held| held.free))
        };
        if free {
            self.inner().account.grow(id, extra, false);
            return true;
        }
        if state == State::Open {
            return self.grow_there(id, extra, now).await.unwrap_or(false);
        }
        self.grow_alone(id, extra, now)
    }

    async fn grow_there(&self, id: HoldId, extra: NanoUsd, now: Now) -> Option<bool> {
        let (mut link, first, joined, ahead, held) = {
            let inner = self.inner();
            let held = inner.account.holds.get(&id)?.clone();
            (inner.link.clone()?, self.head(&inner), inner.joined, inner.ahead, held)
        };
        let at = store_second(now, ahead);
        let hard = held.stakes.iter().filter_map(|stake| {
            let budget = stake.budget.as_ref().filter(|budget| budget.hard)?;
            Some((keys::parse_balance(&stake.key)?.0.window, budget))
        });
        let hard: Vec<_> = hard.collect();
        let mut keys: Vec<Arc<str>> = self.first_keys().into_iter().map(Arc::from).collect();
        let mut arguments = Vec::from(first);
        arguments.extend([hold_name(id), extra.0.max(0).to_string(), hard.len().to_string()]);
        for (mine, budget) in &hard {
            let windows = turns::beside(&budget.calendar, *mine, at);
            let place = windows.iter().position(|window| window == mine).unwrap_or(0) + 1;
            arguments.extend([budget.limit.0.to_string(), windows.len().to_string(), place.to_string()]);
            for window in windows {
                let counts = budget.calendar.counts_until(window);
                arguments.extend([window.start, counts].map(|second| second.to_string()));
                keys.push(keys::balance(&budget.id, &budget.scope, window));
            }
        }
        let answer = link.call::<Answer>(Script::Grow, &keys, &arguments, self.gone_after()).await;
        let answer = self.heard(answer, joined, now)?;
        match &*answer.word {
            "ok" if answer.numbers.len() == 2 => {}
            "budget" | "unheld" => return Some(false),
            _ => {
                self.give_up(joined, Error::Odd);
                return None;
            }
        }
        let mut inner = self.inner();
        if inner.joined != joined {
            return None;
        }
        inner.account.grow(id, NanoUsd(extra.0.max(0)), false);
        Some(true)
    }
}
