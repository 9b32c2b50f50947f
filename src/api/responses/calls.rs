//! Calls of tools, put together from the pieces in which a chat stream brings them.
//!
//! A piece says which call it belongs to by `index`; the first brings `id` and name. Some servers give every call the index
//! 0, some no index at all, and Together repeats null for id and name: so a piece begins another call if its index is
//! another, or if it brings another id and a name. One call is told at a time; pieces of a later one wait until the
//! arguments of the earlier are a whole JSON text, or until nothing more comes.

use std::collections::VecDeque;

use serde::de::IgnoredAny;

use crate::api::chat::answer::ToolCall;
use crate::api::face::Untold;

/// Nobody can be told of it any more, and it must not get lost.
const LATE: Untold = Untold("it went on with a tool call that was over");

/// The calls that are not over yet, the one that is told first.
#[derive(Debug, Default)]
pub(super) struct Calls {
    live: VecDeque<Pending>,
    /// Calls with a lower index than this have been ended.
    over: u64,
}

/// A call that is being written.
#[derive(Debug, Default)]
pub(super) struct Pending {
    index: u64,
    id: String,
    /// Empty until it is known; the call is announced with it.
    pub(super) name: String,
    pub(super) arguments: String,
    /// Whether the caller has been told of it.
    pub(super) announced: bool,
}

impl Calls {
    pub(super) fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// The call that is told now.
    pub(super) fn first(&mut self) -> Option<&mut Pending> {
        self.live.front_mut()
    }

    /// Whether it is whole, and another waits.
    pub(super) fn has_next(&self) -> bool {
        self.live.len() > 1 && self.live.front().is_some_and(Pending::is_whole)
    }

    /// How many wait behind it.
    pub(super) fn waiting(&self) -> usize {
        self.live.len().saturating_sub(1)
    }

    /// Ends the call that is told.
    pub(super) fn end_first(&mut self) -> Option<Pending> {
        let ended = self.live.pop_front()?;
        self.over = self.over.max(ended.index.saturating_add(1));
        Some(ended)
    }

    /// Takes a piece of a call; whether it belongs to the one that is told.
    pub(super) fn take(&mut self, piece: &ToolCall<'_>, index: u64) -> Result<bool, Untold> {
        let named = piece.name().some().is_some();
        let known = self.live.iter().rposition(|call| call.index == index);
        let at = match known.filter(|&at| !(named && self.live[at].has_other_id(piece))) {
            Some(at) => at,
            None if known.is_none() && !named && index < self.over => return Err(LATE),
            None => {
                self.live.push_back(Pending { index, ..Pending::default() });
                self.live.len() - 1
            }
        };
        self.live[at].learn(piece);
        Ok(at == 0)
    }
}

impl Pending {
    fn has_other_id(&self, piece: &ToolCall<'_>) -> bool {
        piece.id.some().is_some_and(|id| !self.id.is_empty() && *id != *self.id)
    }

    fn learn(&mut self, piece: &ToolCall<'_>) {
        if self.name.is_empty() {
            self.name = piece.name().text().unwrap_or_default().into_owned();
        }
        if self.id.is_empty() {
            self.id = piece.id.text().unwrap_or_default().into_owned();
        }
        self.arguments.push_str(&piece.arguments());
    }

    fn is_whole(&self) -> bool {
        self.arguments.ends_with('}') && serde_json::from_str::<IgnoredAny>(&self.arguments).is_ok()
    }

    /// The id by which its result will name it; `own` where the provider gave none.
    pub(super) fn id_or(&self, own: impl FnOnce() -> String) -> String {
        if self.id.is_empty() { own() } else { self.id.clone() }
    }
}
