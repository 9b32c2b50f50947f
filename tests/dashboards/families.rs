//! Which metric families the binary has, with their labels; and which ones a query names.

use std::collections::{BTreeMap, BTreeSet};

use tollway::telemetry::Metrics;
use tollway::telemetry::metrics::BudgetLevel;
use tollway::units::NanoUsd;

/// Labels by family.
pub(crate) type Families = BTreeMap<String, BTreeSet<String>>;

/// Every family of the gateway's page, one sample each.
pub(crate) fn exposed() -> Families {
    let metrics = Metrics::new();
    let (p, m) = ("provider", "model");
    let series = metrics.series("policy", "team", p, m);
    series.ok.inc();
    series.cost.add(NanoUsd(1));
    metrics.ended("policy", "team", p, m, 503, "upstream_error");
    metrics.in_flight("policy").inc();
    metrics.attempt(p, m, "ok", 0.1);
    metrics.retry(p, "timeout");
    metrics.retry_refused(p, "timeout");
    metrics.fallback("policy", "one", "two", "timeout");
    metrics.hedge("policy", "won");
    metrics.probe(p, m, "ok").add(NanoUsd(1));
    metrics.promise("policy", m, 0.1, false);
    metrics.client_retry("policy");
    metrics.named_request("first");
    metrics.breaker(p, m, &["closed", "open"], "open", true);
    metrics.disabled(p, m, "bad_key");
    metrics.limited("team", "requests");
    metrics.provider_remaining(p, "requests", 1.0);
    metrics.estimated(p, "no_usage");
    metrics.unpriced(p, m);
    metrics.waste(p, "cancelled_stream").add(NanoUsd(1));
    metrics.decision("policy", "cost", m, "model").inc();
    metrics.shadow("policy", true, Some((NanoUsd(2), NanoUsd(1))));
    metrics.price(p, m, "input", 1.0);
    metrics.price_catalog("book", 1.0);
    metrics.price_age(p, m, 1.0);
    metrics.price_stale("policy", p, m, true);
    metrics.drift(p, m, 0.0);
    metrics.local("local", [0.0; 4]);
    metrics.reload(Some((1, 1.0)));
    metrics.store_operation("exchange", "ok", 0.001);
    metrics.store_degraded(false);
    metrics.budget_denied("team", "search");
    metrics.budget_levels(vec![BudgetLevel {
        scope: "team",
        name: "search".to_owned(),
        period: "month".to_owned(),
        limit: NanoUsd(2),
        spent: NanoUsd(1),
        held: NanoUsd(1),
        ends: 1,
    }]);
    metrics.ledger_levels(1, 1, 1, false);
    metrics.ledger_sending(1, true, &[("timeout", 1)], 1);
    metrics.looked_up(p, "adjusted");
    metrics.adjusted(p, NanoUsd(1));
    of_page(&metrics.page())
}

/// The families of a page in Prometheus's text format. A histogram's three names all stand for it.
pub(crate) fn of_page(page: &str) -> Families {
    let mut families = Families::new();
    for line in page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, labels) =
            line.split_once('{').map_or((line.split(' ').next().unwrap(), ""), |(name, rest)| {
                (name, rest.rsplit_once('}').unwrap().0)
            });
        families.entry(name.to_owned()).or_default().extend(label_names(labels));
    }
    families
}

/// Names on the left of `=`, `=~`, `!=`, `!~` in a label set; values may hold anything.
fn label_names(set: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut name = String::new();
    let mut chars = set.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                names.push(std::mem::take(&mut name));
                // To the closing quote.
                while let Some(inner) = chars.next() {
                    match inner {
                        '\\' => drop(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            c if c.is_ascii_alphanumeric() || c == '_' => name.push(c),
            _ => {}
        }
    }
    names
}

/// What is wrong with the names in a query: families and labels that the binary has not.
pub(crate) fn faults(families: &Families, expr: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut known: BTreeSet<String> = ["le".to_owned()].into();
    for (place, _) in expr.match_indices("tollway_") {
        let rest = &expr[place..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let Some(labels) = families.get(name) else {
            faults.push(format!("no metric {name}"));
            continue;
        };
        known.extend(labels.iter().cloned());
        let set = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(set, _)| set);
        faults.extend(
            label_names(set)
                .into_iter()
                .filter(|l| !labels.contains(l))
                .map(|l| format!("{name} has no label {l}")),
        );
    }
    for (place, by) in expr.match_indices("by (") {
        let list = expr[place + by.len()..].split(')').next().unwrap();
        let missing = list.split(',').map(str::trim).filter(|label| !known.contains(*label));
        faults.extend(missing.map(|label| format!("nothing here has a label {label}: {expr}")));
    }
    faults
}

#[test]
fn wrong_names_are_seen() {
    let families = of_page("tollway_a_total{x=\"1=}\",y=\"2\"} 3\n");
    assert_eq!(
        faults(&families, r#"sum by (x, le) (rate(tollway_a_total{y=~"$y"}[5m]))"#),
        Vec::<String>::new()
    );
    assert_eq!(faults(&families, "tollway_b"), ["no metric tollway_b"]);
    assert_eq!(faults(&families, r#"tollway_a_total{x="1",z!="2"}"#), ["tollway_a_total has no label z"]);
    assert_eq!(faults(&families, "sum by (w) (tollway_a_total)").len(), 1);
}
