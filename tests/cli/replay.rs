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
