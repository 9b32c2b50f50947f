//! Puts requests together into a trace: names become numbers, and arrivals are brought into order of time.

use std::collections::HashMap;

use super::{Arrival, Link, Trace};

/// Tags of one request, in the order of their names.
type TagSet = Vec<(Box<str>, Box<str>)>;

/// One request on its way into a trace.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Request {
    pub(super) at_us: u64,
    pub(super) prompt_tokens: u32,
    pub(super) output_tokens: u32,
    pub(super) output_tokens_max: u32,
    pub(super) key: u32,
    pub(super) tags: u32,
    pub(super) model: u16,
}

/// A trace that grows.
#[derive(Debug)]
pub(super) struct Builder {
    trace: Trace,
    keys: HashMap<Box<str>, u32>,
    models: HashMap<Box<str>, u16>,
    tags: HashMap<TagSet, u32>,
    blocks: HashMap<u64, u32>,
}

impl Builder {
    pub(super) fn new(name: &str) -> Self {
        let trace = Trace { name: name.to_owned(), tags: vec![Vec::new()], ..Trace::default() };
        let tags = HashMap::from([(Vec::new(), 0)]);
        Self { trace, keys: HashMap::new(), models: HashMap::new(), tags, blocks: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.trace.arrivals.len()
    }

    pub(super) fn key(&mut self, name: &str) -> u32 {
        if let Some(known) = self.keys.get(name) {
            return *known;
        }
        let number = u32::try_from(self.trace.keys.len()).unwrap_or(u32::MAX);
        self.trace.keys.push(name.into());
        self.keys.insert(name.into(), number);
        number
    }

    /// Models beyond the number that an arrival can hold share the last one.
    pub(super) fn model(&mut self, name: &str) -> u16 {
        if let Some(known) = self.models.get(name) {
            return *known;
        }
        let number = u16::try_from(self.trace.models.len()).unwrap_or(u16::MAX);
        if number < u16::MAX {
            self.trace.models.push(name.into());
            self.models.insert(name.into(), number);
        }
        number
    }

    pub(super) fn tags(&mut self, mut tags: TagSet) -> u32 {
        tags.sort();
        if let Some(known) = self.tags.get(&tags) {
            return *known;
        }
        let number = u32::try_from(self.trace.tags.len()).unwrap_or(u32::MAX);
        self.trace.tags.push(tags.clone());
        self.tags.insert(tags, number);
        number
    }

    /// The dense number of a block that a file calls `id`.
    pub(super) fn block(&mut self, id: u64) -> u32 {
        let next = u32::try_from(self.blocks.len()).unwrap_or(u32::MAX);
        let block = *self.blocks.entry(id).or_insert(next);
        self.trace.blocks = self.trace.blocks.max(block.saturating_add(1));
        block
    }

    /// Says how many blocks there are, where they do not go through `block`.
    pub(super) fn blocks(&mut self, blocks: u32) {
        self.trace.blocks = blocks;
    }

    /// Adds a request; `links_into` appends its prefix blocks, shortest prefix first.
    pub(super) fn push(&mut self, request: Request, links_into: impl FnOnce(&mut Vec<Link>)) {
        let from = self.trace.links.len();
        links_into(&mut self.trace.links);
        // What an arrival cannot number is left out of its prefix: the longest blocks, which are worth least.
        let count = self.trace.links.len() - from;
        let links = u16::try_from(count).unwrap_or(u16::MAX);
        self.trace.links.truncate(from + usize::from(links));
        self.trace.arrivals.push(Arrival {
            at_us: request.at_us,
            prompt_tokens: request.prompt_tokens.max(1),
            output_tokens: request.output_tokens.max(1),
            output_tokens_max: request.output_tokens_max,
            key: request.key,
            tags: request.tags,
            model: request.model,
            links_from: u32::try_from(from).unwrap_or(u32::MAX),
            links,
        });
    }

    /// When each request comes, to be moved.
    pub(super) fn times(&mut self) -> impl Iterator<Item = &mut u64> {
        self.trace.arrivals.iter_mut().map(|arrival| &mut arrival.at_us)
    }

    /// The trace, by time; requests of one time stay in the order in which they were added.
    pub(super) fn finish(mut self) -> Trace {
        if self.trace.keys.is_empty() {
            self.trace.keys.push("default".into());
        }
        if self.trace.models.is_empty() {
            self.trace.models.push("default".into());
        }
        if self.trace.arrivals.is_sorted_by_key(|arrival| arrival.at_us) {
            return self.trace;
        }
        let unordered = std::mem::take(&mut self.trace.links);
        self.trace.arrivals.sort_by_key(|arrival| arrival.at_us);
        let mut links = Vec::with_capacity(unordered.len());
        for arrival in &mut self.trace.arrivals {
            let from = arrival.links_from as usize;
            arrival.links_from = u32::try_from(links.len()).unwrap_or(u32::MAX);
            links.extend_from_slice(
                unordered.get(from..from + usize::from(arrival.links)).unwrap_or_default(),
            );
        }
        self.trace.links = links;
        self.trace
    }
}
