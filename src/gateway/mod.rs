//! The way of a request: from an accepted connection to the answer on the wire.
//!
//! `listener` accepts and hands over, `framing` decides what is one request and what is refused before anybody sees it,
//! `tls` holds the certificate in force, and `tasks` is the only place that starts tasks.

pub mod framing;
pub mod listener;
pub mod tasks;
pub mod tls;
