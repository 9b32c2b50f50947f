//! A provider that answers at once: what it says is made before the first request. It knows by the model what is wanted.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{Request, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Either, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::Error;
use super::scenario::{Scenario, Streaming, prose};

/// Serves until the process is ended.
pub(crate) fn run(address: SocketAddr) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(address))
}

async fn serve(address: SocketAddr) -> Result<(), Error> {
    let listener = TcpListener::bind(address).await?;
    let answers: &'static Answers = Box::leak(Box::new(Answers::new()));
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let service = service_fn(move |request| answers.to(request));
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(socket), service);
        // A connection that breaks is its client's affair.
        #[expect(
            clippy::disallowed_methods,
            reason = "a process of the benchmark, which ends by being stopped"
        )]
        tokio::spawn(async move { connection.await.is_ok() });
    }
}

/// The end of the name of the model whose answer is large.
const LARGE: &[u8] = b"256-KB-out\"";

struct Answers {
    small: Bytes,
    large: Bytes,
    chunk: Bytes,
    last: Bytes,
    /// What each scenario's model is called, and how it streams.
    models: Vec<(Vec<u8>, Option<Streaming>)>,
}

type Pieces = std::pin::Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;
type Body = Either<Full<Bytes>, StreamBody<Pieces>>;

impl Answers {
    fn new() -> Self {
        let whole = |bytes| {
            format!(
                "{{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"bench\",\"choices\":[{{\"index\":0,\
                 \"message\":{{\"role\":\"assistant\",\"content\":\"{}\"}},\"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":220,\
                 \"completion_tokens\":170,\"total_tokens\":390,\"prompt_tokens_details\":{{\"cached_tokens\":64}}}}}}",
                prose(bytes)
            )
            .into()
        };
        let chunk = |rest: &str| {
            format!(
                "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"bench\",{rest}}}\n\n"
            )
        };
        let finish = chunk("\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]");
        let usage = chunk(
            "\"choices\":[],\"usage\":{\"prompt_tokens\":220,\"completion_tokens\":200,\"total_tokens\":420}",
        );
        let scenarios = Scenario::all().into_iter().chain([Scenario::idle()]);
        Self {
            small: whole(640),
            large: whole(256 << 10),
            chunk: chunk(
                "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" tolling\"},\"finish_reason\":null}]",
            )
            .into(),
            last: format!("{finish}{usage}data: [DONE]\n\n").into(),
            models: scenarios.map(|scenario| (quoted(&scenario), scenario.stream)).collect(),
        }
    }

    async fn to(&'static self, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
        let mut body = request.into_body();
        let mut start = Bytes::new();
        while let Some(frame) = body.frame().await {
            if let (true, Ok(bytes)) = (start.is_empty(), frame?.into_data()) {
                start = bytes;
            }
        }
        let start = &start[..start.len().min(128)];
        let wants = |model: &[u8]| start.windows(model.len()).any(|window| window == model);
        let stream = self.models.iter().find(|(model, _)| wants(model)).and_then(|(_, stream)| *stream);
        let (kind, body) = if let Some(stream) = stream {
            ("text/event-stream", Either::Right(StreamBody::new(self.stream(stream))))
        } else {
            let answer = if wants(LARGE) { &self.large } else { &self.small };
            ("application/json", Either::Left(Full::new(answer.clone())))
        };
        let mut response = Response::new(body);
        if stream.is_some() {
            // nginx would hold a stream back without it.
            response.headers_mut().insert("x-accel-buffering", header::HeaderValue::from_static("no"));
        }
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
        Ok(response)
    }

    fn stream(&'static self, streaming: Streaming) -> Pieces {
        let Streaming { chunks, pace } = streaming;
        Box::pin(stream::unfold(0, move |sent| async move {
            if sent > chunks {
                return None;
            }
            if let Some(pace) = pace.filter(|_| sent > 0) {
                tokio::time::sleep(pace).await;
            }
            let piece = if sent == chunks { &self.last } else { &self.chunk };
            Some((Ok(Frame::data(piece.clone())), sent + 1))
        }))
    }
}

/// The model as a request's body has it, which no other model's name begins with.
fn quoted(scenario: &Scenario) -> Vec<u8> {
    format!("\"{}\"", scenario.model()).into_bytes()
}
