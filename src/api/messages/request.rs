//! A Messages request as a chat completion, member by member.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::content;
use super::parts::Beside;
use super::read::{Fields, kind_of, object, read, refused, required, text};
use super::tools;
use super::{Face, Shown};
use crate::api::body::{Error, TAGS_MAX, is_tag_text};
use crate::api::scan::Kind;

/// What a request is translated for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To be answered.
    Answer,
    /// To have its tokens counted: it needs no `max_tokens`.
    Count,
}

/// Members that steer Anthropic's own machines, of which the answer would not be another: they end here.
const THEIRS: [&str; 11] = [
    "anthropic_beta",
    "anthropic_version",
    "betas",
    "cache_control",
    "context_management",
    "diagnostics",
    "fallbacks",
    "service_tier",
    "speed",
    "user_profile_id",
    "workspace_id",
];

/// Members that ask for what no chat route can give in this shape, and why.
const REFUSED: [(&str, &str); 7] = [
    ("audio", "an answer in this shape has no place for it"),
    ("container", "code execution cannot be served by this gateway"),
    ("functions", "use tools"),
    ("function_call", "use tool_choice"),
    ("logprobs", "an answer in this shape has no place for it"),
    (
        "mcp_servers",
        "MCP servers cannot be called by this gateway; call them yourself and send their tools as tools",
    ),
    ("stop", "use stop_sequences"),
];

/// `body` as chat completions understands it, and what its answer must know.
pub fn translate(body: &[u8], depth_max: usize, purpose: Purpose) -> Result<(Bytes, Face), Error> {
    let mut fields = Fields::of(body, depth_max)?;
    let mut chat = Object::with_room_for(body.len());
    let mut face = Face::default();

    let model = required("model", fields.take("model"))?;
    face.model = text("model", model)?.into();
    chat.put("model", model);
    bound(&mut fields, purpose, &mut chat)?;
    let beside = prompt(&mut fields, &mut chat)?;
    face.images = beside.images;
    tooling(&mut fields, &beside, &mut chat)?;
    if let Some(raw) = fields.take("stop_sequences") {
        face.stops = read("stop_sequences", raw, "a list of strings")?;
        if !face.stops.is_empty() {
            chat.put("stop", &face.stops);
        }
    }
    for name in ["stream", "temperature", "top_p", "top_k"] {
        if let Some(raw) = fields.take(name) {
            chat.put(name, raw);
        }
    }
    metadata(&mut fields, &mut chat, &mut face)?;
    thinking(&mut fields, &mut chat, &mut face)?;
    output(&mut fields, &mut chat)?;
    rest(fields, &mut chat)?;
    Ok((chat.finish(), face))
}

fn bound(fields: &mut Fields<'_>, purpose: Purpose, chat: &mut Object) -> Result<(), Error> {
    let Some(raw) = fields.take("max_tokens") else {
        return if purpose == Purpose::Count { Ok(()) } else { required("max_tokens", None) };
    };
    let bound: u64 = read("max_tokens", raw, "a valid integer")?;
    if bound == 0 {
        return Err(refused("max_tokens", "Input should be greater than or equal to 1"));
    }
    chat.put("max_tokens", &bound);
    Ok(())
}

fn prompt<'a>(fields: &mut Fields<'a>, chat: &mut Object) -> Result<Beside<'a>, Error> {
    let mut messages = Vec::new();
    if let Some(raw) = fields.take("system") {
        messages.extend(content::system(raw)?);
    }
    let mut beside = Beside::default();
    content::messages(required("messages", fields.take("messages"))?, &mut messages, &mut beside)?;
    chat.put("messages", &messages);
    Ok(beside)
}

fn tooling(fields: &mut Fields<'_>, beside: &Beside<'_>, chat: &mut Object) -> Result<(), Error> {
    let tools = match fields.take("tools") {
        Some(raw) => tools::tools(raw, &beside.tools_found)?,
        None => Vec::new(),
    };
    let choice = fields.take("tool_choice").map(tools::choice).transpose()?;
    if tools.is_empty() {
        return match choice {
            Some((tools::Choice::Word("required") | tools::Choice::Named { .. }, _)) => {
                Err(refused("tool_choice", "it may only be specified while providing tools"))
            }
            _ => Ok(()),
        };
    }
    chat.put("tools", &tools);
    if let Some((choice, one_at_a_time)) = choice {
        chat.put("tool_choice", &choice);
        if one_at_a_time {
            chat.put("parallel_tool_calls", &false);
        }
    }
    Ok(())
}

/// The end user becomes `user`; other texts are tags for the policies, and go no further.
fn metadata(fields: &mut Fields<'_>, chat: &mut Object, face: &mut Face) -> Result<(), Error> {
    let Some(raw) = fields.take("metadata") else { return Ok(()) };
    let mut members = Fields::of(raw.get().as_bytes(), crate::api::scan::DEPTH_LIMIT)
        .map_err(|_| refused("metadata", "Input should be a valid dictionary"))?;
    if let Some(user) = members.take("user_id") {
        text("metadata.user_id", user)?;
        chat.put("user", user);
    }
    for (name, raw) in members.rest() {
        if kind_of(raw) == Some(Kind::String) && face.tags.len() < TAGS_MAX {
            let value = text(&name, raw)?;
            if is_tag_text(&name) && is_tag_text(&value) {
                face.tags.push(((*name).into(), (*value).into()));
            }
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Thinking<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    budget_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    display: Option<&'a RawValue>,
}

/// Least budget that Anthropic takes, in tokens.
const BUDGET_MIN: u64 = 1024;

/// How much to think. It goes on in one form, `{"type", "budget_tokens"?}`, which `providers/thinking` puts into the words
/// of the route.
fn thinking(fields: &mut Fields<'_>, chat: &mut Object, face: &mut Face) -> Result<(), Error> {
    #[derive(Serialize)]
    struct Wish<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        budget_tokens: Option<u64>,
    }
    let Some(raw) = fields.take("thinking") else { return Ok(()) };
    let theirs: Thinking<'_> = object("thinking", raw)?;
    let kind = text("thinking.type", required("thinking.type", theirs.kind)?)?;
    if let Some(display) = theirs.display {
        let display = text("thinking.display", display)?;
        face.thinking = match &*display {
            "summarized" => Shown::Whole,
            "omitted" => Shown::Omitted,
            other => {
                let what = format_args!("Input should be 'summarized' or 'omitted', but it is {other:?}");
                return Err(refused("thinking.display", what));
            }
        };
    }
    let budget_at = "thinking.budget_tokens";
    let budget_tokens = match &*kind {
        "enabled" => {
            let budget = read(budget_at, required(budget_at, theirs.budget_tokens)?, "a valid integer")?;
            if budget < BUDGET_MIN {
                let what = format_args!("Input should be greater than or equal to {BUDGET_MIN}");
                return Err(refused(budget_at, what));
            }
            Some(budget)
        }
        "disabled" => {
            face.thinking = Shown::Not;
            None
        }
        "adaptive" | "between_tools" => None,
        other => {
            let what = format_args!(
                "Input should be 'enabled', 'disabled', 'adaptive' or 'between_tools', but it is {other:?}"
            );
            return Err(refused("thinking.type", what));
        }
    };
    // To think between tools alone is nothing that an open model can be asked for; where Anthropic's cannot, they do not think.
    let kind = if kind == "between_tools" { "disabled" } else { &*kind };
    chat.put("thinking", &Wish { kind, budget_tokens });
    Ok(())
}

#[derive(Deserialize)]
struct OutputConfig<'a> {
    #[serde(borrow, default)]
    effort: Option<&'a RawValue>,
    #[serde(borrow, default)]
    format: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Format<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    schema: Option<&'a RawValue>,
}

/// How hard to try, and the schema that the answer must follow.
fn output(fields: &mut Fields<'_>, chat: &mut Object) -> Result<(), Error> {
    let older = fields.take("output_format").map(|raw| ("output_format", raw));
    let config: Option<OutputConfig<'_>> = match fields.take("output_config") {
        Some(raw) => Some(object("output_config", raw)?),
        None => None,
    };
    if let Some(effort) = config.as_ref().and_then(|config| config.effort) {
        let effort = text("output_config.effort", effort)?;
        let effort = match &*effort {
            "low" => "low",
            "medium" => "medium",
            // Beyond high each route has words of its own, and some have none.
            "high" | "xhigh" | "max" => "high",
            other => {
                let what = format_args!(
                    "Input should be 'low', 'medium', 'high', 'xhigh' or 'max', but it is {other:?}"
                );
                return Err(refused("output_config.effort", what));
            }
        };
        chat.put("reasoning_effort", effort);
    }
    let newer = config.and_then(|config| config.format).map(|raw| ("output_config.format", raw));
    let Some((path, raw)) = newer.or(older) else { return Ok(()) };
    let format: Format<'_> = object(path, raw)?;
    let kind = text(format_args!("{path}.type"), required(format_args!("{path}.type"), format.kind)?)?;
    if kind != "json_schema" {
        let what = format_args!("Input should be 'json_schema', but it is {kind:?}");
        return Err(refused(format_args!("{path}.type"), what));
    }
    let schema = required(format_args!("{path}.schema"), format.schema)?;
    chat.put(
        "response_format",
        &ResponseFormat {
            kind: "json_schema",
            json_schema: JsonSchema { name: "answer", strict: true, schema },
        },
    );
    Ok(())
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    json_schema: JsonSchema<'a>,
}

#[derive(Serialize)]
struct JsonSchema<'a> {
    name: &'static str,
    strict: bool,
    schema: &'a RawValue,
}

/// What is not Anthropic's goes on as it came: fields for the gateway's own routing, or for the provider.
fn rest(fields: Fields<'_>, chat: &mut Object) -> Result<(), Error> {
    for (name, raw) in fields.rest() {
        let wished = !matches!(raw.get(), "null" | "false" | "[]");
        if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name).filter(|_| wished) {
            return Err(refused(name, why));
        }
        if name == "inference_geo" && wished && raw.get() != "\"global\"" {
            return Err(refused(
                name,
                "where requests may go is for this gateway's policies (constraints.regions)",
            ));
        }
        if name == "n" && !matches!(raw.get(), "null" | "1") {
            return Err(refused(name, "an answer in this shape is one"));
        }
        if chat.has(&name) {
            return Err(refused(name, "this is chat completions' name for what the request says already"));
        }
        let ends_here = THEIRS.contains(&&*name)
            || REFUSED.iter().any(|(refused, _)| *refused == name)
            || ["inference_geo", "n", "stream_options"].contains(&&*name);
        if !ends_here {
            chat.put(&name, raw);
        }
    }
    Ok(())
}

/// A JSON object that is being written.
struct Object {
    text: Vec<u8>,
    names: Vec<Box<str>>,
}

impl Object {
    fn with_room_for(bytes: usize) -> Self {
        Self { text: Vec::with_capacity(bytes + bytes / 8 + 64), names: Vec::with_capacity(16) }
    }

    fn put<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        self.text.push(if self.names.is_empty() { b'{' } else { b',' });
        // Writing into memory cannot fail, and all that is put here serialises.
        let _ = serde_json::to_writer(&mut self.text, name);
        self.text.push(b':');
        let _ = serde_json::to_writer(&mut self.text, value);
        self.names.push(name.into());
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| **known == *name)
    }

    fn finish(mut self) -> Bytes {
        self.text.push(b'}');
        Bytes::from(self.text)
    }
}
