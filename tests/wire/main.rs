//! The wire as a client can make it: raw bytes against a listener whose service writes down what reaches it.
//!
//! The modules are marked as tests so that the lints on `expect` and the like know them as such.

#[cfg(test)]
mod body;
#[cfg(test)]
mod cost;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod silence;
#[cfg(test)]
mod splits;
#[cfg(test)]
mod stopping;
#[cfg(test)]
mod table;
