//! This machine's hardware as one more route: the engine, its worker process and its supervisor.
//!
//! - [`worker_main`] is the whole worker process: an OpenAI-compatible server on a Unix socket with a real model behind it.
//! - [`Supervisor`] starts that process, watches it, restarts it and ends it.
//! - [`hardware`] says what this machine has.
//!
//! The worker is a process of its own so that a crash, an illegal instruction or a busy CPU there never touches
//! the gateway, and it speaks HTTP so that the gateway treats it as it treats every other upstream.

mod clock;
#[cfg(feature = "llama")]
mod embedded;
pub mod hardware;
mod settings;
mod supervisor;
mod worker;

pub use settings::{EngineSettings, MODEL_FILE, MODEL_NAME};
pub use supervisor::{EngineState, EngineStatus, Supervisor};
pub use worker::worker_main;

/// Whether this build has the embedded engine (feature `llama`).
pub const AVAILABLE: bool = cfg!(feature = "llama");
