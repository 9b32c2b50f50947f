//! What a provider says afterwards that an attempt cost, where its own usage never came: a record of the difference, beside the
//! one that it corrects. Nothing that was written is changed. Pure.

use crate::budget::HoldId;
use crate::units::{NanoUsd, Usage};

use super::record::{AttemptRecord, RequestRecord};

/// The outcome of such a record.
pub const ADJUSTED: &str = "adjusted";

/// The record that corrects the attempt number `n` of `record` to `charged`; `None` where there is no such attempt. It says what the
/// request's own says, so that it counts for the same key, team and day; its amount is what was charged too little, or less than
/// zero. Its tokens are none: those of the request stand.
pub fn adjustment(record: &RequestRecord, n: usize, charged: NanoUsd) -> Option<RequestRecord> {
    let attempt = record.attempts.get(n)?;
    let difference = NanoUsd(charged.0.checked_sub(attempt.amount.0)?);
    let attempt = AttemptRecord {
        usage: Usage::default(),
        source: "stated",
        reason: "looked up".into(),
        amount: difference,
        parts: [NanoUsd::ZERO, NanoUsd::ZERO, NanoUsd::ZERO, NanoUsd::ZERO, difference],
        unpriced: false,
        price_source: "".into(),
        price_as_of: "".into(),
        outcome: ADJUSTED,
        ..attempt.clone()
    };
    Some(RequestRecord {
        hold: name(record.hold, n),
        ttft_ms: None,
        total_ms: 0,
        outcome: ADJUSTED,
        amount: difference,
        saved: NanoUsd::ZERO,
        attempts: vec![attempt],
        ..record.clone()
    })
}

/// Always the same for the same attempt, so that it is corrected once.
pub fn name(hold: HoldId, n: usize) -> HoldId {
    let mut of = blake3::Hasher::new_derive_key("tollway ledger adjustment 1");
    of.update(&hold.0.to_be_bytes());
    of.update(&(n as u64).to_be_bytes());
    let mut first = [0; 16];
    of.finalize_xof().fill(&mut first);
    HoldId(u128::from_be_bytes(first))
}
