//! Any bytes as a provider's stream: never a panic, never a whole end without a finish reason, whether it is kept for another
//! route or is such a route's own words; and in whatever frames they arrive, the same bytes go on and the same tokens are counted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollway::relay::meter::{Flow, Meter};
use tollway::units::{Reported, Usage};
use tollway_fuzz::{parts, relay};

/// What became of two streams, the second of which went on with the first.
#[derive(Debug, PartialEq)]
struct Outcome {
    sent: Vec<u8>,
    flow: Flow,
    reported: Option<Reported>,
    counted: Usage,
}

fn outcome(first: &[u8], second: &[u8], usage_asked: bool, keep: bool, size: usize) -> Outcome {
    let mut meter = Meter::new(usage_asked, 3);
    if keep {
        meter.keep();
    }
    let mut sent = Vec::new();
    let mut run = |meter: &mut Meter, bytes| {
        let flow = relay(meter, bytes, size, |out, _| {
            out.iter().for_each(|bytes| sent.extend_from_slice(bytes));
            true
        });
        assert!(flow != Flow::Ended || meter.is_finished(), "ended without a finish reason");
        flow
    };
    let mut flow = run(&mut meter, first);
    if flow != Flow::Ended
        && let Ok(so_far) = meter.so_far()
    {
        meter.resume(&so_far, true, "[]");
        flow = run(&mut meter, second);
    }
    Outcome { sent, flow, reported: meter.reported().copied(), counted: meter.counted() }
}

fuzz_target!(|bytes: &[u8]| {
    let [first, second, options] = parts(bytes);
    let options = options.first().copied().unwrap_or_default();
    let run = |size| outcome(first, second, options & 1 == 0, options & 2 == 0, size);
    assert_eq!(run(bytes.len() % 61), run(usize::MAX), "another split, another outcome");
});
