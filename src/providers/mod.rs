//! Providers: a dialect a file. What each wants to hear, how each says what went wrong, and nothing about retries.

mod address;
pub mod continuation;
pub mod fault;
pub mod headroom;
pub mod kind;
pub mod request;
pub mod responses;
pub mod steering;

mod dashscope;
mod deepseek;
mod engines;
mod fireworks;
mod modelarts;
pub mod openrouter;
mod thinking;
mod together;

pub use address::is_link_local;
pub use continuation::Continuation;
pub use fault::{Class, Fault};
pub use kind::Kind;
