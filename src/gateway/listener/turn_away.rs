//! A word to a client there is no room for, without hyper and without reading its request.

use std::fmt::Write as _;
use std::pin::pin;
use std::time::Duration;

use bytes::Buf;
use http::Response;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// For all of it, reading on so that no reset takes the answer away included.
const LIMIT: Duration = Duration::from_millis(500);

/// Most bytes of a refusal's body; it is a sentence.
const BODY_BYTES_MAX: usize = 4 * 1024;

/// Sends `response` and closes.
pub(super) async fn tell<B: Body>(mut stream: TcpStream, response: Response<B>) {
    let tell = async {
        let bytes = encode(response).await;
        if stream.write_all(&bytes).await.is_err() || stream.shutdown().await.is_err() {
            return;
        }
        let mut waste = [0; 1024];
        while let Ok(1..) = stream.read(&mut waste).await {}
    };
    // Past the limit the socket closes all the same.
    let _ = tokio::time::timeout(LIMIT, tell).await;
}

async fn encode<B: Body>(response: Response<B>) -> Vec<u8> {
    let (head, body) = response.into_parts();
    let mut body = pin!(body);
    let mut content = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(mut data) = frame.into_data() {
            let bytes = data.remaining().min(BODY_BYTES_MAX - content.len());
            content.extend_from_slice(&data.copy_to_bytes(bytes));
        }
    }
    let mut text = format!("HTTP/1.1 {}\r\n", head.status);
    for (name, value) in &head.headers {
        if let Ok(value) = value.to_str() {
            // Writing to a string can't fail.
            let _ = write!(text, "{name}: {value}\r\n");
        }
    }
    let _ = write!(text, "content-length: {}\r\nconnection: close\r\n\r\n", content.len());
    let mut bytes = text.into_bytes();
    bytes.append(&mut content);
    bytes
}
