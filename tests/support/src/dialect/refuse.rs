//! What each provider refuses, in its own words.

use crate::{Received, Reply};

use super::{Ask, Dialect, Kind};

/// The fields that Fireworks takes on `/chat/completions` and `/completions`; any other is a 400.
const FIREWORKS_FIELDS: &str = "messages model stream context_length_exceeded_behavior echo echo_last \
    frequency_penalty function_call functions ignore_eos logit_bias logprobs max_completion_tokens max_tokens \
    metadata min_p mirostat_lr mirostat_target n parallel_tool_calls perf_metrics_in_response prediction \
    presence_penalty prompt_cache_isolation_key prompt_cache_key prompt_truncate_len raw_output reasoning_effort \
    reasoning_history repetition_penalty response_format return_token_ids safe_tokenization seed service_tier \
    speculation stop stream_options temperature thinking tool_choice tools top_k top_logprobs top_p typical_p user \
    prompt input dimensions encoding_format";

impl Dialect {
    /// A key other than the only one it takes.
    pub(super) fn refuse_key(&self, request: &Received) -> Option<Reply> {
        let wanted = format!("Bearer {}", self.key.as_ref()?);
        if request.headers.get("authorization") == Some(&wanted) {
            return None;
        }
        Some(match self.kind {
            Kind::OpenRouter => Reply::fixture("openrouter_401"),
            Kind::Together => Reply::fixture("together_401_models"),
            Kind::ModelArts => {
                let error = r#"{"error_code":"ModelArts.81003","error_msg":"Invalid API key"}"#;
                Reply::json(401, error)
            }
            _ => Reply::fixture("openai_401"),
        })
    }

    /// A body that is no JSON object.
    pub(super) fn refuse_body(&self) -> Reply {
        match self.kind {
            Kind::Together => Reply::fixture("together_nested_message"),
            _ => Reply::error(400, "invalid_request_error", "the body is not what this endpoint takes"),
        }
    }

    /// A model it does not have.
    pub(super) fn refuse_model(&self, ask: &Ask) -> Option<Reply> {
        if self.models.is_empty() || self.models.contains(&ask.model) {
            return None;
        }
        Some(match self.kind {
            Kind::OpenAi | Kind::DashScope | Kind::Hunyuan => {
                Reply::error(404, "model_not_found", "The model does not exist")
            }
            Kind::ModelArts => {
                let error = r#"{"error_code":"ModelArts.81009","error_msg":"Invalid model"}"#;
                Reply::json(404, error)
            }
            Kind::Vllm | Kind::Sglang => {
                let error = r#"{"object":"error","message":"The model does not exist.","type":"NotFoundError","param":null,"code":404}"#;
                Reply::json(404, error)
            }
            Kind::OpenRouter => Reply::fixture("openrouter_404_no_endpoints"),
            Kind::Together => Reply::fixture("together_404"),
            Kind::Fireworks => Reply::fixture("fireworks_404"),
            Kind::DeepSeek => Reply::fixture("deepseek_400_model"),
        })
    }

    /// Fields or values that this provider is known to refuse.
    pub(super) fn refuse_fields(&self, ask: &Ask) -> Option<Reply> {
        match self.kind {
            Kind::Fireworks => {
                let known = |field: &str| FIREWORKS_FIELDS.split_whitespace().any(|known| known == field);
                let (field, value) = ask.fields.iter().find(|(field, _)| !known(field))?;
                let value = value.to_string().replace('"', "'");
                let message = format!("Extra inputs are not permitted, field: '{field}', value: {value}");
                let error = serde_json::json!({"object": "error", "type": "invalid_request_error",
                    "code": "invalid_request_error", "message": message});
                Some(Reply::json(400, serde_json::json!({ "error": error }).to_string()))
            }
            Kind::DeepSeek => {
                let schema =
                    ask.fields.get("response_format").is_some_and(|format| format["type"] == "json_schema");
                let forced = ask
                    .fields
                    .get("tool_choice")
                    .is_some_and(|choice| choice == "required" || choice.is_object());
                if schema {
                    Some(Reply::fixture("deepseek_400_json_schema"))
                } else if forced && self.reasoning > 0 {
                    Some(Reply::fixture("deepseek_400_tool_choice"))
                } else {
                    None
                }
            }
            // As said of it in a fixture: a forced call is refused while the model thinks.
            Kind::DashScope if self.reasoning > 0 => {
                let choice = ask.fields.get("tool_choice")?;
                (choice == "required" || choice.is_object()).then(|| Reply::fixture("dashscope_400"))
            }
            _ => None,
        }
    }
}
