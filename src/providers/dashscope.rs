//! Alibaba Cloud Model Studio: an OpenAI clone with its own wording for what a thinking model cannot do.

use super::fault::{Class, View};

pub(super) fn class(view: &View) -> Option<Class> {
    match view.status {
        400 if view.mentions(&["in thinking mode", "is not supported"]) => Some(Class::FeatureMissing),
        400 if view.mentions(&["range of input length"]) => Some(Class::ContextOverflow),
        _ => None,
    }
}
