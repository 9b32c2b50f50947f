//! What the ledger keeps: one record for each request, and in it one for each attempt. Whole nano-dollars; the amounts of the
//! attempts add up to the request's, and the parts of an attempt's to its amount. Prompts and answers are not in it.

use std::sync::Arc;

use jiff::Timestamp;

use crate::budget::HoldId;
use crate::units::{NanoUsd, RequestId, Usage};

/// One request, whole. Written once, when nothing more can be charged for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    /// Its hold's name, unique over all replicas and for ever; settling twice writes once (R32).
    pub hold: HoldId,
    /// Its id, also of its decision. A caller may send the same one twice.
    pub id: RequestId,
    /// The caller's key; empty without one.
    pub key: Arc<str>,
    /// Whose key it is; empty if it is nobody's in particular.
    pub user: Arc<str>,
    /// The team.
    pub team: Arc<str>,
    /// The organisation; empty if there is none.
    pub organisation: Arc<str>,
    /// The policy that decided; empty if it never came to that.
    pub policy: Arc<str>,
    /// Tags, by name.
    pub tags: Vec<(Box<str>, Box<str>)>,
    /// The model as the caller wrote it.
    pub model: Box<str>,
    /// `chat`, `messages`, `embeddings`, and so on.
    pub endpoint: &'static str,
    /// Whether it asked for a stream.
    pub stream: bool,
    /// When it came.
    pub began: Timestamp,
    /// From then to the first token, in milliseconds.
    pub ttft_ms: Option<u64>,
    /// From then to the end, in milliseconds.
    pub total_ms: u64,
    /// The status that the caller saw; 499 if it had left.
    pub status: u16,
    /// `ok`, `cancelled`, `upstream_error`, …; `lost` for a hold whose gateway died, charged in full.
    pub outcome: &'static str,
    /// What all attempts cost.
    pub amount: NanoUsd,
    /// What a cache of answers saved.
    pub saved: NanoUsd,
    /// Every attempt, in the order in which they were made.
    pub attempts: Vec<AttemptRecord>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// The provider.
    pub provider: Arc<str>,
    /// `provider/upstream-model`.
    pub route: Arc<str>,
    /// The checkpoint.
    pub checkpoint: Arc<str>,
    /// Tokens charged.
    pub usage: Usage,
    /// What the charge rests on: `reported`, `stated`, `estimated`, `none` for an attempt that costs nothing, `hold` for one
    /// whose gateway died.
    pub source: &'static str,
    /// Why it was estimated, or what went wrong; empty otherwise.
    pub reason: Box<str>,
    /// The amount.
    pub amount: NanoUsd,
    /// Its parts: input, cache read, cache write, output, request (`ledger::components`).
    pub parts: [NanoUsd; 5],
    /// Whether nobody knows a price: then the amount is zero, and unknown.
    pub unpriced: bool,
    /// The line of the price book: where the price was read, and on which day; empty where the provider stated the cost.
    pub price_source: Arc<str>,
    /// As above.
    pub price_as_of: Arc<str>,
    /// The provider's own name for the answer, to look it up there; empty if there was none.
    pub generation: Box<str>,
    /// When it was asked.
    pub asked: Timestamp,
    /// `ok`, `failed`, `cancelled`, `broken`, `lost`.
    pub outcome: &'static str,
}
