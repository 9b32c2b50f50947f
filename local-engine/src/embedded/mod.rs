//! A small model inside our own binary: llama.cpp behind an OpenAI-compatible server on a Unix socket.
//!
//! - `server` takes HTTP apart, `request` reads bodies with the help of `fields` and `message`, `calls` turns them into work, `answer` and `stream` write what comes back;
//! - `prompt` turns messages into text by the model file's own template, `tools` and `text` shape what comes out;
//! - `model` owns the weights, `engine` is the one thread that computes, `slot` a sequence in it, `queue` the door to it, `embeddings` the vectors beside it.
//!
//! The HTTP side never touches the llama context, and the engine thread never touches a socket.

mod answer;
mod calls;
mod embeddings;
mod engine;
mod error;
mod fields;
mod message;
mod model;
mod prompt;
mod queue;
mod request;
mod sampling;
mod server;
mod slot;
mod stream;
mod text;
mod tools;

pub(crate) use server::serve;
