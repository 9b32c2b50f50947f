//! Connections to providers: pooled, HTTP/1.1 and HTTP/2, TLS always verified; no proxy from the environment, no redirect.
//!
//! The address is looked at again when it is dialled, so that a name that resolves to a link-local address later is refused
//! as it would have been in the configuration. The local engine is reached over its Unix socket under a name of its own.

use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::Uri;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::legacy::{Client as Pool, connect::dns};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpStream, UnixStream};
use tower::Service;

use crate::api::splice::Pieces;
use crate::providers::is_link_local;

use super::coalesce::Coalescer;

/// The host under which the local engine's socket is known here; `.invalid` can never be a real one (RFC 2606).
pub const LOCAL_HOST: &str = "local-engine.invalid";

/// How long a TCP connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections are given up before the usual 60 s of the servers at the other end.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);
const IDLE_PER_HOST_MAX: usize = 512;
/// What is read ahead of a caller: by the kernel, which doubles the number for its own needs and would go to megabytes by itself ...
const RECEIVE_BUFFER_BYTES: usize = 128 << 10;
/// ... by hyper, of whose buffers up to three are held for a caller that does not read. An answer's head must fit into one: 8 KiB
/// are what nginx grants by default ...
const HTTP1_BUFFER_BYTES: usize = 8 << 10;
/// ... and of an HTTP/2 stream.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// Streams share a connection's window: slow readers of some must not keep the others from theirs, so it bounds nothing.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 30;
/// What is read at a time at most: hyper asks for 8 KB, and for more while an answer fills what it asks for.
const READ_BYTES_MAX: usize = 64 * 1024;

/// The pool of connections all attempts share.
pub type Client = Pool<Connector, RequestBody>;

/// Hosts whose link-local addresses the operator allows; replaced whole at a reload.
pub type LinkLocalHosts = Arc<ArcSwap<HashSet<String>>>;

/// A client. `local_socket` is where the local engine listens.
pub fn client(local_socket: Option<Arc<Path>>, link_local_allowed: LinkLocalHosts) -> Client {
    let mut http = HttpConnector::new_with_resolver(Resolver { link_local_allowed });
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    http.set_recv_buffer_size(Some(RECEIVE_BUFFER_BYTES));
    let https = HttpsConnectorBuilder::new()
        .with_tls_config(tls())
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(http);
    let connector = Connector { https, local_socket };
    Pool::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .http1_max_buf_size(HTTP1_BUFFER_BYTES)
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .build(connector)
}

/// TLS with the machine's own trust store. Without one every provider's certificate is refused, and the log says why.
fn tls() -> rustls::ClientConfig {
    let versions: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
    #[expect(
        clippy::expect_used,
        reason = "ring supports both versions; a change there is found by every test"
    )]
    let builder = || {
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("ring supports TLS 1.2 and 1.3")
    };
    match builder().with_native_roots() {
        Ok(with_roots) => with_roots.with_no_client_auth(),
        Err(error) => {
            tracing::warn!(%error, "no trusted certificates on this machine: install ca-certificates, or no HTTPS provider can be reached");
            builder().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
        }
    }
}

/// Dials a provider or the local engine.
#[derive(Clone)]
pub struct Connector {
    https: HttpsConnector<HttpConnector<Resolver>>,
    local_socket: Option<Arc<Path>>,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        if uri.host() == Some(LOCAL_HOST) {
            let socket = self.local_socket.clone();
            return Box::pin(async move {
                let path = socket.ok_or_else(|| io::Error::other("the local engine is off"))?;
                Ok(Stream::new(Inner::Local(TokioIo::new(UnixStream::connect(path).await?))))
            });
        }
        let dial = self.https.call(uri);
        Box::pin(async move {
            Ok(Stream::new(match dial.await? {
                MaybeHttpsStream::Http(plain) => Inner::Plain(plain),
                encrypted @ MaybeHttpsStream::Https(_) => Inner::Encrypted(Box::new(encrypted)),
            }))
        })
    }
}

/// A connection to either.
pub struct Stream {
    inner: Inner,
    coalescer: Coalescer,
}

type Remote = TokioIo<TcpStream>;

enum Inner {
    /// To a provider, in the clear.
    Plain(Remote),
    /// To a provider. It is large.
    Encrypted(Box<MaybeHttpsStream<Remote>>),
    /// To the local engine.
    Local(TokioIo<UnixStream>),
}

/// Calls `$method` on whatever the stream is.
macro_rules! on {
    ($stream:expr, $method:ident, $($argument:expr),*) => {
        match &mut $stream.get_mut().inner {
            Inner::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Inner::Encrypted(stream) => Pin::new(stream.as_mut()).$method($($argument),*),
            Inner::Local(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl Stream {
    const fn new(inner: Inner) -> Self {
        Self { inner, coalescer: Coalescer::new() }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match &self.inner {
            Inner::Plain(stream) => stream.connected(),
            Inner::Encrypted(stream) => stream.connected(),
            Inner::Local(_) => Connected::new(),
        }
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.coalescer.is_off() {
            return on!(self, poll_read, cx, buf);
        }
        #[expect(
            clippy::large_stack_arrays,
            reason = "of a thread's stack, and touched only as far as a read fills it"
        )]
        let mut space = [MaybeUninit::uninit(); READ_BYTES_MAX];
        let room = buf.remaining().saturating_sub(self.coalescer.held()).min(READ_BYTES_MAX);
        loop {
            let mut own = ReadBuf::uninit(&mut space[..room]);
            ready!(on!(self.as_mut(), poll_read, cx, own.unfilled()))?;
            let read = own.filled();
            let before = buf.remaining();
            self.coalescer.pass(read, &mut |bytes| buf.put_slice(bytes));
            // A read that brought no more than the beginning of a chunk is none yet.
            if read.is_empty() || buf.remaining() < before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on!(self, poll_write, cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on!(self, poll_write_vectored, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.inner {
            Inner::Plain(stream) => stream.is_write_vectored(),
            Inner::Encrypted(stream) => stream.is_write_vectored(),
            Inner::Local(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, poll_flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, poll_shutdown, cx)
    }
}

/// Looks names up, and leaves out link-local addresses.
#[derive(Clone)]
pub struct Resolver {
    link_local_allowed: LinkLocalHosts,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let allowed = self.link_local_allowed.load().contains(name.as_str());
        let mut lookup = dns::GaiResolver::new();
        Box::pin(async move {
            let found = lookup.call(name).await?;
            let addresses: Vec<SocketAddr> =
                found.filter(|address| allowed || !is_link_local(address.ip())).collect();
            if addresses.is_empty() {
                return Err(io::Error::other(
                    "the name resolves to link-local addresses only, which are not dialled",
                ));
            }
            Ok(addresses.into_iter())
        })
    }
}

/// A request body in pieces whose whole length is known. Small itself: a connection has room for 32 of its like.
#[derive(Debug)]
pub struct RequestBody {
    pieces: std::vec::IntoIter<Bytes>,
    bytes_left: u64,
}

impl RequestBody {
    /// The body made of `pieces`.
    pub fn new(pieces: Pieces) -> Self {
        let bytes_left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { pieces: pieces.into_vec().into_iter(), bytes_left }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = self.pieces.next();
        if let Some(piece) = &piece {
            self.bytes_left -= piece.len() as u64;
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes_left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes_left)
    }
}
