//! What a string in a scanned text says, escapes undone.

use std::borrow::Cow;

use super::Span;

/// A string's text: `span` with its quotes, escapes undone. A lone surrogate becomes U+FFFD.
pub fn text_of<'a>(bytes: &'a [u8], span: &Span) -> Cow<'a, str> {
    let raw = bytes.get(span.start + 1..span.end.saturating_sub(1)).unwrap_or_default();
    if memchr::memchr(b'\\', raw).is_none() {
        return String::from_utf8_lossy(raw);
    }
    Cow::Owned(unescape(raw))
}

/// Whether the string at `span` (with quotes) says `word`, escapes undone.
pub fn says(bytes: &[u8], span: &Span, word: &str) -> bool {
    let raw = bytes.get(span.start + 1..span.end.saturating_sub(1)).unwrap_or_default();
    raw == word.as_bytes() || (raw.len() > word.len() && raw.contains(&b'\\') && unescape(raw) == word)
}

fn unescape(raw: &[u8]) -> String {
    let mut units: Vec<u8> = Vec::with_capacity(raw.len());
    let mut rest = raw;
    let mut pending_high: Option<u16> = None;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let mut decoded = char::from(0);
        let is_escape = byte == b'\\';
        if is_escape {
            let Some((&code, tail)) = rest.split_first() else { break };
            rest = tail;
            if code == b'u' {
                let (digits, tail) = rest.split_at(rest.len().min(4));
                rest = tail;
                let unit = std::str::from_utf8(digits)
                    .ok()
                    .and_then(|d| u16::from_str_radix(d, 16).ok())
                    .unwrap_or(0xfffd);
                match (pending_high.take(), unit) {
                    (Some(high), 0xdc00..=0xdfff) => {
                        decoded = char::decode_utf16([high, unit])
                            .next()
                            .and_then(Result::ok)
                            .unwrap_or('\u{fffd}');
                    }
                    (high, _) => {
                        if high.is_some() {
                            push_char(&mut units, '\u{fffd}');
                        }
                        if (0xd800..=0xdbff).contains(&unit) {
                            pending_high = Some(unit);
                            continue;
                        }
                        decoded = char::from_u32(u32::from(unit)).unwrap_or('\u{fffd}');
                    }
                }
            } else {
                decoded = match code {
                    b'b' => '\u{8}',
                    b'f' => '\u{c}',
                    b'n' => '\n',
                    b'r' => '\r',
                    b't' => '\t',
                    other => char::from(other),
                };
            }
        }
        if pending_high.take().is_some() {
            push_char(&mut units, '\u{fffd}');
        }
        if is_escape {
            push_char(&mut units, decoded);
        } else {
            units.push(byte);
        }
    }
    if pending_high.is_some() {
        push_char(&mut units, '\u{fffd}');
    }
    String::from_utf8_lossy(&units).into_owned()
}

fn push_char(units: &mut Vec<u8>, character: char) {
    units.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}
