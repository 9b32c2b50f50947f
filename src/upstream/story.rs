//! What has happened to a request so far, and what is told where nobody is left to ask.

use std::sync::Arc;

use crate::providers::fault::Class;
use crate::routing::RouteId;

use super::attempt::Failed;
use super::error::{Error, Reason};
use super::fallback::Errand;

/// What has happened so far.
#[derive(Default)]
pub(super) struct Story {
    pub(super) failures: Vec<Reason>,
    /// Routes with no more room than this have no room for the prompt.
    pub(super) context_wanted: u64,
    /// Whether a second attempt was wanted and not paid for: told once.
    pub(super) hedge_refused: bool,
    /// How many routes were asked only because nobody else was left.
    pub(super) gambles: usize,
    /// What one route holds against the request itself, while another is still at it.
    pub(super) refused: Option<Box<Reason>>,
}

impl Story {
    /// Nobody is left to ask.
    pub(super) fn over(self) -> Error {
        if self.gambles > 0 && self.failures.len() == self.gambles {
            Error::Down(self.failures)
        } else {
            Error::Exhausted(self.failures)
        }
    }

    /// An attempt failed.
    pub(super) fn failed(&mut self, errand: &Errand<'_>, id: RouteId, failed: Failed) {
        let Some(route) = errand.routes.get(usize::from(id.0)) else { return };
        let class = failed.fault.class;
        let reason = Reason { route: Arc::clone(&route.name), fault: failed.fault, answer: failed.answer };
        // What goes on with an answer was found good once: a refusal is of the way in which this route goes on.
        if !class.elsewhere() && errand.broken.is_none() {
            // No other route would differ.
            self.refused = Some(Box::new(reason));
            return;
        }
        if class == Class::ContextOverflow {
            self.context_wanted = self.context_wanted.max(route.context_tokens.unwrap_or(0));
        }
        self.failures.push(reason);
    }
}
