//! The price of a second of our own hardware's prefill work (ν): it rises while the queue is longer than it should be. It is
//! measured in what such a second saves: what the same requests cost elsewhere.

use crate::units::Mono;

/// The queue aimed at, in seconds of prefill work; a small engine, which takes long over one prompt, must have another at
/// hand all the same.
const QUEUE_AIM_S: f64 = 0.35;
const AIM_OF_WORK: f64 = 3.0;
/// How fast the price follows, a second.
const STEP: f64 = 0.08;
/// How long a queue must last to count, in seconds, and how much faster the price falls than it rises.
const LASTS_S: f64 = 10.0;
const FALLS: f64 = 3.0;
/// Where it starts from zero, and its ceiling, as shares of what a second of prefill work saves.
const SEED: f64 = 0.02;
const CEILING: f64 = 3.0;
/// Share of a new request in the running means.
const SMOOTHING: f64 = 0.02;

/// The price of one engine's queue.
#[derive(Debug, Clone, Copy, Default)]
pub struct QueuePrice {
    /// Over what a second saves.
    price: f64,
    at: Mono,
    /// The queue as it was over the last seconds.
    queued_s: f64,
    /// Running means: what requests cost elsewhere in USD, and their prefill work here in seconds.
    cost_usd: f64,
    work_s: f64,
}

impl QueuePrice {
    /// A request was decided that would cost `cost_usd` elsewhere and would take `work_s` seconds of prefill work here.
    pub fn decided(&mut self, cost_usd: f64, work_s: f64) {
        if !(cost_usd.is_finite() && work_s.is_finite()) || cost_usd < 0.0 || work_s < 0.0 {
            return;
        }
        let share = if self.work_s == 0.0 { 1.0 } else { SMOOTHING };
        self.cost_usd += share * (cost_usd - self.cost_usd);
        self.work_s += share * (work_s - self.work_s);
    }

    /// The queue holds `queued_s` seconds of prefill work at `now`; looked at about once a second.
    pub fn look(&mut self, now: Mono, queued_s: f64) {
        let steps = (now.since(self.at).as_secs_f64()).min(10.0);
        if steps < 0.25 {
            return;
        }
        self.at = now;
        // One long prompt is no congestion: what counts is the queue of some seconds.
        self.queued_s += (queued_s - self.queued_s) * (1.0 - (-steps / LASTS_S).exp());
        let queued_s = self.queued_s;
        let aim_s = QUEUE_AIM_S.max(AIM_OF_WORK * self.work_s);
        let off = (queued_s - aim_s).clamp(-aim_s, 6.0 * aim_s) / aim_s;
        let off = if off < 0.0 { off * FALLS } else { off };
        let seed = if queued_s > aim_s { SEED } else { 0.0 };
        self.price = (self.price * (STEP * off * steps).exp() + seed * steps).clamp(0.0, CEILING);
    }

    /// USD for a second of prefill work.
    pub fn usd_per_s(&self) -> f64 {
        if self.work_s > 0.0 { self.price * self.cost_usd / self.work_s } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_with_the_queue_and_falls_without() {
        let mut price = QueuePrice::default();
        price.decided(1e-3, 0.5);
        let at = |second: u64| Mono(second * 1_000_000_000);
        (1..60).for_each(|second| price.look(at(second), 2.0));
        let busy = price.usd_per_s();
        (60..600).for_each(|second| price.look(at(second), 0.0));
        assert!(busy > 1e-3 && price.usd_per_s() < busy / 1e3, "{busy}");
    }
}
