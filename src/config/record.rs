//! How a document's struct or closed set of words is declared, so that reading it and its JSON Schema follow.

use super::excerpt::shortened;
use super::node::Spot;
use super::problem::nearest;
use super::read::Reader;

/// A field's key as people type it: `match` is a word of Rust's own.
pub(crate) const fn as_typed(field: &'static str) -> &'static str {
    match field.as_bytes() {
        b"matches" => "match",
        _ => field,
    }
}

/// A struct of optional fields that is read from a mapping in which no other key may stand.
macro_rules! record {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        #[derive(Debug, Clone, Default, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        $(#[$meta])*
        pub struct $name {
            $($(#[$field_meta])* pub $field: Option<crate::config::read::At<$type>>,)*
        }

        impl crate::config::read::Decode for $name {
            fn decode(node: &crate::config::node::Node, reader: &crate::config::read::Reader<'_>) -> Option<Self> {
                let mut record = Self::default();
                reader
                    .entries(node, &[$(crate::config::record::as_typed(stringify!($field))),*], |key, value| match key {
                        $(key if key == crate::config::record::as_typed(stringify!($field)) => {
                            record.$field = <$type as crate::config::read::Decode>::decode(value, reader)
                                .map(|decoded| crate::config::read::At { value: decoded, spot: value.spot });
                        })*
                        _ => {}
                    })
                    .then_some(record)
            }
        }
    };
}

/// A closed set of words.
macro_rules! choice {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, schemars::JsonSchema)]
        pub enum $name {
            $($(#[$variant_meta])* #[schemars(rename = $word)] $variant,)*
        }

        impl crate::config::read::Decode for $name {
            fn decode(node: &crate::config::node::Node, reader: &crate::config::read::Reader<'_>) -> Option<Self> {
                let text = reader.text(node)?;
                let chosen = match text.as_str() {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                };
                if chosen.is_none() {
                    crate::config::record::not_among(reader, node.spot, &text, &[$($word),*]);
                }
                chosen
            }
        }
    };
}

pub(crate) use {choice, record};

/// Says that a word is none of those known.
pub(crate) fn not_among(reader: &Reader<'_>, spot: Spot, text: &str, known: &[&str]) {
    let list = known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let message = format!("`{}` must be one of {list}, not `{}`", reader.key(spot), shortened(text, 60));
    let help = nearest(text, known.iter().copied()).map(|word| format!("did you mean `{word}`?"));
    reader.error(spot, &message, help);
}
