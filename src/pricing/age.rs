//! How old a price is: from the day, month or half-year that its line of the book names.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;

use super::card::PriceEntry;

/// The confidence of a price that the operator typed.
const OPERATOR: &str = "operator";

impl PriceEntry {
    /// The day on which the price was read: a month's, half-year's or year's first. `None` where the entry names no day.
    pub fn read_on(&self) -> Option<Date> {
        first_day(&self.as_of)
    }

    /// How long ago the price was read, from the first moment (UTC) of that day. `None` for one that does not age: the
    /// operator's own, which was not read anywhere.
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        if *self.confidence == *OPERATOR {
            return None;
        }
        Some(Duration::try_from(now.duration_since(midnight(self.read_on()?)?)).unwrap_or_default())
    }
}

/// The first moment of a day, UTC.
fn midnight(day: Date) -> Option<Timestamp> {
    jiff::tz::Offset::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok()
}

/// A day (its first moment, UTC) or a moment: `2026-11-15`, `2026-11-15T08:00:00Z`.
pub fn moment(text: &str) -> Option<Timestamp> {
    // By itself a date's parser takes a date and time without a zone as well, and drops the time.
    let day = || text.parse().ok().filter(|_| text.len() == "2026-11-15".len()).and_then(midnight);
    text.parse().ok().or_else(day)
}

/// The first day of what `2026-11-15`, `2026-11`, `2026-H2` or `2026` names.
pub(super) fn first_day(text: &str) -> Option<Date> {
    let digits = |part: &str, length: usize| part.len() == length && part.bytes().all(|b| b.is_ascii_digit());
    let mut parts = text.splitn(3, '-');
    let year = parts.next().filter(|year| digits(year, 4))?;
    let (month, day) = match (parts.next(), parts.next()) {
        (None | Some("H1"), None) => ("01", "01"),
        (Some("H2"), None) => ("07", "01"),
        (Some(month), None) => (month, "01"),
        (Some(month), Some(day)) => (month, day),
        (None, Some(_)) => return None,
    };
    if !digits(month, 2) || !digits(day, 2) {
        return None;
    }
    Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_and_a_half_year_count_from_their_first_day() {
        let day = |text| first_day(text).map(|day| day.to_string());
        for (text, first) in [
            ("2026-11-15", "2026-11-15"),
            ("2026-11", "2026-11-01"),
            ("2026-H1", "2026-01-01"),
            ("2026-H2", "2026-07-01"),
            ("2026", "2026-01-01"),
        ] {
            assert_eq!(day(text).as_deref(), Some(first), "{text}");
        }
        for odd in [
            "",
            "26-11",
            "2026-13",
            "2026-02-30",
            "2026-11-15-1",
            "2026-H3",
            "2026-1",
            "configured",
            "always",
        ] {
            assert_eq!(day(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_day_begins_at_midnight_utc() {
        let read = |text| moment(text).map(|moment| moment.to_string());
        assert_eq!(read("2026-10-01").as_deref(), Some("2026-10-01T00:00:00Z"));
        assert_eq!(read("2026-10-01T10:00:00+02:00").as_deref(), Some("2026-10-01T08:00:00Z"));
        for odd in ["", "2026-10", "2026-02-30", "soon", "2026-10-01T08:00:00"] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }

    #[test]
    fn an_operators_price_does_not_age() {
        let entry = |confidence: &str, as_of: &str| PriceEntry {
            source: "s".into(),
            as_of: as_of.into(),
            confidence: confidence.into(),
        };
        let now: Timestamp = "2026-11-25T06:00:00Z".parse().unwrap();
        let day_and_a_quarter = Some(Duration::from_hours(30));
        assert_eq!(entry("documented", "2026-11-24").age(now), day_and_a_quarter);
        assert_eq!(entry("documented", "2026-11-26").age(now), Some(Duration::ZERO));
        assert_eq!(entry("operator", "2026-01-01").age(now), None);
        assert_eq!(entry("documented", "?").age(now), None);
    }
}
