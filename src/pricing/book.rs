//! The price book: which provider sells which checkpoint at what price, as dated data with its sources.

mod row;
mod write;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use jiff::civil::Date;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::card::{PriceCard, PriceEntry, Version};
use row::{Currency, Row, RowError};

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
    /// What was fetched from providers since, by the provider's name in the configuration; it goes before `rows`.
    synced: Vec<BookRow>,
}

static SHIPPED: LazyLock<Book> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a constant of this build; the tests below parse it")]
    Book::parse(include_str!("prices.json")).expect("the shipped price book is valid")
});

/// The file: terms that hold for a whole provider, then the rows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    #[serde(default)]
    providers: BTreeMap<String, Terms>,
    /// What one unit of a currency is worth.
    #[serde(default)]
    currencies: BTreeMap<String, Currency>,
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

    /// Reads a book; prices are read as exact decimals. Rows of the same provider and model id with another `valid_from`
    /// are its history. Rows with a `condition` refine the row before them that begins at the same moment.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let document: Document<'_> =
            serde_json::from_str(text).map_err(|error| Error::Document(error.to_string()))?;
        let mut book = Self::default();
        for (index, raw) in document.rows.iter().enumerate() {
            let (name, added) = match Row::read(raw.get()) {
                Ok(row) => (row.name(), book.add(&row, &document)),
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
        let versions = self.rows.iter_mut().flat_map(|row| row.card.versions_mut());
        let conditions = versions.flat_map(|version| &mut version.overrides);
        for (condition, _) in conditions.filter(|(condition, _)| condition.except.is_some()) {
            condition.except_days = days.to_vec();
        }
        self
    }

    /// The same book with what was fetched since: `synced` has its rows by the providers' names in the configuration.
    #[must_use]
    pub fn with_synced(mut self, synced: Self) -> Self {
        self.synced = synced.rows;
        self
    }

    /// What was fetched from the provider of this name for one model.
    pub fn synced(&self, provider: &str, model_id: &str) -> Option<&PriceCard> {
        let found = self.synced.iter().find(|row| *row.provider == *provider && *row.model_id == *model_id);
        found.map(|row| &row.card)
    }

    /// A row's prices and their history: as shipped, then as fetched from the built-in provider.
    pub fn card_of(&self, row: &BookRow) -> PriceCard {
        joined(Some(&row.card), self.synced(&row.provider, &row.model_id), row.card.fee_ppm)
            .unwrap_or_else(|| row.card.clone())
    }

    /// The newest day on which a price of this book was read; what was fetched since is not looked at.
    pub fn newest(&self) -> Option<Date> {
        newest(&self.rows)
    }

    /// The newest day on which a price was fetched.
    pub fn newest_synced(&self) -> Option<Date> {
        newest(&self.synced)
    }

    fn add(&mut self, row: &Row<'_>, document: &Document<'_>) -> Result<(), RowError> {
        let currency = row.currency(&document.currencies)?;
        let (base, entry) = (row.rates(currency)?, row.entry(currency)?);
        let valid_from = row.valid_from()?;
        let known = self
            .rows
            .iter_mut()
            .find(|known| *known.provider == *row.provider && *known.model_id == *row.model_id);
        if known.as_ref().is_some_and(|known| *known.checkpoint != *row.checkpoint) {
            return Err(RowError::new("checkpoint", "differs from that of the row it refines or follows"));
        }
        match (known, row.condition()?) {
            (None, None) => {
                let fee_ppm = document.providers.get(&row.provider).map_or(0, |terms| terms.fee_ppm);
                let first = Version { valid_from, ..Version::always(entry, base) };
                self.rows.push(row.offer(PriceCard::new(first, fee_ppm))?);
                Ok(())
            }
            (Some(known), None) => {
                if known.card.add(Version { valid_from, ..Version::always(entry, base) }) {
                    return Ok(());
                }
                Err(RowError::new(
                    "model_id",
                    "a second row without a `condition` from the same moment on; remove one, or say when each holds",
                ))
            }
            (known, Some(mut condition)) => {
                let version = known.and_then(|known| {
                    known.card.versions_mut().find(|version| version.valid_from == valid_from)
                });
                let Some(version) = version else {
                    return Err(RowError::new(
                        "condition",
                        "there is no row without a condition before it that begins at the same moment; put the base price first",
                    ));
                };
                condition.entry = differing(&version.entry, entry);
                version.overrides.push((condition, base));
                Ok(())
            }
        }
    }
}

/// What the book says of an offer, then what was fetched since.
pub fn joined(shipped: Option<&PriceCard>, synced: Option<&PriceCard>, fee_ppm: u32) -> Option<PriceCard> {
    let mut card = match (shipped, synced) {
        (Some(shipped), Some(synced)) => shipped.followed_by(synced),
        (one, other) => one.or(other)?.clone(),
    };
    // The fetched history knows no fees.
    card.fee_ppm = shipped.map_or(fee_ppm, |shipped| shipped.fee_ppm);
    Some(card)
}

fn newest(rows: &[BookRow]) -> Option<Date> {
    rows.iter().flat_map(|row| row.card.versions()).filter_map(|version| version.entry.read_on()).max()
}

fn differing(base: &PriceEntry, entry: PriceEntry) -> Option<PriceEntry> {
    (*base != entry).then_some(entry)
}

#[cfg(test)]
mod tests;
