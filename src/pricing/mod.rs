//! What a token costs, where, and when: a dated price book, the cards it yields, and what was fetched since. Pure.

pub mod age;
pub mod book;
pub mod card;
pub mod condition;
pub mod published;
pub mod sync;
mod words;

pub use age::moment;
pub use book::{Book, BookRow};
pub use card::{Charge, PriceCard, PriceEntry, Rates, Version, stated_cost};
pub use condition::Condition;
