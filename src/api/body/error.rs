//! Why a body is refused, in words that its caller can act on.

use crate::api::scan::Fault;

/// Why a body is refused: always the caller's to mend, answered with 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not JSON, or JSON that two readers could read differently.
    #[error("The request body is not valid JSON: {0}. Send one JSON object in UTF-8.")]
    NotJson(#[from] Fault),
    /// JSON, but not an object.
    #[error("The request body must be one JSON object, but it is {0}.")]
    NotAnObject(&'static str),
    /// A required member is missing.
    #[error("Missing required parameter: '{0}'.")]
    Missing(&'static str),
    /// A member has the wrong type.
    #[error("Invalid type for '{param}': expected {expected}, but got {got} instead.")]
    WrongType {
        /// Which.
        param: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        got: &'static str,
    },
    /// A member has a value that cannot be served.
    #[error("Invalid value for '{param}': {reason}.")]
    Invalid {
        /// Which.
        param: &'static str,
        /// What is wrong and what to do.
        reason: &'static str,
    },
    /// A face cannot put it into a chat completion, or its own API would refuse it; in that API's words.
    #[error("{message}")]
    Untranslated {
        /// Which member, by its path; empty where it is none.
        param: Box<str>,
        /// What is wrong and what to do.
        message: Box<str>,
    },
    /// Another API of OpenAI's would refuse it, or this gateway does not serve it there; with OpenAI's code.
    #[error("{message}")]
    Unserved {
        /// Which member, by its path; empty where it is none.
        param: Box<str>,
        /// OpenAI's code.
        code: &'static str,
        /// What is wrong and what to do.
        message: Box<str>,
    },
}

impl Error {
    /// The member at fault, where it is one.
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::NotJson(_) | Self::NotAnObject(_) => None,
            Self::Missing(param) | Self::WrongType { param, .. } | Self::Invalid { param, .. } => Some(param),
            Self::Untranslated { param, .. } | Self::Unserved { param, .. } => {
                Some(&**param).filter(|param| !param.is_empty())
            }
        }
    }

    /// OpenAI's code for it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotJson(_) | Self::NotAnObject(_) => "invalid_json",
            Self::Missing(_) => "missing_required_parameter",
            Self::WrongType { .. } => "invalid_type",
            Self::Invalid { .. } | Self::Untranslated { .. } => "invalid_value",
            Self::Unserved { code, .. } => code,
        }
    }
}
