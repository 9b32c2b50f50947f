//! SIGTERM: not ready first, no new work, what runs may end within the drain time.

use std::time::{Duration, Instant};

use tollway_test_support::{Config, Gate, Reply};

use crate::{chat, fake, gateway, provider, streamed};

#[tokio::test]
async fn r57_running_streams_end_new_connections_are_refused_and_the_exit_is_clean() {
    let fake = fake().await;
    let gate = Gate::new();
    let mut gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    fake.script(Reply::fixture("fireworks_stream_usage_own_chunk.sse").before_packet(4, gate.clone()));
    let mut stream = gateway.chat(&streamed("x")).send().await;
    stream.until("Short").await;
    gateway.sigterm();
    let deadline = Instant::now() + Duration::from_secs(20);
    while gateway.ready().await {
        assert!(Instant::now() < deadline, "still ready");
    }
    while gateway.chat(&chat("x")).try_send().await.is_ok() {
        assert!(Instant::now() < deadline, "still taking new requests");
    }
    assert_eq!(gateway.admin().get("/healthz").send().await.status, 200, "alive while it drains");
    gate.open();
    let rest = stream.text().await;
    assert!(rest.contains("[DONE]"), "{rest}");
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert!(gateway.logs().contains("\"outcome\":\"ok\""), "its line is written before the end");
}

#[tokio::test]
async fn r57_the_drain_time_is_a_bound() {
    let fake = fake().await;
    let gate = Gate::new();
    let config = Config::new().provider(provider("p", &fake, "1")).with("limits: {drain: 300ms}");
    let mut gateway = gateway(config).await;
    fake.script(Reply::fixture("fireworks_stream_usage_own_chunk.sse").before_packet(4, gate.clone()));
    let mut stream = gateway.chat(&streamed("x")).send().await;
    stream.until("Short").await;
    let began = Instant::now();
    gateway.sigterm();
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert!(began.elapsed() >= Duration::from_millis(300));
    let (rest, end) = stream.rest().await;
    assert!(!String::from_utf8_lossy(&rest).contains("[DONE]") && end != tollway_test_support::End::Whole);
    assert!(gateway.logs().contains("\"outcome\":\"cancelled\""), "cut, charged and logged");
    gate.open();
}
