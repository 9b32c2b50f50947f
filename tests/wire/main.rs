//! The wire as a client can make it: raw bytes against a listener whose service writes down what reaches it.

mod body;
mod cost;
mod peer;
mod refused;
mod serving;
mod silence;
mod splits;
mod stopping;
mod table;
