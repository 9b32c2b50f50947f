//! Any bytes as a provider's stream: never a panic, never a whole end without a finish reason, whether it is kept for another
//! route or is such a route's own words.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tollway::api::sse::Scanner;
use tollway::relay::Bill;
use tollway::relay::meter::{Flow, Meter, Out};

fuzz_target!(|input: (&[u8], &[u8], bool)| {
    let (first, second, usage_asked) = input;
    let mut meter = Meter::new(usage_asked, 3);
    meter.keep();
    if run(&mut meter, first) == Flow::Ended {
        assert!(meter.is_finished());
        return;
    }
    if let Ok(so_far) = meter.so_far() {
        meter.resume(&so_far, true, "[]");
        if run(&mut meter, second) == Flow::Ended {
            assert!(meter.is_finished());
        }
    }
});

fn run(meter: &mut Meter, bytes: &[u8]) -> Flow {
    let mut scanner = Scanner::new(1 << 20);
    scanner.push(Bytes::copy_from_slice(bytes));
    let bill = |_: Option<&_>, _| Bill::default();
    let mut out = Out::new();
    while let Ok(Some(event)) = scanner.next_event() {
        let flow = meter.take(&event, bill, &mut out);
        if flow != Flow::On {
            return flow;
        }
    }
    meter.end(bill, &mut out)
}
