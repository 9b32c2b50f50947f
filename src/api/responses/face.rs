//! What an answer needs of its request: the settings that it repeats, and what its calls are called.

use std::sync::Arc;

use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::api::face::Images;

use super::json::raw;
use super::native::Native;
use super::tools::Names;

/// A request to the Responses API, as far as its answer needs to know of it.
#[derive(Debug, Clone)]
pub struct Face {
    pub(super) terms: Arc<Terms>,
    /// The request as it came, for a provider that speaks this API itself.
    pub native: Native,
}

/// What there is to know of it.
#[derive(Debug, Default)]
pub(super) struct Terms {
    pub(super) echo: Echo,
    pub(super) names: Names,
    /// Whether what the model thought is shown as a summary, because the caller asked for one.
    pub(super) summary: bool,
    /// The model as the caller named it, for an answer that names none.
    pub(super) model: Option<Box<RawValue>>,
    /// The images in its prompt.
    pub(super) images: Images,
}

impl Face {
    /// The images in its prompt, whose bytes tell nothing of their tokens.
    pub fn images(&self) -> Images {
        self.terms.images
    }
}

/// The settings of a request that its Response object repeats, as they came.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Echo {
    background: bool,
    pub(super) instructions: Option<Box<RawValue>>,
    pub(super) max_output_tokens: Option<Box<RawValue>>,
    pub(super) max_tool_calls: Option<Box<RawValue>>,
    pub(super) metadata: Box<RawValue>,
    pub(super) parallel_tool_calls: Box<RawValue>,
    previous_response_id: (),
    pub(super) prompt_cache_key: Option<Box<RawValue>>,
    pub(super) reasoning: Reasoning,
    pub(super) safety_identifier: Option<Box<RawValue>>,
    /// Nothing is kept here, whatever was asked.
    store: bool,
    pub(super) temperature: Option<Box<RawValue>>,
    pub(super) text: Text,
    pub(super) tool_choice: Box<RawValue>,
    pub(super) tools: Box<RawValue>,
    pub(super) top_logprobs: Option<Box<RawValue>>,
    pub(super) top_p: Option<Box<RawValue>>,
    /// A prompt that is too long is told of, not cut.
    truncation: &'static str,
    pub(super) user: Option<Box<RawValue>>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Reasoning {
    pub(super) effort: Option<Box<RawValue>>,
    pub(super) summary: Option<Box<RawValue>>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Text {
    pub(super) format: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verbosity: Option<Box<RawValue>>,
}

impl Default for Echo {
    /// What OpenAI says where the request says nothing; null where that is for the provider to know.
    fn default() -> Self {
        Self {
            background: false,
            instructions: None,
            max_output_tokens: None,
            max_tool_calls: None,
            metadata: raw(&json!({})),
            parallel_tool_calls: raw(&true),
            previous_response_id: (),
            prompt_cache_key: None,
            reasoning: Reasoning::default(),
            safety_identifier: None,
            store: false,
            temperature: None,
            text: Text { format: raw(&json!({"type": "text"})), verbosity: None },
            tool_choice: raw("auto"),
            tools: raw(&json!([])),
            top_logprobs: None,
            top_p: None,
            truncation: "disabled",
            user: None,
        }
    }
}
