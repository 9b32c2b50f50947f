//! A closed account as its line in the access log.

use std::io::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use crate::ledger::{Settlement, Source};
use crate::telemetry::access_log::escape_into;
use crate::telemetry::kept::End;
use crate::units::Usage;
use crate::upstream::Reason;

use super::{Ended, Open};
use crate::relay::parts::{Bill, parts_into};

impl Open {
    pub(super) fn log(
        &self,
        ended: Ended,
        settlement: &Settlement,
        earlier: &[Settlement],
        total: Duration,
        wall: Timestamp,
    ) {
        let (outcome, reason) = match ended {
            Ended::Well => ("ok", ""),
            Ended::CallerLeft => ("cancelled", ""),
            Ended::Broken(code) => ("upstream_error", code),
        };
        let (who, by, ttft) = (&self.who, &self.answered, self.ttft);
        let all = Bill::of_all(earlier.iter().chain([settlement]));
        let cost = all.with_lost(self.course.lost_amount()).cost;
        let source = earlier.iter().chain([settlement]).map(|one| one.source);
        let source = source.reduce(|one, other| if is_estimate(one) { one } else { other });
        self.books.log.line(|line| {
            // Writing into memory cannot fail.
            let _ = write!(line, "{{\"ts\":\"{wall:.3}\",\"request_id\":\"");
            escape_into(line, who.id.as_str());
            line.extend_from_slice(b"\",\"model\":\"");
            escape_into(line, &who.model);
            let Usage { prompt, cached, cache_write, completion, reasoning } = all.usage;
            let _ = write!(
                line,
                "\",\"endpoint\":\"{}\",\"policy\":\"{}\",\"team\":\"{}\",\"key\":\"{}\",\"route\":\"{}\",\"checkpoint\":\"{}\",\
                 \"attempts\":{},\"status\":200,\"outcome\":\"{outcome}\",\"stream\":{},\"prompt_tokens\":{prompt},\
                 \"cached_tokens\":{cached},\"cache_write_tokens\":{cache_write},\"completion_tokens\":{completion},\
                 \"reasoning_tokens\":{reasoning},\"usage\":\"{}\"",
                who.endpoint, who.policy, who.team, who.key, by.route, by.checkpoint, by.attempts, who.stream,
                source.map_or("", Source::name),
            );
            if let Some(cost) = cost {
                let _ = write!(line, ",\"cost_usd\":{cost}");
            }
            if let Some(card) = &by.card {
                let entry = card.entry_in_force(prompt, by.at);
                line.extend_from_slice(b",\"price_source\":\"");
                escape_into(line, &entry.source);
                line.extend_from_slice(b"\",\"price_as_of\":\"");
                escape_into(line, &entry.as_of);
                line.push(b'"');
            }
            let _ = write!(
                line,
                ",\"ttft_ms\":{},\"total_ms\":{},\"overhead_us\":{}",
                ttft.as_millis(),
                total.as_millis(),
                self.overhead.as_micros()
            );
            if !reason.is_empty() {
                let _ = write!(line, ",\"reason\":\"{reason}\"");
            }
            failures_into(line, &by.failures);
            parts_into(line, &self.parts, earlier);
            if let Some(kept) = &who.decision {
                let attempts = by.attempts;
                kept.ended(&End { outcome, route: Some(&by.route), attempts, ttft: Some(ttft), total, cost }, line);
            }
            line.push(b'}');
        });
    }
}

/// Appends what failed before an answer came, or until none did.
pub fn failures_into(line: &mut Vec<u8>, failures: &[Reason]) {
    if failures.is_empty() {
        return;
    }
    line.extend_from_slice(b",\"failed\":[");
    for (index, failure) in failures.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing into memory cannot fail.
        let _ = write!(
            line,
            "{comma}{{\"route\":\"{}\",\"reason\":\"{}\",\"message\":\"",
            failure.route,
            failure.fault.class.code()
        );
        escape_into(line, &failure.fault.message);
        line.extend_from_slice(b"\"}");
    }
    line.push(b']');
}

const fn is_estimate(source: Source) -> bool {
    matches!(source, Source::Estimated(_))
}
