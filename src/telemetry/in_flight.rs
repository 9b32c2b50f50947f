//! A request under way: counted while this lives, whatever ends it.

use prometheus::IntGauge;
use tokio::sync::OwnedSemaphorePermit;

/// One of the requests that may be in flight at once. Given back when dropped.
#[derive(Debug)]
pub struct InFlight {
    gauge: Option<IntGauge>,
    _room: OwnedSemaphorePermit,
}

impl InFlight {
    /// Takes the place that `room` stands for.
    pub const fn new(room: OwnedSemaphorePermit) -> Self {
        Self { gauge: None, _room: room }
    }

    /// Counts it on `gauge` too, once it is known which policy serves it.
    pub fn count_on(&mut self, gauge: IntGauge) {
        gauge.inc();
        if let Some(before) = self.gauge.replace(gauge) {
            before.dec();
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(gauge) = &self.gauge {
            gauge.dec();
        }
    }
}
