//! Budgets as metrics show them: under names of the configuration's only (R18).

use std::collections::BTreeMap;

use crate::budget::{Budget, Level, ScopeKind};
use crate::telemetry::metrics::BudgetLevel;

/// The name that a budget has in metrics: whose it is, with the policy before it where the budget is a policy's. A tag's value
/// that the configuration does not name (`stated` is false) is a caller's word and stays unsaid: `feature=*`.
pub fn shown_name(budget: &Budget, stated: bool) -> String {
    let scope = &budget.scope;
    let name = match scope.name.split_once('=') {
        Some((tag, _)) if scope.kind == ScopeKind::Tag && !stated => format!("{tag}=*"),
        _ => scope.name.to_string(),
    };
    let policy = budget.id.strip_prefix("policy/").and_then(|rest| rest.split('/').next());
    match policy.filter(|_| scope.kind != ScopeKind::Policy) {
        Some(policy) => format!("{policy}/{name}"),
        None => name,
    }
}

/// The levels as metrics show them. Of those that have one name the one is shown of which most is spent.
pub(super) fn shown(levels: Vec<Level>, is_stated: impl Fn(&Budget) -> bool) -> Vec<BudgetLevel> {
    let mut shown: BTreeMap<(&'static str, String, String), BudgetLevel> = BTreeMap::new();
    for level in levels {
        let (scope, period) = (level.budget.scope.kind.word(), level.budget.calendar.period.to_string());
        let name = shown_name(&level.budget, is_stated(&level.budget));
        let place = (scope, name.clone(), period.clone());
        let level = BudgetLevel {
            scope,
            name,
            period,
            limit: level.budget.limit,
            spent: level.spent,
            held: level.held,
            ends: level.ends,
        };
        let entry = shown.entry(place).or_insert_with(|| level.clone());
        if (level.spent, level.held) > (entry.spent, entry.held) {
            *entry = level;
        }
    }
    shown.into_values().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::budget::{Allowance, Calendar, Period, Scope};
    use crate::units::NanoUsd;

    fn level(id: &str, kind: ScopeKind, name: &str, spent: i64) -> Level {
        let scope = Scope { kind, name: name.into() };
        let month = Allowance::hard(NanoUsd(10), Calendar::utc(Period::Month));
        let budget = Arc::new(month.budget(id.into(), scope));
        Level { budget, spent: NanoUsd(spent), held: NanoUsd(0), ends: 0 }
    }

    #[test]
    fn r18_a_callers_tag_is_no_label_and_no_series_comes_twice() {
        let levels = [
            level("team/t", ScopeKind::Team, "t", 1),
            level("policy/p/team", ScopeKind::Team, "t", 2),
            level("policy/p/policy", ScopeKind::Policy, "p", 3),
            level("policy/p/tag:f", ScopeKind::Tag, "f=stated", 4),
            level("policy/p/tag:f", ScopeKind::Tag, "f=made-up", 5),
            level("policy/p/tag:f", ScopeKind::Tag, "f=more", 6),
        ];
        let shown = shown(levels.to_vec(), |budget| &*budget.scope.name == "f=stated");
        let words: Vec<_> = shown.iter().map(|one| (one.scope, &*one.name, one.spent.0)).collect();
        let expected = [
            ("policy", "p", 3),
            ("tag", "p/f=*", 6),
            ("tag", "p/f=stated", 4),
            ("team", "p/t", 2),
            ("team", "t", 1),
        ];
        assert_eq!(words, expected);
    }
}
