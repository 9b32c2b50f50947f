//! A request body, read once: what is authorised, priced, logged and sent upstream is this one parsed value.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::routing::{Capabilities, Endpoint, Needs};

use super::continued::SoFar;
use super::face::Face;
use super::scan::{self, Fault, Kind, Scanner, Span};
use super::splice::Member;
use super::wishes::Wishes;

/// Longest model name a caller may write, in bytes.
pub const MODEL_NAME_BYTES_MAX: usize = 256;
/// What an image counts in the prompt's bytes, whatever its own size: about 1,600 tokens, the most that a model of
/// Anthropic's makes of one.
pub const IMAGE_BYTES: u64 = 6_400;
/// Most members the outermost object may have.
pub const MEMBERS_MAX: usize = 1024;

/// Why a body is refused: always the caller's to mend, answered with 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not JSON, or JSON that two readers could read differently.
    #[error("The request body is not valid JSON: {0}. Send one JSON object in UTF-8.")]
    NotJson(#[from] Fault),
    /// JSON, but not an object.
    #[error("The request body must be one JSON object, but it is {0}.")]
    NotAnObject(&'static str),
    /// A required member is missing.
    #[error("Missing required parameter: '{0}'.")]
    Missing(&'static str),
    /// A member has the wrong type.
    #[error("Invalid type for '{param}': expected {expected}, but got {got} instead.")]
    WrongType {
        /// Which.
        param: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        got: &'static str,
    },
    /// A member has a value that cannot be served.
    #[error("Invalid value for '{param}': {reason}.")]
    Invalid {
        /// Which.
        param: &'static str,
        /// What is wrong and what to do.
        reason: &'static str,
    },
    /// A face cannot put it into a chat completion, or its own API would refuse it; in that API's words.
    #[error("{message}")]
    Untranslated {
        /// Which member, by its path; empty where it is none.
        param: Box<str>,
        /// What is wrong and what to do.
        message: Box<str>,
    },
    /// Another API of OpenAI's would refuse it, or this gateway does not serve it there; with OpenAI's code.
    #[error("{message}")]
    Unserved {
        /// Which member, by its path; empty where it is none.
        param: Box<str>,
        /// OpenAI's code.
        code: &'static str,
        /// What is wrong and what to do.
        message: Box<str>,
    },
}

impl Error {
    /// The member at fault, where it is one.
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::NotJson(_) | Self::NotAnObject(_) => None,
            Self::Missing(param) | Self::WrongType { param, .. } | Self::Invalid { param, .. } => Some(param),
            Self::Untranslated { param, .. } | Self::Unserved { param, .. } => {
                Some(&**param).filter(|param| !param.is_empty())
            }
        }
    }

    /// OpenAI's code for it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotJson(_) | Self::NotAnObject(_) => "invalid_json",
            Self::Missing(_) => "missing_required_parameter",
            Self::WrongType { .. } => "invalid_type",
            Self::Invalid { .. } | Self::Untranslated { .. } => "invalid_value",
            Self::Unserved { code, .. } => code,
        }
    }
}

/// A request once parsed. Everything the gateway needs of the body is here; the rest goes through as bytes.
#[derive(Debug, Clone)]
pub struct Call {
    /// Which API.
    pub endpoint: Endpoint,
    /// The body as it came.
    pub body: Bytes,
    /// Members of its outermost object, in order.
    pub members: Vec<Member>,
    /// `model`, escapes undone.
    pub model: Box<str>,
    /// Whether a stream is wanted.
    pub stream: bool,
    /// Whether the caller asked for the usage chunk.
    pub include_usage: bool,
    /// The caller's bound on the answer in tokens.
    pub output_tokens_max: Option<u64>,
    /// Size of the prompt-bearing members in bytes, from which its tokens are estimated.
    pub prompt_bytes: u64,
    /// What a route must be able to do.
    pub needs: Needs,
    /// Tags from `metadata`.
    pub tags: SmallVec<[(Box<str>, Box<str>); 2]>,
    /// The caller's patience, from its client's headers.
    pub deadline: Option<Duration>,
    /// What was said already, where another route has to go on.
    pub so_far: Option<Arc<SoFar>>,
    /// Who should serve it, where the caller says; most do not.
    pub wishes: Option<Box<Wishes>>,
    /// What turns the answer into the caller's own shape, where that is not this endpoint's.
    pub face: Option<Box<Face>>,
}

impl Call {
    /// Reads `body` as a call of `endpoint`, nesting at most `depth_max` levels.
    pub fn parse(endpoint: Endpoint, body: Bytes, depth_max: usize) -> Result<Self, Error> {
        scan::check_utf8(&body)?;
        let mut reading = Reading::new(endpoint, &body);
        let mut scanner = Scanner::new(&body, depth_max);
        match scanner.kind()? {
            Kind::Object => {}
            other => {
                // The whole text is checked first: "not JSON" is the better message where both hold.
                scanner.value()?;
                scanner.finish()?;
                return Err(Error::NotAnObject(other.name()));
            }
        }
        let mut members = scanner.enter_object()?;
        while let Some(key) = members.next(&mut scanner)? {
            reading.member(&mut scanner, key)?;
        }
        scanner.finish()?;
        reading.refuse_duplicates()?;
        let (found, members) = reading.finish()?;
        Ok(Self {
            endpoint,
            members,
            model: found.model,
            stream: found.stream,
            include_usage: found.include_usage,
            output_tokens_max: found.output_tokens_max,
            prompt_bytes: found.prompt_bytes,
            needs: Needs(found.needs),
            tags: found.tags,
            deadline: None,
            so_far: None,
            wishes: found.wishes,
            face: None,
            body,
        })
    }

    /// The member called `key`, by its place.
    pub fn member(&self, key: &str) -> Option<(usize, &Member)> {
        self.members.iter().enumerate().find(|(_, member)| scan::says(&self.body, &member.key, key))
    }

    /// Puts on the face that the answer is told through, and takes from it what the translated body cannot say.
    pub fn wear(&mut self, face: Option<Box<Face>>) {
        let Some(face) = face else { return };
        let (tags, images) = (face.tags(), face.images());
        self.tags.extend(tags.iter().take(TAGS_MAX).cloned());
        self.prompt_bytes =
            self.prompt_bytes.saturating_sub(images.bytes).saturating_add(images.count * IMAGE_BYTES);
        self.face = Some(face);
    }

    /// The endpoint's name as its caller knows it, for records.
    pub fn surface_name(&self) -> &'static str {
        self.face.as_ref().map_or_else(|| self.endpoint.name(), |face| face.name())
    }

    /// The prompt's length in tokens, estimated from its bytes: four to a token, and never zero.
    pub fn prompt_tokens_estimated(&self) -> u64 {
        self.prompt_bytes / 4 + 1
    }
}

#[derive(Debug, Default)]
struct Found {
    model: Box<str>,
    stream: bool,
    include_usage: bool,
    output_tokens_max: Option<u64>,
    prompt_bytes: u64,
    needs: Capabilities,
    tags: SmallVec<[(Box<str>, Box<str>); 2]>,
    wishes: Option<Box<Wishes>>,
}

struct Reading<'a> {
    endpoint: Endpoint,
    body: &'a [u8],
    members: Vec<Member>,
    found: Found,
    has_model: bool,
    has_prompt: bool,
    query_bytes: u64,
    documents: u64,
}

impl<'a> Reading<'a> {
    fn new(endpoint: Endpoint, body: &'a [u8]) -> Self {
        let needs = match endpoint {
            Endpoint::Chat => Capabilities::CHAT,
            Endpoint::Completions => Capabilities::COMPLETIONS,
            Endpoint::Embeddings => Capabilities::EMBEDDINGS,
            Endpoint::Rerank => Capabilities::RERANK,
        };
        let found = Found { needs, ..Found::default() };
        Self {
            endpoint,
            body,
            members: Vec::with_capacity(16),
            found,
            has_model: false,
            has_prompt: false,
            query_bytes: 0,
            documents: 0,
        }
    }

    /// Reads one member, the scanner standing at its value.
    fn member(&mut self, scanner: &mut Scanner<'_>, key: Span) -> Result<(), Error> {
        if self.members.len() == MEMBERS_MAX {
            return Err(Error::NotJson(Fault::TooDeep { max: MEMBERS_MAX }));
        }
        let start = scanner.offset();
        let name = scan::text_of(self.body, &key);
        match &*name {
            "model" => self.model(scanner)?,
            "messages" if self.endpoint == Endpoint::Chat => self.messages(scanner)?,
            "prompt" if self.endpoint == Endpoint::Completions => self.prompt(scanner, "prompt")?,
            "input" if self.endpoint == Endpoint::Embeddings => self.prompt(scanner, "input")?,
            "query" if self.endpoint == Endpoint::Rerank => self.query(scanner)?,
            "documents" if self.endpoint == Endpoint::Rerank => self.documents(scanner)?,
            "top_n" if self.endpoint == Endpoint::Rerank => {
                if whole_number(scanner, self.body, "top_n")? == Some(0) {
                    return Err(Error::Invalid { param: "top_n", reason: "it must be at least 1" });
                }
            }
            "return_documents" if self.endpoint == Endpoint::Rerank => {
                boolean(scanner, self.body, "return_documents")?;
            }
            "stream" => self.found.stream = boolean(scanner, self.body, "stream")?,
            "stream_options" => self.stream_options(scanner)?,
            "max_tokens" => self.output_bound(scanner, "max_tokens")?,
            "max_completion_tokens" => self.output_bound(scanner, "max_completion_tokens")?,
            "n" => {
                if whole_number(scanner, self.body, "n")?.is_some_and(|n| n > 1) {
                    self.need(Capabilities::MANY_CHOICES);
                }
            }
            "tools" | "functions" => self.tools(scanner)?,
            "tool_choice" => self.tool_choice(scanner)?,
            "response_format" => self.response_format(scanner)?,
            "logprobs" => {
                // A boolean for OpenAI, an integer for others: either way a wish, unless it is false, null or 0.
                let span = scanner.value()?;
                if !matches!(&self.body[span], b"false" | b"null" | b"0") {
                    self.need(Capabilities::LOGPROBS);
                }
            }
            "metadata" => self.metadata(scanner)?,
            other if Wishes::is_member(other) => {
                self.found.wishes.get_or_insert_default().member(scanner, self.body, other)?;
            }
            _ => {
                scanner.value()?;
            }
        }
        self.members.push(Member { key, value: start..scanner.offset() });
        Ok(())
    }

    fn need(&mut self, more: Capabilities) {
        self.found.needs = self.found.needs.with(more);
    }

    fn model(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Error> {
        let got = scanner.kind()?;
        let span = scanner.value()?;
        if got != Kind::String {
            return Err(Error::WrongType { param: "model", expected: "a string", got: got.name() });
        }
        let model = scan::text_of(self.body, &span);
        check_model_name("model", &model)?;
        self.found.model = model.into();
        self.has_model = true;
        Ok(())
    }

    fn messages(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Error> {
        let start = scanner.offset();
        let got = scanner.kind()?;
        if got != Kind::Array {
            scanner.value()?;
            return Err(Error::WrongType {
                param: "messages",
                expected: "an array of messages",
                got: got.name(),
            });
        }
        let mut items = scanner.enter_array()?;
        let mut count = 0_usize;
        while items.next(scanner)? {
            let got = scanner.kind()?;
            if got != Kind::Object {
                return Err(Error::WrongType {
                    param: "messages",
                    expected: "an array of objects",
                    got: got.name(),
                });
            }
            scanner.value()?;
            count += 1;
        }
        if count == 0 {
            return Err(Error::Invalid {
                param: "messages",
                reason: "it is empty; at least one message is needed",
            });
        }
        self.prompt_of(start..scanner.offset());
        Ok(())
    }

    fn prompt(&mut self, scanner: &mut Scanner<'_>, param: &'static str) -> Result<(), Error> {
        let got = scanner.kind()?;
        let span = scanner.value()?;
        let empty = match got {
            Kind::String => span.len() == 2 && param == "input",
            Kind::Array => self.body[span.clone()].iter().all(|b| b"[] \t\r\n".contains(b)),
            _ => return Err(Error::WrongType { param, expected: "a string or an array", got: got.name() }),
        };
        if empty {
            return Err(Error::Invalid { param, reason: "it is empty; give at least one text" });
        }
        self.prompt_of(span);
        Ok(())
    }

    /// What documents are ranked by: text, or an object where a model takes more than text.
    fn query(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Error> {
        let got = scanner.kind()?;
        let span = scanner.value()?;
        match got {
            Kind::String if span.len() == 2 => {
                Err(Error::Invalid { param: "query", reason: "it is empty; say what to rank by" })
            }
            Kind::String | Kind::Object => {
                self.query_bytes = span.len() as u64;
                Ok(())
            }
            _ => {
                let expected = "a string or an object";
                Err(Error::WrongType { param: "query", expected, got: got.name() })
            }
        }
    }

    fn documents(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Error> {
        let (param, expected) = ("documents", "an array of strings or objects");
        let start = scanner.offset();
        let got = scanner.kind()?;
        if got != Kind::Array {
            return Err(Error::WrongType { param, expected, got: got.name() });
        }
        let mut items = scanner.enter_array()?;
        while items.next(scanner)? {
            let got = scanner.kind()?;
            if !matches!(got, Kind::String | Kind::Object) {
                return Err(Error::WrongType { param, expected, got: got.name() });
            }
            scanner.value()?;
            self.documents += 1;
        }
        if self.documents == 0 {
            return Err(Error::Invalid { param, reason: "it is empty; give at least one document" });
        }
        self.prompt_of(start..scanner.offset());
        Ok(())
    }

    fn prompt_of(&mut self, span: Span) {
        self.has_prompt = true;
        self.found.prompt_bytes = self.found.prompt_bytes.saturating_add(span.len() as u64);
    }

    fn stream_options(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Error> {
        let param = "stream_options";
        match scanner.kind()? {
            Kind::Null => {
                scanner.value()?;
            }
            Kind::Object => {
                self.object(scanner, |reading, scanner, name| {
                    if name == "include_usage" {
                        reading.found.include_usage =
                            boolean(scanner, reading.body, "stream_options.include_usage")?;
                    } else {
                        scanner.value()?;
                    }
                    Ok(())
                })?;
            }
            got => return Err(Error::WrongType { param, expected: "an object", got: got.name() }),
        }
        Ok(())
    }

    fn output_bound(&mut self, scanner: &mut Scanner<'_>, param: &'static str) -> Result<(), Error> {
        match whole_number(scanner, self.body, param)? {
            Some(0) => Err(Error::Invalid { param, reason: "it must be at least 1" }),
            Some(bound) => {
                let tighter = self.found.output_tokens_max.map_or(bound, |known| known.min(bound));
                self.found.output_tokens_max = Some(tighter);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn tools(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Error> {
        let got = scanner.kind()?;
        let span = scanner.value()?;
        match got {
            Kind::Null => {}
            Kind::Array => {
                let empty = self.body[span.clone()].iter().all(|b| b"[] \t\r\n".contains(b));
                if !empty {
                    self.need(Capabilities::TOOLS);
                    self.found.prompt_bytes = self.found.prompt_bytes.saturating_add(span.len() as u64);
                }
            }
            _ => return Err(Error::WrongType { param: "tools", expected: "an array", got: got.name() }),
        }
        Ok(())
    }

    fn tool_choice(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Error> {
        let got = scanner.kind()?;
        if got == Kind::Object {
            self.need(Capabilities::FORCED_TOOL);
            return self.object(scanner, |_, scanner, _| scanner.value().map(|_| ()).map_err(Error::from));
        }
        let span = scanner.value()?;
        match got {
            Kind::String if scan::says(self.body, &span, "required") => self.need(Capabilities::FORCED_TOOL),
            Kind::String | Kind::Null => {}
            _ => {
                return Err(Error::WrongType {
                    param: "tool_choice",
                    expected: "a string or an object",
                    got: got.name(),
                });
            }
        }
        Ok(())
    }

    fn response_format(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Error> {
        match scanner.kind()? {
            Kind::Null => {
                scanner.value()?;
                Ok(())
            }
            Kind::Object => self.object(scanner, |reading, scanner, name| {
                let span = scanner.value()?;
                if name == "type" && scan::says(reading.body, &span, "json_schema") {
                    reading.need(Capabilities::JSON_SCHEMA);
                }
                Ok(())
            }),
            got => Err(Error::WrongType { param: "response_format", expected: "an object", got: got.name() }),
        }
    }

    fn metadata(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Error> {
        match scanner.kind()? {
            Kind::Object => self.object(scanner, |reading, scanner, name| {
                let got = scanner.kind()?;
                let span = scanner.value()?;
                if got == Kind::String && reading.found.tags.len() < TAGS_MAX {
                    let value = scan::text_of(reading.body, &span);
                    if is_tag_text(name) && is_tag_text(&value) {
                        reading.found.tags.push((name.into(), value.into()));
                    }
                }
                Ok(())
            }),
            Kind::Null => {
                scanner.value()?;
                Ok(())
            }
            got => Err(Error::WrongType { param: "metadata", expected: "an object", got: got.name() }),
        }
    }

    /// Walks the object that begins here, refusing a key that stands twice.
    fn object(
        &mut self,
        scanner: &mut Scanner<'_>,
        mut each: impl FnMut(&mut Self, &mut Scanner<'_>, &str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut keys: SmallVec<[Span; 16]> = SmallVec::new();
        let mut walk = scanner.enter_object()?;
        while let Some(key) = walk.next(scanner)? {
            if keys.len() == MEMBERS_MAX {
                return Err(Error::NotJson(Fault::TooDeep { max: MEMBERS_MAX }));
            }
            let name = scan::text_of(self.body, &key).into_owned();
            each(self, scanner, &name)?;
            keys.push(key);
        }
        refuse_duplicates(self.body, keys.iter())
    }

    fn refuse_duplicates(&self) -> Result<(), Error> {
        refuse_duplicates(self.body, self.members.iter().map(|member| &member.key))
    }

    fn finish(mut self) -> Result<(Found, Vec<Member>), Error> {
        if !self.has_model {
            // A list of models is enough for OpenRouter.
            let first = self.found.wishes.as_ref().and_then(|wishes| wishes.models.first());
            self.found.model = first.cloned().ok_or(Error::Missing("model"))?;
        }
        self.found.include_usage |= self.found.wishes.as_ref().is_some_and(|wishes| wishes.include_usage);
        if !self.has_prompt {
            return Err(Error::Missing(match self.endpoint {
                Endpoint::Chat => "messages",
                Endpoint::Completions => "prompt",
                Endpoint::Embeddings => "input",
                Endpoint::Rerank => "documents",
            }));
        }
        if self.endpoint == Endpoint::Rerank {
            if self.query_bytes == 0 {
                return Err(Error::Missing("query"));
            }
            // A reranker reads the query with every document.
            let queries = self.query_bytes.saturating_mul(self.documents);
            self.found.prompt_bytes = self.found.prompt_bytes.saturating_add(queries);
            self.found.stream = false;
        }
        Ok((self.found, self.members))
    }
}

/// Most tags a request may carry.
pub const TAGS_MAX: usize = 16;

/// Whether a tag's name or value may be used in policies, logs and records: 1-64 visible ASCII characters without quotes.
pub fn is_tag_text(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() && !b"\"'\\,=<>{}".contains(&b))
}

/// Refuses what cannot be a model's name in `param`.
pub(super) fn check_model_name(param: &'static str, model: &str) -> Result<(), Error> {
    if model.is_empty() {
        let reason = "it is empty; name a model, GET /v1/models lists them";
        return Err(Error::Invalid { param, reason });
    }
    if model.len() > MODEL_NAME_BYTES_MAX || model.chars().any(|c| c.is_control() || is_bidi_mark(c)) {
        let reason =
            "a model name has at most 256 bytes and no control characters; GET /v1/models lists them";
        return Err(Error::Invalid { param, reason });
    }
    Ok(())
}

fn is_bidi_mark(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

pub(super) fn refuse_duplicates<'k>(body: &[u8], keys: impl Iterator<Item = &'k Span>) -> Result<(), Error> {
    let mut sorted: SmallVec<[(std::borrow::Cow<'_, str>, usize); 24]> =
        keys.map(|span| (scan::text_of(body, span), span.start)).collect();
    sorted.sort_unstable();
    let duplicate = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0);
    duplicate.map_or(Ok(()), |pair| Err(Error::NotJson(Fault::DuplicateKey { at: pair[1].1 })))
}

pub(super) fn boolean(scanner: &mut Scanner<'_>, body: &[u8], param: &'static str) -> Result<bool, Error> {
    let got = scanner.kind()?;
    let span = scanner.value()?;
    match got {
        Kind::Bool => Ok(&body[span] == b"true"),
        Kind::Null => Ok(false),
        _ => Err(Error::WrongType { param, expected: "a boolean", got: got.name() }),
    }
}

/// A whole number of at least 0; `None` for null. `16.0` and `1e3` are not how anyone writes a count, and are refused.
fn whole_number(scanner: &mut Scanner<'_>, body: &[u8], param: &'static str) -> Result<Option<u64>, Error> {
    let got = scanner.kind()?;
    let span = scanner.value()?;
    match got {
        Kind::Null => Ok(None),
        Kind::Number => {
            let digits = std::str::from_utf8(&body[span]).unwrap_or_default();
            digits
                .parse()
                .map(Some)
                .map_err(|_| Error::Invalid { param, reason: "it must be a whole number of at least 1" })
        }
        _ => Err(Error::WrongType { param, expected: "a whole number", got: got.name() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str) -> Result<Call, Error> {
        Call::parse(Endpoint::Chat, Bytes::from_static(text.as_bytes()), 128)
    }

    #[test]
    fn a_plain_call() {
        let call = parse(
            r#"{"model":"m\u0031","messages":[{"role":"user","content":"hi"}],"stream":true,"max_tokens":9,
               "stream_options":{"include_usage":true},"metadata":{"tier":"interactive"},"x":1E2}"#,
        )
        .unwrap();
        assert_eq!(&*call.model, "m1");
        assert!(call.stream && call.include_usage);
        assert_eq!(call.output_tokens_max, Some(9));
        assert_eq!(call.tags.as_slice(), [("tier".into(), "interactive".into())]);
        assert_eq!(call.needs, Needs(Capabilities::CHAT));
        let (_, x) = call.member("x").unwrap();
        assert_eq!(&call.body[x.value.clone()], b"1E2");
    }

    #[test]
    fn needs_are_read_off_the_body() {
        let call = parse(
            r#"{"model":"m","messages":[{}],"tools":[{"type":"function"}],"tool_choice":"required","n":2,
               "response_format":{"type":"json_schema"},"logprobs":true}"#,
        )
        .unwrap();
        let all = [
            Capabilities::CHAT,
            Capabilities::TOOLS,
            Capabilities::FORCED_TOOL,
            Capabilities::MANY_CHOICES,
            Capabilities::JSON_SCHEMA,
            Capabilities::LOGPROBS,
        ];
        assert!(all.into_iter().all(|one| call.needs.0.covers(one)));
    }

    #[test]
    fn r06_bad_bodies_name_the_field_and_the_fix() {
        let message = |text| parse(text).unwrap_err().to_string();
        assert_eq!(message("[]"), "The request body must be one JSON object, but it is an array.");
        assert_eq!(message(r#"{"messages":[{}]}"#), "Missing required parameter: 'model'.");
        assert_eq!(message(r#"{"model":"m"}"#), "Missing required parameter: 'messages'.");
        assert_eq!(
            message(r#"{"model":7,"messages":[{}]}"#),
            "Invalid type for 'model': expected a string, but got a number instead."
        );
        assert!(message(r#"{"model":"m","messages":[]}"#).contains("'messages': it is empty"));
        assert!(message(r#"{"model":"m","messages":["a"]}"#).contains("array of objects, but got a string"));
        assert!(
            message(r#"{"model":"m","messages":[{}],"stream":"yes"}"#)
                .contains("'stream': expected a boolean")
        );
        assert!(message(r#"{"model":"m","messages":[{}],"max_tokens":0}"#).contains("at least 1"));
        assert!(message(r#"{"model":"m","messages":[{}]"#).contains("ends before it is complete"));
        assert!(message(r#"{"model":"a","messages":[{}],"mod\u0065l":"b"}"#).contains("key stands twice"));
        assert!(message(r#"{"model":"a","messages":[{}],"stream_options":{"include_usage":true,"include_usage":false}}"#).contains("twice"));
        assert!(message(r#"{"model":"a","messages":[{}]} {}"#).contains("something follows"));
        assert!(message("{\"model\":\"a\u{202e}b\",\"messages\":[{}]}").contains("control characters"));
    }
}
