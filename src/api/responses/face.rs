//! What an answer needs of its request: the settings that it repeats, and what its calls are called.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::tools::Names;

/// A request to the Responses API, as far as its answer needs to know of it.
#[derive(Debug, Clone)]
pub struct Face(pub(super) Arc<Terms>);

/// What there is to know of it.
#[derive(Debug, Default)]
pub(super) struct Terms {
    pub(super) echo: Echo,
    pub(super) names: Names,
    /// Whether what the model thought is shown as a summary, because the caller asked for one.
    pub(super) summary: bool,
    /// The model as the caller named it, for an answer that names none.
    pub(super) model: Option<Box<RawValue>>,
}

/// The settings of a request that its Response object repeats, as they came.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Echo {
    pub(super) background: No,
    pub(super) instructions: Option<Box<RawValue>>,
    pub(super) max_output_tokens: Option<Box<RawValue>>,
    pub(super) max_tool_calls: Option<Box<RawValue>>,
    #[serde(serialize_with = "or_empty_object")]
    pub(super) metadata: Option<Box<RawValue>>,
    #[serde(serialize_with = "or_true")]
    pub(super) parallel_tool_calls: Option<Box<RawValue>>,
    pub(super) previous_response_id: (),
    pub(super) prompt_cache_key: Option<Box<RawValue>>,
    pub(super) reasoning: Reasoning,
    pub(super) safety_identifier: Option<Box<RawValue>>,
    /// Nothing is kept here, whatever was asked.
    pub(super) store: No,
    pub(super) temperature: Option<Box<RawValue>>,
    pub(super) text: Text,
    #[serde(serialize_with = "or_auto")]
    pub(super) tool_choice: Option<Box<RawValue>>,
    #[serde(serialize_with = "or_empty_list")]
    pub(super) tools: Option<Box<RawValue>>,
    pub(super) top_logprobs: Option<Box<RawValue>>,
    pub(super) top_p: Option<Box<RawValue>>,
    pub(super) truncation: Disabled,
    pub(super) user: Option<Box<RawValue>>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Reasoning {
    pub(super) effort: Option<Box<RawValue>>,
    pub(super) summary: Option<Box<RawValue>>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Text {
    #[serde(serialize_with = "or_text_format")]
    pub(super) format: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verbosity: Option<Box<RawValue>>,
}

/// Always false.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct No;

impl Serialize for No {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(false)
    }
}

/// Always "disabled": a prompt that is too long is told of, not cut.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Disabled;

impl Serialize for Disabled {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("disabled")
    }
}

macro_rules! otherwise {
    ($name:ident, $default:expr) => {
        fn $name<S: serde::Serializer>(
            value: &Option<Box<RawValue>>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match value {
                Some(value) => value.serialize(serializer),
                None => $default.serialize(serializer),
            }
        }
    };
}

otherwise!(or_true, true);
otherwise!(or_auto, "auto");
otherwise!(or_empty_list, [(); 0]);
otherwise!(or_empty_object, std::collections::BTreeMap::<(), ()>::new());
otherwise!(or_text_format, std::collections::BTreeMap::from([("type", "text")]));
