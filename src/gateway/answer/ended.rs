//! The end of a request that has no answer: it failed and its caller is told, or its caller left. Either is counted and has
//! its line in the log.

use std::io::Write as _;
use std::sync::Arc;

use http::Response;

use crate::gateway::failure::Failure;
use crate::gateway::reply;
use crate::relay::RelayBody;
use crate::relay::account::{charge_lost, failures_into, lost_attempts};
use crate::telemetry::access_log::escape_into;
use crate::telemetry::kept::End;
use crate::treasury::Closing;
use crate::units::NanoUsd;

use super::Way;

/// The status of a request whose caller left: nobody saw it.
const LEFT: u16 = 499;

impl Way {
    /// Counts and logs a request that has no answer, and tells the caller.
    pub(super) fn failed(&mut self, failure: &Failure) -> Response<RelayBody> {
        let told = failure.told(self.id.as_str(), self.surface);
        self.count(told.status.as_u16(), failure.outcome());
        let cost = self.charge_lost(told.status.as_u16(), failure.outcome());
        self.log(told.status.as_u16(), failure.outcome(), cost, |line| {
            // Writing into memory cannot fail.
            let _ = write!(line, ",\"code\":\"{}\"", told.code);
            if let Some(cost) = cost {
                let _ = write!(line, ",\"usage\":\"estimated\",\"cost_usd\":{cost}");
            }
            if let Failure::Upstream(error) = failure {
                failures_into(line, error.reasons());
            }
        });
        reply::error(&told)
    }

    /// The caller left before anything was answered. What was cancelled is charged as far as it can be known: its prompt.
    fn left(&mut self) {
        let cost = self.charge_lost(LEFT, "cancelled");
        self.count(LEFT, "cancelled");
        self.log(LEFT, "cancelled", cost, |line| {
            if let Some(cost) = cost {
                let _ = write!(line, ",\"usage\":\"estimated\",\"cost_usd\":{cost}");
            }
        });
    }

    /// Charges what attempts without an answer cost, and settles what was held. `None`: nobody was asked for anything that costs.
    fn charge_lost(&mut self, status: u16, outcome: &'static str) -> Option<NanoUsd> {
        let books = &self.gateway.books;
        let (policy, team) = (name(self.seen.policy.as_ref()), name(self.seen.team.as_ref()));
        let lost = self.course.lost();
        charge_lost(&books.metrics, policy, team, &lost);
        if let Some(purse) = self.purse.take() {
            let now = books.clock.now();
            let total = now.mono.since(self.began.mono);
            let total_ms = u64::try_from(total.as_millis()).unwrap_or(u64::MAX);
            let attempts = lost_attempts(&lost, now);
            // It is written whether or not anybody waits for it: there is no answer to hold back.
            drop(purse.settle(Closing { ttft_ms: None, total_ms, status, outcome, attempts }));
        }
        Some(self.course.lost_amount()).filter(|cost| cost.0 > 0)
    }

    fn count(&self, status: u16, outcome: &str) {
        let seen = &self.seen;
        self.gateway.books.metrics.ended(
            name(seen.policy.as_ref()),
            name(seen.team.as_ref()),
            name(seen.provider.as_ref()),
            name(seen.checkpoint.as_ref()),
            status,
            outcome,
        );
    }

    pub(super) fn log(
        &self,
        status: u16,
        outcome: &'static str,
        cost: Option<NanoUsd>,
        more: impl Fn(&mut Vec<u8>),
    ) {
        let (books, seen) = (&self.gateway.books, &self.seen);
        let now = books.clock.now();
        let total = now.mono.since(self.began.mono);
        let attempts = if self.over { self.trail.attempts } else { self.course.asked() };
        books.log.line(|line| {
            // Writing into memory cannot fail.
            let _ = write!(line, "{{\"ts\":\"{:.3}\",\"request_id\":\"", now.wall);
            escape_into(line, self.id.as_str());
            line.extend_from_slice(b"\",\"model\":\"");
            escape_into(line, &seen.model);
            let _ = write!(
                line,
                "\",\"endpoint\":\"{}\",\"policy\":\"{}\",\"team\":\"{}\",\"attempts\":{attempts},\"status\":{status},\
                 \"outcome\":\"{outcome}\",\"total_ms\":{}",
                seen.endpoint,
                name(seen.policy.as_ref()),
                name(seen.team.as_ref()),
                total.as_millis(),
            );
            more(line);
            if let Some(kept) = &seen.decision {
                let route = self.trail.route.as_ref().and_then(|route| route.to_str().ok());
                kept.ended(&End { outcome, route, attempts, ttft: None, total, cost }, line);
            }
            line.push(b'}');
        });
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        if !self.over {
            self.left();
        }
    }
}

fn name(known: Option<&Arc<str>>) -> &str {
    known.map_or("none", |name| name)
}
