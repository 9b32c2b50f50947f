//! A key in force: what a request that bears it may do, and what it counts for.

use std::sync::Arc;

use crate::budget::{Allowance, Grant, Limits, ScopeKind};
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

impl Key {
    /// The key that a record is of. An error if the record was not made by this program.
    pub fn of(record: &Record) -> Result<Self, Fault> {
        let mut grant =
            Grant { rpm: record.rpm, tpm: record.tpm, concurrency: record.concurrency, ..Grant::default() };
        if let Some(budget) = &record.budget {
            let (limit, calendar) = budget.meaning()?;
            grant.allowances.push(Allowance::hard(limit, calendar));
        }
        Ok(Self {
            name: Arc::clone(&record.name),
            team: Arc::clone(&record.team),
            user: record.user.clone(),
            organisation: record.organisation.clone(),
            models: record.models.iter().map(|glob| Glob(Arc::clone(glob))).collect(),
            tags: record.tags.iter().map(|(name, value)| (Arc::clone(name), Arc::clone(value))).collect(),
            limits: Limits::of(ScopeKind::Key, &record.name, &grant),
        })
    }
}
