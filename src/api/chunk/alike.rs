//! The chunks of one stream, most of which say what the one before them said but for one text: then only that text is read.

use super::{Chunk, read};
use crate::api::scan::{self, Fault, Scanner, Span};

/// Chunks longer than this are not kept to be compared with the next: a stream that stands still holds one.
const KEPT_BYTES_MAX: usize = 1024;

/// Reads the chunks of one stream.
#[derive(Debug, Default)]
pub struct Reader(Option<Box<Before>>);

/// A chunk that was read.
#[derive(Debug)]
struct Before {
    data: Vec<u8>,
    chunk: Chunk,
    /// Where its text stands, quotes included.
    text: Span,
}

impl Reader {
    /// A reader of a stream that has not begun.
    pub const fn new() -> Self {
        Self(None)
    }

    /// What [`read`] makes of `data`, which need not be known to be UTF-8.
    pub fn read(&mut self, data: &[u8]) -> Result<Chunk, Fault> {
        if let Some(chunk) = self.0.as_deref().and_then(|before| before.alike(data)) {
            return Ok(chunk);
        }
        scan::check_utf8(data)?;
        let chunk = read(data)?;
        self.keep(data, &chunk);
        Ok(chunk)
    }

    fn keep(&mut self, data: &[u8], chunk: &Chunk) {
        let (1, Some(text)) = (chunk.texts().count(), chunk.texts().next().cloned()) else { return };
        if data.len() > KEPT_BYTES_MAX {
            return;
        }
        let before = match &mut self.0 {
            Some(before) => before,
            none => none.insert(Box::new(Before { data: Vec::new(), chunk: Chunk::default(), text: 0..0 })),
        };
        before.data.clear();
        before.data.extend_from_slice(data);
        before.chunk.clone_from(chunk);
        before.text = text;
    }
}

impl Before {
    /// The chunk that `data` is if it differs from this one by nothing but another text, which is not empty either: then it has
    /// the same parts, and those behind the text stand as much further on as it is longer.
    fn alike(&self, data: &[u8]) -> Option<Chunk> {
        let (head, tail) = (&self.data[..=self.text.start], &self.data[self.text.end - 1..]);
        let closing = data.len().checked_sub(tail.len()).filter(|closing| *closing > head.len())?;
        if !(data.starts_with(head) && data.ends_with(tail)) {
            return None;
        }
        scan::check_utf8(&data[head.len()..closing]).ok()?;
        let mut text = Scanner::new(&data[self.text.start..=closing], 0);
        text.value().ok()?;
        text.finish().ok()?;
        let mut chunk = self.chunk.clone();
        let moved = |at: &mut usize| {
            if *at >= self.text.end {
                *at = *at - self.text.end + closing + 1;
            }
        };
        chunk.spans().into_iter().flatten().for_each(|span| {
            moved(&mut span.start);
            moved(&mut span.end);
        });
        Some(chunk)
    }
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

    fn is_kept(reader: &Reader, data: &[u8]) -> bool {
        reader.0.as_deref().is_some_and(|before| before.alike(data).is_some())
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
        assert_eq!(reader.read(first.as_bytes()), whole(first.as_bytes()));
        for text in [" gate", "a", r#"\\\""#, r"\u00e9é\n", "a much longer text than that before"] {
            let next = chunk(text);
            assert!(is_kept(&reader, next.as_bytes()), "{text}");
            assert_eq!(reader.read(next.as_bytes()), whole(next.as_bytes()), "{text}");
        }
        for text in ["", r"\", r#"","refusal":"no"#, r#"a","x":"b"#, "\n", r"\x"] {
            let next = chunk(text);
            assert!(!is_kept(&reader, next.as_bytes()), "{text}");
            assert_eq!(reader.read(next.as_bytes()), whole(next.as_bytes()), "{text}");
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
        assert_eq!(reader.read(&odd), Err(Fault::NotUtf8));
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
                prop_assert_eq!(reader.read(chunk.as_bytes()), whole(chunk.as_bytes()), "{}", chunk);
            }
        }

        #[test]
        fn any_other_text_in_the_same_chunk_reads_as_alone(texts in proptest::collection::vec(r#"([a-z\u{e9}\u{4e2d} ]|\\n|\\\\|\\"|\\u00e9|"|\\|,|:|\}){0,8}"#, 1..20)) {
            let mut reader = Reader::new();
            for text in &texts {
                let chunk = chunk(text);
                prop_assert_eq!(reader.read(chunk.as_bytes()), whole(chunk.as_bytes()), "{}", chunk);
            }
        }
    }
}
