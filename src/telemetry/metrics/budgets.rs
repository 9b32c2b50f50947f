//! Budgets and limits: how much there is, how much of it is spent or held, and who was refused.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use prometheus::{IntCounterVec, Registry};

use crate::telemetry::money::escaped;
use crate::units::NanoUsd;

use super::Metrics;
use super::make::counters;

/// Families of budgets and limits.
#[derive(Debug)]
pub(super) struct BudgetFamilies {
    denied: IntCounterVec,
    levels: Mutex<Vec<BudgetLevel>>,
}

/// One budget as it stands.
#[derive(Debug, Clone)]
pub struct BudgetLevel {
    /// `key`, `team`, `policy`, …
    pub scope: &'static str,
    /// Which one.
    pub name: String,
    /// `hour`, `day`, `week`, `month`, or a rolling span.
    pub period: String,
    /// How much there is.
    pub limit: NanoUsd,
    /// Spent in this window.
    pub spent: NanoUsd,
    /// Held by requests under way.
    pub held: NanoUsd,
    /// When the window ends, in seconds since 1970.
    pub ends: i64,
}

/// What a gauge shows of a budget.
type Shown = fn(&BudgetLevel) -> String;

impl BudgetFamilies {
    pub(super) fn new(r: &Registry) -> Self {
        Self {
            denied: counters(
                r,
                "tollway_budget_denied_total",
                "Requests that a hard budget could not hold.",
                &["scope", "name"],
            ),
            levels: Mutex::default(),
        }
    }

    /// Appends the gauges of money to the page, to the last nano-dollar.
    pub(super) fn render(&self, page: &mut String) {
        let levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        if levels.is_empty() {
            return;
        }
        let families: [(&str, &str, Shown); 4] = [
            ("tollway_budget_limit_usd", "What a budget holds.", |level| level.limit.to_string()),
            ("tollway_budget_spent_usd", "Spent in this window.", |level| level.spent.to_string()),
            ("tollway_budget_reserved_usd", "Held by requests under way.", |level| level.held.to_string()),
            ("tollway_budget_period_end_timestamp_seconds", "When the window ends.", |level| {
                level.ends.to_string()
            }),
        ];
        for (name, help, value) in families {
            // Writing to a String cannot fail.
            let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} gauge");
            for level in &*levels {
                let _ = writeln!(
                    page,
                    "{name}{{scope=\"{}\",name=\"{}\",period=\"{}\"}} {}",
                    level.scope,
                    escaped(&level.name),
                    escaped(&level.period),
                    value(level)
                );
            }
        }
    }
}

impl Metrics {
    /// A hard budget could not hold a request.
    pub fn budget_denied(&self, scope: &str, name: &str) {
        self.budgets.denied.with_label_values(&[scope, name]).inc();
    }

    /// Puts the budgets as they stand in the place of those before.
    pub fn budget_levels(&self, levels: Vec<BudgetLevel>) {
        *self.budgets.levels.lock().unwrap_or_else(PoisonError::into_inner) = levels;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_exact_on_the_page() {
        let metrics = Metrics::new();
        metrics.budget_levels(vec![BudgetLevel {
            scope: "team",
            name: "search".to_owned(),
            period: "month".to_owned(),
            limit: NanoUsd(1_000_000_001),
            spent: NanoUsd(3),
            held: NanoUsd(0),
            ends: 1_800_000_000,
        }]);
        let page = metrics.page();
        let labels = "{scope=\"team\",name=\"search\",period=\"month\"}";
        assert!(page.contains(&format!("tollway_budget_limit_usd{labels} 1.000000001\n")), "{page}");
        assert!(page.contains(&format!("tollway_budget_spent_usd{labels} 0.000000003\n")), "{page}");
        assert!(
            page.contains(&format!("tollway_budget_period_end_timestamp_seconds{labels} 1800000000\n")),
            "{page}"
        );
    }
}
