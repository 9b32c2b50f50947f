//! The chunks of one stream, most of which say what the one before them said but for one text: then only that text is read.

use super::{Chunk, read};
use crate::api::scan::{self, Fault, Scanner, Span};

/// Chunks longer than this are not kept to be compared with the next: a stream that stands still holds one.
const KEPT_BYTES_MAX: usize = 1024;

/// Reads the chunks of one stream.
#[derive(Debug, Default)]
pub struct Reader(Option<Box<Last>>);

/// The chunk that was read last.
#[derive(Debug, Default)]
struct Last {
    chunk: Chunk,
    /// What stands around its text, the quotes included, and how much of it before; nothing, if it has no text or several.
    around: Vec<u8>,
    before: usize,
    /// Where its text ends, behind the quote.
    end: usize,
}

impl Reader {
    /// A reader of a stream that has not begun.
    pub const fn new() -> Self {
        Self(None)
    }

    /// What [`read`] makes of `data`, which need not be known to be UTF-8.
    pub fn read(&mut self, data: &[u8]) -> Result<&Chunk, Fault> {
        let last = self.0.get_or_insert_default();
        if !last.is_like(data) {
            scan::check_utf8(data)?;
            last.chunk = read(data)?;
            last.keep_around(data);
        }
        Ok(&last.chunk)
    }
}

impl Last {
    fn keep_around(&mut self, data: &[u8]) {
        self.around.clear();
        let mut texts = self.chunk.texts();
        let (Some(text), None) = (texts.next(), texts.next()) else { return };
        if data.len() <= KEPT_BYTES_MAX {
            (self.before, self.end) = (text.start + 1, text.end);
            self.around.extend_from_slice(&data[..self.before]);
            self.around.extend_from_slice(&data[self.end - 1..]);
        }
    }

    /// Whether `data` differs from this one by nothing but another text, which is not empty either. If so, this is now what
    /// `data` says: it has the same parts, and those behind the text stand as much further on as it is longer.
    fn is_like(&mut self, data: &[u8]) -> bool {
        let Some((head, tail)) =
            self.around.split_at_checked(self.before).filter(|(_, tail)| !tail.is_empty())
        else {
            return false;
        };
        let Some(closing) = data.len().checked_sub(tail.len()).filter(|closing| *closing > head.len()) else {
            return false;
        };
        if !(data.starts_with(head) && data.ends_with(tail) && is_text(&data[head.len() - 1..=closing])) {
            return false;
        }
        let (old, new) = (self.end, closing + 1);
        for span in self.chunk.spans().into_iter().flatten() {
            for at in [&mut span.start, &mut span.end] {
                if *at >= old {
                    *at = *at - old + new;
                }
            }
        }
        self.end = new;
        true
    }
}

/// Whether `json` is one string.
fn is_text(json: &[u8]) -> bool {
    let mut scanner = Scanner::new(json, 0);
    scan::check_utf8(json).is_ok() && scanner.value().is_ok() && scanner.finish().is_ok()
}

impl Chunk {
    /// The texts of its last choice.
    fn texts(&self) -> impl Iterator<Item = &Span> {
        [&self.content, &self.text, &self.reasoning].into_iter().flatten()
    }

    /// All that stands at a place.
    fn spans(&mut self) -> [&mut Option<Span>; 14] {
        let Self { choices, finish, usage, error, id, created, model, object, fingerprint, .. } = self;
        let Self { content, text, reasoning, tools, role, .. } = self;
        [
            choices,
            finish,
            usage,
            error,
            id,
            created,
            model,
            object,
            fingerprint,
            content,
            text,
            reasoning,
            tools,
            role,
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(data: &[u8]) -> Result<Chunk, Fault> {
        scan::check_utf8(data).and_then(|()| read(data))
    }

    fn is_like_the_last(reader: &mut Reader, data: &[u8]) -> bool {
        reader.0.as_deref_mut().is_some_and(|last| last.is_like(data))
    }

    fn chunk(text: &str) -> String {
        format!(
            r#"{{"id":"a","choices":[{{"index":0,"delta":{{"role":"assistant","content":"{text}"}},"finish_reason":null}}],"model":"m","usage":null}}"#
        )
    }

    #[test]
    fn only_the_text_is_read_where_nothing_else_is_new() {
        let mut reader = Reader::new();
        let first = chunk(" toll");
        assert_eq!(reader.read(first.as_bytes()).cloned(), whole(first.as_bytes()));
        for text in [" gate", "a", r#"\\\""#, r"\u00e9é\n", "a much longer text than that before"] {
            let next = chunk(text);
            assert!(is_like_the_last(&mut reader, next.as_bytes()), "{text}");
            assert_eq!(reader.read(next.as_bytes()).cloned(), whole(next.as_bytes()), "{text}");
        }
        for text in ["", r"\", r#"","refusal":"no"#, r#"a","x":"b"#, "\n", r"\x"] {
            let next = chunk(text);
            assert!(!is_like_the_last(&mut reader, next.as_bytes()), "{text}");
            assert_eq!(reader.read(next.as_bytes()).cloned(), whole(next.as_bytes()), "{text}");
            let _ = reader.read(first.as_bytes());
        }
    }

    #[test]
    fn a_text_that_is_no_utf8_is_refused_as_ever() {
        let mut reader = Reader::new();
        let _ = reader.read(chunk("a").as_bytes());
        let mut odd = chunk("bcd").into_bytes();
        let at = odd.windows(3).position(|three| three == b"bcd").unwrap();
        odd[at + 1] = 0xff;
        assert_eq!(reader.read(&odd).cloned(), Err(Fault::NotUtf8));
    }

    fn arb_delta() -> impl Strategy<Value = String> {
        let text = r#"([a-zé ]|\\n|\\"|\\u00e9|"|\\){0,5}"#;
        let member = prop_oneof![
            4 => text.prop_map(|text| format!(r#""content":"{text}""#)),
            1 => text.prop_map(|text| format!(r#""reasoning_content":"{text}""#)),
            1 => text.prop_map(|text| format!(r#""refusal":"{text}""#)),
            1 => Just(r#""content":null"#.to_owned()),
            1 => Just(r#""role":"assistant""#.to_owned()),
            1 => Just(r#""tool_calls":[{"index":0}]"#.to_owned()),
        ];
        proptest::collection::vec(member, 0..3).prop_map(|members| members.join(","))
    }

    fn arb_chunk() -> impl Strategy<Value = String> {
        let choice = (arb_delta(), prop_oneof![Just("null"), Just("\"stop\"")], 0..2_usize).prop_map(
            |(delta, finish, index)| {
                format!(r#"{{"index":{index},"delta":{{{delta}}},"finish_reason":{finish}}}"#)
            },
        );
        let last = prop_oneof![4 => Just(""), 1 => Just(r#","usage":{"prompt_tokens":1}"#), 1 => Just(r#","error":"x""#)];
        (proptest::collection::vec(choice, 0..3), last, "[ab]").prop_map(|(choices, last, id)| {
            format!(r#"{{"id":"{id}","choices":[{}]{last}}}"#, choices.join(","))
        })
    }

    proptest! {
        #[test]
        fn any_row_of_chunks_reads_as_each_alone(chunks in proptest::collection::vec(arb_chunk(), 1..12)) {
            let mut reader = Reader::new();
            for chunk in &chunks {
                prop_assert_eq!(reader.read(chunk.as_bytes()).cloned(), whole(chunk.as_bytes()), "{}", chunk);
            }
        }

        #[test]
        fn any_other_text_in_the_same_chunk_reads_as_alone(texts in proptest::collection::vec(r#"([a-z\u{e9}\u{4e2d} ]|\\n|\\\\|\\"|\\u00e9|"|\\|,|:|\}){0,8}"#, 1..20)) {
            let mut reader = Reader::new();
            for text in &texts {
                let chunk = chunk(text);
                prop_assert_eq!(reader.read(chunk.as_bytes()).cloned(), whole(chunk.as_bytes()), "{}", chunk);
            }
        }
    }
}
