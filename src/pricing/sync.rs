//! What was fetched becomes history: a new version where a price changed, a new date where it did not, a refusal where it
//! cannot be true.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::units::TokenPrice;

use super::book::{Book, BookRow};
use super::card::{PriceCard, PriceEntry, Rates, Version};
use super::published::Quote;

/// How many times dearer or cheaper than the last known one a price may be and still be believed.
pub const JUMP_MAX: u64 = 10;
/// Dearest price that is believed: 10,000 USD per million tokens.
pub const PRICE_MAX: TokenPrice = TokenPrice(10_000_000_000);

/// Which offer is priced.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// The provider's name in the configuration.
    pub provider: &'a str,
    /// Its id of the model.
    pub model_id: &'a str,
    /// The weights behind it.
    pub checkpoint: &'a str,
    /// What was known of its price before.
    pub known: Option<&'a PriceCard>,
    /// Where the price was read.
    pub source: &'a str,
    /// Takes a price that has jumped.
    pub accept_jump: bool,
}

/// What came of a quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// No price was known.
    New(Rates),
    /// It differs from what was known, which is named first.
    Changed(Rates, Rates),
    /// It is what was known.
    Confirmed,
    /// It is not taken.
    Refused(Refusal),
}

/// Why a price is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It could not be read, in words.
    Unread(String),
    /// Price lists write 0 for what is not on offer.
    Zero(&'static str),
    /// More than anyone charges.
    TooDear(&'static str, TokenPrice),
    /// Far from what was known.
    Jump {
        /// Which price.
        of: &'static str,
        /// What was known.
        from: TokenPrice,
        /// What was fetched.
        to: TokenPrice,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread(why) => f.write_str(why),
            Self::Zero(of) => write!(f, "its {of} price is 0, which lists write for what is not on offer"),
            Self::TooDear(of, price) => write!(f, "its {of} price {price} is more than anyone charges"),
            Self::Jump { of, from, to } => {
                write!(f, "its {of} price went from {from} to {to}, more than {JUMP_MAX} times")
            }
        }
    }
}

/// Puts a quote, fetched at `at`, into `history`. A refused one leaves it as it was.
pub fn record(history: &mut Book, offer: &Offer<'_>, quote: &Quote, at: Timestamp) -> Outcome {
    let known = offer.known.map(|card| card.at(at));
    let quoted = match &quote.prices {
        Ok(quoted) => quoted,
        Err(why) => return Outcome::Refused(Refusal::Unread(why.clone())),
    };
    let all = std::iter::once(&quoted.base).chain(quoted.overrides.iter().map(|(_, rates)| rates));
    let absurd = all.into_iter().find_map(absurd);
    let jump = known.filter(|_| !offer.accept_jump).and_then(|known| jump(&known.base, &quoted.base));
    if let Some(refusal) = absurd.or(jump) {
        return Outcome::Refused(refusal);
    }
    let version = Version {
        valid_from: Some(at),
        entry: PriceEntry {
            source: offer.source.into(),
            as_of: jiff::tz::Offset::UTC.to_datetime(at).date().to_string().into(),
            confidence: "fetched".into(),
        },
        base: quoted.base,
        overrides: quoted.overrides.clone(),
    };
    let outcome = match known {
        None => Outcome::New(version.base),
        Some(known) if known.same_prices(&version) => Outcome::Confirmed,
        Some(known) => Outcome::Changed(known.base, version.base),
    };
    put(history, offer, quote, version, at);
    outcome
}

fn put(history: &mut Book, offer: &Offer<'_>, quote: &Quote, version: Version, at: Timestamp) {
    let row = history
        .rows
        .iter_mut()
        .find(|row| *row.provider == *offer.provider && *row.model_id == *offer.model_id);
    let Some(row) = row else {
        history.rows.push(BookRow {
            provider: offer.provider.into(),
            model_id: offer.model_id.into(),
            checkpoint: offer.checkpoint.into(),
            family: offer.checkpoint.into(),
            context_tokens: quote.context_tokens,
            region: None,
            pin_only: false,
            card: PriceCard::new(version, 0),
            note: None,
        });
        return;
    };
    row.checkpoint = Arc::from(offer.checkpoint);
    row.family = Arc::from(offer.checkpoint);
    // What was read again has its newer date; only another price is another version.
    let last = row.card.versions_mut().last();
    if let Some(last) = last.filter(|last| last.same_prices(&version) || last.valid_from >= Some(at)) {
        *last = Version { valid_from: last.valid_from, ..version };
    } else {
        // It begins after the last one, so nothing begins with it.
        let _ = row.card.add(version);
    }
}

fn absurd(rates: &Rates) -> Option<Refusal> {
    let prices = [("input", rates.input), ("output", rates.output)];
    prices.into_iter().find_map(|(of, price)| match price {
        TokenPrice(0) => Some(Refusal::Zero(of)),
        price if price > PRICE_MAX => Some(Refusal::TooDear(of, price)),
        _ => None,
    })
}

fn jump(known: &Rates, new: &Rates) -> Option<Refusal> {
    let far = |one: TokenPrice, other: TokenPrice| one.0 > other.0.saturating_mul(JUMP_MAX);
    let prices = [
        ("input", Some(known.input), Some(new.input)),
        ("output", Some(known.output), Some(new.output)),
        ("cached input", known.cached_input, new.cached_input),
    ];
    prices.into_iter().find_map(|(of, from, to)| {
        let (from, to) = (from?, to?);
        (far(from, to) || far(to, from)).then_some(Refusal::Jump { of, from, to })
    })
}

#[cfg(test)]
mod tests {
    use crate::pricing::published::Quoted;
    use crate::units::PicoUsd;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn quote(input: u64, output: u64) -> Quote {
        let base = Rates {
            input: TokenPrice(input),
            cached_input: None,
            cache_write: None,
            output: TokenPrice(output),
            request: PicoUsd::ZERO,
        };
        let prices = Ok(Quoted { base, overrides: Vec::new() });
        Quote { model_id: "m".into(), context_tokens: Some(5), prices }
    }

    fn fetch(history: &mut Book, quote: &Quote, moment: &str) -> Outcome {
        let known = history.find("p", "m").map(|row| row.card.clone());
        let offer = Offer {
            provider: "p",
            model_id: "m",
            checkpoint: "c",
            known: known.as_ref(),
            source: "a list",
            accept_jump: false,
        };
        record(history, &offer, quote, at(moment))
    }

    #[test]
    fn history_grows_only_where_a_price_changed() {
        let mut history = Book::default();
        assert!(matches!(fetch(&mut history, &quote(10, 20), "2026-11-01T08:00:00Z"), Outcome::New(_)));
        assert_eq!(fetch(&mut history, &quote(10, 20), "2026-11-05T08:00:00Z"), Outcome::Confirmed);
        let changed = fetch(&mut history, &quote(12, 20), "2026-11-09T08:00:00Z");
        assert!(matches!(changed, Outcome::Changed(from, to) if from.input.0 == 10 && to.input.0 == 12));
        let versions: Vec<String> = history.rows[0]
            .card
            .versions()
            .map(|v| format!("{} {} {}", v.valid_from.unwrap(), v.entry.as_of, v.base.input.0))
            .collect();
        assert_eq!(versions, ["2026-11-01T08:00:00Z 2026-11-05 10", "2026-11-09T08:00:00Z 2026-11-09 12"]);
        assert_eq!(Book::parse(&history.to_json()).unwrap(), history);
        // A request of last week, priced again.
        let card = &history.rows[0].card;
        assert_eq!(card.rates(0, at("2026-11-08T00:00:00Z")).input, TokenPrice(10));
    }

    #[test]
    fn what_cannot_be_true_is_refused_and_changes_nothing() {
        let mut history = Book::default();
        fetch(&mut history, &quote(10, 20), "2026-11-01T08:00:00Z");
        let before = history.clone();
        let mut unread = quote(1, 1);
        unread.prices = Err("no price is given".into());
        for (odd, words) in [
            (quote(0, 20), "its input price is 0, which lists write for what is not on offer"),
            (quote(10, 0), "its output price is 0, which lists write for what is not on offer"),
            (quote(101, 20), "its input price went from 0.00001 to 0.000101, more than 10 times"),
            (quote(10, 1), "its output price went from 0.00002 to 0.000001, more than 10 times"),
            (quote(10, PRICE_MAX.0 + 1), "its output price 10000.000001 is more than anyone charges"),
            (unread, "no price is given"),
        ] {
            let Outcome::Refused(why) = fetch(&mut history, &odd, "2026-11-02T08:00:00Z") else {
                panic!("{words}: taken")
            };
            assert_eq!(why.to_string(), words);
        }
        assert_eq!(history, before);
        assert!(matches!(fetch(&mut history, &quote(100, 2), "2026-11-02T08:00:00Z"), Outcome::Changed(..)));
    }

    #[test]
    fn an_operator_may_accept_a_jump_but_no_price_of_zero() {
        let mut history = Book::default();
        fetch(&mut history, &quote(10, 20), "2026-11-01T08:00:00Z");
        let known = history.rows[0].card.clone();
        let offer = Offer {
            provider: "p",
            model_id: "m",
            checkpoint: "c",
            known: Some(&known),
            source: "a list",
            accept_jump: true,
        };
        let moment = at("2026-11-02T08:00:00Z");
        assert!(matches!(record(&mut history, &offer, &quote(0, 20), moment), Outcome::Refused(_)));
        assert!(matches!(record(&mut history, &offer, &quote(5_000, 20), moment), Outcome::Changed(..)));
    }
}
