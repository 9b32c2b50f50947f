//! Callers that take a byte now and then of an answer without end: what they hold, how far ahead of them is read, and what ends them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tollway_test_support::{Config, Dialect, FakeProvider, Gateway, Kind, Model, Price, Provider};

use crate::gateway;

/// What a slow reader may hold of the process's memory.
const HELD_BYTES_MAX: u64 = 64 << 10;
/// How far ahead of a reader its provider may write. 256 KiB are the gateway's; the rest is what the kernel takes of the
/// provider's own connection before anybody reads.
const AHEAD_BYTES_MAX: usize = (256 + 192) << 10;
/// The receive buffer of a slow reader: what lies there is its own affair.
const OWN_BUFFER_BYTES: u32 = 4 << 10;

/// A provider whose every answer is a stream without end, written as fast as it is taken.
#[derive(Debug)]
struct Fountain {
    address: SocketAddr,
    written: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Fountain {
    fn start() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        // What lies in its own send buffer, nobody has read.
        socket.set_send_buffer_size(OWN_BUFFER_BYTES).expect("an option");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let listener = socket.listen(4_096).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (written, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        let (all, living) = (Arc::clone(&written), Arc::clone(&open));
        tasks.spawn(async move {
            let mut streams = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (all, living) = (Arc::clone(&all), Arc::clone(&living));
                streams.spawn(async move {
                    living.fetch_add(1, Ordering::SeqCst);
                    let _ = gush(stream, &all).await;
                    living.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, written, open, _tasks: tasks }
    }

    fn written(&self) -> usize {
        self.written.load(Ordering::SeqCst)
    }
}

async fn gush(mut stream: TcpStream, written: &AtomicUsize) -> std::io::Result<()> {
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
    let text = "the tide turns ".repeat(20);
    let event = json!({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]});
    let event = format!("data: {event}\n\n");
    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
    loop {
        stream.write_all(chunk.as_bytes()).await?;
        written.fetch_add(chunk.len(), Ordering::SeqCst);
    }
}

async fn started(limits: &str) -> (Fountain, FakeProvider, Gateway) {
    let fountain = Fountain::start();
    let plain = FakeProvider::speaking(Dialect::new(Kind::OpenAi)).await;
    let price = Price::per_million("0.1", "0.1", "0.4");
    let endless = Provider::at("fountain", Kind::OpenAi, &format!("http://{}/v1", fountain.address))
        .model(Model::new("endless", "endless").price(price));
    let config = Config::new()
        .with(&format!("limits: {{{limits}}}"))
        .provider(endless)
        .provider(
            Provider::fake("plain", Kind::OpenAi, &plain).model(Model::new("plain", "plain").price(price)),
        )
        .policy("p.yaml", "policy: p\nprobe: off\n");
    (fountain, plain, gateway(config).await)
}

/// Connects, asks for what never ends, and takes a byte of it every `pause` until the connection ends.
async fn sip(address: SocketAddr, pause: Duration) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(OWN_BUFFER_BYTES).expect("an option");
    let mut stream = socket.connect(address).await.expect("a connection");
    let body =
        json!({"model": "endless", "stream": true, "messages": [{"role": "user", "content": "go on"}]})
            .to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("room");
    let mut byte = [0];
    while matches!(stream.read(&mut byte).await, Ok(1)) {
        tokio::time::sleep(pause).await;
    }
}

/// Waits until nothing more is written to the gateway for a while.
async fn settled(fountain: &Fountain) -> usize {
    let mut last = (fountain.written(), Instant::now());
    while last.1.elapsed() < Duration::from_millis(500) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if fountain.written() != last.0 {
            last = (fountain.written(), Instant::now());
        }
    }
    last.0
}

async fn is_served(gateway: &Gateway) {
    let body = json!({"model": "plain", "messages": [{"role": "user", "content": "tok-2"}]});
    let began = Instant::now();
    assert_eq!(gateway.chat(&body).send().await.status, 200);
    assert!(began.elapsed() < Duration::from_secs(5), "others are served: {:?}", began.elapsed());
}

/// `clients` slow readers, looked at once nothing moves any more and for `hold` after that; `rest` later the stall limit ends them.
#[expect(clippy::print_stdout, reason = "figures, for who asks to see them")]
async fn slow_readers(clients: usize, pause: Duration, hold: Duration, rest: Duration, limits: &str) {
    let (fountain, _plain, gateway) = started(limits).await;
    is_served(&gateway).await;
    // A first few make room that the process keeps.
    let mut readers = JoinSet::new();
    (0..20).for_each(|_| drop(readers.spawn(sip(gateway.address(), pause))));
    settled(&fountain).await;
    readers.shutdown().await;
    gateway.metrics_until("nobody is left", |m| m.sum("tollway_requests_in_flight", &[]) == 0.0).await;
    let (before, written_before) = (gateway.footprint(), fountain.written());

    (0..clients).for_each(|_| drop(readers.spawn(sip(gateway.address(), pause))));
    gateway
        .metrics_until("all are reading", |m| {
            m.sum("tollway_requests_in_flight", &[]) == f64::from(clients as u32)
        })
        .await;
    let ahead = (settled(&fountain).await - written_before) / clients;
    is_served(&gateway).await;
    let mut most = 0;
    let began = Instant::now();
    loop {
        most = most.max(gateway.footprint().resident_bytes);
        if began.elapsed() >= hold {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let each = most.saturating_sub(before.resident_bytes) / clients as u64;
    println!(
        "{clients} slow readers: {} KiB RSS each, {} KiB written ahead of each",
        each / 1024,
        ahead / 1024
    );
    assert!(each <= HELD_BYTES_MAX, "each holds {each} bytes");
    assert!(ahead <= AHEAD_BYTES_MAX, "{ahead} bytes are written ahead of each");

    // The readers themselves go on with what lies in their own buffers, and notice nothing yet.
    tokio::time::sleep(rest).await;
    let metrics = gateway
        .metrics_until("all are settled", |m| {
            m.sum("tollway_requests_in_flight", &[]) == 0.0
                && m.sum("tollway_requests_total", &[("outcome", "cancelled")])
                    == f64::from(clients as u32 + 20)
        })
        .await;
    readers.shutdown().await;
    // An event has some sixty tokens, and many were read.
    let cost =
        metrics.sum("tollway_cost_usd_total", &[("model", "endless")]) / f64::from(clients as u32 + 20);
    assert!(cost > 100.0 * 0.4e-6, "what was read is charged: {cost} USD each");
    let patience = Instant::now() + Duration::from_secs(10);
    while fountain.open.load(Ordering::SeqCst) > 0 {
        assert!(Instant::now() < patience, "a call upstream is left");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    is_served(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r10_slow_readers_hold_little_are_not_read_ahead_of_and_end_at_the_stall_limit() {
    let limits = "send_buffer_bytes: 32KiB, stall_timeout: 5s";
    slow_readers(200, Duration::from_millis(100), Duration::ZERO, Duration::ZERO, limits).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes as long as its readers are slow: ten minutes unless TOLLWAY_SLOW_SECONDS says otherwise"]
async fn r10_fifteen_hundred_at_a_byte_a_second() {
    let seconds =
        std::env::var("TOLLWAY_SLOW_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(600);
    let hold = Duration::from_secs(seconds);
    let rest = Duration::from_secs(45);
    slow_readers(1_500, Duration::from_secs(1), hold, rest, &format!("stall_timeout: {}s", seconds + 45))
        .await;
}
