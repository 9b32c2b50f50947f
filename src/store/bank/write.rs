//! What Redis is told in the background: holds that are over or smaller, this replica's totals, and all of it anew when it
//! joins.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::budget::HoldId;

use super::account::{Balance, Change, Held};
use super::ask::{Answer, hold_id, hold_name};
use super::keys;
use super::link::{Error, Link, Script};
use super::{Bank, State};

/// Changes that are told at once.
const CHANGES_MAX: usize = 128;
/// Longest wait while all is written anew, and more for each thing that is: no request waits for that.
const JOIN_MAX: Duration = Duration::from_secs(1);
const JOIN_EACH: Duration = Duration::from_micros(100);

impl Bank {
    /// Tells what has changed; returns whether there is more.
    pub(super) async fn flush(&self) -> bool {
        let (mut link, joined, keys, arguments, totals) = {
            let mut inner = self.inner();
            let State::Open = inner.state else { return false };
            let Some(link) = inner.link.clone() else { return false };
            let head = self.head(&inner);
            let count = inner.account.changes.len().min(CHANGES_MAX);
            if count == 0 {
                return false;
            }
            let changes: Vec<Change> = inner.account.changes.drain(..count).collect();
            let mut totals: Vec<Arc<str>> = Vec::new();
            let mut seen = HashSet::new();
            for key in changes.iter().flat_map(|change| &change.totals) {
                if seen.insert(Arc::clone(key)) {
                    totals.push(Arc::clone(key));
                }
            }
            let touched = changes.iter().flat_map(|change| {
                change.keys.iter().chain(change.tokens.iter().map(|(key, ..)| key)).cloned()
            });
            let mut keys: Vec<Arc<str>> = self.first_keys().into_iter().map(Arc::from).collect();
            keys.extend(totals.iter().cloned().chain(touched.filter(|key| seen.insert(Arc::clone(key)))));
            let mut arguments = Vec::from(head);
            arguments.push(changes.len().to_string());
            for change in &changes {
                let rest = change.rest.unwrap_or(-1).to_string();
                arguments.extend([hold_name(change.id), rest, change.tokens.len().to_string()]);
                for (key, minute, more) in &change.tokens {
                    arguments.extend([key.to_string(), minute.to_string(), more.to_string()]);
                }
            }
            arguments.push(totals.len().to_string());
            for key in &totals {
                let (spent, till) = inner.account.balance(key).map_or((0, 0), |it| (it.spent, it.forgotten));
                arguments.extend([spent.to_string(), till.to_string()]);
            }
            (link, inner.joined, keys, arguments, totals)
        };
        let answer = link.call::<Answer>(Script::Settle, &keys, &arguments, self.gone_after()).await;
        let numbers = 2 + 2 * totals.len();
        let Some(answer) = self.heard_ok(answer, joined, self.clock.now(), numbers) else { return false };
        let mut inner = self.inner();
        let levels = answer.numbers.get(2..).unwrap_or_default().as_chunks::<2>().0;
        for (key, [spent, held]) in totals.iter().zip(levels) {
            // What a rolling budget has spent stands in many balances.
            let whole =
                |balance: &&mut Balance| balance.budget.as_ref().is_none_or(|budget| keys::span(budget) == 0);
            if let Some(balance) = inner.account.balance(key).filter(whole) {
                balance.heard = (*spent, *held);
            }
        }
        !inner.account.changes.is_empty()
    }

    /// Writes everything anew. `Err`: the link is of no use.
    pub(super) async fn join(&self, first: bool) -> Result<Vec<(HoldId, Held)>, Error> {
        let (mut link, joined) = {
            let inner = self.inner();
            let Some(link) = inner.link.clone() else { return Err(Error::Timeout) };
            (link, inner.joined)
        };
        let (left, gone) = self.left_behind(&mut link, first).await?;
        let (keys, arguments, written) = {
            let mut inner = self.inner();
            if inner.joined != joined {
                return Ok(Vec::new());
            }
            for id in gone {
                inner.account.forget(id);
            }
            let mut handed = Vec::new();
            for (id, held) in left {
                for stake in &held.stakes {
                    let _ = inner.account.balance(&stake.key);
                }
                for key in &held.places {
                    inner.account.places.entry(Arc::clone(key)).or_insert(0);
                }
                // What a former life was to charge for a dead replica is still to be charged; its own holds its ledger has.
                if inner.account.inherit(id, &held) {
                    handed.push((id, held));
                }
            }
            let head = self.head(&inner);
            let doubted = inner.doubted;
            let (keys, arguments, written) = self.all(&mut inner.account, head, doubted);
            (keys, arguments, Written { handed, ..written })
        };
        let asked = self.clock.now();
        let things = u32::try_from(keys.len() + written.holds.len()).unwrap_or(u32::MAX);
        let limit = JOIN_MAX + JOIN_EACH.saturating_mul(things);
        let answer = link.call::<Answer>(Script::Join, &keys, &arguments, limit).await?;
        let ("ok", [now, sequence, epoch, opens]) = (&*answer.word, &answer.numbers[..]) else {
            return Err(Error::Odd);
        };
        let mut inner = self.inner();
        if inner.joined != joined {
            return Ok(written.handed);
        }
        (inner.sequence, inner.epoch, inner.doubted) = (*sequence, *epoch, false);
        inner.ahead = now.saturating_sub(asked.wall.as_microsecond());
        for id in &written.holds {
            if let Some(held) = inner.account.holds.get_mut(id) {
                held.alone = false;
                held.alone_amount = 0;
            }
        }
        for (key, alone) in &written.alone {
            if let Some(balance) = inner.account.balance(key) {
                balance.slice = balance.slice.saturating_sub(*alone).max(0);
                balance.alone = balance.alone.saturating_sub(*alone).max(0);
                balance.slice_as_of = *sequence;
            }
        }
        let wait = u64::try_from(*opens).unwrap_or(0);
        if wait > 0 {
            inner.opens_at = asked.mono.plus(Duration::from_micros(wait));
            inner.state = State::Opening;
        } else if inner.account.holds.values().all(|held| !held.alone) {
            inner.state = State::Open;
        } else {
            // Some came in meanwhile.
            inner.turn(State::Joining);
        }
        drop(inner);
        self.turned.notify_waiters();
        Ok(written.handed)
    }

    /// What a former life left in Redis, what was taken over for the dead, and which of this one's holds others have taken over.
    async fn left_behind(
        &self,
        link: &mut Link,
        first: bool,
    ) -> Result<(Vec<(HoldId, Held)>, Vec<HoldId>), Error> {
        let replica = &self.options.replica;
        let gone: Result<Vec<String>, Error> =
            link.plain(&["HKEYS", &keys::inherited(replica)], JOIN_MAX).await;
        let gone = or_wrong_type(gone)?.iter().filter_map(|name| hold_id(name)).collect();
        let left: Result<Vec<(String, String)>, Error> =
            link.plain(&["HGETALL", &keys::holds(replica)], JOIN_MAX).await;
        let left = or_wrong_type(left)?;
        let left = left.iter().filter_map(|(name, record)| Some((hold_id(name)?, Held::read(record)?)));
        // Of this life's own all is known. What was taken over may have come without its answer.
        let left = left.filter(|(_, held)| first || held.inherited);
        Ok((left.collect(), gone))
    }

    /// Keys and arguments that say all there is to say.
    fn all(
        &self,
        account: &mut super::account::Account,
        head: [String; 4],
        doubted: bool,
    ) -> (Vec<Arc<str>>, Vec<String>, Written) {
        // Whatever changed before is in what follows.
        account.changes.clear();
        let now = self.clock.now().mono;
        let mut keys: Vec<Arc<str>> = self.first_keys().into_iter().map(Arc::from).collect();
        let mut arguments = Vec::from(head);
        arguments.extend([self.options.opens.as_micros().to_string(), u8::from(doubted).to_string()]);
        let holds = account.holds.values().filter(|held| !held.free).count();
        let counts = [account.balances.len(), account.places.len(), holds];
        arguments.extend(counts.map(|count| count.to_string()));
        let money = account.held();
        let mut alone = Vec::new();
        for (key, balance) in &account.balances {
            keys.push(Arc::clone(key));
            let on_hold = money.get(&**key).copied().unwrap_or(0);
            let slice = slice_left(balance);
            let lasts = balance.slice_until.since(now).as_micros();
            let slice = if lasts == 0 { 0 } else { slice };
            arguments.extend([balance.spent, on_hold, slice].map(|amount| amount.to_string()));
            arguments.extend([lasts.to_string(), balance.forgotten.to_string()]);
            alone.push((Arc::clone(key), balance.alone));
        }
        for (key, taken) in &account.places {
            keys.push(Arc::clone(key));
            arguments.push(taken.to_string());
        }
        for (id, held) in account.holds.iter().filter(|(_, held)| !held.free) {
            arguments.extend([hold_name(*id), held.record()]);
        }
        let holds = account.holds.keys().copied().collect();
        (keys, arguments, Written { holds, alone, handed: Vec::new() })
    }
}

/// What was written when it joined.
struct Written {
    holds: Vec<HoldId>,
    alone: Vec<(Arc<str>, i64)>,
    handed: Vec<(HoldId, Held)>,
}

fn slice_left(balance: &Balance) -> i64 {
    balance.slice.saturating_sub(balance.alone).max(0)
}

/// Something else stands in a key of ours: `join` clears it.
fn or_wrong_type<T: Default>(read: Result<T, Error>) -> Result<T, Error> {
    match read {
        Err(error) if error.word() == "WRONGTYPE" => Ok(T::default()),
        read => read,
    }
}
