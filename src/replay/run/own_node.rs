//! What only our own node does in a run: it reads one prompt after the other, and may restart.

use crate::replay::router::{Loss, Router};
use crate::replay::world::Fate;

use super::{Event, Run};

impl Run<'_, '_> {
    /// The node restarts: what it had is lost.
    pub(super) fn restart(&mut self, router: &mut dyn Router) {
        let lost = self.world.node.as_mut().map(crate::replay::world::Node::restart).unwrap_or_default();
        for ticket in lost {
            self.lose_at_node(router, ticket.place);
        }
    }

    /// One answer fewer is written there.
    pub(super) fn node_is_freer(&mut self) {
        if let Some(node) = self.world.node.as_mut() {
            node.active = node.active.saturating_sub(1);
        }
    }

    /// If it is free, it begins to read the next prompt.
    pub(super) fn read_next(&mut self) {
        if let Some(until) = self.world.node.as_mut().and_then(|node| node.next(self.now_us)) {
            self.push(until, Event::Read);
        }
    }

    pub(super) fn read(&mut self, router: &mut dyn Router) {
        let now = self.now_us;
        let trace = self.world.trace;
        let done = self
            .world
            .node
            .as_mut()
            .and_then(|node| node.done(now, |place| trace.arrivals[place].output_tokens));
        if let Some((place, end_us)) = done {
            match self.attempt_at_node(place) {
                Some(id) => {
                    if let Some(attempt) = self.attempts.get_mut(&id) {
                        attempt.fate = Fate::Answered { first_us: now, end_us };
                    }
                    self.came(router, id);
                }
                // It was taken back while its prompt was being read.
                None => self.node_is_freer(),
            }
        }
        self.read_next();
    }

    fn attempt_at_node(&self, place: usize) -> Option<u64> {
        let node = self.world.node_id()?;
        self.requests.get(place)?.ids.into_iter().find(|id| {
            let attempt = self.attempts.get(id);
            attempt.is_some_and(|attempt| attempt.route == node && attempt.first_us == 0)
        })
    }

    fn lose_at_node(&mut self, router: &mut dyn Router, place: usize) {
        if let Some(id) = self.attempt_at_node(place) {
            self.lose(router, id, Loss::Failed);
        }
    }
}
