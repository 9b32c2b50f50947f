//! A provider whose every answer is a stream without end, written as fast as it is taken, by HTTP/1.1 or by HTTP/2 in TLS.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Response, header};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::{HELD_BY_HTTP2_BYTES_MAX, HELD_BYTES_MAX};

/// What its own buffers hold: nobody has read that.
const OWN_BUFFER_BYTES: u32 = 4 << 10;

#[derive(Debug)]
pub(super) struct Fountain {
    pub(super) address: SocketAddr,
    taken: Taken,
    /// What its certificate is trusted by, and where that lies.
    authority: Option<(PathBuf, tempfile::TempDir)>,
    _tasks: JoinSet<()>,
}

/// Bytes that were taken, and streams that are open.
#[derive(Debug, Clone, Default)]
struct Taken {
    bytes: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl Fountain {
    pub(super) fn http1() -> Self {
        let (listener, address) = listener();
        let (taken, mut tasks) = (Taken::default(), JoinSet::new());
        let all = taken.clone();
        tasks.spawn(async move {
            let mut streams = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let stream = gush(stream, all.begun());
                streams.spawn(async move { drop(stream.await) });
            }
        });
        Self { address, taken, authority: None, _tasks: tasks }
    }

    pub(super) fn http2() -> Self {
        let (listener, address) = listener();
        let folder = tempfile::tempdir().expect("a folder");
        let (acceptor, authority) = certified(folder.path());
        let (taken, mut tasks) = (Taken::default(), JoinSet::new());
        let all = taken.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (all, acceptor) = (all.clone(), acceptor.clone());
                connections.spawn(async move {
                    let stream = acceptor.accept(stream).await.expect("TLS");
                    let service = service_fn(move |_| {
                        let (event, stream) = (Bytes::from(event()), all.begun());
                        let events = futures_util::stream::repeat_with(move || {
                            stream.wrote(event.len());
                            Ok::<_, Infallible>(Frame::data(event.clone()))
                        });
                        let mut answer = Response::new(StreamBody::new(events));
                        let kind = header::HeaderValue::from_static("text/event-stream");
                        answer.headers_mut().insert(header::CONTENT_TYPE, kind);
                        async { Ok::<_, Infallible>(answer) }
                    });
                    let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    server.max_send_buf_size(OWN_BUFFER_BYTES as usize).max_concurrent_streams(4_096);
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, taken, authority: Some((authority, folder)), _tasks: tasks }
    }

    pub(super) fn base_url(&self) -> String {
        format!("http{}://{}/v1", if self.authority.is_some() { "s" } else { "" }, self.address)
    }

    /// A file of the certificates that it is to be trusted by.
    pub(super) fn authority(&self) -> Option<&Path> {
        self.authority.as_ref().map(|(file, _)| &**file)
    }

    pub(super) fn written(&self) -> usize {
        self.taken.bytes.load(Ordering::SeqCst)
    }

    /// What a slow reader of it may hold of the gateway's memory.
    pub(super) fn held_bytes_max(&self) -> u64 {
        if self.authority.is_some() { HELD_BY_HTTP2_BYTES_MAX } else { HELD_BYTES_MAX }
    }

    /// How many of its streams have not ended.
    pub(super) fn open(&self) -> usize {
        self.taken.open.load(Ordering::SeqCst)
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_send_buffer_size(OWN_BUFFER_BYTES).expect("an option");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let listener = socket.listen(4_096).expect("a listener");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

fn certified(folder: &Path) -> (TlsAcceptor, PathBuf) {
    let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let file = folder.join("authority.pem");
    std::fs::write(&file, pair.cert.pem()).expect("room");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).expect("a key");
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .expect("a pair");
    config.alpn_protocols = vec![b"h2".to_vec()];
    (TlsAcceptor::from(Arc::new(config)), file)
}

impl Taken {
    fn begun(&self) -> Open {
        self.open.fetch_add(1, Ordering::SeqCst);
        Open(self.clone())
    }
}

/// A stream that has not ended.
struct Open(Taken);

impl Open {
    fn wrote(&self, bytes: usize) {
        self.0.bytes.fetch_add(bytes, Ordering::SeqCst);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

fn event() -> String {
    let text = "the tide turns ".repeat(20);
    let event = json!({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]});
    format!("data: {event}\n\n")
}

async fn gush(mut stream: TcpStream, open: Open) -> std::io::Result<()> {
    let mut request = vec![0; 16 << 10];
    let mut got = 0;
    // The callers here send short bodies in one piece with their heads.
    while !request[..got].ends_with(b"}") {
        let more = stream.read(&mut request[got..]).await?;
        if more == 0 {
            return Ok(());
        }
        got += more;
    }
    stream
        .write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        )
        .await?;
    let event = event();
    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
    loop {
        stream.write_all(chunk.as_bytes()).await?;
        open.wrote(chunk.len());
    }
}
