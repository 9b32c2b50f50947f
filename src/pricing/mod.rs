//! What a token costs, where, and when: a dated price book and the cards it yields. Pure.

pub mod card;

pub use card::{Charge, Condition, PriceCard, PriceEntry, Rates};
