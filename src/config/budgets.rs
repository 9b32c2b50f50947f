//! What requests count for by the policies and groups of a configuration.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::budget::{Allowance, Budget, Limits, Scope, ScopeKind};

use super::naming;
use super::snapshot::Snapshot;

/// So many values of a tag have a budget of their own; whoever names more shares one with the others, so that a caller cannot
/// make budgets, and the room they take, without end.
const TAG_VALUES_MAX: usize = 1_000;
/// So many handles are kept; beyond, one is made for each request.
const HANDLES_MAX: usize = 10_000;
/// Stands for those without a key, user, organisation or tag, and for values of tags beyond those that have a budget. No name
/// begins like this.
pub const REST: &str = "-";

/// For whom a policy's budget is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Per {
    /// Each of this kind by itself: a key, a user, a team, an organisation, or the policy.
    One(ScopeKind),
    /// Each value of the tag.
    Tag(Arc<str>),
}

/// A budget of a policy, from which each of those whom it is counted for gets one.
#[derive(Debug)]
pub struct PolicyBudget {
    id: Arc<str>,
    per: Per,
    allowance: Allowance,
    made: Mutex<HashMap<Arc<str>, Arc<Budget>>>,
}

/// A team, a user or an organisation.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// What a team belongs to.
    pub organisation: Option<Arc<str>>,
    /// What its requests count for.
    pub limits: Limits,
}

/// Those that the configuration names.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    /// Teams.
    pub teams: HashMap<Arc<str>, Group>,
    /// Users.
    pub users: HashMap<Arc<str>, Group>,
    /// Organisations.
    pub organisations: HashMap<Arc<str>, Group>,
}

impl PolicyBudget {
    /// A budget called `id`, of which each that `per` names has the whole `allowance`.
    pub fn new(id: Arc<str>, per: Per, allowance: Allowance) -> Self {
        Self { id, per, allowance, made: Mutex::default() }
    }

    /// For whom it is counted.
    pub const fn per(&self) -> &Per {
        &self.per
    }

    /// The budget of `value`: a name, or the value of a tag. Empty: it has none.
    pub fn of(&self, value: &str) -> Arc<Budget> {
        let is_tag = matches!(self.per, Per::Tag(_));
        let value = if value.is_empty() || (is_tag && !naming::is_name(value)) { REST } else { value };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = made.get(value) {
            return Arc::clone(known);
        }
        if is_tag && made.len() >= TAG_VALUES_MAX {
            return Arc::clone(made.entry(REST.into()).or_insert_with(|| self.make(REST)));
        }
        let budget = self.make(value);
        if made.len() < HANDLES_MAX {
            made.insert(value.into(), Arc::clone(&budget));
        }
        budget
    }

    fn make(&self, value: &str) -> Arc<Budget> {
        let scope = match &self.per {
            Per::One(kind) => Scope { kind: *kind, name: value.into() },
            Per::Tag(tag) => Scope { kind: ScopeKind::Tag, name: format!("{tag}={value}").into() },
        };
        Arc::new(self.allowance.budget(Arc::clone(&self.id), scope))
    }
}

impl Groups {
    fn all(&self) -> impl Iterator<Item = &Group> {
        [&self.teams, &self.users, &self.organisations].into_iter().flat_map(HashMap::values)
    }
}

impl Snapshot {
    /// Every budget that is known before anybody asks: those of keys, users, teams, organisations and whole policies, and
    /// those of tags that keys bear.
    pub fn fixed_budgets(&self) -> Vec<Arc<Budget>> {
        let own = self.keys.iter().map(|key| &key.limits);
        let own = own.chain(self.groups.all().map(|group| &group.limits));
        let mut budgets: Vec<Arc<Budget>> = own.flat_map(|limits| &limits.budgets).cloned().collect();
        for (policy, of_policy) in self.policies.iter().zip(&self.policy_budgets) {
            for budget in of_policy {
                match budget.per() {
                    Per::One(ScopeKind::Policy) => budgets.push(budget.of(&policy.name)),
                    Per::One(_) => {}
                    Per::Tag(tag) => {
                        let tags = self.keys.iter().flat_map(|key| &key.tags);
                        budgets
                            .extend(tags.filter(|(name, _)| name == tag).map(|(_, value)| budget.of(value)));
                    }
                }
            }
        }
        budgets
    }

    /// How many budgets and how many limits the configuration states.
    pub fn budgets_and_limits(&self) -> (usize, usize) {
        let own = self.keys.iter().map(|key| &key.limits);
        let own = own.chain(self.groups.all().map(|group| &group.limits));
        let of_policies: usize = self.policy_budgets.iter().map(Vec::len).sum();
        own.fold((of_policies, 0), |(budgets, limits), one| {
            (budgets + one.budgets.len(), limits + one.bounds())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{Calendar, Period};
    use crate::units::NanoUsd;

    fn budget(per: Per) -> PolicyBudget {
        let month = Allowance::hard(NanoUsd(5), Calendar::utc(Period::Month));
        PolicyBudget::new("policy/p/x".into(), per, month)
    }

    #[test]
    fn each_has_one_and_who_has_no_name_shares_one() {
        let budget = budget(Per::One(ScopeKind::User));
        assert!(Arc::ptr_eq(&budget.of("ann"), &budget.of("ann")));
        assert_eq!(budget.of("ann").scope.to_string(), "user:ann");
        assert_eq!(budget.of("").scope.to_string(), "user:-");
    }

    #[test]
    fn r18_values_of_tags_that_callers_make_up_are_bounded() {
        let budget = budget(Per::Tag("feature".into()));
        assert_eq!(budget.of("search").scope.to_string(), "tag:feature=search");
        for at in 0..TAG_VALUES_MAX * 3 {
            budget.of(&format!("v{at}"));
        }
        assert_eq!(budget.of("another").scope.to_string(), "tag:feature=-");
        assert_eq!(budget.of("search").scope.to_string(), "tag:feature=search", "who was there stays");
        for odd in ["", "two words", "a=b", "{}"] {
            assert_eq!(budget.of(odd).scope.to_string(), "tag:feature=-", "{odd}");
        }
        assert!(budget.made.lock().unwrap().len() <= TAG_VALUES_MAX + 1);
    }
}
