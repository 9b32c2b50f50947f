//! `POST /v1/responses` at routes that speak it themselves, when they fail: replaced unseen by routes of either kind, asked once
//! more as a chat, and never ended as if whole.

use bytes::Bytes;
use serde_json::{Value, json};
use tollway_test_support::{Break, Config, Dialect, Event, FakeProvider, Fixture, Gateway, Kind, Reply};

use crate::responses_native::{
    CHAT, PATH, alone, ask, kinds, nanos, native, one_bill, plain, request, without_cost,
};
use crate::{error_of, gateway, header};

const IN_ORDER: &str = "policy: p\nroutes: [first, second]\nin_order: true\nprobe: off\n\
    fallback: {attempts: 2, idle_timeout: 400ms, first_token_timeout: 5s}\n";

/// A first and a second route, of which those named `native` speak the API.
async fn pair(is_native: [bool; 2]) -> (FakeProvider, FakeProvider, Gateway) {
    let dialect = || Dialect::new(Kind::OpenAi);
    let (first, second) = (FakeProvider::speaking(dialect()).await, FakeProvider::speaking(dialect()).await);
    let provider = |name, fake, is_native| {
        if is_native { native(name, Kind::OpenAi, fake) } else { plain(name, Kind::OpenAi, fake) }
    };
    let config = Config::new()
        .provider(provider("first", &first, is_native[0]))
        .provider(provider("second", &second, is_native[1]))
        .policy("a.yaml", IN_ORDER);
    let gateway = gateway(config).await;
    (first, second, gateway)
}

/// Ways to begin a native stream with a fault.
fn faulty_beginnings() -> Vec<Reply> {
    let created = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"r\",\"error\":null}}\n\n";
    let stream = |events: &str| Reply::stream([created.to_owned() + events]);
    vec![
        Reply::error(500, "server_error", "down"),
        Reply::error(503, "server_error", "busy"),
        stream(
            "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"no\",\"sequence_number\":1}\n\n",
        ),
        stream(
            "data: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"no\"}}}\n\n",
        ),
        stream("data: {\"error\":{\"message\":\"no\"}}\n\n"),
        stream("data: [DONE]\n\n"),
        stream(""),
        stream("data: {not json}\n\n"),
        Reply::json(200, r#"{"id":"r","status":"completed","output":[]}"#),
        Reply::nothing(Break::Reset),
    ]
}

#[tokio::test]
async fn a_route_that_fails_is_replaced_unseen_by_one_of_the_other_kind() {
    for is_native in [[true, false], [false, true], [true, true]] {
        // In each round its own gateway: a breaker would leave the first one out.
        for reply in faulty_beginnings() {
            let (first, second, gateway) = pair(is_native).await;
            first.script(reply);
            let response = ask(&gateway, request(true)).await;
            assert_eq!(header(&response, "x-tollway-route"), "second/served");
            let got = response.text().await;
            let events = tollway_test_support::events(got.as_bytes());
            assert_eq!(kinds(&events).last(), Some(&"response.completed"));
            assert_eq!(first.last().path, if is_native[0] { PATH } else { CHAT });
            assert_eq!(second.last().path, if is_native[1] { PATH } else { CHAT });
            if is_native[1] {
                let received = tollway_test_support::received(PATH, &second.last().text());
                let sent = Dialect::new(Kind::OpenAi).answer(&received).body();
                assert_eq!(without_cost(&got).0, String::from_utf8(sent.to_vec()).unwrap());
            }
            let text: String = events
                .iter()
                .filter(|event| event.name.as_deref() == Some("response.output_text.delta"))
                .filter_map(|event| event.json()?["delta"].as_str().map(str::to_owned))
                .collect();
            assert!(text.starts_with("tok-2 tides"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_fault_under_status_200_is_no_answer() {
    let whole = [
        r#"{"id":"r","object":"response","status":"failed","error":{"code":"server_error","message":"no"},"output":[]}"#,
        r#"{"id":"r","object":"response","status":"in_progress","error":null,"output":[]}"#,
        r#"{"error":{"message":"no","code":502}}"#,
        r#"{"id":"r","object":"response","status":"completed"}"#,
        "<html>",
        "",
    ];
    for body in whole {
        let (first, second, gateway) = pair([true, false]).await;
        first.script(Reply::json(200, body));
        let response = ask(&gateway, request(false)).await;
        assert_eq!(header(&response, "x-tollway-route"), "second/served", "{body}");
        assert_eq!(response.json().await["status"], "completed");
        assert_eq!(second.last().path, CHAT);
        // And where nobody is left, an error.
        second.script(Reply::error(500, "server_error", "down"));
        let response = ask(&gateway, request(false)).await;
        assert!(response.status >= 500, "{}", response.status);
        error_of(response).await;
    }
}

#[tokio::test]
async fn a_route_that_refuses_the_form_is_asked_for_a_chat() {
    let refusals = [
        Reply::error(404, "not_found", "Not Found"),
        Reply::new(405, "Method Not Allowed"),
        Reply::error(404, "not_found", "Item with id 'rs_1' not found. Items are not persisted."),
        Reply::error(400, "invalid_encrypted_content", "The encrypted content gAA could not be verified."),
        Reply::error(400, "unsupported_parameter", "Unsupported parameter: 'include'"),
        Reply::error(400, "invalid_value", "Invalid value: 'custom'. Supported tools are: 'function'."),
    ];
    for refusal in refusals {
        for stream in [true, false] {
            let fake = FakeProvider::speaking(Dialect::new(Kind::OpenAi)).await;
            let gateway = alone(Kind::OpenAi, &fake, "policy: p\n").await;
            fake.enqueue(refusal.clone());
            let response = ask(&gateway, request(stream)).await;
            assert_eq!(response.status, 200);
            let text = response.text().await;
            assert!(text.contains("\"status\":\"completed\""), "{text}");
            let paths: Vec<String> = fake.recorded().iter().map(|request| request.path.clone()).collect();
            assert_eq!(paths, [PATH, CHAT]);
            let line: Value = serde_json::from_str(&gateway.logged("\"outcome\":\"ok\"").await).unwrap();
            assert_eq!(line["attempts"], 1);
        }
    }
    // What is wrong with the request itself is told in the words for the request; what is wrong with the model at once.
    for (refusal, status, asked) in [
        (Reply::error(400, "invalid_value", "Invalid 'input': it is odd"), 400, 2),
        (Reply::error(404, "model_not_found", "The model `served` does not exist"), 404, 1),
    ] {
        let fake = FakeProvider::start().await;
        fake.script(Reply::error(400, "invalid_value", "Invalid 'messages': they are odd"));
        fake.enqueue(refusal);
        let gateway = alone(Kind::OpenAi, &fake, "policy: p\n").await;
        let response = ask(&gateway, request(false)).await;
        assert_eq!((response.status, fake.count()), (status, asked));
        assert!(!response.text().await.contains("messages"));
    }
}

/// What a caller gets of the recorded stream, cut short after `events` of its events.
async fn broken(reply: Reply) -> (Bytes, Gateway) {
    let fake = FakeProvider::start().await;
    fake.script(reply);
    let gateway =
        alone(Kind::OpenAi, &fake, "policy: p\nprobe: off\nfallback: {idle_timeout: 300ms}\n").await;
    let got = ask(&gateway, request(true)).await.bytes().await;
    (got, gateway)
}

#[tokio::test]
async fn r08_r19_a_stream_that_breaks_off_ends_in_an_error_with_the_next_number() {
    let file = "openai_responses_stream.sse";
    let whole = Fixture::named(file).body.clone();
    let ends = tollway_test_support::data_ends(&whole);
    for (count, how) in [(5, Break::Close), (6, Break::Reset), (8, Break::Stall), (9, Break::Close)] {
        let (got, gateway) = broken(Reply::fixture(file).cut_after_events(count, how.clone())).await;
        let (told, ours) = got.split_at(ends[count - 1]);
        assert_eq!(told, &whole[..ends[count - 1]], "{how:?}");
        let ours = tollway_test_support::events(ours);
        assert_eq!(kinds(&ours), ["error", "response.failed"], "{how:?}");
        let data: Vec<Value> = ours.iter().filter_map(Event::json).collect();
        assert_eq!(
            (&data[0]["sequence_number"], &data[1]["sequence_number"]),
            (&json!(count), &json!(count + 1))
        );
        assert!(data[0]["error"]["message"].as_str().unwrap().contains("The answer broke off"));
        assert_eq!(data[1]["response"]["id"], "resp_fixture0000000000000001");
        assert_eq!(data[1]["response"]["status"], "failed");
        let line: Value = serde_json::from_str(&gateway.logged("\"endpoint\":\"responses\"").await).unwrap();
        assert_ne!(line["outcome"], "ok");
        assert_eq!(line["usage"], "estimated");
    }
}

#[tokio::test]
async fn r08_a_providers_own_error_goes_on_as_it_came() {
    let file = "openai_responses_stream.sse";
    let whole = Fixture::named(file).body.clone();
    let begun = whole.slice(..tollway_test_support::data_ends(&whole)[5]);
    let known = [
        "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"worker died\",\"param\":null,\"sequence_number\":6}\n\n",
        "event: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":6,\"response\":{\"id\":\"r\",\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"worker died\"}}}\n\n",
    ];
    for event in known {
        let sent = [&begun[..], event.as_bytes()].concat();
        let (got, gateway) = broken(Reply::stream([sent.clone()])).await;
        assert_eq!(got, sent);
        gateway.logged("\"endpoint\":\"responses\"").await;
        assert!(!gateway.logs().contains("\"outcome\":\"ok\""));
    }
    // In words that this API's clients do not know, it is told once more in theirs.
    let odd = "data: {\"error\":{\"message\":\"worker died\",\"code\":502}}\n\n";
    let sent = [&begun[..], odd.as_bytes()].concat();
    let (got, _) = broken(Reply::stream([sent.clone(), b"data: [DONE]\n\n".to_vec()])).await;
    assert_eq!(got[..sent.len()], sent);
    assert_eq!(kinds(&tollway_test_support::events(&got[sent.len()..])), ["error", "response.failed"]);
}

#[tokio::test]
async fn what_stays_open_behind_a_whole_answer_changes_nothing() {
    let file = "openai_responses_stream.sse";
    let whole = String::from_utf8(Fixture::named(file).body.to_vec()).unwrap();
    for how in [Break::Stall, Break::Reset] {
        let fake = FakeProvider::start().await;
        fake.script(
            Reply::stream([whole.clone(), "data: never sent\n\n".to_owned()]).cut_after_events(10, how),
        );
        let gateway =
            alone(Kind::OpenAi, &fake, "policy: p\nprobe: off\nfallback: {idle_timeout: 300ms}\n").await;
        let (got, cost) = without_cost(&ask(&gateway, request(true)).await.text().await);
        assert_eq!(got, whole);
        one_bill(&gateway, &nanos(&cost.unwrap().parse().unwrap())).await;
    }
}
