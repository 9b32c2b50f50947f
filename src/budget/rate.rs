//! A rate limit as configured, and its arithmetic: GCRA (ITU-T I.371, the virtual scheduling form).

use super::scope::Scope;

/// What a rate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Requests.
    Requests,
    /// Prompt and answer tokens: asked for by an estimate, set right when the answer is known.
    Tokens,
}

/// So many a minute for a scope; a whole minute's worth may come at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    /// For whom.
    pub scope: Scope,
    /// Of what.
    pub unit: Unit,
    /// How many a minute; above zero.
    pub per_minute: u64,
}
