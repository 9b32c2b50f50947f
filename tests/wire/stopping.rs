//! Stopping without losing a request, and turning away what there is no room for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout};
use tollway::gateway::framing::RequestBody;
use tollway::gateway::listener::{ConnInfo, ListenerSettings};

use crate::peer::{LONG, Record, Server, answers, full, start, start_with};

/// A service whose one streamed answer is what the test sends.
fn streaming(settings: ListenerSettings) -> (Server, mpsc::Sender<Bytes>) {
    let (send, receive) = mpsc::channel(1);
    let receive = Arc::new(Mutex::new(Some(receive)));
    let service = move |_: Request<RequestBody>, _: ConnInfo| {
        let receive = Arc::clone(&receive);
        async move {
            let Some(mut events) = receive.lock().await.take() else {
                return full(StatusCode::OK, "again");
            };
            let stream = futures_util::stream::poll_fn(move |cx| {
                events.poll_recv(cx).map(|event| event.map(|event| Ok(Frame::data(event))))
            });
            Response::new(StreamBody::new(stream).boxed_unsync())
        }
    };
    (start_with(settings, None, service, Record::default()), send)
}

async fn refused(server: &Server) {
    let refused = async {
        // The listener's task needs a turn before its socket is closed.
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, refused).await.expect("new connections are refused");
}

#[tokio::test]
async fn r57_a_running_stream_ends_whole_while_new_connections_are_refused() {
    let (mut server, events) = streaming(ListenerSettings::default());
    let mut idle = TcpStream::connect(server.address).await.expect("a connection");
    let mut silent = TcpStream::connect(server.address).await.expect("a connection");
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("room");
    events.send(Bytes::from_static(b"one ")).await.expect("a reader");
    let mut got = vec![0; 4096];
    let mut filled = 0;
    while !got[..filled].ends_with(b"one \r\n") {
        filled += stream.read(&mut got[filled..]).await.expect("the first event");
    }
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("room");
    let answered = idle.read(&mut [0; 1024]).await.expect("an answer");
    assert!(answered > 0);

    server.stop.cancel();
    refused(&server).await;
    for other in [&mut idle, &mut silent] {
        let end = timeout(LONG, other.read_to_end(&mut Vec::new())).await.expect("idle connections end");
        end.expect("an orderly end");
    }
    events.send(Bytes::from_static(b"two")).await.expect("the stream goes on");
    drop(events);
    let mut rest = Vec::new();
    timeout(LONG, stream.read_to_end(&mut rest)).await.expect("an end").expect("an orderly end");
    assert_eq!(rest, b"3\r\ntwo\r\n0\r\n\r\n");
    assert_eq!((&mut server.done).await.expect("no panic"), 0);
    assert_eq!(server.tasks.panics(), 0);
}

#[tokio::test]
async fn r57_past_the_drain_time_connections_are_cut() {
    let settings =
        ListenerSettings { drain_timeout: Duration::from_millis(200), ..ListenerSettings::default() };
    let (mut server, events) = streaming(settings);
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("room");
    events.send(Bytes::from_static(b"one")).await.expect("a reader");
    assert!(stream.read(&mut [0; 1024]).await.expect("an answer") > 0);
    server.stop.cancel();
    let begun = Instant::now();
    assert_eq!((&mut server.done).await.expect("no panic"), 1);
    assert!((200..1000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    assert!(events.is_closed(), "the answer was let go");
}

#[tokio::test]
async fn r57_http2_streams_end_whole() {
    let (mut server, events) = streaming(ListenerSettings::default());
    let io = hyper_util::rt::TokioIo::new(TcpStream::connect(server.address).await.expect("a connection"));
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake::<_, _, http_body_util::Empty<Bytes>>(executor, io)
            .await
            .expect("HTTP/2");
    let request = Request::get("http://a/").body(http_body_util::Empty::new()).expect("a request");
    let exchange = async {
        let mut response = client.send_request(request).await.expect("an answer");
        events.send(Bytes::from_static(b"one")).await.expect("a reader");
        let first = response.frame().await.expect("an event").expect("a good one");
        assert_eq!(first.into_data().expect("data"), "one");
        server.stop.cancel();
        refused(&server).await;
        events.send(Bytes::from_static(b"two")).await.expect("the stream goes on");
        drop(events);
        assert_eq!(response.collect().await.expect("a whole answer").to_bytes(), "two");
    };
    let (ended, ()) = tokio::join!(connection, exchange);
    ended.expect("an orderly end");
    assert_eq!((&mut server.done).await.expect("no panic"), 0);
}

#[tokio::test]
async fn r15_past_the_limit_a_connection_is_told_so_at_once() {
    let server = start(ListenerSettings { connections_max: 2, ..ListenerSettings::default() });
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.address).await.expect("a connection");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("room");
        assert!(stream.read(&mut [0; 1024]).await.expect("an answer") > 0);
        held.push(stream);
    }
    let begun = Instant::now();
    let mut third = TcpStream::connect(server.address).await.expect("a connection");
    let mut got = Vec::new();
    third.read_to_end(&mut got).await.expect("an orderly end");
    assert!(matches!(answers(&got)[..], [(503, ref body)] if body.contains("too_many_connections")));
    // The bar is 10 ms on a quiet machine; tests run beside others.
    assert!(begun.elapsed() < Duration::from_millis(200), "{:?}", begun.elapsed());

    drop(held);
    let room_again = async {
        loop {
            let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            if matches!(answers(&crate::peer::exchange(server.address, request).await)[..], [(200, _)]) {
                return;
            }
        }
    };
    timeout(LONG, room_again).await.expect("room again");
}
