//! DeepSeek's own API: thinking by default, which some parameters do not go with; an unknown model is 400.

use super::fault::{Class, View};

pub(super) fn class(view: &View) -> Option<Class> {
    match view.status {
        400 | 422 if view.mentions(&["model not exist"]) => Some(Class::UnknownModel),
        400 | 422
            if view
                .mentions(&["does not support this tool_choice", "response_format type is unavailable"]) =>
        {
            Some(Class::FeatureMissing)
        }
        _ => None,
    }
}
