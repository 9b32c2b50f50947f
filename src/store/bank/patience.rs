//! How long a request waits for Redis, and what follows from its silence.
//!
//! A late answer says little of Redis: the machine may be short of time. So a request goes on waiting while Redis is heard at all,
//! and a silence that is longer than its answers let expect makes it `Silent`: nobody waits any more, nothing is given up, and the
//! first word, be it late, opens it again. Only who stays silent for `GONE_AFTER` is gone: then the link is given up, and all
//! is written anew over another.

use std::time::Duration;

use crate::units::Mono;

use super::account::Account;
use super::link::{Error, Link};
use super::pulse::PARTS;
use super::{Bank, Inner, State};

/// A Redis that says nothing for so long to what it was asked is gone.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(1);

/// What became of a call.
pub(super) enum Waited<T> {
    /// It was answered, or the connection ended.
    Answered(Result<T, Error>),
    /// Redis is not heard.
    Silent,
    /// Redis is heard, and this answer takes too long all the same.
    Slow,
}

impl Bank {
    /// How long a silence means nothing yet.
    pub(super) fn patience(&self) -> Duration {
        self.inner().pulse.silence(self.options.patience, self.options.patience_max)
    }

    /// The longest that a request waits.
    pub(super) fn longest(&self) -> Duration {
        self.options.patience_max.max(self.options.patience)
    }

    /// How long what no request waits for may stay unanswered.
    pub(super) fn gone_after(&self) -> Duration {
        GONE_AFTER.max(self.options.patience)
    }

    /// Waits for an answer while Redis is heard. Dropping the future drops the call.
    pub(super) async fn patiently<T>(
        &self,
        calling: impl Future<Output = Result<T, Error>>,
        asked: Mono,
    ) -> Waited<T> {
        let mut calling = std::pin::pin!(calling);
        let part = self.patience() / PARTS;
        let (mut heard, mut silent) = (self.inner().pulse.answers, 0);
        loop {
            if let Ok(answer) = tokio::time::timeout(part, &mut calling).await {
                let took = self.clock.now().mono.since(asked);
                if answer.is_ok() {
                    self.inner().pulse.beat(took);
                }
                return Waited::Answered(answer);
            }
            let answers = self.inner().pulse.answers;
            if answers == heard {
                silent += 1;
            } else {
                (heard, silent) = (answers, 0);
            }
            if silent >= PARTS {
                return Waited::Silent;
            }
            if self.clock.now().mono.since(asked) >= self.longest() {
                return Waited::Slow;
            }
        }
    }

    /// Redis is not heard: until it is, nobody waits for it.
    pub(super) fn fall_silent(&self, joined: u64) {
        let mut inner = self.inner();
        if inner.joined != joined || inner.state != State::Open {
            return;
        }
        if inner.link.as_ref().is_some_and(Link::may_ask_twice) {
            // What was asked may be asked once more when nobody knows of it any more: only another generation is sure of it.
            drop(inner);
            self.give_up(joined, Error::Timeout);
            return;
        }
        inner.state = State::Silent;
        drop(inner);
        tracing::debug!("Redis is silent");
        self.news.notify_one();
    }

    /// Redis was heard over the connection of `joined`.
    pub(super) fn word(&self, joined: u64) {
        let mut inner = self.inner();
        inner.pulse.answers += 1;
        if inner.joined == joined && inner.wake() {
            drop(inner);
            tracing::debug!("Redis is heard again");
            self.news.notify_one();
            self.turned.notify_waiters();
        }
    }

    /// Asks a silent Redis for any answer at all. `Err`: it is gone.
    pub(super) async fn listen(&self) -> Result<(), Error> {
        let (link, joined) = {
            let inner = self.inner();
            (inner.link.clone(), inner.joined)
        };
        let Some(mut link) = link else { return Err(Error::Timeout) };
        let asked = self.clock.now().mono;
        let listening = link.plain::<redis::Value>(&["PING"], GONE_AFTER);
        let answer = tokio::select! {
            answer = listening => answer,
            // A late answer to something else is as good.
            () = self.woken() => return Ok(()),
        };
        match answer {
            // A refusal is a word too.
            Err(Error::Redis(error)) if error.is_io_error() || error.is_connection_dropped() => {
                Err(error.into())
            }
            Err(Error::Timeout) => Err(Error::Timeout),
            Ok(_) | Err(_) => {
                // Somebody had waited in vain before.
                let took = self.patience() + self.clock.now().mono.since(asked);
                self.inner().pulse.beat(took);
                self.word(joined);
                Ok(())
            }
        }
    }

    async fn woken(&self) {
        loop {
            let turned = self.turned.notified();
            if self.inner().state != State::Silent {
                return;
            }
            turned.await;
        }
    }
}

impl Inner {
    /// A silent Redis was heard. Whether the state is another.
    fn wake(&mut self) -> bool {
        if self.state != State::Silent {
            return false;
        }
        if self.account.has_any_alone() {
            self.turn(State::Joining);
        } else {
            self.state = State::Open;
        }
        true
    }
}

impl Account {
    /// Whether anything was admitted that Redis knows nothing of.
    fn has_any_alone(&self) -> bool {
        self.holds.values().any(|held| held.alone) || self.balances.values().any(|balance| balance.alone != 0)
    }
}
