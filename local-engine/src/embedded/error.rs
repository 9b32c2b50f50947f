//! What a caller is told when a request cannot be served, in OpenAI's envelope.

use serde_json::json;

/// A refusal: its status, and words that name the field and the fix.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) message: String,
    pub(crate) kind: &'static str,
    pub(crate) param: Option<String>,
    pub(crate) code: Option<&'static str>,
    /// Seconds after which another try makes sense.
    pub(crate) retry_after: Option<u64>,
}

impl ApiError {
    /// 400: the field `param` is wrong, and `message` says how to put it right.
    pub(crate) fn field(param: &str, message: impl Into<String>) -> Self {
        Self { param: Some(param.to_owned()), ..Self::new(400, "invalid_request_error", message) }
    }

    /// A refusal without a field.
    pub(crate) fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), kind, param: None, code: None, retry_after: None }
    }

    /// 400: the prompt does not fit.
    pub(crate) fn too_long(param: &str, tokens: usize, most: usize) -> Self {
        Self {
            code: Some("context_length_exceeded"),
            ..Self::field(
                param,
                format!(
                    "`{param}` is {tokens} tokens long, and this model takes at most {most} with room for an answer; shorten it"
                ),
            )
        }
    }

    /// 500: a fault of the engine's own.
    pub(crate) fn engine(message: impl Into<String>) -> Self {
        Self { code: Some("engine_error"), ..Self::new(500, "server_error", message) }
    }

    /// 503: the worker is about to end.
    pub(crate) fn stopping() -> Self {
        Self {
            code: Some("engine_stopping"),
            retry_after: Some(1),
            ..Self::new(503, "server_error", "the local engine is stopping; send the request again shortly")
        }
    }

    /// OpenAI's envelope.
    pub(crate) fn body(&self) -> serde_json::Value {
        json!({"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}})
    }

    pub(crate) fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }
}
