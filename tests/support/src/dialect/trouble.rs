//! What each provider says when it fails, in its own shape. Where only the shape is known, the words are invented.

use serde_json::{Value, json};

use crate::Reply;

use super::Kind;

impl Kind {
    /// An error of its own under that status: 429, 500 or 503. No `retry-after`, whoever sends one at times.
    pub fn trouble(self, status: u16) -> Reply {
        match (self, status) {
            (Self::Fireworks, 429) => Reply::fixture("fireworks_429_string"),
            (Self::Together, 503) => Reply::fixture("together_503"),
            (Self::ModelArts, 429) => Reply::fixture("modelarts_429"),
            // Its gateway's word for an engine that did not answer.
            (Self::ModelArts, 500) => {
                let error = json!({"error_code": "APIG.0203", "error_msg": "Backend timeout."});
                Reply::json(500, error.to_string())
            }
            _ => Reply::json(status, self.error(status, words(status)).to_string()),
        }
    }

    /// A prompt that is too long for it.
    pub fn overflow(self) -> Reply {
        let (input, bound) = (150_000, 131_072);
        let engine = format!(
            "This model's maximum context length is {bound} tokens. However, you requested {input} tokens"
        );
        match self {
            Self::OpenRouter => Reply::fixture("openrouter_400_context"),
            Self::Together => Reply::fixture("together_403_overflow"),
            Self::Fireworks => Reply::fixture("fireworks_400_prompt_too_long"),
            Self::DeepSeek => Reply::fixture("deepseek_400_overflow"),
            Self::OpenAi | Self::Hunyuan => {
                let error = json!({"message": engine, "type": "invalid_request_error", "param": "messages",
                    "code": "context_length_exceeded"});
                Reply::json(400, json!({ "error": error }).to_string())
            }
            Self::DashScope => {
                let message = format!(
                    "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, {bound}]"
                );
                Reply::json(400, self.error(400, &message).to_string())
            }
            Self::ModelArts => {
                let error = json!({"error_code": "ModelArts.81001", "error_msg": "The prompt is too long for this model"});
                Reply::json(400, error.to_string())
            }
            Self::Vllm => Reply::json(400, self.error(400, &engine).to_string()),
            Self::Sglang => {
                let message = format!(
                    "The input ({input} tokens) is longer than the model's context length ({bound} tokens)."
                );
                Reply::json(400, self.error(400, &message).to_string())
            }
        }
    }

    /// What stands in an answer of status 200 instead of it, or of what would come next of a stream: JSON. The second says
    /// whether `[DONE]` follows it.
    pub fn fault_under_200(self, begun: bool) -> (String, bool) {
        let message = "worker died";
        let chunk = |choices: Value| json!({"id": "x", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": "m", "choices": choices});
        let (body, is_done) = match self {
            Self::OpenRouter => {
                let choice = json!({"index": 0, "delta": {"content": ""}, "finish_reason": "error", "native_finish_reason": null});
                let mut body = chunk(json!([choice]));
                body["provider"] = "Harbourlight".into();
                body["error"] = json!({"code": 502, "message": message,
                    "metadata": {"error_type": "provider_unavailable", "provider_code": null}});
                (body, false)
            }
            // It has a finish reason for it, once it has begun.
            Self::DeepSeek if begun => {
                let choice = json!({"index": 0, "delta": {"content": "", "reasoning_content": null}, "logprobs": null,
                    "finish_reason": "insufficient_system_resource"});
                (chunk(json!([choice])), true)
            }
            Self::ModelArts => {
                (json!({"error_code": "ModelArts.81101", "error_msg": "Too many requests per minute"}), false)
            }
            // In a stream an engine does put it under `error`.
            Self::Vllm | Self::Sglang if begun => (json!({"error": self.error(500, message)}), true),
            _ => (self.error(502, message), true),
        };
        (body.to_string(), is_done)
    }

    fn error(self, status: u16, message: &str) -> Value {
        let kind = match status {
            400 => "invalid_request_error",
            429 => "requests",
            _ => "server_error",
        };
        match self {
            Self::OpenRouter => {
                let kind = match status {
                    429 => "rate_limit_exceeded",
                    503 => "provider_overloaded",
                    _ => "server",
                };
                json!({"error": {"code": status, "message": message, "metadata": {"error_type": kind}}})
            }
            Self::Together => json!({"id": "fake-2abCdE",
                "error": {"message": message, "type": kind, "param": null, "code": null}}),
            Self::Fireworks => {
                json!({"error": {"object": "error", "type": kind, "code": kind, "message": message}})
            }
            Self::DashScope => {
                let code = if status == 400 { "invalid_parameter_error" } else { kind };
                json!({"error": {"message": message, "type": kind, "param": null, "code": code},
                    "request_id": "00000000-0000-4000-8000-fake00000000"})
            }
            Self::OpenAi | Self::DeepSeek | Self::Hunyuan => {
                json!({"error": {"message": message, "type": kind, "param": null, "code": words(status)}})
            }
            // Huawei's engine speaks as vLLM does.
            Self::ModelArts | Self::Vllm | Self::Sglang => {
                let kind = if status == 400 { "BadRequestError" } else { "InternalServerError" };
                json!({"object": "error", "message": message, "type": kind, "param": null, "code": status})
            }
        }
    }
}

const fn words(status: u16) -> &'static str {
    match status {
        429 => "rate_limit_exceeded",
        503 => "overloaded",
        _ => "server_error",
    }
}
