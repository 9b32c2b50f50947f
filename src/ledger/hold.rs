//! What is kept of a request before it is sent: enough to charge it in full should this gateway die. Pure.

use std::sync::Arc;

use jiff::Timestamp;

use crate::budget::{HoldId, Scope, Window};
use crate::units::{NanoUsd, RequestId, Usage};

use super::closing::Closing;
use super::record::{AttemptRecord, RequestRecord};

/// One balance that an amount counts in: a budget's, for one scope, in one turn of its calendar.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Line {
    /// The budget's id.
    pub budget: Arc<str>,
    /// For whom.
    pub scope: Scope,
    /// In which turn: the one in which the request was admitted.
    pub window: Window,
}

/// A hold, as it is made durable before anything is sent. Holding again under the same id replaces amount and lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldEntry {
    /// Its name, as in the demand and in the record.
    pub id: HoldId,
    /// The most that the request can cost.
    pub amount: NanoUsd,
    /// The balances that it is held in.
    pub lines: Vec<Line>,
    /// Whose request it is.
    pub context: HoldContext,
}

/// What a record needs beyond money: the fields of the same names in `RequestRecord` and `AttemptRecord`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldContext {
    /// The request's id.
    pub id: RequestId,
    /// The caller's key.
    pub key: Arc<str>,
    /// Its user.
    pub user: Arc<str>,
    /// Its team.
    pub team: Arc<str>,
    /// Its organisation.
    pub organisation: Arc<str>,
    /// The policy that decided.
    pub policy: Arc<str>,
    /// Tags, by name.
    pub tags: Vec<(Box<str>, Box<str>)>,
    /// The model as the caller wrote it.
    pub model: Box<str>,
    /// The endpoint's word.
    pub endpoint: &'static str,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// When the request came; its record must say the same moment.
    pub began: Timestamp,
    /// The provider that is asked first; empty if none is known.
    pub provider: Arc<str>,
    /// The route that is asked first; empty if none is known.
    pub route: Arc<str>,
    /// That route's checkpoint; empty if none is known.
    pub checkpoint: Arc<str>,
}

impl HoldEntry {
    /// The record of a request whose gateway died: nobody knows what it cost, so all that was held is charged.
    pub fn lost(self) -> (RequestRecord, Vec<Line>) {
        let HoldEntry { id, amount, lines, context } = self;
        let attempt = AttemptRecord {
            provider: Arc::clone(&context.provider),
            route: Arc::clone(&context.route),
            checkpoint: Arc::clone(&context.checkpoint),
            usage: Usage::default(),
            source: "hold",
            reason: "the gateway died before it was settled".into(),
            amount,
            parts: [NanoUsd::ZERO, NanoUsd::ZERO, NanoUsd::ZERO, NanoUsd::ZERO, amount],
            unpriced: false,
            price_source: "".into(),
            price_as_of: "".into(),
            generation: "".into(),
            asked: context.began,
            outcome: "lost",
        };
        let closing =
            Closing { ttft_ms: None, total_ms: 0, status: 0, outcome: "lost", attempts: vec![attempt] };
        (closing.record(id, context), lines)
    }
}
