//! Every endpoint and shape: what is told again is what was told, but for its cost.

use serde_json::{Value, json};
use tollway_test_support::{
    Break, Client, Config, Dialect, FakeProvider, Gateway, Kind, Model, Price, Provider, Reply, Response,
};

use crate::{A, BINARY, KEYS, MODEL, config, fake, header, is_replayed, streamed};

/// What a body or a stream says, without what it says of costs.
fn without_costs(text: &str) -> Vec<Value> {
    let free = |text: &str| {
        let mut value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        remove_costs(&mut value);
        value
    };
    if text.trim_start().starts_with('{') {
        return vec![free(text)];
    }
    text.lines().map(|line| free(line.strip_prefix("data: ").unwrap_or(line))).collect()
}

fn remove_costs(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !name.starts_with("cost"));
            members.values_mut().for_each(remove_costs);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_costs),
        _ => {}
    }
}

async fn ask(client: &Client, path: &str, body: &Value) -> Response {
    client.post(path, body.to_string()).key(A).header("idempotency-key", "the-same").send().await
}

/// Asks twice at `path`, and holds the second answer to be the first.
async fn twice(gateway: &Gateway, path: &str, body: &Value) -> String {
    let first = ask(gateway.client(), path, body).await;
    assert_eq!((first.status, is_replayed(&first)), (200, false), "{path}");
    let kind = header(&first, "content-type").to_owned();
    let first = first.text().await;
    let again = ask(gateway.client(), path, body).await;
    assert_eq!(
        (again.status, is_replayed(&again), header(&again, "content-type")),
        (200, true, &*kind),
        "{path}"
    );
    let again = again.text().await;
    assert_eq!(without_costs(&again), without_costs(&first), "{path}");
    assert!(!again.contains("\"cost\":") || again.contains("\"cost\":0.000000000"), "{path}: {again}");
    again
}

#[tokio::test]
async fn r32_every_shape_is_told_again_as_it_was() {
    let user = json!([{"role": "user", "content": "tok-1 a word of mine"}]);
    for stream in [false, true] {
        for usage in [false, true] {
            let requests = [
                ("/v1/chat/completions", json!({"model": MODEL, "messages": user})),
                ("/v1/completions", json!({"model": MODEL, "prompt": "tok-1 a word of mine"})),
            ];
            for (path, mut body) in requests {
                let fake = fake().await;
                let gateway = Gateway::start(BINARY, config(&fake, "")).await;
                body["stream"] = json!(stream);
                if stream && usage {
                    body["stream_options"] = json!({"include_usage": true});
                }
                let text = twice(&gateway, path, &body).await;
                assert_eq!(text.contains("\"cost\":0.000000000"), !stream || usage, "{text}");
                assert_eq!(fake.count(), 1);
            }
        }
        let faced = [
            ("/v1/messages", json!({"model": MODEL, "max_tokens": 9, "messages": user, "stream": stream})),
            ("/v1/responses", json!({"model": MODEL, "input": "tok-1 a word of mine", "stream": stream})),
        ];
        for (path, body) in faced {
            let fake = fake().await;
            let gateway = Gateway::start(BINARY, config(&fake, "")).await;
            twice(&gateway, path, &body).await;
            assert_eq!(fake.count(), 1, "{path}");
        }
    }
    let fake = fake().await;
    let gateway = Gateway::start(BINARY, config(&fake, "")).await;
    twice(&gateway, "/v1/embeddings", &json!({"model": MODEL, "input": "tok-1 a word of mine"})).await;
}

#[tokio::test]
async fn r32_a_providers_own_responses_are_told_again_too() {
    for stream in [false, true] {
        for kind in [Kind::OpenAi, Kind::OpenRouter] {
            let fake =
                FakeProvider::speaking(Dialect::new(kind).price(Price::per_million("1", "1", "1"))).await;
            let model = Model::new("served", MODEL).price(Price::per_million("1", "1", "1"));
            let provider = Provider::fake("one", kind, &fake).with("responses: native").model(model);
            let config =
                Config::new().provider(provider).with(KEYS).policy("a.yaml", "policy: p\nprobe: off\n");
            let gateway = Gateway::start(BINARY, config).await;
            let body = json!({"model": MODEL, "input": "Say tok-2, please.", "stream": stream});
            let text = twice(&gateway, "/v1/responses", &body).await;
            assert!(text.contains("\"cost\":0.000000000"), "{text}");
            assert_eq!((fake.count(), &*fake.last().path), (1, "/v1/responses"));
        }
    }
}

#[tokio::test]
async fn r32_a_stream_that_two_routes_gave_is_told_again_as_one() {
    let (one, two) = (fake().await, fake().await);
    let dialect = Dialect::new(Kind::OpenAi).tokens(12);
    let broken = dialect.clone();
    one.on(move |request| broken.answer(request).cut_after_events(5, Break::Reset));
    two.speak(dialect);
    let provider = |name, fake, price| {
        let model = Model::new("served", MODEL).price(Price::per_million(price, price, price));
        Provider::fake(name, Kind::OpenAi, fake).model(model)
    };
    let policy = "policy: p\nroutes: [one, two]\nin_order: true\nprobe: off\nfallback: {attempts: 2, midstream: resume}\n";
    let config = Config::new()
        .provider(provider("one", &one, "1"))
        .provider(provider("two", &two, "2").with("kind: vllm"))
        .with(KEYS)
        .policy("a.yaml", policy);
    let gateway = Gateway::start(BINARY, config).await;
    let text = twice(&gateway, "/v1/chat/completions", &streamed(12)).await;
    assert!(text.ends_with("data: [DONE]\n\n") && text.contains("\"resumed\":[{"), "{text}");
    assert_eq!((one.count(), two.count()), (1, 1));
}

#[tokio::test]
async fn an_answer_that_its_provider_states_the_cost_of_costs_nothing_when_told_again() {
    let fake = fake().await;
    fake.script(Reply::json(
        200,
        format!("{{\"id\":\"x\",\"model\":\"{MODEL}\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"hi\"}},\"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":3,\"completion_tokens\":1,\"total_tokens\":4,\"cost\":0.5}}}}"),
    ));
    let gateway = Gateway::start(BINARY, config(&fake, "")).await;
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "x"}]});
    let first = ask(gateway.client(), "/v1/chat/completions", &body).await.text().await;
    assert!(first.contains("0.5"), "{first}");
    let again = ask(gateway.client(), "/v1/chat/completions", &body).await.text().await;
    assert!(again.contains("\"cost\":0.000000000") && !again.contains("0.5"), "{again}");
}
