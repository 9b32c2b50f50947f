//! A budget and a bound on concurrency, as configured.

use std::sync::Arc;

use crate::units::NanoUsd;

use super::scope::Scope;
use super::window::Calendar;

/// What happens to requests that a spent budget cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenSpent {
    /// They are refused (429 `insufficient_quota`).
    #[default]
    Reject,
    /// They may go to the cheapest route only, and are counted past the limit.
    CheapestOnly,
    /// They may go to this machine's own engine only.
    LocalOnly,
}

/// Money for a scope in a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Its place in configuration and metrics, unique: `policy/interactive`, `key/alice`, `team/search`. With the scope and
    /// the window's start it names one balance.
    pub id: Arc<str>,
    /// For whom it counts.
    pub scope: Scope,
    /// How much.
    pub limit: NanoUsd,
    /// When it begins anew.
    pub calendar: Calendar,
    /// Whether it stops requests; a soft one only warns.
    pub hard: bool,
    /// What happens when it is spent.
    pub when_spent: WhenSpent,
}

/// Requests at once for a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concurrency {
    /// For whom.
    pub scope: Scope,
    /// How many at once.
    pub max: u32,
}
