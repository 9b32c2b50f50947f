//! A stream in any frames: the same bytes go on, whatever the caller's shape, and the same tokens are counted.

use bytes::Bytes;
use proptest::prelude::*;
use tollway_test_support::Fixture;

use super::faced::Faced;
use super::meter::{Flow, Meter, Out};
use super::parts::Bill;
use crate::api::face::{Start, Surface, Tally};
use crate::api::sse::Scanner;
use crate::units::{NanoUsd, Reported, Usage};

const SURFACES: [(Surface, &str); 3] = [
    (Surface::Plain, "{}"),
    (
        Surface::Messages,
        r#"{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"x"}]}"#,
    ),
    (Surface::Responses, r#"{"model":"m","stream":true,"input":"x","reasoning":{"summary":"auto"}}"#),
];

/// What became of a stream.
#[derive(Debug, PartialEq)]
struct Outcome {
    told: String,
    flow: Flow,
    reported: Option<Reported>,
    counted: Usage,
}

/// As the relay's body does it, frame by frame.
struct Relay {
    scanner: Scanner,
    meter: Meter,
    face: Option<Faced>,
    told: Vec<u8>,
}

fn bill(report: Option<&Reported>, counted: Usage) -> Bill {
    let usage = report.map_or(counted, |report| report.usage);
    Bill { cost: Some(NanoUsd(740_080)), usage, estimated: report.is_none() }
}

impl Relay {
    fn new((surface, request): (Surface, &'static str), usage_asked: bool, kept: bool) -> Self {
        let (_, face) = surface.translate(Bytes::from_static(request.as_bytes()), 64).unwrap();
        let start = Start { request_id: "r", at_s: 7, prompt_tokens: 3 };
        let mut meter = Meter::new(usage_asked, 3);
        if kept {
            meter.keep();
        }
        let face = face.map(|face| Faced::new(face.writer(&start)));
        Self { scanner: Scanner::new(1 << 20), meter, face, told: Vec::new() }
    }

    fn tell(&mut self, out: &Out, flow: Flow) -> Flow {
        let Some(face) = &mut self.face else {
            self.told.extend(out.concat());
            return flow;
        };
        let bill = bill(self.meter.reported(), self.meter.counted());
        let tally = (flow == Flow::Ended).then(|| Tally::from(bill));
        face.relay(out, tally.as_ref(), &mut self.told).map_or(Flow::Broken("untold"), |()| flow)
    }

    fn events(&mut self) -> Flow {
        while let Some(event) = self.scanner.next_event().unwrap() {
            let mut out = Out::new();
            let flow = self.meter.take(&event, bill, &mut out);
            let flow = self.tell(&out, flow);
            if flow != Flow::On {
                return flow;
            }
        }
        Flow::On
    }

    fn run(mut self, frames: &[&[u8]]) -> Outcome {
        let mut flow = Flow::On;
        for frame in frames {
            self.scanner.push(Bytes::copy_from_slice(frame));
            flow = self.events();
            if flow != Flow::On {
                break;
            }
        }
        let mut out = Out::new();
        if flow == Flow::On
            && let Some(event) = self.scanner.finish()
        {
            flow = self.meter.take(&event, bill, &mut out);
            flow = self.tell(&out, flow);
            out.clear();
        }
        if flow == Flow::On {
            flow = self.meter.end(bill, &mut out);
            flow = self.tell(&out, flow);
        }
        let told = String::from_utf8(self.told).unwrap();
        let (reported, counted) = (self.meter.reported().copied(), self.meter.counted());
        Outcome { told, flow, reported, counted }
    }
}

/// Holds `frames` against the same stream in one piece, in each shape, with and without what a caller and a policy can want.
fn same_as_whole(frames: &[&[u8]]) -> Result<(), TestCaseError> {
    let whole = frames.concat();
    for surface in SURFACES {
        for (usage_asked, kept) in [(false, false), (true, true)] {
            let relay = || Relay::new(surface, usage_asked, kept);
            prop_assert_eq!(relay().run(frames), relay().run(&[&whole]), "{:?}", surface.0);
        }
    }
    Ok(())
}

fn cut(bytes: &[u8], cuts: Vec<prop::sample::Index>) -> Vec<&[u8]> {
    let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// Streams as providers end and break them, with what is hard to split: characters and escapes of several bytes, data over
/// several lines, comments, every line end.
fn odd_streams() -> impl Strategy<Value = String> {
    let lines = prop::sample::select(vec![
        ": still there",
        "event: e\u{301}",
        "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"gr\u{fc}\u{df}e \u{1f600}\"}}]}",
        "data:{\"choices\":[{\"index\":0,\"delta\":{\"content\":\" \\ud83d\\ude00\\n\"},\"finish_reason\":null}]}",
        "data: {\"choices\":[{\"index\":0,\ndata:\"delta\":{\"reasoning_content\":\"hm\"}}]}",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}}]}",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"}\"}}]}}]}",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"eos\"}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1}}",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"cost\":0.5}}",
        "data: {\"error\":{\"message\":\"worker died\"}}",
        "data: [DONE]",
    ]);
    let end = prop::sample::select(vec!["\n", "\r\n", "\r"]);
    let event = (lines, end).prop_map(|(line, end)| format!("{}{end}{end}", line.replace('\n', end)));
    (any::<bool>(), prop::collection::vec(event, 0..12))
        .prop_map(|(bom, events)| format!("{}{}", if bom { "\u{feff}" } else { "" }, events.concat()))
}

proptest! {
    #[test]
    fn r07_any_split_of_any_stream_is_relayed_alike(
        stream in odd_streams(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..16),
    ) {
        same_as_whole(&cut(stream.as_bytes(), cuts))?;
    }

    #[test]
    fn r07_any_split_of_a_providers_stream_is_relayed_alike(
        which in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..16),
    ) {
        let streams: Vec<&Fixture> = Fixture::all().iter().filter(|fixture| fixture.is_stream()).collect();
        same_as_whole(&cut(&which.get(&streams).body, cuts))?;
    }
}

#[test]
fn r07_byte_by_byte_is_relayed_alike() {
    let mut told = 0;
    for fixture in Fixture::all().iter().filter(|fixture| fixture.is_stream()) {
        same_as_whole(&fixture.body.chunks(1).collect::<Vec<_>>()).unwrap();
        told += Relay::new(SURFACES[0], true, false).run(&[&fixture.body]).told.len();
    }
    assert!(told > 4_000, "the fixtures are streams that the relay passes on: {told} bytes");
}
