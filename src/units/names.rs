//! Which characters and lengths a name may have: names end up in headers, paths, labels, logs and Redis keys.

/// Longest name of a provider, key, team, policy or tag, in bytes.
pub const NAME_LENGTH_MAX: usize = 64;
/// Longest name of a model, in bytes.
pub const MODEL_LENGTH_MAX: usize = 256;
/// Longest value of a tag, in bytes.
pub const TAG_VALUE_LENGTH_MAX: usize = 128;

/// A provider's, key's, team's, policy's or tag's name: a letter or digit, then up to 63 of `A-Z a-z 0-9 . _ -`.
pub fn is_name(text: &str) -> bool {
    (1..=NAME_LENGTH_MAX).contains(&text.len())
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| byte.is_ascii_alphanumeric() || (at > 0 && matches!(byte, b'.' | b'_' | b'-')))
}

/// A model's name: up to 256 of `A-Z a-z 0-9 . _ - / : @ + ~`.
pub fn is_model_name(text: &str) -> bool {
    (1..=MODEL_LENGTH_MAX).contains(&text.len())
        && text.bytes().all(|byte| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b'.' | b'_' | b'-' | b'/' | b':' | b'@' | b'+' | b'~')
        })
}

/// A tag's value: up to 128 printable ASCII characters except the comma, which separates tags in a header.
pub fn is_tag_value(text: &str) -> bool {
    (1..=TAG_VALUE_LENGTH_MAX).contains(&text.len())
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b',')
        && text.trim() == text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_refused() {
        let long = "a".repeat(100_000);
        for odd in
            ["", "-a", ".a", "a b", "a/b", "a\r\nb", "a\0", "\u{202e}a", "{a}", "\"a\"", "../a", "é", &long]
        {
            assert!(!is_name(odd), "{odd:?}");
        }
        for good in ["a", "team-1", "A.b_c", "0"] {
            assert!(is_name(good), "{good:?}");
        }
        for odd in ["", "a b", "a\r\nb", "a\0", "\u{202e}a", "{a}", "\"a\"", "é", &long] {
            assert!(!is_model_name(odd), "{odd:?}");
        }
        assert!(is_model_name("accounts/fireworks/models/kimi-k2p6"));
        assert!(is_model_name("~deepseek/deepseek-v4-flash-latest"));
        for odd in ["", "a,b", "a\nb", " a", "é", &long] {
            assert!(!is_tag_value(odd), "{odd:?}");
        }
        assert!(is_tag_value("feature one"));
    }
}
