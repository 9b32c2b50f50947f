//! What is set once, and who serves.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use tollway::budget::OnStoreLoss;
use tollway::config::{Auth, Store, Unusable, key_hash};
use tollway::routing::{Capabilities, HedgeAfter, Hedging, Mode};

use crate::world::{World, compiled, good, said};

/// How many routes this machine has: none in a build without the embedded engine.
const LOCAL: usize = local_engine::AVAILABLE as usize;

fn nothing() -> World {
    World(vec![])
}

#[test]
fn without_any_file_the_defaults_serve_the_local_model() {
    let snapshot = good("", &nothing());
    assert_eq!(snapshot.settings.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(snapshot.settings.admin.listen.to_string(), "127.0.0.1:9464");
    assert_eq!(snapshot.settings.auth, Auth::Open);
    assert_eq!(snapshot.settings.limits.body_bytes_max, 32 << 20);
    assert_eq!(snapshot.settings.limits.request_timeout, Duration::from_mins(10));
    assert_eq!(snapshot.counts().usable, LOCAL);
    assert_eq!(snapshot.policies.iter().map(|policy| &*policy.name).collect::<Vec<_>>(), ["default"]);
}

#[test]
fn a_store_is_one_redis_or_none() {
    let store = |text: &str| good(text, &World(vec![("PW", "hunter2")])).settings.store;
    assert!(matches!(store(""), Store::Embedded));
    assert!(matches!(store("store: embedded"), Store::Embedded));
    for text in ["redis+cluster://h:1,h:2", "redis+sentinel://:${PW}@h:1,h:2/main"] {
        assert!(matches!(store(&format!("store: '{text}'")), Store::Redis(_)), "{text}");
    }
    for scheme in ["redis", "rediss"] {
        let text = format!("store: '{scheme}://:${{PW}}@h:1/2'");
        let Store::Redis(url) = store(&text) else { panic!("{text}") };
        assert_eq!(url.expose_secret(), format!("{scheme}://:hunter2@h:1/2"));
        assert!(!format!("{:?}", good(&text, &World(vec![("PW", "hunter2")]))).contains("hunter2"), "r51");
    }
    for text in ["redis-sentinel://h", "redis+sentinel://h:1", "redis://h/x", "rediss://h#insecure", "memory"]
    {
        assert!(compiled(&format!("store: '{text}'"), &[], &nothing()).is_err(), "{text}");
    }
}

#[test]
fn what_happens_without_the_store_is_said_with_it_and_a_policy_may_say_otherwise() {
    let world = World(vec![("PW", "hunter2")]);
    let usual = good("store: 'redis://h:1/0'", &world);
    assert_eq!(usual.settings.store_terms.on_loss, OnStoreLoss::Refuse);
    assert_eq!(usual.settings.store_terms.patience, Duration::from_secs(1));
    let text = "store: {url: 'redis://:${PW}@h:1/2', on_store_loss: local-share, patience: 250ms}";
    let policies = [
        "policy: a\nmatch: {models: [x]}\non_store_loss: allow\n",
        "policy: b\n",
        "policy: c\nmode: shadow\n",
    ];
    let own = compiled(text, &policies, &world).unwrap();
    let Store::Redis(url) = &own.settings.store else { panic!("{text}") };
    assert_eq!(url.expose_secret(), "redis://:hunter2@h:1/2");
    assert_eq!(own.settings.store_terms.patience, Duration::from_millis(250));
    let names: Vec<_> = own.policies.iter().map(|policy| &*policy.name).zip(own.on_store_loss).collect();
    let (share, allow) = (OnStoreLoss::LocalShare, OnStoreLoss::Allow);
    assert_eq!(names, [("a", allow), ("b", share), ("c", share)]);
}

#[test]
fn what_is_wrong_with_a_stores_terms_is_said_where_it_stands() {
    for (config, words) in [
        ("store: {on_store_loss: allow}", "tollway.yaml:1:8: error: `store` does not say where it is"),
        ("store: {url: memory}", "tollway.yaml:1:14: error: `url` must be one of `embedded`"),
        ("store: {url: 'redis://h', on_store_loss: deny}", "must be one of `refuse`, `local-share`, `allow`"),
        (
            "store: {url: 'redis://h', patience: 10ms}",
            "tollway.yaml:1:37: error: `patience` must be from 50ms to 10s",
        ),
        ("store: {url: 'redis://h', patince: 1s}", "patience"),
        ("store: {url: embedded, patience: 1s}", "tollway.yaml:1:34: warning: nothing is shared"),
        ("store: ['redis://h']", "must be a single value"),
    ] {
        let said = said(config, &[], &nothing()).to_string();
        assert!(said.contains(words), "{config}: {said}");
    }
    let said = said("", &["policy: a\non_store_loss: allow\n"], &nothing()).to_string();
    assert!(said.contains("1.yaml:2:16: warning: nothing is shared"), "{said}");
}

#[test]
fn the_ledger_is_a_file_that_forgets_after_a_year_and_a_month() {
    let ledger = |text: &str| good(text, &nothing()).settings.ledger;
    let usual = ledger("state_dir: /var/lib/tollway");
    assert_eq!(usual.path.to_str(), Some("/var/lib/tollway/ledger.db"));
    assert_eq!((usual.synced, usual.retention), (false, Some(Duration::from_hours(400 * 24))));
    let own = ledger("ledger: {path: /srv/money.db, durability: power, retention: forever}");
    assert_eq!((own.path.to_str(), own.synced, own.retention), (Some("/srv/money.db"), true, None));
    assert_eq!(ledger("ledger: {retention: 30d}").retention, Some(Duration::from_hours(720)));
    for bad in ["retention: 0d", "retention: 30h", "durability: fsync", "file: x"] {
        assert!(compiled(&format!("ledger: {{{bad}}}"), &[], &nothing()).is_err(), "{bad}");
    }
}

#[test]
fn r51_records_go_to_a_postgres_whose_password_nobody_is_told() {
    let world = World(vec![("PW", "hunter2")]);
    let url = "postgres://u:${PW}@db:5432/money?sslmode=verify-full";
    for text in [format!("ledger: '{url}'"), format!("ledger: {{postgres: '{url}', retention: 30d}}")] {
        let read = good(&text, &world);
        let address = read.settings.ledger.postgres.as_ref().expect("an address");
        assert_eq!(address.0.expose_secret(), "postgres://u:hunter2@db:5432/money?sslmode=verify-full");
        assert!(!format!("{read:?}").contains("hunter2"));
    }
    assert_eq!(good("ledger: {retention: 30d}", &world).settings.ledger.postgres, None);
    for bad in [
        "postgres://u:${PW}@/money",
        "mysql://u:${PW}@db/money",
        "postgres://u:${PW}@db/m?options=x",
        "./ledger.db",
    ] {
        let said = compiled(&format!("ledger: '{bad}'"), &[], &world).expect_err(bad).to_string();
        assert!(said.contains("tollway.yaml:1:9") && !said.contains("hunter2"), "{said}");
    }
    let unset = compiled("ledger: '${NOBODY_SET_THIS}'", &[], &world).expect_err("unset").to_string();
    assert!(unset.contains("NOBODY_SET_THIS"), "{unset}");
}

#[test]
fn auth_is_required_once_a_key_exists_or_others_can_connect() {
    let key = "keys: [{name: a, key: \"0123456789abcdef\"}]";
    assert_eq!(good(key, &nothing()).settings.auth, Auth::Required);
    assert_eq!(good("listen: 0.0.0.0:1", &nothing()).settings.auth, Auth::Required);
    assert_eq!(
        good("{listen: 0.0.0.0:1, auth: open, auth_open_forced: true}", &nothing()).settings.auth,
        Auth::Open
    );
    assert!(compiled("{listen: 0.0.0.0:1, auth: open}", &[], &nothing()).is_err());
}

#[test]
fn keys_are_kept_as_sha256() {
    let text = "keys:
      - {name: plain, key: \"${K}\", team: red, models: [\"kimi-*\"], tags: {tier: gold}}
      - {name: file, key_file: good-secret}
      - {name: hashed, key_sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08}";
    let snapshot = good(text, &World(vec![("K", "0123456789abcdef")]));
    let named = |text: &[u8]| snapshot.key(&key_hash(text)).map(|key| key.name.to_string());
    assert_eq!(named(b"0123456789abcdef").as_deref(), Some("plain"));
    assert_eq!(named(b"from-the-file-0123456789").as_deref(), Some("file"));
    assert_eq!(named(b"test").as_deref(), Some("hashed"));
    assert_eq!(named(b"0123456789abcdeg"), None);
    assert!(!format!("{snapshot:?}").contains("0123456789abcdef"));
}

#[test]
fn r48_a_key_that_is_unset_leaves_its_provider_aside() {
    let text = "providers: {together: {api_key: \"${T}\"}, fireworks: {api_key_env: F}, mine: {kind: openai, base_url: 'http://h/v1', models: [{id: x}], api_key: \"${M}\"}}";
    let snapshot = good(text, &World(vec![("M", ""), ("DEEPSEEK_API_KEY", " ")]));
    let why = |name: &str| {
        snapshot.providers.iter().find(|provider| &*provider.name == name).unwrap().usable.clone()
    };
    assert_eq!(why("together"), Err(Unusable::KeyUnset("T".into())));
    assert_eq!(why("fireworks"), Err(Unusable::KeyUnset("F".into())));
    assert_eq!(why("mine"), Err(Unusable::KeyUnset("M".into())));
    assert_eq!(why("deepseek"), Err(Unusable::NoKey("DEEPSEEK_API_KEY".into())));
    assert_eq!(snapshot.routes.len(), LOCAL);
}

#[test]
fn a_built_in_keys_variable_serves_only_the_built_in() {
    let text = "providers: {other: {kind: openai, base_url: 'http://10.0.0.5/v1', models: [{id: x}]}}";
    let snapshot = good(text, &World(vec![("OPENAI_API_KEY", "sk-real")]));
    let other = snapshot.providers.iter().find(|provider| &*provider.name == "other").unwrap();
    assert!(other.api_key.is_none(), "somebody else's server gets no OpenAI key");
    assert_eq!(other.usable, Ok(()));
    let openai = snapshot.providers.iter().find(|provider| &*provider.name == "openai").unwrap();
    assert_eq!(openai.api_key.as_ref().unwrap().expose_secret(), "sk-real");
}

#[test]
fn responses_go_as_they_came_where_they_are_spoken() {
    let text = "providers:
      openai: {models: [{id: x}]}
      deepseek: {base_url: 'http://127.0.0.1:9/v1'}
      fireworks: {responses: translate}
      mine: {kind: openai, base_url: 'http://h/v1', models: [{id: x}]}
      other: {kind: vllm, base_url: 'http://h/v1', models: [{id: x}], responses: native}";
    let snapshot = good(text, &nothing());
    let speaks = |name: &str| {
        snapshot.providers.iter().find(|provider| &*provider.name == name).unwrap().speaks_responses
    };
    assert!(speaks("openai") && speaks("openrouter") && speaks("other"));
    assert!(!speaks("deepseek") && !speaks("fireworks") && !speaks("mine") && !speaks("together"));
    assert!(compiled("providers: {openai: {responses: passed}}", &[], &nothing()).is_err());
}

#[test]
fn a_built_in_can_be_moved_and_its_models_replaced() {
    let world = World(vec![("DEEPSEEK_API_KEY", "d")]);
    let moved = good("providers: {deepseek: {base_url: 'http://127.0.0.1:9/v1/'}}", &world);
    let provider = moved.providers.iter().find(|provider| &*provider.name == "deepseek").unwrap();
    assert_eq!(provider.base_url.as_ref().unwrap().to_string(), "http://127.0.0.1:9/v1");
    assert_eq!(provider.region, None, "nobody knows where that is");
    assert_eq!(moved.routes.len(), LOCAL + 3);
    let replaced = good(
        "providers: {deepseek: {models: [{id: deepseek-v4-pro, price: {input: 1, output: 2, cached_input: 0.5}}]}}",
        &world,
    );
    assert_eq!(replaced.routes.len(), LOCAL + 1);
    let route = &replaced.routes[LOCAL];
    assert_eq!((&*route.name, &*route.checkpoint), ("deepseek/deepseek-v4-pro", "deepseek-v4-pro-0813"));
    assert_eq!(route.price.as_ref().unwrap().rates(0, jiff::Timestamp::UNIX_EPOCH).output.to_string(), "2");
}

#[test]
fn a_price_of_one_region_says_nothing_of_another() {
    let world = World(vec![("DASHSCOPE_API_KEY", "a")]);
    let beijing = good("", &world);
    let priced = |snapshot: &tollway::config::Snapshot, id: &str| {
        snapshot.routes.iter().find(|route| *route.upstream_model == *id).unwrap().price.is_some()
    };
    assert!(priced(&beijing, "deepseek-v4.1-flash") && !priced(&beijing, "deepseek-v4-flash"));
    let singapore = good(
        "providers: {dashscope: {base_url: 'https://dashscope-intl.aliyuncs.com/compatible-mode/v1'}}",
        &world,
    );
    assert!(!priced(&singapore, "deepseek-v4.1-flash") && priced(&singapore, "deepseek-v4-flash"));
}

#[test]
fn capabilities_follow_the_kind_and_the_model() {
    let world = World(vec![("DEEPSEEK_API_KEY", "d"), ("TOGETHER_API_KEY", "t")]);
    let snapshot = good(
        "providers: {mine: {kind: vllm, base_url: 'http://h/v1', models: [{id: e, capabilities: [embeddings]}]}}",
        &world,
    );
    let can = |name: &str, what| {
        snapshot.routes.iter().find(|route| &*route.name == name).unwrap().capabilities.covers(what)
    };
    assert!(!can("deepseek/deepseek-v4-pro", Capabilities::JSON_SCHEMA));
    assert!(
        !can("together/moonshotai/Kimi-K2.6", Capabilities::EMBEDDINGS),
        "a model that chats embeds nothing"
    );
    assert!(can("mine/e", Capabilities::EMBEDDINGS) && !can("mine/e", Capabilities::CHAT));
    assert!(!local_engine::AVAILABLE || can("local/smollm2-135m-instruct", Capabilities::EMBEDDINGS));
}

#[test]
fn link_local_is_allowed_where_it_is_meant() {
    let text = "providers: {mine: {kind: vllm, base_url: 'http://169.254.1.1/v1', allow_link_local: true, models: [{id: x}]}}";
    assert!(good(text, &nothing()).providers.iter().any(|provider| provider.allow_link_local));
    assert!(said(&text.replace("true", "false"), &[], &nothing()).has_errors());
}

#[test]
fn policies_carry_everything_over() {
    let policy = "policy: p
match: {models: ['a*'], keys: [k], teams: [t], tags: {x: 'y*', debug: true}, endpoints: [chat]}
routes: [local, 'deep*']
in_order: true
objective: latency
slo: {ttft: 800ms, tokens_per_second: 30, attainment: 0.9}
constraints: {max_price: {input: 0.5, output: 1.5}, regions: [us, no], data_retention: stored, quantizations: [fp8]}
fallback: {attempts: 4, first_token_timeout: 5s, idle_timeout: 1.5s, midstream: error}
allow_unpriced: true
output_tokens_assumed: 100
";
    let snapshot = compiled("", &[policy], &nothing()).unwrap();
    let policy = &snapshot.policies[0];
    assert_eq!(policy.matcher.tags[1].1.0.as_ref(), "true");
    assert_eq!(
        policy.constraints.regions.iter().map(|name| &**name).collect::<Vec<_>>(),
        ["us", "no"],
        "`no` is Norway, not false"
    );
    assert_eq!(policy.constraints.output_price_max.unwrap().to_string(), "1.5");
    assert_eq!((policy.fallback.attempts, policy.fallback.idle_timeout), (4, Duration::from_millis(1500)));
    assert_eq!((policy.in_order, policy.allow_unpriced, policy.output_tokens_assumed), (true, true, 100));
}

#[test]
fn promises_hedges_probes_and_modes_mean_what_they_say() {
    let text = "
- {policy: plain}
- {policy: promised, slo: {ttft: 800ms, ttft_per_1k: 100ms, attainment: 0.99}, hedge: {after: p95, max_extra_cost: 0.1}}
- {policy: silence, slo: {ttft: 1s}, hedge: {after: 800ms}, probe: off}
- {policy: single, hedge: off, probe: on, mode: shadow}
";
    let snapshot = compiled("", &[text], &nothing()).unwrap();
    let [plain, promised, silence, single] = &snapshot.policies[..] else { panic!("four policies") };
    assert_eq!((plain.hedging, plain.probe, plain.mode), (Hedging::default(), true, Mode::Live));
    assert!(plain.hedging.on);
    assert_eq!(plain.slo.ttft_per_1k, Duration::ZERO);
    assert_eq!(promised.slo.ttft_per_1k, Duration::from_millis(100));
    let hedging = Hedging { on: true, after: HedgeAfter::Quantile(0.95), max_extra_cost: 0.1 };
    assert_eq!(promised.hedging, hedging);
    assert_eq!(silence.hedging.after, HedgeAfter::Silence(Duration::from_millis(800)));
    assert!(!silence.probe && !single.hedging.on && single.probe);
    assert_eq!(single.mode, Mode::Shadow);
}

#[test]
fn beside_shadows_alone_the_built_in_policy_decides() {
    let names = |text: &str| {
        let snapshot = compiled("", &[text], &nothing()).unwrap();
        snapshot.policies.iter().map(|policy| policy.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names("{policy: watches, mode: shadow}"), ["watches", "default"]);
    assert_eq!(names("{policy: default, mode: shadow}"), ["default", "built-in"]);
    assert_eq!(names("[{policy: watches, mode: shadow}, {policy: decides}]"), ["watches", "decides"]);
}

#[test]
fn pages_of_other_origins_are_let_in_by_name() {
    let text = "cors: {origins: ['https://app.example', 'http://localhost:5173'], max_age: 1h}";
    let snapshot = good(text, &nothing());
    let cors = snapshot.settings.cors.as_ref().expect("switched on");
    let origins: Vec<&str> = cors.origins.iter().map(|one| &**one).collect();
    assert_eq!(origins, ["https://app.example", "http://localhost:5173"]);
    assert_eq!((cors.any, cors.max_age.as_secs()), (false, 3_600));
    let plain = good("", &nothing()).settings;
    assert!(plain.cors.is_none() && !plain.limits.compressed_bodies);
    assert!(good("cors: {origins: ['*']}", &nothing()).settings.cors.expect("on").any);
}
