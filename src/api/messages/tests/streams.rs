//! Streams: the events in order, and a client that puts them together by the SDKs' rules.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use tollway_test_support::{Event, Message};

use super::{START, face, tally};
use crate::api::face::Said;
use crate::api::messages::{Purpose, Writer, translate};

/// The events that `chunks` become.
fn events(chunks: &[Value]) -> Vec<Event> {
    let mut writer = Writer::new(&face(&json!({})), &START);
    let mut out = Vec::new();
    for chunk in chunks {
        writer.event(chunk.to_string().as_bytes(), &mut out).unwrap();
    }
    writer.done(&tally(), &mut out);
    tollway_test_support::events(&out)
}

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().filter_map(|event| event.name.as_deref()).collect()
}

fn delta(delta: &Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn call(index: i64, id: &str, name: &str, arguments: &str) -> Value {
    let mut call = json!({"index": index, "function": {"arguments": arguments}});
    if !id.is_empty() {
        call["id"] = json!(id);
        call["function"]["name"] = json!(name);
    }
    delta(&json!({"tool_calls": [call]}))
}

fn finish(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

#[test]
fn a_stream_has_its_events_in_order() {
    let events = events(&[
        delta(&json!({"role": "assistant", "content": "", "reasoning_content": "Hm"})),
        delta(&json!({"reasoning_content": "."})),
        delta(&json!({"content": "I \"look\"."})),
        call(0, "call_1", "f", ""),
        call(0, "", "", "{\"a\":"),
        call(0, "", "", "1}"),
        finish("tool_calls"),
        json!({"choices": [], "usage": {"prompt_tokens": 10}}),
    ]);
    assert_eq!(
        names(&events),
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    assert_eq!(events[0].json().unwrap()["message"]["usage"]["input_tokens"], 12);
    assert_eq!(
        Message::whole(&events),
        json!({
            "id": "msg_req-1", "type": "message", "role": "assistant", "model": "m",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "unsigned:"},
                {"type": "text", "text": "I \"look\"."},
                {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}},
            ],
            "stop_reason": "tool_use", "stop_sequence": null, "stop_details": null,
            "usage": {"input_tokens": 5, "cache_creation_input_tokens": 1, "cache_read_input_tokens": 4,
                "output_tokens": 5, "output_tokens_details": {"thinking_tokens": 2}, "cost": 0.000_740_080},
        })
    );
}

#[test]
fn a_second_call_is_told_as_it_comes_once_the_first_is_whole() {
    let mut writer = Writer::new(&face(&json!({})), &START);
    let mut out = Vec::new();
    for chunk in [call(0, "a", "f", "{\"x\":\"}\"}"), call(1, "b", "g", ""), call(1, "", "", "{\"y\":")] {
        out.clear();
        writer.event(chunk.to_string().as_bytes(), &mut out).unwrap();
    }
    assert_eq!(
        tollway_test_support::events(&out)[0].json().unwrap()["delta"],
        json!({"type": "input_json_delta", "partial_json": "{\"y\":"})
    );
}

#[test]
fn a_new_id_at_a_known_index_is_a_new_call_and_an_index_may_be_negative() {
    let events =
        events(&[call(-1, "a", "f", "{}"), call(-1, "b", "f", "{}"), call(-1, "", "", " "), finish("stop")]);
    let message = Message::whole(&events);
    let ids: Vec<&Value> = message["content"].as_array().unwrap().iter().map(|block| &block["id"]).collect();
    assert_eq!((json!(ids), &message["stop_reason"]), (json!(["a", "b"]), &json!("tool_use")));
}

#[test]
fn r08_a_fault_is_told_once_and_nothing_follows_it() {
    let said = Said {
        status: http::StatusCode::BAD_GATEWAY,
        kind: "upstream_error",
        param: None,
        code: "stream_broken",
        message: "It broke off.",
        request_id: "req-1",
    };
    for last in [r#"{"error":{"message":"worker died","code":500}}"#, r#"{"choices":7}"#] {
        let mut writer = Writer::new(&face(&json!({})), &START);
        let mut out = Vec::new();
        writer.event(delta(&json!({"content": "a"})).to_string().as_bytes(), &mut out).unwrap();
        assert_eq!(writer.event(last.as_bytes(), &mut out).is_ok(), last.contains("error"));
        writer.failed(&said, &mut out);
        writer.event(finish("stop").to_string().as_bytes(), &mut out).unwrap();
        writer.alive(&mut out);
        writer.done(&tally(), &mut out);
        let events = tollway_test_support::events(&out);
        let data = Message::read(&events).error.unwrap();
        assert_eq!((&data["error"]["type"], &data["request_id"]), (&json!("api_error"), &json!("req-1")));
        assert_eq!(events.len(), 4, "{events:?}");
    }
}

#[test]
fn what_waits_is_bounded() {
    let mut writer = Writer::new(&face(&json!({})), &START);
    let mut out = Vec::new();
    let mut told = |chunk: Value| writer.event(chunk.to_string().as_bytes(), &mut out);
    told(call(0, "a", "f", "{\"never\":\"ends")).unwrap();
    told(call(1, "b", "g", "{\"long\":\"")).unwrap();
    let megabyte = "x".repeat(1 << 20);
    let taken = (0..32).take_while(|_| told(call(1, "", "", &megabyte)).is_ok()).count();
    assert_eq!(taken, 15, "what is beyond 16 MiB breaks the stream");
}

#[test]
fn a_ping_for_every_sign_of_life() {
    let mut writer = Writer::new(&face(&json!({})), &START);
    let mut out = Vec::new();
    writer.alive(&mut out);
    assert_eq!(names(&tollway_test_support::events(&out)), ["message_start", "ping"]);
}

/// A call's deltas: its arguments cut at any character.
fn cut(text: &str, at: &[prop::sample::Index]) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let mut ends: Vec<usize> = at.iter().map(|index| index.index(characters.len() + 1)).collect();
    ends.push(characters.len());
    ends.sort_unstable();
    let mut from = 0;
    ends.into_iter().map(|end| characters[std::mem::replace(&mut from, end)..end].iter().collect()).collect()
}

proptest! {
    /// However a stream's texts and calls are cut, and however the calls' deltas are mixed, the message is the same, and its
    /// blocks stand one after the other.
    #[test]
    fn any_cut_and_any_order_gives_the_same_message(
        text in ".{0,40}",
        arguments in prop::collection::vec("[a-z{}\\[\\]\"\\\\é]{0,12}", 1..4),
        cuts in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..6), 5),
        order in prop::collection::vec(any::<prop::sample::Index>(), 64),
    ) {
        let mut chunks: Vec<Value> =
            cut(&text, &cuts[0]).iter().map(|part| delta(&json!({"content": part}))).collect();
        let inputs: Vec<Value> = arguments.iter().map(|value| json!({"v": [value], "n": {}})).collect();
        let mut calls: Vec<Vec<Value>> = inputs.iter().enumerate().map(|(index, input)| {
            let index = i64::try_from(index).unwrap();
            let first = call(index, &format!("call_{index}"), "f", "");
            let rest = cut(&input.to_string(), &cuts[usize::try_from(index).unwrap() + 1]);
            std::iter::once(first).chain(rest.iter().map(|part| call(index, "", "", part))).rev().collect()
        }).collect();
        // Calls begin in order, as providers begin them; what follows is mixed.
        chunks.extend(calls.iter_mut().filter_map(Vec::pop));
        for pick in &order {
            calls.retain(|call| !call.is_empty());
            if calls.is_empty() {
                break;
            }
            let at = pick.index(calls.len());
            chunks.extend(calls[at].pop());
        }
        chunks.extend(calls.into_iter().flat_map(|call| call.into_iter().rev()));
        chunks.push(finish("tool_calls"));
        let message = Message::whole(&events(&chunks));
        let mut expected = Vec::new();
        if !text.is_empty() {
            expected.push(json!({"type": "text", "text": text}));
        }
        for (index, input) in inputs.iter().enumerate() {
            expected.push(json!({"type": "tool_use", "id": format!("call_{index}"), "name": "f", "input": input}));
        }
        prop_assert_eq!(&message["content"], &json!(expected));
    }

    /// No bytes make the translation panic.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = translate(&bytes, 128, Purpose::Answer);
        let mut out = Vec::new();
        let mut writer = Writer::new(&face(&json!({})), &START);
        let _ = writer.event(&bytes, &mut out);
        let _ = face(&json!({})).whole(&Bytes::from(bytes), &START, &tally());
    }
}
