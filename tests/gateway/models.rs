//! `GET /v1/models` as the readers of OpenAI's, OpenRouter's and Together's lists expect it.

use serde_json::{Value, json};
use tollway_test_support::{Config, Gateway, Kind, Model, Price, Provider};

use crate::{MODEL, error_of, fake, gateway, header};

/// Two providers of [`MODEL`], the dearer one with cheaper hours, and one of a model without a price.
async fn served() -> Gateway {
    let fake = fake().await;
    let peak = "price: {input: 0.66, cached_input: 0.022, output: 1.98, request: 0.001, \
                peak: [{utc: ['01:00-04:00', '06:00-10:00'], days: [mon, fri], input: 1.32, output: 3.96}], \
                tiers: [{prompt_tokens_above: 256000, input: 2.5}]}";
    let first = Model::new("maker/served", MODEL).context(64_000).with(peak);
    let second = Model::new("served", MODEL).price(Price::per_million("7", "7", "7"));
    let unpriced = Model::new("unpriced", "unpriced-1");
    let embeds =
        Model::new("embeds", "embeds-1").with("capabilities: [embeddings], price: {input: 0.02, output: 0}");
    let config = Config::new()
        .provider(Provider::fake("first", Kind::OpenAi, &fake).model(first))
        .provider(Provider::fake("second", Kind::DeepSeek, &fake).model(second).model(unpriced).model(embeds))
        .with("aliases: {family: [test-model-0101]}");
    gateway(config).await
}

#[tokio::test]
async fn one_list_serves_readers_of_openais_and_of_openrouters() {
    let gateway = served().await;
    let response = gateway.get("/v1/models").send().await;
    assert_eq!(header(&response, "vary"), "user-agent");
    let text = response.text().await;
    let list: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&list["object"], &list["links"]), (&json!("list"), &json!({"next": null})));
    let data = list["data"].as_array().unwrap();
    assert_eq!(list["total_count"], data.len());
    for model in data {
        assert!(model["id"].is_string() && model["owned_by"].is_string() && model["created"].is_u64());
        assert_eq!(model["object"], "model");
        // What OpenRouter's packages insist on.
        for key in ["canonical_slug", "name"] {
            assert!(model[key].is_string(), "{key} in {model}");
        }
        for key in ["default_parameters", "per_request_limits", "supported_voices"] {
            assert_eq!(model.get(key), Some(&Value::Null), "{key} in {model}");
        }
        assert!(model["pricing"]["prompt"].is_string() && model["pricing"]["completion"].is_string());
        assert!(model["architecture"]["input_modalities"].is_array());
        assert!(model["top_provider"]["is_moderated"].is_boolean() && model["links"]["details"].is_string());
    }
    let of =
        |id: &str| data.iter().find(|model| model["id"] == id).unwrap_or_else(|| panic!("{id} in {text}"));
    let model = of(MODEL);
    assert_eq!(model["context_length"], 64_000, "as much as every route takes");
    let prices = |prompt, completion| json!({"prompt": prompt, "completion": completion, "input_cache_read": "0.000000022"});
    let with = |mut prices: Value, more: Value| {
        prices.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        prices
    };
    let days = json!(["monday", "friday"]);
    let expected = with(
        prices("0.00000066", "0.00000198"),
        json!({"request": "0.001", "image": "0", "overrides": [
            with(prices("0.0000025", "0.00000198"), json!({"min_prompt_tokens": 256_000})),
            with(prices("0.00000132", "0.00000396"), json!({"utc_start": 100, "utc_end": 400, "utc_days": days})),
            with(prices("0.00000132", "0.00000396"), json!({"utc_start": 600, "utc_end": 1000, "utc_days": days})),
        ]}),
    );
    let mut seen = model["pricing"].clone();
    seen["overrides"].as_array_mut().unwrap().sort_by_key(|one| one["utc_start"].as_u64());
    assert_eq!(seen, expected);
    assert_eq!(model["providers"], json!(["first", "second"]));
    assert!(model["supported_parameters"].as_array().unwrap().contains(&json!("structured_outputs")));
    assert_eq!(of("family")["members"], json!([MODEL]));
    assert_eq!(of("unpriced-1")["pricing"]["prompt"], "-1");
    assert_eq!(of("embeds-1")["architecture"]["modality"], "text->embeddings");
}

#[tokio::test]
async fn one_model_is_found_by_any_of_its_names() {
    let gateway = served().await;
    for (path, prompt) in [
        (MODEL, "0.00000066"),
        ("maker/served", "0.00000066"),
        ("maker%2Fserved", "0.00000066"),
        ("second/served", "0.000007"),
    ] {
        let model = gateway.get(&format!("/v1/models/{path}")).send().await.json().await;
        assert_eq!(model["id"], path.replace("%2F", "/"));
        assert_eq!((&model["object"], &model["pricing"]["prompt"]), (&json!("model"), &json!(prompt)));
    }
    let missing = gateway.get("/v1/models/nobody/has-it").send().await;
    assert_eq!(missing.status, 404);
    assert_eq!(error_of(missing).await["code"], "model_not_found");
}

#[tokio::test]
async fn togethers_client_gets_the_bare_array_it_reads() {
    let gateway = served().await;
    for agent in ["Together/JS 0.52.0", "Together/Python 2.1.0"] {
        let text = gateway.get("/v1/models").header("user-agent", agent).send().await.text().await;
        // Numbers to the digit, from no float.
        assert!(text.contains(r#""pricing":{"hourly":0,"input":0.02,"output":0,"base":0,"#), "{text}");
        let list: Value = serde_json::from_str(&text).unwrap();
        let of = |id: &str| list.as_array().unwrap().iter().find(|model| model["id"] == id).unwrap().clone();
        assert_eq!((&of(MODEL)["type"], &of(MODEL)["context_length"]), (&json!("chat"), &json!(64_000)));
        assert_eq!(
            (&of("embeds-1")["type"], &of("embeds-1")["pricing"]["input"]),
            (&json!("embedding"), &json!(0.02))
        );
        assert_eq!(of("unpriced-1")["pricing"]["input"], Value::Null);
    }
}
