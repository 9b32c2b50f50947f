//! OpenRouter's routing fields steer this gateway's own routing, whoever serves; only OpenRouter hears them.

use serde_json::{Value, json};
use tollway_test_support::{Config, Dialect, FakeProvider, Gateway, Kind, Model, Price, Provider, Reply};

use crate::{MODEL, chat, error_of, fake, gateway, header, pair, provider, streamed};

/// Another model, which the second provider of [`two_models`] serves for less.
const SPARE: &str = "spare-model-0202";

/// `first` serves [`MODEL`], `second` serves [`SPARE`] at a lower price.
async fn two_models(more: impl FnOnce(Config) -> Config) -> (FakeProvider, FakeProvider, Gateway) {
    let (first, second) = (fake().await, fake().await);
    let spare = Model::new("other", SPARE).price(Price::per_million("0.01", "0.01", "0.01"));
    let config = Config::new()
        .provider(provider("first", &first, "0.1"))
        .provider(Provider::fake("second", Kind::OpenAi, &second).model(spare));
    let gateway = gateway(more(config)).await;
    (first, second, gateway)
}

/// A question with further members.
#[expect(clippy::needless_pass_by_value, reason = "given what json! has just made")]
fn asking(more: Value) -> Value {
    let mut body = chat("tok-7 hi");
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The route that answers, else the error.
async fn routed(gateway: &Gateway, body: &Value) -> String {
    let response = gateway.chat(body).send().await;
    let route = header(&response, "x-tollway-route").to_owned();
    let status = response.status;
    let text = response.text().await;
    assert_eq!(status, 200, "{body}: {text}");
    route
}

#[tokio::test]
async fn models_are_tried_in_order_and_the_second_only_when_the_first_fails() {
    let (first, second, gateway) = two_models(|config| config).await;
    let body = asking(json!({"models": [SPARE]}));
    assert_eq!(routed(&gateway, &body).await, "first/served", "though the spare is cheaper");
    assert_eq!(second.count(), 0);
    first.script(Reply::error(500, "server_error", "oops"));
    assert_eq!(routed(&gateway, &body).await, "second/other");
    let sent = second.last().json();
    assert_eq!((&sent["model"], sent.get("models")), (&json!("other"), None));
    // Without `model` the list alone decides; what is not known here is passed over.
    let mut body = asking(json!({"models": ["someone/elses-model", SPARE, MODEL]}));
    body.as_object_mut().unwrap().remove("model");
    assert_eq!(routed(&gateway, &body).await, "second/other");
    assert_eq!(second.last().json()["model"], "other");
    let nobody = json!({"model": "a/b", "models": ["c/d"], "messages": [{"role": "user", "content": "x"}]});
    let response = gateway.chat(&nobody).send().await;
    assert_eq!(response.status, 404);
    assert_eq!(error_of(response).await["code"], "model_not_found");
}

#[tokio::test]
async fn naming_a_model_second_gets_past_no_policy() {
    let (first, second, gateway) = two_models(|config| {
        config
            .policy("a.yaml", &format!("policy: spare\nmatch: {{models: [{SPARE}]}}\nroutes: [first]\n"))
            .policy("b.yaml", "policy: rest\n")
    })
    .await;
    first.script(Reply::error(500, "server_error", "oops"));
    for model in [SPARE.to_owned(), format!("{SPARE}:floor")] {
        let response = gateway.chat(&asking(json!({"models": [model]}))).send().await;
        assert_eq!(response.status, 500, "the first's own");
        let mut alone = chat("x");
        alone["model"] = model.into();
        assert_eq!(gateway.chat(&alone).send().await.status, 503);
    }
    assert_eq!(second.count(), 0);
}

#[tokio::test]
async fn providers_are_ordered_chosen_and_left_out_by_name() {
    let (first, second, gateway) = pair().await;
    for (wish, route) in [
        (json!({"order": ["Second"]}), "second/served"),
        (json!({"order": ["second", "first"]}), "second/served"),
        (json!({"only": ["SECOND"]}), "second/served"),
        (json!({"only": ["second/served"]}), "second/served"),
        (json!({"ignore": ["first"]}), "second/served"),
        (json!({"sort": "price"}), "first/served"),
        (json!({"max_price": {"prompt": 0.1}}), "first/served"),
        (json!({"max_price": {"completion": "0.15"}, "order": ["second"]}), "first/served"),
        (json!({}), "first/served"),
    ] {
        assert_eq!(routed(&gateway, &asking(json!({"provider": wish}))).await, route, "{wish}");
    }
    for fake in [&first, &second] {
        let plain = chat("tok-7 hi").to_string().replace(MODEL, "served");
        assert!(fake.recorded().iter().all(|one| one.body == plain), "what steers goes no further");
    }
}

#[tokio::test]
async fn without_fallbacks_nobody_else_is_asked() {
    for wish in [json!({"allow_fallbacks": false}), json!({"order": ["first"], "allow_fallbacks": false})] {
        let (first, second, gateway) = pair().await;
        first.script(Reply::error(503, "overloaded", "busy"));
        let response = gateway.chat(&asking(json!({"provider": wish}))).send().await;
        assert_eq!(response.status, 503, "{wish}");
        assert_eq!(header(&response, "x-should-retry"), "false");
        assert_eq!(header(&response, "x-tollway-attempts"), "1");
        assert_eq!((first.count(), second.count()), (1, 0), "{wish}");
        assert_eq!(gateway.chat(&chat("x")).send().await.status, 200);
    }
}

#[tokio::test]
async fn a_suffix_sorts_and_is_no_part_of_the_name() {
    let (first, second) = (fake().await, fake().await);
    let config = Config::new()
        .provider(provider("first", &first, "0.1"))
        .provider(provider("second", &second, "0.2"))
        .policy("a.yaml", &format!("policy: own\nmatch: {{models: [{MODEL}]}}\nobjective: latency\n"));
    let gateway = gateway(config).await;
    for suffix in ["floor", "nitro"] {
        let mut body = chat("tok-7 hi");
        body["model"] = format!("{MODEL}:{suffix}").into();
        let response = gateway.chat(&body).send().await;
        assert_eq!(response.status, 200);
        assert_eq!(header(&response, "x-tollway-policy"), "own", "the policy is found by the name alone");
        response.bytes().await;
        let log = gateway.admin().get("/admin/v1/decisions?limit=1").send().await.text().await;
        assert!(log.contains(if suffix == "floor" { "cheapest of 2" } else { "fastest writer" }), "{log}");
    }
    assert!(
        [&first, &second].iter().flat_map(|fake| fake.recorded()).all(|one| one.json()["model"] == "served")
    );
    let mut body = chat("x");
    body["model"] = format!("{MODEL}:free").into();
    assert_eq!(gateway.chat(&body).send().await.status, 404, "other suffixes are other models");
}

#[tokio::test]
async fn openrouter_hears_what_is_still_to_be_honoured() {
    let (router, other) = (FakeProvider::speaking(Dialect::new(Kind::OpenRouter)).await, fake().await);
    let model = Model::new("maker/served", MODEL).price(Price::per_million("1", "1", "1"));
    let config = Config::new()
        .provider(Provider::fake("openrouter", Kind::OpenRouter, &router).model(model))
        .provider(provider("other", &other, "0.1"));
    let gateway = gateway(config).await;
    let send = async |more: Value| {
        let request = gateway.chat(&asking(more));
        let request = request.header("http-referer", "https://app.example").header("x-title", "An app");
        let response = request.send().await;
        let (status, route) = (response.status, header(&response, "x-tollway-route").to_owned());
        let text = response.text().await;
        assert_eq!(status, 200, "{text}");
        route
    };
    // A host that nobody here is: only OpenRouter can mean it, and is told so in the caller's own bytes.
    let wish = json!({"provider": {"only": ["deepinfra"], "zdr": true, "quantizations": ["fp8"]},
        "models": ["x/y"], "session_id": "chat-1", "usage": {"include": true}});
    assert_eq!(send(wish.clone()).await, "openrouter/maker/served");
    let mut expected = asking(wish);
    expected["model"] = "maker/served".into();
    expected.as_object_mut().unwrap().remove("models");
    assert_eq!(router.last().json(), expected);
    assert_eq!(router.last().headers.get("http-referer"), Some("https://app.example"));
    assert_eq!(router.last().headers.get("x-title"), Some("An app"));
    // Names that are ours mean nothing there.
    assert_eq!(
        send(json!({"provider": {"order": ["openrouter", "other", "novita"]}})).await,
        "openrouter/maker/served"
    );
    assert_eq!(router.last().json()["provider"], json!({"order": ["novita"]}));
    assert_eq!(send(json!({"provider": {"only": ["OpenRouter"]}})).await, "openrouter/maker/served");
    assert_eq!(router.last().json().get("provider"), None);
    // What nobody else could honour goes nowhere else.
    let distillable = json!({"provider": {"enforce_distillable_text": true}});
    assert_eq!(send(distillable.clone()).await, "openrouter/maker/served");
    assert_eq!(router.last().json()["provider"], distillable["provider"]);
    assert_eq!(send(json!({"provider": {"ignore": ["openrouter"]}})).await, "other/served");
    let heard = other.last();
    assert_eq!(heard.json().get("provider"), None);
    assert!(heard.headers.get("http-referer").is_none() && heard.headers.get("x-title").is_none());
}

#[tokio::test]
async fn bad_wishes_are_named_and_go_nowhere() {
    let (first, second, gateway) = pair().await;
    for (wish, param) in [
        (json!({"models": "a"}), "models"),
        (json!({"provider": ["a"]}), "provider"),
        (json!({"provider": {"order": "a"}}), "provider.order"),
        (json!({"provider": {"sort": "cheapest"}}), "provider.sort"),
        (json!({"provider": {"data_collection": false}}), "provider.data_collection"),
        (json!({"provider": {"max_price": {"prompt": "a lot"}}}), "provider.max_price.prompt"),
        (json!({"provider": {"preferred_max_latency": -1}}), "provider.preferred_max_latency"),
        (json!({"usage": {"include": "yes"}}), "usage.include"),
        (json!({"session_id": ""}), "session_id"),
    ] {
        let response = gateway.chat(&asking(wish)).send().await;
        assert_eq!(response.status, 400, "{param}");
        let error = error_of(response).await;
        assert_eq!(error["param"], param);
        assert!(error["message"].as_str().unwrap().contains(param), "{error}");
    }
    assert_eq!(first.count() + second.count(), 0);
}

#[tokio::test]
async fn wishes_that_leave_nobody_are_told_route_by_route() {
    let (first, second, gateway) = pair().await;
    for (wish, reason) in [
        (json!({"only": ["someone"]}), "`provider.only` rules it out"),
        (json!({"ignore": ["first", "second"]}), "`provider.ignore` rules it out"),
        (json!({"max_price": {"prompt": 0.01}}), "over the request's own ceiling of 0.01"),
        (json!({"zdr": true}), "keeps more than the request allows"),
        (json!({"quantizations": ["fp4"]}), "`provider.quantizations`"),
        (json!({"onyl": ["first"]}), "would not heed the request's `provider.onyl`"),
    ] {
        let response = gateway.chat(&asking(json!({"provider": wish}))).send().await;
        assert_eq!(response.status, 404, "{wish}");
        let error = error_of(response).await;
        assert_eq!((&error["code"], &error["param"]), (&json!("no_allowed_route"), &json!("provider")));
        let message = error["message"].as_str().unwrap();
        assert_eq!(message.matches(reason).count(), 2, "{message}");
    }
    let response =
        gateway.chat(&asking(json!({"top_k": 3, "provider": {"require_parameters": true}}))).send().await;
    assert!(error_of(response).await["message"].as_str().unwrap().contains("`top_k`"));
    assert_eq!(first.count() + second.count(), 0);
}

#[tokio::test]
async fn a_named_conversation_stays_where_it_was() {
    let (first, second) = (fake().await, fake().await);
    let priced = |price| Model::new("served", MODEL).price(Price::per_million(price, "0.1", price));
    let config = Config::new()
        .provider(Provider::fake("first", Kind::OpenAi, &first).model(priced("1")))
        .provider(Provider::fake("second", Kind::OpenAi, &second).model(priced("1.01")));
    let gateway = gateway(config).await;
    // Long enough that its cache is worth something, and different at its beginning each time, so that the ledger of
    // prefixes knows nothing of it.
    let turn = |at: usize, more: Value| {
        let mut body = asking(more);
        body["messages"][0]["content"] = format!("{at} {}", "word ".repeat(150)).into();
        body
    };
    let begin = turn(0, json!({"session_id": "chat 1", "provider": {"only": ["second"]}}));
    assert_eq!(routed(&gateway, &begin).await, "second/served");
    assert_eq!(routed(&gateway, &turn(1, json!({"session_id": "chat 1"}))).await, "second/served");
    let by_header = gateway.chat(&turn(2, json!({}))).header("x-session-id", "chat 1").send().await;
    assert_eq!(header(&by_header, "x-tollway-route"), "second/served");
    assert_eq!(routed(&gateway, &turn(3, json!({"session_id": "chat 2"}))).await, "first/served");
    assert_eq!(routed(&gateway, &turn(4, json!({"prompt_cache_key": "chat 1"}))).await, "second/served");
    assert_eq!(second.last().json()["prompt_cache_key"], "chat 1", "OpenAI's own field is left alone");
}

#[tokio::test]
async fn usage_may_be_asked_for_as_openrouter_has_it() {
    let fake = fake().await;
    let gateway = gateway(Config::new().provider(provider("p", &fake, "1"))).await;
    let mut body = streamed("tok-7 hi");
    let plain = gateway.chat(&body).send().await.text().await;
    body["usage"] = json!({"include": true});
    let with = gateway.chat(&body).send().await.text().await;
    assert!(!plain.contains("\"cost\"") && with.contains("\"cost\""), "{with}");
    assert_eq!(fake.last().json().get("usage"), None);
}

#[tokio::test]
async fn the_same_fields_steer_the_other_surfaces() {
    let (first, second, gateway) = pair().await;
    for (path, body) in [
        (
            "/v1/messages",
            json!({"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "tok-7"}]}),
        ),
        ("/v1/responses", json!({"model": MODEL, "input": "tok-7"})),
    ] {
        let mut body = body;
        assert_eq!(gateway.post(path, body.to_string()).send().await.status, 200, "{path}");
        body["provider"] = json!({"only": ["Second"]});
        body["model"] = format!("{MODEL}:floor").into();
        let response = gateway.post(path, body.to_string()).send().await;
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(header(&response, "x-tollway-route"), "second/served", "{path}");
        assert_eq!(second.last().json().get("provider"), None);
        body["provider"] = json!({"only": 1});
        assert_eq!(gateway.post(path, body.to_string()).send().await.status, 400, "{path}");
    }
    assert_eq!((first.count(), second.count()), (2, 2));
}
