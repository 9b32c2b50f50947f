//! Keeps secrets out of what is printed: a line of a configuration file is shown with its secret values blotted out.

/// What stands in a secret's place.
pub(super) const BLOT: &str = "***";

/// Beginnings of keys that providers hand out.
const KEY_BEGINNINGS: [&str; 8] = ["sk-", "fw_", "tgp_", "hf_", "gsk_", "nvapi-", "AIza", "Bearer "];

/// Whether a key's name, perhaps mistyped, says that its value is a secret.
pub(super) fn is_secret_key(name: &str) -> bool {
    let name = name.to_lowercase();
    if matches!(name.as_str(), "keys" | "match" | "store" | "token" | "key") {
        return matches!(name.as_str(), "token" | "key");
    }
    if name.ends_with("_file") || name.ends_with("_env") || name.contains("tokens") {
        return false;
    }
    ["key", "kye", "tok", "secret", "pass", "auth"].iter().any(|part| name.contains(part)) && name != "auth"
        || ["api_key", "token", "apikey", "key_sha256"]
            .iter()
            .any(|known| strsim::normalized_damerau_levenshtein(&name, known) > 0.65)
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
        if let Some(end) = secret_at(&chars, at) {
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

/// `text` with everything that looks like a secret blotted out.
pub(super) fn masked_text(text: &str) -> String {
    masked(text, 0).0
}

/// Where the secret that starts at `at` ends.
fn secret_at(chars: &[char], at: usize) -> Option<usize> {
    let before: String = chars[..at].iter().collect();
    let rest: String = chars[at..].iter().take(8).collect();
    let begins_word = at == 0 || !chars[at - 1].is_alphanumeric();
    if begins_word && KEY_BEGINNINGS.iter().any(|beginning| rest.starts_with(beginning)) {
        let start = if rest.starts_with("Bearer ") { at + 7 } else { at };
        return Some(end_of(chars, start, |c| c.is_whitespace() || "\"',}]`".contains(c)));
    }
    if before.ends_with("://") {
        let end = end_of(chars, at, |c| c.is_whitespace() || "/\"',}]`".contains(c));
        return chars[at..end].iter().rposition(|c| *c == '@').map(|position| at + position);
    }
    let key = before.trim_end().strip_suffix(':')?.trim_end_matches(['"', '\'']);
    let begins_value = !chars[at].is_whitespace() && before.ends_with([' ', '\t', ':']);
    let name: String = key
        .chars()
        .rev()
        .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
        .collect::<Vec<_>>()
        .iter()
        .rev()
        .collect();
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
    fn secrets_are_blotted_out_and_the_caret_moves_along() {
        for (line, shown) in [
            ("api_key: 12345", "api_key: ***"),
            ("  openrouter: {api_key: \"abc, def\", regoin: us}", "  openrouter: {api_key: ***, regoin: us}"),
            ("apikey: 'abc'", "apikey: ***"),
            ("api_kye: abc", "api_kye: ***"),
            ("x: sk-or-v1-abc", "x: ***"),
            ("authorization: \"Bearer abc\"", "authorization: ***"),
            ("store: redis://user:pw@host:6379/0", "store: redis://***@host:6379/0"),
            ("api_key: \"${OPENROUTER_API_KEY}\"", "api_key: \"${OPENROUTER_API_KEY}\""),
            ("api_key_file: /run/secrets/k", "api_key_file: /run/secrets/k"),
            ("output_tokens_assumed: 12", "output_tokens_assumed: 12"),
            ("keys: [a, b]", "keys: [a, b]"),
            ("auth: requird", "auth: requird"),
        ] {
            assert_eq!(masked(line, 0).0, shown);
        }
        let (shown, caret) = masked("{api_key: abcdefgh, kindd: x}", 20);
        assert_eq!((shown.as_str(), caret), ("{api_key: ***, kindd: x}", 15));
    }
}
