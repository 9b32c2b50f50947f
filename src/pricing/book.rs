//! The price book: which provider sells which checkpoint at what price, as dated data with its sources.

mod row;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use jiff::civil::Date;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::card::{PriceCard, PriceEntry};
use row::{Row, RowError};

/// Why a text is not a price book.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not JSON, or not the book's outer shape.
    #[error("the price book cannot be read: {0}")]
    Document(String),
    /// One row is wrong.
    #[error("price book row {row} ({name}), `{field}`: {problem}")]
    Row {
        /// Counted from 1.
        row: usize,
        /// `provider/model_id`, or `?` where even that is missing.
        name: String,
        /// The row's key.
        field: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// One provider's offer of one checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookRow {
    /// The provider's kind as in the configuration (`deepseek`, `openrouter`, …).
    pub provider: Arc<str>,
    /// The id the provider wants to hear.
    pub model_id: Arc<str>,
    /// The weights behind it. Where the provider does not say which, `<family>-unstated`, so that the offer is
    /// never an equal member of a checkpoint by accident.
    pub checkpoint: Arc<str>,
    /// The checkpoint without its date.
    pub family: Arc<str>,
    /// Longest prompt and answer together, in tokens.
    pub context_tokens: Option<u64>,
    /// Where it is served, if the model id itself says so.
    pub region: Option<Arc<str>>,
    /// A faster, dearer serving path of the same weights, which only its own id may choose.
    pub pin_only: bool,
    /// Its prices.
    pub card: PriceCard,
    /// What a reader of the book should know about this offer.
    pub note: Option<Arc<str>>,
}

/// All offers, one row for each provider and model id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Book {
    /// In the order of the file.
    pub rows: Vec<BookRow>,
}

static SHIPPED: LazyLock<Book> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a constant of this build; the tests below parse it")]
    Book::parse(include_str!("prices.json")).expect("the shipped price book is valid")
});

/// The file: terms that hold for a whole provider, then the rows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    providers: BTreeMap<String, Terms>,
    #[serde(borrow)]
    rows: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Terms {
    /// What holding credit with this provider costs on top, in parts per million.
    fee_ppm: u32,
    #[serde(rename = "as_of")]
    _as_of: String,
    #[serde(rename = "source")]
    _source: String,
}

impl Book {
    /// The book that this build carries.
    pub fn shipped() -> &'static Self {
        &SHIPPED
    }

    /// Reads a book. Rows with a `condition` become overrides of the row before them that has the same provider and
    /// model id; prices are read as exact decimals.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let document: Document<'_> =
            serde_json::from_str(text).map_err(|error| Error::Document(error.to_string()))?;
        let mut book = Self::default();
        for (index, raw) in document.rows.iter().enumerate() {
            let (name, added) = match Row::read(raw.get()) {
                Ok(row) => (row.name(), book.add(&row, &document.providers)),
                Err(error) => (Row::name_in(raw.get()), Err(error)),
            };
            added.map_err(|RowError { field, problem }| Error::Row {
                row: index + 1,
                name,
                field,
                problem,
            })?;
        }
        Ok(book)
    }

    /// The offers of one kind of provider.
    pub fn of_provider(&self, kind: &str) -> impl Iterator<Item = &BookRow> {
        self.rows.iter().filter(move |row| *row.provider == *kind)
    }

    /// One offer.
    pub fn find(&self, kind: &str, model_id: &str) -> Option<&BookRow> {
        self.rows.iter().find(|row| *row.provider == *kind && *row.model_id == *model_id)
    }

    /// The same book with the days of the holiday calendars that its conditions name (`except`). Without them no
    /// day is excepted: the dearer, peak price is assumed.
    #[must_use]
    pub fn with_holidays(mut self, days: &[Date]) -> Self {
        let conditions = self.rows.iter_mut().flat_map(|row| &mut row.card.overrides);
        for (condition, _) in conditions.filter(|(condition, _)| condition.except.is_some()) {
            condition.except_days = days.to_vec();
        }
        self
    }

    fn add(&mut self, row: &Row<'_>, terms: &BTreeMap<String, Terms>) -> Result<(), RowError> {
        let rates = row.rates()?;
        let entry = row.entry()?;
        let known = self
            .rows
            .iter_mut()
            .find(|known| *known.provider == *row.provider && *known.model_id == *row.model_id);
        match (known, row.condition()?) {
            (None, None) => {
                let fee_ppm = terms.get(&row.provider).map_or(0, |terms| terms.fee_ppm);
                let card = PriceCard { entry, base: rates, overrides: Vec::new(), fee_ppm };
                self.rows.push(row.offer(card)?);
                Ok(())
            }
            (Some(known), Some(mut condition)) => {
                if *known.checkpoint != *row.checkpoint {
                    return Err(RowError::new("checkpoint", "differs from that of the row it refines"));
                }
                condition.entry = differing(&known.card.entry, entry);
                known.card.overrides.push((condition, rates));
                Ok(())
            }
            (Some(_), None) => Err(RowError::new(
                "model_id",
                "a second row without a `condition`; remove one, or say when each holds",
            )),
            (None, Some(_)) => Err(RowError::new(
                "condition",
                "there is no row without a condition before it; put the base price first",
            )),
        }
    }
}

fn differing(base: &PriceEntry, entry: PriceEntry) -> Option<PriceEntry> {
    (*base != entry).then_some(entry)
}

#[cfg(test)]
mod tests;
