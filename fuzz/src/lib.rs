//! What the targets have in common: inputs in parts, streams that arrive in any frames, and what a face's events promise.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::StatusCode;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tollway::api::body::Call;
use tollway::api::face::{Face, Said, Start, Surface, Tally};
use tollway::api::sse::{Event, Scanner};
use tollway::relay::Bill;
use tollway::relay::faced::Faced;
use tollway::relay::meter::{Flow, Meter, Out};
use tollway::routing::Endpoint;

const DEPTH_MAX: usize = 64;
const EVENT_BYTES_MAX: usize = 1 << 20;
const START: Start<'static> = Start { request_id: "r", at_s: 7, prompt_tokens: 3 };

/// The three parts of an input. They end at bytes that no text has, so that inputs can be written by hand.
pub fn parts(bytes: &[u8]) -> [&[u8]; 3] {
    let mut parts = bytes.splitn(3, |byte| *byte == 0xff);
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// Gives `meter` a stream that arrives in frames of `size`, and each event's outcome to `sent`, which says whether to go on.
pub fn relay(meter: &mut Meter, bytes: &[u8], size: usize, mut sent: impl FnMut(&Out, Flow) -> bool) -> Flow {
    let mut scanner = Scanner::new(EVENT_BYTES_MAX);
    let bill = |_: Option<&_>, _| Bill::default();
    let mut one = |event: &Event| {
        let mut out = Out::new();
        let flow = meter.take(event, bill, &mut out);
        (!sent(&out, flow) || flow != Flow::On).then_some(flow)
    };
    for frame in bytes.chunks(size.max(1)) {
        scanner.push(Bytes::copy_from_slice(frame));
        while let Ok(Some(event)) = scanner.next_event() {
            if let Some(flow) = one(&event) {
                return flow;
            }
        }
    }
    if let Some(flow) = scanner.finish().as_ref().and_then(one) {
        return flow;
    }
    let mut out = Out::new();
    let flow = meter.end(bill, &mut out);
    sent(&out, flow);
    flow
}

/// A request, a provider's stream and its whole answer, through `surface`: what is told is JSON, in the order promised, and the
/// same in whatever frames the stream arrives. `usual` is a request that is surely taken.
pub fn face(surface: Surface, usual: &'static [u8], bytes: &[u8]) {
    let [request, stream, whole] = parts(bytes);
    let size = bytes.len() % 61;
    let translate = |request: Bytes| {
        let (chat, face) = surface.translate(request, DEPTH_MAX).ok()?;
        assert!(is_json(&chat), "a translation that is no JSON");
        // Its values are checked there, as any chat completion's are.
        Call::parse(Endpoint::Chat, chat, usize::MAX).ok()?;
        face
    };
    let face = translate(Bytes::copy_from_slice(request));
    let face = face.or_else(|| translate(Bytes::from_static(usual))).expect("a face");
    let at_once = told(&face, stream, usize::MAX);
    assert_eq!(told(&face, stream, size), at_once, "another split, other events");
    check(surface, &at_once);
    if let Ok(told) = face.whole(whole, &START, &Tally::default()) {
        assert!(is_json(&told), "an answer that is no JSON");
    }
}

fn is_json(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// All that a caller is told of a stream. A stream that breaks is told to have.
fn told(face: &Face, stream: &[u8], size: usize) -> Vec<u8> {
    let mut faced = Faced::new(face.writer(&START));
    let mut all = Vec::new();
    let mut whole = true;
    let flow = relay(&mut Meter::new(true, 3), stream, size, |out, flow| {
        whole = faced.relay(out, (flow == Flow::Ended).then_some(&Tally::default()), &mut all).is_ok();
        whole
    });
    if flow != Flow::Ended || !whole {
        all.extend_from_slice(&faced.failed(&Said {
            status: StatusCode::BAD_GATEWAY,
            kind: "upstream_error",
            param: None,
            code: "stream_broken",
            message: "m",
            request_id: "r",
        }));
    }
    all
}

/// One event of a face: its name, and the members of its data.
struct Told<'a> {
    name: &'a str,
    data: BTreeMap<String, Box<RawValue>>,
}

impl Told<'_> {
    fn number(&self, member: &str) -> u64 {
        self.data[member].get().parse().expect("a number")
    }
}

fn check(surface: Surface, told: &[u8]) {
    let text = std::str::from_utf8(told).expect("text");
    let events = text.split_terminator("\n\n").filter(|event| !event.starts_with(':')).map(|event| {
        let (name, data) = event.split_once('\n').expect("two lines");
        let name = name.strip_prefix("event: ").expect("a name");
        let data = data.strip_prefix("data: ").expect("data");
        let data: BTreeMap<String, Box<RawValue>> = serde_json::from_str(data).expect("an object");
        assert_eq!(data["type"].get(), format!("\"{name}\""), "an event says its name twice");
        Told { name, data }
    });
    let events: Vec<Told<'_>> = events.collect();
    match surface {
        Surface::Messages => messages(&events),
        _ => responses(&events),
    }
}

/// One start, then blocks one after the other, then one end.
fn messages(events: &[Told<'_>]) {
    let (last, rest) = events.split_last().expect("an end");
    assert!(matches!(last.name, "message_stop" | "error"), "ends with {}", last.name);
    let (mut begun, mut blocks, mut open, mut ending) = (false, 0, false, false);
    for event in rest {
        assert!(begun || event.name == "message_start", "begins with {}", event.name);
        assert!(!ending, "goes on after its end");
        match event.name {
            "message_start" => assert!(!std::mem::replace(&mut begun, true), "begins twice"),
            "content_block_start" => {
                assert!(!std::mem::replace(&mut open, true), "a block within a block");
                assert_eq!(event.number("index"), blocks);
            }
            "content_block_delta" => assert!(open && event.number("index") == blocks),
            "content_block_stop" => {
                assert!(std::mem::replace(&mut open, false) && event.number("index") == blocks);
                blocks += 1;
            }
            "message_delta" => ending = !open,
            other => assert_eq!(other, "ping"),
        }
    }
    assert!(last.name == "error" || ending, "stops without a reason");
}

/// Numbered without a gap; items one after the other; one end.
fn responses(events: &[Told<'_>]) {
    for (number, event) in (0..).zip(events) {
        assert_eq!(event.number("sequence_number"), number);
    }
    let (last, rest) = events.split_last().expect("an end");
    let ends = ["response.completed", "response.incomplete", "response.failed", "error"];
    assert!(ends[..3].contains(&last.name), "ends with {}", last.name);
    // A break is told twice, as OpenAI does.
    let rest = match rest.split_last() {
        Some((before, rest)) if last.name == "response.failed" => {
            assert_eq!(before.name, "error");
            rest
        }
        _ => rest,
    };
    assert!(rest.iter().all(|event| !ends.contains(&event.name)), "ends twice");
    let (mut items, mut open) = (0, false);
    for event in rest {
        match event.name {
            "response.output_item.added" => {
                assert!(!std::mem::replace(&mut open, true), "an item within an item");
                assert_eq!(event.number("output_index"), items);
            }
            "response.output_item.done" => {
                assert!(std::mem::replace(&mut open, false) && event.number("output_index") == items);
                items += 1;
            }
            "response.created" | "response.in_progress" => assert_eq!(items, 0),
            _ => assert!(open && event.number("output_index") == items, "{} outside of an item", event.name),
        }
    }
    assert!(!open || last.name == "response.failed", "an item never ended");
}
