//! A condition in words, for tables and explanations: `Mon-Fri 01:00-04:00, 06:00-10:00 UTC`.

use std::fmt;

use super::condition::Condition;

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        if let Some(limit) = self.prompt_tokens_above {
            parts.push(format!("prompts over {limit} tokens"));
        }
        if self.weekdays != 0 || !self.utc_minutes.is_empty() {
            parts.push(self.clock());
        }
        parts.extend(self.holidays());
        if parts.is_empty() {
            parts.push("always".to_owned());
        }
        f.pad(&parts.join(", "))
    }
}

impl Condition {
    fn clock(&self) -> String {
        let days = (self.weekdays != 0).then(|| days(self.weekdays));
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        let windows: Vec<String> =
            self.utc_minutes.iter().map(|&(start, end)| format!("{}-{}", clock(start), clock(end))).collect();
        let windows = (!windows.is_empty()).then(|| windows.join(", "));
        let words: Vec<String> = days.into_iter().chain(windows).collect();
        format!("{} UTC", words.join(" "))
    }

    fn holidays(&self) -> Option<String> {
        let days = self.except_days.len();
        match (&self.except, days) {
            (None, 0) => None,
            (None, _) => Some(format!("except {days} days")),
            (Some(calendar), 0) => Some(format!("also on {calendar} (no calendar given)")),
            (Some(calendar), _) => Some(format!("except {calendar}")),
        }
    }
}

/// `Mon-Fri`, `Sat-Sun`, `Mon, Wed`: runs of days where there are any.
fn days(bits: u8) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for day in (0..WEEKDAYS.len()).filter(|day| bits & (1 << day) != 0) {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == day => *last = day,
            _ => runs.push((day, day)),
        }
    }
    let words: Vec<String> = runs
        .into_iter()
        .map(|(first, last)| {
            if first == last {
                WEEKDAYS[first].to_owned()
            } else {
                format!("{}-{}", WEEKDAYS[first], WEEKDAYS[last])
            }
        })
        .collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_read_like_a_price_page() {
        let peak = Condition {
            utc_minutes: vec![(60, 240), (360, 600)],
            weekdays: 0b001_1111,
            except: Some("Chinese public holidays".into()),
            ..Condition::default()
        };
        assert_eq!(
            peak.to_string(),
            "Mon-Fri 01:00-04:00, 06:00-10:00 UTC, also on Chinese public holidays (no calendar given)"
        );
        let dated = Condition { except_days: vec!["2026-10-01".parse().unwrap()], ..peak };
        assert_eq!(dated.to_string(), "Mon-Fri 01:00-04:00, 06:00-10:00 UTC, except Chinese public holidays");
        let long = Condition { prompt_tokens_above: Some(256_000), ..Condition::default() };
        assert_eq!(long.to_string(), "prompts over 256000 tokens");
        let odd = Condition { weekdays: 0b110_0101, ..Condition::default() };
        assert_eq!(odd.to_string(), "Mon, Wed, Sat-Sun UTC");
    }
}
