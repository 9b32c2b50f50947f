//! The price of a second of our own hardware's prefill work (ν): it rises while the queue is longer than it should be.

use crate::units::Mono;

/// The queue aimed at, in seconds of prefill work.
const QUEUE_AIM_S: f64 = 0.35;
/// How fast the price follows, a second.
const STEP: f64 = 0.08;
/// Where it starts from zero, and its ceiling, in USD for a second of prefill work.
const SEED: f64 = 1e-6;
const CEILING: f64 = 0.02;

/// The price of one engine's queue.
#[derive(Debug, Clone, Default)]
pub struct QueuePrice {
    price: f64,
    at: Mono,
}

impl QueuePrice {
    /// The queue holds `queued_s` seconds of prefill work at `now`; looked at about once a second.
    pub fn look(&mut self, now: Mono, queued_s: f64) {
        let steps = (now.since(self.at).as_secs_f64()).min(10.0);
        if steps < 1.0 {
            return;
        }
        self.at = now;
        let off = (queued_s - QUEUE_AIM_S).clamp(-QUEUE_AIM_S, 2.0 * QUEUE_AIM_S) / QUEUE_AIM_S;
        let seed = if queued_s > QUEUE_AIM_S { SEED } else { 0.0 };
        self.price = (self.price * (STEP * off * steps).exp() + seed * steps).clamp(0.0, CEILING);
    }

    /// USD for a second of prefill work.
    pub const fn usd_per_s(&self) -> f64 {
        self.price
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_with_the_queue_and_falls_without() {
        let mut price = QueuePrice::default();
        let at = |second: u64| Mono(second * 1_000_000_000);
        (1..120).for_each(|second| price.look(at(second), 2.0));
        let busy = price.usd_per_s();
        (120..600).for_each(|second| price.look(at(second), 0.0));
        assert!(busy > 1e-4 && price.usd_per_s() < busy / 1e3, "{busy}");
    }
}
