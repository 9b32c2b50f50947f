//! A plain HTTP/1.1 client: exact bytes out, answers chunk by chunk, and a word on how each answer ended.

use std::{
    fmt::Write,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    Event, Headers,
    gate::PATIENCE,
    sse,
    wire::{BodyReader, Extent, Head, Piece, fill, read_head},
};

/// Idle connections kept for the next request.
const IDLE_MAX: usize = 256;

/// A client of one address. Clones share their idle connections.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    idle: Arc<Mutex<Vec<Connection>>>,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
}

/// A request under construction.
#[derive(Clone, Debug)]
pub struct Request {
    client: Client,
    start: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// An answer whose body may still be on its way. Dropping it early closes the connection.
#[derive(Debug)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// The head's fields, in order.
    pub headers: Headers,
    /// The head's bytes.
    pub head: Bytes,
    body: BodyReader,
    connection: Option<Connection>,
    reusable: bool,
    client: Client,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With all of its body.
    Whole,
    /// The connection closed in good order before the body's end.
    Truncated,
    /// The connection was reset.
    Reset,
    /// Its framing made no sense.
    Malformed,
}

impl Client {
    /// A client of that address.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, idle: Arc::default() }
    }

    /// A request without a body.
    pub fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    /// A request with a JSON body, sent as it is.
    pub fn post(&self, path: &str, body: impl Into<Bytes>) -> Request {
        self.request("POST", path).header("content-type", "application/json").body(body)
    }

    /// A request of any method.
    pub fn request(&self, method: &str, path: &str) -> Request {
        let start = format!("{method} {path} HTTP/1.1");
        let headers = vec![("host".to_owned(), self.address.to_string())];
        Request { client: self.clone(), start, headers, body: Bytes::new() }
    }

    /// Writes these bytes to a new connection and returns all that comes until the peer closes, or until nothing
    /// more came for `quiet`.
    pub async fn raw(&self, bytes: &[u8], quiet: Duration) -> Bytes {
        let mut stream = TcpStream::connect(self.address).await.expect("the peer listens");
        // A peer that refuses early may have closed already: what it said is still to be read.
        let _ = stream.write_all(bytes).await;
        let mut answer = BytesMut::new();
        while let Ok(Ok(1..)) = tokio::time::timeout(quiet, fill(&mut stream, &mut answer)).await {}
        answer.freeze()
    }

    fn idle(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }
}

impl Request {
    /// Adds a header field, spelt so. `host` and `content-length` are there already.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `Authorization: Bearer KEY`.
    pub fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    /// The body, sent as it is.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it and waits for the answer's head; panics where none comes. Dropping the future closes the
    /// connection.
    pub async fn send(self) -> Response {
        let start = self.start.clone();
        self.try_send().await.unwrap_or_else(|error| panic!("{start}: {error}"))
    }

    /// As [`Request::send`], but a connection that fails is an error.
    pub async fn try_send(self) -> std::io::Result<Response> {
        let client = self.client.clone();
        let exchange = self.exchange();
        let (head, connection) =
            tokio::time::timeout(PATIENCE, exchange).await.map_err(std::io::Error::other)??;
        let keep = !head.headers.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let extent = head.extent();
        let status = head.start[1].parse().map_err(std::io::Error::other)?;
        let extent = if status == 204 || status == 304 { Some(Extent::Length(0)) } else { extent };
        Ok(Response {
            status,
            headers: head.headers,
            head: head.raw,
            body: BodyReader::new(extent.unwrap_or(Extent::UntilClose)),
            connection: Some(connection),
            reusable: keep && extent.is_some(),
            client,
        })
    }

    async fn exchange(self) -> std::io::Result<(Head, Connection)> {
        let message = self.bytes();
        // An idle connection may have been closed by the peer meanwhile; a new one is then the right answer.
        while let Some(mut connection) = self.client.idle() {
            if let Ok(head) = connection.exchange(&message).await {
                return Ok((head, connection));
            }
        }
        let stream = TcpStream::connect(self.client.address).await?;
        stream.set_nodelay(true)?;
        let mut connection = Connection { stream, buffer: BytesMut::new() };
        let head = connection.exchange(&message).await?;
        Ok((head, connection))
    }

    fn bytes(&self) -> Bytes {
        let mut message = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            write!(message, "{name}: {value}\r\n").expect("a string grows");
        }
        if !self.body.is_empty() || !self.start.starts_with("GET") {
            write!(message, "content-length: {}\r\n", self.body.len()).expect("a string grows");
        }
        message.push_str("\r\n");
        [message.as_bytes(), &self.body].concat().into()
    }
}

impl Connection {
    async fn exchange(&mut self, message: &[u8]) -> std::io::Result<Head> {
        // A refusal may come, and the reading side close, before all is written: read before judging.
        let written = self.stream.write_all(message).await;
        loop {
            let Some(head) = read_head(&mut self.stream, &mut self.buffer).await else {
                written?;
                return Err(std::io::Error::other("the connection ended before an answer"));
            };
            if head.start[1] != "100" {
                return Ok(head);
            }
        }
    }
}

impl Response {
    /// The next piece of the body as it came; `Err` once it is over, with how it ended. Panics after a minute of
    /// silence. Cancel safe.
    pub async fn next(&mut self) -> Result<Bytes, End> {
        let Some(connection) = &mut self.connection else { return Err(End::Whole) };
        let end = loop {
            match self.body.next(&mut connection.buffer) {
                Piece::Data(data) => return Ok(data),
                Piece::End => break End::Whole,
                Piece::Malformed => break End::Malformed,
                Piece::More => {}
            }
            let read = tokio::time::timeout(PATIENCE, fill(&mut connection.stream, &mut connection.buffer));
            match read.await.expect("the answer stopped coming") {
                Ok(0) if self.body.may_close() => break End::Whole,
                Ok(0) => break End::Truncated,
                Ok(_) => {}
                Err(_) => break End::Reset,
            }
        };
        let connection = self.connection.take();
        if end == End::Whole && self.reusable {
            self.client.keep(connection.expect("taken only here"));
        }
        Err(end)
    }

    /// The rest of the body and how it ended.
    pub async fn rest(mut self) -> (Bytes, End) {
        let mut body = BytesMut::new();
        loop {
            match self.next().await {
                Ok(piece) => body.extend_from_slice(&piece),
                Err(end) => return (body.freeze(), end),
            }
        }
    }

    /// The whole body; panics where it broke off.
    pub async fn bytes(self) -> Bytes {
        let (body, end) = self.rest().await;
        assert_eq!(end, End::Whole, "the body broke off after {}", String::from_utf8_lossy(&body));
        body
    }

    /// The whole body as text.
    pub async fn text(self) -> String {
        String::from_utf8(self.bytes().await.into()).expect("the body is UTF-8")
    }

    /// The whole body as JSON.
    pub async fn json(self) -> serde_json::Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The whole body's events.
    pub async fn events(self) -> Vec<Event> {
        sse::events(&self.bytes().await)
    }

    /// Reads until `text` has come; panics where the body ends first. Returns all that was read.
    pub async fn until(&mut self, text: &str) -> Bytes {
        let mut seen = BytesMut::new();
        while memchr::memmem::find(&seen, text.as_bytes()).is_none() {
            match self.next().await {
                Ok(piece) => seen.extend_from_slice(&piece),
                Err(end) => panic!("{end:?} before {text:?}: {}", String::from_utf8_lossy(&seen)),
            }
        }
        seen.freeze()
    }

    /// Resets the connection in the middle of the answer.
    pub fn reset(mut self) {
        if let Some(connection) = self.connection.take() {
            connection.stream.set_zero_linger().expect("an open socket takes the option");
        }
    }
}
