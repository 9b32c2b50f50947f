//! Walks the parsed files against the types of the documents, and collects every fault on the way.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::ops::Deref;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::environment::Environment;
use super::expand::{Unfilled, expand};
use super::mask::{BLOT, is_secret_key, masked, masked_text};
use super::node::{Node, Spot, Value};
use super::problem::{Place, Problem, Problems, Severity, nearest};

/// Longest excerpt of a line, in characters.
const EXCERPT_MAX: usize = 160;

/// One file among those compiled together.
#[derive(Debug)]
pub(super) struct File {
    pub(super) name: Arc<str>,
    pub(super) text: Arc<str>,
    pub(super) root: Option<Node>,
}

/// The files, the world they may ask, and what is wrong with them so far.
pub(super) struct Reader<'a> {
    pub(super) files: &'a [File],
    pub(super) environment: &'a dyn Environment,
    problems: RefCell<Problems>,
}

/// A value and where it was typed.
#[derive(Debug, Clone, Copy)]
pub struct At<T> {
    /// What.
    pub value: T,
    /// Where.
    pub spot: Spot,
}

impl<T> Deref for At<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// A type that can be read from a node.
pub(super) trait Decode: Sized {
    /// The value; `None` once a fault has been reported.
    fn decode(node: &Node, reader: &Reader<'_>) -> Option<Self>;
}

impl<'a> Reader<'a> {
    pub(super) fn new(files: &'a [File], environment: &'a dyn Environment) -> Self {
        Self { files, environment, problems: RefCell::default() }
    }

    /// What is wrong, in the order of files and lines.
    pub(super) fn into_problems(self) -> Problems {
        let place_of = |problem: &Problem| {
            problem.place.as_ref().map(|place| {
                let file = self.files.iter().position(|file| file.name == place.file);
                (file, place.line, place.column)
            })
        };
        let mut problems: Vec<Problem> = self.problems.take().into_iter().collect();
        problems.sort_by_key(place_of);
        let mut sorted = Problems::default();
        sorted.extend(problems);
        sorted
    }

    /// Something that cannot be accepted.
    pub(super) fn error(&self, spot: Spot, message: &str, suggestion: Option<String>) {
        self.push(Severity::Error, Some(spot), message, suggestion);
    }

    /// An error or a remark, perhaps where no single place is to blame.
    pub(super) fn push(
        &self,
        severity: Severity,
        spot: Option<Spot>,
        message: &str,
        suggestion: Option<String>,
    ) {
        if self.is_full() {
            return;
        }
        let key_path = spot.map(|spot| self.key_path(spot)).unwrap_or_default();
        let place = spot.map(|spot| self.place(spot, &key_path));
        let message = masked_text(&shortened(message, Problem::MESSAGE_LENGTH_MAX));
        let suggestion = suggestion.map(|text| masked_text(&shortened(&text, 200)));
        self.problems.borrow_mut().push(Problem { severity, place, key_path, message, suggestion });
    }

    /// Whether enough has been said: finding a fault's place costs a walk through its file.
    fn is_full(&self) -> bool {
        self.problems.borrow().len() >= Problems::COUNT_MAX
    }

    /// The text of a scalar with its variables filled in.
    pub(super) fn text(&self, node: &Node) -> Option<String> {
        let Value::Scalar { text, .. } = &node.value else {
            self.error(
                node.spot,
                &format!("`{}` must be a single value, not {}", self.key(node.spot), node.sort()),
                None,
            );
            return None;
        };
        match expand(text, self.environment) {
            Ok(filled) if filled.trim().is_empty() => {
                self.blank(node.spot);
                None
            }
            Ok(filled) => Some(filled),
            Err(unfilled) => {
                let (message, help) = self.unfilled(node.spot, unfilled);
                self.error(node.spot, &message, help);
                None
            }
        }
    }

    pub(super) fn unfilled(&self, spot: Spot, unfilled: Unfilled) -> (String, Option<String>) {
        match unfilled {
            Unfilled::Malformed(message) => (format!("`{}`: {message}", self.key(spot)), None),
            Unfilled::Unset { variable, message: Some(message) } => {
                (format!("`{}` needs the variable {variable}: {message}", self.key(spot)), None)
            }
            Unfilled::Unset { variable, message: None } => (
                format!("`{}` needs the variable {variable}, which is unset or empty", self.key(spot)),
                Some(format!("set {variable}, or write `${{{variable}:-default}}`")),
            ),
        }
    }

    /// Says that there is no value where one is needed.
    pub(super) fn blank(&self, spot: Spot) {
        let message = format!("`{}` is blank", self.key(spot));
        self.error(spot, &message, Some("give it a value, or remove the key".to_owned()));
    }

    /// Goes through the entries of a map, of which only `known` are allowed; blank values are reported here.
    pub(super) fn entries<'n>(
        &self,
        node: &'n Node,
        known: &[&str],
        mut take: impl FnMut(&'n str, &'n Node),
    ) -> bool {
        let Value::Map(entries) = &node.value else {
            let path = self.key(node.spot);
            let subject = if path.is_empty() { "the file".to_owned() } else { format!("`{path}`") };
            let message = format!("{subject} must be a mapping (`key: value`), not {}", node.sort());
            self.error(node.spot, &message, None);
            return false;
        };
        for (key, value) in entries {
            if !known.contains(&key.text.as_str()) {
                let help = match nearest(&key.text, known.iter().copied()) {
                    Some(word) => format!("did you mean `{word}`?"),
                    None => format!("known here: {}", known.join(", ")),
                };
                let shown = shortened(&key.text, 60);
                self.error(key.spot, &format!("unknown key `{shown}`"), Some(help));
            } else if value.is_blank() {
                self.blank(key.spot);
            } else {
                take(&key.text, value);
            }
        }
        true
    }

    /// Says that the mapping at `spot` lacks one of `keys`, unless all are there: then one was refused, and that was said.
    pub(super) fn missing(&self, spot: Spot, keys: &[&str], message: &str, suggestion: Option<String>) {
        if self.is_full() {
            return;
        }
        let typed = self.typed(spot);
        if !keys.iter().all(|key| typed.contains(key)) {
            self.error(spot, message, suggestion);
        }
    }

    /// The keys of the mapping at `spot`, as typed.
    pub(super) fn typed(&self, spot: Spot) -> Vec<&str> {
        let root = self.files.get(usize::from(spot.file)).and_then(|file| file.root.as_ref());
        root.and_then(|root| mapping_at(root, spot)).unwrap_or_default()
    }

    /// The last key that leads to a place, with its index in a list (`regions[0]`).
    pub(super) fn key(&self, spot: Spot) -> String {
        let path = self.key_path(spot);
        path.rsplit_once('.').map_or(path.clone(), |(_, last)| last.to_owned())
    }

    fn key_path(&self, spot: Spot) -> String {
        let root = self.files.get(usize::from(spot.file)).and_then(|file| file.root.as_ref());
        let mut path = String::new();
        if let Some(root) = root {
            find(root, spot, &mut path);
        }
        shortened(&path, 200)
    }

    fn place(&self, spot: Spot, key_path: &str) -> Place {
        let Some(file) = self.files.get(usize::from(spot.file)) else {
            return Place {
                file: "".into(),
                line: 0,
                column: 0,
                excerpt: "".into(),
                caret: 0,
                caret_length: 0,
            };
        };
        if spot.line == 0 {
            return Place {
                file: file.name.clone(),
                line: 0,
                column: 0,
                excerpt: "".into(),
                caret: 0,
                caret_length: 0,
            };
        }
        let line = file.text.lines().nth(spot.line as usize - 1).unwrap_or_default();
        let (excerpt, caret, caret_length) = excerpt(line, spot, key_path.contains(".headers"));
        Place {
            file: file.name.clone(),
            line: spot.line,
            column: spot.column,
            excerpt: excerpt.into(),
            caret,
            caret_length,
        }
    }
}

/// The line as it is shown, with where the carets go: masked, without what follows a key that may announce a secret, and
/// cut around the caret.
fn excerpt(line: &str, spot: Spot, is_header: bool) -> (String, u32, u32) {
    let (line, start) = window(line, spot.column.saturating_sub(1) as usize);
    let length = (spot.length.max(1) as usize).min(80);
    let word: String = line.chars().skip(start).take(length).collect();
    let (mut shown, caret) = masked(&line, start);
    let is_blotted = |from: usize| shown.chars().skip(from).take(BLOT.len()).eq(BLOT.chars());
    let (caret, length) = match caret.checked_sub(1) {
        _ if word.starts_with(BLOT) => (caret, length),
        _ if is_blotted(caret) => (caret, BLOT.len()),
        // The caret stood behind a quotation mark, which is blotted out with what it encloses.
        Some(before) if is_blotted(before) => (before, BLOT.len()),
        _ => (caret, length),
    };
    let is_key = line.chars().skip(start + length).find(|c| !c.is_whitespace()) == Some(':');
    if is_key && !is_blotted(caret) && (is_header || is_secret_key(word.trim_matches(['"', '\'']))) {
        let keep = caret + length;
        if shown.chars().count() > keep + 1 {
            shown = shown.chars().take(keep).chain(": …".chars()).collect();
        }
    }
    let skip = caret.saturating_sub(EXCERPT_MAX / 2).min(shown.chars().count().saturating_sub(EXCERPT_MAX));
    let cut: String = shown.chars().skip(skip).take(EXCERPT_MAX).collect();
    let room = cut.chars().count().saturating_sub(caret - skip).max(1);
    let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    (cut.trim_end().to_owned(), short(caret - skip), short(length.min(room)))
}

/// The part of a line around the character `start`, and where that character is in it. What is cut off on the left ends
/// with a separator, so that the rest of a secret is never taken for something else.
fn window(line: &str, start: usize) -> (String, usize) {
    const REACH: usize = 240;
    let skip = start.saturating_sub(REACH);
    let clean = |c: char| if c.is_control() || is_bidi(c) { ' ' } else { c };
    let part: Vec<char> = line.chars().skip(skip).take(2 * REACH).map(clean).collect();
    let caret = start - skip;
    let head = part.get(..caret).unwrap_or_default();
    let from = match skip {
        0 => 0,
        _ => head.iter().position(|c| matches!(c, ',' | '{' | '[')).map_or(caret, |at| at + 1),
    };
    (part.get(from..).unwrap_or_default().iter().collect(), caret - from)
}

/// Characters that would turn the reading direction of what is printed.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// At most `chars_max` characters of `text`, without control characters.
pub(super) fn shortened(text: &str, chars_max: usize) -> String {
    let clean = |c: char| if c.is_control() || is_bidi(c) { ' ' } else { c };
    if text.chars().count() <= chars_max {
        return text.chars().map(clean).collect();
    }
    text.chars().take(chars_max.saturating_sub(1)).map(clean).chain(std::iter::once('…')).collect()
}

/// Puts the keys that lead to `spot` into `path`.
fn find(node: &Node, spot: Spot, path: &mut String) -> bool {
    let length = path.len();
    match &node.value {
        Value::Map(entries) => {
            for (key, value) in entries {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(&key.text);
                if key.spot == spot
                    || value.spot == spot && !matches!(value.value, Value::Map(_))
                    || find(value, spot, path)
                {
                    return true;
                }
                path.truncate(length);
            }
            node.spot == spot
        }
        Value::List(items) => {
            for (at, item) in items.iter().enumerate() {
                let _ = write!(path, "[{at}]");
                if find(item, spot, path) {
                    return true;
                }
                path.truncate(length);
            }
            node.spot == spot
        }
        Value::Scalar { .. } => node.spot == spot,
    }
}

fn mapping_at(node: &Node, spot: Spot) -> Option<Vec<&str>> {
    match &node.value {
        Value::Map(entries) if node.spot == spot => {
            Some(entries.iter().map(|(key, _)| key.text.as_str()).collect())
        }
        Value::Map(entries) => entries.iter().find_map(|(_, value)| mapping_at(value, spot)),
        Value::List(items) => items.iter().find_map(|item| mapping_at(item, spot)),
        Value::Scalar { .. } => None,
    }
}

/// A list of values.
impl<T: Decode> Decode for Vec<At<T>> {
    fn decode(node: &Node, reader: &Reader<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            let message = format!("`{}` must be a list, not {}", reader.key(node.spot), node.sort());
            let help = match &node.value {
                Value::Scalar { text, .. } => Some(format!("write [{}]", shortened(text, 60))),
                _ => Some("begin each item with `- `".to_owned()),
            };
            reader.error(node.spot, &message, help);
            return None;
        };
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            if item.is_blank() {
                reader.blank(item.spot);
            } else if let Some(value) = T::decode(item, reader) {
                values.push(At { value, spot: item.spot });
            }
        }
        Some(values)
    }
}

/// Names of the operator's own, each with a value, in the order of the file.
#[derive(Debug, Clone)]
pub struct Pairs<T>(pub Vec<(At<String>, At<T>)>);

impl<T: JsonSchema> JsonSchema for At<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for Pairs<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}ByName", T::schema_name()).into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        std::collections::BTreeMap::<String, T>::json_schema(generator)
    }
}

impl<T: Decode> Decode for Pairs<T> {
    fn decode(node: &Node, reader: &Reader<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            let message =
                format!("`{}` must be a mapping (`name: …`), not {}", reader.key(node.spot), node.sort());
            reader.error(node.spot, &message, None);
            return None;
        };
        let mut pairs = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            if value.is_blank() {
                reader.blank(key.spot);
            } else if let Some(decoded) = T::decode(value, reader) {
                pairs.push((
                    At { value: key.text.clone(), spot: key.spot },
                    At { value: decoded, spot: value.spot },
                ));
            }
        }
        Some(Self(pairs))
    }
}

/// A field's key as people type it: `match` is a word of Rust's own.
pub(super) const fn as_typed(field: &'static str) -> &'static str {
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
                    .entries(node, &[$(crate::config::read::as_typed(stringify!($field))),*], |key, value| match key {
                        $(key if key == crate::config::read::as_typed(stringify!($field)) => {
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
                    crate::config::read::not_among(reader, node.spot, &text, &[$($word),*]);
                }
                chosen
            }
        }
    };
}

pub(super) use {choice, record};

/// Says that a word is none of those known.
pub(super) fn not_among(reader: &Reader<'_>, spot: Spot, text: &str, known: &[&str]) {
    let list = known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let message = format!("`{}` must be one of {list}, not `{}`", reader.key(spot), shortened(text, 60));
    let help = nearest(text, known.iter().copied()).map(|word| format!("did you mean `{word}`?"));
    reader.error(spot, &message, help);
}
