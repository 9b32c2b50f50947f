//! A broken stream gone on with by the real engine on this machine: greedy, so that the joined text must be the uncut one.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollway_test_support::{Break, Config, FakeProvider, Gateway, Kind, Model, Price, Provider, Reply};

use crate::gateway;
use crate::rescue::{Heard, heard};

const ENGINE: &str = "smollm2-135m-instruct";
/// More positions than the answer has tokens.
const CUTS: usize = 24;

/// The real model: at `TOLLWAY_MODEL`, or where `make model` puts it.
fn model() -> PathBuf {
    let usual =
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let path = std::env::var_os("TOLLWAY_MODEL").map_or_else(usual, PathBuf::from);
    assert!(path.is_file(), "this test needs the model at {}: `make model`", path.display());
    path
}

/// The gateway with the engine, and before it a provider for each place at which a stream is cut.
async fn engine() -> (FakeProvider, Gateway) {
    let fake = FakeProvider::start().await;
    let mut config = Config::new()
        .with(&format!("local_engine: {{profile: embedded, model_file: {}}}", model().display()))
        .policy("whole.yaml", "policy: whole\nmatch: {tags: {cut: none}}\nroutes: [local]\nprobe: off\n");
    for cut in 0..CUTS {
        let name = format!("first-{cut}");
        let served = Model::new(&format!("m-{cut}"), ENGINE).price(Price::per_million("0.1", "0.1", "0.1"));
        config = config.provider(Provider::fake(&name, Kind::OpenAi, &fake).model(served)).policy(
            &format!("{cut}.yaml"),
            &format!(
                "policy: p{cut}\nmatch: {{tags: {{cut: '{cut}'}}}}\nroutes: [{name}, local]\nin_order: true\nprobe: off\n\
                 fallback: {{midstream: resume}}\n"
            ),
        );
    }
    (fake, gateway(config).await)
}

fn ask(gateway: &Gateway, cut: &str) -> tollway_test_support::Request {
    let body = json!({"model": ENGINE, "stream": true, "temperature": 0, "seed": 7, "max_tokens": 64,
        "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "What is the capital of France, and what is it known for?"}]});
    gateway.chat(&body).header("x-tollway-tags", &format!("cut={cut}"))
}

#[tokio::test]
async fn r20_the_engine_goes_on_with_a_stream_as_if_it_had_begun_it() {
    let (fake, gateway) = engine().await;
    let deadline = Instant::now() + Duration::from_mins(1);
    let whole = loop {
        let response = ask(&gateway, "none").send().await;
        if response.status == 200 {
            break response.bytes().await;
        }
        assert!(Instant::now() < deadline, "the engine never starts:\n{}", gateway.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let events = tollway_test_support::events(&whole);
    let uncut = heard(&events).text;
    let said: Vec<usize> = (0..events.len())
        .filter(|at| {
            let content = events[*at].json().map(|chunk| chunk["choices"][0]["delta"]["content"].clone());
            content.as_ref().and_then(Value::as_str).is_some_and(|text| !text.is_empty())
        })
        .collect();
    assert!(said.len() > 8, "{uncut}");
    let recorded = Reply::stream([whole.clone()]);
    let places: Vec<usize> = said.iter().copied().take(CUTS).collect();
    let cuts = places.clone();
    fake.on(move |request| {
        let cut = crate::rescue::case_of(request);
        recorded.clone().cut_after_events(cuts[cut] + 1, Break::Close)
    });
    for cut in 0..places.len() {
        let events = ask(&gateway, &cut.to_string()).send().await.events().await;
        let Heard { text, resumed, .. } = heard(&events);
        assert_eq!(resumed[0]["after_tokens"], cut + 1, "{resumed}");
        assert_eq!(text, uncut, "cut behind {} tokens", cut + 1);
    }
}
