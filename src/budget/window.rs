//! When a budget begins anew.

use std::fmt;
use std::time::Duration;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

/// A rolling period is counted in so many parts.
const PARTS: u64 = 60;

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
    /// The time that has just passed, up to now; a minute at least. It is counted in sixty parts, and a part counts until its
    /// last second is that old: so never more than the limit falls into any such span, and a little less may pass.
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

/// One turn of a calendar, or one part of a rolling period: `[start, end)` in seconds since 1970 (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Window {
    /// First second.
    pub start: i64,
    /// First second that is no longer in it.
    pub end: i64,
}

impl Window {
    /// Whether `second` lies in it.
    pub const fn holds(&self, second: i64) -> bool {
        self.start <= second && second < self.end
    }
}

impl Calendar {
    /// In the time zone of everyone: UTC.
    pub const fn utc(period: Period) -> Self {
        Self { period, zone: TimeZone::UTC }
    }

    /// The window that what is spent at `now` counts in.
    pub fn window(&self, now: Timestamp) -> Window {
        if let Period::Rolling(span) = self.period {
            let part = part_seconds(span);
            let start = now.as_second().div_euclid(part) * part;
            return Window { start, end: start + part };
        }
        // Beyond the calendar's ends (the year 9999) everything is one window.
        self.turn(now).unwrap_or(Window { start: i64::MIN, end: i64::MAX })
    }

    /// Until which second what was spent in `window` counts.
    pub fn counts_until(&self, window: Window) -> i64 {
        match self.period {
            Period::Rolling(span) => {
                window.end.saturating_add(i64::try_from(span.as_secs()).unwrap_or(i64::MAX))
            }
            _ => window.end,
        }
    }

    /// Whether what was spent in `window` counts at `now`.
    pub fn counts(&self, window: Window, now: Timestamp) -> bool {
        match self.period {
            // A clock that was set back finds parts that begin later than it says: they were spent all the same.
            Period::Rolling(_) => now.as_second() < self.counts_until(window),
            _ => window == self.window(now),
        }
    }

    /// A full hour by the zone's clocks. A change of clocks within one, as where they change by half an hour, ends it.
    fn hour(&self, now: Timestamp) -> Option<Window> {
        const HOUR: i64 = 3_600;
        let second = now.as_second();
        let offset = i64::from(self.zone.to_offset(now).seconds());
        let start = second - (second + offset).rem_euclid(HOUR);
        let later = now.checked_add(jiff::Span::new().seconds(1)).ok()?;
        let before = self.zone.preceding(later).next().map(|change| change.timestamp().as_second());
        let next = self.zone.following(now).next().map(|change| change.timestamp().as_second());
        Some(Window {
            start: before.filter(|at| *at <= second).map_or(start, |at| start.max(at)),
            end: next.filter(|at| *at > second).map_or(start + HOUR, |at| (start + HOUR).min(at)),
        })
    }

    fn turn(&self, now: Timestamp) -> Option<Window> {
        let zoned = now.to_zoned_datetime(self.zone.clone());
        let (start, end) = match self.period {
            Period::Hour => return self.hour(now),
            Period::Day => days(&zoned, 1)?,
            Period::Week => {
                let back = i64::from(zoned.weekday().since(Weekday::Monday));
                days(&zoned.checked_sub(jiff::Span::new().days(back)).ok()?, 7)?
            }
            Period::Month => {
                let first = zoned.first_of_month().ok()?.start_of_day().ok()?;
                let next = first.checked_add(jiff::Span::new().months(1)).ok()?.start_of_day().ok()?;
                (first, next)
            }
            Period::Rolling(_) => return None,
        };
        Some(Window { start: start.timestamp().as_second(), end: end.timestamp().as_second() })
    }
}

fn days(from: &ZonedDateTime, days: i64) -> Option<(ZonedDateTime, ZonedDateTime)> {
    let start = from.start_of_day().ok()?;
    // Where midnight does not exist the day begins with the first moment that does.
    let end = start.checked_add(jiff::Span::new().days(days)).ok()?.start_of_day().ok()?;
    Some((start, end))
}

fn part_seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs().div_ceil(PARTS).max(1)).unwrap_or(i64::MAX)
}

/// As people say it: `month`, or `24h` for a rolling one.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hour => f.write_str("hour"),
            Self::Day => f.write_str("day"),
            Self::Week => f.write_str("week"),
            Self::Month => f.write_str("month"),
            Self::Rolling(span) => match span.as_secs() {
                seconds if seconds % 3_600 == 0 => write!(f, "{}h", seconds / 3_600),
                seconds if seconds % 60 == 0 => write!(f, "{}m", seconds / 60),
                seconds => write!(f, "{seconds}s"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(period: Period, zone: &str, at: &str) -> (String, String) {
        let calendar = Calendar { period, zone: TimeZone::get(zone).unwrap() };
        let Window { start, end } = calendar.window(at.parse().unwrap());
        let text = |second| Timestamp::from_second(second).unwrap().to_string();
        (text(start), text(end))
    }

    #[test]
    fn r39_windows_follow_the_calendar_of_their_zone() {
        for (period, zone, at, start, end) in [
            (Period::Day, "UTC", "2026-11-25T23:59:59Z", "2026-11-25T00:00:00Z", "2026-11-26T00:00:00Z"),
            // The day on which the clocks go forward has 23 hours, and the other 25.
            (
                Period::Day,
                "Europe/Berlin",
                "2026-03-29T12:00:00Z",
                "2026-03-28T23:00:00Z",
                "2026-03-29T22:00:00Z",
            ),
            (
                Period::Day,
                "Europe/Berlin",
                "2026-10-25T12:00:00Z",
                "2026-10-24T22:00:00Z",
                "2026-10-25T23:00:00Z",
            ),
            (Period::Month, "UTC", "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            (
                Period::Month,
                "Asia/Shanghai",
                "2026-12-31T16:00:00Z",
                "2026-12-31T16:00:00Z",
                "2027-01-31T16:00:00Z",
            ),
            (Period::Week, "UTC", "2026-11-25T12:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
            (Period::Week, "UTC", "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
            (
                Period::Hour,
                "Asia/Kolkata",
                "2026-11-25T12:15:00Z",
                "2026-11-25T11:30:00Z",
                "2026-11-25T12:30:00Z",
            ),
            // Midnight does not exist there on that day.
            (
                Period::Day,
                "America/Santiago",
                "2026-09-06T12:00:00Z",
                "2026-09-06T04:00:00Z",
                "2026-09-07T03:00:00Z",
            ),
        ] {
            assert_eq!(window(period, zone, at), (start.to_owned(), end.to_owned()), "{period} {zone} {at}");
        }
    }

    #[test]
    fn r39_turns_follow_one_another_without_gap_or_overlap() {
        for zone in ["UTC", "Europe/Berlin", "America/Santiago", "Asia/Shanghai", "Australia/Lord_Howe"] {
            for period in [Period::Hour, Period::Day, Period::Week, Period::Month] {
                let calendar = Calendar { period, zone: TimeZone::get(zone).unwrap() };
                let mut at = "2026-03-20T00:00:00Z".parse::<Timestamp>().unwrap();
                for _ in 0..1_000 {
                    let window = calendar.window(at);
                    assert!(window.holds(at.as_second()), "{zone} {period} {at}");
                    let last = Timestamp::from_second(window.end - 1).unwrap();
                    assert_eq!(calendar.window(last), window, "{zone} {period} {at}");
                    at = Timestamp::from_second(window.end).unwrap();
                    assert_eq!(calendar.window(at).start, window.end, "{zone} {period} {at}");
                }
            }
        }
    }

    #[test]
    fn a_rolling_part_counts_until_its_last_second_is_old_enough() {
        let calendar = Calendar::utc(Period::Rolling(Duration::from_hours(1)));
        let at = |second| Timestamp::from_second(second).unwrap();
        let window = calendar.window(at(90));
        assert_eq!(window, Window { start: 60, end: 120 });
        assert!(calendar.counts(window, at(3_719)) && !calendar.counts(window, at(3_720)));
    }
}
