//! What prompts have in common, as a tree: a prompt's prefix blocks are the way from the root to where it ends.
//!
//! A node is a stretch of tokens. Where a later prompt leaves an earlier one in the middle of a stretch, the stretch is
//! cut in two there, for every prompt that goes through it; so chains are exact and as short as exactness allows.

use super::{Link, Trace};

/// Where in the tree a prompt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End(u32);

#[derive(Debug, Clone, Copy)]
struct Node {
    /// The stretch before; the root is its own.
    parent: u32,
    /// Tokens from the prompt's start to this stretch's end.
    tokens_end: u32,
}

/// The prompts of one trace that may have a beginning in common.
#[derive(Debug, Clone)]
pub(super) struct Prefixes {
    nodes: Vec<Node>,
}

impl Prefixes {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node { parent: 0, tokens_end: 0 }] }
    }

    /// The empty prompt, with which everything begins.
    pub(super) const ROOT: End = End(0);

    fn node(&self, at: u32) -> Node {
        self.nodes.get(at as usize).copied().unwrap_or(Node { parent: 0, tokens_end: 0 })
    }

    fn add(&mut self, node: Node) -> u32 {
        // A trace has fewer than 2³² requests, and each adds at most two nodes to fewer than 2³¹ of them.
        let at = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.nodes.push(node);
        at
    }

    /// Adds a prompt of `tokens` whose first `shared` are those of the prompt that ends at `with`.
    pub(super) fn extend(&mut self, with: End, shared: u32, tokens: u32) -> End {
        let shared = shared.min(tokens).min(self.node(with.0).tokens_end);
        let fork = self.cut(with.0, shared);
        if tokens == shared {
            return End(fork);
        }
        End(self.add(Node { parent: fork, tokens_end: tokens }))
    }

    /// The node on the way to `from` that ends at `tokens`, made by a cut where there is none.
    fn cut(&mut self, from: u32, tokens: u32) -> u32 {
        let mut at = from;
        loop {
            let node = self.node(at);
            if node.tokens_end <= tokens {
                return at;
            }
            if self.node(node.parent).tokens_end < tokens {
                let front = self.add(Node { parent: node.parent, tokens_end: tokens });
                if let Some(rest) = self.nodes.get_mut(at as usize) {
                    rest.parent = front;
                }
                return front;
            }
            at = node.parent;
        }
    }

    /// Appends the blocks of the prompt that ends at `end` to `links`, shortest prefix first, and says how many those are.
    /// Only when all prompts are known: a later cut would part them further.
    pub(super) fn links_into(&self, end: End, block_offset: u32, links: &mut Vec<Link>) -> usize {
        let from = links.len();
        let mut at = end.0;
        while at != 0 {
            let node = self.node(at);
            // The root is no block.
            links.push(Link { block: block_offset + at - 1, tokens_end: node.tokens_end });
            at = node.parent;
        }
        if let Some(own) = links.get_mut(from..) {
            own.reverse();
        }
        links.len() - from
    }

    /// How many blocks there are.
    pub(super) fn blocks(&self) -> u32 {
        u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX)
    }
}

/// Tokens that two prompts of a trace have in common by their blocks.
pub fn shared_tokens(trace: &Trace, one: &super::Arrival, other: &super::Arrival) -> u32 {
    let pairs = trace.links_of(one).iter().zip(trace.links_of(other));
    pairs.take_while(|(a, b)| a == b).last().map_or(0, |(link, _)| link.tokens_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(prefixes: &Prefixes, end: End) -> Vec<(u32, u32)> {
        let mut links = Vec::new();
        prefixes.links_into(end, 0, &mut links);
        links.iter().map(|link| (link.block, link.tokens_end)).collect()
    }

    #[test]
    fn a_fork_inside_a_stretch_cuts_it_for_all() {
        let mut prefixes = Prefixes::new();
        let first = prefixes.extend(Prefixes::ROOT, 0, 100);
        assert_eq!(chain(&prefixes, first), [(0, 100)]);
        let second = prefixes.extend(first, 64, 120);
        assert_eq!(chain(&prefixes, first), [(1, 64), (0, 100)]);
        assert_eq!(chain(&prefixes, second), [(1, 64), (2, 120)]);
        // At a seam nothing is cut, and a prompt that is all prefix has nothing of its own.
        let third = prefixes.extend(second, 64, 64);
        assert_eq!(chain(&prefixes, third), [(1, 64)]);
        let fourth = prefixes.extend(second, 32, 33);
        assert_eq!(chain(&prefixes, fourth), [(3, 32), (4, 33)]);
        assert_eq!(chain(&prefixes, second), [(3, 32), (1, 64), (2, 120)]);
        assert_eq!(prefixes.blocks(), 5);
    }

    #[test]
    fn more_shared_than_there_is_means_all_there_is() {
        let mut prefixes = Prefixes::new();
        let first = prefixes.extend(Prefixes::ROOT, 50, 10);
        assert_eq!(chain(&prefixes, first), [(0, 10)]);
        let second = prefixes.extend(first, 90, 20);
        assert_eq!(chain(&prefixes, second), [(0, 10), (1, 20)]);
    }
}
