//! What the guard costs: `cargo test --release --test wire cost -- --ignored --nocapture`, or under callgrind.

use std::hint::black_box;

use tokio::time::Instant;
use tollway::gateway::framing::{Framer, HeadLimits};

/// A chat request of 1 KB as an OpenAI client sends it.
fn request() -> Vec<u8> {
    let body = format!(
        "{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"{}\"}}]}}",
        "x".repeat(600)
    );
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept-Encoding: gzip, deflate\r\n\
         Connection: keep-alive\r\nAccept: application/json\r\nContent-Type: application/json\r\n\
         User-Agent: OpenAI/Python 2.8.1\r\nX-Stainless-Lang: python\r\nX-Stainless-Package-Version: 2.8.1\r\n\
         X-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nAuthorization: Bearer sk-0123456789abcdef\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[test]
#[ignore = "a measurement, not a check"]
fn cost_of_the_framer_for_a_request_of_1_kb() {
    const TIMES: u32 = 100_000;
    let bytes = request();
    let mut framer = Framer::new(HeadLimits::default());
    let begun = Instant::now();
    for _ in 0..TIMES {
        let scan = framer.scan(black_box(&bytes));
        assert_eq!(scan.good, bytes.len());
    }
    let each = begun.elapsed() / TIMES;
    #[expect(clippy::print_stderr, reason = "the figure is what this is run for")]
    {
        eprintln!("{} bytes a request, {each:?} each", bytes.len());
    }
}
