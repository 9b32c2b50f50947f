//! One line on standard error that says how far a long run is; nothing where nobody watches.

use std::io::{IsTerminal as _, Write as _};

use crate::units::{Clock as _, Mono, SystemClock};

/// A line that is written over as the work goes on.
#[derive(Debug)]
pub(super) struct Progress {
    clock: SystemClock,
    shown: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { clock: SystemClock::new(), shown: std::io::stderr().is_terminal() }
    }

    /// `done` of `all` jobs are done.
    #[expect(clippy::cast_precision_loss, reason = "counts of jobs")]
    pub(super) fn say(&self, done: usize, all: usize) {
        if !self.shown || done == 0 {
            return;
        }
        let left = self.clock.now().mono.since(Mono::default()).as_secs_f64() / done as f64
            * (all.saturating_sub(done)) as f64;
        let end = if done == all { "\r\x1b[K" } else { "" };
        // Who cannot be shown this misses nothing.
        let _ = write!(
            std::io::stderr().lock(),
            "\r\x1b[K{done} of {all} ({} %), about {} left{end}",
            done * 100 / all.max(1),
            crate::replay::protocol::report::span(left)
        );
    }
}
