//! Any bytes as JSON: taken exactly where serde_json takes them, and nothing that reads bodies or chunks panics on them. What
//! stands between bytes that no text has is a stream's row of chunks, which read in their row as each does alone.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use tollway::api::body::Call;
use tollway::api::scan::{self, Scanner};
use tollway::api::splice::splice;
use tollway::api::{chunk, usage};
use tollway::routing::Endpoint;

/// What is taken here. serde_json has its own bound.
const DEPTH_MAX: usize = 100;

fuzz_target!(|bytes: &[u8]| {
    let mut scanner = Scanner::new(bytes, DEPTH_MAX);
    let ours = scan::check_utf8(bytes).is_ok() && scanner.value().is_ok() && scanner.finish().is_ok();
    // Its grammar alone: values that it cannot hold, such as 1e999 or half a surrogate pair, are JSON all the same.
    let text = std::str::from_utf8(bytes);
    let theirs = text.is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    assert!(ours == theirs || (theirs && depth(bytes) > DEPTH_MAX), "here {ours}, serde_json {theirs}");
    let _ = usage::read(bytes);
    let mut row = chunk::Reader::new();
    for one in bytes.split(|byte| *byte == 0xff) {
        let alone = scan::check_utf8(one).and_then(|()| chunk::read(one));
        assert_eq!(row.read(one).cloned(), alone);
    }
    for endpoint in [Endpoint::Chat, Endpoint::Completions, Endpoint::Embeddings, Endpoint::Rerank] {
        if let Ok(call) = Call::parse(endpoint, Bytes::copy_from_slice(bytes), DEPTH_MAX) {
            assert!(ours, "a call that is no JSON");
            assert_eq!(splice(&call.body, &call.members, &[]).concat(), bytes);
            let _ = call.cannot_go_on();
        }
    }
});

/// How deep arrays and objects stand in each other in a text that is JSON.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
    }
    deepest
}
