//! Conditions a test opens by hand, so that no test has to sleep.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Semaphore, watch};

/// How long a test waits for something that must happen; only a broken test gets here.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A gate on a reply's way: the fake stands before it until the test lets it through.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    passes: Semaphore,
    arrivals: watch::Sender<usize>,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(Arc::new(Inner { passes: Semaphore::new(0), arrivals: watch::Sender::new(0) }))
    }

    /// Opens the gate for good.
    pub fn open(&self) {
        self.0.passes.add_permits(Semaphore::MAX_PERMITS / 4);
    }

    /// Lets `count` replies through, then is closed again.
    pub fn release(&self, count: usize) {
        self.0.passes.add_permits(count);
    }

    /// How many times a reply has come to this gate so far.
    pub fn arrivals(&self) -> usize {
        *self.0.arrivals.borrow()
    }

    /// Waits until replies have come to the gate `count` times in all. Dropping the future does nothing.
    pub async fn reached(&self, count: usize) {
        let mut arrivals = self.0.arrivals.subscribe();
        let arrived = arrivals.wait_for(|seen| *seen >= count);
        let seen = tokio::time::timeout(PATIENCE, arrived).await;
        assert!(seen.is_ok(), "the gate was reached {} times, not {count}", self.arrivals());
    }

    pub(crate) async fn pass(&self) {
        self.0.arrivals.send_modify(|count| *count += 1);
        self.0.passes.acquire().await.expect("the gate is never closed as a semaphore").forget();
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

/// What a reply waits for at one point of its way.
#[derive(Clone, Debug)]
pub enum Pause {
    /// Until the test opens it.
    Gate(Gate),
    /// A time on the machine's clock.
    For(Duration),
    /// Until the caller goes or the fake dies.
    Forever,
}

impl Pause {
    pub(crate) async fn wait(&self) {
        match self {
            Self::Gate(gate) => gate.pass().await,
            Self::For(time) if time.is_zero() => {}
            Self::For(time) => tokio::time::sleep(*time).await,
            Self::Forever => std::future::pending().await,
        }
    }
}

impl From<&Gate> for Pause {
    fn from(gate: &Gate) -> Self {
        Self::Gate(gate.clone())
    }
}

impl From<Gate> for Pause {
    fn from(gate: Gate) -> Self {
        Self::Gate(gate)
    }
}

impl From<Duration> for Pause {
    fn from(time: Duration) -> Self {
        Self::For(time)
    }
}
