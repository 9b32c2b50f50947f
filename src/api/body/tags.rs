//! Tags: what `metadata` says of a call, for policies, logs and records.

use crate::api::scan::{self, Kind, Scanner};

use super::error::Error;
use super::reading::Reading;

/// Most tags a request may carry.
pub const TAGS_MAX: usize = 16;

/// Whether a tag's name or value may be used in policies, logs and records: 1-64 visible ASCII characters without quotes.
pub fn is_tag_text(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() && !b"\"'\\,=<>{}".contains(&b))
}

impl Reading<'_> {
    /// `metadata`: of its texts, those that may be tags.
    pub(super) fn metadata(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Error> {
        match scanner.kind()? {
            Kind::Object => self.object(scanner, |reading, scanner, name| {
                let got = scanner.kind()?;
                let span = scanner.value()?;
                if got == Kind::String && reading.found.tags.len() < TAGS_MAX {
                    let value = scan::text_of(reading.body, &span);
                    if is_tag_text(name) && is_tag_text(&value) {
                        reading.found.tags.push((name.into(), value.into()));
                    }
                }
                Ok(())
            }),
            Kind::Null => {
                scanner.value()?;
                Ok(())
            }
            got => Err(Error::WrongType { param: "metadata", expected: "an object", got: got.name() }),
        }
    }
}
