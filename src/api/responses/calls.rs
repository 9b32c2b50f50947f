//! Calls of tools, put together from the pieces in which a chat stream brings them.
//!
//! A piece says which call it belongs to by `index`; the first brings `id` and name. Some servers give every call the index
//! 0, some no index at all, and Together repeats null for id and name: so a piece begins another call if its index is
//! another, or if it brings another id and a name.

use super::chat;

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

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// More of the call that is being written.
    Same,
    /// The beginning of another.
    Another,
    /// More of a call that is over: nobody can be told of it any more.
    Late,
}

impl Pending {
    /// The call that begins with `piece`, at `index`.
    pub(super) fn begun(piece: &chat::Call<'_>, index: u64) -> Self {
        let id = piece.id().unwrap_or_default().into_owned();
        Self { index, id, ..Self::default() }
    }

    /// Takes a name and an id that were missing.
    pub(super) fn learn(&mut self, piece: &chat::Call<'_>) {
        if self.name.is_empty() {
            self.name = piece.name().unwrap_or_default().into_owned();
        }
        if self.id.is_empty() {
            self.id = piece.id().unwrap_or_default().into_owned();
        }
    }

    /// The lowest index that comes after this call.
    pub(super) const fn over_below(&self) -> u64 {
        self.index.saturating_add(1)
    }

    /// The id by which its result will name it; `own` where the provider gave none.
    pub(super) fn id_or(&self, own: impl FnOnce() -> String) -> String {
        if self.id.is_empty() { own() } else { self.id.clone() }
    }
}

/// What `piece`, at `index`, is to `open`; calls below `over` have been ended.
pub(super) fn judge(piece: &chat::Call<'_>, index: u64, open: Option<&Pending>, over: u64) -> Piece {
    let named = piece.name().is_some();
    match open {
        Some(open) if open.index == index => {
            let other_id = piece.id().is_some_and(|id| !open.id.is_empty() && *id != *open.id);
            if other_id && named { Piece::Another } else { Piece::Same }
        }
        _ if named || index >= over => Piece::Another,
        _ => Piece::Late,
    }
}
