//! What the guard, the service and the driver of one connection tell each other.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use super::{BodyFault, Refusal};

/// One connection's common knowledge. All of it is written and read by the connection's own tasks, and carries no other
/// data along, so relaxed order is enough.
#[derive(Debug)]
pub struct ConnectionState {
    born: Instant,
    open: AtomicUsize,
    quiet_since_ns: AtomicU64,
    refused: OnceLock<(u64, Refusal)>,
    fault: OnceLock<(u64, BodyFault)>,
    /// The number of the request whose body has not come whole; 0 if there is none.
    body_open: AtomicU64,
    write_is_blocked: AtomicBool,
}

impl ConnectionState {
    /// For a connection that begins now.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            born: Instant::now(),
            open: AtomicUsize::new(0),
            quiet_since_ns: AtomicU64::new(0),
            refused: OnceLock::new(),
            fault: OnceLock::new(),
            body_open: AtomicU64::new(0),
            write_is_blocked: AtomicBool::new(false),
        })
    }

    /// The refusal that the `nth` request of the connection stands in for, counted from 1.
    pub fn refusal(&self, nth: u64) -> Option<Refusal> {
        self.refused.get().and_then(|&(at, refusal)| (at == nth).then_some(refusal))
    }

    /// What broke the body of the `nth` request, if something did.
    pub fn fault(&self, nth: u64) -> Option<BodyFault> {
        self.fault.get().and_then(|&(at, fault)| (at == nth).then_some(fault))
    }

    /// Whether the socket takes no more bytes for now.
    pub fn is_write_blocked(&self) -> bool {
        self.write_is_blocked.load(Ordering::Relaxed)
    }

    /// Whether the body of the `nth` request has not come whole, or never will, so that the connection can't be used
    /// again once the request is answered.
    pub fn is_last(&self, nth: u64) -> bool {
        self.body_open.load(Ordering::Relaxed) == nth
            || self.fault(nth).is_some()
            || self.refusal(nth).is_some()
    }

    /// Since when no request is open; nothing while one is.
    pub fn quiet_since(&self) -> Option<Instant> {
        (self.open.load(Ordering::Relaxed) == 0)
            .then(|| self.born + Duration::from_nanos(self.quiet_since_ns.load(Ordering::Relaxed)))
    }

    /// Counts a request as open until the mark is dropped.
    pub fn open(self: &Arc<Self>) -> InFlight {
        self.open.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    pub(super) fn set_refused(&self, nth: u64, refusal: Refusal) {
        // The guard refuses once and is deaf from then on.
        let _ = self.refused.set((nth, refusal));
    }

    pub(super) fn set_fault(&self, nth: u64, fault: BodyFault) {
        let _ = self.fault.set((nth, fault));
    }

    pub(super) fn set_body_open(&self, nth: u64) {
        self.body_open.store(nth, Ordering::Relaxed);
    }

    pub(super) fn set_write_blocked(&self, is_blocked: bool) {
        self.write_is_blocked.store(is_blocked, Ordering::Relaxed);
    }
}

/// An open request: from its head to the end of its answer.
#[derive(Debug)]
pub struct InFlight(Arc<ConnectionState>);

impl InFlight {
    /// The connection it is on.
    pub fn connection(&self) -> &ConnectionState {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let quiet = u64::try_from(self.0.born.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.quiet_since_ns.store(quiet, Ordering::Relaxed);
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
