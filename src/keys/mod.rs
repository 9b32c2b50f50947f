//! Virtual keys: made by `tollway keys create` or `POST /admin/v1/keys`, shown once, kept as hashes, and taken away within a
//! second. Pure: random bits, time and what is stored arrive as arguments; `store::keys` keeps them, `gateway::keyring` has
//! the table that requests are looked up in.
//!
//! `ask` is what somebody wants, `record` what is kept, `key` what a request may, `table` all keys in force.

pub mod ask;
pub mod key;
pub mod record;
pub mod secret;
pub mod table;
pub mod usage;

pub use ask::{Ask, Fault, Overlap};
pub use key::Key;
pub use record::{Allowance, Made, Record, Shown, State, Stored};
pub use secret::{Bytes32, KeyText, Pepper};
pub use table::{Found, Table};
pub use usage::Usage;
