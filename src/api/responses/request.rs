//! A Responses request as a chat request, member by member.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::json;
use serde_json::value::RawValue;

use crate::api::body;
use crate::api::scan::{self, Kind, Scanner};
use crate::api::splice;

use super::face::{Face, Terms};
use super::input::{self, Messages};
use super::json::{self, Object, raw};
use super::native::Native;
use super::refusal::Refusal;
use super::tools::Tools;

/// Reads `body`, nested at most `depth_max` levels, as a Responses request: the chat request that it comes to, and the face
/// that its answer wears.
pub fn translate(body: &Bytes, depth_max: usize) -> Result<(Bytes, Face), body::Error> {
    scan::check_utf8(body)?;
    let mut scanner = Scanner::new(body, depth_max);
    let kind = scanner.kind()?;
    if kind != Kind::Object {
        scanner.value()?;
        scanner.finish()?;
        return Err(body::Error::NotAnObject(kind.name()));
    }
    let members = splice::members(&mut scanner)?;
    scanner.finish()?;
    let native = Native { body: body.clone(), members };
    // The text is JSON; what is still at fault are members that stand twice, or too many.
    let object: Object<'_> = serde_json::from_slice(body).map_err(|error| Refusal {
        param: None,
        code: "invalid_json",
        message: error.to_string().into(),
    })?;
    let mut reading = Reading::default();
    for (name, value) in &object.0 {
        if !json::is_null(value) {
            reading.member(name.clone(), value)?;
        }
    }
    Ok(reading.finish(&object, native)?)
}

/// Members of the chat request.
#[derive(Default)]
struct Chat<'a>(Vec<(Cow<'a, str>, Cow<'a, RawValue>)>);

impl Serialize for Chat<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[derive(Default)]
struct Reading<'a> {
    chat: Chat<'a>,
    terms: Terms,
    tools: Tools<'a>,
    logprobs: bool,
}

/// Members that chat completions have under another name, and this API does not have.
const MOVED: &[(&str, &str)] = &[
    ("messages", "input"),
    ("max_tokens", "max_output_tokens"),
    ("max_completion_tokens", "max_output_tokens"),
    ("response_format", "text.format"),
    ("verbosity", "text.verbosity"),
    ("reasoning_effort", "reasoning.effort"),
    ("functions", "tools"),
    ("function_call", "tool_choice"),
];

const SEND_ALL: &str = "This gateway keeps no responses and no conversations: send the whole conversation in 'input', \
                        the earlier output items included.";

impl<'a> Reading<'a> {
    fn member(&mut self, name: Cow<'a, str>, value: &'a RawValue) -> Result<(), Refusal> {
        let echo = &mut self.terms.echo;
        let kept = || Some(value.to_owned());
        match &*name {
            // Read together with others, at the end; or of no meaning to a chat, and without harm: nothing is kept
            // here, no tool is hosted here, and a prompt that is too long is told of.
            "input"
            | "tools"
            | "tool_choice"
            | "parallel_tool_calls"
            | "store"
            | "truncation"
            | "stream_options"
            | "client_metadata"
            | "context_management" => {}
            "max_tool_calls" => echo.max_tool_calls = kept(),
            "previous_response_id" | "conversation" => return Err(Refusal::unsupported(&*name, SEND_ALL)),
            "prompt" => {
                let instead =
                    "This gateway keeps no prompt templates: send the text in 'instructions' and 'input'.";
                return Err(Refusal::unsupported("prompt", instead));
            }
            "background" => {
                if value.get() != "false" {
                    let instead = "This gateway keeps no responses to be fetched later: leave 'background' out, and \
                                   use 'stream' where the answer takes long.";
                    return Err(Refusal::unsupported("background", instead));
                }
            }
            "model" => {
                self.terms.model = kept();
                self.put(name, value);
            }
            "instructions" => echo.instructions = kept(),
            "max_output_tokens" => {
                at_least(value, "max_output_tokens", 1)?;
                echo.max_output_tokens = kept();
                self.put("max_completion_tokens", value);
            }
            "metadata" => {
                echo.metadata = value.to_owned();
                self.put(name, value);
            }
            "temperature" => {
                echo.temperature = kept();
                self.put(name, value);
            }
            "top_p" => {
                echo.top_p = kept();
                self.put(name, value);
            }
            "user" => {
                echo.user = kept();
                self.put(name, value);
            }
            "safety_identifier" => {
                echo.safety_identifier = kept();
                self.put(name, value);
            }
            "prompt_cache_key" => {
                echo.prompt_cache_key = kept();
                self.put(name, value);
            }
            "top_logprobs" => {
                at_least(value, "top_logprobs", 0)?;
                echo.top_logprobs = kept();
                if value.get() != "0" {
                    self.logprobs = true;
                    self.put(name, value);
                }
            }
            "include" => {
                let wanted = json::list(value, "include")?;
                self.logprobs |= wanted.iter().any(|entry| {
                    json::text(entry).is_some_and(|entry| entry == "message.output_text.logprobs")
                });
            }
            "text" => self.text(value)?,
            "reasoning" => self.reasoning(value)?,
            "n" => {
                return Err(Refusal::unsupported("n", "A response is one answer: send the request again."));
            }
            "logprobs" => {
                let instead =
                    "Ask for them with 'top_logprobs', or with 'message.output_text.logprobs' in 'include'.";
                return Err(Refusal::unsupported("logprobs", instead));
            }
            other => {
                if let Some((_, moved)) = MOVED.iter().find(|(old, _)| *old == other) {
                    let instead = format!("In the Responses API, this parameter has moved to '{moved}'.");
                    return Err(Refusal::unsupported(other, instead));
                }
                // `stream`, `service_tier`, and what this gateway or a provider takes beside OpenAI's own.
                self.put(name, value);
            }
        }
        Ok(())
    }

    fn put(&mut self, name: impl Into<Cow<'a, str>>, value: &'a RawValue) {
        self.chat.0.push((name.into(), Cow::Borrowed(value)));
    }

    fn make(&mut self, name: &'static str, value: &impl Serialize) {
        self.chat.0.push((name.into(), Cow::Owned(raw(value))));
    }

    fn text(&mut self, value: &'a RawValue) -> Result<(), Refusal> {
        let text = Object::read(value, "text")?;
        if let Some(verbosity) = text.get("verbosity") {
            self.terms.echo.text.verbosity = Some(verbosity.to_owned());
            self.put("verbosity", verbosity);
        }
        let Some(format) = text.get("format") else { return Ok(()) };
        self.terms.echo.text.format = format.to_owned();
        let at = "text.format";
        let object = Object::read(format, at)?;
        match &*object.text_needed("type", at)? {
            "text" => {}
            "json_object" => self.make("response_format", &json!({"type": "json_object"})),
            "json_schema" => {
                object.text_needed("name", at)?;
                let schema = object.get("schema").ok_or_else(|| Refusal::missing("text.format.schema"))?;
                Object::read(schema, "text.format.schema")?;
                let inner = object.0.iter().filter(|(name, value)| name != "type" && !json::is_null(value));
                let inner = inner.map(|(name, value)| (name.clone(), Cow::Borrowed(*value))).collect();
                let format = Chat(vec![
                    ("type".into(), Cow::Owned(raw("json_schema"))),
                    ("json_schema".into(), Cow::Owned(raw(&Chat(inner)))),
                ]);
                self.make("response_format", &format);
            }
            other => {
                let reason = format!("{other:?} is no format; use text, json_object or json_schema");
                return Err(Refusal::invalid("text.format.type", reason));
            }
        }
        Ok(())
    }

    fn reasoning(&mut self, value: &'a RawValue) -> Result<(), Refusal> {
        let mut beside = Vec::new();
        for (name, value) in Object::read(value, "reasoning")?.0 {
            if json::is_null(value) {
                continue;
            }
            match &*name {
                "effort" => {
                    self.terms.echo.reasoning.effort = Some(value.to_owned());
                    self.put("reasoning_effort", value);
                    if json::text(value).is_some_and(|effort| effort == "none") {
                        // Each kind of provider has a word of its own for it, which `providers` finds.
                        self.make("thinking", &json!({"type": "disabled"}));
                    }
                }
                "summary" | "generate_summary" => {
                    self.terms.echo.reasoning.summary = Some(value.to_owned());
                    self.terms.summary = true;
                }
                // OpenRouter's, which chat requests spell the same.
                "max_tokens" | "enabled" | "exclude" => beside.push((name, Cow::Borrowed(value))),
                _ => {}
            }
        }
        if !beside.is_empty() {
            self.make("reasoning", &Chat(beside));
        }
        Ok(())
    }

    fn finish(mut self, object: &Object<'a>, native: Native) -> Result<(Bytes, Face), Refusal> {
        let input = object.get("input").ok_or_else(|| Refusal::missing("input"))?;
        let messages = Messages::read(object.get("instructions"), input)?;
        self.terms.images = input::images(&messages);
        self.make("messages", &messages);
        if self.logprobs {
            self.make("logprobs", &true);
        }
        if let Some(value) = object.get("tools") {
            self.tools = Tools::read(value)?;
            self.terms.echo.tools = value.to_owned();
        }
        let mut choice = None;
        if let Some(value) = object.get("tool_choice") {
            choice = self.tools.choice(value)?;
            self.terms.echo.tool_choice = value.to_owned();
        }
        if let Some(value) = object.get("parallel_tool_calls") {
            self.terms.echo.parallel_tool_calls = value.to_owned();
        }
        // Without tools, some providers refuse whatever is said of them.
        if !self.tools.list.is_empty() {
            let list = std::mem::take(&mut self.tools.list);
            self.make("tools", &list);
            if let Some(choice) = choice {
                self.make("tool_choice", &choice);
            }
            if let Some(value) = object.get("parallel_tool_calls") {
                self.put("parallel_tool_calls", value);
            }
        }
        let Self { chat, mut terms, tools, .. } = self;
        terms.names = tools.names;
        // Texts, numbers and raw values always serialise.
        let chat = serde_json::to_vec(&chat).map(Bytes::from).unwrap_or_default();
        Ok((chat, Face { terms: Arc::new(terms), native }))
    }
}

/// Holds `value` to a whole number of at least `least`.
fn at_least(value: &RawValue, param: &str, least: u64) -> Result<(), Refusal> {
    match value.get().parse::<u64>() {
        Ok(number) if number >= least => Ok(()),
        _ if matches!(json::kind(value), "a number") => {
            Err(Refusal::invalid(param, format!("it must be a whole number of at least {least}")))
        }
        _ => Err(Refusal::wrong_type(param, "an integer", json::kind(value))),
    }
}
