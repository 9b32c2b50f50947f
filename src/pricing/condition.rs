//! When prices other than the base hold: for long prompts, in windows of the UTC day, on weekdays.

use std::sync::Arc;

use jiff::Timestamp;

use super::card::PriceEntry;

/// When a card's other rates replace its base.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condition {
    /// Prompt strictly longer than this, in tokens.
    pub prompt_tokens_above: Option<u64>,
    /// Windows in minutes of the UTC day, start inclusive, end exclusive; one may wrap midnight, and then the
    /// part after midnight belongs to the day on which the window began. Empty: any time.
    pub utc_minutes: Vec<(u16, u16)>,
    /// Weekdays as bits, Monday = 1. Zero: every day.
    pub weekdays: u8,
    /// Days (`2026-10-01`) on which the windows do not hold, such as public holidays.
    pub except_days: Vec<jiff::civil::Date>,
    /// The calendar that `except_days` stands for, in words (`Chinese public holidays`). Without its days the
    /// condition has no exception: the dearer price is assumed.
    pub except: Option<Arc<str>>,
    /// The book's line behind these rates, where it is another than the card's.
    pub entry: Option<PriceEntry>,
}

impl Condition {
    /// Whether it holds for a prompt of this length at this moment.
    pub fn holds(&self, prompt_tokens: u64, at: Timestamp) -> bool {
        self.prompt_tokens_above.is_none_or(|limit| prompt_tokens > limit) && self.holds_at(at)
    }

    fn holds_at(&self, at: Timestamp) -> bool {
        if self.is_timeless() {
            return true;
        }
        let utc = jiff::tz::Offset::UTC.to_datetime(at);
        let today = utc.date();
        let minute = u16::from(utc.hour().unsigned_abs()) * 60 + u16::from(utc.minute().unsigned_abs());
        if self.utc_minutes.is_empty() {
            return self.holds_on(today);
        }
        self.utc_minutes.iter().any(|&(start, end)| {
            if start <= end {
                (start..end).contains(&minute) && self.holds_on(today)
            } else if minute >= start {
                self.holds_on(today)
            } else {
                minute < end && today.yesterday().is_ok_and(|began| self.holds_on(began))
            }
        })
    }

    /// Whether it holds for the same prompts at the same times as `other`, whatever line of the book it came from.
    pub fn same_times(&self, other: &Self) -> bool {
        self.prompt_tokens_above == other.prompt_tokens_above
            && self.utc_minutes == other.utc_minutes
            && self.weekdays == other.weekdays
            && self.except_days == other.except_days
            && self.except == other.except
    }

    /// Whether it depends on the clock at all.
    pub fn is_timeless(&self) -> bool {
        self.utc_minutes.is_empty() && self.weekdays == 0 && self.except_days.is_empty()
    }

    fn holds_on(&self, day: jiff::civil::Date) -> bool {
        let bit = 1_u8 << day.weekday().to_monday_zero_offset();
        (self.weekdays == 0 || self.weekdays & bit != 0) && !self.except_days.contains(&day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    const WEEKDAYS_ONLY: u8 = 0b001_1111;

    #[test]
    fn after_midnight_a_window_belongs_to_the_day_it_began() {
        let night = Condition {
            utc_minutes: vec![(22 * 60, 2 * 60)],
            weekdays: WEEKDAYS_ONLY,
            except_days: vec!["2026-11-26".parse().unwrap()],
            ..Condition::default()
        };
        for (moment, holds) in [
            ("2026-11-23T21:59:59Z", false), // Monday
            ("2026-11-23T22:00:00Z", true),
            ("2026-11-24T01:59:59Z", true),
            ("2026-11-24T02:00:00Z", false),
            ("2026-11-23T01:00:00Z", false), // Monday, but the window began on Sunday
            ("2026-11-27T23:00:00Z", true),  // Friday
            ("2026-11-28T01:00:00Z", true),  // Saturday, but the window began on Friday
            ("2026-11-28T23:00:00Z", false), // Saturday
            ("2026-11-26T23:00:00Z", false), // the excepted Thursday
            ("2026-11-27T01:00:00Z", false), // still its night
            ("2026-11-26T01:00:00Z", true),  // the night of Wednesday
        ] {
            assert_eq!(night.holds(0, at(moment)), holds, "{moment}");
        }
    }

    #[test]
    fn weekdays_without_windows_hold_all_day() {
        let weekend = Condition { weekdays: !WEEKDAYS_ONLY & 0x7f, ..Condition::default() };
        assert!(weekend.holds(0, at("2026-11-28T00:00:00Z")) && weekend.holds(0, at("2026-11-29T23:59:59Z")));
        assert!(!weekend.holds(0, at("2026-11-30T00:00:00Z")));
        let day = Condition { utc_minutes: vec![(0, 1440)], ..Condition::default() };
        assert!(day.holds(0, at("2026-11-30T23:59:59Z")));
    }
}
