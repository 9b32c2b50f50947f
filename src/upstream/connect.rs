//! Dialling providers: TCP, TLS always verified, and the local engine's socket; no proxy from the environment, no redirect.
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
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Uri;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::dns::{self, Name};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;
use tower::{Service, ServiceExt as _};

use crate::providers::is_link_local;

/// The host under which the local engine's socket is known here; `.invalid` can never be a real one (RFC 2606).
pub const LOCAL_HOST: &str = "local-engine.invalid";

/// How long a TCP connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What the kernel reads ahead of whoever is slow to take a stream: it doubles the number for its own needs, fits up to 170 KiB
/// into that, and would go to megabytes by itself.
///
/// A provider may send as much a round trip and no more: over 100 ms that is 0.8 MB a second, some 2,500 events. No model is as
/// fast, and a network of so long a way is rare. Whole answers, such as a megabyte of embeddings, are read as fast as they come
/// whoever waits for them, and so are the streams of one HTTP/2 connection, which bounds each by its window; there the kernel finds
/// the size by itself (29 MB a second over the same 100 ms). It has to be known when a connection is made: what is bounded once
/// stays so (Linux keeps its window clamp).
const RECEIVE_BUFFER_BYTES: usize = 64 << 10;

/// Hosts whose link-local addresses the operator allows; replaced whole at a reload.
pub type LinkLocalHosts = Arc<ArcSwap<HashSet<String>>>;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Dials a provider or the local engine.
#[derive(Debug, Clone)]
pub struct Connector {
    https: HttpsConnector<HttpConnector<Resolver>>,
    local_socket: Option<Arc<Path>>,
}

impl Connector {
    /// `local_socket` is where the local engine listens.
    pub fn new(local_socket: Option<Arc<Path>>, link_local_allowed: LinkLocalHosts) -> Self {
        let mut http = HttpConnector::new_with_resolver(Resolver { link_local_allowed });
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls())
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(http);
        Self { https, local_socket }
    }

    /// A new connection to where `uri` is, on which little is read ahead of who takes its answers, if they are streams.
    pub async fn dial(&self, uri: Uri, is_stream: bool) -> Result<Stream, BoxError> {
        if uri.host() == Some(LOCAL_HOST) {
            let path =
                self.local_socket.as_deref().ok_or_else(|| io::Error::other("the local engine is off"))?;
            return Ok(Stream::Local(UnixStream::connect(path).await?));
        }
        let stream = match self.https.clone().oneshot(uri).await? {
            MaybeHttpsStream::Http(plain) => Stream::Plain(plain.into_inner()),
            MaybeHttpsStream::Https(encrypted) => Stream::Encrypted(Box::new(encrypted.into_inner())),
        };
        if is_stream && !stream.is_http2() {
            stream.socket().set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        }
        Ok(stream)
    }
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

/// A connection to either.
#[derive(Debug)]
pub enum Stream {
    /// To a provider, in the clear.
    Plain(TcpStream),
    /// To a provider. It is large.
    Encrypted(Box<TlsStream<TokioIo<TokioIo<TcpStream>>>>),
    /// To the local engine.
    Local(UnixStream),
}

impl Stream {
    /// Whether the other end wants HTTP/2.
    pub fn is_http2(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Local(_) => false,
            Self::Encrypted(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// How many bytes wait to be read, of one: none, if the other end has closed; an error, `WouldBlock` among them, if there is
    /// neither. The kernel itself is asked: what the runtime has been told may be older.
    pub fn peek(&self) -> io::Result<usize> {
        self.socket().peek(&mut [MaybeUninit::uninit()])
    }

    /// Has the current runtime wait for what comes, which the one did that it was made or moved by. Nobody may be waiting.
    pub(super) fn move_here(&mut self) -> io::Result<()> {
        // A runtime does not let go of a socket within TLS, but of this handle of it.
        let socket = self.socket().try_clone()?;
        match self {
            Self::Plain(stream) => *stream = TcpStream::from_std(socket.into())?,
            Self::Encrypted(stream) => {
                *stream.get_mut().0.inner_mut().inner_mut() = TcpStream::from_std(socket.into())?;
            }
            Self::Local(stream) => *stream = UnixStream::from_std(socket.into())?,
        }
        Ok(())
    }

    /// The socket itself.
    pub(super) fn socket(&self) -> SockRef<'_> {
        match self {
            Self::Plain(stream) => SockRef::from(stream),
            Self::Encrypted(stream) => SockRef::from(stream.get_ref().0.inner().inner()),
            Self::Local(stream) => SockRef::from(stream),
        }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        if self.is_http2() { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

/// Calls `$method` on whatever the stream is.
macro_rules! on {
    ($stream:expr, $method:ident, $($argument:expr),*) => {
        match $stream.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Encrypted(stream) => Pin::new(stream.as_mut()).$method($($argument),*),
            Stream::Local(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on!(self, poll_read, cx, buf)
    }
}

impl AsyncWrite for Stream {
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
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Encrypted(stream) => stream.is_write_vectored(),
            Self::Local(stream) => stream.is_write_vectored(),
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
#[derive(Debug, Clone)]
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
