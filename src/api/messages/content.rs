//! Messages and their blocks as chat messages. One message may become several: each tool result is a message of its own.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::SIGNATURE;
use super::parts::{Beside, Block, cannot, kind_named, part};
use super::read::{array, kind_of, object, read, refused, required, text};
use crate::api::body::Error;
use crate::api::chat::ask::{self, Content, Part, ToolCall};
use crate::api::scan::Kind;

/// A chat message.
#[derive(Debug, Default, Serialize)]
pub(super) struct ChatMessage<'a> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<Cow<'a, str>>,
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    role: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

/// Claude Code opens its system prompt with a line for Anthropic's billing, which differs with every request: a model has no
/// use for it, and a prompt cache would never match again.
const BILLING_LINE: &str = "x-anthropic-billing-header:";

/// The system prompt: a text, or blocks of text.
pub(super) fn system(raw: &RawValue) -> Result<Option<ChatMessage<'_>>, Error> {
    let content = if kind_of(raw) == Some(Kind::String) {
        text("system", raw)?
    } else {
        let mut texts = Vec::new();
        for (at, raw) in array("system", raw)?.into_iter().enumerate() {
            let path = format!("system.{at}");
            let block: Block<'_> = object(&path, raw)?;
            let kind = kind_named(&path, &block)?;
            if kind != "text" {
                return Err(refused(
                    format_args!("{path}.type"),
                    format_args!("Input should be 'text', but it is {kind:?}"),
                ));
            }
            let one = text(format_args!("{path}.text"), required(format_args!("{path}.text"), block.text)?)?;
            if !one.starts_with(BILLING_LINE) {
                texts.push(one);
            }
        }
        joined(texts, "\n\n")
    };
    let some = !content.is_empty();
    Ok(some.then(|| ChatMessage {
        role: "system",
        content: Some(Content::Text(content)),
        ..ChatMessage::default()
    }))
}

/// All messages, in order; those of one speaker that follow each other are one, as Anthropic has it and as some models'
/// templates insist.
pub(super) fn messages<'a>(
    raw: &'a RawValue,
    out: &mut Vec<ChatMessage<'a>>,
    beside: &mut Beside<'a>,
) -> Result<(), Error> {
    let all = array("messages", raw)?;
    if all.is_empty() {
        return Err(refused("messages", "at least one message is required"));
    }
    for (at, raw) in all.into_iter().enumerate() {
        let path = format!("messages.{at}");
        let message: Message<'_> = object(&path, raw)?;
        let role_at = format!("{path}.role");
        let role = text(&role_at, required(&role_at, message.role)?)?;
        let content_at = format!("{path}.content");
        let content = required(&content_at, message.content)?;
        match &*role {
            "user" => {
                let parts = said(&content_at, content, out, beside)?;
                spoken("user", parts, out);
            }
            "system" => {
                let parts = said(&content_at, content, out, beside)?;
                instructed(parts, out);
            }
            "assistant" => out.push(assistant(&content_at, content)?),
            other => {
                return Err(refused(
                    role_at,
                    format_args!("Input should be 'user' or 'assistant', but it is {other:?}"),
                ));
            }
        }
    }
    Ok(())
}

/// The parts of a message; a tool result in it becomes a message of its own, ahead of them.
fn said<'a>(
    path: &str,
    raw: &'a RawValue,
    out: &mut Vec<ChatMessage<'a>>,
    beside: &mut Beside<'a>,
) -> Result<Vec<Part<'a>>, Error> {
    if kind_of(raw) == Some(Kind::String) {
        return Ok(vec![Part::Text { text: text(path, raw)? }]);
    }
    let blocks = array(path, raw)?;
    if blocks.is_empty() {
        return Err(refused(path, "a message must have non-empty content"));
    }
    let mut parts = Vec::new();
    for (at, raw) in blocks.into_iter().enumerate() {
        let path = format!("{path}.{at}");
        let block: Block<'_> = object(&path, raw)?;
        if kind_named(&path, &block)? == "tool_result" {
            // What is no text goes into the message behind the results: a chat's tool message holds text only.
            out.push(tool_result(&path, &block, &mut parts, beside)?);
        } else {
            parts.push(part(&path, &block, beside)?);
        }
    }
    Ok(parts)
}

fn spoken<'a>(role: &'static str, parts: Vec<Part<'a>>, out: &mut Vec<ChatMessage<'a>>) {
    if parts.is_empty() {
        return;
    }
    let Some(last) = out.last_mut().filter(|last| last.role == role) else {
        out.push(ChatMessage { role, content: Some(content_of(parts)), ..ChatMessage::default() });
        return;
    };
    let mut all = match last.content.take() {
        Some(Content::Text(text)) => vec![Part::Text { text }],
        Some(Content::Parts(parts)) => parts,
        None => Vec::new(),
    };
    all.extend(parts);
    last.content = Some(content_of(all));
}

/// Instructions amid a conversation. Many models' templates know a system message at the beginning only; so later ones are
/// given to the user to say, in the marks that models know from coding agents.
fn instructed<'a>(parts: Vec<Part<'a>>, out: &mut Vec<ChatMessage<'a>>) {
    if out.iter().all(|message| message.role == "system") {
        return spoken("system", parts, out);
    }
    let marked = parts.into_iter().map(|part| match part {
        Part::Text { text } => {
            Part::Text { text: format!("<system-reminder>\n{text}\n</system-reminder>").into() }
        }
        other => other,
    });
    spoken("user", marked.collect(), out);
}

fn content_of(parts: Vec<Part<'_>>) -> Content<'_> {
    ask::content(parts, "\n\n")
}

fn joined<'a>(mut texts: Vec<Cow<'a, str>>, between: &str) -> Cow<'a, str> {
    match texts.len() {
        0 => Cow::Borrowed(""),
        1 => texts.remove(0),
        _ => Cow::Owned(texts.join(between)),
    }
}

fn tool_result<'a>(
    path: &str,
    block: &Block<'a>,
    behind: &mut Vec<Part<'a>>,
    beside: &mut Beside<'a>,
) -> Result<ChatMessage<'a>, Error> {
    let id_at = format!("{path}.tool_use_id");
    let id = text(&id_at, required(&id_at, block.tool_use_id)?)?;
    let at = format!("{path}.content");
    let mut texts = Vec::new();
    match block.content {
        None => {}
        Some(raw) if kind_of(raw) == Some(Kind::String) => texts.push(text(&at, raw)?),
        Some(raw) => {
            for (place, raw) in array(&at, raw)?.into_iter().enumerate() {
                let path = format!("{at}.{place}");
                match part(&path, &object(&path, raw)?, beside)? {
                    Part::Text { text } => texts.push(text),
                    other => behind.push(other),
                }
            }
        }
    }
    let content = joined(texts, "\n");
    let failed = match block.is_error {
        Some(raw) => read(format_args!("{path}.is_error"), raw, "a valid boolean")?,
        None => false,
    };
    // A chat has no place for this but the text itself.
    let content = if failed { Cow::Owned(format!("Error: {content}")) } else { content };
    Ok(ChatMessage {
        role: "tool",
        tool_call_id: Some(id),
        content: Some(Content::Text(content)),
        ..ChatMessage::default()
    })
}

/// A thought as it was, which is in its signature where it was not shown.
fn thought<'a>(shown: Cow<'a, str>, signature: Option<&'a RawValue>) -> Cow<'a, str> {
    let signature = signature.and_then(|raw| text("", raw).ok());
    match signature.as_deref().and_then(|signature| signature.strip_prefix(SIGNATURE)) {
        Some(kept) if shown.is_empty() => Cow::Owned(kept.to_owned()),
        _ => shown,
    }
}

fn assistant<'a>(path: &str, raw: &'a RawValue) -> Result<ChatMessage<'a>, Error> {
    let mut message = ChatMessage { role: "assistant", ..ChatMessage::default() };
    if kind_of(raw) == Some(Kind::String) {
        message.content = Some(Content::Text(text(path, raw)?));
        return Ok(message);
    }
    let (mut texts, mut thoughts) = (Vec::new(), Vec::new());
    for (at, raw) in array(path, raw)?.into_iter().enumerate() {
        let path = format!("{path}.{at}");
        let block: Block<'a> = object(&path, raw)?;
        let field = |name: &str, raw: Option<&'a RawValue>| {
            let at = format!("{path}.{name}");
            text(&at, required(&at, raw)?)
        };
        match &*kind_named(&path, &block)? {
            "text" => texts.push(field("text", block.text)?),
            "thinking" => thoughts.push(thought(field("thinking", block.thinking)?, block.signature)),
            // Sealed by whoever wrote it, and readable by nobody else.
            "redacted_thinking" => {}
            "tool_use" => {
                let input_at = format!("{path}.input");
                let input = required(&input_at, block.input)?;
                if kind_of(input) != Some(Kind::Object) {
                    return Err(refused(input_at, "Input should be a valid dictionary"));
                }
                let name = field("name", block.name)?;
                let id = field("id", block.id)?;
                message.tool_calls.push(ToolCall::new(id, name, input.get().into()));
            }
            other => return Err(cannot(&path, other)),
        }
    }
    // A model's own words are put together as they came: they were one text.
    let content = joined(texts, "");
    if !content.is_empty() || message.tool_calls.is_empty() {
        message.content = Some(Content::Text(content));
    }
    thoughts.retain(|thought| !thought.is_empty());
    message.reasoning_content = (!thoughts.is_empty()).then(|| joined(thoughts, "\n").into_owned());
    Ok(message)
}
