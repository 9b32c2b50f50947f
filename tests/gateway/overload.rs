//! Everything has a bound, and a clear answer at it.

use std::time::{Duration, Instant};

use tollway_test_support::{Config, Gate, Reply};

use crate::{chat, error_of, fake, gateway, provider, streamed};

#[tokio::test]
async fn r13_a_body_over_the_limit_is_refused_before_it_is_read_whole() {
    let fake = fake().await;
    let config = Config::new().provider(provider("p", &fake, "1")).with("limits: {body_bytes_max: 64KiB}");
    let gateway = gateway(config).await;
    // Announced: refused on its head alone, although not a byte of the body has been sent.
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10737418240\r\n\r\n";
    let text =
        String::from_utf8(gateway.raw(head.as_bytes(), Duration::from_secs(2)).await.to_vec()).unwrap();
    assert!(text.starts_with("HTTP/1.1 413") && text.contains("body_bytes_max"), "{text}");
    // Not announced: refused as soon as the limit is passed.
    let mut chunked = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..20 {
        chunked.extend_from_slice(format!("1000\r\n{}\r\n", "a".repeat(4096)).as_bytes());
    }
    let text = String::from_utf8(gateway.raw(&chunked, Duration::from_secs(2)).await.to_vec()).unwrap();
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    let almost = chat(&"a".repeat(63 * 1024));
    assert_eq!(gateway.chat(&almost).send().await.status, 200);
    let over = gateway.chat(&chat(&"a".repeat(64 * 1024))).send().await;
    assert_eq!(over.status, 413);
    assert_eq!(error_of(over).await["code"], "request_too_large");
    assert_eq!(fake.count(), 1);
}

#[tokio::test]
async fn r15_past_the_in_flight_limit_the_answer_is_quick_and_says_when_to_come_back() {
    const ROOM: usize = 8;
    let fake = fake().await;
    let gate = Gate::new();
    let usage = tollway_test_support::Usage { prompt: 1, completion: 1, ..Default::default() };
    fake.script(Reply::chat("hi", usage).before_head(gate.clone()));
    let config =
        Config::new().provider(provider("p", &fake, "1")).with(&format!("limits: {{in_flight_max: {ROOM}}}"));
    let gateway = std::sync::Arc::new(gateway(config).await);
    let held: Vec<_> = (0..ROOM)
        .map(|_| {
            let gateway = std::sync::Arc::clone(&gateway);
            tokio::spawn(async move { gateway.chat(&chat("x")).send().await.status })
        })
        .collect();
    gate.reached(ROOM).await;
    let began = Instant::now();
    let refused = gateway.chat(&chat("x")).send().await;
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(refused.status, 503);
    assert_eq!(refused.headers.get("retry-after"), Some("1"));
    assert_eq!(error_of(refused).await["code"], "overloaded");
    gate.open();
    for request in held {
        assert_eq!(request.await.unwrap(), 200);
    }
    assert_eq!(gateway.chat(&chat("x")).send().await.status, 200, "room again");
}

#[tokio::test]
async fn r15_a_stream_holds_its_place_until_its_end() {
    let fake = fake().await;
    let gate = Gate::new();
    fake.script(Reply::fixture("fireworks_stream_usage_own_chunk.sse").before_packet(4, gate.clone()));
    let config = Config::new().provider(provider("p", &fake, "1")).with("limits: {in_flight_max: 1}");
    let gateway = gateway(config).await;
    let mut stream = gateway.chat(&streamed("x")).send().await;
    stream.until("Short").await;
    assert_eq!(gateway.chat(&chat("x")).send().await.status, 503);
    gate.open();
    stream.bytes().await;
    gateway
        .metrics_until("room again", |metrics| metrics.sum("tollway_requests_in_flight", &[]) == 0.0)
        .await;
    let response = gateway.chat(&streamed("x")).send().await;
    assert_eq!(response.status, 200);
}
