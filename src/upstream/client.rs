//! One client for all providers: HTTP/1.1 by [`http1`](super::http1), and HTTP/2, where a provider's TLS speaks it, by hyper.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::Instant;
use tower::Service;

use crate::api::splice::Pieces;

use super::connect::{Connector, LinkLocalHosts, Stream};
use super::http1::{self, Sending};

/// Idle connections are given up before the usual 60 s of the servers at the other end.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);
const IDLE_PER_HOST_MAX: usize = 512;
/// What is read ahead of a caller of an HTTP/2 stream. It lies in memory and takes one and a half times its size there; and a stream
/// gets as much in each round trip and no more, or half of that, since the window is given back in halves: over 100 ms 0.3 to 0.6 MB
/// a second, 1,000 to 2,000 events. Half the size would hold back the fastest models from far away.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// The same of an answer that is read whole, as fast as it comes: 20 MB a second over 100 ms.
const WHOLE_WINDOW_BYTES: u32 = 2 << 20;
/// Streams share a connection's window: slow readers of some must not keep the others from theirs, so it bounds nothing.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 30;
/// What hyper reads at a time of the few HTTP/1.1 connections that it has.
const HTTP1_BUFFER_BYTES: usize = 64 << 10;
/// How long a connection that turned out to speak HTTP/2 waits to be taken up by hyper.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(5);

/// All connections that attempts share.
#[derive(Debug, Clone)]
pub struct Client {
    connector: Connector,
    http1: http1::Pool,
    /// For streams.
    http2: HyperClient<Dialler, RequestBody>,
    /// For what is read whole: a connection's streams all have the same window.
    http2_whole: HyperClient<Dialler, RequestBody>,
    hosts: Hosts,
}

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The provider cannot be reached.
    #[error("no connection")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// HTTP/1.1.
    #[error(transparent)]
    Http1(#[from] http1::Error),
    /// HTTP/2, before the answer.
    #[error(transparent)]
    Http2(#[from] hyper_util::client::legacy::Error),
    /// HTTP/2, within the answer.
    #[error(transparent)]
    Body(#[from] hyper::Error),
}

impl Client {
    /// `local_socket` is where the local engine listens.
    pub fn new(local_socket: Option<Arc<std::path::Path>>, link_local_allowed: LinkLocalHosts) -> Self {
        let connector = Connector::new(local_socket, link_local_allowed);
        let hosts = Hosts::default();
        let dialler = Dialler { connector: connector.clone(), hosts: hosts.clone() };
        let http2 = |window| {
            HyperClient::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
                .http1_max_buf_size(HTTP1_BUFFER_BYTES)
                .http2_initial_stream_window_size(window)
                .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .build(dialler.clone())
        };
        let (http2, http2_whole) = (http2(STREAM_WINDOW_BYTES), http2(WHOLE_WINDOW_BYTES));
        Self { connector, http1: http1::Pool::default(), http2, http2_whole, hosts }
    }

    /// Sends `request` and waits for the head of its answer. Dropping the future, or the body, cancels it.
    pub async fn request(&self, request: Request<RequestBody>) -> Result<Response<Body>, Error> {
        let uri = request.uri().clone();
        let Some(sending) = Sending::new(&request).filter(|_| !self.hosts.speak_http2(&uri)) else {
            return self.by_hyper(request).await;
        };
        let sending = match sending.reuse(&self.http1).await {
            Ok(outcome) => return Ok(outcome?.map(Body::Http1)),
            Err(unsent) => unsent,
        };
        let is_stream = !request.body().is_read_whole();
        let stream = self.connector.dial(uri.clone(), is_stream).await.map_err(Error::Connect)?;
        if stream.is_http2() {
            drop(sending);
            self.hosts.learn_http2(&uri, stream);
            return self.by_hyper(request).await;
        }
        drop(request);
        Ok(sending.over(stream, &self.http1).await?.map(Body::Http1))
    }

    async fn by_hyper(&self, request: Request<RequestBody>) -> Result<Response<Body>, Error> {
        // Boxed, since most requests have no need of the room.
        let client = if request.body().is_read_whole() { &self.http2_whole } else { &self.http2 };
        Ok(Box::pin(client.request(request)).await?.map(Body::Http2))
    }

    /// Closes connections that waited too long or were closed at the other end. To be called every now and then.
    pub fn sweep(&self) {
        self.http1.sweep();
    }
}

/// A connection, and since when it waits to be taken up.
type Waiting = (Stream, Instant);

/// Whose TLS chose HTTP/2, and the connection that told so, until hyper takes it up.
#[derive(Debug, Clone, Default)]
struct Hosts {
    http2: Arc<Mutex<HashMap<Authority, Option<Waiting>>>>,
}

impl Hosts {
    fn speak_http2(&self, uri: &Uri) -> bool {
        let is_https = uri.scheme() == Some(&Scheme::HTTPS);
        let known = || self.http2.lock().unwrap_or_else(PoisonError::into_inner);
        is_https && uri.authority().is_some_and(|authority| known().contains_key(authority))
    }

    fn learn_http2(&self, uri: &Uri, stream: Stream) {
        let Some(authority) = uri.authority() else { return };
        let mut known = self.http2.lock().unwrap_or_else(PoisonError::into_inner);
        let place = known.entry(authority.clone()).or_default();
        // One connection is enough for all requests.
        place.get_or_insert((stream, Instant::now()));
    }

    fn take(&self, uri: &Uri) -> Option<Stream> {
        let (stream, since) = {
            let mut known = self.http2.lock().unwrap_or_else(PoisonError::into_inner);
            known.get_mut(uri.authority()?)?.take()?
        };
        (since.elapsed() < HANDED_OVER_WITHIN).then_some(stream)
    }

    fn forget(&self, uri: &Uri) {
        if let Some(authority) = uri.authority() {
            self.http2.lock().unwrap_or_else(PoisonError::into_inner).remove(authority);
        }
    }
}

/// Dials for hyper, which is given the connection that is there already, if one is.
#[derive(Debug, Clone)]
struct Dialler {
    connector: Connector,
    hosts: Hosts,
}

impl Service<Uri> for Dialler {
    type Response = TokioIo<Stream>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { connector, hosts } = self.clone();
        Box::pin(async move {
            if let Some(stream) = hosts.take(&uri) {
                return Ok(TokioIo::new(stream));
            }
            let stream = connector.dial(uri.clone(), true).await?;
            if !stream.is_http2() {
                // It has changed its mind: the next requests are not hyper's.
                hosts.forget(&uri);
            }
            Ok(TokioIo::new(stream))
        })
    }
}

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// Read from the connection itself.
    Http1(http1::Body),
    /// Read by hyper.
    Http2(Incoming),
}

impl Body {
    /// Nothing is done with it before all of it is here.
    pub fn want_whole(&mut self) {
        if let Self::Http1(body) = self {
            body.want_whole();
        }
    }

    /// What it says is whole; only its end may be missing.
    pub fn finished(self) {
        if let Self::Http1(body) = self {
            body.finished();
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.get_mut() {
            Self::Http1(body) => Pin::new(body).poll_frame(cx).map_err(Error::from),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(Error::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }
}

/// A request body in pieces whose whole length is known.
#[derive(Debug)]
pub struct RequestBody {
    pieces: std::vec::IntoIter<Bytes>,
    bytes_left: u64,
    is_read_whole: bool,
}

impl RequestBody {
    /// The body made of `pieces`.
    pub fn new(pieces: Pieces) -> Self {
        let bytes_left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { pieces: pieces.into_vec().into_iter(), bytes_left, is_read_whole: false }
    }

    /// The same; its answer is `read_whole`, as fast as it comes, and not as fast as somebody takes it.
    #[must_use]
    pub fn read_whole(mut self, read_whole: bool) -> Self {
        self.is_read_whole = read_whole;
        self
    }

    /// Whether its answer is read as fast as it comes.
    pub(super) const fn is_read_whole(&self) -> bool {
        self.is_read_whole
    }

    /// What is left of it.
    pub(super) fn pieces(&self) -> &[Bytes] {
        self.pieces.as_slice()
    }
}

impl HttpBody for RequestBody {
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

#[cfg(test)]
mod tests;
