//! The recording rules and alerts: names, links, promtool's check and promtool's tests.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::families::{exposed, faults};
use crate::prometheus::INSTALL;
use crate::{shipped, text_of};

const FILES: [&str; 2] = ["rules/recording.yaml", "rules/alerts.yaml"];

fn rules(file: &str) -> Vec<Value> {
    let document: Value = serde_saphyr::from_str(&text_of(file)).unwrap();
    let groups = document["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

#[test]
fn rules_name_only_what_exists() {
    let families = exposed();
    let recorded: BTreeSet<String> =
        rules(FILES[0]).iter().map(|rule| rule["record"].as_str().unwrap().to_owned()).collect();
    for rule in FILES.iter().flat_map(|file| rules(file)) {
        let expr = rule["expr"].as_str().unwrap();
        assert_eq!(faults(&families, expr), Vec::<String>::new(), "{expr}");
        for name in expr
            .split(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c)))
            .filter(|w| w.starts_with("tollway:"))
        {
            assert!(recorded.contains(name), "no rule records {name}: {expr}");
        }
    }
}

#[test]
fn every_alert_says_what_to_do_and_has_been_seen_to_fire_and_not_to() {
    let tests = text_of("rules/alerts_test.yaml");
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/dashboards.md")).unwrap();
    for rule in rules(FILES[1]) {
        let name = rule["alert"].as_str().unwrap();
        let annotations = &rule["annotations"];
        assert!(
            annotations["summary"].as_str().is_some_and(|summary| summary.len() > 20),
            "{name}: a summary"
        );
        assert!(
            matches!(rule["labels"]["severity"].as_str(), Some("warning" | "critical")),
            "{name}: a severity"
        );
        let anchor =
            annotations["runbook_url"].as_str().unwrap().rsplit_once("docs/dashboards.md#").unwrap().1;
        assert_eq!(anchor, name.to_lowercase(), "{name}: its place in the manual");
        assert!(
            manual.lines().any(|line| line == format!("### {name}")),
            "{name}: docs/dashboards.md has no such heading"
        );
        assert!(
            tests.contains(&format!("alertname: {name}\n        exp_alerts:\n          - exp_labels")),
            "{name}: never fires in a test"
        );
        assert!(
            tests.contains(&format!("alertname: {name}, exp_alerts: []")),
            "{name}: no test in which it must not fire"
        );
    }
}

#[test]
fn promtool_takes_the_rules_and_the_configuration() {
    promtool(&["check", "rules", "rules/recording.yaml", "rules/alerts.yaml"]);
    promtool(&["check", "config", "prometheus.yml"]);
}

#[test]
fn promtool_sees_the_alerts_fire_and_not_fire() {
    promtool(&["test", "rules", "rules/alerts_test.yaml"]);
}

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool").args(arguments).current_dir(shipped("")).output();
    let output = output.unwrap_or_else(|error| panic!("promtool: {error}. {INSTALL}"));
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {}:\n{said}", arguments.join(" "));
}
