//! The only place of this crate that reads the machine's clock.

use std::time::Instant;
#[cfg(feature = "llama")]
use std::time::{SystemTime, UNIX_EPOCH};

/// A point on the monotonic clock, for durations.
#[expect(
    clippy::disallowed_methods,
    reason = "this crate stands alone; here is its one reading of the clock"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[cfg(feature = "llama")]
/// The time of day, for time stamps.
#[cfg(feature = "llama")]
#[expect(clippy::disallowed_methods, reason = "as above")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

#[cfg(feature = "llama")]
/// Whole seconds since 1970, as OpenAI's `created` has them.
#[cfg(feature = "llama")]
pub(crate) fn unix_seconds() -> u64 {
    wall().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
