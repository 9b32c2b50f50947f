//! What outlives a request: the ledger on this machine (`ledger`), the database that a fleet's records are sent to (`postgres`), kept answers (`answers`), and what several replicas hold in
//! common, in a Redis of the operator's: budgets and limits (`bank`), and what each knows of its routes.
//!
//! `redis` is the connection of the latter, `word` what is written there. Nothing of these two is on a request's path: one task of `gateway` speaks
//! with it, and routing goes on from local evidence when it fails.
//!
//! All words of a fleet are fields of one hash, a field a replica, and each replica reads the whole hash a few times a second
//! in the round trip in which it writes its own field. A channel (pub/sub) would be quicker by a fraction of a second, but it
//! needs a second connection, forgets whoever joins late, and loses what is said while it is down; here each reading is the
//! whole truth. Two replicas' clocks are never compared: every time is how much is left or how long ago.

pub mod answers;
pub mod bank;
mod dial;
pub mod keys;
pub mod ledger;
pub mod postgres;
mod redis;
pub mod word;

pub use keys::KeyStore;
pub use redis::{Error, Replicas, Shared};
pub use word::{Message, Word};
