//! What clients and browsers expect of an API besides its answers.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tollway_test_support::{Config, Gateway, Reply, Request, Usage};

use crate::{chat, error_of, fake, gateway, header, pair, provider, streamed};

async fn with(entry: &str) -> (tollway_test_support::FakeProvider, Gateway) {
    let fake = fake().await;
    let config = Config::new().provider(provider("p", &fake, "1")).with(entry);
    (fake, gateway(config).await)
}

#[tokio::test]
async fn how_long_it_took_is_told_to_the_millisecond() {
    let (fake, gateway) = with("limits: {drain: 1s}").await;
    fake.script(Reply::chat("hi", Usage::default()).before_head(Duration::from_millis(60)));
    let told = |response: &tollway_test_support::Response| -> u64 {
        header(response, "openai-processing-ms").parse().expect("whole milliseconds")
    };
    let ms = told(&gateway.chat(&chat("x")).send().await);
    assert!((60..10_000).contains(&ms), "{ms}");
    told(&gateway.get("/v1/models").send().await);
    assert!(told(&gateway.get("/nowhere").send().await) < 10_000);
    // A provider's own stands.
    fake.script(Reply::chat("hi", Usage::default()).header("openai-processing-ms", "123456"));
    assert_eq!(told(&gateway.chat(&chat("x")).send().await), 123_456);
}

#[tokio::test]
async fn a_wait_is_told_in_seconds_and_in_milliseconds() {
    let (fake, gateway) = with("limits: {drain: 1s}").await;
    fake.script(Reply::error(429, "rate_limit_exceeded", "slow down").header("retry-after", "7"));
    for attempts in ["1", "0"] {
        let response = gateway.chat(&chat("x")).send().await;
        assert_eq!((response.status, header(&response, "x-tollway-attempts")), (429, attempts));
        let seconds: u64 = header(&response, "retry-after").parse().unwrap();
        let ms: u64 = header(&response, "retry-after-ms").parse().unwrap();
        assert!((1..=7).contains(&seconds) && (1..=7_000).contains(&ms), "{seconds} s, {ms} ms");
        assert_eq!(seconds, ms.div_ceil(1_000));
        assert_eq!(response.headers.get("x-should-retry"), None, "to wait and try again is right");
    }
}

#[tokio::test]
async fn once_every_route_was_tried_the_client_is_told_not_to_try_again() {
    for body in [chat("x"), streamed("x")] {
        let (first, second, gateway) = pair().await;
        first.script(Reply::error(500, "server_error", "oops"));
        second.script(Reply::html(502));
        let response = gateway.chat(&body).send().await;
        assert_eq!((response.status, header(&response, "x-should-retry")), (502, "false"));
        assert_eq!((first.count(), second.count()), (1, 1));
        second.script(Reply::chat("hi", Usage::default()));
        assert_eq!(gateway.chat(&chat("x")).send().await.headers.get("x-should-retry"), None);
    }
}

#[tokio::test]
async fn pages_of_other_origins_may_call_only_where_they_are_named() {
    let page = |request: Request, origin: &str| request.header("origin", origin);
    let preflight = |gateway: &Gateway, origin: &str| {
        page(gateway.client().request("OPTIONS", "/v1/chat/completions"), origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type,x-stainless-lang")
            .send()
    };
    let (fake, gateway) = with("limits: {drain: 1s}").await;
    assert_eq!(preflight(&gateway, "https://app.example").await.status, 405, "off unless switched on");
    let response = page(gateway.chat(&chat("x")), "https://app.example").send().await;
    assert_eq!(response.headers.get("access-control-allow-origin"), None);
    drop(gateway);
    let config = Config::new()
        .provider(provider("p", &fake, "1"))
        .with("cors: {origins: ['https://app.example', 'http://localhost:5173'], max_age: 90s}")
        .with("auth: required")
        .with("keys: [{name: k, key: sk-page-key-of-some-length}]");
    let gateway = crate::gateway(config).await;
    let response = preflight(&gateway, "https://app.example").await;
    assert_eq!(response.status, 204, "and no key is asked for");
    assert_eq!(header(&response, "access-control-allow-origin"), "https://app.example");
    assert!(header(&response, "access-control-allow-methods").contains("POST"));
    assert_eq!(
        header(&response, "access-control-allow-headers"),
        "authorization,content-type,x-stainless-lang"
    );
    assert_eq!((header(&response, "access-control-max-age"), header(&response, "vary")), ("90", "origin"));
    assert!(!header(&response, "x-request-id").is_empty() && response.bytes().await.is_empty());
    // An error can be read by the page as well, or its author sees nothing at all.
    let response = page(gateway.chat(&chat("x")), "http://localhost:5173").send().await;
    assert_eq!(
        (response.status, header(&response, "access-control-allow-origin")),
        (401, "http://localhost:5173")
    );
    let keyed = || gateway.chat(&streamed("tok-1")).key("sk-page-key-of-some-length");
    let response = page(keyed(), "https://app.example").send().await;
    assert_eq!(
        (response.status, header(&response, "access-control-allow-origin")),
        (200, "https://app.example")
    );
    assert!(header(&response, "access-control-expose-headers").contains("x-tollway-route"));
    for stranger in ["https://app.example.evil", "https://app.example:444", "null"] {
        assert_eq!(preflight(&gateway, stranger).await.status, 405, "{stranger}");
        let response = page(keyed(), stranger).send().await;
        assert_eq!(response.headers.get("access-control-allow-origin"), None, "{stranger}");
    }
}

#[tokio::test]
async fn a_client_that_waits_for_a_word_before_its_body_gets_it_or_the_refusal() {
    let fake = fake().await;
    let config = Config::new()
        .provider(provider("p", &fake, "1"))
        .with("auth: required")
        .with("keys: [{name: k, key: sk-waits-key-of-some-length}]");
    let gateway = gateway(config).await;
    let body = chat("tok-7").to_string();
    let head = |key: &str| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
             expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
    };
    let said = async |stream: &mut TcpStream| {
        let mut bytes = [0; 4096];
        let length = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut bytes)).await;
        String::from_utf8_lossy(&bytes[..length.expect("in time").unwrap()]).into_owned()
    };
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream.write_all(head("sk-waits-key-of-some-length").as_bytes()).await.unwrap();
    assert_eq!(said(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(fake.count(), 0);
    stream.write_all(body.as_bytes()).await.unwrap();
    let answer = said(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("tok-7"), "{answer}");
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    stream.write_all(head("sk-a-wrong-key-of-some-length").as_bytes()).await.unwrap();
    let refused = said(&mut stream).await;
    assert!(refused.starts_with("HTTP/1.1 401"), "the body is not even asked for: {refused}");
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(text).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
async fn r13_compressed_bodies_are_taken_only_where_switched_on_and_within_bounds() {
    let packed = |gateway: &Gateway, coding: &str, bytes: Vec<u8>| {
        gateway.post("/v1/chat/completions", bytes).header("content-encoding", coding).send()
    };
    let text = chat("tok-7 hi").to_string();
    let (fake, off) = with("limits: {drain: 1s}").await;
    let response = packed(&off, "gzip", gzip(text.as_bytes())).await;
    assert_eq!(response.status, 415);
    let error = error_of(response).await;
    assert_eq!(error["code"], "unsupported_content_encoding");
    assert!(error["message"].as_str().unwrap().contains("limits.compressed_bodies"), "{error}");
    assert_eq!(fake.count(), 0);
    let (fake, on) = with("limits: {compressed_bodies: true, body_bytes_max: 8MiB}").await;
    let response = packed(&on, "gzip", gzip(text.as_bytes())).await;
    assert_eq!(response.status, 200);
    assert_eq!(fake.last().body, text.replace(crate::MODEL, "served"), "unpacked");
    assert_eq!(fake.last().headers.get("content-encoding"), None);
    assert_eq!(on.chat(&chat("x")).header("content-encoding", "identity").send().await.status, 200);
    for (coding, bytes, status, code) in [
        ("br", b"x".to_vec(), 415, "unknown_content_encoding"),
        ("gzip, gzip", b"x".to_vec(), 415, "unknown_content_encoding"),
        ("gzip", text.clone().into_bytes(), 400, "bad_compression"),
        ("deflate", gzip(b"{}"), 400, "bad_compression"),
        ("gzip", gzip(b"[]"), 400, "invalid_json"),
    ] {
        let response = packed(&on, coding, bytes).await;
        assert_eq!(response.status, status, "{coding} {code}");
        assert_eq!(error_of(response).await["code"], code);
    }
    // A thousand to one: the memory that it takes is that of what was sent.
    let bomb = gzip(&vec![b' '; 256 << 20]);
    let before = on.footprint().resident_bytes;
    for _ in 0..8 {
        let response = packed(&on, "gzip", bomb.clone()).await;
        assert_eq!(response.status, 413);
        assert_eq!(error_of(response).await["code"], "request_expands_too_much");
    }
    let grown = on.footprint().resident_bytes.saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more for eight of them, one after the other");
    let long = format!(
        "{{\"model\":\"m\",\"x\":\"{}\"}}",
        (0..900_000).map(|at| at.to_string()).collect::<String>()
    );
    let (_, small) = with("limits: {compressed_bodies: true, body_bytes_max: 1MiB}").await;
    let response = packed(&small, "gzip", gzip(long.as_bytes())).await;
    assert_eq!((response.status, &error_of(response).await["code"]), (413, &json!("request_too_large")));
}

#[tokio::test]
async fn the_official_clients_own_time_out_is_the_deadline() {
    for (read, whole) in [("0.4", "600"), ("NOT_GIVEN", "0.4")] {
        let (first, second, gateway) = pair().await;
        for fake in [&first, &second] {
            fake.script(Reply::nothing(tollway_test_support::Break::Stall));
        }
        let request = gateway.chat(&chat("x")).header("x-stainless-read-timeout", read);
        let response = request.header("x-stainless-timeout", whole).send().await;
        assert_eq!(response.status, 504, "{read} {whole}");
        assert_eq!(error_of(response).await["code"], "deadline_exceeded");
    }
}
