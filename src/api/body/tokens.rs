//! How many tokens a prompt is, for routing's probes and for answers without a report.

use crate::api::tokens::{Tally, Vocabulary};

use super::Call;

impl Call {
    /// The prompt's length in tokens of that vocabulary, estimated from what it says; never zero. Of a long prompt only a part
    /// is looked at: it takes at most about 50 µs.
    pub fn prompt_tokens_estimated(&self, vocabulary: Vocabulary) -> u64 {
        let mut tally = Tally::default();
        for member in &self.members {
            let value = &self.body[member.value.clone()];
            match &self.body[member.key.start + 1..member.key.end - 1] {
                b"messages" => tally.messages(value),
                b"prompt" | b"input" | b"query" | b"documents" | b"tools" | b"functions" => {
                    tally.value(value);
                }
                _ => {}
            }
        }
        tally.tokens(vocabulary).max(1)
    }
}
