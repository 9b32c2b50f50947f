//! `instructions` and `input` become a chat's messages.
//!
//! Where the two differ: what an assistant thought, said and called in one turn are items here and one message there; an
//! image that a tool gave back can only be shown by the user; and some servers know neither the role `developer` nor a
//! system message that is not the first, so leading ones become one.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::chat::ask::{self, Content, Part, ToolCall};
use crate::api::face::Images;

use super::content;
use super::json::{self, Object};
use super::refusal::Refusal;
use super::tools;

/// A chat message.
#[derive(Debug, Serialize)]
pub(super) struct Message<'a> {
    role: &'static str,
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<Cow<'a, str>>,
}

/// The images and files in `messages`.
pub(super) fn images(messages: &[Message<'_>]) -> Images {
    let each = messages.iter().filter_map(|message| message.content.as_ref()).map(content::images);
    each.fold(Images::default(), |sum, more| Images {
        count: sum.count + more.count,
        bytes: sum.bytes + more.bytes,
    })
}

/// The messages so far.
#[derive(Debug, Default)]
pub(super) struct Messages<'a> {
    done: Vec<Message<'a>>,
    /// What the assistant has thought, said and called since anybody else spoke.
    turn: Turn<'a>,
    /// Images and files that tools gave back, held until the last tool has answered.
    shown: Vec<Part<'a>>,
}

#[derive(Debug, Default)]
struct Turn<'a> {
    thought: String,
    said: Vec<Part<'a>>,
    refused: Option<Cow<'a, str>>,
    called: Vec<ToolCall<'a>>,
    /// Whether it has spoken at all, if only an empty text.
    begun: bool,
}

const NOT_KEPT: &str = "This gateway keeps no responses: send the item itself.";

impl<'a> Messages<'a> {
    /// The messages that `instructions` and `input` come to.
    pub(super) fn read(
        instructions: Option<&'a RawValue>,
        input: &'a RawValue,
    ) -> Result<Vec<Message<'a>>, Refusal> {
        let mut messages = Self::default();
        if let Some(value) = instructions {
            if value.get().starts_with('[') {
                messages.items(value, "instructions")?;
            } else {
                let text = json::text(value)
                    .ok_or_else(|| Refusal::wrong_type("instructions", "a string", json::kind(value)))?;
                messages.system(&[Part::Text { text }]);
            }
        }
        let before = messages.done.len();
        match json::text(input) {
            Some(text) => messages.message("user", Some(Content::Text(text))),
            None if input.get().starts_with('[') => messages.items(input, "input")?,
            None => {
                return Err(Refusal::wrong_type("input", "a string or an array of items", json::kind(input)));
            }
        }
        messages.turn_over();
        messages.show();
        if messages.done.len() == before && before == 0 {
            return Err(Refusal::invalid("input", "it is empty; at least one item is needed"));
        }
        Ok(messages.done)
    }

    fn items(&mut self, value: &'a RawValue, param: &str) -> Result<(), Refusal> {
        for (at, value) in json::list(value, param)?.into_iter().enumerate() {
            self.item(value, &format!("{param}[{at}]"))?;
        }
        Ok(())
    }

    fn item(&mut self, value: &'a RawValue, param: &str) -> Result<(), Refusal> {
        let item = Object::read(value, param)?;
        let kind = item.text("type").unwrap_or(Cow::Borrowed("message"));
        match &*kind {
            "message" => self.spoken(&item, param),
            "reasoning" => self.thought(&item, param),
            "function_call" => {
                let arguments = item.text_needed("arguments", param)?;
                self.call(&item, param, arguments)
            }
            "custom_tool_call" => {
                let input = item.text_needed("input", param)?;
                self.call(&item, param, tools::arguments_of(&input).into())
            }
            "function_call_output" | "custom_tool_call_output" => self.answered(&item, param),
            "item_reference" => Err(Refusal::unsupported(format!("{param}.type"), NOT_KEPT)),
            other => Err(Refusal::invalid(
                format!("{param}.type"),
                format!(
                    "{other:?} belongs to a tool or feature that OpenAI hosts, which this gateway does not; use \
                     message, reasoning, function_call, function_call_output, custom_tool_call and \
                     custom_tool_call_output"
                ),
            )),
        }
    }

    fn spoken(&mut self, item: &Object<'a>, param: &str) -> Result<(), Refusal> {
        let role = item.text_needed("role", param)?;
        let at = format!("{param}.content");
        let value = item.get("content").ok_or_else(|| Refusal::missing(&*at))?;
        let parts = content::parts(value, &at)?;
        match &*role {
            "assistant" => self.said(parts),
            "user" => {
                self.turn_over();
                self.show();
                self.message("user", Some(ask::content(parts, "\n")));
            }
            "system" | "developer" => {
                self.turn_over();
                self.show();
                self.system(&parts);
            }
            other => {
                return Err(Refusal::invalid(
                    format!("{param}.role"),
                    format!("{other:?} is no role; use user, assistant, system or developer"),
                ));
            }
        }
        Ok(())
    }

    fn said(&mut self, parts: Vec<Part<'a>>) {
        self.show();
        // Two answers in a row stay two; words behind a call are still the same turn.
        if self.turn.begun && self.turn.called.is_empty() {
            self.turn_over();
        }
        self.turn.begun = true;
        for part in parts {
            match part {
                Part::Refusal { refusal } => self.turn.refused = Some(refusal),
                part => self.turn.said.push(part),
            }
        }
    }

    /// The text itself where the caller has it, else its summary.
    fn thought(&mut self, item: &Object<'a>, param: &str) -> Result<(), Refusal> {
        self.show();
        for name in ["content", "summary"] {
            let Some(value) = item.get(name) else { continue };
            let text = ask::joined(&content::parts(value, &format!("{param}.{name}"))?, "\n");
            if !text.is_empty() {
                self.turn.thought.push_str(&text);
                break;
            }
        }
        Ok(())
    }

    fn call(&mut self, item: &Object<'a>, param: &str, arguments: Cow<'a, str>) -> Result<(), Refusal> {
        self.show();
        let id = item.text_needed("call_id", param)?;
        let name = item.text_needed("name", param)?;
        let name = match item.text("namespace") {
            Some(space) => tools::in_namespace(&space, &name).into(),
            None => name,
        };
        self.turn.begun = true;
        self.turn.called.push(ToolCall::new(id, name, arguments));
        Ok(())
    }

    fn answered(&mut self, item: &Object<'a>, param: &str) -> Result<(), Refusal> {
        let id = item.text_needed("call_id", param)?;
        let at = format!("{param}.output");
        let value = item.get("output").ok_or_else(|| Refusal::missing(&*at))?;
        let (texts, shown): (Vec<_>, Vec<_>) =
            content::parts(value, &at)?.into_iter().partition(|part| matches!(part, Part::Text { .. }));
        self.turn_over();
        let said = if texts.is_empty() && !shown.is_empty() {
            Content::Text("The result is in the next message.".into())
        } else {
            ask::content(texts, "\n")
        };
        self.shown.extend(shown.into_iter().filter(|part| !matches!(part, Part::Refusal { .. })));
        self.message("tool", Some(said));
        if let Some(last) = self.done.last_mut() {
            last.tool_call_id = Some(id);
        }
        Ok(())
    }

    fn system(&mut self, parts: &[Part<'a>]) {
        let text = ask::joined(parts, "\n");
        if let [Message { role: "system", content: Some(Content::Text(known)), .. }] =
            self.done.as_mut_slice()
        {
            let known = known.to_mut();
            known.push_str("\n\n");
            known.push_str(&text);
            return;
        }
        self.message("system", Some(Content::Text(text.into())));
    }

    /// Ends the assistant's turn. What it thought is repeated only beside what it called: there some providers insist on
    /// it, and elsewhere it only costs tokens.
    fn turn_over(&mut self) {
        let turn = std::mem::take(&mut self.turn);
        if !turn.begun {
            return;
        }
        let content = (!turn.said.is_empty() || (turn.called.is_empty() && turn.refused.is_none()))
            .then(|| ask::content(turn.said, ""));
        self.done.push(Message {
            role: "assistant",
            content,
            refusal: turn.refused,
            reasoning_content: (!turn.called.is_empty() && !turn.thought.is_empty()).then_some(turn.thought),
            tool_calls: turn.called,
            tool_call_id: None,
        });
    }

    /// What tools gave back beside text, once all of them have answered.
    fn show(&mut self) {
        if !self.shown.is_empty() {
            let shown = std::mem::take(&mut self.shown);
            self.message("user", Some(Content::Parts(shown)));
        }
    }

    fn message(&mut self, role: &'static str, content: Option<Content<'a>>) {
        self.done.push(Message {
            role,
            content,
            refusal: None,
            reasoning_content: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
        });
    }
}
