//! The OpenAI-shaped face: what a body, an event stream and an error look like. Bytes in, spans out; nothing is re-serialised.

pub mod assembly;
pub mod body;
pub mod canon;
mod chat;
pub mod chunk;
pub mod continued;
pub mod envelope;
pub mod face;
pub mod messages;
pub mod prefix;
pub mod responses;
pub mod scan;
pub mod splice;
pub mod sse;
pub mod tokens;
pub mod usage;
pub mod wishes;
