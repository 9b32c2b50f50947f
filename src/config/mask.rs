//! Keeps secrets out of what is printed: a line of a configuration file is shown with its secret values blotted out.

/// What stands in a secret's place.
pub(super) const BLOT: &str = "***";

/// Beginnings of keys that providers hand out.
const KEY_BEGINNINGS: [&str; 8] = ["sk-", "fw_", "tgp_", "hf_", "gsk_", "nvapi-", "AIza", "Bearer "];

/// Keys of the format whose names sound like a secret and are none.
const INNOCENT: [&str; 6] =
    ["auth", "auth_open_forced", "keys", "first_token_timeout", "api_key_file", "api_key_env"];

/// Whether a key's name, perhaps mistyped, says that its value is a secret.
pub(super) fn is_secret_key(name: &str) -> bool {
    let name = name.to_lowercase();
    if INNOCENT.contains(&name.as_str()) || name.ends_with("_file") || name.contains("tokens") {
        return false;
    }
    let sounds_like_it =
        ["key", "kye", "tok", "secret", "pass", "auth"].iter().any(|part| name.contains(part));
    let known = ["api_key", "token", "apikey", "key_sha256"];
    sounds_like_it
        || strsim::levenshtein(&name, "key") <= 1
        || known.iter().any(|known| strsim::normalized_damerau_levenshtein(&name, known) > 0.65)
}

/// `line` with the values of secret keys, keys as providers hand them out, and passwords in addresses blotted out, and
/// the same for `caret`, a character's index in it.
pub(super) fn masked(line: &str, caret: usize) -> (String, usize) {
    let chars: Vec<char> = line.chars().collect();
    let mut out = String::with_capacity(line.len());
    let mut out_caret = None;
    let mut at = 0;
    while at < chars.len() {
        if at >= caret && out_caret.is_none() {
            out_caret = Some(out.chars().count());
        }
        // An empty value ends where it begins.
        if let Some(end) = secret_at(&chars, at).filter(|end| *end > at) {
            out.push_str(BLOT);
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    let caret = out_caret.unwrap_or_else(|| out.chars().count());
    (out, caret)
}

/// A message with everything in it that is formed like a secret blotted out. What it says of keys stands: it is our own text.
pub(super) fn masked_text(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        if let Some(end) = formed_like_a_secret(&chars, at).filter(|end| *end > at) {
            out.push_str(BLOT);
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// Where a provider's key or an address's user and password that starts at `at` ends.
fn formed_like_a_secret(chars: &[char], at: usize) -> Option<usize> {
    let rest: String = chars[at..].iter().take(8).collect();
    let begins_word = at == 0 || !chars[at - 1].is_alphanumeric();
    if begins_word && KEY_BEGINNINGS.iter().any(|beginning| rest.starts_with(beginning)) {
        let start = if rest.starts_with("Bearer ") { at + 7 } else { at };
        return Some(end_of(chars, start, |c| c.is_whitespace() || "\"',}]`".contains(c)));
    }
    if chars[..at].ends_with(&[':', '/', '/']) {
        let end = end_of(chars, at, |c| c.is_whitespace() || "/\"',}]`".contains(c));
        return chars[at..end].iter().rposition(|c| *c == '@').map(|position| at + position);
    }
    // `?key=…` of an address.
    let name: Vec<char> =
        chars[..at].strip_suffix(&['='])?.iter().rev().take_while(|c| is_of_name(**c)).copied().collect();
    let name: String = name.iter().rev().collect();
    is_secret_key(&name).then(|| end_of(chars, at, |c| c.is_whitespace() || "&\"',}]`".contains(c)))
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-')
}

/// Where the secret that starts at `at` in a line of a file ends.
fn secret_at(chars: &[char], at: usize) -> Option<usize> {
    if let Some(end) = formed_like_a_secret(chars, at) {
        return Some(end);
    }
    let before: String = chars[..at].iter().collect();
    let rest: String = chars[at..].iter().take(8).collect();
    let key = before.trim_end().strip_suffix(':')?.trim_end_matches(['"', '\'']);
    if key.ends_with("headers") && chars[at] == '{' {
        return Some((end_of(chars, at, |c| c == '}') + 1).min(chars.len()));
    }
    let begins_value = !chars[at].is_whitespace() && before.ends_with([' ', '\t', ':']);
    let name: Vec<char> = key.chars().rev().take_while(|c| is_of_name(*c)).collect();
    let name: String = name.iter().rev().collect();
    if !begins_value
        || !is_secret_key(&name)
        || rest.starts_with(['{', '[', '|', '>', '#', '$'])
        || rest.starts_with("\"${")
    {
        return None;
    }
    match chars[at] {
        quote @ ('"' | '\'') => Some((end_of(chars, at + 1, |c| c == quote) + 1).min(chars.len())),
        _ => Some(end_of(chars, at, |c| matches!(c, ',' | '}' | ']'))),
    }
}

fn end_of(chars: &[char], from: usize, ends: impl Fn(char) -> bool) -> usize {
    chars[from.min(chars.len())..].iter().position(|c| ends(*c)).map_or(chars.len(), |offset| from + offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_own_words() {
        let text = "`auth_open_forced: true`, a mapping (`key: value`), not `sk-abc` or redis://u:p@h";
        assert_eq!(
            masked_text(text),
            "`auth_open_forced: true`, a mapping (`key: value`), not `***` or redis://***@h"
        );
    }

    #[test]
    fn secrets_are_blotted_out_and_the_caret_moves_along() {
        for (line, shown) in [
            ("api_key: 12345", "api_key: ***"),
            ("  openrouter: {api_key: \"abc, def\", regoin: us}", "  openrouter: {api_key: ***, regoin: us}"),
            ("apikey: 'abc'", "apikey: ***"),
            ("api_kye: abc", "api_kye: ***"),
            ("x: sk-or-v1-abc", "x: ***"),
            ("authorization: \"Bearer abc\"", "authorization: ***"),
            ("{headers: {x-tenant: abc, y: d}, kind: x}", "{headers: ***, kind: x}"),
            ("store: redis://user:pw@host:6379/0", "store: redis://***@host:6379/0"),
            ("api_key: \"${OPENROUTER_API_KEY}\"", "api_key: \"${OPENROUTER_API_KEY}\""),
            ("api_key_file: /run/secrets/k", "api_key_file: /run/secrets/k"),
            ("output_tokens_assumed: 12", "output_tokens_assumed: 12"),
            ("{key: , api_key: }", "{key: , api_key: }"),
            ("base_url: http://h/v1?key=abc&x=1", "base_url: http://h/v1?key=***&x=1"),
            ("store: redis://@host", "store: redis://@host"),
            ("keys: [a, b]", "keys: [a, b]"),
            ("auth: requird", "auth: requird"),
            ("{first_token_timeout: 5s, kee: abc}", "{first_token_timeout: 5s, kee: ***}"),
        ] {
            assert_eq!(masked(line, 0).0, shown);
        }
        let (shown, caret) = masked("{api_key: abcdefgh, kindd: x}", 20);
        assert_eq!((shown.as_str(), caret), ("{api_key: ***, kindd: x}", 15));
    }
}
