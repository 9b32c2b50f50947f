//! The worker with the real model behind it, over its socket, as the gateway uses it.

mod chat;
mod embeddings;
mod limits;
mod shapes;
mod support;
