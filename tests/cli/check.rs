//! `tollway check`.

use std::fs;

use serde_json::Value;

use crate::{printed, tollway};

const TYPO: &str = "policy: chat\nobjectve: latency\nroutes: [depseek]\n";

fn folder(policy: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("policies")).unwrap();
    fs::write(folder.path().join("policies/10-chat.yaml"), policy).unwrap();
    folder
}

#[test]
fn what_is_right_is_counted() {
    let folder = folder("policy: chat\n");
    let (text, status) = printed(folder.path(), &["check"]);
    assert_eq!(status, 0);
    // A build without the embedded engine serves nothing by itself.
    let expected = if local_engine::AVAILABLE { "1 usable), 1 route" } else { "0 usable), 0 routes" };
    assert!(
        text.starts_with(&format!("ok: 9 providers ({expected}, 1 policy, 0 keys, 0 budgets, 0 limits\n")),
        "{text}"
    );
    assert!(text.contains("openrouter is left aside: no API key: set OPENROUTER_API_KEY"), "{text}");
    let nothing = tempfile::tempdir().unwrap();
    assert_eq!(printed(nothing.path(), &["check"]).1, 0, "neither file need exist");
}

#[test]
fn every_fault_is_shown_with_place_caret_and_suggestion() {
    let folder = folder(TYPO);
    let (text, status) = printed(folder.path(), &["check"]);
    assert_eq!(status, 1);
    assert_eq!(
        text,
        "policies/10-chat.yaml:2:1: error: unknown key `objectve`
 2 | objectve: latency
   | ^^^^^^^^
   help: did you mean `objective`?

policies/10-chat.yaml:3:10: error: `depseek` names no provider and no route
 3 | routes: [depseek]
   |          ^^^^^^^
   help: did you mean `deepseek`?

refused: 2 errors
"
    );
}

#[test]
fn scripts_get_json_and_github_gets_annotations() {
    let folder = folder(TYPO);
    let (text, status) = printed(folder.path(), &["check", "--output", "json"]);
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &found["ok"], &found["counts"]), (1, &Value::Bool(false), &Value::Null));
    let second = &found["problems"][1];
    assert_eq!(second["file"], "policies/10-chat.yaml");
    assert_eq!((second["line"].as_u64(), second["column"].as_u64()), (Some(3), Some(10)));
    assert_eq!(second["key"], "routes[0]");
    assert_eq!(second["suggestion"], "did you mean `deepseek`?");
    let (text, _) = printed(folder.path(), &["check", "--output", "github"]);
    assert_eq!(
        text.lines().next(),
        Some(
            "::error file=policies/10-chat.yaml,line=2,col=1::unknown key `objectve` (did you mean `objective`?)"
        )
    );
}

#[test]
fn warnings_are_shown_and_accepted() {
    let folder = folder("policy: chat\nhedge: {after: p95}\n");
    let (text, status) = printed(folder.path(), &["check"]);
    assert_eq!(status, 0);
    assert!(
        text.contains(
            "10-chat.yaml:2:8: warning: `hedge` does nothing here: without `slo.ttft` no answer is ever late"
        ),
        "{text}"
    );
    assert!(text.contains("ok: "), "{text}");
}

#[test]
fn colour_is_for_terminals() {
    let folder = folder(TYPO);
    assert!(!printed(folder.path(), &["check"]).0.contains('\u{1b}'));
}

#[test]
fn wrong_usage_is_2_and_help_has_an_example() {
    let folder = folder("policy: chat\n");
    let output = tollway(folder.path(), &["check", "--polices", "x"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("--policies"), "clap suggests the right word");
    for verb in ["check", "schema", "serve"] {
        let (text, status) = printed(folder.path(), &[verb, "--help"]);
        assert_eq!(status, 0);
        assert!(text.contains("Example"), "{verb}: {text}");
    }
}
