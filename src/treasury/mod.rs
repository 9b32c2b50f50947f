//! Who may spend: a hold before a request's first attempt, and what was charged in its place at the end, exactly once.
//!
//! A request without a purse spends nothing. A purse that is dropped open charges its whole hold: what nobody accounted for was
//! spent, as far as anybody knows.

mod purse;

pub use purse::{Closing, Purse, Settling};
