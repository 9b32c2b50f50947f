//! YAML as a tree that knows where each of its nodes stands, built within fixed bounds.
//!
//! A tree of our own, because a reader into typed values stops at its first fault and a person wants to hear of all of
//! them at once. Types are left to whoever asks: a scalar is its text, so that a price keeps every digit and a region
//! `no` is not a truth value.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Span};

/// Most nodes in a file, aliases counted with all they stand for.
pub const NODES_MAX: usize = 20_000;
/// Most keys in one mapping.
pub const KEYS_MAX: usize = 2_000;
/// Deepest nesting.
pub const DEPTH_MAX: usize = 32;

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spot {
    /// Which file, by its index among those compiled together.
    pub file: u16,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// How many characters of that line it takes.
    pub length: u32,
}

/// A node and where it stands.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where.
    pub spot: Spot,
    /// What.
    pub value: Value,
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum Value {
    /// A text, quoted or not.
    Scalar {
        /// After YAML's own escapes.
        text: String,
        /// Whether it stood without quotes, so that nothing, `null` and `~` mean that there is no value.
        plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// Keys and values, in the order of the file.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Debug, Clone)]
pub struct Key {
    /// Where.
    pub spot: Spot,
    /// Its text.
    pub text: String,
}

impl Node {
    /// Whether there is no value here.
    pub fn is_blank(&self) -> bool {
        match &self.value {
            Value::Scalar { text, plain } => {
                text.trim().is_empty() || (*plain && matches!(text.as_str(), "~" | "null" | "Null" | "NULL"))
            }
            Value::List(_) | Value::Map(_) => false,
        }
    }

    /// What it is, in words.
    pub fn sort(&self) -> &'static str {
        match &self.value {
            Value::Scalar { .. } if self.is_blank() => "blank",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// Why a text is no tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub spot: Spot,
    /// What is wrong.
    pub message: String,
}

/// The tree of a YAML text and what is wrong with it short of its syntax (keys written twice); `None` for one that holds
/// nothing but comments.
pub fn parse(text: &str, file: u16) -> Result<(Option<Node>, Vec<Fault>), Fault> {
    let options = granit_parser::options! {
        emit_comments: false,
        disallow_directives: true,
        flow_nesting_limit: DEPTH_MAX as _,
        block_nesting_limit: DEPTH_MAX as _,
    };
    let mut builder = Builder { file, ..Builder::default() };
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| {
            let mark = error.marker();
            Fault {
                spot: spot_of(file, mark.line(), mark.col(), 1),
                message: format!("this is not YAML: {}", error.kind()),
            }
        })?;
        builder.take(event, span)?;
    }
    Ok((builder.root, builder.faults))
}

#[derive(Default)]
struct Builder {
    file: u16,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    nodes: usize,
    /// Finished nodes with an anchor, by its id.
    anchors: HashMap<usize, Node>,
    faults: Vec<Fault>,
}

/// A list or map whose end has not come yet.
struct Open {
    spot: Spot,
    anchor: usize,
    shape: Shape,
}

enum Shape {
    List(Vec<Node>),
    Map(Vec<(Key, Node)>, Option<Key>),
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let spot = spot_of(self.file, span.start.line(), span.start.col(), width(span));
        if event.tag().is_some() {
            let start = span.tag_start.unwrap_or(span.start);
            let spot = spot_of(self.file, start.line(), start.col(), 1);
            return Err(Fault { spot, message: "tags (`!…`) are not read here: leave it out".to_owned() });
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let message =
                        "a second document (`---`) in one file: put it into a file of its own".to_owned();
                    return Err(Fault { spot, message });
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, _) => {
                let value = Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                self.finish(Node { spot, value }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(spot, anchor, Shape::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => self.begin(spot, anchor, Shape::Map(Vec::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(id) => {
                let Some(target) = self.anchors.get(&id) else {
                    let message = "an alias to something that contains it has no end".to_owned();
                    return Err(Fault { spot, message });
                };
                let copy = Node { spot, value: target.value.clone() };
                self.count(size(&copy), spot)?;
                self.finish(copy, 0)
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, spot: Spot, anchor: usize, shape: Shape) -> Result<(), Fault> {
        if self.open.len() >= DEPTH_MAX {
            return Err(Fault { spot, message: format!("nested deeper than {DEPTH_MAX} levels") });
        }
        if let Some(Open { shape: Shape::Map(_, None), .. }) = self.open.last() {
            return Err(Fault {
                spot,
                message: "a key must be a plain word, not a list or a mapping".to_owned(),
            });
        }
        self.open.push(Open { spot, anchor, shape });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Some(Open { spot, anchor, shape }) = self.open.pop() else { return Ok(()) };
        let value = match shape {
            Shape::List(items) => Value::List(items),
            Shape::Map(entries, _) => Value::Map(entries),
        };
        self.finish(Node { spot, value }, anchor)
    }

    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.count(1, node.spot)?;
        if anchor > 0 {
            // Copies are bounded like everything else: an anchor inside an anchor is kept twice.
            self.count(size(&node), node.spot)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open { shape: Shape::List(items), .. }) => items.push(node),
            Some(Open { shape: Shape::Map(entries, waiting), .. }) => match waiting.take() {
                Some(key) => {
                    if let Some((first, _)) = entries.iter().find(|(known, _)| known.text == key.text) {
                        self.faults.push(Fault {
                            spot: key.spot,
                            message: format!(
                                "`{}` stands here twice; first in line {}",
                                key.text, first.spot.line
                            ),
                        });
                    } else if entries.len() == KEYS_MAX {
                        let message = format!("more than {KEYS_MAX} keys in one mapping");
                        return Err(Fault { spot: key.spot, message });
                    } else {
                        entries.push((key, node));
                    }
                }
                None => match node.value {
                    Value::Scalar { text, .. } => *waiting = Some(Key { spot: node.spot, text }),
                    Value::List(_) | Value::Map(_) => {
                        let message = "a key must be a plain word, not a list or a mapping".to_owned();
                        return Err(Fault { spot: node.spot, message });
                    }
                },
            },
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, spot: Spot) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            let message = format!("more than {NODES_MAX} values in one file, aliases counted in full");
            return Err(Fault { spot, message });
        }
        Ok(())
    }
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::Scalar { .. } => 1,
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|(_, node)| 1 + size(node)).sum::<usize>(),
    }
}

fn width(span: Span) -> usize {
    if span.end.line() == span.start.line() {
        span.end.col().saturating_sub(span.start.col()).max(1)
    } else {
        1
    }
}

fn spot_of(file: u16, line: usize, column: usize, length: usize) -> Spot {
    let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Spot { file, line: short(line).max(1), column: short(column.saturating_add(1)), length: short(length) }
}
