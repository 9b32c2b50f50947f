//! Request ids: 128 bits of which nobody can guess the next, written as `req_` and 32 hex digits.

use std::fmt;

/// A caller's own id if it was well formed, else one of ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// Longest id of a caller that is kept, in bytes.
    pub const LENGTH_MAX: usize = 128;

    /// A caller's id if it is 1 to 128 token characters (RFC 9110 5.6.2).
    pub fn from_caller(text: &[u8]) -> Option<Self> {
        let fits = (1..=Self::LENGTH_MAX).contains(&text.len()) && text.iter().all(|&b| is_token_byte(b));
        let text = fits.then(|| std::str::from_utf8(text).ok()).flatten()?;
        Some(Self(text.into()))
    }

    /// An id of our own from 128 random bits.
    pub fn from_bits(bits: u128) -> Self {
        Self(format!("req_{bits:032x}").into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_ids_are_not_kept() {
        assert!(RequestId::from_caller(b"abc-123").is_some());
        for odd in [&b""[..], b"a b", b"a\r\nx: y", "é".as_bytes(), &[b'a'; 129]] {
            assert!(RequestId::from_caller(odd).is_none());
        }
    }
}
