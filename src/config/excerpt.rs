//! The line that a problem shows: masked, cut to what can be read, with where the carets go.

use super::mask::{BLOT, is_secret_key, masked};
use super::node::Spot;

/// Longest excerpt of a line, in characters.
const EXCERPT_MAX: usize = 160;

/// The line as it is shown, with where the carets go: masked, without what follows a key that may announce a secret, and
/// cut around the caret.
pub(super) fn excerpt(line: &str, spot: Spot, is_header: bool) -> (String, u32, u32) {
    let (line, start) = window(line, spot.column.saturating_sub(1) as usize);
    let length = (spot.length.max(1) as usize).min(80);
    let word: String = line.chars().skip(start).take(length).collect();
    let (mut shown, caret) = masked(&line, start);
    let is_blotted = |from: usize| shown.chars().skip(from).take(BLOT.len()).eq(BLOT.chars());
    let (caret, length) = match caret.checked_sub(1) {
        _ if word.starts_with(BLOT) => (caret, length),
        _ if is_blotted(caret) => (caret, BLOT.len()),
        // The caret stood behind a quotation mark, which is blotted out with what it encloses.
        Some(before) if is_blotted(before) => (before, BLOT.len()),
        _ => (caret, length),
    };
    let is_key = line.chars().skip(start + length).find(|c| !c.is_whitespace()) == Some(':');
    if is_key && !is_blotted(caret) && (is_header || is_secret_key(word.trim_matches(['"', '\'']))) {
        let keep = caret + length;
        if shown.chars().count() > keep + 1 {
            shown = shown.chars().take(keep).chain(": …".chars()).collect();
        }
    }
    let skip = caret.saturating_sub(EXCERPT_MAX / 2).min(shown.chars().count().saturating_sub(EXCERPT_MAX));
    let cut: String = shown.chars().skip(skip).take(EXCERPT_MAX).collect();
    let room = cut.chars().count().saturating_sub(caret - skip).max(1);
    let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    (cut.trim_end().to_owned(), short(caret - skip), short(length.min(room)))
}

/// The part of a line around the character `start`, and where that character is in it. What is cut off on the left ends
/// with a separator, so that the rest of a secret is never taken for something else.
fn window(line: &str, start: usize) -> (String, usize) {
    const REACH: usize = 240;
    let skip = start.saturating_sub(REACH);
    let clean = |c: char| if c.is_control() || is_bidi(c) { ' ' } else { c };
    let part: Vec<char> = line.chars().skip(skip).take(2 * REACH).map(clean).collect();
    let caret = start - skip;
    let head = part.get(..caret).unwrap_or_default();
    let from = match skip {
        0 => 0,
        _ => head.iter().position(|c| matches!(c, ',' | '{' | '[')).map_or(caret, |at| at + 1),
    };
    (part.get(from..).unwrap_or_default().iter().collect(), caret - from)
}

/// Characters that would turn the reading direction of what is printed.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// At most `chars_max` characters of `text`, without control characters.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    let clean = |c: char| if c.is_control() || is_bidi(c) { ' ' } else { c };
    if text.chars().count() <= chars_max {
        return text.chars().map(clean).collect();
    }
    text.chars().take(chars_max.saturating_sub(1)).map(clean).chain(std::iter::once('…')).collect()
}
