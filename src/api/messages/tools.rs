//! Tools, and which of them must be called, in chat's words.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::read::{array, object, read, refused, required, text};
use crate::api::body::Error;
use crate::api::chat::ask::{Function, Tool, Written};

#[derive(Deserialize)]
struct Theirs<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    description: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input_schema: Option<&'a RawValue>,
    #[serde(borrow, default)]
    strict: Option<&'a RawValue>,
    #[serde(borrow, default)]
    defer_loading: Option<&'a RawValue>,
}

/// All tools, but those whose loading is deferred and that are not among the `found`. Those that Anthropic itself runs or defines are refused: nobody here would answer to their name.
pub(super) fn tools<'a>(raw: &'a RawValue, found: &[Cow<'_, str>]) -> Result<Vec<Tool<'a>>, Error> {
    let mut tools = Vec::new();
    for (at, raw) in array("tools", raw)?.into_iter().enumerate() {
        let path = format!("tools.{at}");
        let theirs: Theirs<'_> = object(&path, raw)?;
        if let Some(kind) = theirs.kind {
            let kind_at = format!("{path}.type");
            let kind = text(&kind_at, kind)?;
            if kind != "custom" {
                let what = format_args!(
                    "{kind:?} is a tool of Anthropic's own, which this gateway cannot serve; send it as a custom tool with an input_schema"
                );
                return Err(refused(kind_at, what));
            }
        }
        let name_at = format!("{path}.name");
        let name = text(&name_at, required(&name_at, theirs.name)?)?;
        let parameters = required(format_args!("{path}.input_schema"), theirs.input_schema)?;
        let parameters = Some(Cow::Borrowed(parameters));
        let flag = |name: &str, raw: Option<&'a RawValue>| match raw {
            Some(raw) => read(format_args!("{path}.{name}"), raw, "a valid boolean"),
            None => Ok(false),
        };
        // A wish for less than strictness needs no word, and some routes know none for it.
        let strict = flag("strict", theirs.strict)?.then_some(RawValue::TRUE);
        if flag("defer_loading", theirs.defer_loading)? && !found.contains(&name) {
            continue;
        }
        let description = theirs.description.map(Written::AsItCame);
        tools.push(Tool::new(Function { name, description, parameters, strict }));
    }
    Ok(tools)
}

/// Which tool must be called.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Choice<'a> {
    /// `auto`, `required`, `none`.
    Word(&'static str),
    /// This one.
    Named {
        /// Always `function`.
        #[serde(rename = "type")]
        kind: &'static str,
        /// Its name.
        function: Name<'a>,
    },
}

/// A function's name.
#[derive(Debug, Serialize)]
pub(super) struct Name<'a> {
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct TheirChoice<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    disable_parallel_tool_use: Option<&'a RawValue>,
}

/// The choice, and whether one call at a time was asked for.
pub(super) fn choice(raw: &RawValue) -> Result<(Choice<'_>, bool), Error> {
    let theirs: TheirChoice<'_> = object("tool_choice", raw)?;
    let kind = text("tool_choice.type", required("tool_choice.type", theirs.kind)?)?;
    let choice = match &*kind {
        "auto" => Choice::Word("auto"),
        "any" => Choice::Word("required"),
        "none" => Choice::Word("none"),
        "tool" => {
            let name = text("tool_choice.name", required("tool_choice.name", theirs.name)?)?;
            Choice::Named { kind: "function", function: Name { name } }
        }
        other => {
            let what = format_args!("Input should be 'auto', 'any', 'tool' or 'none', but it is {other:?}");
            return Err(refused("tool_choice.type", what));
        }
    };
    let one_at_a_time = match theirs.disable_parallel_tool_use {
        Some(raw) => read("tool_choice.disable_parallel_tool_use", raw, "a valid boolean")?,
        None => false,
    };
    Ok((choice, one_at_a_time))
}
