//! HTTP/2 turned against its server: twenty thousand frames of each kind, while others are served as ever.
//!
//! Of the kinds that reach a provider there are fewer, as they take their time: `TOLLWAY_FLOOD_FRAMES=20000` sends all. What each
//! costs is printed: `cargo test --release --test gateway r14 -- --nocapture`.

mod frames;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tollway_test_support::{
    Break, Config, Dialect, Ending, FakeProvider, Footprint, Gateway, Kind, Model, Price, Provider, Recorded,
};

use crate::gateway;
use frames::{
    Attacker, CONTINUATION, DATA, END_HEADERS, HEADERS, INITIAL_WINDOW, PING, PRIORITY, SETTINGS, field,
    frame, head, remembered, request, reset, window,
};

/// What a flood may leave in the process's memory.
const LEFT_BYTES_MAX: u64 = 2 << 20;
/// What each request leaves there that is told of in the ledger, a flood's and others' alike: a part of a page of the ledger's file,
/// which stays in SQLite's cache until that is full (32 MiB).
const RECORD_BYTES: u64 = 512;
/// How long the allocator may keep what was given back: it lets go within ten seconds.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(30);
/// How many decisions are kept to be looked at.
const DECISIONS_KEPT: usize = tollway::gateway::decisions::KEPT;
/// How long a plain request may take meanwhile. The bar is 100 ms on a machine that does nothing else.
const SLOWEST: Duration = Duration::from_secs(5);
const FRAMES: u32 = 20_000;
/// The same where each third one begins a call upstream: such a flood takes its time.
const FRAMES_UPSTREAM: u32 = 3_000;
/// Streams that are open together on a connection.
const TOGETHER: u32 = 100;

fn frames_each(usually: u32) -> u32 {
    std::env::var("TOLLWAY_FLOOD_FRAMES").ok().and_then(|text| text.parse().ok()).unwrap_or(usually)
}

/// What a flood is aimed at: a provider that answers plainly, but for `stuck`, whose streams begin and never end, and `long`,
/// which says much. And one that the others ask, which has nothing else to do: a provider that is busy is not the gateway's fault.
async fn started(more: &str) -> (FakeProvider, FakeProvider, Gateway) {
    let (fake, calm) =
        (FakeProvider::start().await, FakeProvider::speaking(Dialect::new(Kind::OpenAi).tokens(8)).await);
    let (plain, long) = (Dialect::new(Kind::OpenAi).tokens(8), Dialect::new(Kind::OpenAi).tokens(400));
    fake.on(move |request| match request.json()["model"].as_str() {
        Some("stuck") => plain.answer(request).cut_after_events(2, Break::Stall),
        Some("long") => long.answer(request),
        _ => plain.answer(request),
    });
    let served = ["plain", "stuck", "long"].into_iter().fold(
        Provider::fake("fake", Kind::OpenAi, &fake),
        |provider, name| {
            provider.model(Model::new(name, name).price(Price::per_million("0.1", "0.1", "0.4")))
        },
    );
    let config = Config::new()
        .with(&format!("limits: {{{more}}}"))
        .provider(served)
        .provider(
            Provider::fake("calm", Kind::OpenAi, &calm)
                .model(Model::new("calm", "calm").price(Price::per_million("0.1", "0.1", "0.4"))),
        )
        .policy("p.yaml", "policy: p\nprobe: off\n");
    (fake, calm, gateway(config).await)
}

/// How many requests were recorded.
async fn recorded(gateway: &Gateway) -> f64 {
    gateway.metrics().await.sum("tollway_requests_total", &[])
}

async fn is_served(gateway: &Gateway, model: &str) {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "tok-2"}]});
    let response = gateway.chat(&body).send().await;
    assert_eq!(response.status, 200);
    let _ = response.text().await;
}

/// Makes as many requests as the gateway remembers, so that its memory of them grows no more.
async fn warm(calm: &FakeProvider, gateway: &Gateway) {
    for _ in 0..DECISIONS_KEPT / 64 {
        for _ in 0..64 {
            is_served(gateway, "calm").await;
        }
        calm.forget();
    }
}

fn asking(model: &str) -> String {
    json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "tok-1"}]}).to_string()
}

/// What a flood did to the others, and to the process.
struct Account {
    served: usize,
    slowest: Duration,
    before: Footprint,
    recorded_before: f64,
    began: Instant,
}

/// Runs `flood` while plain requests are made one after the other, and timed.
async fn beside<T>(gateway: &Gateway, flood: impl Future<Output = T>) -> (T, Account) {
    let (before, recorded_before) = (gateway.footprint(), recorded(gateway).await);
    let over = Arc::new(AtomicBool::new(false));
    let others = async {
        let mut account =
            Account { served: 0, slowest: Duration::ZERO, before, recorded_before, began: Instant::now() };
        // One at least comes after the flood.
        loop {
            let is_last = over.load(Ordering::Relaxed);
            let asked = Instant::now();
            is_served(gateway, "calm").await;
            account.slowest = account.slowest.max(asked.elapsed());
            account.served += 1;
            if is_last {
                return account;
            }
        }
    };
    // Those that ask the provider that the flood keeps busy have to wait for it, but are served.
    let beside_it = async {
        while !over.load(Ordering::Relaxed) {
            is_served(gateway, "plain").await;
        }
    };
    let flood = async {
        let flood = flood.await;
        over.store(true, Ordering::Relaxed);
        flood
    };
    let (flood, account, ()) = tokio::join!(flood, others, beside_it);
    (flood, account)
}

impl Account {
    /// Everything is given back, and the others saw nothing.
    #[expect(clippy::print_stdout, reason = "figures, for who asks to see them")]
    async fn settle(self, what: &str, sent: &str, fake: &FakeProvider, gateway: &Gateway) {
        gateway
            .metrics_until(&format!("{what}: nothing is left in flight"), |m| {
                m.sum("tollway_requests_in_flight", &[]) == 0.0
            })
            .await;
        fake.until(&format!("{what}: every call upstream has ended"), |records| {
            records.iter().all(|record| record.ending != Ending::Open)
        })
        .await;
        let (took, after) = (self.began.elapsed(), gateway.footprint());
        let grown = |now: Footprint| now.resident_bytes.saturating_sub(self.before.resident_bytes);
        let patience = Instant::now() + GIVEN_BACK_WITHIN;
        let (records, left) = loop {
            let records = recorded(gateway).await - self.recorded_before;
            let left = grown(gateway.footprint()).saturating_sub(RECORD_BYTES * records as u64);
            if left < LEFT_BYTES_MAX || Instant::now() > patience {
                break (records, left);
            }
            // What was given back is let go of when the allocator is next asked for something.
            is_served(gateway, "calm").await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        println!(
            "{what}: {sent} in {:.1} s; {:.2} s of processor; +{} KiB, and {} KiB {:.1} s later beside {records} \
             records; {} plain requests, slowest {} ms",
            took.as_secs_f64(),
            after.processor_time.saturating_sub(self.before.processor_time).as_secs_f64(),
            grown(after) / 1024,
            left / 1024,
            self.began.elapsed().saturating_sub(took).as_secs_f64(),
            self.served,
            self.slowest.as_millis()
        );
        fake.forget();
        assert!(self.slowest < SLOWEST, "{what}: a plain request took {:?}", self.slowest);
        assert!(left < LEFT_BYTES_MAX, "{what}: {left} bytes more are held");
        assert_eq!(gateway.metrics().await.sum("tollway_panics_total", &[]), 0.0, "{what}");
    }
}

/// One piece of a flood on a connection of which it is the `at`th: bytes, and how many frames they are.
type Piece = dyn Fn(u32) -> (Vec<u8>, u32) + Sync;

/// Sends pieces until so many frames are out, over a new connection whenever one is ended. Where it `may_ask`, it goes on only
/// when the server has read what it sent, so that none of it is lost in a socket that nobody reads any more.
async fn flood(gateway: &Gateway, frames: u32, may_ask: bool, piece: &Piece) -> String {
    let (mut sent, mut connections) = (0, 0);
    while sent < frames {
        let mut attacker = Attacker::connect(gateway.address(), &[]).await;
        connections += 1;
        let mut unread = 0;
        for at in 0.. {
            let (bytes, count) = piece(at);
            if sent >= frames || !attacker.write(&bytes).await {
                break;
            }
            sent += count;
            unread += count;
            if unread >= 50 {
                unread = 0;
                if may_ask && !attacker.is_read().await {
                    break;
                }
            }
        }
        attacker.done().await;
    }
    format!("{sent} frames over {connections} connections")
}

/// Opens streams, waits until each is on its way upstream, and has them reset, until so many frames are out.
async fn begun_and_reset(gateway: &Gateway, fake: &FakeProvider, reset: fn(u32) -> Vec<u8>) -> String {
    let (mut sent, mut calls, mut connections) = (0, 0, 0);
    let open = |records: &[Recorded]| records.iter().filter(|record| record.ending == Ending::Open).count();
    while sent < frames_each(FRAMES_UPSTREAM) {
        let mut attacker = Attacker::connect(gateway.address(), &[]).await;
        connections += 1;
        let streams = || (0..TOGETHER).map(stream);
        let requests: Vec<u8> = streams().flat_map(|at| request(at, &asking("stuck"))).collect();
        assert!(attacker.write(&requests).await);
        fake.until("every stream is upstream", |records| open(records) >= TOGETHER as usize).await;
        let resets: Vec<u8> = streams().flat_map(reset).collect();
        assert!(attacker.write(&resets).await);
        fake.until("every call upstream has ended", |records| open(records) == 0).await;
        sent += 3 * TOGETHER;
        calls += TOGETHER;
        fake.forget();
        attacker.done().await;
    }
    format!("{sent} frames over {connections} connections, {calls} calls upstream begun and ended")
}

/// The `at`th stream of a client.
const fn stream(at: u32) -> u32 {
    2 * at + 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_twenty_thousand_frames_of_each_kind_cost_the_others_nothing() {
    let (fake, calm, gateway) = started("in_flight_max: 5000").await;
    warm(&calm, &gateway).await;
    // The first of them warms up: a process makes room that it keeps.
    for (what, reset) in [
        ("warming up", reset as fn(u32) -> Vec<u8>),
        ("reset of what has begun", reset),
        // A window that grows by nothing is an error of the stream.
        ("resets that the server is made to send", |stream| window(stream, 0)),
    ] {
        let (sent, account) = beside(&gateway, begun_and_reset(&gateway, &fake, reset)).await;
        if what != "warming up" {
            account.settle(what, &sent, &fake, &gateway).await;
        }
    }
    let stuck = asking("stuck");
    let many = |frame: Vec<u8>| move |_: u32| (frame.repeat(100), 100);
    let kinds: Vec<(&str, Box<Piece>)> = vec![
        (
            "rapid reset",
            Box::new(|at| {
                let head = frame(HEADERS, END_HEADERS, stream(at), &head());
                ([head, reset(stream(at))].concat(), 2)
            }),
        ),
        (
            "rapid reset of whole requests",
            Box::new(move |at| ([request(stream(at), &stuck), reset(stream(at))].concat(), 3)),
        ),
        (
            "CONTINUATION",
            Box::new(|at| match at {
                0 => (frame(HEADERS, 0, 1, &head()), 1),
                at => (frame(CONTINUATION, 0, 1, &field(at)), 1),
            }),
        ),
        (
            "empty CONTINUATION",
            Box::new(|at| match at {
                0 => (frame(HEADERS, 0, 1, &head()), 1),
                _ => (frame(CONTINUATION, 0, 1, &[]), 1),
            }),
        ),
        ("SETTINGS", Box::new(many(frame(SETTINGS, 0, 0, &[])))),
        ("PING", Box::new(many(frame(PING, 0, 0, &[7; 8])))),
        ("PRIORITY", Box::new(many(frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])))),
        ("unknown frames", Box::new(many(frame(0xbe, 0, 1, &[0; 16])))),
        (
            "empty DATA",
            Box::new(|at| match at {
                0 => (frame(HEADERS, END_HEADERS, 1, &head()), 1),
                _ => (frame(DATA, 0, 1, &[]).repeat(50), 50),
            }),
        ),
        (
            "a header table read a thousand times over",
            Box::new(|at| {
                let first = if at == 0 { remembered() } else { Vec::new() };
                let block = [first, head(), vec![0xbe; 1000]].concat();
                (frame(HEADERS, END_HEADERS, stream(at), &block), 1)
            }),
        ),
    ];
    for (what, piece) in kinds {
        // Between the parts of a head nothing else may come.
        let may_ask = !what.contains("CONTINUATION");
        let usually = if what.contains("whole requests") { FRAMES_UPSTREAM } else { FRAMES };
        let frames = frames_each(usually);
        let (sent, account) = beside(&gateway, flood(&gateway, frames, may_ask, &*piece)).await;
        account.settle(what, &sent, &fake, &gateway).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r10_r14_windows_that_stay_shut_or_drip_end_at_the_stall_limit() {
    const STREAMS: u32 = 200;
    let (fake, calm, gateway) = started("stall_timeout: 1s").await;
    warm(&calm, &gateway).await;
    let ends = |attacker: Attacker| async {
        assert!(attacker.ended(Duration::from_secs(20)).await, "the connection outlives the stall limit");
    };
    for round in 0..3 {
        let ((), account) = beside(&gateway, async {
            // Nothing may be sent: neither what is long nor what is short, streamed or in one piece.
            let mut attacker = Attacker::connect(gateway.address(), &[(INITIAL_WINDOW, 0)]).await;
            let whole =
                json!({"model": "plain", "messages": [{"role": "user", "content": "tok-1"}]}).to_string();
            for at in 0..STREAMS {
                let body = [asking("long"), whole.clone(), asking("plain")][at as usize % 3].clone();
                assert!(attacker.write(&request(stream(at), &body)).await);
            }
            ends(attacker).await;
        })
        .await;
        if round > 0 {
            account.settle("windows that stay shut", "200 streams", &fake, &gateway).await;
        }
    }
    let frames = frames_each(FRAMES);
    let (sent, account) = beside(&gateway, async {
        let mut attacker = Attacker::connect(gateway.address(), &[(INITIAL_WINDOW, 0)]).await;
        for at in 0..STREAMS {
            assert!(attacker.write(&request(stream(at), &asking("long"))).await);
        }
        let mut sent = 0;
        while sent < frames {
            let drips: Vec<u8> = (0..STREAMS).flat_map(|at| window(stream(at), 1)).collect();
            if !attacker.write(&drips).await {
                break;
            }
            sent += STREAMS;
        }
        // An event has more bytes than came one by one until the limit.
        ends(attacker).await;
        format!("{sent} frames, a byte of window each")
    })
    .await;
    account.settle("windows that drip", &sent, &fake, &gateway).await;
}
