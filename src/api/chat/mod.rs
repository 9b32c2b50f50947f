//! Chat completions as the other faces speak them: what a face asks in, and what it reads of the answer. Pure.
//!
//! Here is what is the same for every face; how a face reads its own API, and in which order it writes a message's members,
//! stays with it.

pub(super) mod answer;
pub(super) mod ask;
