//! The worker's HTTP side: a Unix socket, a handful of paths, and the way of a request to the engine thread and back.

use std::{
    convert::Infallible,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::{
    net::{UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
    sync::{Semaphore, oneshot, watch},
    task::spawn_blocking,
};
use tokio_util::task::TaskTracker;

use super::{
    answer::Answer, calls, engine::Engine, error::ApiError, model, model::Model, queue::Queue,
    stream::EventStream,
};
use crate::{clock, settings::WorkerSettings};

/// The most of a body that is read.
const BODY_BYTES_MAX: usize = 4 << 20;

/// Connections open at a time; the gateway needs one for each request in flight.
const CONNECTIONS_MAX: usize = 512;

/// Why the worker ends before it was told to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Model(#[from] model::Error),
    #[error("there is not enough memory for a context of {0} tokens ({1}); set a smaller one")]
    Context(u32, String),
    #[error("cannot listen on {0}: {1}")]
    Listen(String, std::io::Error),
    #[error("cannot start: {0}")]
    Start(std::io::Error),
    #[error("the engine thread ended unexpectedly")]
    EngineEnded,
}

/// What every request can reach.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) model: Arc<Model>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) answer_tokens_default: u32,
    settings: WorkerSettings,
}

type Answered = Response<BoxBody<Bytes, Infallible>>;

/// Loads the model, listens, and serves until SIGTERM or SIGINT; then lets running answers end within the grace.
pub(crate) async fn serve(settings: WorkerSettings) -> Result<(), Error> {
    let (path, name, context) =
        (settings.model.clone(), settings.model_name.clone(), settings.context_tokens);
    let loading = spawn_blocking(move || Model::load(&path, name, context));
    let model = Arc::new(loading.await.map_err(|_| Error::EngineEnded)??);
    let queue = Arc::new(Queue::new(settings.parallel, settings.queue_requests_max));
    let mut engine = start_engine(&model, &queue, &settings).await?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Start)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Start)?;
    let listener = listen(&settings.socket)?;
    tracing::info!(model = %model.name, load_ms = model.load_time.as_millis(), threads = settings.threads, "ready");

    let service =
        Arc::new(Service { model, queue, answer_tokens_default: settings.answer_tokens_default, settings });
    let (stop, stopped) = watch::channel(());
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A failed accept is one caller's trouble, and a caller past the limit is told by the closed connection.
                if let (Ok((stream, _)), Ok(place)) = (accepted, Arc::clone(&places).try_acquire_owned()) {
                    let (service, stopped) = (Arc::clone(&service), stopped.clone());
                    connections.spawn(async move {
                        connection(stream, service, stopped).await;
                        drop(place);
                    });
                }
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = &mut engine => return Err(Error::EngineEnded),
        }
    }
    drop(listener);
    service.queue.close();
    stop.send_replace(());
    connections.close();
    // Past the grace, the process ends all the same.
    let _ = tokio::time::timeout(service.settings.grace, connections.wait()).await;
    let _ = tokio::time::timeout(Duration::from_secs(2), engine).await;
    let _ = fs::remove_file(&service.settings.socket);
    Ok(())
}

/// Starts the engine thread. What it returns resolves when that thread is gone.
async fn start_engine(
    model: &Arc<Model>,
    queue: &Arc<Queue>,
    settings: &WorkerSettings,
) -> Result<oneshot::Receiver<()>, Error> {
    let (ready, is_ready) = oneshot::channel();
    let (alive, gone) = oneshot::channel::<()>();
    let (model, queue) = (Arc::clone(model), Arc::clone(queue));
    let (parallel, threads, context) = (settings.parallel, settings.threads, model.context_tokens);
    let body = move || {
        // Held until the thread ends, however it ends.
        let _alive = alive;
        match Engine::new(&model, &queue, parallel, threads) {
            Ok(engine) => {
                if ready.send(Ok(())).is_ok() {
                    engine.run();
                }
            }
            Err(error) => {
                // The other side has given up already when this fails.
                let _ = ready.send(Err(error.to_string()));
            }
        }
    };
    thread::Builder::new().name("engine".to_owned()).spawn(body).map_err(Error::Start)?;
    is_ready.await.map_err(|_| Error::EngineEnded)?.map_err(|words| Error::Context(context, words))?;
    Ok(gone)
}

fn listen(socket: &Path) -> Result<UnixListener, Error> {
    let failed = |error| Error::Listen(socket.display().to_string(), error);
    // One worker at a time has this path: the supervisor ends leftovers before it starts another.
    let _ = fs::remove_file(socket);
    let listener = UnixListener::bind(socket).map_err(failed)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

async fn connection(stream: UnixStream, service: Arc<Service>, mut stopped: watch::Receiver<()>) {
    let handler = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    let http = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(30))
        .serve_connection(TokioIo::new(stream), handler);
    tokio::pin!(http);
    let ended = tokio::select! {
        ended = &mut http => ended,
        _ = stopped.changed() => {
            http.as_mut().graceful_shutdown();
            http.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

impl Service {
    async fn answer(&self, request: Request<Incoming>) -> Answered {
        match self.route(request).await {
            Ok(answered) => answered,
            Err(error) => refuse(&error),
        }
    }

    /// Dropping this future, as hyper does when the caller leaves, cancels the work.
    async fn route(&self, request: Request<Incoming>) -> Result<Answered, ApiError> {
        let path = request.uri().path().trim_end_matches('/').to_owned();
        let wanted = match path.as_str() {
            "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings" => Method::POST,
            "/v1/models" | "/health" | "/status" => Method::GET,
            _ => {
                return Err(ApiError::new(
                    404,
                    "invalid_request_error",
                    format!("there is no {path} here; see the paths in docs/local-engine.md"),
                ));
            }
        };
        if request.method() != wanted {
            let message = format!("{path} takes {wanted}, not {}", request.method());
            let mut answered = refuse(&ApiError::new(405, "invalid_request_error", message));
            answered
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static(if wanted == Method::GET { "GET" } else { "POST" }));
            return Ok(answered);
        }
        match path.as_str() {
            "/health" => Ok(whole(StatusCode::OK, &json!({"status": "ok"}))),
            "/status" => Ok(whole(StatusCode::OK, &self.status())),
            "/v1/models" => Ok(whole(StatusCode::OK, &self.models())),
            "/v1/chat/completions" => self.generate(read(request).await?, calls::chat).await,
            "/v1/completions" => self.generate(read(request).await?, calls::completion).await,
            _ => calls::embeddings(self, read(request).await?)
                .await
                .map(|answer| whole(StatusCode::OK, &answer)),
        }
    }

    async fn generate(
        &self,
        body: Bytes,
        prepare: fn(&Model, u32, &[u8]) -> Result<calls::Prepared, ApiError>,
    ) -> Result<Answered, ApiError> {
        let (model, default) = (Arc::clone(&self.model), self.answer_tokens_default);
        // Templates, tokens and grammars take a while for long prompts; other answers keep flowing meanwhile.
        let prepared = spawn_blocking(move || prepare(&model, default, &body)).await;
        let prepared =
            prepared.map_err(|_| ApiError::engine("reading this request failed; see the engine's log"))??;
        self.queue.generate(prepared.job)?;
        if prepared.stream {
            return Ok(stream(prepared.answer, prepared.events));
        }
        let (text, done) = calls::collect(prepared.events).await?;
        Ok(whole(StatusCode::OK, &prepared.answer.whole(&text, done)))
    }

    fn models(&self) -> Value {
        let model = json!({
            "id": self.model.name, "object": "model", "created": clock::unix_seconds(), "owned_by": "local",
            "max_model_len": self.model.context_tokens,
        });
        json!({"object": "list", "data": [model]})
    }

    fn status(&self) -> Value {
        let figures = &self.queue.figures;
        let rate = figures.rate_milli.load(Ordering::Relaxed);
        json!({
            "model": self.model.name,
            "pid": std::process::id(),
            "context_tokens": self.model.context_tokens,
            "parallel": self.settings.parallel,
            "queue_requests_max": self.settings.queue_requests_max,
            "threads": self.settings.threads,
            "running": figures.running.load(Ordering::Relaxed),
            "queued": self.queue.waiting(),
            "kv_tokens": figures.cells.load(Ordering::Relaxed),
            "tokens_per_second": rate / 1000,
            "tokens_total": figures.tokens.load(Ordering::Relaxed),
            "steps_total": figures.steps.load(Ordering::Relaxed),
            "load_ms": u64::try_from(self.model.load_time.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

async fn read(request: Request<Incoming>) -> Result<Bytes, ApiError> {
    let collected = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            ApiError::new(
                413,
                "invalid_request_error",
                format!("the body is larger than {BODY_BYTES_MAX} bytes; shorten it"),
            )
        } else {
            ApiError::new(400, "invalid_request_error", "the body broke off before its end")
        }
    })
}

fn whole(status: StatusCode, body: &Value) -> Answered {
    let mut response = Response::new(BoxBody::new(Full::new(Bytes::from(body.to_string()))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn stream(answer: Answer, events: tokio::sync::mpsc::Receiver<super::queue::Event>) -> Answered {
    let mut response = Response::new(BoxBody::new(EventStream::new(answer, events)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn refuse(error: &ApiError) -> Answered {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = whole(status, &error.body());
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
