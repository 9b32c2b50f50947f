//! `POST /v1/responses` (OpenAI's Responses API) as a face on chat completions: its requests become chat requests, and what
//! a chat answers becomes its objects and events. Pure: ids and the time are arguments.
//!
//! [`translate`] gives the chat body and the [`Face`] that its answer wears; a [`Writer`] turns a chat stream's events into
//! Responses events, and [`Face::whole`] a chat answer into a Response object. Where a provider speaks this API itself, its
//! caller's own request ([`Native`]) goes there, and what comes back is read ([`heard`]) and not written anew.

mod answer;
mod calls;
mod content;
mod draft;
mod emit;
mod face;
pub mod heard;
mod input;
mod json;
mod native;
mod refusal;
mod request;
mod tools;
mod whole;
mod writer;

pub use face::Face;
pub use native::{Head, Native, broken_off, usage};
pub use request::translate;
pub use writer::Writer;

#[cfg(test)]
mod tests;
