//! How a request ended, and the record that is made of it. Pure.

use crate::budget::HoldId;
use crate::units::NanoUsd;

use super::hold::HoldContext;
use super::record::{AttemptRecord, RequestRecord};

/// How a request ended, for its record.
#[derive(Debug)]
pub struct Closing {
    /// From its arrival to the first token, in milliseconds.
    pub ttft_ms: Option<u64>,
    /// From its arrival to its end, in milliseconds.
    pub total_ms: u64,
    /// The status that the caller saw; 499 if it had left.
    pub status: u16,
    /// The word for how it ended.
    pub outcome: &'static str,
    /// Every attempt, the one that answered last.
    pub attempts: Vec<AttemptRecord>,
}

impl Closing {
    /// The record of the request that `context` is of: its amount is the sum of its attempts'.
    pub fn record(self, hold: HoldId, context: HoldContext) -> RequestRecord {
        let Self { ttft_ms, total_ms, status, outcome, attempts } = self;
        let sum = attempts.iter().fold(0_i64, |sum, attempt| sum.saturating_add(attempt.amount.0));
        RequestRecord {
            hold,
            id: context.id,
            key: context.key,
            user: context.user,
            team: context.team,
            organisation: context.organisation,
            policy: context.policy,
            tags: context.tags,
            model: context.model,
            endpoint: context.endpoint,
            stream: context.stream,
            began: context.began,
            ttft_ms,
            total_ms,
            status,
            outcome,
            amount: NanoUsd(sum),
            saved: NanoUsd::ZERO,
            attempts,
        }
    }
}
