//! What a token costs, where, and when: a dated price book and the cards it yields. Pure.

pub mod book;
pub mod card;
mod words;

pub use book::{Book, BookRow};
pub use card::{Charge, Condition, PriceCard, PriceEntry, Rates, stated_cost};
