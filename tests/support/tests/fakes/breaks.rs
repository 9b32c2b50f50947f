//! Answers that end early, each in its own way.

use std::time::Duration;

use tollway_test_support::{
    BlackHole, Break, Client, End, Ending, FakeProvider, Fixture, Gate, Greeting, Reply,
};

use crate::{answer, chat};

const STREAM: &str = "openrouter_stream_repeated_finish.sse";

#[tokio::test]
async fn a_reset_is_seen_as_a_reset_and_a_close_as_a_close() {
    let whole = Fixture::named(STREAM).body.clone();
    for (how, end) in [(Break::Reset, End::Reset), (Break::Close, End::Truncated)] {
        let gate = Gate::new();
        let reply = Reply::fixture(STREAM).before_packet(1, &gate).cut_after_events(3, how);
        let (fake, mut response) = answer(reply).await;
        let mut body = response.next().await.unwrap().to_vec();
        gate.open();
        let (rest, seen) = response.rest().await;
        body.extend_from_slice(&rest);
        assert_eq!(seen, end);
        // A reset may overtake what was sent before it.
        assert!(whole.starts_with(&body));
        fake.until("a broken answer", |records| records[0].ending == Ending::Broken).await;
    }
}

#[tokio::test]
async fn a_clean_cut_falls_behind_the_event_that_was_named() {
    let (_fake, response) = answer(Reply::fixture(STREAM).cut_after_events(3, Break::Close)).await;
    let (body, end) = response.rest().await;
    assert_eq!((tollway_test_support::events(&body).len(), end), (3, End::Truncated));
    assert!(body.ends_with(b"\n\n"));
}

#[tokio::test]
async fn a_cut_inside_a_chunk_breaks_the_promise_of_its_size() {
    let (_fake, response) = answer(Reply::stream(["data: 12345\n\n"]).cut_after_bytes(8, Break::Close)).await;
    assert_eq!(response.rest().await, ("data: 12".into(), End::Truncated));
    let (_fake, response) = answer(Reply::json(200, "{\"a\":1}").cut_after_bytes(3, Break::Close)).await;
    assert_eq!(response.rest().await, ("{\"a".into(), End::Truncated));
}

#[tokio::test]
async fn a_false_length_is_a_truncated_body() {
    let (_fake, response) = answer(Reply::json(200, "{}").false_length(50)).await;
    assert_eq!(response.rest().await, ("{}".into(), End::Truncated));
}

#[tokio::test]
async fn a_body_until_close_is_whole() {
    let (_fake, response) = answer(Reply::events(["1"]).until_close()).await;
    assert_eq!(response.rest().await, ("data: 1\n\ndata: [DONE]\n\n".into(), End::Whole));
}

#[tokio::test]
async fn no_answer_comes_in_each_of_its_ways() {
    let fake = FakeProvider::start().await;
    let client = Client::new(fake.address());
    for how in [Break::Close, Break::Reset] {
        fake.script(Reply::nothing(how));
        assert!(client.post("/v1/x", "{}").try_send().await.is_err());
    }
    fake.script(Reply::nothing(Break::Stall));
    let waiting = client.post("/v1/x", "{}").try_send();
    assert!(tokio::time::timeout(Duration::from_millis(200), waiting).await.is_err());
    assert_eq!(fake.count(), 3);
    for greeting in [Greeting::Close, Greeting::Reset] {
        fake.greet(greeting);
        assert!(client.post("/v1/x", "{}").try_send().await.is_err());
    }
    assert_eq!(fake.count(), 3, "no request was read");
}

#[tokio::test]
async fn a_caller_who_leaves_is_on_record() {
    let (fake, mut response) =
        answer(Reply::events(["1", "2"]).before_packet(1, tollway_test_support::Pause::Forever)).await;
    response.next().await.unwrap();
    assert_eq!(fake.open(), 1);
    drop(response);
    fake.until("a caller who left", |records| records[0].ending == Ending::CallerLeft).await;
}

#[tokio::test]
async fn a_half_sent_request_is_counted_and_not_answered() {
    let fake = FakeProvider::start().await;
    let half = b"POST /v1/x HTTP/1.1\r\ncontent-length: 10\r\n\r\nabc";
    let answer = Client::new(fake.address()).raw(half, Duration::from_millis(100)).await;
    assert!(answer.is_empty());
    fake.greet(Greeting::Serve);
    let whole = Client::new(fake.address()).post("/v1/x", chat("tok-1", "")).send().await;
    assert_eq!((whole.status, fake.count()), (404, 1));
}

#[tokio::test]
async fn connecting_to_a_black_hole_never_ends() {
    let hole = BlackHole::open().await;
    let attempt = tokio::net::TcpStream::connect(hole.address());
    assert!(tokio::time::timeout(Duration::from_millis(500), attempt).await.is_err());
}

#[tokio::test]
async fn an_ignored_connection_is_open_and_silent() {
    let fake = FakeProvider::start().await;
    fake.greet(Greeting::Ignore);
    let client = Client::new(fake.address());
    let attempt = client.post("/v1/x", "{}").try_send();
    assert!(tokio::time::timeout(Duration::from_millis(200), attempt).await.is_err());
    assert_eq!(fake.connections(), 0);
}
