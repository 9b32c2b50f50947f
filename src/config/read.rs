//! Walks the parsed files against the types of the documents, and collects every fault on the way.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::ops::Deref;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::environment::Environment;
use super::excerpt::{excerpt, shortened};
use super::expand::{Unfilled, expand};
use super::mask::masked_text;
use super::node::{Node, Spot, Value};
use super::problem::{Place, Problem, Problems, Severity, nearest};

/// One file among those compiled together.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) name: Arc<str>,
    pub(crate) text: Arc<str>,
    pub(crate) root: Option<Node>,
}

/// The files, the world they may ask, and what is wrong with them so far.
pub(crate) struct Reader<'a> {
    pub(crate) files: &'a [File],
    pub(crate) environment: &'a dyn Environment,
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
pub(crate) trait Decode: Sized {
    /// The value; `None` once a fault has been reported.
    fn decode(node: &Node, reader: &Reader<'_>) -> Option<Self>;
}

impl<'a> Reader<'a> {
    pub(crate) fn new(files: &'a [File], environment: &'a dyn Environment) -> Self {
        Self { files, environment, problems: RefCell::default() }
    }

    /// What is wrong, in the order of files and lines.
    pub(crate) fn into_problems(self) -> Problems {
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
    pub(crate) fn error(&self, spot: Spot, message: &str, suggestion: Option<String>) {
        self.push(Severity::Error, Some(spot), message, suggestion);
    }

    /// An error or a remark, perhaps where no single place is to blame.
    pub(crate) fn push(
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
    pub(crate) fn text(&self, node: &Node) -> Option<String> {
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
    pub(crate) fn blank(&self, spot: Spot) {
        let message = format!("`{}` is blank", self.key(spot));
        self.error(spot, &message, Some("give it a value, or remove the key".to_owned()));
    }

    /// Goes through the entries of a map, of which only `known` are allowed; blank values are reported here.
    pub(crate) fn entries<'n>(
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
    pub(crate) fn missing(&self, spot: Spot, keys: &[&str], message: &str, suggestion: Option<String>) {
        if self.is_full() {
            return;
        }
        let typed = self.typed(spot);
        if !keys.iter().all(|key| typed.contains(key)) {
            self.error(spot, message, suggestion);
        }
    }

    /// The keys of the mapping at `spot`, as typed.
    pub(crate) fn typed(&self, spot: Spot) -> Vec<&str> {
        let root = self.files.get(usize::from(spot.file)).and_then(|file| file.root.as_ref());
        root.and_then(|root| mapping_at(root, spot)).unwrap_or_default()
    }

    /// The last key that leads to a place, with its index in a list (`regions[0]`).
    pub(crate) fn key(&self, spot: Spot) -> String {
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
