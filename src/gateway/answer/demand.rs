//! What a request counts for: budgets, rates and places, by who sends it, its tags and the policy that decides it.

use std::sync::Arc;

use crate::budget::{Budget, Demand, HoldId, Limits, ScopeKind};
use crate::config::Snapshot;
use crate::config::budgets::Per;
use crate::units::NanoUsd;

/// Who pays.
#[derive(Debug, Clone, Copy)]
pub(super) struct Payer<'a> {
    /// The key's name; empty without one.
    pub(super) key: &'a str,
    /// Who has the key; empty if it is nobody's in particular.
    pub(super) user: &'a str,
    /// The team.
    pub(super) team: &'a str,
    /// What the team belongs to; empty if that is nothing.
    pub(super) organisation: &'a str,
    /// What requests count for by the key itself.
    pub(super) own: &'a Limits,
    /// All tags that count.
    pub(super) tags: &'a [(&'a str, &'a str)],
}

impl Payer<'_> {
    /// Everything that a request counts for under the policy at `policy_at`; nothing is held yet. The budgets named in
    /// `softened` are counted past their limit.
    pub(super) fn demand(
        &self,
        snapshot: &Snapshot,
        policy_at: usize,
        softened: &[Arc<str>],
        id: HoldId,
    ) -> Demand {
        let groups = &snapshot.groups;
        let group = |group: Option<&crate::config::budgets::Group>| group.map(|group| group.limits.clone());
        let of_groups = [
            group(groups.users.get(self.user)),
            group(groups.teams.get(self.team)),
            group(groups.organisations.get(self.organisation)),
        ];
        let mut demand = Demand {
            id,
            hold: NanoUsd::ZERO,
            tokens: 0,
            budgets: Vec::new(),
            rates: Vec::new(),
            places: Vec::new(),
            on_loss: snapshot.on_store_loss.get(policy_at).copied().unwrap_or_default(),
        };
        for limits in std::iter::once(self.own.clone()).chain(of_groups.into_iter().flatten()) {
            demand.budgets.extend(limits.budgets);
            demand.rates.extend(limits.rates);
            demand.places.extend(limits.places);
        }
        let policy = snapshot.policies.get(policy_at).map_or("", |policy| &*policy.name);
        for budget in snapshot.policy_budgets.get(policy_at).into_iter().flatten() {
            demand.budgets.push(budget.of(match budget.per() {
                Per::One(ScopeKind::Key) => self.key,
                Per::One(ScopeKind::User) => self.user,
                Per::One(ScopeKind::Team) => self.team,
                Per::One(ScopeKind::Organisation) => self.organisation,
                Per::One(ScopeKind::Policy | ScopeKind::Tag) => policy,
                Per::Tag(tag) => {
                    self.tags.iter().find(|(name, _)| *name == &**tag).map_or("", |(_, value)| value)
                }
            }));
        }
        for budget in &mut demand.budgets {
            if softened.contains(&budget.id) {
                *budget = Arc::new(Budget { hard: false, ..Budget::clone(budget) });
            }
        }
        demand
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment::Environment;
    use crate::config::load::Source;
    use crate::config::{Documents, compile};
    use crate::pricing::Book;

    struct Nothing;

    impl Environment for Nothing {
        fn variable(&self, _: &str) -> Option<String> {
            None
        }
        fn secret_file(
            &self,
            _: &std::path::Path,
        ) -> Result<secrecy::SecretString, crate::config::environment::SecretFileError> {
            Err(crate::config::environment::SecretFileError::Empty)
        }
    }

    const CONFIG: &str = "
keys: [{name: a, key: sk-0123456789, team: t, user: u, rpm: 5, budget: [{usd: 3, per: day}, {usd: 9, per: month}]}]
teams: {t: {organisation: o, tpm: 100, concurrency: 2, budget: {usd: 1, rolling: 24h, soft: true}}}
users: {u: {budget: {usd: 2, per: hour}}}
organisations: {o: {budget: {usd: 100, per: month, zone: Europe/Berlin}}}
";
    const POLICY: &str = "
policy: p
budget:
  - {usd: 7, per: day, scope: policy, when_spent: cheapest-only}
  - {usd: 8, per: week, scope: key}
  - {usd: 9, per: day, scope: 'tag:feature'}
";

    fn snapshot() -> Snapshot {
        let source = |name: &str, text: &str| Source { name: name.into(), text: Ok(text.into()) };
        let documents = Documents {
            config: Some(source("tollway.yaml", CONFIG)),
            policies: vec![source("policies/1.yaml", POLICY)],
            ..Documents::default()
        };
        compile(&documents, &Nothing, Book::shipped()).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn words(demand: &Demand) -> Vec<String> {
        demand.budgets.iter().map(|one| format!("{} {}", one.id, one.scope)).collect()
    }

    #[test]
    fn a_request_counts_for_its_key_user_team_organisation_policy_and_tags() {
        let snapshot = snapshot();
        let key = &snapshot.keys[0];
        let payer = Payer {
            key: &key.name,
            user: key.user.as_deref().unwrap(),
            team: &key.team,
            organisation: key.organisation.as_deref().unwrap(),
            own: &key.limits,
            tags: &[("tier", "x"), ("feature", "search")],
        };
        let demand = payer.demand(&snapshot, 0, &["policy/p/policy".into()], HoldId(1));
        let expected = [
            "key/a key:a",
            "key/a/month key:a",
            "user/u user:u",
            "team/t team:t",
            "organisation/o organisation:o",
            "policy/p/policy policy:p",
            "policy/p/key key:a",
            "policy/p/tag:feature tag:feature=search",
        ];
        assert_eq!(words(&demand), expected);
        let soft: Vec<&str> = demand.budgets.iter().filter(|one| !one.hard).map(|one| &*one.id).collect();
        assert_eq!(soft, ["team/t", "policy/p/policy"]);
        let rates: Vec<u64> = demand.rates.iter().map(|rate| rate.per_minute).collect();
        assert_eq!((rates, demand.places.len()), (vec![5, 100], 1));

        let own = Limits::default();
        let nobody = Payer { key: "", user: "", team: "default", organisation: "", own: &own, tags: &[] };
        let expected =
            ["policy/p/policy policy:p", "policy/p/key key:-", "policy/p/tag:feature tag:feature=-"];
        assert_eq!(words(&nobody.demand(&snapshot, 0, &[], HoldId(2))), expected);
    }
}
