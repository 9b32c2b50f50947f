//! Any bytes as an event stream, in any frames: the same events as in one frame, and every byte accounted for.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tollway::api::sse::Scanner;

/// Data of all events, and the bytes that events and the rest behind them hold together.
fn read<'f>(frames: impl Iterator<Item = &'f [u8]>) -> (Vec<Option<Bytes>>, Vec<u8>) {
    let mut scanner = Scanner::new(1 << 20);
    let (mut data, mut raw) = (Vec::new(), Vec::new());
    for frame in frames {
        scanner.push(Bytes::copy_from_slice(frame));
        while let Ok(Some(event)) = scanner.next_event() {
            raw.extend_from_slice(&event.raw);
            data.push(event.data());
        }
    }
    if let Some(event) = scanner.finish() {
        raw.extend_from_slice(&event.raw);
        data.push(event.data());
    }
    raw.extend_from_slice(scanner.rest());
    (data, raw)
}

fuzz_target!(|input: (&[u8], u8)| {
    let (bytes, size) = input;
    let whole = read(std::iter::once(bytes));
    assert_eq!(whole.1, bytes, "bytes were lost or made up");
    let said = |data: &[Option<Bytes>]| data.iter().flatten().cloned().collect::<Vec<_>>();
    let split = read(bytes.chunks(usize::from(size).max(1)));
    assert_eq!(said(&split.0), said(&whole.0), "another split, other events");
    assert_eq!(split.1, bytes);
});
