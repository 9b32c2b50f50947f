//! Nobody steers the gateway from a request, no answer reaches another caller, nothing of an operator's gets out.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tollway_test_support::{Config, Dialect, FakeProvider, Kind, Reply};

use crate::{MODEL, chat, fake, gateway, provider, streamed};

#[tokio::test]
async fn r24_a_redirect_is_an_error_and_proxies_of_the_environment_are_ignored() {
    let (first, other) = (fake().await, fake().await);
    let proxy = other.base_url();
    let mut config = Config::new().provider(provider("first", &first, "1"));
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        config = config.env(name, &proxy);
    }
    let gateway = gateway(config).await;
    assert_eq!(gateway.chat(&chat("x")).send().await.status, 200);
    for status in [301, 302, 303, 307, 308] {
        first.script(Reply::redirect(status, &format!("{}/chat/completions", other.base_url())));
        assert_eq!(gateway.chat(&chat("x")).send().await.status / 100, 5, "{status}");
    }
    assert_eq!((other.connections(), other.count()), (0, 0));
}

#[tokio::test]
async fn r52_no_field_or_header_of_a_request_chooses_where_it_goes() {
    let (fake, canary) = (fake().await, fake().await);
    let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    let target = canary.base_url();
    for field in [
        "api_base",
        "base_url",
        "api_key",
        "user_config",
        "custom_llm_provider",
        "url",
        "endpoint",
        "proxy",
        "callback",
        "webhook",
    ] {
        let mut body = chat("x");
        body[field] = json!(target);
        assert_eq!(gateway.chat(&body).send().await.status, 200, "{field}");
    }
    for header in [
        "x-base-url",
        "x-portkey-custom-host",
        "x-upstream",
        "helicone-target-url",
        "x-forwarded-host",
        "x-original-url",
        "x-provider-url",
    ] {
        assert_eq!(gateway.chat(&chat("x")).header(header, &target).send().await.status, 200, "{header}");
    }
    let mut image = chat("x");
    image["messages"] = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": format!("{target}/a.png")}}]}]);
    assert_eq!(gateway.chat(&image).send().await.status, 200);
    let query = format!("/v1/chat/completions?base_url={target}");
    assert_eq!(gateway.post(&query, chat("x").to_string()).send().await.status, 200);
    assert_eq!(canary.connections(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r25_an_answer_belongs_to_its_request() {
    const REQUESTS: usize = 4_000;
    let fake = FakeProvider::speaking(Dialect::new(Kind::OpenAi).tokens(6)).await;
    let gateway = Arc::new(gateway(Config::new().provider(provider("p", &fake, "1"))).await);
    let callers: Vec<_> = (0..32)
        .map(|caller| {
            let gateway = Arc::clone(&gateway);
            tokio::spawn(async move {
                for number in 0..REQUESTS / 32 {
                    let token = format!("tok-{caller}-{number}-end");
                    let body = if number % 2 == 0 { chat(&token) } else { streamed(&token) };
                    // Nearly a third leave early: before the answer, at its head, or in the middle of a stream.
                    match (caller + number) % 10 {
                        0 => {
                            let _ = tokio::time::timeout(
                                Duration::from_micros(300),
                                gateway.chat(&body).try_send(),
                            )
                            .await;
                        }
                        1 => gateway.chat(&body).send().await.reset(),
                        2 => {
                            let mut response = gateway.chat(&body).send().await;
                            let _ = response.next().await;
                            response.reset();
                        }
                        _ => {
                            let text = gateway.chat(&body).send().await.text().await;
                            assert_eq!(text.matches("tok-").count(), 1, "{token}: {text}");
                            assert!(text.contains(&token), "{token}: {text}");
                        }
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let metrics = gateway
        .metrics_until("nothing in flight", |metrics| metrics.sum("tollway_requests_in_flight", &[]) == 0.0)
        .await;
    assert_eq!(metrics.sum("tollway_panics_total", &[]), 0.0);
}

#[tokio::test]
async fn r23_when_a_caller_leaves_the_upstream_stops_and_the_account_closes() {
    let fake = FakeProvider::start().await;
    let gate = tollway_test_support::Gate::new();
    fake.script(Reply::fixture("fireworks_stream_usage_own_chunk.sse").before_packet(4, gate.clone()));
    let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    let mut response = gateway.chat(&streamed("x")).send().await;
    response.until("Short").await;
    response.reset();
    let line: Value = serde_json::from_str(&gateway.logged("\"outcome\":\"cancelled\"").await).unwrap();
    assert_eq!(line["usage"], "estimated");
    assert!(line["cost_usd"].as_f64().unwrap() > 0.0);
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("tollway_requests_total", &[("outcome", "cancelled")]), 1.0);
    assert!(metrics.sum("tollway_wasted_usd_total", &[("reason", "cancelled_stream")]) > 0.0);
    gate.open();
    fake.until("the upstream call to end", |requests| {
        requests.iter().all(|r| r.ending != tollway_test_support::Ending::Open)
    })
    .await;
}

#[tokio::test]
async fn r18_callers_words_do_not_become_labels() {
    let fake = fake().await;
    let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    gateway.chat(&chat("x")).send().await;
    gateway.chat(&json!({"model": "first-unknown", "messages": [{}]})).send().await;
    gateway.get("/first-path").send().await;
    let page = |metrics: &tollway_test_support::Metrics| {
        metrics.iter().map(|(series, _)| series.to_owned()).collect::<Vec<_>>()
    };
    let before = page(&gateway.metrics().await);
    for number in 0..500 {
        let model = format!("model-{number}");
        let body = json!({"model": model, "user": model, "messages": [{"role": "user", "content": model}], "metadata": {"t": model}});
        gateway
            .chat(&body)
            .header("x-tollway-tags", &format!("a={number}"))
            .header("user-agent", &model)
            .send()
            .await;
        gateway.get(&format!("/v1/{number}")).send().await;
        let mut good = chat("x");
        good["metadata"] = json!({"tag": model});
        gateway.chat(&good).send().await;
    }
    assert_eq!(page(&gateway.metrics().await), before);
}

#[tokio::test]
async fn r54_a_callers_names_cannot_break_a_log_line() {
    let fake = fake().await;
    let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    let body = json!({"model": "evil\" , \"outcome\":\"ok", "messages": [{}]});
    assert_eq!(gateway.chat(&body).send().await.status, 404);
    let line = gateway.logged("evil").await;
    let parsed: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(parsed["outcome"], "client_error");
    for model in ["a\r\nb", "a\u{202e}b", "a\u{0}b"] {
        let response = gateway.chat(&json!({"model": model, "messages": [{}]})).send().await;
        assert_eq!(response.status, 400);
    }
}

#[tokio::test]
async fn r51_no_secret_is_in_any_output() {
    let fake = fake().await;
    fake.script(Reply::error(401, "invalid_api_key", "bad key sk-p-fixture-key"));
    let config = Config::new()
        .provider(provider("p", &fake, "1"))
        .with("keys: [{name: ci, key: callers-secret-123456}]")
        .with("log: {level: trace}");
    let gateway = gateway(config).await;
    for _ in 0..3 {
        gateway.chat(&chat("x")).key("callers-secret-123456").send().await.bytes().await;
        gateway.chat(&chat("x")).key("wrong-secret-123456").send().await.bytes().await;
    }
    gateway.logged("check its key").await;
    let page = gateway.admin().get("/metrics").send().await.text().await;
    let routes = gateway.admin().get("/admin/v1/routes").send().await.text().await;
    let ready = gateway.admin().get("/readyz").send().await.text().await;
    for output in [gateway.logs(), page, routes, ready] {
        for secret in ["callers-secret", "wrong-secret"] {
            assert!(!output.contains(secret), "{secret} in {output}");
        }
    }
}

#[tokio::test]
async fn r53_admin_pages_are_on_their_own_listener_and_behind_their_token() {
    let fake = fake().await;
    let config = Config::new()
        .provider(provider("p", &fake, "1"))
        .with("admin: {listen: \"127.0.0.1:0\", token: admin-token-1}");
    let gateway = gateway(config).await;
    for path in [
        "/metrics",
        "/healthz",
        "/readyz",
        "/admin/v1/routes",
        "/admin/v1/explain?model=x",
        "/admin/v1/engine",
        "/admin/v1/reload",
    ] {
        for key in ["admin-token-1", "x"] {
            assert_eq!(gateway.get(path).key(key).send().await.status, 404, "{path}");
        }
    }
    for path in ["/admin/v1/routes", "/admin/v1/engine"] {
        assert_eq!(gateway.admin().get(path).send().await.status, 401, "{path}");
        assert_eq!(gateway.admin().get(path).key("admin-token-2").send().await.status, 401, "{path}");
        assert_eq!(gateway.admin().get(path).key("admin-token-1").send().await.status, 200, "{path}");
    }
    let explained = gateway
        .admin()
        .get(&format!("/admin/v1/explain?model={MODEL}"))
        .key("admin-token-1")
        .send()
        .await
        .json()
        .await;
    assert_eq!(explained["candidates"][0]["route"], "p/served");
    assert_eq!(gateway.admin().get("/healthz").send().await.status, 200);
}
