//! What one request holds, and how it is settled.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::ledger::{AttemptRecord, Closing, HoldEntry};
use crate::units::NanoUsd;

use super::Treasury;

/// Money held for one request. Dropped open, it is charged in full: what nobody accounted for was spent, as far as anybody
/// knows.
#[must_use = "a purse that is dropped is charged in full"]
pub struct Purse {
    treasury: Arc<Treasury>,
    open: Option<Box<HoldEntry>>,
    tokens: u64,
}

impl Purse {
    pub(super) fn new(treasury: Arc<Treasury>, entry: HoldEntry, tokens: u64) -> Self {
        Self { treasury, open: Some(Box::new(entry)), tokens }
    }

    /// Gives back what is held beyond `amount`, the most that the request can cost from here on, where that is worth a write.
    ///
    /// Should this process die, all that the file says is charged: so the file says less before anybody else may spend it.
    /// Cancel safety: dropped, all stays held.
    pub async fn shrink(&mut self, amount: NanoUsd) {
        let Some(entry) = self.open.as_deref_mut() else { return };
        if entry.lines.is_empty() || amount.0 > entry.amount.0 / 4 * 3 {
            return;
        }
        let less = HoldEntry { amount, ..entry.clone() };
        if self.treasury.ledger().hold(&less).await.is_ok() {
            entry.amount = amount;
            self.treasury.shrink(entry.id, amount);
        }
    }

    /// Whether any budget holds it.
    pub fn is_counted(&self) -> bool {
        self.open.as_deref().is_some_and(|entry| !entry.lines.is_empty())
    }

    /// Asks for `extra` more. What comes back says all that is held then, once that is durable; `None`: there is no room for it.
    ///
    /// Cancel safety: dropped, the budgets may hold more than this purse knows, until it is settled.
    pub fn grow(&self, extra: NanoUsd) -> impl Future<Output = Option<NanoUsd>> + Send + use<> {
        let treasury = Arc::clone(&self.treasury);
        let entry = self.open.as_deref().cloned();
        async move {
            let mut entry = entry?;
            entry.amount = NanoUsd(entry.amount.0.saturating_add(extra.0));
            if !treasury.grow(entry.id, extra).await {
                return None;
            }
            treasury.ledger().hold(&entry).await.ok().map(|()| entry.amount)
        }
    }

    /// It holds `amount` now.
    pub fn grown(&mut self, amount: NanoUsd) {
        if let Some(entry) = self.open.as_deref_mut() {
            entry.amount = amount;
        }
    }

    /// Charges what the attempts cost and gives the rest back. What comes back is ready once that is durable; it is written
    /// whether or not anybody waits for it.
    pub fn settle(mut self, closing: Closing) -> Settling {
        let Some(entry) = self.open.take() else { return Settling::done() };
        let HoldEntry { id, lines, context, .. } = *entry;
        let tokens = |one: &AttemptRecord| one.usage.prompt.saturating_add(one.usage.completion);
        let tokens = closing.attempts.iter().map(tokens).fold(0, u64::saturating_add);
        let record = closing.record(id, context);
        self.treasury.settle(record, lines, tokens)
    }
}

impl std::fmt::Debug for Purse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Purse").field("open", &self.open).finish_non_exhaustive()
    }
}

impl Drop for Purse {
    fn drop(&mut self) {
        if let Some(entry) = self.open.take() {
            let tokens = self.tokens;
            let (record, lines) = entry.lost();
            drop(self.treasury.settle(record, lines, tokens));
        }
    }
}

/// A record on its way to the disk.
pub struct Settling(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Settling {
    /// One that is there.
    pub const fn done() -> Self {
        Self(None)
    }

    pub(super) fn of(writing: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(Box::pin(writing)))
    }
}

impl Future for Settling {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(waiting) = self.0.as_mut() else { return Poll::Ready(()) };
        std::task::ready!(waiting.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(())
    }
}
