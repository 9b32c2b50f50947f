//! What a caller has been told, kept for as long as another route might have to go on from it. Only streams whose policy asks
//! for that have one; it is bounded, and gives up where the answer is more than plain text.

use crate::api::chunk::Chunk;
use crate::api::continued::SoFar;
use crate::api::scan::{self, Span};

/// The most text, reasoning included, that is kept of one answer, in bytes. A longer answer cannot be gone on with.
pub(super) const TEXT_BYTES_MAX: usize = 256 << 10;

/// The text of one answer so far.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    text: String,
    reasoning: String,
    is_thinking: bool,
    lost: Option<&'static str>,
}

impl Transcript {
    /// Takes what `chunk` of `data` says to the caller.
    pub(super) fn hear(&mut self, data: &[u8], chunk: &Chunk) {
        if self.lost.is_some() {
            return;
        }
        if chunk.beyond_text {
            return self.lose("it is more than plain text");
        }
        if chunk.seen > 1 {
            return self.lose("it has several choices");
        }
        if let Some(span) = &chunk.reasoning {
            self.is_thinking = true;
            self.append(data, span, |own| &mut own.reasoning);
        }
        // A provider may say the same twice, in the words of both endpoints.
        if let Some(span) = chunk.content.as_ref().or(chunk.text.as_ref()) {
            self.is_thinking = false;
            self.append(data, span, |own| &mut own.text);
        }
    }

    /// What was said, or why nobody can go on from it. `tokens` is how long that was.
    pub(super) fn so_far(&self, tokens: u64) -> Result<SoFar, &'static str> {
        match self.lost {
            Some(reason) => Err(reason),
            None if self.is_thinking => Err("it was still thinking"),
            None => Ok(SoFar { text: (*self.text).into(), reasoning: (*self.reasoning).into(), tokens }),
        }
    }

    fn append(&mut self, data: &[u8], span: &Span, to: impl FnOnce(&mut Self) -> &mut String) {
        let said = scan::text_of(data, span);
        // Half of a character that JSON wrote as two escapes: its other half may come with the next event.
        if said.contains('\u{fffd}') && memchr::memmem::find(&data[span.clone()], b"\\u").is_some() {
            return self.lose("a character was cut in two");
        }
        if self.text.len() + self.reasoning.len() + said.len() > TEXT_BYTES_MAX {
            return self.lose("it is too long to be kept");
        }
        to(self).push_str(&said);
    }

    fn lose(&mut self, reason: &'static str) {
        *self = Self { lost: Some(reason), ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::chunk;

    fn heard(deltas: &[&str]) -> Transcript {
        let mut transcript = Transcript::default();
        for delta in deltas {
            let data = format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#);
            transcript.hear(data.as_bytes(), &chunk::read(data.as_bytes()).unwrap());
        }
        transcript
    }

    #[test]
    fn text_is_kept_with_its_escapes_undone() {
        let transcript = heard(&[
            r#"{"role":"assistant","content":""}"#,
            r#"{"content":"a\n\u00e9"}"#,
            r#"{"content":"🌊"}"#,
        ]);
        assert_eq!(&*transcript.so_far(2).unwrap().text, "a\né🌊");
    }

    #[test]
    fn thoughts_must_have_ended() {
        let (thought, said) = (r#"{"reasoning_content":"hm"}"#, r#"{"content":"a"}"#);
        assert_eq!(heard(&[thought]).so_far(1), Err("it was still thinking"));
        let so_far = heard(&[thought, thought, said]).so_far(3).unwrap();
        assert_eq!((&*so_far.reasoning, &*so_far.text), ("hmhm", "a"));
        assert!(heard(&[thought, said, thought]).so_far(3).is_err());
    }

    #[test]
    fn what_is_no_plain_text_is_given_up_for_good() {
        let said = r#"{"content":"a"}"#;
        for odd in [r#"{"tool_calls":[{"index":0}]}"#, r#"{"refusal":"no"}"#, r#"{"content":"\ud83c"}"#] {
            assert!(heard(&[said, odd, said]).so_far(3).is_err(), "{odd}");
        }
    }

    #[test]
    fn it_is_bounded() {
        let long = format!(r#"{{"content":"{}"}}"#, "x".repeat(TEXT_BYTES_MAX));
        assert!(heard(&[&long]).so_far(1).is_ok());
        let over = heard(&[&long, r#"{"content":"a"}"#]);
        assert!(over.so_far(2).is_err() && over.text.capacity() == 0);
    }
}
