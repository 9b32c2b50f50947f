//! Any bytes as JSON: taken exactly where serde_json takes them, and nothing that reads bodies or chunks panics on them.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tollway::api::body::Call;
use tollway::api::scan::{self, Scanner};
use tollway::api::splice::splice;
use tollway::api::{chunk, usage};
use tollway::routing::Endpoint;

fuzz_target!(|bytes: &[u8]| {
    let mut scanner = Scanner::new(bytes, 100);
    let ours = scan::check_utf8(bytes).is_ok() && scanner.value().is_ok() && scanner.finish().is_ok();
    let theirs = serde_json::from_slice::<serde_json::Value>(bytes);
    if ours {
        // Numbers past what a float holds are JSON all the same, and only serde_json minds them.
        assert!(
            theirs.is_ok() || theirs.is_err_and(|error| error.to_string().contains("number out of range")),
            "taken here, and not by serde_json"
        );
    } else if let Ok(value) = theirs {
        assert!(depth(&value) > 90, "taken by serde_json, and not here");
    }
    let _ = usage::read(bytes);
    let _ = chunk::read(bytes);
    for endpoint in [Endpoint::Chat, Endpoint::Completions, Endpoint::Embeddings] {
        if let Ok(call) = Call::parse(endpoint, Bytes::copy_from_slice(bytes), 100) {
            assert_eq!(splice(&call.body, &call.members, &[]).concat(), bytes);
            let _ = call.cannot_go_on();
        }
    }
});

fn depth(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        serde_json::Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 1,
    }
}
