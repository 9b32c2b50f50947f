//! Bytes on to the caller, eyes open for usage: what was sent is what arrives, and its cost goes in beside it.

pub mod account;
pub mod body;
pub mod faced;
pub mod meter;
pub mod whole;

pub use account::{Account, Ended};
pub use body::RelayBody;
