//! The rules of form that every board keeps.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::board::{BOARDS, Board};
use crate::families::{exposed, faults};
use crate::text_of;

/// Types of panel whose JSON these boards have been looked at with.
const TYPES: [&str; 5] = ["stat", "timeseries", "bargauge", "table", "state-timeline"];

#[test]
fn boards_keep_the_format() {
    for name in BOARDS {
        let board = Board::shipped(name);
        let json = &board.json;
        assert_eq!(json["uid"].as_str(), name.strip_suffix(".json"), "the uid is the file's name");
        assert!(json["id"].is_null(), "{name}: Grafana gives the id");
        assert!((39..=42).contains(&json["schemaVersion"].as_u64().unwrap()), "{name}: schemaVersion");
        assert_eq!(json["editable"], false, "{name}: edits belong into the file");
        assert_eq!(json["tags"], serde_json::json!(["tollway"]));
        assert!(
            json.get("__inputs").is_none() && json.get("__requires").is_none(),
            "{name}: file provisioning asks nothing"
        );
        assert!(
            json["links"].as_array().unwrap().iter().any(|link| link["tags"] == json["tags"]),
            "{name}: leads to its siblings"
        );
        variables(name, &board);
        let mut ids = BTreeSet::new();
        for panel in json["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: ids are unique");
        }
        board.panels().into_iter().for_each(|panel| panel_of(name, panel));
        places(name, &json["panels"]);
    }
}

fn variables(name: &str, board: &Board) {
    let sources: Vec<&Value> =
        board.variables().iter().filter(|variable| variable["type"] == "datasource").collect();
    assert_eq!(sources.len(), 1, "{name}: one data source variable");
    assert_eq!((&sources[0]["name"], &sources[0]["query"]), (&"datasource".into(), &"prometheus".into()));
    let queries: Vec<&Value> =
        board.variables().iter().filter(|variable| variable["type"] == "query").collect();
    let names: BTreeSet<&str> = queries.iter().filter_map(|variable| variable["name"].as_str()).collect();
    assert_eq!(names, BTreeSet::from(["team", "policy", "provider", "model"]), "{name}");
    let families = exposed();
    for variable in queries {
        assert!(
            variable["multi"] == true && variable["includeAll"] == true && variable["allValue"] == ".*",
            "{name}: {variable}"
        );
        let query = variable["query"]["query"].as_str().unwrap();
        let (metric, label) =
            query.strip_prefix("label_values(").and_then(|q| q.strip_suffix(')')?.split_once(", ")).unwrap();
        assert!(families.get(metric).is_some_and(|labels| labels.contains(label)), "{name}: {query}");
    }
}

fn panel_of(board: &str, panel: &Value) {
    let title = panel["title"].as_str().unwrap_or_default();
    let at = format!("{board}: {title}");
    assert!(!title.is_empty(), "{board}: a panel without a title: {panel}");
    assert!(TYPES.contains(&panel["type"].as_str().unwrap()), "{at}: type {}", panel["type"]);
    let description = panel["description"].as_str().unwrap_or_default();
    assert!(
        description.len() >= 80 && description.contains(". ") || description.contains(": "),
        "{at}: say what to do about it"
    );
    let defaults = &panel["fieldConfig"]["defaults"];
    let unit = defaults["unit"].as_str().unwrap_or_default();
    assert!(!unit.is_empty(), "{at}: a unit");
    let kind = panel["type"].as_str().unwrap();
    if unit == "percentunit" && kind == "bargauge" {
        assert!(
            defaults["min"].is_number() && defaults["max"].is_number(),
            "{at}: bars of a share have ends"
        );
    }
    assert_eq!(panel["datasource"]["uid"], "${datasource}", "{at}");
    let targets = panel["targets"].as_array().unwrap();
    assert!(!targets.is_empty(), "{at}: a query");
    let mut references = BTreeSet::new();
    for target in targets {
        assert!(references.insert(target["refId"].as_str().unwrap()), "{at}: refIds are unique");
        assert_eq!(target["datasource"]["uid"], "${datasource}", "{at}");
        let (expr, instant) = (target["expr"].as_str().unwrap(), target["instant"] == true);
        assert_eq!(target["range"] == true, !instant, "{at}: instant or range");
        assert_eq!(
            target["format"] == "table",
            kind == "table",
            "{at}: tables, and only they, ask for tables"
        );
        assert!(!expr.contains("rate(") || expr.contains("[$__rate_interval]"), "{at}: {expr}");
        assert!(
            !expr.contains("increase(") || (expr.contains("[$__range]") && instant),
            "{at}: totals are of the range: {expr}"
        );
        assert!(!expr.contains("rate(") || !instant, "{at}: a rate at one moment says little: {expr}");
    }
    let sums_of_rates = targets.iter().any(|target| target["expr"].as_str().unwrap().contains("rate("))
        && panel["options"]["legend"]["calcs"].as_array().is_some_and(|calcs| calcs.contains(&"sum".into()));
    assert!(!sums_of_rates, "{at}: the sum of a rate's points means nothing");
}

/// Panels lie inside the grid and not upon one another.
fn places(board: &str, panels: &Value) {
    let mut taken = BTreeSet::new();
    for panel in panels.as_array().unwrap() {
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        let (x, y, w, h) = (side("x"), side("y"), side("w"), side("h"));
        assert!(x + w <= 24, "{board}: {} is too wide", panel["title"]);
        for cell in (x..x + w).flat_map(|column| (y..y + h).map(move |line| (column, line))) {
            assert!(taken.insert(cell), "{board}: {} lies upon another panel", panel["title"]);
        }
    }
}

#[test]
fn boards_name_only_what_the_binary_has() {
    let families = exposed();
    for name in BOARDS {
        let board = Board::shipped(name);
        let exprs = board.targets().into_iter().map(|target| target.expr).chain(board.annotations());
        for expr in exprs {
            assert!(expr.contains("tollway_"), "{name}: {expr}");
            assert_eq!(faults(&families, &expr), Vec::<String>::new(), "{name}: {expr}");
        }
    }
}

#[test]
fn provisioning_files_fit_together() {
    let page = text_of("provisioning/dashboards/tollway.yaml");
    let provider: Value = serde_saphyr::from_str(&page).unwrap();
    assert_eq!(provider["providers"][0]["type"], "file");
    assert_eq!(provider["providers"][0]["allowUiUpdates"], false);
    let source: Value = serde_saphyr::from_str(&text_of("provisioning/datasources/prometheus.yaml")).unwrap();
    assert_eq!(source["datasources"][0]["type"], "prometheus");
    let scrape: Value = serde_saphyr::from_str(&text_of("prometheus.yml")).unwrap();
    assert_eq!(source["datasources"][0]["jsonData"]["timeInterval"], scrape["global"]["scrape_interval"]);
    for file in scrape["rule_files"].as_array().unwrap() {
        text_of(file.as_str().unwrap());
    }
}
