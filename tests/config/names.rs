//! What a model's name means.

use tollway::config::{NameKind, Severity, Snapshot};

use crate::world::{World, good, said};

fn all() -> World {
    World(vec![
        ("OPENROUTER_API_KEY", "a"),
        ("TOGETHER_API_KEY", "b"),
        ("FIREWORKS_API_KEY", "c"),
        ("DEEPSEEK_API_KEY", "d"),
        ("DASHSCOPE_API_KEY", "e"),
        ("MODELARTS_API_KEY", "f"),
        ("HUNYUAN_API_KEY", "g"),
    ])
}

fn routes(snapshot: &Snapshot, name: &str) -> Vec<String> {
    let resolved = snapshot.names.resolve(name).unwrap_or_else(|| panic!("{name} is unknown"));
    let mut names: Vec<_> =
        resolved.routes.iter().map(|id| snapshot.route(*id).unwrap().name.to_string()).collect();
    names.sort();
    names
}

#[test]
fn a_checkpoint_means_every_route_of_these_weights() {
    let snapshot = good("", &all());
    assert_eq!(
        routes(&snapshot, "deepseek-v4-flash-0731"),
        [
            "fireworks/accounts/fireworks/models/deepseek-v4-flash-0731",
            "openrouter/deepseek/deepseek-v4-flash-0731",
            "together/deepseek-ai/DeepSeek-V4-Flash-0731",
        ]
    );
    assert_eq!(snapshot.names.resolve("deepseek-v4-flash-0731").unwrap().kind, NameKind::Canonical);
}

#[test]
fn deepseeks_legacy_name_is_no_member_of_the_family_it_is_named_after() {
    let snapshot = good("", &all());
    let family = routes(&snapshot, "deepseek-v4-flash");
    assert!(family.len() >= 5, "{family:?}");
    assert!(family.iter().all(|name| !name.starts_with("deepseek/")), "{family:?}");
    // It serves V4.1-Flash, and is a member there.
    assert!(routes(&snapshot, "deepseek-v4.1-flash").contains(&"deepseek/deepseek-v4-flash".to_owned()));
    let id = snapshot.names.resolve("deepseek-v4.1-flash-1017").unwrap().routes.to_vec();
    assert!(id.iter().any(|id| &*snapshot.route(*id).unwrap().name == "deepseek/deepseek-v4-flash"));
    // Even where DeepSeek is all there is, the name never means its route.
    let alone = good("", &World(vec![("DEEPSEEK_API_KEY", "d")]));
    assert!(routes(&alone, "deepseek-v4-flash").is_empty());
    let offered: Vec<_> =
        alone.names.resolve("deepseek-v4-flash").unwrap().offered_by.iter().map(|name| &**name).collect();
    assert_eq!(offered, ["dashscope", "fireworks", "hunyuan", "modelarts", "openrouter", "together"]);
}

#[test]
fn undated_ids_are_a_checkpoint_of_their_own_and_members_of_the_family() {
    let snapshot = good("", &all());
    let unstated = routes(&snapshot, "deepseek-v4-flash-unstated");
    assert!(
        unstated.contains(&"fireworks/accounts/fireworks/models/deepseek-v4-flash".to_owned()),
        "{unstated:?}"
    );
    let family = routes(&snapshot, "deepseek-v4-flash");
    assert!(unstated.iter().all(|name| family.contains(name)));
    let listed = snapshot.names.listed().find(|model| &*model.id == "deepseek-v4-flash").unwrap();
    let members: Vec<_> = listed.checkpoints.iter().map(|name| &**name).collect();
    assert_eq!(members, ["deepseek-v4-flash-0423", "deepseek-v4-flash-0731", "deepseek-v4-flash-unstated"]);
}

#[test]
fn a_providers_own_id_means_its_checkpoint_everywhere() {
    let snapshot = good("", &all());
    assert_eq!(routes(&snapshot, "moonshotai/Kimi-K2.6"), routes(&snapshot, "kimi-k2.6"));
    let resolved = snapshot.names.resolve("moonshotai/Kimi-K2.6").unwrap();
    assert_eq!(
        (&**resolved.canonical, resolved.kind, resolved.pinned),
        ("kimi-k2.6", NameKind::Upstream, false)
    );
}

#[test]
fn a_pin_means_one_provider() {
    let snapshot = good("", &all());
    for name in ["fireworks/accounts/fireworks/models/kimi-k2p6", "fireworks/kimi-k2.6"] {
        assert_eq!(routes(&snapshot, name), ["fireworks/accounts/fireworks/models/kimi-k2p6"], "{name}");
        assert!(snapshot.names.resolve(name).unwrap().pinned);
    }
    assert_eq!(routes(&snapshot, "together/deepseek-v4-pro").len(), 2, "a family pins all its members there");
    assert_eq!(
        routes(&snapshot, "openrouter/deepseek/deepseek-v4-flash"),
        ["openrouter/deepseek/deepseek-v4-flash"]
    );
}

#[test]
fn a_fast_path_serves_only_who_names_it() {
    let snapshot = good("", &all());
    let fast = "fireworks/accounts/fireworks/routers/kimi-k2p6-fast";
    assert!(!routes(&snapshot, "kimi-k2.6").contains(&fast.to_owned()));
    assert!(!routes(&snapshot, "fireworks/kimi-k2.6").contains(&fast.to_owned()));
    assert_eq!(routes(&snapshot, fast), [fast]);
    assert_eq!(routes(&snapshot, "accounts/fireworks/routers/kimi-k2p6-fast"), [fast]);
    // The US path is slower to nobody and dearer by half: it competes with its price and region.
    let us = "fireworks/accounts/fireworks/routers/deepseek-v4p1-flash-us".to_owned();
    assert!(routes(&snapshot, "deepseek-v4.1-flash").contains(&us));
}

#[test]
fn an_id_that_looks_like_a_pin_is_said_once() {
    let both = World(vec![("OPENROUTER_API_KEY", "a"), ("DEEPSEEK_API_KEY", "d")]);
    let snapshot = good("", &both);
    assert_eq!(routes(&snapshot, "deepseek/deepseek-v4-flash"), ["openrouter/deepseek/deepseek-v4-flash"]);
    let warnings: Vec<_> = snapshot.warnings.iter().collect();
    assert_eq!(warnings.len(), 1, "{}", snapshot.warnings);
    assert_eq!(warnings[0].severity, Severity::Warning);
    assert!(warnings[0].message.contains("`deepseek/deepseek-v4-flash`"), "{}", warnings[0].message);
    // Alone, it pins.
    let alone = good("", &World(vec![("DEEPSEEK_API_KEY", "d")]));
    assert!(alone.warnings.is_empty());
    assert_eq!(routes(&alone, "deepseek/deepseek-v4-flash"), ["deepseek/deepseek-v4-flash"]);
    assert_eq!(routes(&alone, "deepseek/deepseek-v4.1-flash").len(), 2);
}

#[test]
fn the_operator_sets_aliases() {
    let snapshot = good(
        "aliases: {fast: [smart, glm-5.3-flash], smart: [kimi-k3], deepseek-v4-flash: [deepseek-v4-flash-0731]}",
        &all(),
    );
    let fast = routes(&snapshot, "fast");
    assert!(
        fast.contains(&"together/moonshotai/Kimi-K3".to_owned())
            && fast.contains(&"together/zai-org/GLM-5.3-Flash".to_owned())
    );
    assert_eq!(routes(&snapshot, "deepseek-v4-flash"), routes(&snapshot, "deepseek-v4-flash-0731"));
    assert!(
        said("aliases: {kimi-k2.6: [kimi-k3], deepseek-v4-flash-0731: [kimi-k3]}", &[], &all()).has_errors()
    );
    assert!(said("aliases: {a: [b], b: [a]}", &[], &all()).has_errors(), "a circle stands for nothing");
}

#[test]
fn models_of_the_operators_own_join_their_checkpoint() {
    let text = "providers: {mine: {kind: vllm, base_url: 'http://10.0.0.5/v1', models: [
        {id: served, model: deepseek-v4-flash-0731, context: 1000, price: {input: 0.1, output: 0.2}}, {id: own-tune}]}}";
    let snapshot = good(text, &World(vec![]));
    assert_eq!(routes(&snapshot, "deepseek-v4-flash-0731"), ["mine/served"]);
    assert_eq!(routes(&snapshot, "deepseek-v4-flash"), ["mine/served"]);
    assert_eq!(routes(&snapshot, "served"), ["mine/served"]);
    assert_eq!(routes(&snapshot, "own-tune"), ["mine/own-tune"]);
    let priced =
        snapshot.routes.iter().find(|route| &*route.name == "mine/served").unwrap().price.clone().unwrap();
    let entry = priced.entry_in_force(0, jiff::Timestamp::UNIX_EPOCH);
    assert_eq!((&*entry.source, &*entry.confidence), ("tollway.yaml", "operator"));
    assert!(snapshot.routes.iter().find(|route| &*route.name == "mine/own-tune").unwrap().price.is_none());
}

#[test]
fn unknown_names_have_neighbours_and_no_meaning() {
    let snapshot = good("", &all());
    assert!(snapshot.names.resolve("gpt-4o-mini").is_none());
    assert!(snapshot.names.resolve("auto").is_none());
    assert_eq!(snapshot.names.nearest("deepseek-v4-flsh", 1), ["deepseek-v4-flash"]);
    assert_eq!(snapshot.names.nearest("KIMI-K2.6", 1), ["kimi-k2.6"]);
    assert!(snapshot.names.nearest(&"x".repeat(1_000_000), 5).is_empty());
    // What cannot be served is not suggested.
    let alone = good("", &World(vec![]));
    assert!(alone.names.nearest("kimi-k2.6", 3).iter().all(|name| name.contains("smollm2")));
    if local_engine::AVAILABLE {
        assert_eq!(routes(&alone, "smollm2"), ["local/smollm2-135m-instruct"]);
        let listed: Vec<_> = alone.names.listed().map(|model| &*model.id).collect();
        assert_eq!(listed, ["smollm2", "smollm2-135m-instruct"]);
    }
}
