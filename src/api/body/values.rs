//! Single values read, each refused in its caller's words where it is of another kind.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::api::scan::{self, Fault, Kind, Scanner, Span};

use super::error::Error;

/// Longest model name a caller may write, in bytes.
pub const MODEL_NAME_BYTES_MAX: usize = 256;

/// Refuses what cannot be a model's name in `param`.
pub(crate) fn check_model_name(param: &'static str, model: &str) -> Result<(), Error> {
    if model.is_empty() {
        let reason = "it is empty; name a model, GET /v1/models lists them";
        return Err(Error::Invalid { param, reason });
    }
    if model.len() > MODEL_NAME_BYTES_MAX || model.chars().any(|c| c.is_control() || is_bidi_mark(c)) {
        let reason =
            "a model name has at most 256 bytes and no control characters; GET /v1/models lists them";
        return Err(Error::Invalid { param, reason });
    }
    Ok(())
}

fn is_bidi_mark(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Refuses a key that stands twice.
pub(crate) fn refuse_duplicates<'k>(body: &[u8], keys: impl Iterator<Item = &'k Span>) -> Result<(), Error> {
    let mut sorted: SmallVec<[(Cow<'_, str>, usize); 24]> =
        keys.map(|span| (scan::text_of(body, span), span.start)).collect();
    sorted.sort_unstable();
    let duplicate = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0);
    duplicate.map_or(Ok(()), |pair| Err(Error::NotJson(Fault::DuplicateKey { at: pair[1].1 })))
}

/// A boolean; null is false.
pub(crate) fn boolean(scanner: &mut Scanner<'_>, body: &[u8], param: &'static str) -> Result<bool, Error> {
    let got = scanner.kind()?;
    let span = scanner.value()?;
    match got {
        Kind::Bool => Ok(&body[span] == b"true"),
        Kind::Null => Ok(false),
        _ => Err(Error::WrongType { param, expected: "a boolean", got: got.name() }),
    }
}

/// A whole number of at least 0; `None` for null. `16.0` and `1e3` are not how anyone writes a count, and are refused.
pub(super) fn whole_number(
    scanner: &mut Scanner<'_>,
    body: &[u8],
    param: &'static str,
) -> Result<Option<u64>, Error> {
    let got = scanner.kind()?;
    let span = scanner.value()?;
    match got {
        Kind::Null => Ok(None),
        Kind::Number => {
            let digits = std::str::from_utf8(&body[span]).unwrap_or_default();
            digits
                .parse()
                .map(Some)
                .map_err(|_| Error::Invalid { param, reason: "it must be a whole number of at least 1" })
        }
        _ => Err(Error::WrongType { param, expected: "a whole number", got: got.name() }),
    }
}
