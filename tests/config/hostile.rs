//! Files that mean harm, or look as if: refused within bounds, and without showing what they hold (R46).

use std::time::Duration;

use proptest::prelude::*;
use tollway::units::{Clock as _, SystemClock};

use crate::world::{World, said};

fn refused(name: &str, text: &str) -> String {
    let clock = SystemClock::new();
    let began = clock.now().mono;
    let problems = said(text, &[], &World(vec![]));
    let took = clock.now().mono.since(began);
    assert!(problems.has_errors(), "{name} was accepted");
    assert!(took < Duration::from_secs(1), "{name} took {took:?}");
    for problem in &problems {
        assert!(problem.to_string().len() < 1024, "{name}: {} bytes", problem.to_string().len());
    }
    let as_policy = said("", &[text], &World(vec![]));
    assert!(as_policy.has_errors(), "{name} was accepted as a policy");
    problems.to_string()
}

#[test]
fn r46_bombs_are_refused_in_a_second() {
    let bomb = {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..20 {
            let before = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", "));
        }
        text
    };
    assert!(refused("aliases", &bomb).contains("aliases counted in full"));
    refused("deep flow", &"[".repeat(1 << 20));
    refused("deep closed flow", &format!("a: {}{}", "[".repeat(5_000), "]".repeat(5_000)));
    refused("deep block", &(0..2_000).map(|level| format!("{}a:\n", " ".repeat(level))).collect::<String>());
    refused("deep dashes", &"- ".repeat(100_000));
    refused("many keys", &(0..40_000).map(|number| format!("k{number}: 1\n")).collect::<String>());
    refused("many items", &format!("holidays: [{}]", "2026-01-01, ".repeat(80_000)));
    refused("one long line", &format!("listn: \"{}\"", "x".repeat(1 << 20)));
    refused("a long key", &format!("{}: 1", "k".repeat(1000)));
    refused("many faults", &"- {a: b}\n".repeat(20_000));
    refused("nul", "listen: \"\\0\"\nauth: \"a\\0b\"");
    refused("bidi", "listen: \"\u{202e}evil\"");
    refused("a list at the top", "- a\n- b");
    refused("a word at the top", "hello");
}

#[test]
fn r54_odd_names_are_refused() {
    let long = "x".repeat(100_000);
    for odd in ["a b", "\\r\\nset-cookie: a", "a\\0", "\\u202ea", "{a}", "../a", &long, "ü"] {
        let text = format!("keys: [{{name: \"{odd}\", key: \"0123456789abcdef\"}}]");
        assert!(said(&text, &[], &World(vec![])).has_errors(), "key {odd:.40}");
        let text = format!("keys: [{{name: a, team: \"{odd}\", key: \"0123456789abcdef\"}}]");
        assert!(said(&text, &[], &World(vec![])).has_errors(), "team {odd:.40}");
        let text = format!(
            "providers: {{\"{odd}\": {{kind: openai, base_url: 'http://h/v1', models: [{{id: x}}]}}}}"
        );
        assert!(said(&text, &[], &World(vec![])).has_errors(), "provider {odd:.40}");
        let text = format!("policy: \"{odd}\"");
        assert!(said("", &[&text], &World(vec![])).has_errors(), "policy {odd:.40}");
        let text = format!("policy: p\nmatch: {{tags: {{\"{odd}\": x}}}}");
        assert!(said("", &[&text], &World(vec![])).has_errors(), "tag {odd:.40}");
        if odd != "../a" {
            let text = format!("aliases: {{\"{odd}\": [kimi-k3]}}");
            assert!(said(&text, &[], &World(vec![])).has_errors(), "alias {odd:.40}");
            let text = format!("policy: p\nroutes: [\"{odd}\"]");
            assert!(said("", &[&text], &World(vec![])).has_errors(), "route {odd:.40}");
        }
    }
}

#[test]
fn r48_what_a_variable_holds_adds_no_structure() {
    let world = World(vec![
        ("A", "x\nauth: open\nlisten: 0.0.0.0:1"),
        ("B", "{kind: openai}"),
        ("C", "*a"),
        ("D", "${E}"),
        ("E", "no"),
    ]);
    let snapshot = crate::world::good("state_dir: \"${A}\"\nlog: {level: \"${D}\"}", &world);
    assert!(snapshot.settings.listen.ip().is_loopback());
    assert_eq!(&*snapshot.settings.log.level, "${E}", "what a variable holds is not filled in again");
    assert!(said("providers: {x: \"${B}\"}", &[], &world).has_errors());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_text_makes_it_panic(text in "(?s).{0,200}") {
        for problem in &said(&text, &[&text], &World(vec![])) {
            prop_assert!(problem.to_string().len() < 1024);
        }
    }

    #[test]
    fn no_yaml_like_text_makes_it_panic(parts in proptest::collection::vec(
        proptest::sample::select(vec![
            "providers", "match", ":", ": ", "\n", "\n  ", "- ", "{", "}", "[", "]", ",", "&a ", "*a", "|", ">", "\"", "'", "#", "~",
            "api_key", "x", "1", "${", "}", "$$", "?", "? ", "!t ", "---", "...", "\t", "é", "\u{feff}", "%YAML 1.2",
        ]), 0..40)) {
        let text: String = parts.concat();
        for problem in &said(&text, &[&text], &World(vec![])) {
            prop_assert!(problem.to_string().len() < 1024);
        }
    }

    /// Wherever a secret stands in a broken file, it is not shown.
    #[test]
    fn r51_a_secret_is_never_shown(
        key in proptest::sample::select(vec!["api_key", "token", "key", "api_kye", "apikey", "secret", "password", "authorization"]),
        before in proptest::sample::select(vec!["", "providers: {openrouter: {", "keys: [{name: 1, ", "x: y\n", "{"]),
        quote in proptest::sample::select(vec!["", "\"", "'"]),
        after in proptest::sample::select(vec!["", "}", "}}", ", regoin: us}}", "\n  bad: [", "\n\tx", "]}", " # why"]),
    ) {
        let text = format!("{before}{key}: {quote}S3CR3T-0123456789{quote}{after}");
        let shown = said(&text, &[&text], &World(vec![])).to_string();
        prop_assert!(!shown.contains("S3CR3T"), "{}", shown);
    }
}
