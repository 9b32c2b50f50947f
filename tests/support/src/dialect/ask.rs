//! What a request asks for, and the content that answers it.

use serde_json::{Map, Value, json};

use super::{Dialect, WORDS};

/// Arguments of a tool call go out in pieces of at most this many characters.
const ARGUMENT_PIECE_CHARS: usize = 9;

/// A request's body, read.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) fields: Map<String, Value>,
    pub(super) model: String,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// The first word that begins with `tok-`.
    pub(super) token: String,
}

/// What the model says.
#[derive(Debug)]
pub(super) enum Content {
    /// Text in pieces of one token each, and whether the length limit ended it.
    Text { pieces: Vec<String>, cut: bool },
    /// A call of that tool, its arguments in pieces.
    Tool { name: String, arguments: Vec<String> },
}

impl Content {
    pub(super) fn tokens(&self) -> u64 {
        match self {
            Self::Text { pieces, .. } => pieces.len() as u64,
            // The call itself is one token, its arguments one a piece.
            Self::Tool { arguments, .. } => 1 + arguments.len() as u64,
        }
    }

    pub(super) fn finish(&self) -> &'static str {
        match self {
            Self::Text { cut: true, .. } => "length",
            Self::Text { .. } => "stop",
            Self::Tool { .. } => "tool_calls",
        }
    }
}

impl Ask {
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let Ok(Value::Object(fields)) = serde_json::from_slice(body) else { return None };
        let model = fields.get("model").and_then(Value::as_str).unwrap_or_default().to_owned();
        let flag = |value: Option<&Value>| value.and_then(Value::as_bool).unwrap_or(false);
        let stream = flag(fields.get("stream"));
        let include_usage =
            flag(fields.get("stream_options").and_then(|options| options.get("include_usage")));
        Some(Self { model, stream, include_usage, token: token(body), fields })
    }

    /// Words of every message, four tokens a message, ten a tool. For completions and embeddings, words of the text.
    pub(super) fn prompt_tokens(&self) -> u64 {
        let messages = self.list("messages");
        let spoken = messages.iter().map(|message| words(&message["content"])).sum::<u64>();
        let other = [self.fields.get("prompt"), self.fields.get("input")];
        let other = other.into_iter().flatten().map(words).sum::<u64>();
        (spoken + other + 4 * messages.len() as u64 + 10 * self.list("tools").len() as u64).max(1)
    }

    pub(super) fn content(&self, dialect: &Dialect) -> Content {
        if let Some((name, arguments)) = self.ordered() {
            return Content::Tool { name, arguments: pieces(&arguments) };
        }
        if let Some(name) = self.tool() {
            let arguments = pieces(&json!({"port": "Cádiz", "token": self.token}).to_string());
            return Content::Tool { name, arguments };
        }
        if let Some(schema) = self.schema() {
            return Content::Text { pieces: pieces(&self.conform(schema).to_string()), cut: false };
        }
        let limit = ["max_completion_tokens", "max_tokens"];
        let limit = limit.iter().find_map(|name| self.fields.get(*name)?.as_u64()).unwrap_or(u64::MAX).max(1);
        let mut pieces = self.pieces(dialect);
        if let Some(prefix) = self.prefix(dialect, &pieces.concat()) {
            pieces = behind(&pieces, &prefix);
            let echo = dialect.echoes.then_some(prefix);
            pieces = echo.into_iter().chain(pieces).collect();
        }
        let cut = limit < pieces.len() as u64;
        pieces.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Content::Text { pieces, cut }
    }

    /// The whole answer: a function of the request's token, and of nothing else.
    fn pieces(&self, dialect: &Dialect) -> Vec<String> {
        if let Some(said) = &dialect.said {
            return said.clone();
        }
        let words = WORDS.iter().cycle().map(|word| (*word).to_owned());
        let length = usize::try_from(dialect.tokens).expect("a handful of tokens");
        std::iter::once(self.token.clone()).chain(words).take(length).collect()
    }

    /// What the answer is to go on from, where the request says so in one of the ways that servers understand.
    fn prefix(&self, dialect: &Dialect, whole: &str) -> Option<String> {
        if let Some(prompt) = self.fields.get("prompt").and_then(Value::as_str) {
            // The token once is the question; twice, the answer has begun behind it.
            if prompt.matches(&self.token).count() < 2 {
                return None;
            }
            let ends = whole.char_indices().map(|(at, one)| at + one.len_utf8());
            let said = ends.rev().find(|end| prompt.ends_with(&whole[..*end]))?;
            return Some(whole[..said].to_owned());
        }
        let last = self.list("messages").last().filter(|message| message["role"] == "assistant")?;
        let flag = |name: &str| self.fields.get(name).and_then(Value::as_bool);
        let engine =
            flag("continue_final_message") == Some(true) && flag("add_generation_prompt") == Some(false);
        let marked = last["prefix"] == true || last["partial"] == true;
        (engine || marked || dialect.prefills)
            .then(|| last["content"].as_str().unwrap_or_default().to_owned())
    }

    /// Whether the last message is marked as DeepSeek wants it.
    pub(super) fn marks_prefix(&self) -> bool {
        self.list("messages").last().is_some_and(|message| message["prefix"] == true)
    }

    /// The tool to call: the first one, unless the caller forbids it or has just sent a tool's result.
    fn tool(&self) -> Option<String> {
        let answered = self.list("messages").last().is_some_and(|message| message["role"] == "tool");
        if answered || self.fields.get("tool_choice").is_some_and(|choice| choice == "none") {
            return None;
        }
        self.list("tools").first()?["function"]["name"].as_str().map(str::to_owned)
    }

    /// The call that the last message orders word for word: `call NAME ARGUMENTS`, the arguments to the end of the text.
    fn ordered(&self) -> Option<(String, String)> {
        let last = self.list("messages").last().filter(|message| message["role"] == "user")?;
        let (name, arguments) = last["content"].as_str()?.strip_prefix("call ")?.split_once(' ')?;
        Some((name.to_owned(), arguments.to_owned()))
    }

    fn schema(&self) -> Option<&Value> {
        self.fields.get("response_format")?.get("json_schema")?.get("schema")
    }

    /// A value that fits a simple schema; texts are the request's token.
    fn conform(&self, schema: &Value) -> Value {
        if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
            return first.clone();
        }
        match schema["type"].as_str() {
            Some("object") => {
                let properties = schema["properties"].as_object().into_iter().flatten();
                properties.map(|(name, schema)| (name.clone(), self.conform(schema))).collect()
            }
            Some("array") => json!([self.conform(&schema["items"])]),
            Some("integer") => json!(7),
            Some("number") => json!(1.5),
            Some("boolean") => json!(true),
            Some("null") => Value::Null,
            _ => json!(self.token),
        }
    }

    fn list(&self, name: &str) -> &[Value] {
        self.fields.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

/// What is left of `pieces` behind `prefix`. A prefix that is none is an answer that nobody can go on with.
fn behind(pieces: &[String], prefix: &str) -> Vec<String> {
    let whole = pieces.concat();
    let Some(mut left) = whole.strip_prefix(prefix) else { return vec!["<no prefix of mine>".to_owned()] };
    let mut behind = Vec::new();
    for piece in pieces.iter().rev() {
        match left.strip_suffix(piece.as_str()) {
            Some(before) => {
                behind.push(piece.clone());
                left = before;
            }
            None => break,
        }
    }
    // The prefix may end inside a piece.
    behind.extend((!left.is_empty()).then(|| left.to_owned()));
    behind.reverse();
    behind
}

fn token(body: &[u8]) -> String {
    let Some(start) = memchr::memmem::find(body, b"tok-") else { return "tok-none".to_owned() };
    let word = body[start..].split(|byte| !(byte.is_ascii_alphanumeric() || b"-_".contains(byte))).next();
    String::from_utf8_lossy(word.unwrap_or_default()).into_owned()
}

/// Words of a text, or of every text in a list of texts and content parts.
pub(super) fn words(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.split_whitespace().count() as u64,
        Value::Array(parts) => parts.iter().map(words).sum(),
        Value::Object(part) => part.get("text").map_or(0, words),
        _ => 0,
    }
}

fn pieces(text: &str) -> Vec<String> {
    let characters: Vec<_> = text.chars().collect();
    characters.chunks(ARGUMENT_PIECE_CHARS).map(|piece| piece.iter().collect()).collect()
}
