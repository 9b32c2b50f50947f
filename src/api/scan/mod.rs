//! A strict JSON reader that finds values and never builds them: one pass, no allocation, RFC 8259 to the letter.
//!
//! The gateway reads a handful of members of a body that may be megabytes of prompt, and forwards the bytes as they came.
//! So this scanner validates everything (what we accept and what the provider reads is the same text) but yields only
//! spans. It is a pull parser: the caller walks the objects it cares about and skips the rest.

mod run;
mod text;

use std::ops::Range;

use run::plain_run_end;

pub use text::{says, text_of};

/// A range of bytes in the text being scanned.
pub type Span = Range<usize>;

/// What kind of value begins here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// `-1.5e3`
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

impl Kind {
    /// The word for it in an error message.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::String => "a string",
            Self::Number => "a number",
            Self::Bool => "a boolean",
            Self::Null => "null",
        }
    }
}

/// Why a text is not JSON that we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It ends too soon.
    #[error("the JSON text ends before it is complete")]
    Truncated,
    /// A byte that cannot stand here.
    #[error("unexpected byte {byte:#04x} at offset {at}")]
    Unexpected {
        /// Offset in bytes.
        at: usize,
        /// The byte.
        byte: u8,
    },
    /// Objects and arrays nested too deep.
    #[error("objects and arrays are nested deeper than {max} levels")]
    TooDeep {
        /// The limit.
        max: usize,
    },
    /// A key stands twice in one object.
    #[error("a key stands twice in the object that begins at offset {at}")]
    DuplicateKey {
        /// Offset of the second one in bytes.
        at: usize,
    },
    /// Something follows the value.
    #[error("something follows the JSON value at offset {at}")]
    Trailing {
        /// Offset in bytes.
        at: usize,
    },
    /// Not UTF-8.
    #[error("the text is not UTF-8")]
    NotUtf8,
}

/// Deepest nesting this scanner can be set to.
pub const DEPTH_LIMIT: usize = 512;

/// A position in a text, moving forward only.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Levels that may still be opened from here.
    depth_left: usize,
    depth_max: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner at the start of `bytes`, which must be UTF-8 (see [`check_utf8`]).
    pub fn new(bytes: &'a [u8], depth_max: usize) -> Self {
        let depth_max = depth_max.min(DEPTH_LIMIT);
        Self { bytes, at: 0, depth_left: depth_max, depth_max }
    }

    /// Offset of the next byte.
    pub const fn offset(&self) -> usize {
        self.at
    }

    /// Skips white space and tells what value begins here.
    pub fn kind(&mut self) -> Result<Kind, Fault> {
        self.space();
        match self.peek()? {
            b'{' => Ok(Kind::Object),
            b'[' => Ok(Kind::Array),
            b'"' => Ok(Kind::String),
            b'-' | b'0'..=b'9' => Ok(Kind::Number),
            b't' | b'f' => Ok(Kind::Bool),
            b'n' => Ok(Kind::Null),
            byte => Err(Fault::Unexpected { at: self.at, byte }),
        }
    }

    /// Steps into the object that begins here.
    pub fn enter_object(&mut self) -> Result<Members, Fault> {
        self.open(b'{')?;
        Ok(Members { first: true })
    }

    /// Steps into the array that begins here.
    pub fn enter_array(&mut self) -> Result<Items, Fault> {
        self.open(b'[')?;
        Ok(Items { first: true })
    }

    /// Reads or skips one whole value and returns its span.
    pub fn value(&mut self) -> Result<Span, Fault> {
        self.space();
        let start = self.at;
        match self.kind()? {
            Kind::Object | Kind::Array => self.skip_nested()?,
            _ => self.scalar()?,
        }
        Ok(start..self.at)
    }

    /// Ends the text: only white space may follow.
    pub fn finish(mut self) -> Result<(), Fault> {
        self.space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(Fault::Trailing { at: self.at }) }
    }

    fn open(&mut self, bracket: u8) -> Result<(), Fault> {
        self.space();
        self.expect_byte(bracket)?;
        self.depth_left = self.depth_left.checked_sub(1).ok_or(Fault::TooDeep { max: self.depth_max })?;
        Ok(())
    }

    fn peek(&self) -> Result<u8, Fault> {
        self.bytes.get(self.at).copied().ok_or(Fault::Truncated)
    }

    fn expect_byte(&mut self, wanted: u8) -> Result<(), Fault> {
        let byte = self.peek()?;
        if byte != wanted {
            return Err(Fault::Unexpected { at: self.at, byte });
        }
        self.at += 1;
        Ok(())
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// A whole object or array, without recursion: one bit a level tells which bracket closes it.
    fn skip_nested(&mut self) -> Result<(), Fault> {
        let mut is_object = [0_u64; DEPTH_LIMIT / 64];
        let mut level = 0_usize;
        loop {
            // At a value.
            self.space();
            match self.peek()? {
                open @ (b'{' | b'[') => {
                    self.at += 1;
                    if level == self.depth_left {
                        return Err(Fault::TooDeep { max: self.depth_max });
                    }
                    let bit = 1_u64 << (level % 64);
                    if open == b'{' {
                        is_object[level / 64] |= bit;
                    } else {
                        is_object[level / 64] &= !bit;
                    }
                    level += 1;
                    self.space();
                    let close = if open == b'{' { b'}' } else { b']' };
                    if self.peek()? == close {
                        self.at += 1;
                        level -= 1;
                    } else {
                        if open == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            // After a value: close as many levels as end here, then go on to the next value.
            loop {
                if level == 0 {
                    return Ok(());
                }
                self.space();
                let object = is_object[(level - 1) / 64] >> ((level - 1) % 64) & 1 == 1;
                match (self.peek()?, object) {
                    (b',', true) => {
                        self.at += 1;
                        self.space();
                        self.key()?;
                        break;
                    }
                    (b',', false) => {
                        self.at += 1;
                        break;
                    }
                    (b'}', true) | (b']', false) => {
                        self.at += 1;
                        level -= 1;
                    }
                    (byte, _) => return Err(Fault::Unexpected { at: self.at, byte }),
                }
            }
        }
    }

    /// A key and its colon; returns the key's span with its quotes.
    fn key(&mut self) -> Result<Span, Fault> {
        let start = self.at;
        self.string()?;
        let end = self.at;
        self.space();
        self.expect_byte(b':')?;
        Ok(start..end)
    }

    fn scalar(&mut self) -> Result<(), Fault> {
        match self.peek()? {
            b'"' => self.string(),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => self.number(),
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        for &wanted in word {
            self.expect_byte(wanted)?;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            byte => return Err(Fault::Unexpected { at: self.at, byte }),
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(())
    }

    fn some_digits(&mut self) -> Result<(), Fault> {
        let byte = self.peek()?;
        if !byte.is_ascii_digit() {
            return Err(Fault::Unexpected { at: self.at, byte });
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Result<(), Fault> {
        self.expect_byte(b'"')?;
        loop {
            self.at = plain_run_end(self.bytes, self.at);
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.escape()?,
                byte => return Err(Fault::Unexpected { at: self.at, byte }),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        let byte = self.peek()?;
        match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => {
                self.at += 1;
                for _ in 0..4 {
                    let byte = self.peek()?;
                    if !byte.is_ascii_hexdigit() {
                        return Err(Fault::Unexpected { at: self.at, byte });
                    }
                    self.at += 1;
                }
            }
            _ => return Err(Fault::Unexpected { at: self.at, byte }),
        }
        Ok(())
    }
}

/// A walk over an object's members.
#[derive(Debug)]
pub struct Members {
    first: bool,
}

impl Members {
    /// The next key (span with its quotes), the scanner then standing at its value; `None` after the closing brace.
    pub fn next(&mut self, scanner: &mut Scanner<'_>) -> Result<Option<Span>, Fault> {
        scanner.space();
        match (scanner.peek()?, self.first) {
            (b'}', _) => {
                scanner.at += 1;
                scanner.depth_left += 1;
                return Ok(None);
            }
            (b',', false) => {
                scanner.at += 1;
                scanner.space();
            }
            (b'"', true) => {}
            (byte, _) => return Err(Fault::Unexpected { at: scanner.at, byte }),
        }
        self.first = false;
        let key = scanner.key()?;
        scanner.space();
        Ok(Some(key))
    }
}

/// A walk over an array's items.
#[derive(Debug)]
pub struct Items {
    first: bool,
}

impl Items {
    /// Whether another item follows, the scanner then standing at it.
    pub fn next(&mut self, scanner: &mut Scanner<'_>) -> Result<bool, Fault> {
        scanner.space();
        match (scanner.peek()?, self.first) {
            (b']', true) => {
                scanner.at += 1;
                scanner.depth_left += 1;
                return Ok(false);
            }
            (_, true) => {}
            (b']', false) => {
                scanner.at += 1;
                scanner.depth_left += 1;
                return Ok(false);
            }
            (b',', false) => {
                scanner.at += 1;
                scanner.space();
            }
            (byte, false) => return Err(Fault::Unexpected { at: scanner.at, byte }),
        }
        self.first = false;
        Ok(true)
    }
}

/// Refuses what is not UTF-8.
pub fn check_utf8(bytes: &[u8]) -> Result<(), Fault> {
    simdutf8::basic::from_utf8(bytes).map(|_| ()).map_err(|_| Fault::NotUtf8)
}

#[cfg(test)]
mod tests;
