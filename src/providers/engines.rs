//! Engines behind a plain OpenAI-compatible URL: vLLM, SGLang, llama.cpp, our own.

use super::fault::{Class, View};

pub(super) fn class(view: &View) -> Option<Class> {
    match view.status {
        // llama.cpp answers an overflow with 500; it is no outage.
        500 if view.mentions(&["context size has been exceeded"]) => Some(Class::ContextOverflow),
        // vLLM while it shuts down: the request was not begun.
        500 if view.mentions(&["cannot schedule new futures after shutdown"]) => Some(Class::Overload),
        400 | 422 if view.kind == "extra_forbidden" || view.mentions(&["extra_forbidden"]) => {
            Some(Class::UnknownField)
        }
        400 | 404 if view.kind == "NotFoundError" => Some(Class::UnknownModel),
        _ => None,
    }
}
