//! Money as whole numbers: pico-dollars while computing, nano-dollars once recorded, never a float.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

/// Why a text is not an amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a decimal number.
    #[error("{0:?} is not a decimal number")]
    NotANumber(String),
    /// Finer than the unit can hold.
    #[error("{0:?} is finer than a millionth of a dollar per million tokens")]
    TooFine(String),
    /// Below zero where only a price makes sense.
    #[error("{0:?} is negative")]
    Negative(String),
    /// Beyond what the unit can hold.
    #[error("{0:?} is too large")]
    TooLarge(String),
}

/// Whole pico-dollars (10⁻¹² USD): what one token can cost is a whole number of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PicoUsd(pub i128);

/// Whole nano-dollars (10⁻⁹ USD): what is recorded, summed, budgeted and printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NanoUsd(pub i64);

/// Price of one token in whole pico-dollars, which is also the price of a million tokens in micro-dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TokenPrice(pub u64);

/// A factor in whole 10⁻¹² parts: what one unit of a currency is worth in USD, or what a discount leaves of a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Factor(u64);

impl Factor {
    /// One.
    pub const ONE: Self = Self(1_000_000_000_000);

    /// A factor above zero with at most twelve decimals (`"0.1390"`).
    pub fn from_text(text: &str) -> Option<Self> {
        let parts = scaled_decimal(text, 12, Rounding::Refuse).ok()?;
        u64::try_from(parts).ok().filter(|parts| *parts > 0).map(Self)
    }

    /// What a discount of this share leaves: one less this. `None` where that is nothing.
    pub fn rest(self) -> Option<Self> {
        Self::ONE.0.checked_sub(self.0).filter(|parts| *parts > 0).map(Self)
    }

    /// A token's price times this, half up to a whole pico-dollar: the one rounding of a converted price.
    #[must_use]
    pub fn of_price(self, price: TokenPrice) -> TokenPrice {
        let product = self.of_amount(PicoUsd(price.0.into())).0;
        TokenPrice(u64::try_from(product).unwrap_or(u64::MAX))
    }

    /// An amount times this, half up to a whole pico-dollar.
    #[must_use]
    pub fn of_amount(self, amount: PicoUsd) -> PicoUsd {
        let one = i128::from(Self::ONE.0);
        PicoUsd(amount.0.saturating_mul(self.0.into()).saturating_add(one / 2).div_euclid(one))
    }
}

/// The factor as a decimal without trailing zeros (`0.139`).
impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:012}", self.0 / Self::ONE.0, self.0 % Self::ONE.0);
        let short = text.trim_end_matches('0');
        f.pad(short.strip_suffix('.').unwrap_or(short))
    }
}

impl PicoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount written in dollars (`"0.000554488"`, `"6.93e-06"`), rounded half up to a pico-dollar.
    pub fn from_usd_text(text: &str) -> Result<Self, MoneyError> {
        scaled_decimal(text, 12, Rounding::HalfUp).map(Self)
    }

    /// Whole nano-dollars, half up: the one rounding that an attempt's cost goes through.
    pub fn to_nanos(self) -> NanoUsd {
        let nanos = self.0.saturating_add(500).div_euclid(1000);
        NanoUsd(i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX }))
    }

    /// This amount times `parts` per million, rounded half up.
    #[must_use]
    pub fn times_ppm(self, parts: u32) -> Self {
        // Most fees are none, and a division of 128 bits takes longer than all else that is done with an amount.
        if parts == 0 {
            return Self::ZERO;
        }
        Self(self.0.saturating_mul(i128::from(parts)).saturating_add(500_000).div_euclid(1_000_000))
    }
}

impl NanoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// A ceiling written in dollars, rounded down: no amount over what was written passes. `None`: negative or no number.
    pub fn ceiling_from_usd_text(text: &str) -> Option<Self> {
        ceiling(text, 9, i64::MAX).map(Self)
    }
}

impl TokenPrice {
    /// A price written in USD per million tokens (`"0.0042"`).
    pub fn from_usd_per_mtok(text: &str) -> Result<Self, MoneyError> {
        Self::from_scaled(text, 6, Rounding::Refuse)
    }

    /// The same with the noise of someone's floats in it (`0.25999999999999995`), rounded half up.
    pub fn from_noisy_usd_per_mtok(text: &str) -> Result<Self, MoneyError> {
        Self::from_scaled(text, 6, Rounding::HalfUp)
    }

    /// A price written in USD per token (`"0.00000066"`, OpenRouter's way).
    pub fn from_usd_per_token(text: &str) -> Result<Self, MoneyError> {
        Self::from_scaled(text, 12, Rounding::Refuse)
    }

    /// The same where the price may be finer than a pico-dollar, rounded half up.
    pub fn from_noisy_usd_per_token(text: &str) -> Result<Self, MoneyError> {
        Self::from_scaled(text, 12, Rounding::HalfUp)
    }

    /// A ceiling written in USD per million tokens, rounded down: no price over what was written passes. `None`: negative or
    /// no number.
    pub fn ceiling_from_usd_per_mtok(text: &str) -> Option<Self> {
        ceiling(text, 6, u64::MAX).map(Self)
    }

    fn from_scaled(text: &str, digits: i32, rounding: Rounding) -> Result<Self, MoneyError> {
        let scaled = scaled_decimal(text, digits, rounding)?;
        if scaled < 0 {
            return Err(MoneyError::Negative(text.to_owned()));
        }
        u64::try_from(scaled).map(Self).map_err(|_| MoneyError::TooLarge(text.to_owned()))
    }

    /// What `tokens` tokens cost.
    pub fn times(self, tokens: u64) -> PicoUsd {
        // One multiplication: no two numbers of 64 bits are too large for it.
        let amount = u128::from(self.0) * u128::from(tokens);
        PicoUsd(i128::try_from(amount).unwrap_or(i128::MAX))
    }
}

impl Add for PicoUsd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for PicoUsd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for PicoUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl Add for NanoUsd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// Dollars with all nine decimals (`0.000554488`): the one spelling in headers, bodies, logs and tables.
impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:09}", magnitude / 1_000_000_000, magnitude % 1_000_000_000)
    }
}

/// USD per million tokens, without trailing zeros (`0.0042`).
impl fmt::Display for TokenPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000);
        let short = text.trim_end_matches('0');
        f.pad(short.strip_suffix('.').unwrap_or(short))
    }
}

#[derive(Clone, Copy)]
enum Rounding {
    HalfUp,
    Down,
    Refuse,
}

/// `text` × 10^`digits` rounded down, and `most` where it is more than that.
fn ceiling<T: TryFrom<i128>>(text: &str, digits: i32, most: T) -> Option<T> {
    match scaled_decimal(text, digits, Rounding::Down) {
        Ok(scaled) if scaled >= 0 && !text.trim_start().starts_with('-') => {
            Some(T::try_from(scaled).unwrap_or(most))
        }
        Err(MoneyError::TooLarge(_)) if !text.trim_start().starts_with('-') => Some(most),
        _ => None,
    }
}

/// `text` × 10^`digits` as a whole number. Accepts JSON's number grammar and a leading plus, refuses NaN and infinities.
fn scaled_decimal(text: &str, digits: i32, rounding: Rounding) -> Result<i128, MoneyError> {
    let not_a_number = || MoneyError::NotANumber(text.to_owned());
    let trimmed = text.trim();
    let (negative, unsigned) = match trimmed.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], unsigned[at + 1..].parse::<i32>().map_err(|_| not_a_number())?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(not_a_number());
    }
    let mut value: i128 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        if !byte.is_ascii_digit() {
            return Err(not_a_number());
        }
        value = value
            .checked_mul(10)
            .and_then(|v| v.checked_add(i128::from(byte - b'0')))
            .ok_or_else(|| MoneyError::TooLarge(text.to_owned()))?;
    }
    let fraction_digits = i32::try_from(fraction.len()).map_err(|_| not_a_number())?;
    let shift = exponent.saturating_add(digits).saturating_sub(fraction_digits);
    let scaled = if shift >= 0 {
        let factor = 10_i128.checked_pow(shift.unsigned_abs());
        match factor.and_then(|f| value.checked_mul(f)) {
            Some(scaled) => scaled,
            None if value == 0 => 0,
            None => return Err(MoneyError::TooLarge(text.to_owned())),
        }
    } else {
        shrink(value, shift.unsigned_abs(), rounding).ok_or_else(|| MoneyError::TooFine(text.to_owned()))?
    };
    Ok(if negative { -scaled } else { scaled })
}

/// `value` ÷ 10^`places`; `None` where digits would be lost and `rounding` does not allow it.
fn shrink(value: i128, places: u32, rounding: Rounding) -> Option<i128> {
    let Some(factor) = 10_i128.checked_pow(places) else {
        return (value == 0 || !matches!(rounding, Rounding::Refuse)).then_some(0);
    };
    match rounding {
        Rounding::HalfUp => Some(value / factor + i128::from(value % factor * 2 >= factor)),
        Rounding::Down => Some(value / factor),
        Rounding::Refuse => (value % factor == 0).then_some(value / factor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_whole_pico_dollars_per_token() {
        assert_eq!(TokenPrice::from_usd_per_mtok("0.0042").unwrap(), TokenPrice(4_200));
        assert_eq!(TokenPrice::from_usd_per_token("0.00000066").unwrap(), TokenPrice(660_000));
        assert_eq!(TokenPrice::from_usd_per_mtok("1.74").unwrap().to_string(), "1.74");
        assert_eq!(TokenPrice::from_usd_per_mtok("3").unwrap().to_string(), "3");
    }

    #[test]
    fn the_noise_of_floats_is_rounded_away() {
        let noisy = |text| TokenPrice::from_noisy_usd_per_mtok(text).unwrap().to_string();
        assert_eq!([noisy("0.25999999999999995"), noisy("0.030000000000000002")], ["0.26", "0.03"]);
        assert_eq!(TokenPrice::from_noisy_usd_per_token("0.0000001055005").unwrap(), TokenPrice(105_501));
        assert!(TokenPrice::from_noisy_usd_per_token("-1").is_err());
    }

    #[test]
    fn a_foreign_price_is_converted_with_one_rounding() {
        let yuan = Factor::from_text("0.1390").unwrap();
        let price = |text| TokenPrice::from_usd_per_mtok(text).unwrap();
        assert_eq!(yuan.of_price(price("4")), price("0.556"));
        // 0.000001 × 0.139 rounds to nothing, 0.000004 × 0.139 to one.
        assert_eq!(
            (yuan.of_price(TokenPrice(3)), yuan.of_price(TokenPrice(4))),
            (TokenPrice(0), TokenPrice(1))
        );
        assert_eq!(yuan.of_amount(PicoUsd(1_000)), PicoUsd(139));
        assert_eq!(Factor::ONE.of_price(TokenPrice(u64::MAX)), TokenPrice(u64::MAX));
        assert_eq!((yuan.to_string(), yuan.rest().unwrap().to_string()), ("0.139".into(), "0.861".into()));
        assert_eq!(Factor::ONE.rest(), None);
        for odd in ["0", "-1", "", "x", "1e-13", "99999999999"] {
            assert_eq!(Factor::from_text(odd), None, "{odd}");
        }
    }

    #[test]
    fn odd_prices_are_refused() {
        for text in ["", ".", "NaN", "inf", "1,5", "0x1", "1e", "--1", "1.2.3"] {
            assert!(matches!(TokenPrice::from_usd_per_mtok(text), Err(MoneyError::NotANumber(_))), "{text}");
        }
        assert!(matches!(TokenPrice::from_usd_per_mtok("-1"), Err(MoneyError::Negative(_))));
        assert!(matches!(TokenPrice::from_usd_per_mtok("0.0000001"), Err(MoneyError::TooFine(_))));
        assert!(matches!(TokenPrice::from_usd_per_mtok("1e40"), Err(MoneyError::TooLarge(_))));
    }

    #[test]
    fn a_ceiling_is_rounded_down_and_never_wraps() {
        let price = TokenPrice::ceiling_from_usd_per_mtok;
        assert_eq!(price("0.0000019"), Some(TokenPrice(1)));
        assert_eq!((price("1e-99"), price("0.5")), (Some(TokenPrice(0)), Some(TokenPrice(500_000))));
        assert_eq!((price("1e30"), price("1e999")), (Some(TokenPrice(u64::MAX)), Some(TokenPrice(u64::MAX))));
        for odd in ["-1", "-0.0000001", "x", "", "NaN", "-1e999"] {
            assert_eq!(price(odd), None, "{odd}");
        }
        assert_eq!(NanoUsd::ceiling_from_usd_text("0.0000000019"), Some(NanoUsd(1)));
    }

    #[test]
    fn exponents_are_exact() {
        assert_eq!(PicoUsd::from_usd_text("6.93e-06").unwrap(), PicoUsd(6_930_000));
        assert_eq!(PicoUsd::from_usd_text("0E99999").unwrap(), PicoUsd(0));
        assert_eq!(PicoUsd::from_usd_text("1e-99999").unwrap(), PicoUsd(0));
    }

    #[test]
    fn nanos_round_half_up_once() {
        assert_eq!(PicoUsd(499).to_nanos(), NanoUsd(0));
        assert_eq!(PicoUsd(500).to_nanos(), NanoUsd(1));
        assert_eq!(PicoUsd(1_499).to_nanos(), NanoUsd(1));
        assert_eq!(NanoUsd(554_488).to_string(), "0.000554488");
        assert_eq!(NanoUsd(-1).to_string(), "-0.000000001");
    }
}
