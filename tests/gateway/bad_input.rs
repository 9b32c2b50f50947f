//! Every bad request gets the right status and an error that names the field and the fix; nothing reaches an upstream.

use std::time::Duration;

use serde_json::json;
use tollway_test_support::Config;

use crate::{MODEL, chat, error_of, fake, gateway, provider};

/// What is sent, and what comes back: (status, code, param, words of the message).
fn bodies() -> Vec<(Vec<u8>, u16, &'static str, Option<&'static str>, &'static str)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let messages = r#""messages":[{"role":"user","content":"x"}]"#;
    let with = |more: &str| format!(r#"{{"model":"{MODEL}",{messages}{more}}}"#).into_bytes();
    let deep = format!(r#"{{"model":"m",{messages},"x":{}}}"#, "[".repeat(100_000));
    vec![
        (text("hello"), 400, "invalid_json", None, "valid JSON"),
        (text(""), 400, "invalid_json", None, "ends before"),
        (text(r#"{"model":"m","#), 400, "invalid_json", None, "ends before"),
        (text("[]"), 400, "invalid_json", None, "one JSON object"),
        (text(&format!(r#"{{"model":"m",{messages}}} {{}}"#)), 400, "invalid_json", None, "follows"),
        (text(&format!(r#"{{"model":"a","model":"b",{messages}}}"#)), 400, "invalid_json", None, "twice"),
        (
            text(&format!(r#"{{"model":"a","mod\u0065l":"b",{messages}}}"#)),
            400,
            "invalid_json",
            None,
            "twice",
        ),
        (b"{\"model\":\"\xff\"}".to_vec(), 400, "invalid_json", None, "UTF-8"),
        (deep.into_bytes(), 400, "invalid_json", None, "deeper than 128"),
        (text(&format!("{{{messages}}}")), 400, "missing_required_parameter", Some("model"), "'model'"),
        (text(&format!(r#"{{"model":7,{messages}}}"#)), 400, "invalid_type", Some("model"), "a string"),
        (text(&format!(r#"{{"model":"",{messages}}}"#)), 400, "invalid_value", Some("model"), "empty"),
        (
            text(&format!(r#"{{"model":"a\u0000b",{messages}}}"#)),
            400,
            "invalid_value",
            Some("model"),
            "control characters",
        ),
        (
            text(&format!(r#"{{"model":"{}",{messages}}}"#, "a".repeat(100_000))),
            400,
            "invalid_value",
            Some("model"),
            "256",
        ),
        (
            text(&format!(r#"{{"model":"test-model-0102",{messages}}}"#)),
            404,
            "model_not_found",
            Some("model"),
            "test-model-0101",
        ),
        (
            text(&format!(r#"{{"model":"{MODEL}"}}"#)),
            400,
            "missing_required_parameter",
            Some("messages"),
            "'messages'",
        ),
        (
            text(&format!(r#"{{"model":"{MODEL}","messages":[]}}"#)),
            400,
            "invalid_value",
            Some("messages"),
            "empty",
        ),
        (
            text(&format!(r#"{{"model":"{MODEL}","messages":"hi"}}"#)),
            400,
            "invalid_type",
            Some("messages"),
            "an array",
        ),
        (
            text(&format!(r#"{{"model":"{MODEL}","messages":["hi"]}}"#)),
            400,
            "invalid_type",
            Some("messages"),
            "objects",
        ),
        (with(r#","stream":"yes""#), 400, "invalid_type", Some("stream"), "a boolean"),
        (with(r#","stream_options":true"#), 400, "invalid_type", Some("stream_options"), "an object"),
        (with(r#","max_tokens":0"#), 400, "invalid_value", Some("max_tokens"), "at least 1"),
        (with(r#","max_tokens":-5"#), 400, "invalid_value", Some("max_tokens"), "whole number"),
        (
            with(r#","max_completion_tokens":"9""#),
            400,
            "invalid_type",
            Some("max_completion_tokens"),
            "whole number",
        ),
        (with(r#","tools":{}"#), 400, "invalid_type", Some("tools"), "an array"),
        (with(r#","response_format":"json""#), 400, "invalid_type", Some("response_format"), "an object"),
        (with(r#","metadata":[]"#), 400, "invalid_type", Some("metadata"), "an object"),
    ]
}

#[tokio::test]
async fn r06_r09_every_bad_body_names_the_field_and_the_fix() {
    let fake = fake().await;
    let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    for (body, status, code, param, words) in bodies() {
        let shown = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
        let response = gateway.post("/v1/chat/completions", body).send().await;
        assert_eq!(response.status, status, "{shown}");
        let error = error_of(response).await;
        assert_eq!(
            (error["code"].as_str(), error["param"].as_str()),
            (Some(code), param),
            "{shown}: {error}"
        );
        assert_eq!(error["type"], "invalid_request_error", "{shown}");
        assert!(error["message"].as_str().unwrap().contains(words), "{shown}: {error}");
        assert_eq!(gateway.chat(&chat("x")).send().await.status, 200, "a good request after {shown}");
    }
    assert_eq!(fake.count(), bodies().len(), "only the good ones went upstream");
}

#[tokio::test]
async fn paths_methods_and_types() {
    let fake = fake().await;
    let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    let client = gateway.client();
    let good = chat("x").to_string();
    for (request, status, code, words) in [
        (client.request("POST", "/v1/nope").body("{}"), 404, "unknown_url", "/v1/chat/completions"),
        (client.request("GET", "/v1/audio/speech"), 404, "unknown_url", "Unknown request URL"),
        (client.request("GET", "/v1/chat/completions"), 405, "method_not_supported", "Use POST"),
        (client.request("DELETE", "/v1/models"), 405, "method_not_supported", "Use GET"),
        (
            client
                .request("POST", "/v1/chat/completions")
                .header("content-type", "text/plain")
                .body(good.clone()),
            415,
            "unsupported_content_type",
            "application/json",
        ),
        (
            gateway.post("/v1/chat/completions", good.clone()).header("content-encoding", "gzip"),
            415,
            "unsupported_content_encoding",
            "Content-Encoding",
        ),
        (
            gateway.post("/v1/chat/completions", good.clone()).header("x-tollway-tags", "tier"),
            400,
            "invalid_value",
            "tier=interactive",
        ),
    ] {
        let response = request.send().await;
        assert_eq!(response.status, status);
        let allow = response.headers.get("allow").map(str::to_owned);
        assert_eq!(allow.is_some(), status == 405);
        let error = error_of(response).await;
        assert_eq!(error["code"], code);
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
    assert_eq!(fake.count(), 0);
    // Without a type, and with a charset, a body is what this API speaks.
    for content_type in [None, Some("application/json; charset=utf-8")] {
        let mut request = client.request("POST", "/v1/chat/completions").body(good.clone());
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        assert_eq!(request.send().await.status, 200);
    }
}

#[tokio::test]
async fn other_endpoints_check_their_own_fields() {
    let fake = fake().await;
    let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    for (path, body, param) in [
        ("/v1/completions", json!({"model": MODEL}), "prompt"),
        ("/v1/completions", json!({"model": MODEL, "prompt": 7}), "prompt"),
        ("/v1/embeddings", json!({"model": MODEL}), "input"),
        ("/v1/embeddings", json!({"model": MODEL, "input": []}), "input"),
        ("/v1/embeddings", json!({"model": MODEL, "input": ""}), "input"),
    ] {
        let response = gateway.post(path, body.to_string()).send().await;
        assert_eq!(response.status, 400, "{path} {body}");
        assert_eq!(error_of(response).await["param"], param, "{path} {body}");
    }
    let embedded =
        gateway.post("/v1/embeddings", json!({"model": MODEL, "input": "tok-1"}).to_string()).send().await;
    assert_eq!(embedded.status, 200);
    assert!(embedded.json().await["usage"]["cost"].is_number());
    let completed =
        gateway.post("/v1/completions", json!({"model": MODEL, "prompt": "tok-2"}).to_string()).send().await;
    assert!(completed.json().await["choices"][0]["text"].as_str().unwrap().starts_with("tok-2"));
}

#[tokio::test]
async fn keys_are_asked_for_checked_and_held_to_their_models() {
    let fake = fake().await;
    let config = Config::new()
        .provider(provider("p", &fake, "1"))
        .with("keys: [{name: ci, key: good-key-123456, team: platform}, {name: small, key: other-key-123456, models: [\"nothing-*\"]}]");
    let gateway = gateway(config).await;
    for (request, status, code) in [
        (gateway.chat(&chat("x")), 401, "missing_api_key"),
        (gateway.chat(&chat("x")).key("good-key-12345"), 401, "invalid_api_key"),
        (gateway.chat(&chat("x")).key("good-key-1234567"), 401, "invalid_api_key"),
        (gateway.chat(&chat("x")).header("authorization", "Basic good-key-123456"), 401, "missing_api_key"),
        (gateway.chat(&chat("x")).key("other-key-123456"), 403, "model_not_allowed"),
        (gateway.get("/v1/models"), 401, "missing_api_key"),
    ] {
        let response = request.send().await;
        assert_eq!(response.status, status);
        let error = error_of(response).await;
        assert_eq!(error["code"], code, "{error}");
        assert!(!error.to_string().contains("key-1"), "{error}");
    }
    assert_eq!(fake.count(), 0);
    assert_eq!(gateway.chat(&chat("x")).key("good-key-123456").send().await.status, 200);
    assert_eq!(gateway.chat(&chat("x")).header("x-api-key", "good-key-123456").send().await.status, 200);
    assert_eq!(gateway.get("/health").send().await.status, 200, "alive without a key");
    assert_eq!(gateway.client().request("HEAD", "/").send().await.status, 200);
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("tollway_requests_total", &[("team", "platform"), ("outcome", "ok")]), 2.0);
}

#[tokio::test]
async fn every_route_excluded_lists_each_and_why() {
    let (cheap, dear) = (fake().await, fake().await);
    let config = Config::new()
        .provider(provider("cheap", &cheap, "0.1").with("region: cn"))
        .provider(provider("dear", &dear, "9").with("region: us"))
        .policy("a.yaml", "policy: strict\nconstraints: {regions: [us], max_price: {input: 1}}\n");
    let gateway = gateway(config).await;
    let response = gateway.chat(&chat("x")).send().await;
    assert_eq!(response.status, 503);
    assert_eq!(response.headers.get("x-should-retry"), Some("false"));
    assert_eq!(response.headers.get("x-tollway-policy"), Some("strict"));
    let error = error_of(response).await;
    let message = error["message"].as_str().unwrap();
    for words in ["strict", "cheap/served", "cn", "dear/served", "9"] {
        assert!(message.contains(words), "{words} in {message}");
    }
    assert_eq!((error["code"].as_str(), error["type"].as_str()), (Some("no_route"), Some("tollway_error")));
}

#[tokio::test]
async fn r01_bad_framing_is_refused_in_the_same_shape_and_nothing_goes_upstream() {
    let fake = fake().await;
    let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    let good = chat("x").to_string();
    let hidden = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{good}",
        good.len()
    );
    for head in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: +5\r\n",
        "",
    ] {
        let request = format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{head}\r\n0\r\n\r\n{hidden}");
        let answer = gateway.raw(request.as_bytes(), Duration::from_secs(2)).await;
        let text = String::from_utf8_lossy(&answer);
        assert_eq!(text.matches("HTTP/1.1 4").count(), 1, "{head}: {text}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{head}: {text}");
        assert!(text.contains("\"invalid_request_error\"") && text.contains("x-request-id"), "{text}");
    }
    assert_eq!(fake.count(), 0);
}
