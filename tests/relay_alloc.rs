//! A chunk on its way through costs no memory: counted by an allocator, in a binary of its own. Only what a policy wants kept,
//! so that a broken stream can be gone on with, is appended to one text.
#![allow(clippy::unwrap_used, reason = "tests: what cannot go on should stop")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Barrier;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tollway::api::sse::{Event, Scanner};
use tollway::relay::Bill;
use tollway::relay::meter::{Flow, Meter, Out};
use tollway::relay::native::NativeMeter;
use tollway::units::{Reported, Usage};
use tollway::upstream::client::{Client, RequestBody};
use tollway::upstream::connect::LinkLocalHosts;
use tollway_test_support::alloc::{Counting, allocations};

#[global_allocator]
static COUNTING: Counting = Counting;

const CHUNKS: usize = 2_000;

fn chunks() -> Vec<Event> {
    let mut scanner = Scanner::new(1 << 20);
    let chunk = |text: usize| {
        format!(
            "data: {{\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"created\":7,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" word{text}\"}},\"finish_reason\":null}}]}}\n\n"
        )
    };
    scanner.push(Bytes::from((0..CHUNKS).map(chunk).collect::<String>()));
    std::iter::from_fn(|| scanner.next_event().unwrap()).collect()
}

/// The same number of a provider's own Responses events.
fn native_events() -> Vec<Event> {
    let mut scanner = Scanner::new(1 << 20);
    let event = |number: usize| {
        format!(
            "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"sequence_number\":{number},\"item_id\":\"msg_1\",\"output_index\":0,\"content_index\":0,\"delta\":\" word{number}\",\"logprobs\":[]}}\n\n"
        )
    };
    scanner.push(Bytes::from((0..CHUNKS).map(event).collect::<String>()));
    std::iter::from_fn(|| scanner.next_event().unwrap()).collect()
}

#[test]
fn a_providers_own_events_take_no_memory() {
    let events = native_events();
    assert_eq!(events.len(), CHUNKS);
    let bill = |_: Option<&Reported>, _: Usage| Bill::default();
    let (mut meter, mut out) = (NativeMeter::new(3), Out::new());
    let taken = allocations(|| {
        for event in &events {
            out.clear();
            assert_eq!(meter.take(event, bill, &mut out), Flow::On);
            assert_eq!(out.len(), 1);
        }
    });
    assert_eq!((taken, meter.counted().completion), (0, CHUNKS as u64));
}

/// Allocations that all but the first chunk take.
fn counted(mut meter: Meter, events: &[Event]) -> u64 {
    let bill = |_: Option<&Reported>, _: Usage| Bill::default();
    let mut out = Out::new();
    let (first, rest) = events.split_first().unwrap();
    assert_eq!(meter.take(first, bill, &mut out), Flow::On);
    allocations(|| {
        for event in rest {
            out.clear();
            assert_eq!(meter.take(event, bill, &mut out), Flow::On);
            assert_eq!(out.len(), 1);
        }
    })
}

#[test]
fn chunks_take_no_memory_and_what_is_kept_is_one_growing_text() {
    let events = chunks();
    assert_eq!(events.len(), CHUNKS);
    assert_eq!(counted(Meter::new(false, 3), &events), 0);
    assert_eq!(counted(Meter::new(true, 3), &events), 0);
    let mut keeping = Meter::new(true, 3);
    keeping.keep();
    let taken = counted(keeping, &events);
    assert!(taken <= 16, "a text of 15 KB doubles a few times, and took {taken} allocations");
}

/// What is read comes by a socket, a chunk at a time; each goes where the one before it was.
#[test]
fn what_is_read_takes_the_memory_of_what_was_read_before() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/v1/x", listener.local_addr().unwrap());
    let events = chunks();
    let (wanted, answered) = (Barrier::new(2), events.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut socket, _) = listener.accept().unwrap();
            socket.set_nodelay(true).unwrap();
            let mut head = [0; 4096];
            assert!(socket.read(&mut head).unwrap() > 0);
            socket.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
            for event in &answered {
                let chunk = [format!("{:x}\r\n", event.raw.len()).as_bytes(), &event.raw, b"\r\n"].concat();
                wanted.wait();
                socket.write_all(&chunk).unwrap();
            }
        });
        let client = Client::new(None, LinkLocalHosts::default());
        let request = http::Request::post(uri).body(RequestBody::new(smallvec::SmallVec::new())).unwrap();
        let mut body = runtime.block_on(client.request(request)).unwrap().into_body();
        let (mut scanner, mut meter, mut out) = (Scanner::new(1 << 20), Meter::new(false, 3), Out::new());
        let bill = |_: Option<&Reported>, _: Usage| Bill::default();
        let mut relay = |chunks: usize| {
            runtime.block_on(async {
                for _ in 0..chunks {
                    wanted.wait();
                    let event = loop {
                        if let Some(event) = scanner.next_event().unwrap() {
                            break event;
                        }
                        scanner.push(body.frame().await.unwrap().unwrap().into_data().unwrap());
                    };
                    assert_eq!(meter.take(&event, bill, &mut out), Flow::On);
                    out.clear();
                }
            });
        };
        relay(CHUNKS / 2);
        assert_eq!(allocations(|| relay(CHUNKS / 2)), 0);
    });
}
