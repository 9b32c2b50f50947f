//! A key in force: what a request that bears it may do, and what it counts for.

use std::sync::Arc;

use crate::budget::{Budget, Concurrency, Rate, Scope, ScopeKind, Unit, WhenSpent};
use crate::routing::Glob;

use super::ask::Fault;
use super::record::Record;

/// A caller's key, whether the configuration or a store has it.
#[derive(Debug, Clone, Default)]
pub struct Key {
    /// Its name, for policies, metrics, logs and records.
    pub name: Arc<str>,
    /// Whose it is.
    pub team: Arc<str>,
    /// The person or service that has it.
    pub user: Option<Arc<str>>,
    /// What the team belongs to.
    pub organisation: Option<Arc<str>>,
    /// Models it may ask for, by the caller's word or by checkpoint; empty: all.
    pub models: Vec<Glob>,
    /// Tags that each of its requests carries.
    pub tags: Vec<(Arc<str>, Arc<str>)>,
    /// What its requests count for, beside the budgets of policies, teams and tags.
    pub limits: Limits,
}

/// What a key's requests count for: made once, when the key is loaded, so that a `Demand` takes them by their handle.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Its own budget.
    pub budgets: Vec<Arc<Budget>>,
    /// Its own rates.
    pub rates: Vec<Arc<Rate>>,
    /// Its own bound on requests at once.
    pub places: Vec<Arc<Concurrency>>,
}

impl Key {
    /// The key that a record is of. An error if the record was not made by this program.
    pub fn of(record: &Record) -> Result<Self, Fault> {
        let scope = Scope { kind: ScopeKind::Key, name: Arc::clone(&record.name) };
        let mut limits = Limits::default();
        if let Some(budget) = &record.budget {
            let (limit, calendar) = budget.meaning()?;
            limits.budgets.push(Arc::new(Budget {
                id: format!("key/{}", record.name).into(),
                scope: scope.clone(),
                limit,
                calendar,
                hard: true,
                when_spent: WhenSpent::Reject,
            }));
        }
        let rate = |unit, per_minute: u64| Arc::new(Rate { scope: scope.clone(), unit, per_minute });
        limits.rates.extend(record.rpm.map(|rpm| rate(Unit::Requests, rpm)));
        limits.rates.extend(record.tpm.map(|tpm| rate(Unit::Tokens, tpm)));
        let place = |max| Arc::new(Concurrency { scope: scope.clone(), max });
        limits.places.extend(record.concurrency.map(place));
        Ok(Self {
            name: Arc::clone(&record.name),
            team: Arc::clone(&record.team),
            user: record.user.clone(),
            organisation: record.organisation.clone(),
            models: record.models.iter().map(|glob| Glob(Arc::clone(glob))).collect(),
            tags: record.tags.iter().map(|(name, value)| (Arc::clone(name), Arc::clone(value))).collect(),
            limits,
        })
    }
}
