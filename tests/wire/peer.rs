//! A listener with a service that writes down what reaches it, and a client of raw bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tollway::gateway::framing::{BodyError, Refusal, RequestBody};
use tollway::gateway::listener::{ConnInfo, ListenerSettings, Service, bind, serve};
use tollway::gateway::tasks::Tasks;
use tollway::gateway::tls::TlsReload;

/// Longer than anything here takes; what runs into it has failed.
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) type AnyBody = UnsyncBoxBody<Bytes, Infallible>;

/// What reached the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) body: Result<Vec<u8>, String>,
}

pub(crate) type Record = Arc<Mutex<Vec<Seen>>>;

pub(crate) fn full(status: StatusCode, text: impl Into<Bytes>) -> Response<AnyBody> {
    let mut response = Response::new(Full::new(text.into()).boxed_unsync());
    *response.status_mut() = status;
    response
}

pub(crate) fn refuse(refusal: Refusal) -> Response<AnyBody> {
    full(refusal.status(), format!("{{\"error\":{{\"code\":\"{}\"}}}}", refusal.code()))
}

/// Reads the request whole, writes it down and answers with its target.
pub(crate) async fn record<B>(request: Request<B>, record: Record) -> Response<AnyBody>
where
    B: Body<Data = Bytes, Error: Into<BodyError>>,
{
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes().to_vec()).map_err(Into::into);
    let status = match &body {
        Ok(_) => StatusCode::OK,
        Err(BodyError::Fault(_)) => StatusCode::BAD_REQUEST,
        Err(BodyError::TooSlow) => StatusCode::REQUEST_TIMEOUT,
        Err(BodyError::Left(_)) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let target = head.uri.to_string();
    let seen = Seen {
        method: head.method.to_string(),
        target: target.clone(),
        body: body.map_err(|e| e.to_string()),
    };
    record.lock().expect("lock").push(seen);
    full(status, target)
}

/// A listener under test. It stops when this is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Record,
    pub(crate) tasks: Tasks,
    pub(crate) stop: CancellationToken,
    pub(crate) done: JoinHandle<usize>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) fn recorder(record_here: &Record) -> impl Service<Body = AnyBody> {
    let seen = Arc::clone(record_here);
    move |request: Request<RequestBody>, _: ConnInfo| record(request, Arc::clone(&seen))
}

pub(crate) fn start(settings: ListenerSettings) -> Server {
    let seen = Record::default();
    start_with(settings, None, recorder(&seen), seen)
}

pub(crate) fn start_with<S>(
    settings: ListenerSettings,
    tls: Option<TlsReload>,
    service: S,
    seen: Record,
) -> Server
where
    S: Service<Body = AnyBody>,
{
    let listener = bind("127.0.0.1:0".parse().expect("an address"), &settings).expect("a port");
    let address = listener.local_addr().expect("an address");
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    let serving = serve(listener, tls, settings, service, refuse, tasks.clone(), stop.clone());
    #[expect(clippy::disallowed_methods, reason = "the test itself is no part of the gateway")]
    let done = tokio::spawn(serving);
    Server { address, seen, tasks, stop, done }
}

/// Sends `bytes` and reads to the end of the connection.
pub(crate) async fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let (mut reader, mut writer) = stream.into_split();
    let mut answer = Vec::new();
    let exchanged = async {
        let (_, read) = tokio::join!(writer.write_all(bytes), reader.read_to_end(&mut answer));
        read.expect("an orderly end");
    };
    tokio::time::timeout(LONG, exchanged).await.expect("the connection ends");
    answer
}

/// The statuses of the answers in `bytes`, each with its body. Every answer here has a Content-Length.
pub(crate) fn answers(bytes: &[u8]) -> Vec<(u16, String)> {
    let mut rest = std::str::from_utf8(bytes).expect("answers are text");
    let mut answers = Vec::new();
    while !rest.is_empty() {
        let (head, behind) = rest.split_once("\r\n\r\n").expect("a whole head");
        let status = head[9..12].parse().expect("a status");
        let length = head
            .split("\r\n")
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().expect("a length"));
        answers.push((status, behind[..length].to_owned()));
        rest = &behind[length..];
    }
    answers
}
