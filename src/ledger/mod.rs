//! The life of money: from what a provider reported to what is charged.

pub mod settle;

pub use settle::{Settlement, Source, components, settle};
