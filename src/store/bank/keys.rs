//! Names of keys in Redis, all under one hash tag, so that they lie in one slot of a cluster; and back from a name to what
//! it stands for. Pure.

use std::sync::Arc;
use std::time::Duration;

use crate::budget::{Budget, Concurrency, Period, Rate, Scope, ScopeKind, Unit, Window};
use crate::ledger::Line;

const PREFIX: &str = "tollway:{default}:";
/// A balance is kept at least and at most so long after its window has ended, in seconds: for who settles late, for clocks set
/// back, and for rolling budgets, which look at windows that are over.
const KEPT_MIN: i64 = 2 * 86_400;
const KEPT_MAX: i64 = 62 * 86_400;

/// The hash with the epoch, and with each replica's generation, lease and sequence number.
pub(super) fn fleet() -> String {
    format!("{PREFIX}fleet")
}

/// The hash of what a replica holds, by hold.
pub(super) fn holds(replica: &str) -> String {
    format!("{PREFIX}holds:{replica}")
}

/// The hash of holds that were taken from a replica after its lease.
pub(super) fn inherited(replica: &str) -> String {
    format!("{PREFIX}inherited:{replica}")
}

/// The hash of a balance: what each replica has spent and holds.
pub(super) fn balance(budget: &str, scope: &Scope, window: Window) -> Arc<str> {
    let (kind, name) = (scope.kind.word(), &scope.name);
    format!("{PREFIX}b:{}:{}:{kind}:{name}:{budget}", window.start, window.end).into()
}

/// The string with a rate's theoretical arrival time.
pub(super) fn rate(rate: &Rate) -> Arc<str> {
    let unit = match rate.unit {
        Unit::Requests => "requests",
        Unit::Tokens => "tokens",
    };
    format!("{PREFIX}r:{unit}:{}", rate.scope).into()
}

/// The hash of places taken, by replica.
pub(super) fn places(bound: &Concurrency) -> Arc<str> {
    format!("{PREFIX}p:{}", bound.scope).into()
}

/// How far back a budget looks, in seconds; zero if only the present window counts.
pub(super) fn span(budget: &Budget) -> i64 {
    match budget.calendar.period {
        Period::Rolling(span) => seconds(span),
        _ => 0,
    }
}

pub(super) fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

/// What a balance's name stands for, and the second at which it is forgotten.
pub(super) fn parse_balance(key: &str) -> Option<(Line, i64)> {
    let mut parts = key.strip_prefix(PREFIX)?.strip_prefix("b:")?.splitn(5, ':');
    let mut number = || parts.next()?.parse::<i64>().ok();
    let (start, end) = (number()?, number()?);
    let kind = parts.next()?;
    let kind = KINDS.into_iter().find(|known| known.word() == kind)?;
    let scope = Scope { kind, name: parts.next()?.into() };
    let line = Line { budget: parts.next()?.into(), scope, window: Window { start, end } };
    let forgotten = forgotten(line.window);
    Some((line, forgotten))
}

/// The second at which a balance is forgotten.
pub(super) fn forgotten(window: Window) -> i64 {
    let length = window.end.saturating_sub(window.start);
    // A rolling budget looks at sixty parts.
    window.end.saturating_add(length.saturating_mul(62).clamp(KEPT_MIN, KEPT_MAX))
}

const KINDS: [ScopeKind; 6] = [
    ScopeKind::Key,
    ScopeKind::User,
    ScopeKind::Team,
    ScopeKind::Organisation,
    ScopeKind::Tag,
    ScopeKind::Policy,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balances_name_says_what_it_stands_for() {
        for kind in KINDS {
            let scope = Scope { kind, name: "feature=search".into() };
            let window = Window { start: 1_764_000_000, end: 1_764_086_400 };
            let key = balance("policy/a:b/c", &scope, window);
            let line = Line { budget: "policy/a:b/c".into(), scope, window };
            assert_eq!(parse_balance(&key), Some((line, 1_764_086_400 + 62 * 86_400)));
        }
        assert_eq!(parse_balance("tollway:{default}:b:1:2:planet:x:y"), None);
        assert_eq!(parse_balance("tollway:{default}:p:team:x"), None);
    }
}
