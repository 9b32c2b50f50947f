//! The least a proxy in hyper can do: hand each request on and each answer back, reading neither.

use std::net::SocketAddr;

use http::header::{CONNECTION, TRANSFER_ENCODING};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::Error;

/// Serves until the process is ended.
pub(crate) fn run(address: SocketAddr, upstream: &str) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let upstream: &'static str = Box::leak(upstream.to_owned().into());
    runtime.block_on(serve(address, upstream))
}

async fn serve(address: SocketAddr, upstream: &'static str) -> Result<(), Error> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    let listener = TcpListener::bind(address).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let client = client.clone();
        let service = service_fn(move |request| pass(client.clone(), upstream, request));
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

async fn pass(
    client: Client<HttpConnector, Incoming>,
    upstream: &'static str,
    mut request: Request<Incoming>,
) -> Result<Response<Incoming>, ClientError> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(http::uri::Scheme::HTTP);
    parts.authority = upstream.parse().ok();
    // The path was a valid one, and so is the address: together they are a valid URI.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    for name in [CONNECTION, TRANSFER_ENCODING] {
        request.headers_mut().remove(name);
    }
    client.request(request).await
}
