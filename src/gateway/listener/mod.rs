//! Accepts connections, hands their requests over, and stops without losing any.
//!
//! One task a connection. HTTP/1.1 goes through [`framing`](super::framing); HTTP/2 is taken by prior knowledge or ALPN.
//! Each kind of silence has its limit, so that no client holds a connection by saying nothing.

mod answer;
mod connection;
mod settings;
mod turn_away;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Buf;
use http::{Request, Response};
use http_body::Body;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::framing::{Refusal, RequestBody};
use super::tasks::Tasks;
use super::tls::TlsReload;

pub use answer::AnswerBody;
pub use settings::{Http2Settings, ListenerSettings};

/// hyper's buffer must hold the largest head; the rest is room to read into.
const READ_ROOM_BYTES: usize = 8 * 1024;

/// Of what the kernel may keep for a caller, one part in so many may wait to be sent; the rest is on its way.
const UNSENT_SHARE: u32 = 4;

/// How long to wait after a failed accept, such as for want of descriptors, before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long connections that were cut may take to go.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// Connections past the limit that are told so at once; those past this too are closed without a word.
const TURNED_AWAY_MAX: usize = 64;

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnInfo {
    /// The client's end of the connection.
    pub peer: SocketAddr,
    /// What it speaks.
    pub protocol: Protocol,
    /// Whether it is encrypted.
    pub is_tls: bool,
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Answers one request. Any `Fn(Request<RequestBody>, ConnInfo) -> Future` is one. When the client leaves, the future is
/// dropped.
pub trait Service: Clone + Send + Sync + 'static {
    /// The answer's body.
    type Body: Body<Data: Buf + Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static;
    /// The answer under way.
    type Future: Future<Output = Response<Self::Body>> + Send + 'static;

    /// The answer.
    fn answer(&self, request: Request<RequestBody>, from: ConnInfo) -> Self::Future;
}

impl<S, F, B> Service for S
where
    S: Fn(Request<RequestBody>, ConnInfo) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data: Buf + Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    type Body = B;
    type Future = F;

    fn answer(&self, request: Request<RequestBody>, from: ConnInfo) -> F {
        self(request, from)
    }
}

/// Listens on `address`, with the socket options of `settings`, which the accepted connections inherit.
pub fn bind(address: SocketAddr, settings: &ListenerSettings) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    if let Some(bytes) = settings.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
        // Of these bytes a caller far away needs as many as a round trip takes to be acknowledged, so that they are not few; those
        // that its window keeps from being sent at all would lie here for nothing.
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(&socket).set_tcp_notsent_lowat(bytes / UNSENT_SHARE)?;
    }
    socket.bind(address)?;
    socket.listen(settings.backlog)
}

/// Serves `listener` until `stop`, then lets open requests end, at most for the drain time. Returns how many connections
/// had to be cut. Dropping the future stops the accepting; connections then go on by themselves.
pub async fn serve<S, R>(
    listener: TcpListener,
    tls: Option<TlsReload>,
    settings: ListenerSettings,
    service: S,
    refuse: R,
    tasks: Tasks,
    stop: CancellationToken,
) -> usize
where
    S: Service,
    R: Fn(Refusal) -> Response<S::Body> + Clone + Send + Sync + 'static,
{
    let connections = tasks.group();
    let shared = Arc::new(Shared::new(tls, settings, service, refuse, connections.clone()));
    let turned_away = tasks.group();
    tokio::select! {
        () = accept(&listener, &shared, &connections, &turned_away) => {}
        () = stop.cancelled() => {}
    }
    // Closed first, so that new connections are refused instead of waiting for an answer that will not come.
    drop(listener);

    shared.enter(Phase::Draining);
    if tokio::time::timeout(settings.drain_timeout, connections.drained()).await.is_ok() {
        return 0;
    }
    let cut = settings.connections_max - shared.room.available_permits();
    shared.enter(Phase::Cut);
    // What is left after this has no socket any more.
    let _ = tokio::time::timeout(CUT_GRACE, connections.drained()).await;
    cut
}

async fn accept<S, R>(
    listener: &TcpListener,
    shared: &Arc<Shared<S, R>>,
    connections: &Tasks,
    turned_away: &Tasks,
) where
    S: Service,
    R: Fn(Refusal) -> Response<S::Body> + Clone + Send + Sync + 'static,
{
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if !is_one_connections_fault(&error) {
                    tracing::warn!(%error, "no connection can be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                continue;
            }
        };
        match Arc::clone(&shared.room).try_acquire_owned() {
            Ok(room) => {
                let shared = Arc::clone(shared);
                // Heard of here, and from now on by the thread that serves it.
                let Ok(stream) = stream.into_std() else { continue };
                connections.spread("connection", |place| async move {
                    if let Ok(stream) = TcpStream::from_std(stream) {
                        connection::run(stream, peer, &place, &shared).await;
                    }
                    drop(room);
                });
            }
            Err(_) => turn_away(stream, shared, turned_away),
        }
    }
}

fn turn_away<S, R>(stream: TcpStream, shared: &Arc<Shared<S, R>>, turned_away: &Tasks)
where
    S: Service,
    R: Fn(Refusal) -> Response<S::Body> + Clone + Send + Sync + 'static,
{
    // Under TLS a word would cost a handshake, which is what there is no room for.
    if shared.tls.is_none() && turned_away.count() < TURNED_AWAY_MAX {
        turned_away.spawn("turn away", turn_away::tell(stream, (shared.refuse)(Refusal::Connections)));
    }
}

fn is_one_connections_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// What all connections of a listener have in common.
struct Shared<S, R> {
    tls: Option<TlsReload>,
    settings: ListenerSettings,
    service: S,
    refuse: R,
    http1: http1::Builder,
    http2: http2::Builder<Tasks>,
    room: Arc<Semaphore>,
    /// Read on every turn of every connection, which a token would make a lock.
    phase: AtomicU8,
    draining: CancellationToken,
    cut: CancellationToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Phase {
    Serving,
    Draining,
    Cut,
}

impl<S, R> Shared<S, R> {
    fn new(tls: Option<TlsReload>, settings: ListenerSettings, service: S, refuse: R, tasks: Tasks) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .half_close(false)
            .header_read_timeout(None) // the guard's own limits cost no timer a request
            .max_buf_size(settings.head.head_bytes_max + READ_ROOM_BYTES);
        let mut http2 = http2::Builder::new(tasks);
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(settings.http2.streams_max)
            .max_header_list_size(u32::try_from(settings.head.head_bytes_max).unwrap_or(u32::MAX))
            .initial_stream_window_size(settings.http2.stream_window_bytes)
            .initial_connection_window_size(settings.http2.connection_window_bytes)
            .max_send_buf_size(settings.http2.send_buffer_bytes_max)
            .keep_alive_interval(settings.http2.ping_interval)
            .keep_alive_timeout(settings.http2.ping_timeout)
            .max_pending_accept_reset_streams(settings.http2.pending_resets_max)
            .max_local_error_reset_streams(settings.http2.local_resets_max);
        Self {
            tls,
            settings,
            service,
            refuse,
            http1,
            http2,
            room: Arc::new(Semaphore::new(settings.connections_max)),
            phase: AtomicU8::new(Phase::Serving as u8),
            draining: CancellationToken::new(),
            cut: CancellationToken::new(),
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        match phase {
            Phase::Serving => {}
            Phase::Draining => self.draining.cancel(),
            Phase::Cut => self.cut.cancel(),
        }
    }

    fn is_past(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Acquire) >= phase as u8
    }
}
