//! A chunk of a stream, or a whole answer: read only as far as usage, finish, errors and the first token need.

mod alike;

use super::scan::{self, Fault, Kind, Scanner, Span};
use super::usage::PROVIDER_DEPTH_MAX;

pub use alike::Reader;

/// What one JSON object from a provider says, by spans into its text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Span of the `choices` value.
    pub choices: Option<Span>,
    /// How many choices it has.
    pub choice_count: usize,
    /// Whether a choice carries text, reasoning, a tool call, a refusal or the like.
    pub has_content: bool,
    /// Choices seen, as bits by index (up to 64).
    pub seen: u64,
    /// Choices with a finish reason, as bits by index.
    pub finished: u64,
    /// Span of the first non-null finish reason, quotes included.
    pub finish: Option<Span>,
    /// Whether a finish reason means a fault (`error`, `insufficient_system_resource`), a choice carries an error, or Huawei's
    /// `error_code` stands where `choices` were due, which no client reads.
    pub finish_is_fault: bool,
    /// Span of a `usage` that is an object.
    pub usage: Option<Span>,
    /// Span of a top-level `error` that is neither null nor false.
    pub error: Option<Span>,
    /// Number of items in `data` (embeddings) or `results` (rerank).
    pub data_count: usize,
    /// Span of `id`, `created` and `model`, for a chunk of our own in the same stream.
    pub id: Option<Span>,
    /// As above.
    pub created: Option<Span>,
    /// As above.
    pub model: Option<Span>,
    /// As above: `object` and `system_fingerprint`.
    pub object: Option<Span>,
    /// As above.
    pub fingerprint: Option<Span>,
    /// Span of the last choice's `content`, quotes included, where it is a text that is not empty.
    pub content: Option<Span>,
    /// The same of a completion's `text`, which some providers send beside `content`.
    pub text: Option<Span>,
    /// The same of its reasoning.
    pub reasoning: Option<Span>,
    /// Span of the last choice's tool calls.
    pub tools: Option<Span>,
    /// Where the delta's `role` stands, from its key to its value's end.
    pub role: Option<Span>,
    /// Whether a choice says what is no plain text: a tool call, a refusal, sound, log probabilities.
    pub beyond_text: bool,
}

/// Reads the object that `text` is; white space may stand around it.
pub fn read(text: &[u8]) -> Result<Chunk, Fault> {
    let mut chunk = Chunk::default();
    let mut has_error_code = false;
    let mut scanner = Scanner::new(text, PROVIDER_DEPTH_MAX);
    let mut members = scanner.enter_object()?;
    while let Some(key) = members.next(&mut scanner)? {
        let raw = &text[key.start + 1..key.end - 1];
        match raw {
            b"choices" => chunk.choices(&mut scanner, text)?,
            b"data" | b"results" => chunk.data(&mut scanner)?,
            b"usage" => {
                let is_object = scanner.kind()? == Kind::Object;
                let span = scanner.value()?;
                chunk.usage = is_object.then_some(span);
            }
            b"error" => {
                let span = scanner.value()?;
                chunk.error = (!matches!(&text[span.clone()], b"null" | b"false" | b"\"\"")).then_some(span);
            }
            b"error_code" => {
                let is_text = scanner.kind()? == Kind::String;
                has_error_code = scanner.value()?.len() > 2 && is_text;
            }
            b"id" => chunk.id = Some(scanner.value()?),
            b"created" => chunk.created = Some(scanner.value()?),
            b"model" => chunk.model = Some(scanner.value()?),
            b"object" => chunk.object = Some(scanner.value()?),
            b"system_fingerprint" => chunk.fingerprint = Some(scanner.value()?),
            _ => {
                scanner.value()?;
            }
        }
    }
    scanner.finish()?;
    chunk.finish_is_fault |= has_error_code && chunk.choices.is_none();
    Ok(chunk)
}

impl Chunk {
    fn choices(&mut self, scanner: &mut Scanner<'_>, text: &[u8]) -> Result<(), Fault> {
        let kind = scanner.kind()?;
        let start = scanner.offset();
        if kind == Kind::Array {
            let mut items = scanner.enter_array()?;
            while items.next(scanner)? {
                self.choice(scanner, text)?;
            }
        } else {
            scanner.value()?;
        }
        self.choices = Some(start..scanner.offset());
        Ok(())
    }

    fn choice(&mut self, scanner: &mut Scanner<'_>, text: &[u8]) -> Result<(), Fault> {
        if scanner.kind()? != Kind::Object {
            scanner.value()?;
            return Ok(());
        }
        let mut index = self.choice_count;
        let mut finish = None;
        let mut members = scanner.enter_object()?;
        while let Some(key) = members.next(scanner)? {
            match &text[key.start + 1..key.end - 1] {
                b"index" => {
                    let span = scanner.value()?;
                    index = std::str::from_utf8(&text[span])
                        .ok()
                        .and_then(|digits| digits.parse().ok())
                        .unwrap_or(index);
                }
                b"delta" | b"message" => self.speech(scanner, text)?,
                b"text" => {
                    let (said, is_plain) = some_text(scanner)?;
                    self.has_content |= said.is_some();
                    self.text = said.filter(|_| is_plain);
                }
                b"logprobs" => {
                    let (some, _) = some_text(scanner)?;
                    self.beyond_text |= some.is_some();
                }
                b"finish_reason" => {
                    let is_text = scanner.kind()? == Kind::String;
                    let span = scanner.value()?;
                    if is_text && span.len() > 2 {
                        finish = Some(span);
                    }
                }
                b"error" => {
                    let span = scanner.value()?;
                    self.finish_is_fault |= &text[span] != b"null";
                }
                _ => {
                    scanner.value()?;
                }
            }
        }
        self.choice_count += 1;
        let bit = 1_u64 << index.min(63);
        self.seen |= bit;
        if let Some(span) = finish {
            self.finished |= bit;
            self.finish_is_fault |=
                scan::says(text, &span, "error") || scan::says(text, &span, "insufficient_system_resource");
            self.finish.get_or_insert(span);
        }
        Ok(())
    }

    /// A `delta` or `message`: whether it says anything.
    fn speech(&mut self, scanner: &mut Scanner<'_>, text: &[u8]) -> Result<(), Fault> {
        if scanner.kind()? != Kind::Object {
            scanner.value()?;
            return Ok(());
        }
        let mut members = scanner.enter_object()?;
        while let Some(key) = members.next(scanner)? {
            match &text[key.start + 1..key.end - 1] {
                b"content" => {
                    let (said, is_plain) = some_text(scanner)?;
                    self.has_content |= said.is_some();
                    self.beyond_text |= said.is_some() && !is_plain;
                    self.content = said.filter(|_| is_plain);
                }
                b"reasoning" | b"reasoning_content" => {
                    let (said, is_plain) = some_text(scanner)?;
                    self.has_content |= said.is_some();
                    if let Some(said) = said.filter(|_| is_plain) {
                        self.reasoning.get_or_insert(said);
                    }
                }
                name @ (b"refusal" | b"tool_calls" | b"function_call" | b"audio") => {
                    let (said, _) = some_text(scanner)?;
                    self.has_content |= said.is_some();
                    self.beyond_text |= said.is_some();
                    if name != b"audio" {
                        self.tools = said;
                    }
                }
                b"role" => {
                    let value = scanner.value()?;
                    self.role = Some(key.start..value.end);
                }
                _ => {
                    scanner.value()?;
                }
            }
        }
        Ok(())
    }

    fn data(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Fault> {
        if scanner.kind()? != Kind::Array {
            scanner.value()?;
            return Ok(());
        }
        let mut items = scanner.enter_array()?;
        while items.next(scanner)? {
            scanner.value()?;
            self.data_count += 1;
        }
        Ok(())
    }
}

/// Where the value here stands if it is text, an array or an object that is not empty, and whether it is text.
fn some_text(scanner: &mut Scanner<'_>) -> Result<(Option<Span>, bool), Fault> {
    let kind = scanner.kind()?;
    let span = scanner.value()?;
    let some = matches!(kind, Kind::String | Kind::Array | Kind::Object) && span.len() > 2;
    Ok((some.then_some(span), kind == Kind::String))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_alone_is_no_content() {
        let chunk = read(br#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}"#).unwrap();
        assert!(!chunk.has_content && chunk.usage.is_none() && chunk.finished == 0 && chunk.seen == 1);
    }

    #[test]
    fn reasoning_tools_and_text_are_content() {
        for delta in [
            r#"{"content":"a"}"#,
            r#"{"content":null,"reasoning_content":"a"}"#,
            r#"{"tool_calls":[{"index":0}]}"#,
        ] {
            assert!(
                read(format!(r#"{{"choices":[{{"delta":{delta}}}]}}"#).as_bytes()).unwrap().has_content,
                "{delta}"
            );
        }
        assert!(read(br#"{"choices":[{"index":0,"text":"a"}]}"#).unwrap().has_content);
    }

    #[test]
    fn plain_text_is_told_from_all_else() {
        let text =
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":"a\\n"},"logprobs":null}]}"#;
        let chunk = read(text.as_bytes()).unwrap();
        assert_eq!(&text[chunk.content.unwrap()], r#""a\\n""#);
        assert_eq!(&text[chunk.role.unwrap()], r#""role":"assistant""#);
        assert!(!chunk.beyond_text && chunk.reasoning.is_none());
        for choice in [
            r#""delta":{"tool_calls":[{"index":0}]}"#,
            r#""delta":{"refusal":"no"}"#,
            r#""delta":{"content":[{"type":"text"}]}"#,
            r#""delta":{"content":"a"},"logprobs":{"content":[]}"#,
        ] {
            let text = format!(r#"{{"choices":[{{"index":0,{choice}}}]}}"#);
            assert!(read(text.as_bytes()).unwrap().beyond_text, "{choice}");
        }
    }

    #[test]
    fn faults_are_seen_in_every_place() {
        assert!(read(br#"{"error":{"message":"x"}}"#).unwrap().error.is_some());
        assert!(read(br#"{"error":"Unauthorized"}"#).unwrap().error.is_some());
        assert!(read(br#"{"error":null,"choices":[]}"#).unwrap().error.is_none());
        assert!(read(br#"{"choices":[{"finish_reason":"error"}]}"#).unwrap().finish_is_fault);
        assert!(read(br#"{"error_code":"APIG.0203","error_msg":"x"}"#).unwrap().finish_is_fault);
        assert!(!read(br#"{"choices":[],"error_code":"0"}"#).unwrap().finish_is_fault);
        assert!(
            read(br#"{"choices":[{"finish_reason":"insufficient_system_resource"}]}"#)
                .unwrap()
                .finish_is_fault
        );
        assert!(
            read(br#"{"choices":[{"finish_reason":"stop","error":{"code":502}}]}"#).unwrap().finish_is_fault
        );
    }

    #[test]
    fn several_choices_finish_one_by_one() {
        let chunk = read(br#"{"choices":[{"index":0,"finish_reason":null,"delta":{}},{"index":2,"finish_reason":"stop","delta":{}}]}"#).unwrap();
        assert_eq!((chunk.seen, chunk.finished), (0b101, 0b100));
    }
}
