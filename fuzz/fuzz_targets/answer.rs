//! Any bytes as a provider's HTTP/1.1 answer, in any reads: the same head, data, end and fault as in one read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollway::upstream::http1::reading::read;

fuzz_target!(|bytes: &[u8]| {
    let (whole, fault) = read([bytes]);
    for size in [1, bytes.len() % 61 + 1] {
        let split = read(bytes.chunks(size));
        assert_eq!((&split.0, split.1), (&whole, fault), "another split, another answer");
    }
    assert!(whole.data.len() <= bytes.len(), "data was made up");
    // What ends by itself ends there whatever follows, and what is used again has told where it ends.
    if let Some(rest) = whole.rest.filter(|_| whole.keeps_alive && fault.is_none()) {
        let (alone, none) = read([&bytes[..bytes.len() - rest]]);
        assert_eq!((alone.data, alone.rest, none), (whole.data, Some(0), None));
    }
});
