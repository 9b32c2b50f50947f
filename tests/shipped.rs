//! The policies that ship: each compiles, and decides as its header says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what cannot go on should stop"
)]

use std::path::Path;

use secrecy::SecretString;
use tollway::config::environment::{Environment, SecretFileError};
use tollway::config::load::Source;
use tollway::config::{Location, Severity, Snapshot, compile};
use tollway::pricing::Book;
use tollway::routing::learn::first_token::{FirstToken, Prior};
use tollway::routing::{Decision, Exclusion, Observe, RequestFacts, RouteOutlook, decide, select};
use tollway::units::{Mono, Now};

/// Every built-in provider has a key.
struct AllKeys;

impl Environment for AllKeys {
    fn variable(&self, name: &str) -> Option<String> {
        name.ends_with("_API_KEY").then(|| format!("key-of-{name}"))
    }
    fn secret_file(&self, _: &Path) -> Result<SecretString, SecretFileError> {
        Err(SecretFileError::Empty)
    }
}

/// The shipped policies over `config`.
fn shipped(config: &str) -> Snapshot {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let mut documents = Location::new(Some("none.yaml".into()), Some(folder)).read();
    documents.config = Some(Source { name: "tollway.yaml".into(), text: Ok(config.into()) });
    compile(&documents, &AllKeys, Book::shipped()).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Tuesday, peak at DeepSeek.
const PEAK: &str = "2026-11-24T02:00:00Z";
/// The same day, off-peak.
const NIGHT: &str = "2026-11-24T20:00:00Z";

fn at(time: &str) -> Now {
    Now { mono: Mono(0), wall: time.parse().unwrap() }
}

/// What is decided for `model` with the tag `policy=TAG`, and by which policy.
fn decided<'a>(
    snapshot: &'a Snapshot,
    model: &str,
    tag: &str,
    time: &str,
    seen: &(impl Observe + ?Sized),
) -> (&'a str, Vec<&'a str>, Decision) {
    let resolved = snapshot.names.resolve(model).unwrap_or_else(|| panic!("{model} is unknown"));
    let tags = [("policy", tag)];
    let facts = RequestFacts {
        model,
        eligible: resolved.routes,
        prompt_tokens: 1000,
        tags: &tags,
        may_hedge: true,
        ..RequestFacts::default()
    };
    let policy = &snapshot.policies[select(&snapshot.policies, &facts).expect("a policy matches")];
    let decision = decide(&snapshot.routes, policy, &facts, seen, at(time));
    let order =
        decision.order.iter().map(|candidate| &*snapshot.route(candidate.route).unwrap().name).collect();
    (&policy.name, order, decision)
}

/// A route that is known to answer in about this many seconds.
fn answering_within(base_s: f64) -> RouteOutlook {
    let first_token =
        FirstToken::new(Prior { base_s, per_token_s: 1e-5, samples: 100.0, ..Prior::default() })
            .outlook(0.0, std::iter::empty());
    RouteOutlook { first_token, heard: 100, ..RouteOutlook::default() }
}

#[test]
fn they_compile_without_a_remark_on_any_of_them_and_all_are_reached() {
    let snapshot = shipped("");
    let remarks: Vec<_> = snapshot.warnings.iter().filter(|problem| problem.place.is_some()).collect();
    assert!(remarks.is_empty(), "{remarks:?}");
    assert!(snapshot.warnings.iter().all(|problem| problem.severity == Severity::Warning));
    let names: Vec<_> = snapshot.policies.iter().map(|policy| &*policy.name).collect();
    assert_eq!(
        names,
        [
            "cheapest",
            "fastest",
            "interactive",
            "us-eu",
            "china",
            "local-first",
            "batch-overnight-flash",
            "batch-overnight-pro",
            "batch-overnight",
            "default"
        ]
    );
    for tag in ["cheapest", "fastest", "interactive", "us-eu", "china", "local-first", "batch-overnight"] {
        assert_eq!(decided(&snapshot, "kimi-k2.6", tag, NIGHT, &()).0, tag);
    }
    assert_eq!(decided(&snapshot, "kimi-k2.6", "nothing-of-ours", NIGHT, &()).0, "default");
}

#[test]
fn each_opens_with_what_it_optimises_and_when_to_use_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let header: Vec<_> = text.lines().take_while(|line| line.starts_with('#')).collect();
        assert_eq!(
            header[0],
            "# yaml-language-server: $schema=../docs/schema/policy.schema.json",
            "{}",
            path.display()
        );
        assert!(header[1].contains("optimises"), "{}", path.display());
        assert!(header.iter().any(|line| line.contains("When to use it:")), "{}", path.display());
    }
}

#[test]
fn default_and_cheapest_take_the_lowest_price_of_the_hour() {
    let snapshot = shipped("");
    for tag in ["cheapest", "-"] {
        // Of the Pro family DeepSeek's own route is the cheapest at night; at peak its price doubles, and OpenRouter's fee counts.
        let (_, night, _) = decided(&snapshot, "deepseek-v4-pro-0813", tag, NIGHT, &());
        assert_eq!(night[0], "deepseek/deepseek-v4-pro");
        let (_, day, _) = decided(&snapshot, "deepseek-v4-pro-0813", tag, PEAK, &());
        assert!(day.contains(&"together/deepseek-ai/DeepSeek-V4-Pro-0813"));
        let (_, flash, _) = decided(&snapshot, "deepseek-v4-flash-0731", tag, NIGHT, &());
        assert_eq!(
            flash.last(),
            Some(&"openrouter/deepseek/deepseek-v4-flash-0731"),
            "5.5 % on credit makes it the dearest"
        );
    }
}

#[test]
fn fastest_goes_by_the_clock_and_buys_no_fast_path_unasked() {
    let snapshot = shipped("");
    let seen: Vec<RouteOutlook> = snapshot
        .routes
        .iter()
        .map(|route| match &*route.name {
            "openrouter/moonshotai/kimi-k2.6" => answering_within(0.9),
            "together/moonshotai/Kimi-K2.6" => answering_within(0.3),
            "fireworks/accounts/fireworks/models/kimi-k2p6" => answering_within(0.5),
            _ => RouteOutlook::default(),
        })
        .collect();
    let (_, order, _) = decided(&snapshot, "kimi-k2.6", "fastest", NIGHT, &seen[..]);
    assert_eq!(order[0], "together/moonshotai/Kimi-K2.6");
    assert!(order.iter().all(|name| !name.contains("-fast")), "{order:?}");
    let (_, cheapest, _) = decided(&snapshot, "kimi-k2.6", "cheapest", NIGHT, &seen[..]);
    assert_ne!(cheapest[0], "together/moonshotai/Kimi-K2.6");
}

#[test]
fn interactive_pays_for_time_and_no_more() {
    let snapshot = shipped("");
    let seen = |cheapest_s: f64| -> Vec<RouteOutlook> {
        let of = |route: &tollway::routing::Route| match &*route.name {
            "deepseek/deepseek-v4-pro" => answering_within(cheapest_s),
            "together/deepseek-ai/DeepSeek-V4-Pro-0813" => answering_within(0.15),
            _ => RouteOutlook::default(),
        };
        snapshot.routes.iter().map(of).collect()
    };
    // Quick enough, the cheapest serves; else the other does, at twice the price.
    let (_, order, decision) =
        decided(&snapshot, "deepseek-v4-pro-0813", "interactive", NIGHT, &seen(0.3)[..]);
    assert_eq!(order[0], "deepseek/deepseek-v4-pro");
    assert_eq!(decision.limit, Some(std::time::Duration::from_millis(1_100)));
    let (_, order, _) = decided(&snapshot, "deepseek-v4-pro-0813", "interactive", NIGHT, &seen(2.5)[..]);
    assert_eq!(order[0], "together/deepseek-ai/DeepSeek-V4-Pro-0813");
    // In between, it serves with a backup.
    let (_, order, decision) =
        decided(&snapshot, "deepseek-v4-pro-0813", "interactive", NIGHT, &seen(0.7)[..]);
    assert_eq!(order[0], "deepseek/deepseek-v4-pro");
    let hedge = decision.hedge.expect("a backup");
    assert_eq!(&*snapshot.route(hedge.route).unwrap().name, "together/deepseek-ai/DeepSeek-V4-Pro-0813");
    assert!(hedge.in_time > decision.order[0].in_time);
    // Where cost alone counts nobody is asked twice.
    assert!(decided(&snapshot, "deepseek-v4-pro-0813", "cheapest", NIGHT, &seen(0.7)[..]).2.hedge.is_none());
}

#[test]
fn us_eu_keeps_to_routes_whose_region_is_known() {
    let snapshot = shipped("");
    let (_, order, decision) = decided(&snapshot, "deepseek-v4.1-flash", "us-eu", NIGHT, &());
    assert_eq!(order, ["fireworks/accounts/fireworks/routers/deepseek-v4p1-flash-us"]);
    assert!(
        decision
            .excluded
            .iter()
            .all(|one| matches!(one.why, Exclusion::Region(_) | Exclusion::Retention | Exclusion::PinOnly))
    );
    let own = shipped(
        "providers: {mine: {kind: vllm, base_url: 'http://10.0.0.5/v1', region: eu, data_retention: none,
           models: [{id: x, model: deepseek-v4.1-flash-1017, price: {input: 0, output: 0}}]}}",
    );
    let (_, order, _) = decided(&own, "deepseek-v4.1-flash", "us-eu", NIGHT, &());
    assert_eq!(order[0], "mine/x");
}

#[test]
fn china_keeps_to_china() {
    let snapshot = shipped("");
    let (_, order, _) = decided(&snapshot, "deepseek-v4.1-flash", "china", NIGHT, &());
    assert!(order.len() >= 3, "{order:?}");
    assert!(
        order
            .iter()
            .all(|name| ["deepseek/", "dashscope/", "modelarts/"].iter().any(|p| name.starts_with(p))),
        "{order:?}"
    );
}

#[test]
fn local_first_asks_own_hardware_before_the_cheapest() {
    let snapshot = shipped(
        "providers:
           vllm-rack: {kind: vllm, base_url: 'http://10.0.0.5/v1', models: [{id: r, model: smollm2-135m-instruct, price: {input: 9, output: 9}}]}
           another: {kind: openai, base_url: 'http://10.0.0.6/v1', models: [{id: o, model: smollm2-135m-instruct, price: {input: 0, output: 0}}]}",
    );
    let (_, order, _) = decided(&snapshot, "smollm2-135m-instruct", "local-first", NIGHT, &());
    let expected = ["local/smollm2-135m-instruct", "vllm-rack/r", "another/o"];
    // A build without the embedded engine begins with the next of them.
    assert_eq!(order, expected[usize::from(!local_engine::AVAILABLE)..]);
}

#[test]
fn batch_overnight_waits_for_the_night_rate() {
    let snapshot = shipped("");
    for (model, route) in [
        ("deepseek-v4.1-flash", "deepseek/deepseek-flash"),
        ("deepseek-v4-pro-0813", "deepseek/deepseek-v4-pro"),
    ] {
        let (_, night, _) = decided(&snapshot, model, "batch-overnight", NIGHT, &());
        assert!(night.contains(&route), "{model} at night: {night:?}");
        let (_, day, decision) = decided(&snapshot, model, "batch-overnight", PEAK, &());
        assert!(!day.contains(&route), "{model} at peak: {day:?}");
        let why =
            decision.excluded.iter().find(|one| &*snapshot.route(one.route).unwrap().name == route).unwrap();
        assert!(matches!(why.why, Exclusion::PriceOver { .. }), "{why:?}");
    }
    // Nobody is below the ceiling for Pro at peak: the caller is told to come back.
    assert!(decided(&snapshot, "deepseek-v4-pro-0813", "batch-overnight", PEAK, &()).1.is_empty());
    // A holiday has no peak.
    let holiday = shipped("holidays: [2026-11-24]");
    assert!(
        decided(&holiday, "deepseek-v4-pro-0813", "batch-overnight", PEAK, &())
            .1
            .contains(&"deepseek/deepseek-v4-pro")
    );
}
