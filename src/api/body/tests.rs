//! Bodies read: what is found in them, and how each wrong one is answered.

use super::*;
use crate::routing::Capabilities;

fn parse(text: &'static str) -> Result<Call, Error> {
    Call::parse(Endpoint::Chat, Bytes::from_static(text.as_bytes()), 128)
}

#[test]
fn a_plain_call() {
    let call = parse(
        r#"{"model":"m\u0031","messages":[{"role":"user","content":"hi"}],"stream":true,"max_tokens":9,
           "stream_options":{"include_usage":true},"metadata":{"tier":"interactive"},"x":1E2}"#,
    )
    .unwrap();
    assert_eq!(&*call.model, "m1");
    assert!(call.stream && call.include_usage);
    assert_eq!(call.output_tokens_max, Some(9));
    assert_eq!(call.tags.as_slice(), [("tier".into(), "interactive".into())]);
    assert_eq!(call.needs, Needs(Capabilities::CHAT));
    let (_, x) = call.member("x").unwrap();
    assert_eq!(&call.body[x.value.clone()], b"1E2");
}

#[test]
fn needs_are_read_off_the_body() {
    let call = parse(
        r#"{"model":"m","messages":[{}],"tools":[{"type":"function"}],"tool_choice":"required","n":2,
           "response_format":{"type":"json_schema"},"logprobs":true}"#,
    )
    .unwrap();
    let all = [
        Capabilities::CHAT,
        Capabilities::TOOLS,
        Capabilities::FORCED_TOOL,
        Capabilities::MANY_CHOICES,
        Capabilities::JSON_SCHEMA,
        Capabilities::LOGPROBS,
    ];
    assert!(all.into_iter().all(|one| call.needs.0.covers(one)));
}

#[test]
fn r06_bad_bodies_name_the_field_and_the_fix() {
    let message = |text| parse(text).unwrap_err().to_string();
    assert_eq!(message("[]"), "The request body must be one JSON object, but it is an array.");
    assert_eq!(message(r#"{"messages":[{}]}"#), "Missing required parameter: 'model'.");
    assert_eq!(message(r#"{"model":"m"}"#), "Missing required parameter: 'messages'.");
    assert_eq!(
        message(r#"{"model":7,"messages":[{}]}"#),
        "Invalid type for 'model': expected a string, but got a number instead."
    );
    assert!(message(r#"{"model":"m","messages":[]}"#).contains("'messages': it is empty"));
    assert!(message(r#"{"model":"m","messages":["a"]}"#).contains("array of objects, but got a string"));
    assert!(
        message(r#"{"model":"m","messages":[{}],"stream":"yes"}"#).contains("'stream': expected a boolean")
    );
    assert!(message(r#"{"model":"m","messages":[{}],"max_tokens":0}"#).contains("at least 1"));
    assert!(message(r#"{"model":"m","messages":[{}]"#).contains("ends before it is complete"));
    assert!(message(r#"{"model":"a","messages":[{}],"mod\u0065l":"b"}"#).contains("key stands twice"));
    assert!(
        message(
            r#"{"model":"a","messages":[{}],"stream_options":{"include_usage":true,"include_usage":false}}"#
        )
        .contains("twice")
    );
    assert!(message(r#"{"model":"a","messages":[{}]} {}"#).contains("something follows"));
    assert!(message("{\"model\":\"a\u{202e}b\",\"messages\":[{}]}").contains("control characters"));
}

#[test]
fn a_bound_takes_the_place_of_a_wider_one_and_of_none() {
    let bounded = |body: &'static str, max| {
        let call = Call::parse(Endpoint::Chat, Bytes::from_static(body.as_bytes()), 64).unwrap().bounded(max);
        (String::from_utf8(call.body.to_vec()).unwrap(), call.output_tokens_max)
    };
    let (body, max) = bounded(r#"{"model":"m","messages":[{}]}"#, 7);
    assert_eq!((&*body, max), (r#"{"model":"m","messages":[{}],"max_tokens":7}"#, Some(7)));
    let (body, max) =
        bounded(r#"{"max_completion_tokens":9,"model":"m","max_tokens":100,"messages":[{}]}"#, 8);
    assert_eq!(
        (&*body, max),
        (r#"{"max_completion_tokens":8,"model":"m","max_tokens":8,"messages":[{}]}"#, Some(8))
    );
    let narrow = r#"{"model":"m","messages":[{}],"max_tokens":5}"#;
    assert_eq!(bounded(narrow, 8), (narrow.to_owned(), Some(5)));
    let (body, _) = bounded(r#"{"n":3,"model":"m","messages":[{}]}"#, 10);
    assert!(body.ends_with(r#""max_tokens":3}"#), "{body}");
}

#[test]
fn answers_are_counted() {
    let choices = |body: &'static str| {
        Call::parse(Endpoint::Completions, Bytes::from_static(body.as_bytes()), 64).unwrap().choices
    };
    assert_eq!(choices(r#"{"model":"m","prompt":"a"}"#), 1);
    assert_eq!(choices(r#"{"model":"m","prompt":[1,2,3],"n":2}"#), 2);
    assert_eq!(choices(r#"{"model":"m","prompt":["a","b"],"n":2,"best_of":4}"#), 8);
    assert_eq!(choices(r#"{"model":"m","prompt":[[1],[2],[3]]}"#), 3);
}
