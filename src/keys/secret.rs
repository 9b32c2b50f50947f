//! A virtual key's text: made from random bits that arrive as an argument, with a checksum that secret scanners and typing
//! errors are found by; and the hash that is kept instead of it.
//!
//! `tw_live_`, 43 characters of 256 random bits, 6 characters of the CRC-32 of those 43, both in the digits, capitals and
//! small letters of base 62. As a regular expression: `tw_live_[0-9A-Za-z]{49}`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq as _;

/// What every virtual key begins with.
pub const BEGIN: &str = "tw_live_";
/// Characters of the random part: the fewest that hold 256 bits.
const RANDOM_LENGTH: usize = 43;
/// Characters of the checksum: the fewest that hold 32 bits.
const CHECK_LENGTH: usize = 6;
/// Characters of the random part that may be shown, so that people can tell keys apart: 24 of its 256 bits.
const SHOWN_LENGTH: usize = 4;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key's whole text. It is shown once, to whoever made it, and kept nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText(String);

impl KeyText {
    /// The key of these bits.
    pub fn of(random: &[u8; 32]) -> Self {
        let mut text = String::with_capacity(BEGIN.len() + RANDOM_LENGTH + CHECK_LENGTH);
        text.push_str(BEGIN);
        base62(random, RANDOM_LENGTH, &mut text);
        let check = checksum(&text[BEGIN.len()..]);
        text.push_str(&check);
        Self(text)
    }

    /// The text itself, to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What may be shown of it for ever.
    pub fn prefix(&self) -> &str {
        &self.0[..BEGIN.len() + SHOWN_LENGTH]
    }
}

/// Never the text.
impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyText({}…)", self.prefix())
    }
}

/// Whether `text` is formed as a virtual key, its checksum included.
pub fn is_formed(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(BEGIN) else { return false };
    let is_right = |(random, check): (&str, &str)| checksum(random) == check;
    rest.len() == RANDOM_LENGTH + CHECK_LENGTH
        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && rest.split_at_checked(RANDOM_LENGTH).is_some_and(is_right)
}

/// Some small letters and digits out of random bits, for a name that nobody thought of.
pub fn suffix(random: &[u8; 8]) -> String {
    let mut text = String::new();
    base62(random, 6, &mut text);
    text.to_ascii_lowercase()
}

fn checksum(random: &str) -> String {
    let mut text = String::with_capacity(CHECK_LENGTH);
    base62(&crc32fast::hash(random.as_bytes()).to_be_bytes(), CHECK_LENGTH, &mut text);
    text
}

/// The last `length` digits of a number whose bytes come most significant first.
fn base62(bytes: &[u8], length: usize, into: &mut String) {
    let mut number = bytes.to_vec();
    let mut digits = vec![b'0'; length];
    for digit in digits.iter_mut().rev() {
        let rest = number.iter_mut().fold(0_u32, |rest, byte| {
            let value = rest << 8 | u32::from(*byte);
            // Below 256, since the rest was below 62.
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            value % 62
        });
        *digit = DIGITS[rest as usize];
    }
    into.extend(digits.into_iter().map(char::from));
}

/// 32 bytes in hexadecimal, wherever they are written.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bytes32(pub [u8; 32]);

impl Bytes32 {
    /// Whether both are the same, in a time that does not tell where they differ.
    pub fn is(&self, other: &[u8; 32]) -> bool {
        self.0.ct_eq(other).into()
    }
}

impl fmt::Debug for Bytes32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bytes32(…)")
    }
}

impl Serialize for Bytes32 {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl<'de> Deserialize<'de> for Bytes32 {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let hash = blake3::Hash::from_hex(text).map_err(serde::de::Error::custom)?;
        Ok(Self(*hash.as_bytes()))
    }
}

/// The server's own secret, without which no hash that is kept can be tried against a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pepper(pub Bytes32);

impl Pepper {
    /// What is kept of a key with this text.
    pub fn hash(&self, text: &[u8]) -> Bytes32 {
        Bytes32(*blake3::keyed_hash(&self.0.0, text).as_bytes())
    }

    /// Names this pepper without telling anything of it, so that keys and pepper that do not belong together are noticed.
    pub fn name(&self) -> String {
        let hash = self.hash(b"tollway: which pepper is this");
        blake3::Hash::from_bytes(hash.0).to_hex()[..16].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_formed_and_its_typing_errors_are_found() {
        for random in [[0; 32], [255; 32], *b"abcdefghijklmnopqrstuvwxyz012345"] {
            let key = KeyText::of(&random);
            let text = key.expose();
            assert!(text.len() == 57 && is_formed(text), "{text}");
            assert!(!is_formed(&text[..56]) && !is_formed(&text.replace("tw_live", "tw_test")));
            for at in BEGIN.len()..text.len() {
                let mut other = text.to_owned();
                let wrong = if text.as_bytes()[at] == b'x' { "y" } else { "x" };
                other.replace_range(at..=at, wrong);
                assert!(!is_formed(&other), "{other}");
            }
            assert!(!format!("{key:?}").contains(&text[20..]));
        }
        assert_eq!(KeyText::of(&[0; 32]).expose()[..51], format!("tw_live_{}", "0".repeat(43)));
        for odd in ["", "tw_live_", "tw_live_é", &"tw_live_".repeat(100)] {
            assert!(!is_formed(odd), "{odd}");
        }
    }

    #[test]
    fn every_bit_counts() {
        let texts: std::collections::HashSet<String> = (0..256)
            .map(|bit| {
                let mut random = [0; 32];
                random[bit / 8] = 1 << (bit % 8);
                KeyText::of(&random).expose().to_owned()
            })
            .collect();
        assert_eq!(texts.len(), 256);
    }

    #[test]
    fn r50_keys_with_equal_beginnings_have_nothing_in_common() {
        let pepper = Pepper(Bytes32([7; 32]));
        for same in [20, 30, 56] {
            let text = KeyText::of(&[9; 32]).expose().to_owned();
            let mut other = text.clone();
            other.replace_range(same..=same, if text.as_bytes()[same] == b'x' { "y" } else { "x" });
            assert_eq!(text[..same], other[..same]);
            assert_ne!(pepper.hash(text.as_bytes()), pepper.hash(other.as_bytes()));
        }
        let other = Pepper(Bytes32([8; 32]));
        assert_ne!(pepper.hash(b"x"), other.hash(b"x"), "a hash is of use only with its pepper");
        assert_ne!(pepper.name(), other.name());
    }
}
