//! Huawei Cloud ModelArts: its gateway speaks in codes, its engine in vLLM's words.

use super::engines;
use super::fault::{Class, View};

pub(super) fn class(view: &View) -> Option<Class> {
    match view.code.as_str() {
        "ModelArts.81001" if view.mentions(&["too long", "length"]) => Some(Class::ContextOverflow),
        "ModelArts.81001" => Some(Class::Caller),
        "ModelArts.81002" | "ModelArts.81003" | "ModelArts.81004" | "ModelArts.81015" => Some(Class::BadKey),
        "ModelArts.81005" => Some(Class::NoMoney),
        "ModelArts.81009" => Some(Class::UnknownModel),
        "ModelArts.81011" => Some(Class::Moderation),
        "ModelArts.81101" | "ModelArts.81103" => Some(Class::Rate),
        "APIG.0203" => Some(Class::Timeout),
        _ => engines::class(view),
    }
}
