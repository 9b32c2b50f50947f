//! One caller's connection to a fake provider: read a request, record it, answer it, again.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    Ending, Headers,
    provider::Shared,
    send::send,
    wire::{Extent, Head, read_body, read_head},
};

/// A request as it came over the wire.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its place among all requests of this fake; the first is 0.
    pub index: usize,
    /// The connection it came on; the first is 0.
    pub connection: usize,
    /// `POST`.
    pub method: String,
    /// The target as sent, query included.
    pub path: String,
    /// The head's bytes, from the request line to the blank line.
    pub head: Bytes,
    /// Its fields, order and case kept.
    pub headers: Headers,
    /// The body's bytes, any chunk framing taken off.
    pub body: Bytes,
    /// When the body had come.
    pub arrived: Instant,
}

impl Received {
    /// The body as JSON; `Null` where it is not.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A POST of `body` as a fake would have received it, for a test that asks what a dialect answers.
pub fn received(path: &str, body: &str) -> Received {
    Received {
        index: 0,
        connection: 0,
        method: "POST".to_owned(),
        path: path.to_owned(),
        head: Bytes::new(),
        headers: Headers::default(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        arrived: Instant::now(),
    }
}

/// A request and what became of it.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// What came.
    pub request: Arc<Received>,
    /// How its answer ended.
    pub ending: Ending,
}

impl std::ops::Deref for Recorded {
    type Target = Received;

    fn deref(&self) -> &Received {
        &self.request
    }
}

/// Serves one connection until either side ends it.
pub(crate) async fn serve(mut stream: TcpStream, connection: usize, shared: Arc<Shared>) {
    let mut buffer = BytesMut::new();
    loop {
        let Some(request) = read_request(&mut stream, &mut buffer, connection, &shared).await else { return };
        let exchange = Exchange { request: &request, shared: &shared };
        let reply = shared.reply_to(&request);
        let (ending, reusable) = send(&mut stream, &mut buffer, &reply, &request).await;
        exchange.end(ending);
        if !reusable {
            return;
        }
    }
}

/// Sees to it that an exchange aborted half-way is on record as killed.
struct Exchange<'a> {
    request: &'a Arc<Received>,
    shared: &'a Shared,
}

impl Exchange<'_> {
    fn end(self, ending: Ending) {
        self.shared.end(self.request, ending);
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        self.shared.end(self.request, Ending::Killed);
    }
}

async fn read_request(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    connection: usize,
    shared: &Shared,
) -> Option<Arc<Received>> {
    let Some(head) = read_head(stream, buffer).await else {
        if !buffer.is_empty() {
            shared.unfinished.fetch_add(1, Ordering::Relaxed);
        }
        return None;
    };
    if head.headers.get("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
    }
    let extent = head.extent().unwrap_or(Extent::Length(0));
    let Some(body) = read_body(stream, buffer, extent).await else {
        shared.unfinished.fetch_add(1, Ordering::Relaxed);
        return None;
    };
    let Head { raw, start: [method, path, _], headers } = head;
    let arrived = Instant::now();
    Some(shared.record(|index| Received {
        index,
        connection,
        method,
        path,
        head: raw,
        headers,
        body,
        arrived,
    }))
}
