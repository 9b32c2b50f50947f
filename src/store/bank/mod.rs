//! The bank of a fleet: the same as `budget::Book`, kept in a Redis that several replicas share.
//!
//! A request is admitted by one script in one round trip: budgets, rates, places and its hold, all or nothing, in windows and
//! arrival times by the store's clock. What was charged goes to Redis in the background, since the local ledger is what is
//! durable: as this replica's own total of each balance, so that it counts once however often it is told. A balance is the
//! sum over the replicas' fields.
//!
//! Redis may forget. Each script names the epoch, this replica's generation and the last sequence number that Redis has
//! acknowledged; where any is not as it should be nothing is admitted, and `keep` writes everything anew from `account`.
//! Whoever finds the epoch gone or older than it knows begins another, which opens only after all had time to write theirs.
//!
//! Bounds on what is spent over a hard limit, beyond what a provider bills past its own bound:
//! - Redis slow, silent, restarted, emptied or failed over, while the replicas live: nothing.
//! - A replica that is dead while Redis loses its data: what that replica had spent and held, until it is back.
//! - `local-share`: nothing; each replica has leased what it spends alone. `allow`: whatever is spent while Redis is away.
//! - A replica cut off from Redis longer than its lease, with requests still under way: they are charged twice, once in full by
//!   its heir; never less than once.

mod account;
mod alone;
mod ask;
mod grow;
mod keep;
mod keys;
mod link;
mod options;
mod patience;
mod pulse;
mod settings;
mod turns;
mod write;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::budget::{Budget, Demand, HoldId, Level, OnStoreLoss, Refusal, Settled, Standing, Why};
use crate::ledger::Line;
use crate::store::dial::Dial;
use crate::units::{Clock, Mono, NanoUsd, Now};

use account::Account;
use ask::{Answer, Ask};
use link::{Link, Script};
use patience::Waited;
use pulse::Pulse;

pub use keep::{InheritedHold, run};
pub use link::Error;
pub use options::Options;
pub use settings::Finding;

/// A call's own limit is that much longer than anybody waits for it.
const GRACE: Duration = Duration::from_millis(100);

/// How it stands between this replica and Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Redis does not answer as it should.
    Lost,
    /// All is being written anew.
    Joining,
    /// A new epoch waits for the other replicas.
    Opening,
    /// Requests are admitted by Redis.
    Open,
    /// It was open, and Redis says nothing: slow, or gone.
    Silent,
}

/// The shared bank.
pub struct Bank {
    options: Options,
    dial: Dial,
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
    /// Something is to be written, or the link was given up.
    news: Notify,
    /// The state is another.
    turned: Notify,
}

struct Inner {
    account: Account,
    state: State,
    /// A new epoch opens then.
    opens_at: Mono,
    link: Option<Link>,
    /// This life of the process, and how often it has joined.
    life: u64,
    joined: u64,
    epoch: i64,
    /// The last sequence number that Redis has acknowledged.
    sequence: i64,
    /// What stands in Redis is doubted.
    doubted: bool,
    /// What was heard of Redis lately.
    pulse: Pulse,
    /// Replicas that live, this one included.
    living: u32,
    /// By how much the store's clock is ahead of this machine's, in microseconds.
    ahead: i64,
    /// Why the link was given up last.
    lost: Option<Error>,
    /// What is not as it should be in how Redis is set up.
    findings: Vec<Finding>,
}

impl Bank {
    /// A bank that knows of nothing yet, and dials nobody: `run` does.
    pub fn new(options: Options, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        use std::hash::BuildHasher;
        let dial = Dial::new(&options.url)?;
        // Only has to differ from the process's other lives.
        let life = std::hash::RandomState::new().hash_one(std::process::id());
        let inner = Inner {
            account: Account::default(),
            state: State::Lost,
            opens_at: Mono(0),
            link: None,
            life,
            joined: 0,
            epoch: 0,
            sequence: 0,
            doubted: false,
            pulse: Pulse::default(),
            living: 1,
            ahead: 0,
            lost: None,
            findings: Vec::new(),
        };
        let (news, turned) = (Notify::new(), Notify::new());
        Ok(Self { options, dial, clock, inner: Mutex::new(inner), news, turned })
    }

    /// Says what this replica has spent of a balance, by its own ledger. To be said before `run`.
    pub fn load(&self, line: &Line, spent: NanoUsd) {
        self.inner().account.load(line, spent);
    }

    /// Admits a request whole or not at all.
    ///
    /// Cancel safety: dropped, whatever was held is given back.
    pub async fn admit(&self, demand: &Demand, now: Now) -> Result<Standing, Refusal> {
        if demand.budgets.is_empty() && demand.rates.is_empty() && demand.places.is_empty() {
            let nothing = Ask::new(demand, 0);
            self.inner().account.hold(demand, &nothing, &[], Some(0));
            return Ok(Standing::default());
        }
        let mut waited = false;
        // The second time with windows by the store's clock, or after a join.
        for _ in 0..3 {
            let turned = self.turned.notified();
            let state = self.inner().state;
            match state {
                State::Open => {
                    if let Some(verdict) = self.admit_there(demand, now).await {
                        return verdict;
                    }
                }
                State::Joining if !waited => {
                    waited = true;
                    let _ = tokio::time::timeout(self.patience(), turned).await;
                }
                _ => break,
            }
        }
        self.admit_alone(demand, now)
    }

    /// Asks Redis; `None`: it did not say yes or no.
    async fn admit_there(&self, demand: &Demand, now: Now) -> Option<Result<Standing, Refusal>> {
        let (mut link, head, joined, ahead) = {
            let inner = self.inner();
            (inner.link.clone()?, self.head(&inner), inner.joined, inner.ahead)
        };
        let ask = Ask::new(demand, store_second(now, ahead));
        let (keys, arguments) = (ask.keys(self.first_keys()), ask.arguments(head, demand));
        let unheard = Unheard { bank: self, demand, ask: Some(&ask), joined };
        let asked = self.clock.now().mono;
        let calling = link.call::<Answer>(Script::Admit, &keys, &arguments, self.longest() + GRACE);
        let answer = match self.patiently(calling, asked).await {
            Waited::Answered(answer) => answer,
            // One slow answer is no reason to refuse others.
            Waited::Slow if alone::is_refused(demand) => return Some(Err(lost())),
            Waited::Slow | Waited::Silent => {
                // Whatever comes of it is taken back.
                drop(unheard);
                self.fall_silent(joined);
                return Some(self.admit_alone(demand, now));
            }
        };
        unheard.heard();
        let answer = self.heard(answer, joined, now)?;
        if answer.word == "clock" {
            return None;
        }
        let Some(verdict) = ask.read(&answer) else {
            self.give_up(joined, Error::Odd);
            return None;
        };
        if let Some(refusal) = verdict.why {
            return Some(Err(refusal));
        }
        let mut inner = self.inner();
        if inner.joined != joined {
            // All was written anew without it.
            return None;
        }
        let sequence = answer.numbers.get(1).copied();
        inner.account.hold(demand, &ask, &verdict.levels, Some(sequence.unwrap_or(0)));
        if demand.on_loss == OnStoreLoss::LocalShare {
            let until = now.mono.plus(self.options.share_lasts);
            inner.account.share(&ask, &verdict.levels, until);
        }
        Some(Ok(verdict.standing))
    }

    /// The balances that a hold stands in, in the windows that the store's clock picked.
    pub fn lines(&self, id: HoldId) -> Vec<Line> {
        self.inner().account.holds.get(&id).map(account::Held::lines).unwrap_or_default()
    }

    /// Charges a hold, once: `charged` in every balance that it stands in, and `tokens` in its rates of tokens. Redis hears of
    /// it from `run`. What is not held any more changes nothing: it was settled before, or another replica has taken it over
    /// and charges it.
    pub fn settle(&self, id: HoldId, charged: NanoUsd, tokens: u64) -> Settled {
        let settled = self.inner().account.settle(id, charged, tokens);
        if settled.was_held {
            self.news.notify_one();
        }
        settled
    }

    /// Gives back what a hold has beyond `to`.
    pub fn shrink(&self, id: HoldId, to: NanoUsd) {
        self.inner().account.shrink(id, to);
        self.news.notify_one();
    }

    /// How it stands with Redis, and the last thing that went wrong.
    pub fn state(&self) -> (State, Option<Error>) {
        let inner = self.inner();
        (inner.state, inner.lost.clone())
    }

    /// What is not as it should be in how Redis is set up, as of the last minute (R43).
    pub fn findings(&self) -> Vec<Finding> {
        self.inner().findings.clone()
    }

    /// Waits until requests are admitted by Redis.
    pub async fn opened(&self) {
        loop {
            let turned = self.turned.notified();
            if self.inner().state == State::Open {
                return;
            }
            turned.await;
        }
    }

    /// Those budgets and no others are shown among the levels though nothing was spent of them.
    pub fn know_only(&self, budgets: &[Arc<Budget>], now: Now) {
        self.inner().account.know_only(budgets, now.wall);
    }

    /// Every budget as last heard, a beat ago at most.
    pub fn levels(&self, now: Now) -> Vec<Level> {
        let mut inner = self.inner();
        // Windows may have turned over since.
        inner.account.know(now.wall);
        let balances = inner.account.balances.values();
        let levels = balances.filter_map(|balance| {
            let budget = Arc::clone(balance.budget.as_ref()?);
            let window = balance.line.window;
            let (spent, held) = balance.heard;
            let present = budget.calendar.window(now.wall) == window;
            present.then_some(Level { budget, spent: NanoUsd(spent), held: NanoUsd(held), ends: window.end })
        });
        let mut levels: Vec<Level> = levels.collect();
        levels.sort_by(|a, b| (&a.budget.id, &a.budget.scope).cmp(&(&b.budget.id, &b.budget.scope)));
        levels
    }

    /// Takes in what an answer says of the state; what is left is for the one who asked.
    fn heard(&self, answer: Result<Answer, Error>, joined: u64, now: Now) -> Option<Answer> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.give_up(joined, error);
                return None;
            }
        };
        self.word(joined);
        let mut inner = self.inner();
        if let Some(store) = answer.numbers.first() {
            inner.ahead = store.saturating_sub(now.wall.as_microsecond());
        }
        match &*answer.word {
            "lost" | "gone" | "stale" | "opening" => {
                if inner.joined == joined && inner.state == State::Open {
                    inner.turn(State::Joining);
                    drop(inner);
                    self.news.notify_one();
                    self.turned.notify_waiters();
                }
                None
            }
            "ok" => {
                let sequence = answer.numbers.get(1).copied();
                if inner.joined == joined {
                    inner.sequence = sequence.unwrap_or(0).max(inner.sequence);
                }
                drop(inner);
                if sequence.is_none() {
                    self.give_up(joined, Error::Odd);
                }
                sequence.map(|_| answer)
            }
            _ => Some(answer),
        }
    }

    /// The same where only `ok` with so many numbers will do.
    fn heard_ok(
        &self,
        answer: Result<Answer, Error>,
        joined: u64,
        now: Now,
        numbers: usize,
    ) -> Option<Answer> {
        let answer = self.heard(answer, joined, now)?;
        if answer.word == "ok" && answer.numbers.len() == numbers {
            return Some(answer);
        }
        // Half an answer: nobody knows what was done.
        self.give_up(joined, Error::Odd);
        None
    }

    /// Gives the link up on which something went wrong.
    fn give_up(&self, joined: u64, error: Error) {
        let mut inner = self.inner();
        if inner.joined != joined {
            return;
        }
        inner.doubted |= error.is_doubt();
        inner.lost = Some(error);
        inner.link = None;
        inner.turn(State::Lost);
        drop(inner);
        self.news.notify_one();
        self.turned.notify_waiters();
    }

    fn first_keys(&self) -> [String; 2] {
        [keys::fleet(), keys::holds(&self.options.replica)]
    }

    fn head(&self, inner: &Inner) -> [String; 4] {
        let generation = format!("{:016x}-{}", inner.life, inner.joined);
        [self.options.replica.clone(), generation, inner.epoch.to_string(), inner.sequence.to_string()]
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic while it was held can have left one hold, which is charged for too much rather than too little.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Another state. What is admitted over an older one does not count.
    fn turn(&mut self, state: State) {
        self.joined += u64::from(state == State::Joining || state == State::Lost);
        self.state = state;
    }
}

impl std::fmt::Debug for Bank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client's own words would hold the password.
        f.debug_struct("Bank").field("replica", &self.options.replica).finish_non_exhaustive()
    }
}

/// The second that the store's clock shows, which is `ahead` microseconds ahead.
fn store_second(now: Now, ahead: i64) -> i64 {
    now.wall.as_microsecond().saturating_add(ahead).div_euclid(1_000_000)
}

fn lost() -> Refusal {
    let retry_after = Some(Duration::from_secs(1));
    Refusal { why: Why::StoreLost, retry_after, standing: Standing::default() }
}

/// An admission that Redis may grant after nobody listens any more.
struct Unheard<'a> {
    bank: &'a Bank,
    demand: &'a Demand,
    ask: Option<&'a Ask>,
    joined: u64,
}

impl Unheard<'_> {
    fn heard(mut self) {
        self.ask = None;
    }
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        let Some(ask) = self.ask else { return };
        let mut inner = self.bank.inner();
        // Another generation knows nothing of it.
        if inner.joined == self.joined {
            inner.account.take_back(self.demand.id, ask);
            drop(inner);
            self.bank.news.notify_one();
        }
    }
}
