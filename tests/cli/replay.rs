//! `tollway replay`: what it prints, and with which exit status.

use serde_json::Value;

use crate::{printed, tollway};

fn refused(arguments: &[&str]) -> (String, i32) {
    let folder = tempfile::tempdir().unwrap();
    let output = tollway(folder.path(), &[&["replay"], arguments].concat());
    assert!(output.stdout.is_empty());
    (String::from_utf8(output.stderr).unwrap(), output.status.code().unwrap())
}

#[test]
fn a_replay_says_what_it_would_have_cost() {
    let folder = tempfile::tempdir().unwrap();
    let (text, status) =
        printed(folder.path(), &["replay", "generate:chat:150", "--seeds", "2", "--oracle", "--baselines"]);
    assert_eq!(status, 0, "{text}");
    for wanted in [
        "generated-chat-1: 150 requests over ",
        "in market reference, 2 seeds",
        "late after 2 s + 0.1 s for each thousand prompt tokens",
        "spend, USD",
        "above the informed oracle",
        "first token, p95",
        "\nroute",
        "\ntoge ",
        "the informed oracle pays for a late one",
        "P2C peak-EWMA",
    ] {
        assert!(text.contains(wanted), "{wanted}\nnot in\n{text}");
    }
    assert!(!text.contains("difference"), "there is nothing to differ from");
}

#[test]
fn two_policies_are_compared_and_scripts_read_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("new")).unwrap();
    std::fs::write(
        folder.path().join("new/10-fast.yaml"),
        "policy: fast\nobjective: latency\nroutes: [fire, toge]\nslo: {ttft: 1s}\n",
    )
    .unwrap();
    let words =
        ["replay", "generate:chat:150", "--against", "new", "--seeds", "1", "--quick", "--html", "page.html"];
    let (text, status) = printed(folder.path(), &words);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("difference") && text.contains("requests new"), "{text}");
    assert!(!text.contains("informed oracle"));
    let page = std::fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    let (json, status) = printed(folder.path(), &[&words[..], &["--output", "json"]].concat());
    assert_eq!(status, 0);
    let value: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["requests"], 150);
    assert_eq!(value["sides"][1]["name"], "new");
    let routes = value["sides"][1]["routes"].as_array().unwrap();
    for route in routes {
        let may_serve = ["fire", "toge"].contains(&route["name"].as_str().unwrap());
        assert!(may_serve || route["requests"].as_f64() == Some(0.0), "{route}");
    }
}

#[test]
fn a_policy_of_the_hybrid_market_may_name_its_own_node() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("own.yaml"), "policy: own\nroutes: [cellar, tarn]\n").unwrap();
    let words = [
        "replay",
        "generate:chat:100",
        "--scenario",
        "market-b-hybrid",
        "--policies",
        "own.yaml",
        "--seeds",
        "1",
        "--quick",
    ];
    let (text, status) = printed(folder.path(), &words);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("\ncellar"), "{text}");
}

#[test]
fn what_makes_no_sense_is_refused_with_help() {
    for (arguments, wanted, code) in [
        (&[][..], "<TRACE>", 2),
        (&["generate:chta"], "write generate:chat, generate:prefixes", 2),
        (&["generate:chat:0"], "cannot be generated", 2),
        (&["none.csv"], "none.csv: cannot be read", 1),
        (&["generate:chat", "--scenario", "nowhere"], "those that come along are: reference,", 2),
        (&["generate:chat", "--scenario", "market-b", "--scenario", "market-c"], "give --scenario once", 2),
        (&["generate:chat", "--policies", "none.yaml"], "none.yaml: no policies", 2),
        (&["generate:chat", "--attainment", "95"], "write a share from 0.5", 2),
        (&["generate:chat", "--rate", "0"], "write a number above 0", 2),
    ] {
        let (text, status) = refused(arguments);
        assert!(text.contains(wanted), "{arguments:?}: {wanted}\nnot in\n{text}");
        assert_eq!(status, code, "{arguments:?}");
    }
}

#[test]
fn a_policy_that_names_nobody_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.yaml"), "policy: x\nroutes: [bulkk]\n").unwrap();
    let output = tollway(folder.path(), &["replay", "generate:chat:10", "--policies", "bad.yaml"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("bad.yaml:2:10: error: `bulkk` names no provider and no route"), "{text}");
    assert!(text.contains("did you mean `bulk`?"), "{text}");
}

#[test]
fn the_protocol_writes_its_report() {
    let folder = tempfile::tempdir().unwrap();
    let words = [
        "replay",
        "--protocol",
        "generate:chat:60",
        "--scenario",
        "reference",
        "--seeds",
        "1",
        "--rate",
        "1",
        "--report",
        "report.md",
    ];
    let (text, status) = printed(folder.path(), &words);
    assert_eq!((status, text.starts_with("report.md: written in ")), (0, true), "{text}");
    let page = std::fs::read_to_string(folder.path().join("report.md")).unwrap();
    assert!(page.starts_with("# Routing report\n") && page.contains("## Targets"), "{page}");
}

/// Ten minutes of two sellers, one quick and dear, the other slow and cheap; the log knows the model by its family.
fn log() -> String {
    let mut log = String::new();
    for second in 0..600_u64 {
        let (route, ttft_ms) = if second % 2 == 0 { ("red/m", 300) } else { ("blue/m", 900) };
        let ttft_ms = ttft_ms + second % 17 * 10;
        let line = format!(
            "{{\"ts\":\"2026-11-24T10:{:02}:{:02}.000Z\",\"request_id\":\"r\",\"model\":\"fam\",\"team\":\"t\",\"key\":\"\",\
             \"route\":\"{route}\",\"checkpoint\":\"m-1\",\"attempts\":1,\"status\":200,\"outcome\":\"ok\",\"stream\":true,\
             \"prompt_tokens\":{},\"completion_tokens\":50,\"ttft_ms\":{ttft_ms},\"total_ms\":{}}}\n",
            second / 60 + 1,
            second % 60,
            400 + second % 13 * 100,
            ttft_ms + 1000,
        );
        log.push_str(&line);
    }
    log
}

#[test]
fn an_access_log_shows_its_market_and_judges_an_edit() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("access.jsonl", &log());
    let provider = |name: &str, input: &str| {
        format!(
            "  {name}:\n    kind: openai\n    base_url: http://127.0.0.1:9/v1\n    api_key: ${{NOT_HERE_API_KEY}}\n    models:\n      \
             - {{id: m, model: m-1, family: fam, price: {{input: {input}, output: 1}}}}\n"
        )
    };
    write("tollway.yaml", &format!("providers:\n{}{}", provider("red", "3"), provider("blue", "0.3")));
    write("new.yaml", "policy: only-red\nroutes: [red]\n");
    let words = ["replay", "access.jsonl", "--against", "new.yaml", "--seeds", "1", "--ttft", "2"];
    let (text, status) = printed(folder.path(), &words);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("600 requests") && text.contains("the policies in force"), "{text}");
    let (json, _) = printed(folder.path(), &[&words[..], &["--output", "json"]].concat());
    let value: Value = serde_json::from_str(&json).unwrap();
    let served = |side: usize, route: &str| {
        let routes = value["sides"][side]["routes"].as_array().unwrap();
        routes.iter().find(|one| one["name"] == route).unwrap()["requests"].as_f64().unwrap()
    };
    assert!(served(0, "blue/m") > 500.0, "the cheap one is quick enough: {}", served(0, "blue/m"));
    assert!(served(1, "red/m") > 599.0);
    let spend = |side: usize| value["sides"][side]["mean"]["spend_usd"].as_f64().unwrap();
    assert!(spend(1) > spend(0) * 3.0, "{} and {}", spend(0), spend(1));
}
