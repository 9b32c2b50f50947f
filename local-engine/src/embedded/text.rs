//! From token bytes to text that may be shown: whole characters only, and nothing that may turn out to be a stop sequence.

/// Collects bytes and gives out text.
#[derive(Debug)]
pub(crate) struct TextOut {
    stops: Vec<String>,
    /// The bytes of a character that has not ended yet.
    partial: Vec<u8>,
    /// Whole characters that may be the beginning of a stop sequence.
    held: String,
}

/// What one push gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// Text that is certain now; may be empty.
    pub(crate) text: String,
    /// Whether a stop sequence came up. Its own text is left out.
    pub(crate) stopped: bool,
}

impl TextOut {
    /// Text that ends before the first of `stops` (none of which is empty).
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { stops, partial: Vec::new(), held: String::new() }
    }

    /// Takes the bytes of one token.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Pushed {
        self.partial.extend_from_slice(bytes);
        self.take_whole_characters();
        if let Some(start) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            let text = self.held.get(..start).unwrap_or_default().to_owned();
            self.held.clear();
            self.partial.clear();
            return Pushed { text, stopped: true };
        }
        let keep = self.beginning_of_a_stop();
        let rest = self.held.split_off(self.held.len() - keep);
        Pushed { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// What was still held back; a broken last character becomes U+FFFD.
    pub(crate) fn finish(&mut self) -> String {
        let mut text = std::mem::take(&mut self.held);
        text.push_str(&String::from_utf8_lossy(&std::mem::take(&mut self.partial)));
        text
    }

    fn take_whole_characters(&mut self) {
        loop {
            match std::str::from_utf8(&self.partial) {
                Ok(text) => {
                    self.held.push_str(text);
                    self.partial.clear();
                    return;
                }
                Err(error) => {
                    let rest = self.partial.split_off(error.valid_up_to());
                    self.held.push_str(&String::from_utf8_lossy(&self.partial));
                    self.partial = rest;
                    let Some(broken) = error.error_len() else { return };
                    self.held.push(char::REPLACEMENT_CHARACTER);
                    self.partial.drain(..broken);
                }
            }
        }
    }

    /// Bytes at the end of `held` that are the longest proper beginning of a stop sequence.
    fn beginning_of_a_stop(&self) -> usize {
        let longest = |stop: &String| {
            stop.char_indices()
                .map(|(index, _)| index)
                .rev()
                .find(|&length| stop.get(..length).is_some_and(|start| self.held.ends_with(start)))
                .unwrap_or(0)
        };
        self.stops.iter().map(longest).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(stops: &[&str], pieces: &[&[u8]]) -> (Vec<String>, bool) {
        let mut out = TextOut::new(stops.iter().map(ToString::to_string).collect());
        let mut texts = Vec::new();
        for piece in pieces {
            let pushed = out.push(piece);
            texts.push(pushed.text);
            if pushed.stopped {
                return (texts, true);
            }
        }
        texts.push(out.finish());
        (texts, false)
    }

    #[test]
    fn a_character_split_over_tokens_waits_for_its_end() {
        let owl = "🦉".as_bytes();
        assert_eq!(all(&[], &[b"a", &owl[..1], &owl[1..3], &owl[3..]]).0, ["a", "", "", "🦉", ""]);
        assert_eq!(all(&[], &[&owl[..2], b"x"]).0, ["", "\u{fffd}x", ""]);
        assert_eq!(all(&[], &[&owl[..2]]).0, ["", "\u{fffd}"]);
    }

    #[test]
    fn a_stop_is_held_back_while_it_may_be_beginning() {
        assert_eq!(
            all(&["END"], &[b"one E", b"N", b"x E", b"ND two"]),
            (vec!["one ".into(), String::new(), "ENx ".into(), String::new()], true)
        );
        assert_eq!(all(&["END"], &[b"one EN"]).0, ["one ", "EN"]);
        assert_eq!(all(&["b", "ab"], &[b"xab"]), (vec!["x".into()], true));
    }

    #[test]
    fn a_stop_of_many_byte_characters_is_cut_between_them() {
        assert_eq!(
            all(&["é🦉"], &["caf".as_bytes(), "é".as_bytes(), "🦉".as_bytes()]),
            (vec!["caf".into(), String::new(), String::new()], true)
        );
        assert_eq!(all(&["é🦉"], &["é".as_bytes(), b"x"]).0, ["", "éx", ""]);
    }
}
