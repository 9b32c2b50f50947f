//! The life of money: from what a provider reported to what is charged, and what is kept of it.

pub mod hold;
pub mod record;
pub mod settle;

pub use hold::{HoldContext, HoldEntry, Line};
pub use record::{AttemptRecord, RequestRecord};
pub use settle::{Settlement, Source, components, settle};
