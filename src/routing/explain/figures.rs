//! Figures as people read them: dollars without trailing zeros, percent, spans of time. Nothing here allocates.

use std::fmt;
use std::time::Duration;

use crate::units::NanoUsd;

/// Dollars without trailing zeros (`0.00021`).
#[derive(Debug, Clone, Copy)]
pub struct Usd(pub NanoUsd);

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.0;
        let (whole, mut part) = (nanos.unsigned_abs() / 1_000_000_000, nanos.unsigned_abs() % 1_000_000_000);
        let sign = if nanos < 0 { "-" } else { "" };
        write!(f, "{sign}{whole}")?;
        if part == 0 {
            return Ok(());
        }
        let mut digits = 9;
        while part.is_multiple_of(10) {
            part /= 10;
            digits -= 1;
        }
        write!(f, ".{part:0digits$}")
    }
}

/// Dollars of a ranking, to two digits (`0.004`): finer it means nothing.
pub(super) fn rough(usd: f64) -> Usd {
    let nanos = nanos(usd).0;
    let mut unit = 1_i64;
    while nanos.unsigned_abs() / unit.unsigned_abs() >= 100 {
        unit = unit.saturating_mul(10);
    }
    Usd(NanoUsd(nanos.saturating_add(nanos.signum() * unit / 2) / unit * unit))
}

/// Dollars of a ranking as whole nano-dollars, for print.
#[expect(clippy::cast_possible_truncation, reason = "held by the cast between the least and the greatest")]
pub(super) fn nanos(usd: f64) -> NanoUsd {
    NanoUsd((usd * 1e9).round() as i64)
}

/// A chance as percent (`98.9 %`); what is not quite sure never reads as 100.
#[derive(Debug, Clone, Copy)]
pub(super) struct Percent(pub(super) f64);

impl fmt::Display for Percent {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of ten thousand")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By way of four decimals, as records have it, so that both read the same.
        let thousandths = ((self.0.clamp(0.0, 1.0) * 10_000.0).round() as u32 + 5) / 10;
        match thousandths {
            1_000.. if self.0 < 1.0 => f.write_str("over 99.9 %"),
            0 if self.0 > 0.0 => f.write_str("under 0.1 %"),
            whole if whole.is_multiple_of(10) => write!(f, "{} %", whole / 10),
            part => write!(f, "{}.{} %", part / 10, part % 10),
        }
    }
}

/// A span of time: `420 ms`, `1.5 s`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span(pub(super) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        if ms < 1_000 {
            return write!(f, "{ms} ms");
        }
        let hundredths = (ms + 5) / 10;
        let (whole, part) = (hundredths / 100, hundredths % 100);
        match part {
            0 => write!(f, "{whole} s"),
            tens if tens.is_multiple_of(10) => write!(f, "{whole}.{} s", tens / 10),
            _ => write!(f, "{whole}.{part:02} s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_text_has_no_trailing_zeros() {
        for (nanos, text) in [
            (210_000, "0.00021"),
            (1_000_000_000, "1"),
            (0, "0"),
            (10_000_000_000, "10"),
            (-1_500_000_000, "-1.5"),
            (i64::MIN, "-9223372036.854775808"),
        ] {
            assert_eq!(Usd(NanoUsd(nanos)).to_string(), text);
        }
    }

    #[test]
    fn a_ranking_has_two_digits() {
        for (usd, text) in [
            (0.004_049, "0.004"),
            (0.000_123_9, "0.00012"),
            (1.0, "1"),
            (99.6, "100"),
            (0.0, "0"),
            (-0.001_26, "-0.0013"),
            (f64::NAN, "0"),
        ] {
            assert_eq!(rough(usd).to_string(), text, "{usd}");
        }
        assert!(!rough(f64::INFINITY).to_string().is_empty());
    }

    #[test]
    fn chances_and_spans() {
        for (share, text) in [
            (0.989_f64, "98.9 %"),
            (0.91, "91 %"),
            (0.999_8, "over 99.9 %"),
            (1.0, "100 %"),
            (0.0, "0 %"),
            (1e-5, "under 0.1 %"),
            (0.856_46, "85.7 %"),
            (0.856_5, "85.7 %"),
        ] {
            assert_eq!(Percent(share).to_string(), text);
        }
        for (ms, text) in [(420, "420 ms"), (1_000, "1 s"), (1_500, "1.5 s"), (1_234, "1.23 s"), (0, "0 ms")]
        {
            assert_eq!(Span(Duration::from_millis(ms)).to_string(), text);
        }
    }
}
