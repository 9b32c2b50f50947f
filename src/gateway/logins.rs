//! Failed logins by address: so many in a row, so many a minute, and past that the answer is to wait. A right key is never
//! asked to: who guesses beside it, behind one proxy perhaps, must not lock it out, and 256 random bits are not guessed.
//!
//! No store is asked for an unknown key in any case: all keys are in memory.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::units::Clock;

/// Failures that an address may have at once.
const BURST: NonZeroU32 = NonZeroU32::new(20).expect("twenty is above zero");
/// One more after each such time.
const EVERY: Duration = Duration::from_secs(3);
/// Addresses that are remembered; past that all further ones share one account.
const ADDRESSES_MAX: usize = 10_000;
/// How often those that have rested long enough are forgotten, where room is short.
const FORGETS_EVERY_NS: u64 = 1_000_000_000;

/// Counts failed logins.
pub struct Logins {
    limiter: RateLimiter<IpAddr, DashMapStateStore<IpAddr>, Steady, NoOpMiddleware<Nanos>>,
    forgot_at: AtomicU64,
}

impl Logins {
    /// Nobody has failed yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let quota = Quota::with_period(EVERY).unwrap_or(Quota::per_minute(BURST)).allow_burst(BURST);
        let limiter = RateLimiter::new(quota, DashMapStateStore::default(), Steady(clock));
        Self { limiter, forgot_at: AtomicU64::new(0) }
    }

    /// Counts a failed login from there. An error: too many, and how long to wait.
    pub fn failed(&self, from: IpAddr) -> Result<(), Duration> {
        let address = if self.has_room() { network(from) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        self.limiter.check_key(&address).map_err(|refused| {
            refused.wait_time_from(self.limiter.clock().now()).max(Duration::from_millis(1))
        })
    }

    fn has_room(&self) -> bool {
        if self.limiter.len() < ADDRESSES_MAX {
            return true;
        }
        let now = self.limiter.clock().now().as_u64();
        let before = self.forgot_at.load(Ordering::Relaxed);
        let is_due = now.saturating_sub(before) >= FORGETS_EVERY_NS;
        let is_mine =
            || self.forgot_at.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_due && is_mine() {
            self.limiter.retain_recent();
        }
        self.limiter.len() < ADDRESSES_MAX
    }
}

impl std::fmt::Debug for Logins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logins").field("addresses", &self.limiter.len()).finish_non_exhaustive()
    }
}

/// Whom an address counts for: in IPv6 one household or machine has a whole network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// Our clock's steady line, as the limiter reads it.
#[derive(Clone)]
struct Steady(Arc<dyn Clock>);

impl GovernorClock for Steady {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.now().mono.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::ManualClock;

    fn logins() -> (Arc<ManualClock>, Logins) {
        let clock = Arc::new(ManualClock::at(jiff::Timestamp::UNIX_EPOCH));
        (Arc::clone(&clock), Logins::new(clock))
    }

    fn v4(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn r55_an_address_fails_twenty_times_and_then_every_three_seconds() {
        let (clock, logins) = logins();
        assert_eq!((0..50).filter(|_| logins.failed(v4(1)).is_ok()).count(), 20);
        let wait = logins.failed(v4(1)).unwrap_err();
        assert!(wait > Duration::from_millis(2_900) && wait <= EVERY, "{wait:?}");
        assert!(logins.failed(v4(2)).is_ok(), "another address has its own account");
        clock.advance(EVERY);
        assert!(logins.failed(v4(1)).is_ok() && logins.failed(v4(1)).is_err());
    }

    #[test]
    fn one_network_of_the_new_protocol_is_one_address() {
        let (_, logins) = logins();
        let at =
            |last: u16, network: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, last));
        assert_eq!((0..50).filter(|last| logins.failed(at(*last, 1)).is_ok()).count(), 20);
        assert!(logins.failed(at(0, 2)).is_ok());
        let mapped: IpAddr = "::ffff:0.0.0.9".parse().unwrap();
        assert_eq!(network(mapped), v4(9));
    }

    #[test]
    fn r55_a_flood_of_addresses_takes_bounded_memory() {
        let (clock, logins) = logins();
        for number in 0..100_000 {
            let _ = logins.failed(v4(number));
        }
        assert!(logins.limiter.len() <= ADDRESSES_MAX + 1, "{}", logins.limiter.len());
        clock.advance(Duration::from_mins(2));
        assert!(logins.failed(v4(200_000)).is_ok(), "those who rested are forgotten");
        assert!(logins.limiter.len() < 10, "{}", logins.limiter.len());
    }
}
