//! What the gateway has no reason to change goes through unchanged, both ways, byte for byte.

use bytes::Bytes;
use serde_json::json;
use tollway_test_support::{Config, FakeProvider, Fixture, Kind, Model, Price, Provider, Reply};

use crate::{MODEL, fake, gateway, provider, streamed};

/// A body with all that a careless gateway would rewrite: odd spacing, big numbers, exponents, escapes, unknown fields.
fn odd_body(model: &str) -> String {
    format!(
        "{{ \"x_unknown\" : 1E2,\"big\":18446744073709551617 ,\n\"model\":\"{model}\",\"messages\":[{{\"content\":\"\\u00e9\\/\u{1f600}\",\
         \"role\":\"user\",\"x\":{{\"deep\":[1.0,-0.0,1e-7]}}}}],\"seed\": 7,\"tools\":[],\"null\":null }}"
    )
}

#[tokio::test]
async fn r05_a_body_that_needs_no_edit_arrives_byte_for_byte() {
    let fake = fake().await;
    let model = Model::new(MODEL, MODEL).price(Price::per_million("1", "1", "1"));
    let gateway =
        gateway(Config::new().provider(Provider::fake("p", Kind::OpenAi, &fake).model(model))).await;
    let body = odd_body(MODEL);
    assert_eq!(gateway.post("/v1/chat/completions", body.clone()).send().await.status, 200);
    assert_eq!(fake.last().body, body);
}

#[tokio::test]
async fn r05_only_the_model_differs_where_only_the_model_must() {
    let fake = fake().await;
    let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    gateway.post("/v1/chat/completions", odd_body(MODEL)).send().await.bytes().await;
    assert_eq!(fake.last().body, odd_body("served"));
}

#[tokio::test]
async fn r05_a_long_body_arrives_byte_for_byte() {
    let fake = fake().await;
    let model = Model::new(MODEL, MODEL).price(Price::per_million("1", "1", "1")).context(100_000_000);
    let gateway =
        gateway(Config::new().provider(Provider::fake("p", Kind::OpenAi, &fake).model(model))).await;
    let content: String = (0..400_000).map(|i| ['a', 'é', '字', '\u{1f600}', ' '][i % 5]).collect();
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": content}]}).to_string();
    assert_eq!(gateway.post("/v1/chat/completions", body.clone()).send().await.status, 200);
    assert_eq!(fake.last().body, body);
}

#[tokio::test]
async fn r05_an_answer_differs_by_its_cost_alone() {
    let fake = FakeProvider::start().await;
    let answer = "{ \"id\":\"a\",\"x\": 1E2, \"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"\\u00e9\"},\
                  \"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1 } ,\"y\":18446744073709551617}\n";
    fake.script(Reply::json(200, answer));
    let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    let body = gateway.chat(&crate::chat("x")).send().await.bytes().await;
    assert_eq!(
        body,
        answer.replace("\"completion_tokens\":1 }", "\"completion_tokens\":1 ,\"cost\":0.000002000}")
    );
}

#[tokio::test]
async fn r05_streams_of_every_dialect_arrive_byte_for_byte_tool_calls_included() {
    let kinds = [
        ("together_stream_tool_call.sse", Kind::Together),
        ("fireworks_stream_usage_on_finish.sse", Kind::Fireworks),
        ("deepseek_stream_thinking.sse", Kind::DeepSeek),
        ("openrouter_stream_repeated_finish.sse", Kind::OpenRouter),
        ("fireworks_stream_usage_own_chunk.sse", Kind::Fireworks),
    ];
    for (file, kind) in kinds {
        let fake = FakeProvider::start().await;
        let whole = Fixture::named(file).body.clone();
        let model = Model::new("served", MODEL).price(Price::per_million("1", "1", "1"));
        let gateway = gateway(Config::new().provider(Provider::fake("p", kind, &fake).model(model))).await;
        for size in [usize::MAX, 1000, 7, 1] {
            let reply = Reply::fixture(file);
            fake.script(if size == usize::MAX { reply.one_packet() } else { reply.packets_of(size) });
            let got = gateway.chat(&streamed("x")).send().await.bytes().await;
            assert_eq!(got, without_usage_chunk(&whole), "{file} in packets of {size}");
        }
    }
}

/// The stream without the chunk that has usage and nothing else to say: nobody asked for it.
fn without_usage_chunk(stream: &Bytes) -> Bytes {
    let mut kept = Vec::new();
    let mut from = 0;
    let mut finished = false;
    for end in tollway_test_support::data_ends(stream) {
        let event = &stream[from..end];
        from = end;
        let chunk = tollway_test_support::events(event).first().and_then(tollway_test_support::Event::json);
        let has_usage = chunk.as_ref().is_some_and(|chunk| chunk["usage"].is_object());
        let is_empty =
            chunk.as_ref().is_some_and(|chunk| chunk["choices"].as_array().is_none_or(Vec::is_empty));
        if !(has_usage && (is_empty || finished)) {
            kept.extend_from_slice(event);
        }
        finished |= chunk.is_some_and(|chunk| chunk["choices"][0]["finish_reason"].is_string());
    }
    kept.extend_from_slice(&stream[from..]);
    kept.into()
}

#[tokio::test]
async fn r03_the_head_upstream_is_exactly_what_is_documented() {
    let fake = fake().await;
    let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    let request = gateway
        .chat(&crate::chat("x"))
        .header("authorization", "Bearer callers-own-key")
        .header("cookie", "a=b")
        .header("referer", "http://example.com/")
        .header("origin", "http://example.com")
        .header("x-forwarded-for", "1.2.3.4")
        .header("forwarded", "for=1.2.3.4")
        .header("x-stainless-lang", "python")
        .header("openai-organization", "org-1")
        .header("te", "trailers")
        .header("keep-alive", "timeout=5")
        .header("connection", "x-secret, authorization, content-length")
        .header("x-secret", "1");
    assert_eq!(request.send().await.status, 200);
    let head = fake.last();
    let mut names: Vec<String> = head.headers.iter().map(|(name, _)| name.to_lowercase()).collect();
    names.sort();
    let documented = [
        "accept",
        "accept-encoding",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "user-agent",
    ];
    assert_eq!(names, documented);
    assert_eq!(head.headers.get("authorization"), Some("Bearer sk-p-fixture-key"));
}

#[tokio::test]
async fn r03_a_request_id_is_kept_if_it_is_one_and_is_the_same_everywhere() {
    let fake = fake().await;
    let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    let response = gateway.chat(&crate::chat("x")).header("x-request-id", "my-own.id_1").send().await;
    assert_eq!(response.headers.get("x-request-id"), Some("my-own.id_1"));
    gateway.logged("\"request_id\":\"my-own.id_1\"").await;
    for odd in ["a b", "a\"b", &"a".repeat(129), "é"] {
        let response = gateway.chat(&crate::chat("x")).header("x-request-id", odd).send().await;
        let id = response.headers.get("x-request-id").unwrap().to_owned();
        assert!(id.starts_with("req_") && id.len() == 36, "{id}");
    }
}

#[tokio::test]
async fn r03_hop_by_hop_fields_of_an_upstream_stop_here() {
    let fake = FakeProvider::start().await;
    let reply =
        Reply::chat("hi", tollway_test_support::Usage { prompt: 1, completion: 1, ..Default::default() });
    fake.script(
        reply
            .header("set-cookie", "a=b")
            .header("server", "inner-7")
            .header("x-generation-id", "gen-1")
            .header("via", "1.1 inner"),
    );
    let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    let response = gateway.chat(&crate::chat("x")).send().await;
    assert_eq!(response.headers.get("x-generation-id"), Some("gen-1"));
    for name in ["set-cookie", "server", "via"] {
        assert_eq!(response.headers.get(name), None, "{name}");
    }
}

#[tokio::test]
async fn r04_upgrade_is_ignored_and_what_follows_is_a_next_request() {
    let fake = fake().await;
    let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    let body = crate::chat("tok-1").to_string();
    let one = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = gateway
        .raw(format!("{one}\u{0}\u{1}raw tunnel bytes\r\n\r\n").as_bytes(), std::time::Duration::from_secs(2))
        .await;
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(!text.contains("101 Switching"), "{text}");
    assert!(text.contains("HTTP/1.1 400"), "the rest is a bad request: {text}");
    assert_eq!(fake.count(), 1);
    assert_eq!(fake.last().body, body.replace(MODEL, "served"));
}
