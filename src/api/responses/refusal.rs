//! Why a Responses request is refused: always with 400, the parameter at fault, and what to send instead.

use std::fmt::Display;

use crate::api::body;

/// A request that cannot be served as it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct Refusal {
    /// The parameter at fault, with its place: `tools[2].type`.
    pub(super) param: Option<Box<str>>,
    /// OpenAI's code for it.
    pub(super) code: &'static str,
    /// What is wrong and what to do.
    pub(super) message: Box<str>,
}

impl Refusal {
    /// Something that this endpoint does not do; `instead` says what to do.
    pub(super) fn unsupported(param: impl Into<Box<str>>, instead: impl Display) -> Self {
        let param = param.into();
        let message = format!("Unsupported parameter: '{param}'. {instead}").into();
        Self { param: Some(param), code: "unsupported_parameter", message }
    }

    /// A value that cannot be served; `reason` says why and what to do.
    pub(super) fn invalid(param: impl Into<Box<str>>, reason: impl Display) -> Self {
        let param = param.into();
        let message = format!("Invalid value for '{param}': {reason}.").into();
        Self { param: Some(param), code: "invalid_value", message }
    }

    /// A value of the wrong type.
    pub(super) fn wrong_type(param: impl Into<Box<str>>, expected: &str, got: &str) -> Self {
        let param = param.into();
        let message =
            format!("Invalid type for '{param}': expected {expected}, but got {got} instead.").into();
        Self { param: Some(param), code: "invalid_type", message }
    }

    /// A member that must be there and is not.
    pub(super) fn missing(param: impl Into<Box<str>>) -> Self {
        let param = param.into();
        let message = format!("Missing required parameter: '{param}'.").into();
        Self { param: Some(param), code: "missing_required_parameter", message }
    }
}

impl From<Refusal> for body::Error {
    fn from(refusal: Refusal) -> Self {
        let Refusal { param, code, message } = refusal;
        Self::Unserved { param: param.unwrap_or_default(), code, message }
    }
}
