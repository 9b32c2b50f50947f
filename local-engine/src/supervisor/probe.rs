//! Asks the worker how it is, over its socket.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use tokio::net::UnixStream;

use super::EngineStatus;

/// The most of an answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A worker's own figures.
#[derive(Debug, Deserialize)]
pub(super) struct Figures {
    pub(super) running: u32,
    pub(super) queued: u32,
    pub(super) steps_total: u64,
    context_tokens: u32,
    kv_tokens: u32,
    tokens_per_second: u64,
}

impl Figures {
    pub(super) fn put_into(&self, status: &mut EngineStatus) {
        status.running = self.running;
        status.queued = self.queued;
        status.context_tokens = self.context_tokens;
        status.kv_tokens = self.kv_tokens;
        status.tokens_per_second = self.tokens_per_second;
    }
}

/// A way to ask. Every question is a connection of its own, because a kept one says nothing about new ones.
pub(super) struct Probe {
    socket: PathBuf,
    one_token: String,
}

impl Probe {
    pub(super) fn new(socket: &Path, model: &str) -> Self {
        let one_token = json!({"model": model, "prompt": "1", "max_tokens": 1, "temperature": 0}).to_string();
        Self { socket: socket.to_owned(), one_token }
    }

    pub(super) async fn healthy(&self) -> bool {
        self.ask(Method::GET, "/health", String::new()).await.is_some()
    }

    pub(super) async fn status(&self) -> Option<Figures> {
        let answer = self.ask(Method::GET, "/status", String::new()).await?;
        serde_json::from_slice(&answer).ok()
    }

    /// Whether a real token comes out. A full queue is an answer too: then there is work, and progress is watched instead.
    pub(super) async fn one_token(&self) -> bool {
        self.ask(Method::POST, "/v1/completions", self.one_token.clone()).await.is_some()
    }

    /// The body of any answer below 500. Dropping this closes the connection, which cancels the work.
    async fn ask(&self, method: Method, path: &str, body: String) -> Option<Bytes> {
        let stream = UnixStream::connect(&self.socket).await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "engine")
            .body(Full::new(Bytes::from(body)))
            .ok()?;
        let asking = async {
            let answer = sender.send_request(request).await.ok()?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.ok()?;
            (status.as_u16() < 500).then(|| body.to_bytes())
        };
        // The connection only moves while somebody polls it, and nobody else does.
        tokio::pin!(asking);
        tokio::select! {
            answer = &mut asking => answer,
            _ = connection => asking.await,
        }
    }
}
