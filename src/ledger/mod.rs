//! The life of money: from the most that a request can cost to what a provider reported, what is charged for it, and what is
//! kept of that.

pub mod adjust;
pub mod ceiling;
pub mod closing;
pub mod hold;
pub mod record;
pub mod settle;

pub use adjust::{ADJUSTED, adjustment};
pub use ceiling::Bounds;
pub use closing::Closing;
pub use hold::{HoldContext, HoldEntry, Line};
pub use record::{AttemptRecord, RequestRecord};
pub use settle::{Settlement, Source, components, settle};
