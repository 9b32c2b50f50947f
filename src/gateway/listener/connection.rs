//! One connection from its first byte to its last.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use http::Response;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::{ConnInfo, ListenerSettings, Phase, Protocol, Service, Shared, answer};
use crate::gateway::framing::{ConnectionState, GuardedIo, Patience, Refusal};
use crate::gateway::workers::Place;

/// How every HTTP/2 connection begins, and no HTTP/1 connection can (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes that TLS may hold encrypted and unsent.
const TLS_BUFFER_BYTES_MAX: usize = 32 * 1024;

/// Serves `stream` to its end. Dropping the future cuts the connection.
pub(super) async fn run<S, R>(stream: TcpStream, peer: SocketAddr, place: &Place, shared: &Arc<Shared<S, R>>)
where
    S: Service,
    R: Fn(Refusal) -> Response<S::Body> + Clone + Send + Sync + 'static,
{
    // Without it small events wait for the acknowledgement of those before. A socket that refuses is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let Some(tls) = &shared.tls else {
        return speak(stream, (peer, place), false, shared).await;
    };
    let handshake = TlsAcceptor::from(tls.current()).accept(stream);
    let handshake = timeout(shared.settings.tls_handshake_timeout, handshake);
    let stream = tokio::select! {
        done = handshake => done,
        () = shared.draining.cancelled() => return,
    };
    if let Ok(Ok(mut stream)) = stream {
        stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER_BYTES_MAX));
        Box::pin(speak(stream, (peer, place), true, shared)).await;
    }
}

async fn speak<T, S, R>(
    mut io: T,
    (peer, place): (SocketAddr, &Place),
    is_tls: bool,
    shared: &Arc<Shared<S, R>>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
    R: Fn(Refusal) -> Response<S::Body> + Clone + Send + Sync + 'static,
{
    let begun = tokio::select! {
        begun = begin(&mut io, &shared.settings) => begun,
        () = shared.draining.cancelled() => None,
    };
    match begun {
        Some((Protocol::Http1, start)) => {
            http1(io, start, ConnInfo { peer, protocol: Protocol::Http1, is_tls }, shared).await;
        }
        Some((Protocol::Http2, start)) => {
            place.is_http2();
            Box::pin(http2(io, start, ConnInfo { peer, protocol: Protocol::Http2, is_tls }, shared)).await;
        }
        None => {}
    }
}

/// Reads until it is clear what the client speaks. None if it left or took too long.
async fn begin<T: AsyncRead + Unpin>(
    io: &mut T,
    settings: &ListenerSettings,
) -> Option<(Protocol, BytesMut)> {
    let mut start = BytesMut::new();
    let mut deadline = Instant::now() + settings.first_byte_timeout;
    loop {
        let mut piece = [0; PREFACE.len()];
        let room = PREFACE.len() - start.len();
        let bytes = timeout_at(deadline, io.read(&mut piece[..room])).await.ok()?.ok()?;
        if bytes == 0 {
            return None;
        }
        if start.is_empty() {
            deadline = Instant::now() + settings.head_timeout;
        }
        start.extend_from_slice(&piece[..bytes]);
        if !PREFACE.starts_with(&start) {
            return Some((Protocol::Http1, start));
        }
        if start.len() == PREFACE.len() {
            return Some((Protocol::Http2, start));
        }
    }
}

async fn http1<T, S, R>(io: T, start: BytesMut, from: ConnInfo, shared: &Arc<Shared<S, R>>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
    R: Fn(Refusal) -> Response<S::Body> + Clone + Send + Sync + 'static,
{
    let state = ConnectionState::new();
    let guarded =
        GuardedIo::http1(io, start, shared.settings.head, patience(&shared.settings), Arc::clone(&state));
    let service = answer::http1(Arc::clone(shared), from, state);
    let mut connection = shared.http1.serve_connection(TokioIo::new(guarded), service);
    let ended = drive(&mut connection, |it| Pin::new(it).graceful_shutdown(), |_| Wish::GoOn, shared).await;
    if ended {
        // hyper's buffers and the service go before the lingering begins.
        let closing = connection.into_parts().io.into_inner().close();
        // Boxed, so that no connection has room for this before its end.
        Box::pin(closing).await;
    }
}

async fn http2<T, S, R>(io: T, start: BytesMut, from: ConnInfo, shared: &Arc<Shared<S, R>>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
    R: Fn(Refusal) -> Response<S::Body> + Clone + Send + Sync + 'static,
{
    let state = ConnectionState::new();
    let guarded = GuardedIo::http2(io, start, patience(&shared.settings), Arc::clone(&state));
    let service = answer::http2(Arc::clone(shared), from, Arc::clone(&state));
    let mut connection = shared.http2.serve_connection(TokioIo::new(guarded), service);

    let (idle, stall) = (shared.settings.idle_timeout, shared.settings.write_stall_timeout);
    let mut timer = pin!(tokio::time::sleep(idle.min(stall)));
    let mut finishing_since = None;
    let wish = |cx: &mut Context<'_>| {
        let mut wish = Wish::GoOn;
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let untaken = state.untaken_since().unwrap_or(now) + stall;
            // Who has let it become idle, and takes nothing of what is left, keeps it from ending.
            let left = finishing_since.unwrap_or(now) + stall;
            if now >= untaken.min(left) {
                return Wish::Cut;
            }
            let mut quiet = state.quiet_since().unwrap_or(now) + idle;
            if now >= quiet {
                (finishing_since, wish) = (finishing_since.or(Some(now)), Wish::Finish);
                quiet = now + idle;
            }
            timer.as_mut().reset(untaken.min(left).min(quiet));
        }
        wish
    };
    drive(&mut connection, |it| Pin::new(it).graceful_shutdown(), wish, shared).await;
}

/// What a connection's own watch wants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    GoOn,
    /// No more requests; those under way may end.
    Finish,
    /// The end, now.
    Cut,
}

/// Polls `connection` to its end, and has it `finish` once the listener drains or `wish` says so. False if it was
/// cut instead.
async fn drive<C, S, R>(
    connection: &mut C,
    finish: impl Fn(&mut C),
    mut wish: impl FnMut(&mut Context<'_>) -> Wish,
    shared: &Shared<S, R>,
) -> bool
where
    C: Future + Unpin,
{
    let mut draining = pin!(shared.draining.cancelled());
    let mut cut = pin!(shared.cut.cancelled());
    let (mut is_listening, mut is_finishing) = (false, false);
    poll_fn(|cx| {
        // The tokens wake this task, whose waker stays the same; so once is enough, and the phase tells what happened.
        if !is_listening {
            is_listening = true;
            let _ = draining.as_mut().poll(cx);
            let _ = cut.as_mut().poll(cx);
        }
        if shared.is_past(Phase::Cut) {
            return Poll::Ready(false);
        }
        let wish = wish(cx);
        if wish == Wish::Cut {
            return Poll::Ready(false);
        }
        if !is_finishing && (shared.is_past(Phase::Draining) || wish == Wish::Finish) {
            is_finishing = true;
            finish(connection);
        }
        Pin::new(&mut *connection).poll(cx).map(|_| true)
    })
    .await
}

fn patience(settings: &ListenerSettings) -> Patience {
    Patience {
        head: settings.head_timeout,
        idle: settings.idle_timeout,
        write_stall: settings.write_stall_timeout,
    }
}
