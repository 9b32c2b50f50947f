//! Packets, gates and request bytes.

use tollway_test_support::{Client, End, FakeProvider, Gate, Reply};

use crate::{answer, chat};

#[tokio::test]
async fn a_character_split_across_packets_arrives_in_two_pieces() {
    let body = "data: {\"x\":\"Łódź\"}\n\n";
    let middle = body.find('Ł').unwrap() + 1;
    let gate = Gate::new();
    let reply = Reply::stream([body]).split_at(&[middle]).before_packet(1, &gate);
    let (_fake, mut response) = answer(reply).await;
    let first = response.next().await.unwrap();
    assert_eq!(&first[..], &body.as_bytes()[..middle]);
    assert!(std::str::from_utf8(&first).is_err());
    gate.open();
    assert_eq!(&response.rest().await.0[..], &body.as_bytes()[middle..]);
}

#[tokio::test]
async fn nothing_passes_a_closed_gate() {
    let gate = Gate::new();
    let (_fake, mut response) = answer(Reply::events(["1", "2", "3"]).between_packets(&gate)).await;
    assert_eq!(&response.next().await.unwrap()[..], b"data: 1\n\n");
    for (count, packet) in ["data: 2\n\n", "data: 3\n\n", "data: [DONE]\n\n"].into_iter().enumerate() {
        gate.reached(count + 1).await;
        gate.release(1);
        assert_eq!(&response.next().await.unwrap()[..], packet.as_bytes());
    }
    assert_eq!(response.next().await, Err(End::Whole));
    assert_eq!(gate.arrivals(), 3);
}

#[tokio::test]
async fn a_head_can_come_long_before_its_body() {
    let gate = Gate::new();
    let (_fake, response) = answer(Reply::json(200, "{}").after_head(&gate)).await;
    assert_eq!(response.status, 200);
    gate.open();
    assert_eq!(response.text().await, "{}");
}

#[tokio::test]
async fn packets_of_any_size_add_up() {
    let whole = Reply::fixture("together_stream_tool_call.sse").body();
    for bytes in [1, 7, 1000, usize::MAX / 2] {
        let (_fake, response) =
            answer(Reply::fixture("together_stream_tool_call.sse").packets_of(bytes)).await;
        assert_eq!(response.bytes().await, whole, "packets of {bytes}");
    }
}

#[tokio::test]
async fn the_request_is_on_record_as_it_came() {
    let fake = FakeProvider::start().await;
    fake.script(Reply::echo());
    let client = Client::new(fake.address());
    let body = "{\"b\" : 1,  \"a\":\"\\u00e9 é\", \"big\":12345678901234567890123}";
    let request = client.post("/v1/chat/completions?x=1", body).header("X-Odd-CASE", "1").key("sk-1");
    assert_eq!(request.send().await.text().await, body);
    let seen = fake.last();
    assert_eq!(&seen.body[..], body.as_bytes());
    assert_eq!(seen.path, "/v1/chat/completions?x=1");
    assert_eq!(seen.headers.get("authorization"), Some("Bearer sk-1"));
    assert!(seen.headers.iter().any(|(name, _)| name == "X-Odd-CASE"));
    assert!(seen.head.ends_with(b"\r\n\r\n"));
}

#[tokio::test]
async fn a_chunked_request_is_read_and_the_connection_kept() {
    let fake = FakeProvider::start().await;
    fake.script(Reply::echo());
    let head = "POST /v1/x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
    let twice = format!("{head}2\r\nab\r\n1\r\nc\r\n0\r\n\r\n{head}0\r\n\r\n");
    let quiet = std::time::Duration::from_millis(300);
    let answers = Client::new(fake.address()).raw(twice.as_bytes(), quiet).await;
    let answers = String::from_utf8_lossy(&answers);
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    let bodies: Vec<_> = fake.recorded().iter().map(|request| request.text()).collect();
    assert_eq!(bodies, ["abc", ""]);
    assert_eq!(fake.connections(), 1);
}

#[tokio::test]
async fn idle_connections_are_used_again() {
    let fake = FakeProvider::start().await;
    fake.script(Reply::events(["{}"]));
    let client = Client::new(fake.address());
    for _ in 0..20 {
        client.post("/v1/chat/completions", chat("tok-1", "")).send().await.bytes().await;
    }
    assert_eq!((fake.count(), fake.connections()), (20, 1));
}

#[tokio::test]
async fn raw_bytes_stand_alone() {
    let (_fake, response) =
        answer(Reply::raw(["HTTP/1.1 299 Odd\r\ncontent-length: 9\r\n\r\n", "short"])).await;
    assert_eq!(response.status, 299);
    assert_eq!(response.rest().await, ("short".into(), End::Truncated));
}

#[tokio::test]
async fn headers_and_padding_are_as_scripted() {
    let reply = Reply::json(200, "{}").header("Retry-After", "7").padded(2);
    let (_fake, response) = answer(reply).await;
    assert_eq!(response.headers.get("retry-after"), Some("7"));
    assert_eq!(response.text().await.trim_start(), "{}");
    let (_fake, response) = answer(Reply::redirect(302, "http://127.0.0.1:1/")).await;
    assert_eq!((response.status, response.headers.get("location")), (302, Some("http://127.0.0.1:1/")));
}
