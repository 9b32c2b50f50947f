//! What others see of the engine: the admin page, the command line, the router.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::EngineSettings;

/// Where the engine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineState {
    /// The worker is loading the model.
    Starting,
    /// It takes requests.
    Ready,
    /// It ended, and is started again after a pause.
    BackingOff,
    /// It cannot run until somebody helps; the reason says how.
    Failed,
    /// It was stopped, or was never wanted.
    Off,
}

/// The engine at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineStatus {
    /// Where it stands.
    pub state: EngineState,
    /// Why it is not ready, in words, with the worker's last ones.
    pub reason: Option<String>,
    /// The worker's process.
    pub pid: Option<u32>,
    /// Starts after the first.
    pub restarts: u64,
    /// The name the model is served under.
    pub model: String,
    /// The model's file.
    pub model_file: PathBuf,
    /// Where the worker listens.
    pub socket: PathBuf,
    /// Tokens of context, shared by all sequences.
    pub context_tokens: u32,
    /// Sequences decoded together.
    pub parallel: u16,
    /// Requests that may wait.
    pub queue_requests_max: u16,
    /// Requests being computed.
    pub running: u32,
    /// Requests that wait.
    pub queued: u32,
    /// Tokens in the key-value cache.
    pub kv_tokens: u32,
    /// Tokens a second over the last steps, all sequences together.
    pub tokens_per_second: u64,
    /// From the start of the process until it took requests, in milliseconds.
    pub start_ms: Option<u64>,
}

impl EngineStatus {
    /// An engine that nobody wants, or that this build does not have.
    pub fn off(reason: &str) -> Self {
        Self {
            state: EngineState::Off,
            reason: Some(reason.to_owned()),
            pid: None,
            restarts: 0,
            model: String::new(),
            model_file: PathBuf::new(),
            socket: PathBuf::new(),
            context_tokens: 0,
            parallel: 0,
            queue_requests_max: 0,
            running: 0,
            queued: 0,
            kv_tokens: 0,
            tokens_per_second: 0,
            start_ms: None,
        }
    }

    pub(super) fn new(settings: &EngineSettings, socket: &Path) -> Self {
        Self {
            state: EngineState::Starting,
            reason: None,
            model: settings.model_name.clone(),
            model_file: settings.model.clone(),
            socket: socket.to_owned(),
            context_tokens: settings.context_tokens,
            parallel: settings.parallel,
            queue_requests_max: settings.queue_requests_max,
            ..Self::off("")
        }
    }

    pub(super) fn start(&mut self) {
        self.state = EngineState::Starting;
    }

    pub(super) fn become_ready(&mut self, took: Duration) {
        self.state = EngineState::Ready;
        self.reason = None;
        self.start_ms = u64::try_from(took.as_millis()).ok();
    }

    pub(super) fn fail(&mut self, state: EngineState, reason: String) {
        self.state = state;
        self.reason = Some(reason);
        self.pid = None;
        self.running = 0;
        self.queued = 0;
        self.kv_tokens = 0;
    }
}
