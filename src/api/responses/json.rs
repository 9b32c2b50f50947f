//! Objects read one level deep: each member's value stays the text that came, so that numbers and schemas keep their spelling.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::api::body::MEMBERS_MAX;
use crate::api::scan;

use super::refusal::Refusal;

/// The members of one object, in order; no name stands twice.
#[derive(Debug, Default)]
pub(super) struct Object<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// Reads `value`, which is called `param`, as an object.
    pub(super) fn read(value: &'a RawValue, param: &str) -> Result<Self, Refusal> {
        if !value.get().starts_with('{') {
            return Err(Refusal::wrong_type(param, "an object", kind(value)));
        }
        serde_json::from_str(value.get()).map_err(|error| Refusal::invalid(param, error))
    }

    /// The member called `name`; null is none.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| *value).filter(|value| !is_null(value))
    }

    /// The text in the member called `name`, where it is one.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).and_then(text)
    }

    /// The text that must stand in the member called `name` of the object called `param`.
    pub(super) fn text_needed(&self, name: &str, param: &str) -> Result<Cow<'a, str>, Refusal> {
        let value = self.get(name).ok_or_else(|| Refusal::missing(format!("{param}.{name}")))?;
        text(value).ok_or_else(|| Refusal::wrong_type(format!("{param}.{name}"), "a string", kind(value)))
    }
}

/// Reads `value`, which is called `param`, as a list.
pub(super) fn list<'a>(value: &'a RawValue, param: &str) -> Result<Vec<&'a RawValue>, Refusal> {
    if !value.get().starts_with('[') {
        return Err(Refusal::wrong_type(param, "an array", kind(value)));
    }
    serde_json::from_str(value.get()).map_err(|error| Refusal::invalid(param, error))
}

/// The text that `value` is.
pub(super) fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let raw = value.get();
    raw.starts_with('"').then(|| scan::text_of(raw.as_bytes(), &(0..raw.len())))
}

/// Whether `value` is null.
pub(super) fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

/// What kind of value it is, in the words of an error message.
pub(super) fn kind(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// `value` as JSON text.
pub(super) fn raw(value: &(impl serde::Serialize + ?Sized)) -> Box<RawValue> {
    // Texts, numbers, and lists and structs of them always serialise.
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// A name, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::with_capacity(8);
                while let Some(Name(name)) = map.next_key()? {
                    if members.len() == MEMBERS_MAX {
                        return Err(A::Error::custom("an object has too many members"));
                    }
                    if members.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom("a key stands twice in one object"));
                    }
                    members.push((name, map.next_value()?));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}
