//! A provider's own events and Response objects: read only as far as the first token, usage, the end and errors need.

use crate::api::scan::{Fault, Kind, Scanner, Span};
use crate::api::usage::PROVIDER_DEPTH_MAX;

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// What it means.
    pub what: What,
    /// Its number.
    pub number: Option<u64>,
    /// The Response object that it carries.
    pub response: Option<Outline>,
}

/// What an event means to whoever waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Nothing yet: something begins, or ends, or goes on.
    Nothing,
    /// Text, reasoning, a call or the like.
    Content,
    /// The answer is whole, or cut short by a limit or a filter.
    End,
    /// The answer has failed; `known`: told in an event that this API's clients know for it.
    Fault {
        /// As above.
        known: bool,
    },
}

/// A Response object, by spans into the text that it stands in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// All of it.
    pub span: Span,
    /// The values of these members.
    pub id: Option<Span>,
    /// As above.
    pub created_at: Option<Span>,
    /// As above.
    pub model: Option<Span>,
    /// As above, quotes included.
    pub status: Option<Span>,
    /// As above, whatever it is.
    pub usage: Option<Span>,
    /// Whether `usage` is an object.
    pub has_usage: bool,
    /// Whether its `error` is neither null nor false.
    pub has_error: bool,
    /// How many items its `output` has; `None`: there is no such list.
    pub items: Option<usize>,
}

/// Reads the event whose data `data` is.
pub fn event(data: &[u8]) -> Result<Heard, Fault> {
    let mut scanner = Scanner::new(data, PROVIDER_DEPTH_MAX);
    let mut members = scanner.enter_object()?;
    let (mut kind, mut item, mut number, mut response) = (None, None, None, None);
    let (mut has_delta, mut has_error) = (false, false);
    while let Some(key) = members.next(&mut scanner)? {
        match inner(data, &key) {
            b"type" => kind = Some(scanner.value()?),
            b"sequence_number" => {
                let span = scanner.value()?;
                number = std::str::from_utf8(&data[span]).ok().and_then(|digits| digits.parse().ok());
            }
            b"delta" => has_delta = scanner.value()?.len() > 2,
            b"item" if scanner.kind()? == Kind::Object => item = kind_of_item(&mut scanner, data)?,
            b"response" if scanner.kind()? == Kind::Object => response = Some(outline(&mut scanner, data)?),
            b"error" => has_error = is_error(data, &scanner.value()?),
            _ => {
                scanner.value()?;
            }
        }
    }
    scanner.finish()?;
    let kind = kind.map_or(&b""[..], |span| inner(data, &span));
    let has_failed = response.as_ref().is_some_and(|response| response.has_failed(data));
    let what = match kind {
        b"error" | b"response.failed" => What::Fault { known: true },
        b"response.completed" | b"response.incomplete" if !has_failed => What::End,
        b"response.error" | b"response.cancelled" => What::Fault { known: false },
        _ if has_error || has_failed => What::Fault { known: false },
        b"response.output_item.done" => What::Content,
        // A message or a thought begins empty; a call begins with its name.
        b"response.output_item.added" => match item.map_or(&b""[..], |span| inner(data, &span)) {
            b"" | b"message" | b"reasoning" => What::Nothing,
            _ => What::Content,
        },
        _ if has_delta && kind.ends_with(b".delta") => What::Content,
        _ => What::Nothing,
    };
    Ok(Heard { what, number, response })
}

/// Reads the Response object that `body` is; white space may stand around it.
pub fn whole(body: &[u8]) -> Result<Outline, Fault> {
    let mut scanner = Scanner::new(body, PROVIDER_DEPTH_MAX);
    scanner.kind()?;
    let outline = outline(&mut scanner, body)?;
    scanner.finish()?;
    Ok(outline)
}

impl Outline {
    /// Whether it says, in the text `data` that it stands in, that there will be no answer.
    pub fn has_failed(&self, data: &[u8]) -> bool {
        self.has_error || matches!(self.status_in(data), b"failed" | b"cancelled")
    }

    /// Its status.
    pub fn status_in<'d>(&self, data: &'d [u8]) -> &'d [u8] {
        self.status.as_ref().map_or(&b""[..], |span| inner(data, span))
    }
}

fn outline(scanner: &mut Scanner<'_>, text: &[u8]) -> Result<Outline, Fault> {
    let mut outline = Outline::default();
    let start = scanner.offset();
    let mut members = scanner.enter_object()?;
    while let Some(key) = members.next(scanner)? {
        match inner(text, &key) {
            b"id" => outline.id = Some(scanner.value()?),
            b"created_at" => outline.created_at = Some(scanner.value()?),
            b"model" => outline.model = Some(scanner.value()?),
            b"status" => outline.status = Some(scanner.value()?),
            b"usage" => {
                outline.has_usage = scanner.kind()? == Kind::Object;
                outline.usage = Some(scanner.value()?);
            }
            b"error" => outline.has_error = is_error(text, &scanner.value()?),
            b"output" if scanner.kind()? == Kind::Array => {
                let mut walk = scanner.enter_array()?;
                let mut items = 0;
                while walk.next(scanner)? {
                    scanner.value()?;
                    items += 1;
                }
                outline.items = Some(items);
            }
            _ => {
                scanner.value()?;
            }
        }
    }
    outline.span = start..scanner.offset();
    Ok(outline)
}

fn kind_of_item(scanner: &mut Scanner<'_>, text: &[u8]) -> Result<Option<Span>, Fault> {
    let mut kind = None;
    let mut members = scanner.enter_object()?;
    while let Some(key) = members.next(scanner)? {
        let value = scanner.value()?;
        if inner(text, &key) == b"type" {
            kind = Some(value);
        }
    }
    Ok(kind)
}

fn is_error(text: &[u8], value: &Span) -> bool {
    !matches!(&text[value.clone()], b"null" | b"false" | b"\"\"")
}

/// What stands between the quotes of the string at `span`; of another value, nothing that means anything here.
fn inner<'t>(text: &'t [u8], span: &Span) -> &'t [u8] {
    text.get(span.start + 1..span.end.saturating_sub(1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(data: &str) -> What {
        event(data.as_bytes()).unwrap().what
    }

    #[test]
    fn only_what_says_something_is_content() {
        for nothing in [
            r#"{"type":"response.created","response":{"id":"r","error":null,"output":[]}}"#,
            r#"{"type":"response.output_item.added","item":{"type":"message","content":[]}}"#,
            r#"{"type":"response.output_item.added","item":{"id":"rs","type":"reasoning"}}"#,
            r#"{"type":"response.output_text.delta","delta":""}"#,
            r#"{"type":"response.output_text.done","text":"x"}"#,
            r#"{"type":"keepalive"}"#,
            "{}",
        ] {
            assert_eq!(what(nothing), What::Nothing, "{nothing}");
        }
        for content in [
            r#"{"type":"response.output_text.delta","delta":"x"}"#,
            r#"{"delta":"{","type":"response.function_call_arguments.delta"}"#,
            r#"{"type":"response.reasoning_summary_text.delta","delta":"x"}"#,
            r#"{"type":"response.output_item.added","item":{"type":"function_call","name":"f"}}"#,
            r#"{"type":"response.output_item.done","item":{"type":"reasoning"}}"#,
        ] {
            assert_eq!(what(content), What::Content, "{content}");
        }
    }

    #[test]
    fn r08_an_end_is_told_from_a_fault() {
        assert_eq!(what(r#"{"type":"response.completed","response":{"status":"completed"}}"#), What::End);
        assert_eq!(what(r#"{"type":"response.incomplete","response":{"error":null}}"#), What::End);
        for (data, known) in [
            (r#"{"type":"error","message":"x"}"#, true),
            (r#"{"type":"response.failed","response":{"error":{"code":"server_error"}}}"#, true),
            (r#"{"type":"response.error","error":{"message":"x"}}"#, false),
            (r#"{"error":{"message":"x"}}"#, false),
            (r#"{"type":"response.completed","response":{"status":"failed"}}"#, false),
        ] {
            assert_eq!(what(data), What::Fault { known }, "{data}");
        }
    }

    #[test]
    fn an_outline_says_where_the_usage_stands() {
        let body = r#" {"id":"r","usage":{"input_tokens":1},"output":[{},{}],"status":"completed"}"#;
        let outline = whole(body.as_bytes()).unwrap();
        assert_eq!(&body[outline.usage.unwrap()], r#"{"input_tokens":1}"#);
        assert_eq!((outline.has_usage, outline.items, outline.has_error), (true, Some(2), false));
        assert_eq!(&body[outline.span], body.trim());
        assert!(whole(b"[]").is_err());
    }
}
