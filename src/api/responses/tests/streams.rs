//! Streams: OpenAI's order, whatever the chat stream looked like.

use http::StatusCode;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::api::face::{Said, Untold};
use crate::api::responses::Writer;
use crate::api::sse::Scanner;

use super::{START, chunk, events, face_of, finish, kinds, plain, tally, told};

#[test]
fn text_comes_in_openais_order() {
    let stream = [
        chunk(&json!({"role": "assistant", "content": ""})),
        chunk(&json!({"content": "Good"})),
        chunk(&json!({"content": " evening."})),
        finish("stop"),
    ];
    let events = told(&plain(), &stream);
    let expected = [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(kinds(&events), expected);
    let item = json!({"id": "msg_7_0", "type": "message", "status": "completed", "role": "assistant",
        "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": "Good evening."}]});
    assert_eq!(events[2]["item"]["status"], "in_progress");
    assert_eq!(events[2]["item"]["content"], json!([]));
    assert_eq!(
        events[4],
        json!({"type": "response.output_text.delta", "sequence_number": 4, "item_id": "msg_7_0",
            "output_index": 0, "content_index": 0, "delta": "Good", "logprobs": []})
    );
    assert_eq!(events[6]["text"], "Good evening.");
    assert_eq!(events[8]["item"], item);
    let response = &events[9]["response"];
    assert_eq!(response["output"], json!([item]));
    assert_eq!((&response["id"], &response["model"]), (&json!("resp_7"), &json!("up/m")));
    assert_eq!(response["created_at"], 1_790_000_007);
    assert_eq!(events[0]["response"]["status"], "in_progress");
    assert_eq!(events[0]["response"]["usage"], Value::Null);
    assert!(events[9].to_string().contains("0.00074008"));
}

/// The same events, and the same members in each, as in the published example of a provider that speaks this API itself.
#[test]
fn the_members_of_each_event_are_those_of_a_native_stream() {
    let native = include_bytes!("../../../../tests/fixtures/providers/openai_responses_stream.sse");
    let native = events(native);
    let ours = told(
        &plain(),
        &[chunk(&json!({"content": "Good"})), chunk(&json!({"content": " evening."})), finish("stop")],
    );
    assert_eq!(kinds(&ours), kinds(&native));
    for (ours, native) in ours.iter().zip(&native) {
        lacks_nothing(ours, native, native["type"].as_str().unwrap());
    }
}

fn lacks_nothing(ours: &Value, native: &Value, at: &str) {
    match native {
        Value::Object(members) => {
            for (name, value) in members {
                lacks_nothing(
                    ours.get(name).unwrap_or_else(|| panic!("{at}.{name} is missing")),
                    value,
                    &format!("{at}.{name}"),
                );
            }
        }
        Value::Array(items) => {
            assert_eq!(ours.as_array().map(Vec::len), Some(items.len()), "{at}");
            items.iter().enumerate().for_each(|(i, item)| lacks_nothing(&ours[i], item, at));
        }
        _ => {}
    }
}

#[test]
fn what_it_thought_is_an_item_of_its_own() {
    let stream = [
        chunk(&json!({"content": null, "reasoning_content": "Hm"})),
        chunk(&json!({"content": null, "reasoning_content": "."})),
        chunk(&json!({"content": "Yes", "reasoning_content": null})),
        finish("stop"),
    ];
    let events = told(&plain(), &stream);
    let thought = [
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
    ];
    assert_eq!(kinds(&events)[2..9], thought);
    let output = &events.last().unwrap()["response"]["output"];
    assert_eq!(
        output[0],
        json!({"id": "rs_7_0", "type": "reasoning", "status": "completed", "summary": [],
            "content": [{"type": "reasoning_text", "text": "Hm."}]})
    );
    assert_eq!(output[1]["id"], "msg_7_1");
    // Asked for as a summary, it comes as one; `reasoning` is the same under another name.
    let face = face_of(&json!({"model": "m", "input": "x", "reasoning": {"summary": "auto"}}));
    let events =
        told(&face, &[chunk(&json!({"reasoning": "Hm"})), chunk(&json!({"content": "Yes"})), finish("stop")]);
    let thought = [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ];
    assert_eq!(kinds(&events)[2..8], thought);
    assert_eq!(events[4]["summary_index"], 0);
    let output = &events.last().unwrap()["response"]["output"];
    assert_eq!(output[0]["summary"], json!([{"type": "summary_text", "text": "Hm"}]));
}

fn call(index: u64, id: Option<&str>, name: Option<&str>, arguments: &str) -> String {
    chunk(
        &json!({"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]}),
    )
}

#[test]
fn calls_follow_each_other() {
    let stream = [
        chunk(&json!({"content": "Let me see."})),
        call(0, Some("a"), Some("tide"), ""),
        call(0, None, None, "{\"port\":"),
        call(0, None, None, "1}"),
        call(1, Some("b"), Some("wind"), "{}"),
        finish("tool_calls"),
    ];
    let events = told(&plain(), &stream);
    let calls = [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(kinds(&events)[8..], calls);
    assert_eq!(events[11]["arguments"], "{\"port\":1}");
    let output = &events.last().unwrap()["response"]["output"];
    assert_eq!(
        output[1],
        json!({"id": "fc_7_1", "type": "function_call", "status": "completed", "call_id": "a", "name": "tide",
            "arguments": "{\"port\":1}"})
    );
    assert_eq!((&output[2]["call_id"], &output[2]["name"]), (&json!("b"), &json!("wind")));
}

#[test]
fn calls_of_servers_that_count_badly_are_told_apart() {
    // All at index 0; the arguments begin before the name is known; no arguments at all; no id.
    let stream = [
        call(0, Some("a"), None, "{\"x\""),
        call(0, Some("a"), Some("one"), ":1}"),
        call(0, Some("b"), Some("two"), ""),
        call(0, Some("c"), Some("three"), "{}"),
        call(1, None, Some("four"), "{}"),
        finish("tool_calls"),
    ];
    let events = told(&plain(), &stream);
    let output = events.last().unwrap()["response"]["output"].as_array().unwrap();
    let seen: Vec<_> = output
        .iter()
        .map(|item| (item["name"].as_str().unwrap(), item["arguments"].as_str().unwrap()))
        .collect();
    assert_eq!(seen, [("one", "{\"x\":1}"), ("two", "{}"), ("three", "{}"), ("four", "{}")]);
    assert_eq!(output[3]["call_id"], "call_7_3");
}

#[test]
fn text_in_parts_arguments_as_an_object_and_an_index_below_zero_are_read() {
    let stream = [
        chunk(&json!({"content": [{"type": "text", "text": "High"}, {"type": "text", "text": " tide."}]})),
        chunk(
            &json!({"tool_calls": [{"index": -1, "id": "a", "function": {"name": "one", "arguments": {"x": 1}}}]}),
        ),
        finish("tool_calls"),
    ];
    let events = told(&plain(), &stream);
    let output = &events.last().unwrap()["response"]["output"];
    assert_eq!(output[0]["content"][0]["text"], "High tide.");
    assert_eq!((&output[1]["name"], output[1]["arguments"].as_str()), (&json!("one"), Some("{\"x\":1}")));
}

#[test]
fn calls_that_come_interleaved_are_told_one_by_one() {
    let stream = [
        call(0, Some("a"), Some("one"), "{\"x\":"),
        call(1, Some("b"), Some("two"), "{\"y\""),
        call(0, None, None, "1}"),
        call(2, Some("c"), Some("three"), ""),
        call(1, None, None, ":2}"),
        finish("tool_calls"),
    ];
    let events = told(&plain(), &stream);
    let output = events.last().unwrap()["response"]["output"].as_array().unwrap();
    let seen: Vec<_> = output
        .iter()
        .map(|item| (item["name"].as_str().unwrap(), item["arguments"].as_str().unwrap()))
        .collect();
    assert_eq!(seen, [("one", "{\"x\":1}"), ("two", "{\"y\":2}"), ("three", "{}")]);
    let order: Vec<u64> = events.iter().filter_map(|event| event["output_index"].as_u64()).collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn what_cannot_be_told_is_a_fault_and_never_dropped() {
    let mut out = Vec::new();
    let mut writer = Writer::new(&plain(), &START);
    writer.event(call(0, Some("a"), Some("one"), "{}").as_bytes(), &mut out).unwrap();
    writer.event(call(1, Some("b"), Some("two"), "{").as_bytes(), &mut out).unwrap();
    assert!(writer.event(call(0, None, None, "}").as_bytes(), &mut out).is_err());
    let mut writer = Writer::new(&plain(), &START);
    assert_eq!(writer.event(br#"{"choices":"none"}"#, &mut out), Err(Untold::SHAPE));
    let long = chunk(&json!({"content": "x".repeat(1 << 20)}));
    let told = (0..17).map(|_| writer.event(long.as_bytes(), &mut out)).collect::<Vec<_>>();
    assert!(told[..16].iter().all(Result::is_ok) && told[16].is_err(), "an answer without end is not kept");
}

#[test]
fn a_custom_tools_call_comes_back_as_one() {
    let face = face_of(&json!({"model": "m", "input": "x", "tools": [{"type": "custom", "name": "patch"}]}));
    let stream = [
        call(0, Some("a"), Some("patch"), "{\"input\":\"*** é\\n"),
        call(0, None, None, "end\"}"),
        finish("tool_calls"),
    ];
    let events = told(&face, &stream);
    let calls = [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
    ];
    assert_eq!(kinds(&events)[2..6], calls);
    assert_eq!(events[3]["delta"], "*** é\nend");
    let expected = json!({"id": "ctc_7_0", "type": "custom_tool_call", "status": "completed", "call_id": "a",
        "name": "patch", "input": "*** é\nend"});
    assert_eq!(events[5]["item"], expected);
    // What is no such object is the input itself.
    let events = told(&face, &[call(0, Some("a"), Some("patch"), "*** raw"), finish("tool_calls")]);
    assert_eq!(events[4]["input"], "*** raw");
}

#[test]
fn a_namespaced_call_is_led_back() {
    let tools =
        json!([{"type": "namespace", "name": "mcp__git__", "tools": [{"type": "function", "name": "log"}]}]);
    let face = face_of(&json!({"model": "m", "input": "x", "tools": tools}));
    let events = told(&face, &[call(0, Some("a"), Some("mcp__git__log"), "{}"), finish("tool_calls")]);
    let item = &events.last().unwrap()["response"]["output"][0];
    assert_eq!((&item["namespace"], &item["name"]), (&json!("mcp__git__"), &json!("log")));
}

#[test]
fn a_cut_answer_is_incomplete() {
    for (reason, said) in [("length", "max_output_tokens"), ("content_filter", "content_filter")] {
        let events = told(&plain(), &[chunk(&json!({"content": "Go"})), finish(reason)]);
        let last = events.last().unwrap();
        assert_eq!(last["type"], "response.incomplete");
        assert_eq!(last["response"]["status"], "incomplete");
        assert_eq!(last["response"]["incomplete_details"], json!({"reason": said}));
        assert_eq!(last["response"]["output"][0]["status"], "incomplete");
    }
}

#[test]
fn a_refusal_has_its_own_part() {
    let events = told(
        &plain(),
        &[chunk(&json!({"content": "So. "})), chunk(&json!({"refusal": "No."})), finish("stop")],
    );
    assert_eq!(
        kinds(&events)[5..11],
        [
            "output_text.done",
            "content_part.done",
            "content_part.added",
            "refusal.delta",
            "refusal.done",
            "content_part.done"
        ]
    );
    assert_eq!(events[8]["content_index"], 1);
    assert_eq!(events[9]["refusal"], "No.");
}

#[test]
fn log_probabilities_go_along() {
    let entry = json!({"token": "Go", "logprob": -0.5, "bytes": [71, 111], "top_logprobs": []});
    let chunk =
        json!({"choices": [{"index": 0, "delta": {"content": "Go"}, "logprobs": {"content": [entry]}}]});
    let events = told(&plain(), &[chunk.to_string(), finish("stop")]);
    assert_eq!(events[4]["logprobs"], json!([entry]));
    assert_eq!(events[5]["logprobs"], json!([entry]));
    assert_eq!(events.last().unwrap()["response"]["output"][0]["content"][0]["logprobs"], json!([entry]));
}

#[test]
fn a_fault_ends_it_and_nothing_completes_it() {
    let said = Said {
        status: StatusCode::BAD_GATEWAY,
        kind: "upstream_error",
        param: None,
        code: "stream_broken",
        message: "It broke off.",
        request_id: "req_7",
    };
    let mut out = Vec::new();
    let mut writer = Writer::new(&plain(), &START);
    writer.event(chunk(&json!({"content": "Go"})).as_bytes(), &mut out).unwrap();
    writer.failed(&said, &mut out);
    writer.failed(&said, &mut out);
    writer.event(chunk(&json!({"content": "on"})).as_bytes(), &mut out).unwrap();
    writer.alive(&mut out);
    writer.done(&tally(), &mut out);
    let events = events(&out);
    assert_eq!(kinds(&events)[5..], ["error", "failed"]);
    assert_eq!(
        (&events[5]["code"], &events[5]["message"]),
        (&json!("stream_broken"), &json!("It broke off."))
    );
    assert_eq!(events[5]["error"]["message"], "It broke off.");
    let response = &events[6]["response"];
    assert_eq!((&response["status"], &response["error"]["code"]), (&json!("failed"), &json!("server_error")));
    assert_eq!(response["output"][0]["status"], "incomplete");
    // A provider's own error, in any of its shapes.
    for error in [json!({"message": "worker died", "code": 500}), json!("worker died")] {
        let events = told(&plain(), &[chunk(&json!({"content": "Go"})), json!({"error": error}).to_string()]);
        assert_eq!(events.last().unwrap()["type"], "response.failed");
        assert_eq!(events.last().unwrap()["response"]["error"]["message"], "worker died");
    }
}

/// What a chat stream may say, piece by piece.
fn pieces() -> impl Strategy<Value = Vec<String>> {
    let text = prop_oneof![Just("a\n"), Just("é\"\\"), Just("🌊"), Just(" ")];
    let piece = prop_oneof![
        text.clone().prop_map(|text| chunk(&json!({"content": text}))),
        text.prop_map(|text| chunk(&json!({"content": null, "reasoning_content": text}))),
        (0_u64..3).prop_map(|at| call(at, Some(&format!("id{at}")), Some("f"), "{}")),
        Just(chunk(&json!({"refusal": "no"}))),
        Just(chunk(&json!({}))),
        Just(json!({"choices": [], "usage": {"prompt_tokens": 1}}).to_string()),
    ];
    proptest::collection::vec(piece, 0..12)
}

proptest! {
    #[test]
    fn any_split_of_a_stream_gives_the_same_events(chunks in pieces(), sizes in proptest::collection::vec(1_usize..40, 1..60)) {
        let stream = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect::<Vec<_>>().concat();
        let mut scanner = Scanner::new(1 << 20);
        let mut writer = Writer::new(&plain(), &START);
        let mut out = Vec::new();
        let mut rest = stream.as_bytes();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*size).min(rest.len()));
            rest = later;
            scanner.push(bytes::Bytes::copy_from_slice(now));
            while let Some(event) = scanner.next_event().unwrap() {
                writer.event(&event.data().unwrap(), &mut out).unwrap();
            }
        }
        writer.done(&tally(), &mut out);
        prop_assert_eq!(events(&out), told(&plain(), &chunks));
    }

    #[test]
    fn items_begin_and_end_one_by_one_and_the_answer_is_their_sum(chunks in pieces()) {
        let events = told(&plain(), &chunks);
        let mut open = None;
        let mut ended = Vec::new();
        for event in &events {
            match event["type"].as_str().unwrap() {
                "response.output_item.added" => {
                    prop_assert!(open.is_none());
                    prop_assert_eq!(event["output_index"].as_u64(), Some(ended.len() as u64));
                    open = Some(event["item"]["id"].clone());
                }
                "response.output_item.done" => {
                    prop_assert_eq!(open.take(), Some(event["item"]["id"].clone()));
                    ended.push(event["item"].clone());
                }
                _ if event.get("item_id").is_some() => prop_assert_eq!(open.as_ref(), Some(&event["item_id"])),
                _ => {}
            }
        }
        let last = events.last().unwrap();
        prop_assert_eq!(&last["response"]["output"], &Value::from(ended));
        let deltas: String = events.iter().filter(|event| event["type"] == "response.output_text.delta").map(|event| event["delta"].as_str().unwrap()).collect();
        let said: String = chunks.iter().filter_map(|chunk| serde_json::from_str::<Value>(chunk).unwrap()["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect();
        prop_assert_eq!(deltas, said);
    }
}
