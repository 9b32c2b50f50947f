//! Scenario files, read: what they mean, and what is said of those that mean nothing.

use std::path::Path;

use super::*;
use crate::units::TokenPrice;

const SMALL: &str = "\
about: A small one
begins: 2026-11-16T08:00:00Z
slo: {ttft: 1500ms, ttft_per_1k: 100ms}
defaults:
  first_token: {tail_share: 0.02, shape: c}
  cache: {ttl: 60s, honoured: 0.5}
routes:
  - name: one
    price: {input: 0.1, output: 0.2, cached_input: 0.01}
    first_token: {base: 500ms, prefill_tokens_per_second: 1000}
    pace: {tokens_per_second: 50}
    limits: {requests_per_second: 3}
  - name: two/some-model
    price: {input: 0.3, output: 0.4}
    first_token: {base: 200ms, prefill_tokens_per_second: 9000, noise: [0.5, 1, 2], rtt: 1ms}
    pace: {tokens_per_second: 70, stall_share: 0}
    cache: {ttl: 0s}
incidents:
  - {route: one, from: 0.1, to: 0.2, slow: 3}
  - {route: one, from: 0.5, to: 0.6, limit_cut: 0.5}
  - {route: two/some-model, from: 0.3, to: 0.4, down: true}
";

fn faults(text: &str) -> String {
    read(text, "x.yaml").unwrap_err().to_string()
}

fn shipped(name: &str) -> Scenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios").join(name);
    load(&path, &Shapes::fitted()).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn a_route_says_what_the_defaults_do_not() {
    let scenario = read(SMALL, "small.yaml").unwrap();
    assert_eq!((scenario.name.as_str(), scenario.about.as_str()), ("small", "A small one"));
    assert_eq!(scenario.slo, SloClass { ttft_s: 1.5, ttft_s_per_1k: 0.1 });
    assert_eq!(scenario.begins.to_string(), "2026-11-16T08:00:00Z");
    let [one, two] = scenario.routes.as_slice() else { panic!("two routes") };
    assert_eq!(
        (&*one.route.name, &*one.route.provider, &*one.route.upstream_model),
        ("one", "one", "market-model")
    );
    assert_eq!((&*two.route.provider, &*two.route.upstream_model), ("two", "some-model"));
    assert_eq!(
        one.route.price.as_ref().unwrap().at(scenario.begins).base.cached_input,
        Some(TokenPrice(10_000))
    );
    assert_eq!((one.first_token.tail_share, two.first_token.tail_share), (0.02, 0.02));
    assert_eq!((one.first_token.base_s, one.first_token.rtt_s, two.first_token.rtt_s), (0.5, 0.02, 0.001));
    assert_eq!((one.first_token.noise.len(), &*two.first_token.noise), (512, &[0.5, 1.0, 2.0][..]));
    assert_eq!(one.cache.unwrap(), Cache { ttl_s: 60.0, honoured: 0.5, granularity_tokens: 64 });
    assert!(two.cache.is_none(), "a cache of no time is none");
    assert_eq!(
        (one.limits.requests_per_s, one.limits.burst_s, two.limits.requests_per_s),
        (Some(3.0), 10.0, None)
    );
    let kinds: Vec<IncidentKind> = scenario.incidents.iter().map(|incident| incident.kind).collect();
    assert_eq!(kinds, [IncidentKind::Slow(3.0), IncidentKind::LimitCut(0.5), IncidentKind::Down]);
}

#[test]
fn a_noise_for_all_is_that_of_who_says_neither_noise_nor_shape() {
    let noise_of = |text: &str| -> Vec<usize> {
        let scenario = read(text, "small.yaml").unwrap();
        scenario.routes.iter().map(|one| one.first_token.noise.len()).collect()
    };
    let text = SMALL.replace("shape: c", "noise: [0.5, 0.9, 1, 4]");
    assert_eq!(noise_of(&text), [4, 3]);
    assert_eq!(noise_of(&text.replace("noise: [0.5, 1, 2]", "shape: a")), [4, 512]);
    let text = SMALL.replace("shape: c", "noise: [4, 1]").replace(", noise: [0.5, 1, 2]", "");
    let seen = faults(&text);
    assert!(
        seen.starts_with("x.yaml:5:42: error: `noise` must be a list of multipliers in ascending order"),
        "{seen}"
    );
    assert_eq!(seen.matches("`noise` must be").count(), 1, "{seen}");
}

#[test]
fn each_fault_has_its_place_and_a_better_word() {
    let seen = faults(&SMALL.replace("tail_share: 0.02", "tail_shar: 0.02"));
    assert!(seen.starts_with("x.yaml:5:17: error: unknown key `tail_shar`"), "{seen}");
    assert!(seen.contains("did you mean `tail_share`?"), "{seen}");
    let text = SMALL
        .replace("route: one, from: 0.1", "route: onne, from: 0.1")
        .replace("shape: c", "shape: z")
        .replace("to: 0.6", "to: 0.4")
        .replace(
            "route: two/some-model, from: 0.3, to: 0.4, down: true",
            "route: one, from: 0.3, to: 2, slow: 1",
        );
    let seen = faults(&text);
    for wanted in [
        "x.yaml:19:13: error: there is no route `onne`",
        "did you mean `one`?",
        "`shape` must be one of `a`, `b`",
        "x.yaml:20:24: error: `from` must be before `to`",
        "x.yaml:21:33: error: `to` must be a number from 0 to 1, not `2`",
    ] {
        assert!(seen.contains(wanted), "{wanted}\nnot in\n{seen}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    for (from, to, wanted) in [
        ("base: 500ms, ", "", "`first_token: {base}` is missing here"),
        ("    pace: {tokens_per_second: 50}\n", "", "`pace: {tokens_per_second}` is missing here"),
        ("[0.5, 1, 2]", "[2, 1]", "`noise` must be a list of multipliers in ascending order"),
        ("slow: 3", "slow: 3, down: true", "an incident needs one thing that goes wrong, not 2"),
        (", slow: 3", "", "an incident needs one thing that goes wrong, not 0"),
        ("down: true", "restart: true", "only the local node is restarted"),
        ("down: true", "limit_cut: 0.1", "`two/some-model` has no limit to cut"),
        ("two/some-model\n", "one\n", "a second route of this name; first in line 8"),
        ("about: A small one", "extends: other.yaml", "this text stands alone"),
        ("price: {input: 0.3, output: 0.4}", "price: {input: 0.3}", "`output` is missing"),
        ("about: A small one", "about: ${HOME}", "needs the variable HOME, which is unset"),
    ] {
        assert!(SMALL.contains(from));
        let seen = faults(&SMALL.replacen(from, to, 1));
        assert!(seen.contains(wanted), "{wanted}\nnot in\n{seen}");
    }
    assert!(faults("about: nothing\n").contains("a market needs `routes`"));
    assert!(faults("# nothing\n").contains("holds nothing"));
    assert!(faults("routes: [\n").contains("this is not YAML"));
}

#[test]
fn the_reference_market_is_the_one_that_was_agreed_on() {
    let scenario = shipped("reference.yaml");
    let rows: Vec<(&str, u64, f64, f64, f64)> = scenario
        .routes
        .iter()
        .map(|market| {
            let price = market.route.price.as_ref().unwrap().at(scenario.begins).base;
            let first = &market.first_token;
            (
                &*market.route.name,
                price.input.0,
                first.base_s,
                first.prefill_tokens_per_s,
                market.pace.tokens_per_s,
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("bulk", 60_000, 0.9, 12e3, 45.0),
            ("origin", 140_000, 1.1, 20e3, 70.0),
            ("novi", 140_000, 0.8, 15e3, 60.0),
            ("fire", 220_000, 0.42, 30e3, 150.0),
            ("toge", 200_000, 0.52, 25e3, 110.0),
            ("aggr", 116_000, 1.0, 15e3, 60.0),
            ("ultra", 600_000, 0.25, 50e3, 400.0),
        ]
    );
    assert_eq!((scenario.incidents.len(), scenario.local.is_none()), (5, true));
    assert!(shipped("reference-calm.yaml").incidents.is_empty());
    let hybrid = shipped("reference-hybrid.yaml");
    assert_eq!((hybrid.routes.len(), hybrid.incidents.len()), (7, 6));
    assert!(hybrid.local.as_ref().unwrap().route.local);
    let ascend = shipped("reference-ascend.yaml");
    assert_eq!((ascend.local.unwrap().stream_tokens_per_s, ascend.incidents.len()), (185.0, 6));
    assert!(shipped("reference-hybrid-calm.yaml").incidents.is_empty());
}

#[test]
fn every_shipped_scenario_reads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let scenario = shipped(&name);
        assert!(!scenario.about.is_empty() && !scenario.routes.is_empty(), "{name}");
        count += 1;
    }
    assert!(count >= 8);
}

#[test]
fn a_file_that_extends_itself_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.yaml");
    std::fs::write(&path, "extends: a.yaml\n").unwrap();
    assert!(load(&path, &Shapes::fitted()).unwrap_err().to_string().contains("extends itself"));
    std::fs::write(&path, "extends: none.yaml\n").unwrap();
    assert!(load(&path, &Shapes::fitted()).unwrap_err().to_string().contains("cannot be read"));
}

/// The page's own example, without what it extends.
#[test]
fn the_page_on_replay_shows_every_key_and_its_example_reads() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/replay.md")).unwrap();
    let (_, example) = page.split_once("```yaml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let alone: String = example.split_inclusive('\n').filter(|line| !line.starts_with("extends:")).collect();
    let scenario = read(&alone, "page.yaml").unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((scenario.routes.len(), scenario.incidents.len()), (2, 8));
    let schema = schemars::schema_for!(document::ScenarioDocument).to_value();
    let mut missing = Vec::new();
    for key in keys(&schema) {
        // Tiers, currencies and what they hold are explained where prices are.
        const WITH_PRICES: [&str; 7] =
            ["tiers", "prompt_tokens_above", "days", "cache_write", "request", "currency", "usd_per_unit"];
        if !example.contains(&format!("{key}:")) && !WITH_PRICES.contains(&&*key) {
            missing.push(key);
        }
    }
    assert!(missing.is_empty(), "docs/replay.md does not show {missing:?}");
}

/// The names of all properties in a schema.
fn keys(schema: &serde_json::Value) -> Vec<String> {
    match schema {
        serde_json::Value::Object(map) => {
            let own = map.get("properties").and_then(|properties| properties.as_object());
            let own = own.into_iter().flat_map(|properties| properties.keys().cloned());
            own.chain(map.values().flat_map(keys)).collect()
        }
        serde_json::Value::Array(items) => items.iter().flat_map(keys).collect(),
        _ => Vec::new(),
    }
}
