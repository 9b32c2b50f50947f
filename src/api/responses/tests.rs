//! The translators held to OpenAI's shapes: requests, whole answers, streams in any split.

mod answers;
mod requests;
mod streams;

use serde_json::{Value, json};

use crate::api::face::{Start, Tally};
use crate::units::{NanoUsd, Usage};

use super::{Face, Writer, translate};

const START: Start<'static> = Start { request_id: "req_7", at_s: 1_790_000_007, prompt_tokens: 9 };

fn tally() -> Tally {
    let usage = Usage { prompt: 40, cached: 8, cache_write: 0, completion: 4, reasoning: 1 };
    Tally { usage, cost: Some(NanoUsd(740_080)), estimated: false }
}

fn face_of(request: &Value) -> Face {
    translate(&request.to_string().into(), 128).unwrap().1
}

/// The chat request that `request` comes to.
fn chat_of(request: &Value) -> Value {
    serde_json::from_slice(&translate(&request.to_string().into(), 128).unwrap().0).unwrap()
}

fn plain() -> Face {
    face_of(&json!({"model": "m", "input": "hi"}))
}

/// A Response's events, checked for what holds of all: names, and numbers without a gap.
fn events(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    let events = text.split_terminator("\n\n").filter(|event| !event.starts_with(':'));
    let read = events.enumerate().map(|(number, event)| {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name, format!("event: {}", data["type"].as_str().unwrap()));
        assert_eq!(data["sequence_number"], number, "{text}");
        data
    });
    read.collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap().trim_start_matches("response.")).collect()
}

/// A chat chunk that adds `delta`.
fn chunk(delta: &Value) -> String {
    json!({"id": "c", "model": "up/m", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
        .to_string()
}

fn finish(reason: &str) -> String {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}).to_string()
}

/// All that a writer makes of `chunks`.
fn told(face: &Face, chunks: &[String]) -> Vec<Value> {
    let mut out = Vec::new();
    let mut writer = Writer::new(face, &START);
    for chunk in chunks {
        writer.event(chunk.as_bytes(), &mut out).unwrap();
    }
    writer.done(&tally(), &mut out);
    events(&out)
}
