//! What the guard, the service and the driver of one connection tell each other.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
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
    /// HTTP/2 streams with an answer under way, some of which may be over. Short locks, never across an await.
    taking: Mutex<Vec<Weak<AtomicU64>>>,
}

/// Streams whose marks are kept before those that are over are looked for.
const TAKING_MAX: usize = 512;
/// What stands in a mark while nothing waits for the client.
const NOTHING_WAITS: u64 = u64::MAX;

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
            taking: Mutex::default(),
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

    /// A mark for the answer of an HTTP/2 stream, which its client has yet to take.
    fn taking(self: &Arc<Self>) -> Taking {
        let since_ns = Arc::new(AtomicU64::new(self.now_ns()));
        let mut all = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= TAKING_MAX {
            all.retain(|one| one.strong_count() > 0);
        }
        all.push(Arc::downgrade(&since_ns));
        drop(all);
        Taking { since_ns, connection: Arc::clone(self) }
    }

    /// Since when the client of some HTTP/2 stream has taken nothing of what waits for it; the longest.
    pub fn untaken_since(&self) -> Option<Instant> {
        let mut all = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| one.strong_count() > 0);
        let waiting = all.iter().filter_map(Weak::upgrade).map(|since| since.load(Ordering::Relaxed));
        let longest = waiting.filter(|since| *since != NOTHING_WAITS).min()?;
        Some(self.born + Duration::from_nanos(longest))
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(NOTHING_WAITS - 1)
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

/// What a client has yet to take of an HTTP/2 stream, whose window may stay shut while the connection is alive and well.
#[derive(Debug)]
pub struct Taking {
    since_ns: Arc<AtomicU64>,
    connection: Arc<ConnectionState>,
}

impl Taking {
    /// A piece waits to be taken.
    pub fn waits(&self) {
        self.since_ns.store(self.connection.now_ns(), Ordering::Relaxed);
    }

    /// All was taken, and more is wanted.
    pub fn wants(&self) {
        self.since_ns.store(NOTHING_WAITS, Ordering::Relaxed);
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

    /// A mark for its answer, on HTTP/2.
    pub fn taking(&self) -> Taking {
        self.0.taking()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let quiet = u64::try_from(self.0.born.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.quiet_since_ns.store(quiet, Ordering::Relaxed);
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
