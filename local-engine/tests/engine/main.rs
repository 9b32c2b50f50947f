//! The worker with the real model behind it, over its socket, as the gateway uses it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod chat;
mod embeddings;
mod limits;
mod shapes;
mod support;
