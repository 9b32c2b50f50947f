//! Budgets and limits: of policies, keys, users, teams and organisations.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::budget::limits::{ids, limit_from_usd};
use crate::budget::{Allowance, Calendar, Grant, Limits, Period, ScopeKind, WhenSpent};
use crate::config::budgets::{Group, Groups, Per, PolicyBudget};
use crate::config::document::budget::{
    AllowanceDocument, BudgetDocument, GrantDocument, OneOrSeveral, PeriodWord, ScopeSetting, WhenSpentWord,
};
use crate::config::document::values::{Count, Flag, Name, Span, Usd, Zone};
use crate::config::document::{PolicyDocument, TollwayDocument};
use crate::config::naming;
use crate::config::node::Spot;
use crate::config::problem::{Severity, nearest};
use crate::config::read::{At, Pairs, Reader};

/// The shortest span that a budget may roll over.
const ROLLING_MIN: Duration = Duration::from_mins(1);

/// What every budget has, wherever it stands.
struct Terms<'d> {
    spot: Spot,
    usd: Option<&'d At<Usd>>,
    per: Option<&'d At<PeriodWord>>,
    rolling: Option<&'d At<Span>>,
    zone: Option<&'d At<Zone>>,
    when_spent: Option<&'d At<WhenSpentWord>>,
    soft: Option<&'d At<Flag>>,
}

impl<'d> From<&'d At<AllowanceDocument>> for Terms<'d> {
    fn from(typed: &'d At<AllowanceDocument>) -> Self {
        let AllowanceDocument { usd, per, rolling, zone, when_spent, soft } = &typed.value;
        Self {
            spot: typed.spot,
            usd: usd.as_ref(),
            per: per.as_ref(),
            rolling: rolling.as_ref(),
            zone: zone.as_ref(),
            when_spent: when_spent.as_ref(),
            soft: soft.as_ref(),
        }
    }
}

impl<'d> From<&'d At<BudgetDocument>> for Terms<'d> {
    fn from(typed: &'d At<BudgetDocument>) -> Self {
        let BudgetDocument { usd, per, rolling, zone, scope: _, when_spent, soft } = &typed.value;
        Self {
            spot: typed.spot,
            usd: usd.as_ref(),
            per: per.as_ref(),
            rolling: rolling.as_ref(),
            zone: zone.as_ref(),
            when_spent: when_spent.as_ref(),
            soft: soft.as_ref(),
        }
    }
}

/// The budgets of one policy.
pub(super) fn of_policy(reader: &Reader<'_>, typed: &PolicyDocument, name: &str) -> Vec<PolicyBudget> {
    let mut of_scopes: HashMap<String, Vec<(Per, Allowance)>> = HashMap::new();
    let mut order = Vec::new();
    for budget in typed.budget.iter().flat_map(|budget| &budget.value.0) {
        let Some(allowance) = allowance(reader, &budget.into()) else { continue };
        let (per, word) = match budget.scope.as_ref().map(|scope| &scope.value) {
            None | Some(ScopeSetting::Policy) => (Per::One(ScopeKind::Policy), "policy".to_owned()),
            Some(ScopeSetting::Key) => (Per::One(ScopeKind::Key), "key".to_owned()),
            Some(ScopeSetting::User) => (Per::One(ScopeKind::User), "user".to_owned()),
            Some(ScopeSetting::Team) => (Per::One(ScopeKind::Team), "team".to_owned()),
            Some(ScopeSetting::Organisation) => {
                (Per::One(ScopeKind::Organisation), "organisation".to_owned())
            }
            Some(ScopeSetting::Tag(tag)) => (Per::Tag(Arc::clone(tag)), format!("tag:{tag}")),
        };
        let known = of_scopes.entry(word.clone()).or_default();
        refuse_twin(reader, budget.spot, &allowance, known.iter().map(|(_, known)| known));
        if known.is_empty() {
            order.push(word);
        }
        known.push((per, allowance));
    }
    let mut budgets = Vec::new();
    for word in order {
        let of_scope = of_scopes.remove(&word).unwrap_or_default();
        let periods = of_scope.iter().map(|(_, allowance)| allowance.calendar.period);
        let ids = ids(&format!("policy/{name}/{word}"), periods);
        budgets.extend(
            ids.into_iter().zip(of_scope).map(|(id, (per, allowance))| PolicyBudget::new(id, per, allowance)),
        );
    }
    budgets
}

/// Teams, users and organisations.
pub(super) fn groups(reader: &Reader<'_>, document: &TollwayDocument) -> Groups {
    let organisations = granted(reader, document.organisations.as_ref(), ScopeKind::Organisation);
    let users = granted(reader, document.users.as_ref(), ScopeKind::User);
    let mut teams = HashMap::new();
    for (name, typed) in document.teams.iter().flat_map(|teams| &teams.value.0) {
        let Some(name) = named(reader, name) else { continue };
        let grant = grant(
            reader,
            typed.budget.as_ref(),
            typed.rpm.as_ref(),
            typed.tpm.as_ref(),
            typed.concurrency.as_ref(),
        );
        if let Some(organisation) = &typed.organisation {
            say_if_mistyped(reader, organisation, &organisations, "organisation");
        }
        let organisation = typed.organisation.as_ref().map(|name| Arc::clone(&name.0));
        let limits = Limits::of(ScopeKind::Team, &name, &grant);
        teams.insert(name, Group { organisation, limits });
    }
    Groups { teams, users, organisations }
}

fn granted(
    reader: &Reader<'_>,
    typed: Option<&At<Pairs<GrantDocument>>>,
    kind: ScopeKind,
) -> HashMap<Arc<str>, Group> {
    let mut groups = HashMap::new();
    for (name, typed) in typed.into_iter().flat_map(|typed| &typed.value.0) {
        let Some(name) = named(reader, name) else { continue };
        let grant = grant(
            reader,
            typed.budget.as_ref(),
            typed.rpm.as_ref(),
            typed.tpm.as_ref(),
            typed.concurrency.as_ref(),
        );
        let limits = Limits::of(kind, &name, &grant);
        groups.insert(name, Group { organisation: None, limits });
    }
    groups
}

fn named(reader: &Reader<'_>, name: &At<String>) -> Option<Arc<str>> {
    if naming::is_name(&name.value) {
        return Some(name.value.as_str().into());
    }
    reader.error(name.spot, "a name has letters, digits and `. _ -`, 64 at most", None);
    None
}

/// Says that a name stands for nobody who has limits, where it looks like one who has.
pub(super) fn say_if_mistyped(
    reader: &Reader<'_>,
    name: &At<Name>,
    known: &HashMap<Arc<str>, Group>,
    what: &str,
) {
    if known.contains_key(&name.0) {
        return;
    }
    if let Some(word) = nearest(&name.0, known.keys().map(|known| &**known)) {
        let message = format!("no limits stand for the {what} `{}`", name.0);
        reader.push(Severity::Warning, Some(name.spot), &message, Some(format!("did you mean `{word}`?")));
    }
}

/// What is granted to one of those that have limits of their own.
pub(super) fn grant(
    reader: &Reader<'_>,
    budget: Option<&At<OneOrSeveral<AllowanceDocument>>>,
    rpm: Option<&At<Count>>,
    tpm: Option<&At<Count>>,
    concurrency: Option<&At<Count>>,
) -> Grant {
    let mut allowances = Vec::new();
    for typed in budget.into_iter().flat_map(|budget| &budget.value.0) {
        let Some(allowance) = allowance(reader, &typed.into()) else { continue };
        refuse_twin(reader, typed.spot, &allowance, allowances.iter());
        allowances.push(allowance);
    }
    Grant {
        allowances,
        rpm: rpm.map(|count| count.0),
        tpm: tpm.map(|count| count.0),
        concurrency: concurrency.map(|count| u32::try_from(count.0).unwrap_or(u32::MAX)),
    }
}

fn refuse_twin<'a>(
    reader: &Reader<'_>,
    spot: Spot,
    allowance: &Allowance,
    mut others: impl Iterator<Item = &'a Allowance>,
) {
    let period = allowance.calendar.period;
    if others.any(|other| other.calendar.period == period) {
        let message = format!("there are two budgets for the same {period} here");
        reader.error(spot, &message, Some("keep the smaller one".to_owned()));
    }
}

fn allowance(reader: &Reader<'_>, typed: &Terms<'_>) -> Option<Allowance> {
    let limit = limit(reader, typed);
    let calendar = calendar(reader, typed);
    let soft = typed.soft.is_some_and(|soft| soft.0);
    if let Some(when) = typed.when_spent.filter(|_| soft) {
        let help = "remove `soft`, or `when_spent`".to_owned();
        reader.error(
            when.spot,
            "a soft budget stops nothing: `when_spent` would never come about",
            Some(help),
        );
    }
    Some(Allowance {
        limit: limit?,
        calendar: calendar?,
        hard: !soft,
        when_spent: match typed.when_spent.map(|word| word.value) {
            None | Some(WhenSpentWord::Reject) => WhenSpent::Reject,
            Some(WhenSpentWord::CheapestOnly) => WhenSpent::CheapestOnly,
            Some(WhenSpentWord::LocalOnly) => WhenSpent::LocalOnly,
        },
    })
}

fn limit(reader: &Reader<'_>, typed: &Terms<'_>) -> Option<crate::units::NanoUsd> {
    let Some(usd) = typed.usd else {
        let help = Some("write how much, such as `usd: 200`".to_owned());
        reader.missing(typed.spot, &["usd"], "a budget needs an amount", help);
        return None;
    };
    let limit = limit_from_usd(&usd.0);
    if limit.is_none() {
        let message = "a budget holds at most 9000000 USD, to nine decimals";
        reader.error(usd.spot, message, None);
    }
    limit
}

fn calendar(reader: &Reader<'_>, typed: &Terms<'_>) -> Option<Calendar> {
    let zone = typed.zone.map(|zone| self::zone(reader, zone));
    let period = match (typed.per, typed.rolling) {
        (Some(_), Some(rolling)) => {
            let help = "keep one of them".to_owned();
            reader.error(
                rolling.spot,
                "a budget goes by the calendar (`per`) or is `rolling`, not both",
                Some(help),
            );
            return None;
        }
        (None, None) => {
            let help = Some("write `per: month`, or `rolling: 24h`".to_owned());
            let typed_keys = reader.typed(typed.spot);
            // One that is there was refused, and that was said.
            if !typed_keys.contains(&"per") && !typed_keys.contains(&"rolling") {
                reader.error(typed.spot, "a budget needs a time for which it is", help);
            }
            return None;
        }
        (None, Some(rolling)) => {
            if rolling.0 < ROLLING_MIN {
                reader.error(rolling.spot, "a budget rolls over a minute at least", None);
            }
            if let Some(zone) = typed.zone {
                let message = "`zone` says whose midnights count, and a rolling budget has none";
                reader.error(zone.spot, message, Some("remove it".to_owned()));
            }
            Period::Rolling(Duration::from_secs(rolling.0.as_secs()))
        }
        (Some(per), None) => match per.value {
            PeriodWord::Hour => Period::Hour,
            PeriodWord::Day => Period::Day,
            PeriodWord::Week => Period::Week,
            PeriodWord::Month => Period::Month,
        },
    };
    Some(Calendar { period, zone: zone.unwrap_or(Some(TimeZone::UTC))? })
}

fn zone(reader: &Reader<'_>, typed: &At<Zone>) -> Option<TimeZone> {
    let found = TimeZone::get(&typed.0).ok();
    if found.is_none() {
        let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        let help = nearest(&typed.0, known.iter().map(String::as_str)).map_or_else(
            || "name a place of the time zone database, such as `Europe/Berlin`".to_owned(),
            |word| format!("did you mean `{word}`?"),
        );
        reader.error(typed.spot, &format!("`{}` is no time zone", typed.0), Some(help));
    }
    found
}
