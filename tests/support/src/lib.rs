//! Fake providers on loopback: scripted, faithful to the payload fixtures, with faults on demand; and a harness that
//! runs the real `tollway` binary against them.
//!
//! | part | for |
//! | --- | --- |
//! | [`FakeProvider`] | a real TCP server that records every request and answers by script |
//! | [`Reply`] | one answer: status, headers, body, pauses, and where and how it breaks |
//! | [`Dialect`] | chat, completions, embeddings, Responses and models as one provider speaks them |
//! | [`Prebuilt`] | the same answer to everybody, cheap enough to stand behind a benchmark |
//! | [`Gate`] | a condition the test opens; nothing here needs a sleep |
//! | [`Fixture`] | the payloads under `tests/fixtures/providers` |
//! | [`Gateway`], [`Config`] | the real binary with a configuration for such providers |
//! | [`Redis`], [`Postgres`] | a real Redis, a real PostgreSQL, which can be killed |
//! | [`alloc`] | an allocator that counts |
//! | [`Client`] | plain HTTP/1.1, chunk by chunk, which also says how an answer ended |
//! | [`Message`] | a stream of Anthropic's Messages put together, by the SDKs' rules |
//! | [`Price`], [`Usage`] | cost by hand, in whole pico-dollars |
//!
//! Fakes run on a thread of their own, so a test may turn its own clock or block without stopping them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test tool: what cannot go on should stop the test, with the place in the report"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "fakes live in real time, on their own runtime, outside the gateway's tasks"
)]

pub mod alloc;
mod cable;
mod client;
mod config;
mod connection;
mod deaf;
mod dialect;
mod fixture;
mod gate;
mod gateway;
mod message;
mod metrics;
mod postgres;
mod prebuilt;
mod price;
mod process;
mod provider;
mod redis;
mod reply;
mod send;
mod sse;
mod wire;

pub use cable::Cable;
pub use client::{Client, End, Request, Response};
pub use config::{Config, Model, Provider};
pub use connection::{Received, Recorded, received};
pub use deaf::BlackHole;
pub use dialect::{Dialect, Kind};
pub use fixture::Fixture;
pub use gate::{Gate, Pause};
pub use gateway::Gateway;
pub use message::Message;
pub use metrics::Metrics;
pub use postgres::Postgres;
pub use prebuilt::Prebuilt;
pub use price::{Price, Usage};
pub use process::Footprint;
pub use provider::{FakeProvider, Greeting};
pub use redis::Redis;
pub use reply::{Break, Reply};
pub use send::Ending;
pub use sse::{Event, data_ends, events};
pub use wire::Headers;
