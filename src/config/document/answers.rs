//! What is kept of answers, for callers that ask again.

use crate::config::record::record;

use super::values::Span;

record! {
    /// What becomes of the answers to requests that their callers have named by an `Idempotency-Key`.
    pub struct IdempotencyDocument {
        /// How long they are kept, sealed with that key: in `state_dir`, or in the Redis of `store`. Default 24h; `0s`: the
        /// header means nothing.
        keep: Span,
    }
}
