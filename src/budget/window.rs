//! When a budget begins anew.

use std::time::Duration;

use jiff::tz::TimeZone;

/// How long a budget lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// From full hour to full hour.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first to the first.
    Month,
    /// The time that has just passed, up to now.
    Rolling(Duration),
}

/// A period in a time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    /// How long.
    pub period: Period,
    /// Whose midnights.
    pub zone: TimeZone,
}

/// One turn of a calendar: `[start, end)` in seconds since 1970 (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Window {
    /// First second.
    pub start: i64,
    /// First second that is no longer in it.
    pub end: i64,
}
