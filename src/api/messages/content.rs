//! Messages and their blocks as chat messages. One message may become several: each tool result is a message of its own.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::read::{array, kind_of, read, refused, required, text};
use crate::api::body::Error;
use crate::api::face::Images;
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

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Debug, Serialize)]
struct ImageUrl<'a> {
    url: Cow<'a, str>,
}

#[derive(Debug, Serialize)]
struct ToolCall<'a> {
    id: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Debug, Serialize)]
struct Function<'a> {
    name: Cow<'a, str>,
    /// JSON, as a text.
    arguments: &'a str,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    role: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

/// Every field that a block of ours may have; what else it has (`cache_control`, `citations`) is for Anthropic's machines.
#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow, default)]
    source: Option<&'a RawValue>,
    #[serde(borrow, default)]
    title: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_use_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    is_error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct SourceOf<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    media_type: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    url: Option<&'a RawValue>,
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
            let block: Block<'_> = read(&path, raw, "a valid dictionary")?;
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

/// All messages, in order.
pub(super) fn messages<'a>(
    raw: &'a RawValue,
    out: &mut Vec<ChatMessage<'a>>,
    images: &mut Images,
) -> Result<(), Error> {
    let all = array("messages", raw)?;
    if all.is_empty() {
        return Err(refused("messages", "at least one message is required"));
    }
    for (at, raw) in all.into_iter().enumerate() {
        let path = format!("messages.{at}");
        let message: Message<'_> = read(&path, raw, "a valid dictionary")?;
        let role_at = format!("{path}.role");
        let role = text(&role_at, required(&role_at, message.role)?)?;
        let content_at = format!("{path}.content");
        let content = required(&content_at, message.content)?;
        match &*role {
            "user" => user(&content_at, content, "user", out, images)?,
            // Instructions in mid-conversation.
            "system" => user(&content_at, content, "system", out, images)?,
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

fn user<'a>(
    path: &str,
    raw: &'a RawValue,
    role: &'static str,
    out: &mut Vec<ChatMessage<'a>>,
    images: &mut Images,
) -> Result<(), Error> {
    if kind_of(raw) == Some(Kind::String) {
        let content = Some(Content::Text(text(path, raw)?));
        out.push(ChatMessage { role, content, ..ChatMessage::default() });
        return Ok(());
    }
    let blocks = array(path, raw)?;
    if blocks.is_empty() {
        return Err(refused(path, "a message must have non-empty content"));
    }
    let mut parts = Vec::new();
    for (at, raw) in blocks.into_iter().enumerate() {
        let path = format!("{path}.{at}");
        let block: Block<'_> = read(&path, raw, "a valid dictionary")?;
        if kind_named(&path, &block)? == "tool_result" {
            // What is no text goes into the message behind the results: a chat's tool message holds text only.
            out.push(tool_result(&path, &block, &mut parts, images)?);
        } else {
            parts.push(part(&path, &block, images)?);
        }
    }
    if !parts.is_empty() {
        out.push(ChatMessage { role, content: Some(content_of(parts)), ..ChatMessage::default() });
    }
    Ok(())
}

/// Text alone stays a text: not every route takes parts, and every one takes a text.
fn content_of(parts: Vec<Part<'_>>) -> Content<'_> {
    if parts.iter().any(|part| matches!(part, Part::ImageUrl { .. })) {
        return Content::Parts(parts);
    }
    let texts = parts.into_iter().filter_map(|part| match part {
        Part::Text { text } => Some(text),
        Part::ImageUrl { .. } => None,
    });
    Content::Text(joined(texts.collect(), "\n\n"))
}

fn joined<'a>(mut texts: Vec<Cow<'a, str>>, between: &str) -> Cow<'a, str> {
    match texts.len() {
        0 => Cow::Borrowed(""),
        1 => texts.remove(0),
        _ => Cow::Owned(texts.join(between)),
    }
}

fn kind_named<'a>(path: &str, block: &Block<'a>) -> Result<Cow<'a, str>, Error> {
    let at = format!("{path}.type");
    text(&at, required(&at, block.kind)?)
}

/// A block of a user's message that is no tool result.
fn part<'a>(path: &str, block: &Block<'a>, images: &mut Images) -> Result<Part<'a>, Error> {
    let kind = kind_named(path, block)?;
    match &*kind {
        "text" => {
            let at = format!("{path}.text");
            Ok(Part::Text { text: text(&at, required(&at, block.text)?)? })
        }
        "image" => image(path, block, images),
        "document" => document(path, block),
        other => Err(cannot(path, other)),
    }
}

fn cannot(path: &str, kind: &str) -> Error {
    let what = format_args!("blocks of type {kind:?} cannot be served by this gateway");
    refused(format_args!("{path}.type"), what)
}

fn image<'a>(path: &str, block: &Block<'a>, images: &mut Images) -> Result<Part<'a>, Error> {
    let path = format!("{path}.source");
    let source: SourceOf<'_> = read(&path, required(&path, block.source)?, "a valid dictionary")?;
    let field = |name: &str, raw: Option<&'a RawValue>| {
        let at = format!("{path}.{name}");
        text(&at, required(&at, raw)?)
    };
    images.count += 1;
    let url = match &*field("type", source.kind)? {
        "base64" => {
            let media_type = field("media_type", source.media_type)?;
            if !media_type.starts_with("image/") {
                let what = format_args!("Input should be an image's media type, but it is {media_type:?}");
                return Err(refused(format_args!("{path}.media_type"), what));
            }
            let data = field("data", source.data)?;
            images.bytes += data.len() as u64;
            Cow::Owned(format!("data:{media_type};base64,{data}"))
        }
        "url" => field("url", source.url)?,
        other => {
            let what = format_args!(
                "Input should be 'base64' or 'url', but it is {other:?}: files cannot be served"
            );
            return Err(refused(format_args!("{path}.type"), what));
        }
    };
    Ok(Part::ImageUrl { image_url: ImageUrl { url } })
}

/// A document, where it is plain text: no chat route reads any other.
fn document<'a>(path: &str, block: &Block<'a>) -> Result<Part<'a>, Error> {
    let at = format!("{path}.source");
    let source: SourceOf<'_> = read(&at, required(&at, block.source)?, "a valid dictionary")?;
    let kind_at = format!("{at}.type");
    let kind = text(&kind_at, required(&kind_at, source.kind)?)?;
    if kind != "text" {
        let what = format_args!(
            "Documents can be served as 'text' only, but this one is {kind:?}: send the text that is in it"
        );
        return Err(refused(kind_at, what));
    }
    let data_at = format!("{at}.data");
    let data = text(&data_at, required(&data_at, source.data)?)?;
    let Some(title) = block.title else { return Ok(Part::Text { text: data }) };
    let title = text(format_args!("{path}.title"), title)?;
    Ok(Part::Text { text: format!("{title}\n\n{data}").into() })
}

fn tool_result<'a>(
    path: &str,
    block: &Block<'a>,
    beside: &mut Vec<Part<'a>>,
    images: &mut Images,
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
                match part(&path, &read(&path, raw, "a valid dictionary")?, images)? {
                    Part::Text { text } => texts.push(text),
                    image @ Part::ImageUrl { .. } => beside.push(image),
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

fn assistant<'a>(path: &str, raw: &'a RawValue) -> Result<ChatMessage<'a>, Error> {
    let mut message = ChatMessage { role: "assistant", ..ChatMessage::default() };
    if kind_of(raw) == Some(Kind::String) {
        message.content = Some(Content::Text(text(path, raw)?));
        return Ok(message);
    }
    let (mut texts, mut thoughts) = (Vec::new(), Vec::new());
    for (at, raw) in array(path, raw)?.into_iter().enumerate() {
        let path = format!("{path}.{at}");
        let block: Block<'a> = read(&path, raw, "a valid dictionary")?;
        let field = |name: &str, raw: Option<&'a RawValue>| {
            let at = format!("{path}.{name}");
            text(&at, required(&at, raw)?)
        };
        match &*kind_named(&path, &block)? {
            "text" => texts.push(field("text", block.text)?),
            "thinking" => thoughts.push(field("thinking", block.thinking)?),
            // Sealed by whoever wrote it, and readable by nobody else.
            "redacted_thinking" => {}
            "tool_use" => {
                let input_at = format!("{path}.input");
                let input = required(&input_at, block.input)?;
                if kind_of(input) != Some(Kind::Object) {
                    return Err(refused(input_at, "Input should be a valid dictionary"));
                }
                let function = Function { name: field("name", block.name)?, arguments: input.get() };
                let id = field("id", block.id)?;
                message.tool_calls.push(ToolCall { id, kind: "function", function });
            }
            other => return Err(cannot(&path, other)),
        }
    }
    // A model's own words are put together as they came: they were one text.
    let content = joined(texts, "");
    if !content.is_empty() || message.tool_calls.is_empty() {
        message.content = Some(Content::Text(content));
    }
    message.reasoning_content = (!thoughts.is_empty()).then(|| joined(thoughts, "\n").into_owned());
    Ok(message)
}
