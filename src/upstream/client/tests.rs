//! Tests over sockets: which connections are used again, which are not, and that what is dropped is closed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::{Body, Client, Error, RequestBody};
use crate::upstream::connect::LinkLocalHosts;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const TWO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab";
/// Longer than any of it takes.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    client: Client,
    listener: TcpListener,
}

impl World {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { client: Client::new(None, LinkLocalHosts::default()), listener }
    }

    async fn post(&self, body: &[u8]) -> Result<Response<Body>, Error> {
        self.ask(body, false).await
    }

    async fn ask(&self, body: &[u8], read_whole: bool) -> Result<Response<Body>, Error> {
        let pieces = [Bytes::copy_from_slice(body)].into_iter().collect();
        let mut request = Request::new(RequestBody::new(pieces).read_whole(read_whole));
        *request.method_mut() = Method::POST;
        *request.uri_mut() =
            format!("http://{}/v1/x?y", self.listener.local_addr().unwrap()).parse().unwrap();
        tokio::time::timeout(PATIENCE, self.client.request(request)).await.expect("an outcome")
    }

    /// The answer's status and body.
    async fn said(&self, body: &[u8]) -> Result<(StatusCode, Bytes), Error> {
        let answer = self.post(body).await?;
        let status = answer.status();
        let body = tokio::time::timeout(PATIENCE, answer.into_body().collect()).await.expect("an end")?;
        Ok((status, body.to_bytes()))
    }

    async fn accept(&self) -> TcpStream {
        tokio::time::timeout(PATIENCE, self.listener.accept()).await.expect("a connection").unwrap().0
    }

    /// Waits until the kernel has told what came last of the connection that waits, so that it may or may not be used again.
    async fn until_silent(&self, silent: bool) {
        let wait = async {
            while self.client.http1.is_silent() != silent {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("what was waited for");
    }

    /// One exchange over a connection that waits for the next then.
    async fn warm(&self) -> TcpStream {
        let server = async {
            let mut socket = self.accept().await;
            read_request(&mut socket).await;
            socket.write_all(TWO.as_bytes()).await.unwrap();
            socket
        };
        let (said, socket) = tokio::join!(self.said(b"warm"), server);
        assert_eq!(said.unwrap().1, "ab");
        socket
    }
}

/// The request's head and body.
async fn read_request(socket: &mut TcpStream) -> (String, usize) {
    let mut text = Vec::new();
    let end = loop {
        assert_ne!(socket.read_buf(&mut text).await.unwrap(), 0, "it was closed: {text:?}");
        if let Some(at) = memchr::memmem::find(&text, b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8(text[..end].to_vec()).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let length: usize = length.parse().unwrap();
    while text.len() < end + length {
        assert_ne!(socket.read_buf(&mut text).await.unwrap(), 0, "cut");
    }
    assert_eq!(text.len(), end + length, "bytes behind the request");
    (head, length)
}

/// Waits until the other end has closed, and takes what it still sends.
async fn closed(mut socket: TcpStream) {
    let mut waste = [0; 4096];
    let ended = async { while let Ok(1..) = socket.read(&mut waste).await {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("it is closed");
}

#[tokio::test]
async fn a_request_is_written_plainly_and_its_connection_used_again() {
    let world = World::new().await;
    let mut socket = world.warm().await;
    let server = async {
        let (head, length) = read_request(&mut socket).await;
        socket.write_all(TWO.as_bytes()).await.unwrap();
        (head, length)
    };
    let (said, (head, length)) = tokio::join!(world.said(b"hello"), server);
    assert_eq!(said.unwrap(), (StatusCode::OK, Bytes::from_static(b"ab")));
    let host = world.listener.local_addr().unwrap();
    assert_eq!(head, format!("POST /v1/x?y HTTP/1.1\r\nhost: {host}\r\ncontent-length: 5\r\n\r\n"));
    assert_eq!(length, 5);
}

#[tokio::test]
async fn r25_what_waits_and_was_closed_or_speaks_unasked_is_not_used_again() {
    let world = World::new().await;
    for unasked in ["", "HTTP/1.1 408 Request Timeout\r\n\r\n", "\r\n"] {
        let mut socket = world.warm().await;
        socket.write_all(unasked.as_bytes()).await.unwrap();
        if unasked.is_empty() {
            drop(socket);
        }
        world.until_silent(false).await;
        // Another connection, or this would wait for an answer in vain; and it is gone before the next turn.
        drop(world.warm().await);
        world.until_silent(false).await;
    }
}

#[tokio::test]
async fn r25_bytes_behind_an_answer_end_its_connection() {
    let world = World::new().await;
    let server = async {
        let mut socket = world.accept().await;
        read_request(&mut socket).await;
        socket.write_all(format!("{TWO}{TWO}").as_bytes()).await.unwrap();
        closed(socket).await;
    };
    let (said, ()) = tokio::join!(world.said(b"x"), server);
    assert_eq!(said.unwrap().1, "ab");
}

#[tokio::test]
async fn r23_dropping_a_request_or_an_answer_closes_its_connection() {
    let world = World::new().await;
    let server = async {
        let mut socket = world.accept().await;
        read_request(&mut socket).await;
        socket
    };
    let socket = tokio::select! {
        _ = world.post(b"x") => panic!("nobody answered"),
        socket = server => socket,
    };
    closed(socket).await;
    let server = async {
        let mut socket = world.accept().await;
        read_request(&mut socket).await;
        socket.write_all(format!("{CHUNKED}1\r\na\r\n").as_bytes()).await.unwrap();
        socket
    };
    let (answer, socket) = tokio::join!(world.post(b"x"), server);
    let mut body = answer.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "a");
    drop(body);
    closed(socket).await;
}

#[tokio::test]
async fn an_answer_that_says_all_waits_for_its_end_and_is_used_again_after_it_only() {
    let world = World::new().await;
    let server = async {
        let mut socket = world.accept().await;
        read_request(&mut socket).await;
        socket.write_all(format!("{CHUNKED}6\r\n[DONE]\r\n").as_bytes()).await.unwrap();
        socket
    };
    let (answer, mut socket) = tokio::join!(world.post(b"x"), server);
    let mut body = answer.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "[DONE]");
    body.finished();
    assert!(!world.client.http1.is_silent(), "its end is not there");
    socket.write_all(b"0\r\n\r\n").await.unwrap();
    world.until_silent(true).await;
    let server = async {
        read_request(&mut socket).await;
        socket.write_all(TWO.as_bytes()).await.unwrap();
    };
    let (said, ()) = tokio::join!(world.said(b"again"), server);
    assert_eq!(said.unwrap().1, "ab");
}

#[tokio::test]
async fn an_early_answer_is_read_while_the_request_goes_on_or_is_cut_off() {
    let world = World::new().await;
    let large = vec![b'x'; 8 << 20];
    // It answers before it reads, and then reads all.
    let server = async {
        let mut socket = world.accept().await;
        socket
            .write_all(format!("HTTP/1.1 100 Continue\r\n\r\n{CHUNKED}1\r\na\r\n").as_bytes())
            .await
            .unwrap();
        let (_, length) = read_request(&mut socket).await;
        socket.write_all(b"0\r\n\r\n").await.unwrap();
        (length, socket)
    };
    let (said, (length, mut socket)) = tokio::join!(world.said(&large), server);
    assert_eq!((said.unwrap().1, length), (Bytes::from_static(b"a"), large.len()));
    // As if nothing had been: the connection was whole again.
    let server = async {
        let mut text = vec![0; 1000];
        assert_ne!(socket.read(&mut text).await.unwrap(), 0);
        let refused = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";
        socket.write_all(refused.as_bytes()).await.unwrap();
        socket.shutdown().await.unwrap();
        closed(socket).await;
    };
    let (said, ()) = tokio::join!(world.said(&large), server);
    assert_eq!(said.unwrap(), (StatusCode::PAYLOAD_TOO_LARGE, Bytes::from_static(b"no")));
}

#[tokio::test]
async fn a_connection_that_ends_early_is_an_error_and_the_request_is_not_sent_twice() {
    let world = World::new().await;
    let mut socket = world.warm().await;
    let server = async {
        read_request(&mut socket).await;
        drop(socket);
        let again = tokio::time::timeout(Duration::from_millis(50), world.listener.accept()).await;
        assert!(again.is_err(), "it was sent again");
    };
    let (said, ()) = tokio::join!(world.said(b"x"), server);
    assert!(matches!(said, Err(Error::Http1(_))), "{said:?}");
    for cut in ["HTTP/1.1 200", &format!("{CHUNKED}2\r\na"), "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na"]
    {
        let server = async {
            let mut socket = world.accept().await;
            read_request(&mut socket).await;
            socket.write_all(cut.as_bytes()).await.unwrap();
        };
        let (said, ()) = tokio::join!(world.said(b"x"), server);
        assert!(matches!(said, Err(Error::Http1(_))), "{cut:?}: {said:?}");
    }
}

#[test]
fn another_runtime_takes_over_a_connection_that_waits() {
    use std::io::{Read as _, Write as _};

    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let (world, socket) = first.block_on(async {
        let world = World::new().await;
        let socket = world.warm().await;
        (world, socket.into_std().unwrap())
    });
    // It waits for nothing any more; whoever relied on it would hear of that.
    first.shutdown_background();
    let server = std::thread::spawn(move || {
        let mut socket = socket;
        socket.set_nonblocking(false).unwrap();
        let mut text = [0; 4096];
        assert_ne!(socket.read(&mut text).unwrap(), 0, "it was closed");
        socket.write_all(TWO.as_bytes()).unwrap();
        socket
    });
    let said = second.block_on(world.said(b"x"));
    assert_eq!(said.unwrap().1, "ab");
    assert_eq!(world.client.http1.waiting(), 1);
    drop(server.join().unwrap());
}

#[tokio::test]
async fn what_waits_too_long_is_closed() {
    let world = World::new().await;
    let socket = world.warm().await;
    let now = Instant::now();
    world.client.http1.sweep_at(now + Duration::from_secs(40));
    assert_eq!(world.client.http1.waiting(), 1);
    world.client.http1.sweep_at(now + Duration::from_secs(46));
    assert_eq!(world.client.http1.waiting(), 0);
    closed(socket).await;
}

#[tokio::test]
async fn r13_a_long_head_is_read() {
    let world = World::new().await;
    let server = async {
        let mut socket = world.accept().await;
        read_request(&mut socket).await;
        let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 2\r\n\r\nab", "y".repeat(40 << 10));
        socket.write_all(head.as_bytes()).await.unwrap();
        socket
    };
    let (said, _socket) = tokio::join!(world.said(b"x"), server);
    assert_eq!(said.unwrap().1, "ab");
}

#[tokio::test]
async fn the_engine_that_is_off_is_not_dialled() {
    let client = Client::new(None::<Arc<std::path::Path>>, LinkLocalHosts::default());
    let mut request = Request::new(RequestBody::new(std::iter::empty().collect()));
    *request.uri_mut() = "http://local-engine.invalid/v1/models".parse().unwrap();
    assert!(matches!(client.request(request).await, Err(Error::Connect(_))));
}

#[tokio::test]
async fn r10_streams_come_over_connections_on_which_little_is_read_ahead() {
    let world = World::new().await;
    let uri: http::Uri = format!("http://{}/", world.listener.local_addr().unwrap()).parse().unwrap();
    let bounded = world.client.connector.dial(uri, true).await.unwrap();
    let room = bounded.socket().recv_buffer_size().unwrap();
    assert!((64 << 10..=128 << 10).contains(&room), "{room} bytes, which Linux doubles");
    drop(world.accept().await);
    // Neither kind is used for the other.
    let one = async |read_whole| {
        let server = async {
            let mut socket = world.accept().await;
            read_request(&mut socket).await;
            socket.write_all(TWO.as_bytes()).await.unwrap();
            socket
        };
        let (answer, socket) = tokio::join!(world.ask(b"x", read_whole), server);
        assert_eq!(answer.unwrap().into_body().collect().await.unwrap().to_bytes(), "ab");
        socket
    };
    let sockets = (one(false).await, one(true).await);
    assert_eq!(world.client.http1.waiting(), 2);
    drop(sockets);
}
