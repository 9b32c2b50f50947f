//! Together AI: an overflow may come as 403, and `max_completion_tokens` is not in its schema.

use super::fault::{Class, View};

pub(super) fn class(view: &View) -> Option<Class> {
    match view.status {
        404 => Some(Class::UnknownModel),
        // The documented status of an overflow is 403, the one seen is 400; the words are the same.
        400 | 403 if view.mentions(&["max_new_tokens"]) => Some(Class::ContextOverflow),
        429 if view.kind == "credit_limit" => Some(Class::NoMoney),
        _ => None,
    }
}
