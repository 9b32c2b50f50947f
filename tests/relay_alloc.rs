//! A chunk on its way through costs no memory: counted by an allocator, in a binary of its own. Only what a policy wants kept,
//! so that a broken stream can be gone on with, is appended to one text.
#![allow(clippy::unwrap_used, reason = "tests: what cannot go on should stop")]

use bytes::Bytes;
use tollway::api::sse::{Event, Scanner};
use tollway::relay::Bill;
use tollway::relay::meter::{Flow, Meter, Out};
use tollway::relay::native::NativeMeter;
use tollway::units::{Reported, Usage};
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
