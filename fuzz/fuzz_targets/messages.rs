//! Any bytes as a request to Messages and as what a provider answers it: never a panic, and what is told is what was promised.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollway::api::face::Surface;

const USUAL: &[u8] = br#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}],"stream":true}"#;

fuzz_target!(|bytes: &[u8]| tollway_fuzz::face(Surface::Messages, USUAL, bytes));
