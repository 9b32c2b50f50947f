//! Time as an argument: the only file that reads the machine's clock.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

/// A point on the clock's own steady line, in nanoseconds since that clock began. Never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// How long ago `earlier` was; zero if it was not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This point moved back by `by`, to the clock's beginning at most.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// This point moved on by `by`.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// One reading: the steady line for measuring, the calendar for prices and records.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For durations and deadlines.
    pub mono: Mono,
    /// For prices, budgets and log lines.
    pub wall: Timestamp,
}

/// Where time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Now;

    /// The present moment on the steady line alone, where the hour of the day is nobody's concern.
    fn mono(&self) -> Mono {
        self.now().mono
    }
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    began: std::time::Instant,
}

impl SystemClock {
    /// A clock whose steady line begins now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock the others take")]
    pub fn new() -> Self {
        Self { began: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock the others take")]
    fn now(&self) -> Now {
        Now { mono: self.mono(), wall: Timestamp::now() }
    }

    fn mono(&self) -> Mono {
        Mono(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// A clock turned by hand, for tests and replay.
#[derive(Debug)]
pub struct ManualClock {
    mono_ns: AtomicU64,
    wall_ms: AtomicI64,
}

impl ManualClock {
    /// A clock that stands at `wall`, its steady line at zero.
    pub fn at(wall: Timestamp) -> Self {
        Self { mono_ns: AtomicU64::new(0), wall_ms: AtomicI64::new(wall.as_millisecond()) }
    }

    /// Moves both lines on.
    pub fn advance(&self, by: Duration) {
        self.mono_ns.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
        self.wall_ms.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        Now {
            mono: Mono(self.mono_ns.load(Ordering::SeqCst)),
            wall: Timestamp::from_millisecond(self.wall_ms.load(Ordering::SeqCst)).unwrap_or(Timestamp::MAX),
        }
    }
}
