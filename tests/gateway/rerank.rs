//! `POST /v1/rerank`: routed to who can, relayed byte for byte, and billed by what was reported.

use serde_json::{Value, json};
use tollway_test_support::{Config, FakeProvider, Gateway, Kind, Model, Provider, Reply};

use crate::{MODEL, error_of, gateway, header, provider};

/// A ranking as vLLM has it, spelled oddly enough to notice if somebody wrote it anew.
const RANKED: &str = "{\"id\":\"rerank-1\", \"model\":\"ranker\",\"usage\":{\"total_tokens\":56 },\n\"results\":[{\"index\":1,\
                      \"document\":{\"text\":\"\\u00e9\"},\"relevance_score\":1E-1},{\"index\":0,\"relevance_score\":0.0}]}";

#[expect(clippy::needless_pass_by_value, reason = "given what json! has just made")]
fn ranking(more: Value) -> Value {
    let mut body = json!({"model": "ranker-1", "query": "tides", "documents": ["a", {"text": "b"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// `first` and `second` rank, `second` for more; `chat` does not rank.
async fn rankers(price: &str) -> (FakeProvider, FakeProvider, Gateway) {
    let (first, second) = (FakeProvider::start().await, FakeProvider::start().await);
    let model = |price: &str| {
        Model::new("ranker", "ranker-1").with(&format!("capabilities: [rerank], price: {price}"))
    };
    let config = Config::new()
        .provider(Provider::fake("first", Kind::OpenAi, &first).with("kind: vllm").model(model(price)))
        .provider(
            Provider::fake("second", Kind::Together, &second)
                .model(model("{input: 5, output: 0, request: 0.01}")),
        )
        .provider(provider("chat", &first, "0.1"));
    (first, second, gateway(config).await)
}

#[tokio::test]
async fn a_ranking_is_relayed_byte_for_byte_with_its_cost() {
    let (first, _, gateway) = rankers("{input: 0.02, output: 0}").await;
    first.script(Reply::json(200, RANKED));
    let body = "{ \"query\":\"tides\",\"model\":\"ranker\" ,\"documents\":[ \"a\",{\"text\":\"\\u0062\"} ],\"top_n\":2,\"return_documents\":true,\"x\":1E2}";
    let response = gateway.post("/v1/rerank", body).send().await;
    assert_eq!(response.status, 200);
    assert_eq!(header(&response, "x-tollway-route"), "first/ranker");
    assert_eq!(header(&response, "x-tollway-cost-usd"), "0.000001120", "56 tokens, all of them the prompt's");
    let answer = response.text().await;
    assert_eq!(answer, RANKED.replace("\"total_tokens\":56 ", "\"total_tokens\":56 ,\"cost\":0.000001120"));
    let sent = first.last();
    assert_eq!((sent.path.as_str(), sent.text().as_str()), ("/v1/rerank", body));
}

#[tokio::test]
async fn searches_are_billed_where_searches_are_reported() {
    let (first, _, gateway) = rankers("{input: 0, output: 0, request: 0.002}").await;
    for (usage, cost) in [
        (r#"{"search_units":3}"#, "0.006000000"),
        (r#"{"search_units":1,"total_tokens":900}"#, "0.002000000"),
        (r#"{"total_tokens":900}"#, "0.002000000"),
        // OpenRouter states it.
        (r#"{"search_units":1,"cost":0.0015}"#, "0.001500000"),
    ] {
        first.script(Reply::json(
            200,
            format!(r#"{{"results":[{{"index":0,"relevance_score":1}}],"usage":{usage}}}"#),
        ));
        let response = gateway.post("/v1/rerank", ranking(json!({})).to_string()).send().await;
        assert_eq!(header(&response, "x-tollway-cost-usd"), cost, "{usage}");
    }
    // Without a report our own count is charged: never free.
    let (first, _, gateway) = rankers("{input: 1, output: 0}").await;
    first.script(Reply::json(200, r#"{"results":[{"index":0,"relevance_score":1}]}"#));
    let response = gateway.post("/v1/rerank", ranking(json!({})).to_string()).send().await;
    assert!(header(&response, "x-tollway-cost-usd").parse::<f64>().unwrap() > 0.0);
}

#[tokio::test]
async fn a_ranker_that_fails_is_replaced_and_who_cannot_rank_is_not_asked() {
    let (first, second, gateway) = rankers("{input: 0.02, output: 0}").await;
    second.script(Reply::json(200, RANKED));
    for fault in
        [Reply::error(503, "overloaded", "busy"), Reply::json(200, r#"{"results":[]}"#), Reply::html(200)]
    {
        first.script(fault);
        let response = gateway.post("/v1/rerank", ranking(json!({"stream": true})).to_string()).send().await;
        assert_eq!(response.status, 200);
        assert_eq!(header(&response, "x-tollway-route"), "second/ranker");
    }
    let mut body = ranking(json!({"provider": {"only": ["second"]}}));
    assert_eq!(
        gateway.post("/v1/rerank/", body.to_string()).send().await.status,
        200,
        "wishes hold here, too"
    );
    assert_eq!(second.last().json(), ranking(json!({"model": "ranker"})));
    // `served` of the chat provider may rank, as far as its kind goes; the ranking models do not chat.
    let chat = json!({"model": "ranker-1", "messages": [{"role": "user", "content": "x"}]});
    let error = error_of(gateway.chat(&chat).send().await).await;
    assert!(error["message"].as_str().unwrap().contains("does not offer chat completions"), "{error}");
    body["model"] = MODEL.into();
    body.as_object_mut().unwrap().remove("provider");
    first.script(Reply::json(200, RANKED));
    assert_eq!(gateway.post("/v1/rerank", body.to_string()).send().await.status, 200);
}

#[tokio::test]
async fn what_cannot_be_ranked_is_named() {
    let (first, second, gateway) = rankers("{input: 0.02, output: 0}").await;
    for (more, param) in [
        (json!({"query": ""}), "query"),
        (json!({"query": ["a"]}), "query"),
        (json!({"documents": []}), "documents"),
        (json!({"documents": "a"}), "documents"),
        (json!({"documents": [1]}), "documents"),
        (json!({"top_n": 0}), "top_n"),
        (json!({"return_documents": "yes"}), "return_documents"),
    ] {
        let response = gateway.post("/v1/rerank", ranking(more).to_string()).send().await;
        assert_eq!(response.status, 400, "{param}");
        assert_eq!(error_of(response).await["param"], param);
    }
    for missing in ["query", "documents", "model"] {
        let mut body = ranking(json!({}));
        body.as_object_mut().unwrap().remove(missing);
        let error = error_of(gateway.post("/v1/rerank", body.to_string()).send().await).await;
        assert_eq!(
            (&error["param"], &error["code"]),
            (&json!(missing), &json!("missing_required_parameter"))
        );
    }
    assert_eq!(gateway.get("/v1/rerank").send().await.status, 405);
    assert_eq!(first.count() + second.count(), 0);
    let list = gateway.get("/v1/models/ranker-1").send().await.json().await;
    assert_eq!(list["architecture"]["modality"], "text->rerank");
}
