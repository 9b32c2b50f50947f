//! A provider that answers at once: what it says is made before the first request. It knows by the model what is wanted.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{Request, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Either, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::Error;
use super::scenario::{CHUNKS, Scenario, prose};

/// Between two chunks of a stream, so that each is read and written by itself, as tokens are.
const PACE: Duration = Duration::from_millis(4);

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

struct Answers {
    small: Bytes,
    large: Bytes,
    chunk: Bytes,
    last: Bytes,
    models: [Vec<u8>; 3],
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
        let [_, _, large, streamed] = Scenario::all();
        Self {
            small: whole(640),
            large: whole(256 << 10),
            chunk: chunk(
                "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" tolling\"},\"finish_reason\":null}]",
            )
            .into(),
            last: format!("{finish}{usage}data: [DONE]\n\n").into(),
            models: [large, streamed, Scenario::idle()].map(|scenario| scenario.model().into_bytes()),
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
        let [large, streamed, idle] = self.models.each_ref().map(|model| wants(model));
        let (kind, body) = if streamed {
            ("text/event-stream", Either::Right(StreamBody::new(self.stream())))
        } else if idle {
            let first = stream::once(async { Ok(Frame::data(self.chunk.clone())) });
            (
                "text/event-stream",
                Either::Right(StreamBody::new(Box::pin(first.chain(stream::pending())) as Pieces)),
            )
        } else {
            let answer = if large { &self.large } else { &self.small };
            ("application/json", Either::Left(Full::new(answer.clone())))
        };
        let mut response = Response::new(body);
        if streamed || idle {
            // nginx would hold a stream back without it.
            response.headers_mut().insert("x-accel-buffering", header::HeaderValue::from_static("no"));
        }
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
        Ok(response)
    }

    fn stream(&'static self) -> Pieces {
        Box::pin(stream::unfold(0, move |sent| async move {
            if sent > CHUNKS {
                return None;
            }
            if sent > 0 {
                tokio::time::sleep(PACE).await;
            }
            let piece = if sent == CHUNKS { &self.last } else { &self.chunk };
            Some((Ok(Frame::data(piece.clone())), sent + 1))
        }))
    }
}
