//! How warm a cache could be at best: for each prefix, when some other request could last have left it there.

use crate::replay::trace::{Arrival, Trace};

/// For each link of a trace, the requests around it that have the same block.
#[derive(Debug)]
pub(super) struct Reuse {
    /// Until when an earlier request may have begun to be answered that has the block, in microseconds; 0: there is none.
    before_us: Vec<u64>,
    /// When the next request that has the block comes; `u64::MAX`: there is none.
    after_us: Vec<u64>,
}

impl Reuse {
    /// `began_by_us` says until when a request's answer begins at the latest.
    pub(super) fn new(trace: &Trace, began_by_us: impl Fn(&Arrival) -> u64) -> Self {
        let blocks = usize::try_from(trace.blocks).unwrap_or(0);
        let mut before_us = vec![0; trace.links.len()];
        let mut after_us = vec![u64::MAX; trace.links.len()];
        let mut latest = vec![0; blocks];
        for arrival in &trace.arrivals {
            let began = began_by_us(arrival);
            for at in places(arrival) {
                let Some(known) = trace.links.get(at).and_then(|link| latest.get_mut(link.block as usize))
                else {
                    continue;
                };
                before_us[at] = *known;
                *known = began.max(*known);
            }
        }
        let mut next = vec![u64::MAX; blocks];
        for arrival in trace.arrivals.iter().rev() {
            for at in places(arrival) {
                let Some(known) = trace.links.get(at).and_then(|link| next.get_mut(link.block as usize))
                else {
                    continue;
                };
                after_us[at] = *known;
                *known = arrival.at_us;
            }
        }
        Self { before_us, after_us }
    }

    /// Tokens of its prompt that a request, sent by `sent_by_us`, could find in a cache whose blocks live for `ttl_us`.
    pub(super) fn tokens(&self, trace: &Trace, arrival: &Arrival, ttl_us: u64, sent_by_us: u64) -> u32 {
        // The world counts in milliseconds, and from one.
        let since_us = arrival.at_us.saturating_sub(ttl_us).saturating_sub(2_000);
        let from = arrival.links_from as usize;
        let warm = |at: usize| {
            let before = self.before_us.get(at).is_some_and(|us| *us > 0 && *us >= since_us);
            before || self.after_us.get(at).is_some_and(|us| *us <= sent_by_us)
        };
        // Who has a block has all before it: the further, the fewer have it.
        let links = trace.links_of(arrival);
        let (mut low, mut high) = (0, links.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if warm(from + middle) { low = middle + 1 } else { high = middle }
        }
        low.checked_sub(1).and_then(|last| links.get(last)).map_or(0, |link| link.tokens_end)
    }
}

fn places(arrival: &Arrival) -> std::ops::Range<usize> {
    let from = arrival.links_from as usize;
    from..from + usize::from(arrival.links)
}
