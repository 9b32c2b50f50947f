//! Callers that take a byte now and then of an answer without end: what they hold, how far ahead of them is read, and what ends them.

mod fountain;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tollway_test_support::{Config, Dialect, FakeProvider, Gateway, Kind, Model, Price, Provider};

use crate::gateway;
use fountain::Fountain;

/// What a slow reader may hold of the process's memory.
const HELD_BYTES_MAX: u64 = 64 << 10;
/// The same where the provider speaks HTTP/2, whose window lies in the process: more than is promised.
const HELD_BY_HTTP2_BYTES_MAX: u64 = 160 << 10;
/// How far ahead of a reader its provider may write: what lies in the kernel's buffers on either side of the gateway, and in it.
const AHEAD_BYTES_MAX: usize = 256 << 10;
/// The receive buffer of a slow reader: what lies there is its own affair.
const OWN_BUFFER_BYTES: u32 = 4 << 10;

async fn started(fountain: &Fountain, limits: &str) -> (FakeProvider, Gateway) {
    let plain = FakeProvider::speaking(Dialect::new(Kind::OpenAi)).await;
    let price = Price::per_million("0.1", "0.1", "0.4");
    let endless = Provider::at("fountain", Kind::OpenAi, &fountain.base_url())
        .model(Model::new("endless", "endless").price(price));
    let config = Config::new()
        .with(&format!("limits: {{{limits}}}"))
        .provider(endless)
        .provider(
            Provider::fake("plain", Kind::OpenAi, &plain).model(Model::new("plain", "plain").price(price)),
        )
        .policy("p.yaml", "policy: p\nprobe: off\n");
    let config = match fountain.authority() {
        Some(file) => config.env("SSL_CERT_FILE", &file.to_string_lossy()),
        None => config,
    };
    (plain, gateway(config).await)
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

/// How slow readers come and stay.
struct Crowd {
    clients: u32,
    /// Between two bytes of one of them.
    pause: Duration,
    /// How long what they hold is looked at once nothing moves any more, and how much later the stall limit ends them.
    hold: Duration,
    rest: Duration,
    /// The gateway's.
    limits: String,
}

impl Crowd {
    /// Two hundred at ten bytes a second, who are ended after five seconds.
    fn short() -> Self {
        let pause = Duration::from_millis(100);
        let limits = "stall_timeout: 5s".to_owned();
        Self { clients: 200, pause, hold: Duration::ZERO, rest: Duration::ZERO, limits }
    }
}

/// Slow readers of `fountain` hold no more than they may. What tests beside this one leave resident by their load, as when
/// calls begin that cannot go on, is not the readers' and comes on top: the least of three tries counts, each with a gateway of its own.
async fn slow_readers(fountain: &Fountain, crowd: &Crowd) {
    let mut tries = Vec::new();
    while tries.len() < 3 {
        tries.push(held_by_each(fountain, crowd).await);
        if tries.last().is_some_and(|each| *each <= fountain.held_bytes_max()) {
            return;
        }
    }
    panic!("each holds {tries:?} bytes, of {} that it may", fountain.held_bytes_max());
}

/// What each of them holds, in bytes.
#[expect(clippy::print_stdout, reason = "figures, for who asks to see them")]
async fn held_by_each(fountain: &Fountain, crowd: &Crowd) -> u64 {
    let &Crowd { clients, pause, hold, rest, ref limits } = crowd;
    let (_plain, gateway) = started(fountain, limits).await;
    is_served(&gateway).await;
    // A first few make room that the process keeps.
    let mut readers = JoinSet::new();
    (0..20).for_each(|_| drop(readers.spawn(sip(gateway.address(), pause))));
    settled(fountain).await;
    readers.shutdown().await;
    gateway.metrics_until("nobody is left", |m| m.sum("tollway_requests_in_flight", &[]) == 0.0).await;
    let (before, written_before) = (gateway.footprint(), fountain.written());

    (0..clients).for_each(|_| drop(readers.spawn(sip(gateway.address(), pause))));
    gateway
        .metrics_until("all are reading", |m| m.sum("tollway_requests_in_flight", &[]) == f64::from(clients))
        .await;
    let ahead = (settled(fountain).await - written_before) / clients as usize;
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
    let each = most.saturating_sub(before.resident_bytes) / u64::from(clients);
    println!(
        "{clients} slow readers: {} KiB RSS each, {} KiB written ahead of each",
        each / 1024,
        ahead / 1024
    );
    assert!(ahead <= AHEAD_BYTES_MAX, "{ahead} bytes are written ahead of each");

    // The readers themselves go on with what lies in their own buffers, and notice nothing yet.
    tokio::time::sleep(rest).await;
    let metrics = gateway
        .metrics_until("all are settled", |m| {
            m.sum("tollway_requests_in_flight", &[]) == 0.0
                && m.sum("tollway_requests_total", &[("outcome", "cancelled")]) == f64::from(clients + 20)
        })
        .await;
    readers.shutdown().await;
    // An event has some sixty tokens, and many were read.
    let cost = metrics.sum("tollway_cost_usd_total", &[("model", "endless")]) / f64::from(clients + 20);
    assert!(cost > 100.0 * 0.4e-6, "what was read is charged: {cost} USD each");
    let patience = Instant::now() + Duration::from_secs(10);
    while fountain.open() > 0 {
        assert!(Instant::now() < patience, "a call upstream is left");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    is_served(&gateway).await;
    each
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r10_slow_readers_hold_little_are_not_read_ahead_of_and_end_at_the_stall_limit() {
    slow_readers(&Fountain::http1(), &Crowd::short()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r10_slow_readers_of_what_comes_by_http2_hold_as_little() {
    slow_readers(&Fountain::http2(), &Crowd::short()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes as long as its readers are slow: ten minutes unless TOLLWAY_SLOW_SECONDS says otherwise"]
async fn r10_fifteen_hundred_at_a_byte_a_second() {
    let seconds =
        std::env::var("TOLLWAY_SLOW_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(600);
    let crowd = Crowd {
        clients: 1_500,
        pause: Duration::from_secs(1),
        hold: Duration::from_secs(seconds),
        rest: Duration::from_secs(45),
        limits: format!("stall_timeout: {}s", seconds + 45),
    };
    slow_readers(&Fountain::http1(), &crowd).await;
}
