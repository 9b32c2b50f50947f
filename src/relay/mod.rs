//! Bytes on to the caller, eyes open for usage: what was sent is what arrives, and its cost goes in beside it.

pub mod account;
pub mod body;
mod chunks;
pub mod ear;
pub mod faced;
pub mod kept;
pub mod meter;
pub mod native;
pub mod noted;
mod parts;
pub mod rescue;
mod seam;
#[cfg(test)]
mod tests;
mod told;
mod transcript;
pub mod whole;

pub use account::{Account, Ended};
pub use ear::Ear;
pub use parts::Bill;
pub use rescue::Rescue;
pub use told::RelayBody;
