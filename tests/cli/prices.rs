//! `tollway prices sync` and `diff`, against providers on loopback.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tollway_test_support::{FakeProvider, Reply};

use crate::{printed, tollway};

const TOGETHER: &str = include_str!("../fixtures/providers/together_models_array.json");
const ENDPOINTS: &str = include_str!("../fixtures/providers/openrouter_model_endpoints.json");
const PRO: &str = "deepseek/deepseek-v4-pro-0813";
const GLM: &str = "z-ai/glm-5.2";

/// A folder with both providers that publish prices, and one that does not.
fn desk(openrouter: &FakeProvider, together: &FakeProvider) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "providers:
  openrouter: {{api_key: or-key-0123456789, base_url: '{}', models: [{{id: {PRO}}}, {{id: {GLM}}}, {{id: a/hidden}}]}}
  together: {{api_key: to-key-0123456789, base_url: '{}'}}
  deepseek: {{api_key: ds-key-0123456789, base_url: 'http://127.0.0.1:1'}}
",
        openrouter.base_url(),
        together.base_url()
    );
    fs::write(folder.path().join("tollway.yaml"), config).unwrap();
    folder
}

/// OpenRouter with GLM in its list and the DeepSeek model on a page of its own.
fn openrouter(glm_input: &'static str) -> FakeProvider {
    let fake = FakeProvider::start_blocking();
    lists(&fake, glm_input);
    fake
}

fn lists(fake: &FakeProvider, glm_input: &'static str) {
    fake.on(move |request| match request.path.as_str() {
        "/v1/models" => {
            let pricing =
                json!({"prompt": glm_input, "completion": "0.0000044", "input_cache_read": "0.00000026"});
            let model = json!({"id": GLM, "context_length": 1_048_576, "pricing": pricing});
            Reply::json(200, json!({"data": [model]}).to_string())
        }
        "/v1/models/deepseek/deepseek-v4-pro-0813/endpoints" => Reply::json(200, ENDPOINTS),
        _ => Reply::error(404, "not_found", "no such page"),
    });
}

fn together() -> FakeProvider {
    let fake = FakeProvider::start_blocking();
    fake.script(Reply::json(200, TOGETHER));
    fake
}

fn sync(folder: &Path, more: &[&str]) -> (Value, i32) {
    let (text, status) = printed(folder, &[&["prices", "sync", "--output", "json"], more].concat());
    (serde_json::from_str(&text).unwrap_or(Value::Null), status)
}

fn history(folder: &Path) -> String {
    fs::read_to_string(folder.join("data/prices.json")).unwrap()
}

/// The input price and confidence that `list` shows for a model of a provider.
fn listed(folder: &Path, provider: &str, model: &str) -> (String, String) {
    let words = ["prices", "list", "--provider", provider, "--model", model, "--output", "json"];
    let (text, status) = printed(folder, &words);
    assert_eq!(status, 0);
    let lines: Value = serde_json::from_str(&text).unwrap();
    let word = |key: &str| lines[0][key].as_str().unwrap().to_owned();
    (word("input"), word("confidence"))
}

#[test]
fn what_is_published_is_kept_with_its_history() {
    let (openrouter, together) = (openrouter("0.0000014"), together());
    let desk = desk(&openrouter, &together);
    let (report, status) = sync(desk.path(), &[]);
    assert_eq!(status, 0, "{report:#}");
    let asked = report["asked"].as_array().unwrap();
    let names: Vec<&str> = asked.iter().map(|asked| asked["provider"].as_str().unwrap()).collect();
    assert_eq!(names, ["openrouter", "together"]);
    assert_eq!(asked[0]["unlisted"], json!(["a/hidden"]));
    assert_eq!(asked[0]["changed"][0]["model_id"], PRO, "its peak has weekdays now");
    assert_eq!(asked[1]["changed"], json!([]), "as shipped, the noise of floats rounded away");
    assert_eq!(asked[1]["confirmed"], 5);
    let key = together.last().headers.get("authorization").map(str::to_owned);
    assert_eq!(key.as_deref(), Some("Bearer to-key-0123456789"));
    assert_eq!(together.last().path, "/v1/models");
    // A price confirmed is as fresh as one fetched.
    assert_eq!(listed(desk.path(), "openrouter", "glm-5.2"), ("1.4".to_owned(), "fetched".to_owned()));
    assert_eq!(listed(desk.path(), "deepseek", "v4-pro").1, "documented");

    let before = history(desk.path());
    lists(&openrouter, "0.0000012");
    let (report, status) = sync(desk.path(), &["--dry-run"]);
    assert_eq!((status, &report["file"]), (0, &Value::Null));
    assert_eq!(report["asked"][0]["changed"][0]["after"]["input"], "1.2");
    assert_eq!(history(desk.path()), before, "a dry run keeps nothing");
    let (report, status) = sync(desk.path(), &["--provider", "openrouter"]);
    assert_eq!((status, report["asked"].as_array().unwrap().len()), (0, 1));
    assert_eq!(report["asked"][0]["changed"].as_array().unwrap().len(), 1);
    let rows: Value = serde_json::from_str(&history(desk.path())).unwrap();
    let of_glm = |row: &&Value| row["model_id"] == GLM && row["provider"] == "openrouter";
    let versions: Vec<&Value> = rows["rows"].as_array().unwrap().iter().filter(of_glm).collect();
    let inputs: Vec<f64> = versions.iter().map(|row| row["input_usd_per_mtok"].as_f64().unwrap()).collect();
    // Within one second the second fetch stands in the first one's place.
    assert!(inputs == [1.4, 1.2] || inputs == [1.2], "{versions:?}");
    assert_eq!(listed(desk.path(), "openrouter", "glm-5.2").0, "1.2");
}

#[test]
fn an_operators_price_beats_what_was_fetched() {
    let (openrouter, together) = (openrouter("0.0000012"), together());
    let desk = desk(&openrouter, &together);
    assert_eq!(sync(desk.path(), &[]).1, 0);
    let config = desk.path().join("tollway.yaml");
    let own = format!("prices: [{{provider: openrouter, id: {GLM}, price: {{input: 1, output: 4}}}}]\n");
    fs::write(&config, fs::read_to_string(&config).unwrap() + &own).unwrap();
    assert_eq!(listed(desk.path(), "openrouter", "glm-5.2"), ("1".to_owned(), "operator".to_owned()));
    let (text, status) = printed(desk.path(), &["explain", "--model", "glm-5.2", "--output", "json"]);
    assert_eq!(status, 0, "{text}");
    let explained: Value = serde_json::from_str(&text).unwrap();
    let prices: Vec<(&str, &str)> = explained["candidates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|offer| {
            (offer["price"]["input"].as_str().unwrap(), offer["price"]["confidence"].as_str().unwrap())
        })
        .collect();
    assert_eq!(prices, [("1", "operator"), ("1.4", "fetched")]);
}

#[test]
fn a_price_that_cannot_be_true_is_refused_by_name() {
    let (openrouter, together) = (openrouter("0.0000014"), together());
    let desk = desk(&openrouter, &together);
    assert_eq!(sync(desk.path(), &[]).1, 0);
    let before = history(desk.path());
    for (price, why) in [
        ("0", "its input price is 0, which lists write for what is not on offer"),
        ("0.000015", "its input price went from 1.4 to 15, more than 10 times"),
        ("-1", "`prompt`: \"-1\" is negative"),
    ] {
        lists(&openrouter, price);
        let (report, status) = sync(desk.path(), &["--provider", "openrouter"]);
        assert_eq!(status, 1);
        assert_eq!(report["asked"][0]["refused"], json!([{"model_id": GLM, "why": why}]));
        assert_eq!(history(desk.path()), before);
    }
    lists(&openrouter, "0.000015");
    let route = format!("openrouter/{GLM}");
    assert_eq!(sync(desk.path(), &["--accept", &route]).1, 0);
    assert_eq!(listed(desk.path(), "openrouter", "glm-5.2").0, "15");
    assert_eq!(sync(desk.path(), &["--accept", "openrouter/none"]).1, 2);
}

#[test]
fn when_a_provider_fails_what_was_known_stays() {
    let (openrouter, together) = (openrouter("0.0000014"), together());
    let desk = desk(&openrouter, &together);
    assert_eq!(sync(desk.path(), &[]).1, 0);
    let before = history(desk.path());
    for (reply, words) in [
        (Reply::json(500, "{}"), "it answered 500"),
        (Reply::json(401, "{}"), "it refused the API key"),
        (Reply::json(200, "[{\"id\": "), "its list of models cannot be read"),
        (Reply::redirect(302, "http://127.0.0.1:1/"), "it answered 302"),
    ] {
        together.script(reply);
        let (report, status) = sync(desk.path(), &["--provider", "together"]);
        assert_eq!(status, 1);
        let error = report["asked"][0]["error"].as_str().unwrap();
        assert!(error.starts_with(words), "{error}");
        assert_eq!((history(desk.path()), &report["file"]), (before.clone(), &Value::Null));
    }
    // The one that answers is kept all the same.
    together.kill();
    lists(&openrouter, "0.0000012");
    let (report, status) = sync(desk.path(), &[]);
    assert_eq!(status, 1);
    assert!(report["asked"][1]["error"].is_string() && report["file"].is_string(), "{report:#}");
    assert_eq!(listed(desk.path(), "openrouter", "glm-5.2").0, "1.2");
    // A history that cannot be read is not written over.
    fs::write(desk.path().join("data/prices.json"), "{").unwrap();
    let output = tollway(desk.path(), &["prices", "sync"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("data/prices.json cannot be used") && said.contains("move it away"), "{said}");
    assert_eq!(history(desk.path()), "{");
}

#[test]
fn diff_says_by_its_status_whether_anything_differs() {
    let (openrouter, together) = (openrouter("0.0000012"), together());
    let desk = desk(&openrouter, &together);
    let diff = |more: &[&str]| printed(desk.path(), &[&["prices", "diff"], more].concat());
    assert_eq!(diff(&[]), ("nothing differs\n".to_owned(), 0));
    assert_eq!(sync(desk.path(), &[]).1, 0);
    let (text, status) = diff(&["--model", "glm", "--output", "json"]);
    assert_eq!(status, 1);
    let changes: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((changes.as_array().unwrap().len(), &changes[0]["confidence"]), (1, &"fetched".into()));
    assert_eq!(
        (&changes[0]["before"]["input"], &changes[0]["after"]["input"]),
        (&"1.4".into(), &"1.2".into())
    );
    let (text, status) = diff(&["--from", "2026-11-02", "--to", "2026-11-04"]);
    assert_eq!(status, 1);
    assert!(text.contains("openai/gpt-oss-120b") && text.contains("0.03/-/0.17"), "{text}");
    assert_eq!(diff(&["--from", "2026-11-10", "--to", "2026-11-11"]).1, 0);
    for wrong in [&["--to", "2026-11-10"][..], &["--from", "soon"], &["--from", "2026-11-10T00:00:00"]] {
        assert_eq!(diff(wrong).1, 2, "{wrong:?}");
    }
    fs::write(desk.path().join("tollway.yaml"), "colour: red\n").unwrap();
    assert_eq!(diff(&[]).1, 2);
}

#[test]
fn nobody_to_ask_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (text, status) = printed(folder.path(), &["prices", "sync"]);
    assert_eq!(status, 0);
    assert!(text.starts_with("no usable provider publishes its prices"), "{text}");
    let output = tollway(folder.path(), &["prices", "sync", "--provider", "deepseek"]);
    assert_eq!(output.status.code(), Some(2));
    for verb in ["list", "diff", "sync"] {
        let (text, status) = printed(folder.path(), &["prices", verb, "--help"]);
        assert!(status == 0 && text.contains("Examples"), "{verb}: {text}");
    }
}
