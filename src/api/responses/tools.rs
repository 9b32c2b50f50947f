//! Tools and the choice among them, in the chat's shape.
//!
//! A `custom` tool, which takes a text in a form of its own, becomes a function with that text as its only argument. A tool
//! in a namespace becomes a function whose name says both; [`Names`] leads back.

use std::borrow::Cow;

use serde_json::json;
use serde_json::value::RawValue;

use crate::api::chat::ask::{Function, Tool, Written};

use super::json::{self, Object, raw};
use super::refusal::Refusal;

/// What stands between a namespace and a name.
const SPACE: &str = "__";

/// How a function's name came to be, where it is not simply the function's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// A custom tool of this name.
    Custom,
    /// A function of a namespace.
    Namespaced {
        /// The namespace.
        space: Box<str>,
        /// Its name in there.
        name: Box<str>,
    },
}

/// The functions that stand for something else, by the name that the model sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names(Vec<(Box<str>, Origin)>);

impl Names {
    pub(super) fn origin(&self, name: &str) -> Option<&Origin> {
        self.0.iter().find(|(known, _)| **known == *name).map(|(_, origin)| origin)
    }
}

/// The tools of a request.
#[derive(Debug, Default)]
pub(super) struct Tools<'a> {
    pub(super) list: Vec<Tool<'a>>,
    pub(super) names: Names,
}

impl<'a> Tools<'a> {
    pub(super) fn read(value: &'a RawValue) -> Result<Self, Refusal> {
        let mut tools = Self::default();
        for (at, value) in json::list(value, "tools")?.into_iter().enumerate() {
            tools.tool(value, None, &format!("tools[{at}]"))?;
        }
        Ok(tools)
    }

    fn tool(&mut self, value: &'a RawValue, space: Option<&str>, param: &str) -> Result<(), Refusal> {
        let tool = Object::read(value, param)?;
        let kind = tool.text_needed("type", param)?;
        match &*kind {
            "function" => {
                let name = tool.text_needed("name", param)?;
                let name = match space {
                    None => name,
                    Some(space) => {
                        let whole = in_namespace(space, &name);
                        let origin = Origin::Namespaced { space: space.into(), name: name.as_ref().into() };
                        self.names.0.push((whole.as_str().into(), origin));
                        whole.into()
                    }
                };
                let description = tool.text("description").map(Written::Here);
                let strict = tool.get("strict");
                let parameters = tool.get("parameters").map(Cow::Borrowed);
                self.add(Function { name, description, parameters, strict });
                Ok(())
            }
            "custom" => {
                let name = tool.text_needed("name", param)?;
                self.names.0.push((name.as_ref().into(), Origin::Custom));
                let description = Some(Written::Here(custom_description(&tool, param)?.into()));
                let parameters = Some(Cow::Owned(raw(&json!({
                    "type": "object",
                    "properties": {"input": {"type": "string", "description": "The whole input of the tool."}},
                    "required": ["input"],
                    "additionalProperties": false,
                }))));
                self.add(Function { name, description, parameters, strict: None });
                Ok(())
            }
            "namespace" if space.is_none() => {
                let space = tool.text_needed("name", param)?;
                let inner = tool.get("tools").ok_or_else(|| Refusal::missing(format!("{param}.tools")))?;
                for (at, value) in json::list(inner, &format!("{param}.tools"))?.into_iter().enumerate() {
                    self.tool(value, Some(&space), &format!("{param}.tools[{at}]"))?;
                }
                Ok(())
            }
            other => Err(hosted(other, &format!("{param}.type"))),
        }
    }

    fn add(&mut self, function: Function<'a>) {
        self.list.push(Tool::new(function));
    }

    /// The choice in the chat's shape; an `allowed_tools` choice leaves the other tools out.
    pub(super) fn choice(&mut self, value: &'a RawValue) -> Result<Option<Cow<'a, RawValue>>, Refusal> {
        let param = "tool_choice";
        if let Some(word) = json::text(value) {
            return match &*word {
                "auto" | "none" if self.list.is_empty() => Ok(None),
                "required" if self.list.is_empty() => {
                    Err(Refusal::invalid(param, "it is 'required', but there are no tools; send some"))
                }
                "auto" | "none" | "required" => Ok(Some(Cow::Borrowed(value))),
                other => Err(Refusal::invalid(
                    param,
                    format!("{other:?} is none; use auto, none, required or a tool that was sent"),
                )),
            };
        }
        let choice = Object::read(value, param)?;
        let kind = choice.text_needed("type", param)?;
        match &*kind {
            "function" | "custom" => {
                let name = self.known(&choice, param)?;
                Ok(Some(Cow::Owned(raw(&json!({"type": "function", "function": {"name": name}})))))
            }
            "allowed_tools" => {
                let allowed = choice.get("tools").ok_or_else(|| Refusal::missing("tool_choice.tools"))?;
                let allowed = json::list(allowed, "tool_choice.tools")?;
                let names = allowed.into_iter().enumerate().map(|(at, value)| {
                    let param = format!("tool_choice.tools[{at}]");
                    self.known(&Object::read(value, &param)?, &param)
                });
                let names = names.collect::<Result<Vec<_>, _>>()?;
                self.list.retain(|tool| names.iter().any(|name| name == tool.name()));
                Ok(choice.get("mode").map(Cow::Borrowed))
            }
            other => Err(hosted(other, "tool_choice.type")),
        }
    }

    /// The name of the tool that `choice` means.
    fn known(&self, choice: &Object<'a>, param: &str) -> Result<String, Refusal> {
        let name = choice.text_needed("name", param)?;
        let name = match choice.text("namespace") {
            Some(space) => in_namespace(&space, &name),
            None => name.into_owned(),
        };
        if self.list.iter().any(|tool| tool.name() == name) {
            return Ok(name);
        }
        Err(Refusal::invalid(
            format!("{param}.name"),
            format!("no tool is called {name:?}; name one of 'tools'"),
        ))
    }
}

/// The function's name for a tool of a namespace; the separator may be there already.
pub(super) fn in_namespace(space: &str, name: &str) -> String {
    if space.ends_with(SPACE) { format!("{space}{name}") } else { format!("{space}{SPACE}{name}") }
}

/// A custom tool's input as its function's arguments.
pub(super) fn arguments_of(input: &str) -> String {
    json!({ "input": input }).to_string()
}

/// A custom tool's input from its function's arguments; what a model wrote that is no such object is taken as it stands.
pub(super) fn input_of(arguments: &str) -> Cow<'_, str> {
    #[derive(serde::Deserialize)]
    struct Arguments {
        input: String,
    }
    serde_json::from_str(arguments).map_or(Cow::Borrowed(arguments), |Arguments { input }| Cow::Owned(input))
}

/// What a model must know of a custom tool: its description, and the grammar that nobody will hold it to.
fn custom_description(tool: &Object<'_>, param: &str) -> Result<String, Refusal> {
    let mut description = tool.text("description").unwrap_or_default().into_owned();
    let Some(format) = tool.get("format") else { return Ok(description) };
    let format = Object::read(format, &format!("{param}.format"))?;
    if let Some(definition) = format.text("definition") {
        let syntax = format.text("syntax").unwrap_or(Cow::Borrowed("given"));
        if !description.is_empty() {
            description.push_str("\n\n");
        }
        description.push_str("`input` must follow this ");
        description.push_str(&syntax);
        description.push_str(" grammar:\n");
        description.push_str(&definition);
    }
    Ok(description)
}

fn hosted(kind: &str, param: &str) -> Refusal {
    Refusal::invalid(
        param,
        format!(
            "{kind:?} is a tool that OpenAI hosts or builds in, and models behind this gateway have none of those; \
             leave it out, or offer a tool of type 'function' (or 'custom') and run it yourself"
        ),
    )
}
