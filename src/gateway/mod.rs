//! The way of a request: from an accepted connection to the answer on the wire.
//!
//! `listener` accepts and hands over, `framing` decides what is one request and what is refused before anybody sees it,
//! `answer` is the way itself, a line a step; `failure` is the one map from what went wrong to a status.
//! `cors` answers browsers. `steering` has the names and wishes of a request meet the configuration. `decisions` keeps the last decisions for whoever
//! asks why.
//! `probes` asks routes that nothing was heard of, `fleet` shares what is known of them with other replicas; `tls` holds the certificate in force, `tasks` is the only place that
//! starts tasks, and `workers` are the threads that serve connections.

pub mod answer;
pub mod auth;
pub mod cors;
pub mod decisions;
pub mod failure;
pub mod fleet;
pub mod framing;
pub mod intake;
pub mod keyring;
pub mod listener;
pub mod live;
pub mod logins;
pub mod lookups;
pub mod models;
mod price_watch;
pub mod probes;
mod refused;
pub mod reply;
pub mod steering;
pub mod target;
pub mod tasks;
pub mod tls;
pub mod workers;

pub use live::{Gateway, Live};
