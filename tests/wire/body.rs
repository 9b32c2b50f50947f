//! Answers to bodies that nobody reads, that are too slow, or whose readers are.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollway::gateway::framing::{Pace, RequestBody};
use tollway::gateway::listener::{ConnInfo, ListenerSettings};

use crate::peer::{LONG, Record, answers, exchange, full, start, start_with};

#[tokio::test]
async fn r13_an_answer_to_a_body_left_unread_arrives_although_the_client_still_sends() {
    let service = |_: Request<RequestBody>, _: ConnInfo| async { full(StatusCode::PAYLOAD_TOO_LARGE, "no") };
    let server = start_with(ListenerSettings::default(), None, service, Record::default());
    for _ in 0..5 {
        let mut bytes = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n".to_vec();
        bytes.resize(bytes.len() + 8_000_000, b'x');
        let got = exchange(server.address, &bytes).await;
        assert!(String::from_utf8_lossy(&got).contains("\r\nconnection: close\r\n"));
        assert_eq!(answers(&got), [(413, "no".to_owned())]);
    }
}

#[tokio::test]
async fn r12_a_body_slower_than_the_least_rate_is_answered_408() {
    let settings = ListenerSettings {
        body_pace: Pace { window: Duration::from_millis(200), bytes_min: 1000 },
        ..ListenerSettings::default()
    };
    let server = start(settings);
    let got =
        exchange(server.address, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf").await;
    assert_eq!(answers(&got), [(408, "/".to_owned())]);
}

#[tokio::test]
async fn r12_a_body_at_the_least_rate_is_served() {
    let settings = ListenerSettings {
        body_pace: Pace { window: Duration::from_millis(300), bytes_min: 1 },
        ..ListenerSettings::default()
    };
    let server = start(settings);
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\nConnection: close\r\n\r\n";
    stream.write_all(head).await.expect("room");
    for _ in 0..20 {
        stream.write_all(b"x").await.expect("an open connection");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.expect("an orderly end");
    assert_eq!(answers(&got), [(200, "/".to_owned())]);
}

/// A body without an end that is always ready, and counts what was taken.
struct Endless(Arc<AtomicUsize>);

const PIECE: Bytes = Bytes::from_static(&[b'x'; 1024]);

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.fetch_add(PIECE.len(), Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(PIECE))))
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        // Marks that the answer was let go.
        self.0.store(usize::MAX, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn r10_a_reader_that_stops_is_not_read_ahead_of_and_ends_at_the_stall_limit() {
    let taken = Arc::new(AtomicUsize::new(0));
    let service = {
        let taken = Arc::clone(&taken);
        move |_: Request<RequestBody>, _: ConnInfo| {
            let body = Endless(Arc::clone(&taken));
            async move { Response::new(body.boxed_unsync()) }
        }
    };
    let settings = ListenerSettings {
        write_stall_timeout: Duration::from_millis(500),
        send_buffer_bytes: Some(16 * 1024),
        ..ListenerSettings::default()
    };
    let server = start_with(settings, None, service, Record::default());
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(16 * 1024).expect("an option");
    let mut stream = socket.connect(server.address).await.expect("a connection");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("room");
    let watch = async {
        let mut last = 0;
        loop {
            match taken.load(Ordering::Relaxed) {
                usize::MAX => return last,
                now => last = now,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let most = tokio::time::timeout(LONG, watch).await.expect("the stall limit ends it");
    // Both socket buffers (the kernel doubles them) and one buffer of hyper's.
    assert!(most > 0 && most <= 160 * 1024, "{most} bytes were taken from the body");
    // What is still under way ends, with or without a reset.
    let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut Vec::new())).await.expect("an end");
}
