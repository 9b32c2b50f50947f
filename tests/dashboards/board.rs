//! A dashboard's JSON as these tests see it, and the expansion of its variables and macros as Grafana does it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::text_of;

/// The boards that ship.
pub(crate) const BOARDS: [&str; 2] = ["tollway-cost.json", "tollway-budgets.json"];

/// A dashboard.
pub(crate) struct Board {
    pub(crate) json: Value,
}

/// One query of a panel.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) panel: String,
    pub(crate) reference: String,
    pub(crate) expr: String,
    pub(crate) instant: bool,
}

impl Board {
    pub(crate) fn shipped(name: &str) -> Self {
        let json = serde_json::from_str(&text_of(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { json }
    }

    /// Panels without the rows that group them.
    pub(crate) fn panels(&self) -> Vec<&Value> {
        self.json["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row").collect()
    }

    pub(crate) fn variables(&self) -> &[Value] {
        self.json["templating"]["list"].as_array().unwrap()
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        let targets = self.panels().into_iter().flat_map(|panel| {
            let title = panel["title"].as_str().unwrap_or_default();
            panel["targets"].as_array().into_iter().flatten().map(move |target| Target {
                panel: title.to_owned(),
                reference: target["refId"].as_str().unwrap().to_owned(),
                expr: target["expr"].as_str().unwrap().to_owned(),
                instant: target["instant"] == true,
            })
        });
        targets.collect()
    }

    /// The only target of a panel.
    pub(crate) fn target(&self, panel: &str) -> Target {
        let mut found = self.targets().into_iter().filter(|target| target.panel == panel);
        let target = found.next().unwrap_or_else(|| panic!("no panel {panel}"));
        assert!(found.next().is_none(), "{panel} has one query");
        target
    }

    /// Queries of annotations.
    pub(crate) fn annotations(&self) -> Vec<String> {
        let list = self.json["annotations"]["list"].as_array().unwrap();
        list.iter().filter_map(|annotation| annotation["expr"].as_str()).map(str::to_owned).collect()
    }
}

/// What the macros and variables of a query stand for.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    /// `$__range`.
    pub(crate) range: Duration,
    /// `$__rate_interval`.
    pub(crate) rate_interval: Duration,
    /// `$__interval`.
    pub(crate) interval: Duration,
    /// Chosen values; a variable that is not here is at All, which is `.*`.
    pub(crate) chosen: BTreeMap<String, Vec<String>>,
}

impl Scope {
    /// The query as Prometheus gets it; panics at a variable that nobody declares.
    pub(crate) fn expand(&self, board: &Board, expr: &str) -> String {
        let mut text = expr.to_owned();
        let spans =
            [("rate_interval", self.rate_interval), ("interval", self.interval), ("range", self.range)];
        for (name, span) in spans {
            let value = format!("{}ms", span.as_millis());
            text = text.replace(&format!("${{__{name}}}"), &value).replace(&format!("$__{name}"), &value);
        }
        for variable in board.variables() {
            let name = variable["name"].as_str().unwrap();
            let chosen = self
                .chosen
                .get(name)
                .map_or_else(|| variable["allValue"].as_str().unwrap_or(".*").to_owned(), |v| regex(v));
            text = text
                .replace(&format!("${{{name}:regex}}"), &chosen)
                .replace(&format!("${{{name}}}"), &chosen);
            text = text.replace(&format!("${name}"), &chosen);
        }
        assert!(!text.contains('$'), "unknown variable in {expr}: {text}");
        text
    }
}

/// Several values as one regular expression inside a string of a query.
fn regex(values: &[String]) -> String {
    let escaped: Vec<String> = values
        .iter()
        .map(|value| {
            let special =
                |c: char| if r"\.+*?()[]{}^$|".contains(c) { format!(r"\\{c}") } else { c.to_string() };
            value.chars().map(special).collect()
        })
        .collect();
    if escaped.len() == 1 { escaped[0].clone() } else { format!("({})", escaped.join("|")) }
}

#[test]
fn variables_and_macros_expand_as_in_grafana() {
    let board = Board::shipped("tollway-cost.json");
    let seconds = Duration::from_secs;
    let mut scope = Scope {
        range: seconds(60),
        rate_interval: seconds(4),
        interval: seconds(1),
        chosen: BTreeMap::new(),
    };
    let expr = r#"rate(x{team=~"$team",model=~"${model:regex}"}[$__rate_interval]) + increase(x[$__range])"#;
    assert_eq!(
        scope.expand(&board, expr),
        r#"rate(x{team=~".*",model=~".*"}[4000ms]) + increase(x[60000ms])"#
    );
    scope.chosen.insert("team".to_owned(), vec!["a".to_owned(), "b.c".to_owned()]);
    assert_eq!(scope.expand(&board, r#"x{team=~"$team"}"#), r#"x{team=~"(a|b\\.c)"}"#);
}
