//! What a key has used, as the ledger says.

use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the requests of one key came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// The key.
    pub name: Arc<str>,
    /// Requests that the ledger still has.
    pub requests: u64,
    /// Prompt tokens of all attempts.
    pub prompt_tokens: u64,
    /// Answer tokens of all attempts.
    pub answer_tokens: u64,
    /// What they cost, in USD to the nano-dollar.
    pub cost_usd: String,
    /// Spent of the key's budget in the present window, in USD; `None` without a budget.
    pub budget_spent_usd: Option<String>,
    /// When that window began.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub window_began: Option<Timestamp>,
}

/// Reads what a key has used, given its name. It may block: whoever calls it does so off the request's path. The ledger's
/// tables `requests` and `attempts` have the figures by `key`, and `spent` has the budget `key/NAME`.
pub type ReadUsage = Arc<dyn Fn(&str) -> Result<Usage, String> + Send + Sync>;
