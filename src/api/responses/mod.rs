//! `POST /v1/responses` (OpenAI's Responses API) as a face on chat completions: its requests become chat requests, and what
//! a chat answers becomes its objects and events. Pure: ids and the time are arguments.
//!
//! [`translate`] gives the chat body and the [`Face`] that its answer wears; a [`Writer`] turns a chat stream's events into
//! Responses events, and [`Face::whole`] a chat answer into a Response object.

mod answer;
mod calls;
mod content;
mod draft;
mod emit;
mod face;
mod input;
mod json;
mod refusal;
mod request;
mod tools;
mod whole;
mod writer;

pub use face::Face;
pub use request::translate;
pub use writer::Writer;

#[cfg(test)]
mod tests;
