//! The task that keeps a bank: it dials, writes everything anew where Redis has forgotten, tells what was charged, says that
//! this replica lives, takes over what dead ones held, and looks whether Redis is set up as it should be.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::budget::{HoldId, OnStoreLoss};
use crate::ledger::Line;
use crate::units::{Mono, NanoUsd};

use super::account::Held;
use super::ask::{Answer, hold_id, hold_name};
use super::keys;
use super::link::{ANSWER_MAX, CONNECT_MAX, Error, Link, Script};
use super::patience::GONE_AFTER;
use super::{Bank, State, store_second};

/// Wait after a failure; doubles up to the longest, so that its return is seen within five seconds (R40).
const WAIT_FIRST: Duration = Duration::from_millis(50);
const WAIT_LONGEST: Duration = Duration::from_secs(1);
/// The longest wait for a connection: no request waits for that.
const CONNECT_LONGEST: Duration = Duration::from_secs(2);
/// How often the settings are looked at.
const LOOKS_EVERY: Duration = Duration::from_mins(1);
/// Holds that are taken over at once.
const INHERITED_MAX: usize = 500;
/// Balances that are looked at in a beat, and of which slices are leased.
const BALANCES_MAX: usize = 1_000;

/// A hold of a dead replica, or of a former life of this one, which this one is to charge in full: with a record `lost` in its
/// ledger and `Bank::settle` for what the ledger wrote of it just now (nothing, if it had the record).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InheritedHold {
    /// Its name.
    pub id: HoldId,
    /// All that it held.
    pub amount: NanoUsd,
    /// The balances that it stands in.
    pub lines: Vec<Line>,
}

/// Keeps `bank` until `stop`, and hands out what is to be charged for the dead.
pub async fn run(bank: Arc<Bank>, inherited: mpsc::Sender<InheritedHold>, stop: CancellationToken) {
    let mut keeper = Keeper {
        bank: &bank,
        inherited,
        outbox: VecDeque::new(),
        failures: 0,
        lamented: false,
        first: true,
        beat_at: None,
        looked_at: None,
    };
    while let Some(wait) = stop.run_until_cancelled(keeper.turn()).await {
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(wait.longest) => {}
            () = bank.news.notified(), if wait.for_news => {}
        }
    }
    while bank.flush().await {}
    bank.leave().await;
}

struct Keeper<'a> {
    bank: &'a Bank,
    inherited: mpsc::Sender<InheritedHold>,
    outbox: VecDeque<InheritedHold>,
    failures: u32,
    /// That Redis is away was logged.
    lamented: bool,
    /// It has never joined in this life.
    first: bool,
    beat_at: Option<Mono>,
    looked_at: Option<Mono>,
}

struct Wait {
    longest: Duration,
    for_news: bool,
}

impl Keeper<'_> {
    async fn turn(&mut self) -> Wait {
        let (state, opens_at) = {
            let inner = self.bank.inner();
            (inner.state, inner.opens_at)
        };
        let now = self.bank.clock.now().mono;
        let outcome = match state {
            State::Lost => self.dial().await,
            State::Joining => self.join().await,
            State::Opening if now < opens_at => {
                return Wait { longest: opens_at.since(now).max(Duration::from_millis(1)), for_news: false };
            }
            State::Opening => {
                self.bank.inner().turn(State::Joining);
                Ok(())
            }
            State::Open => self.serve().await,
            State::Silent => self.bank.listen().await,
        };
        self.hand_out();
        match outcome {
            Ok(()) if state == State::Open => {
                let next =
                    self.beat_at.map_or(Duration::ZERO, |at| at.plus(self.bank.options.beat).since(now));
                Wait { longest: next, for_news: true }
            }
            Ok(()) => Wait { longest: Duration::ZERO, for_news: false },
            Err(error) => self.failed(error),
        }
    }

    /// Logs that Redis is away, once until it is back.
    fn lament(&mut self, error: &Error) {
        if std::mem::replace(&mut self.lamented, true) {
            return;
        }
        let doing = match self.bank.options.on_loss {
            OnStoreLoss::Refuse => "requests with a hard budget are refused until it does",
            OnStoreLoss::LocalShare => "this replica spends on from the slices that it has leased",
            OnStoreLoss::Allow => "requests are admitted without it, and counted when it does",
        };
        let (why, advice) = (error.word(), error.advice());
        tracing::warn!(%error, why, advice, "Redis does not keep budgets: {doing}");
    }

    fn failed(&mut self, error: Error) -> Wait {
        self.lament(&error);
        let wait = (WAIT_FIRST * 2_u32.saturating_pow(self.failures.min(8))).min(WAIT_LONGEST);
        self.failures = self.failures.saturating_add(1);
        let joined = self.bank.inner().joined;
        self.bank.give_up(joined, error);
        Wait { longest: wait, for_news: false }
    }

    async fn dial(&mut self) -> Result<(), Error> {
        let lost = self.bank.inner().lost.clone();
        if let Some(error) = lost {
            self.lament(&error);
        }
        let longer = CONNECT_MAX * 2_u32.saturating_pow(self.failures.min(8));
        let link = Link::open(&self.bank.dial, longer.min(CONNECT_LONGEST)).await?;
        let mut inner = self.bank.inner();
        inner.link = Some(link);
        inner.turn(State::Joining);
        Ok(())
    }

    async fn join(&mut self) -> Result<(), Error> {
        let handed = self.bank.join(self.first).await?;
        self.first = false;
        self.take_in(handed);
        if self.bank.inner().state == State::Open {
            self.failures = 0;
            if std::mem::take(&mut self.lamented) {
                tracing::info!("Redis keeps budgets again");
            }
            (self.beat_at, self.looked_at) = (None, None);
        }
        Ok(())
    }

    /// What is to be done while all is well.
    async fn serve(&mut self) -> Result<(), Error> {
        while self.bank.flush().await {}
        let now = self.bank.clock.now();
        if self.beat_at.is_none_or(|at| now.mono.since(at) >= self.bank.options.beat) {
            self.beat_at = Some(now.mono);
            for dead in self.bank.beat().await {
                self.inherit(&dead).await;
            }
            self.bank.inner().account.prune(now.wall.as_second(), now.mono);
        }
        if self.looked_at.is_none_or(|at| now.mono.since(at) >= LOOKS_EVERY) {
            self.looked_at = Some(now.mono);
            self.look().await;
        }
        Ok(())
    }

    async fn inherit(&mut self, dead: &str) {
        loop {
            let (moved, more) = self.bank.inherit(dead).await;
            if !moved.is_empty() {
                tracing::warn!(
                    replica = dead,
                    holds = moved.len(),
                    "a dead replica's holds are charged in full here"
                );
            }
            self.take_in(moved);
            if !more {
                return;
            }
        }
    }

    async fn look(&mut self) {
        let Some(mut link) = self.bank.inner().link.clone() else { return };
        let findings = super::settings::check(&mut link).await;
        let mut inner = self.bank.inner();
        for finding in findings.iter().filter(|finding| !inner.findings.contains(finding)) {
            if finding.grave {
                tracing::error!(setting = finding.setting, "Redis is not fit for budgets: {}", finding.text);
            } else {
                tracing::warn!(setting = finding.setting, "Redis: {}", finding.text);
            }
        }
        inner.findings = findings;
    }

    fn take_in(&mut self, holds: Vec<(HoldId, Held)>) {
        self.outbox.extend(holds.into_iter().map(|(id, held)| InheritedHold {
            id,
            amount: NanoUsd(held.amount),
            lines: held.lines(),
        }));
    }

    fn hand_out(&mut self) {
        // Whoever charges them may be slow; they stay held meanwhile.
        while let Ok(place) = self.inherited.try_reserve() {
            let Some(hold) = self.outbox.pop_front() else { return };
            place.send(hold);
        }
    }
}

impl Bank {
    /// Says that this replica lives and renews its slices. Returns the names of the dead.
    async fn beat(&self) -> Vec<String> {
        let now = self.clock.now();
        let (mut link, joined, keys, arguments, slices) = {
            let inner = self.inner();
            let Some(link) = inner.link.clone() else { return Vec::new() };
            let mut keys: Vec<Arc<str>> = self.first_keys().into_iter().map(Arc::from).collect();
            let mut arguments = Vec::from(self.head(&inner));
            arguments.extend(
                [self.options.lease, self.options.share_lasts].map(|span| span.as_micros().to_string()),
            );
            let mut slices = Vec::new();
            let second = store_second(now, inner.ahead);
            let share = i64::from(self.options.share.max(1));
            for (key, balance) in &inner.account.balances {
                // Of a rolling budget no single balance tells what is left.
                let budget = balance.budget.as_ref().filter(|budget| keys::span(budget) == 0);
                let Some(budget) = budget.filter(|_| balance.line.window.holds(second)) else { continue };
                let shares =
                    self.options.on_loss == OnStoreLoss::LocalShare || now.mono < balance.shares_until;
                let leased = budget.hard && shares;
                let wanted = if leased { budget.limit.0 / share } else { 0 };
                arguments.extend([budget.limit.0, wanted].map(|amount| amount.to_string()));
                keys.push(Arc::clone(key));
                slices.push(Arc::clone(key));
                if slices.len() == BALANCES_MAX {
                    break;
                }
            }
            (link, inner.joined, keys, arguments, slices)
        };
        let answer = link.call::<Answer>(Script::Beat, &keys, &arguments, self.gone_after()).await;
        let numbers = 3 + 3 * slices.len();
        let Some(answer) = self.heard_ok(answer, joined, now, numbers) else { return Vec::new() };
        let mut inner = self.inner();
        if inner.joined != joined {
            return Vec::new();
        }
        let sequence = answer.numbers.get(1).copied().unwrap_or(0);
        inner.living = answer.numbers.get(2).and_then(|&living| u32::try_from(living).ok()).unwrap_or(1);
        let told = answer.numbers.get(3..).unwrap_or_default().as_chunks::<3>().0;
        for (key, &[granted, spent, held]) in slices.iter().zip(told) {
            if let Some(balance) = inner.account.balance(key) {
                balance.heard = (spent, held);
                // A request that was admitted after this may have used some of it.
                let newer = sequence > balance.slice_as_of;
                balance.slice = if newer { granted } else { granted.min(balance.slice) };
                balance.slice_until = now.mono.plus(self.options.share_lasts);
            }
        }
        answer.texts
    }

    /// Takes over some of what a dead replica held; returns it, and whether there is more.
    async fn inherit(&self, dead: &str) -> (Vec<(HoldId, Held)>, bool) {
        let nothing = (Vec::new(), false);
        let (mut link, joined, head) = {
            let inner = self.inner();
            let Some(link) = inner.link.clone() else { return nothing };
            (link, inner.joined, self.head(&inner))
        };
        let theirs = keys::holds(dead);
        let read: Result<Vec<(String, String)>, Error> = link.plain(&["HGETALL", &theirs], GONE_AFTER).await;
        let Ok(read) = read else { return nothing };
        let theirs_held = read.iter().filter_map(|(_, record)| Held::read(record));
        let touched = theirs_held.flat_map(|held| {
            let stakes: Vec<_> = held.stakes.into_iter().map(|stake| stake.key).collect();
            stakes.into_iter().chain(held.places)
        });
        let mut keys: Vec<Arc<str>> = self.first_keys().into_iter().map(Arc::from).collect();
        keys.extend([theirs, keys::inherited(dead)].map(Arc::from));
        let touched: std::collections::BTreeSet<Arc<str>> = touched.collect();
        keys.extend(touched);
        let mut arguments = Vec::from(head);
        let lease = self.options.lease.as_micros().to_string();
        arguments.extend([dead.to_owned(), lease, INHERITED_MAX.to_string()]);
        let answer = link.call::<Answer>(Script::Inherit, &keys, &arguments, GONE_AFTER).await;
        let Some(answer) = self.heard(answer, joined, self.clock.now()) else { return nothing };
        let moved = answer.texts.as_chunks::<2>().0.iter();
        let moved: Vec<_> =
            moved.filter_map(|[name, record]| Some((hold_id(name)?, Held::read(record)?))).collect();
        {
            let mut inner = self.inner();
            for (id, held) in &moved {
                inner.account.inherit(*id, held);
            }
        }
        let all = answer.numbers.get(2).copied().unwrap_or(0);
        (moved, usize::try_from(all).unwrap_or(0) > INHERITED_MAX)
    }

    /// Which of the holds of a former life another replica has taken over, and charges. To be asked before the ledger charges
    /// what that life left open; from then on nobody takes any more of them for the time of a lease.
    pub async fn reclaim(&self, holds: &[HoldId]) -> Result<Vec<HoldId>, Error> {
        let mut link = Link::open(&self.dial, GONE_AFTER).await?;
        let mut keys = Vec::from(self.first_keys());
        keys.push(keys::inherited(&self.options.replica));
        let mut arguments = Vec::from(self.head(&self.inner()));
        arguments.extend(holds.iter().map(|id| hold_name(*id)));
        let answer: Answer = link.call(Script::Reclaim, &keys, &arguments, GONE_AFTER).await?;
        Ok(answer.texts.iter().filter_map(|name| hold_id(name)).collect())
    }

    /// Takes this replica's name off the list of the living, if nobody would have to charge anything for it.
    async fn leave(&self) {
        let (link, settled) = {
            let inner = self.inner();
            (inner.link.clone(), inner.account.holds.is_empty() && inner.account.changes.is_empty())
        };
        if let Some(mut link) = link.filter(|_| settled) {
            let replica = &self.options.replica;
            let fields = ["beat", "since", "gen"].map(|field| format!("{field}:{replica}"));
            let fleet = keys::fleet();
            let words = ["HDEL", &fleet, &fields[0], &fields[1], &fields[2]];
            let _: Result<i64, Error> = link.plain(&words, ANSWER_MAX).await;
        }
    }
}
