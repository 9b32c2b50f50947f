//! Any bytes as a request to Responses and as what a provider answers it: never a panic, and what is told is what was promised.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollway::api::face::Surface;

const USUAL: &[u8] = br#"{"model":"m","input":"x","stream":true}"#;

fuzz_target!(|bytes: &[u8]| tollway_fuzz::face(Surface::Responses, USUAL, bytes));
