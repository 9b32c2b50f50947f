//! The same answer to every request, made once: a provider so cheap that a benchmark measures what is before it.

use std::{io, sync::Arc, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use crate::{
    Received,
    dialect::Dialect,
    reply::{Part, Reply},
    wire::{Headers, fill},
};

/// Answers made ahead of time, as whole messages.
#[derive(Debug)]
pub struct Prebuilt {
    whole: Bytes,
    stream_head: Bytes,
    /// The stream's chunks, framing included; the closing one is the last.
    stream: Vec<Bytes>,
    first_token: Duration,
    gap: Duration,
}

impl Prebuilt {
    /// One chat of `dialect`, streamed and not. A plain answer is filled up with text to `body_bytes`.
    pub fn new(dialect: &Dialect, body_bytes: usize, first_token: Duration, gap: Duration) -> Self {
        let whole = dialect.answer(&request("")).body();
        let mut whole = String::from_utf8(whole.into()).expect("JSON");
        let place = whole.find("tok-fake").expect("the token leads the text");
        whole.insert_str(place, &"x".repeat(body_bytes.saturating_sub(whole.len())));
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: fake\r\n";
        let whole = format!("{head}content-length: {}\r\n\r\n{whole}", whole.len()).into();
        let streamed = dialect.answer(&request(r#","stream":true,"stream_options":{"include_usage":true}"#));
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: fake\r\n";
        let stream_head = format!("{head}transfer-encoding: chunked\r\n\r\n").into();
        Self { whole, stream_head, stream: chunks(&streamed), first_token, gap }
    }

    /// Answers every connection of `listener` until the future is dropped.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let shared = Arc::new(self);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let shared = Arc::clone(&shared);
            tokio::spawn(async move { shared.connection(stream).await });
        }
    }

    async fn connection(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut buffer = BytesMut::new();
        while let Some(streams) = next_request(&mut stream, &mut buffer).await? {
            if streams {
                self.stream(&mut stream).await?;
            } else {
                pause(self.first_token).await;
                stream.write_all(&self.whole).await?;
            }
        }
        Ok(())
    }

    async fn stream(&self, stream: &mut TcpStream) -> io::Result<()> {
        stream.write_all(&self.stream_head).await?;
        pause(self.first_token).await;
        if self.gap.is_zero() && self.first_token.is_zero() {
            // Still a packet an event, as a provider's own server sends them.
            for chunk in &self.stream {
                stream.write_all(chunk).await?;
            }
            return Ok(());
        }
        for chunk in &self.stream {
            stream.write_all(chunk).await?;
            pause(self.gap).await;
        }
        Ok(())
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// Reads one request away and says whether it asks for a stream; `None` at the end of the connection.
async fn next_request(stream: &mut TcpStream, buffer: &mut BytesMut) -> io::Result<Option<bool>> {
    let head = loop {
        if let Some(end) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            break end + 4;
        }
        if fill(stream, buffer).await? == 0 {
            return Ok(None);
        }
    };
    let length = declared_length(&buffer[..head]).ok_or_else(|| io::Error::other("a length is needed"))?;
    while buffer.len() < head + length {
        if fill(stream, buffer).await? == 0 {
            return Ok(None);
        }
    }
    let body = &buffer[head..head + length];
    let place = memchr::memmem::find(body, b"\"stream\"").map(|place| place + b"\"stream\"".len());
    let value = place.map(|place| body[place..].trim_ascii_start()).and_then(|rest| rest.strip_prefix(b":"));
    let streams = value.is_some_and(|value| value.trim_ascii_start().starts_with(b"true"));
    buffer.advance(head + length);
    Ok(Some(streams))
}

fn declared_length(head: &[u8]) -> Option<usize> {
    for line in head.split(|byte| *byte == b'\n') {
        if line.len() > 15 && line[..15].eq_ignore_ascii_case(b"content-length:") {
            return std::str::from_utf8(&line[15..]).ok()?.trim().parse().ok();
        }
    }
    // A GET has no body; a chunked one is not for this fake.
    head.starts_with(b"GET ").then_some(0)
}

fn chunks(reply: &Reply) -> Vec<Bytes> {
    let parts = reply.0.parts.iter().filter_map(|part| match part {
        Part::Bytes(bytes) => {
            Some([format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat().into())
        }
        Part::Pause(_) | Part::Request => None,
    });
    parts.chain([Bytes::from_static(b"0\r\n\r\n")]).collect()
}

fn request(more: &str) -> Received {
    let body = format!(r#"{{"model":"fake","messages":[{{"role":"user","content":"tok-fake"}}]{more}}}"#);
    Received {
        index: 0,
        connection: 0,
        method: "POST".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        head: Bytes::new(),
        headers: Headers::default(),
        body: body.into(),
        arrived: std::time::Instant::now(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Client, Kind, events};

    #[tokio::test]
    async fn both_forms_come_over_one_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(listener.local_addr().unwrap());
        let dialect = Dialect::new(Kind::Together).tokens(5);
        let prebuilt = Prebuilt::new(&dialect, 4096, Duration::ZERO, Duration::ZERO);
        let serving = tokio::spawn(prebuilt.serve(listener));
        for _ in 0..3 {
            let whole =
                client.post("/v1/chat/completions", r#"{"stream" : false}"#).send().await.bytes().await;
            assert_eq!(whole.len(), 4096);
            assert!(serde_json::from_slice::<serde_json::Value>(&whole).is_ok());
            let streamed =
                client.post("/v1/chat/completions", r#"{"stream": true}"#).send().await.bytes().await;
            // A role, five pieces, the finish, the usage and the closing mark.
            assert_eq!(events(&streamed).len(), 9);
        }
        serving.abort();
    }
}
