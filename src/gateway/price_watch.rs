//! What the gauges say of prices, and the warning that one has become old.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::config::Snapshot;
use crate::routing::{Policy, Route};
use crate::telemetry::Metrics;
use crate::units::TokenPrice;

/// Routes that one warning names; of the rest it gives the number.
const NAMED_MAX: usize = 8;

/// Remembers what was warned of, so that each old price is told once in the life of a snapshot.
#[derive(Debug, Default)]
pub(super) struct PriceWatch {
    /// Policy and route, by their place in the snapshot.
    warned: Mutex<HashSet<(usize, usize)>>,
}

impl PriceWatch {
    /// Sets every gauge of prices to what is in force at `now`, and warns of prices that have become too old.
    pub(super) fn tell(&self, snapshot: &Snapshot, metrics: &Metrics, now: Timestamp) {
        // Two routes of a provider may serve one checkpoint: the older price speaks for both.
        let mut ages: BTreeMap<(&str, &str), Duration> = BTreeMap::new();
        for route in &snapshot.routes {
            rates(route, metrics, now);
            if let Some(age) = age(route, now) {
                let oldest = ages.entry((&route.provider, &route.checkpoint)).or_default();
                *oldest = age.max(*oldest);
            }
        }
        for ((provider, model), age) in ages {
            metrics.price_age(provider, model, age.as_secs_f64());
        }
        for (place, policy) in snapshot.policies.iter().enumerate() {
            if let Some(limit) = policy.price_age_max {
                self.policy(snapshot, (place, policy), limit, metrics, now);
            }
        }
        let Snapshot { catalog, .. } = snapshot;
        for (source, day) in [("book", catalog.book), ("synced", catalog.synced)] {
            let first = day.and_then(|day| jiff::tz::Offset::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok());
            if let Some(first) = first {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "seconds of this century are exact in a float"
                )]
                metrics.price_catalog(source, first.as_second() as f64);
            }
        }
    }

    fn policy(
        &self,
        snapshot: &Snapshot,
        (place, policy): (usize, &Policy),
        limit: Duration,
        metrics: &Metrics,
        now: Timestamp,
    ) {
        let mut stale: BTreeMap<(&str, &str), bool> = BTreeMap::new();
        let mut news: Vec<String> = Vec::new();
        for (at, route) in snapshot.routes.iter().enumerate() {
            let Some(age) = age(route, now).filter(|_| policy.place_of(route).is_some()) else { continue };
            let is_old = age > limit;
            *stale.entry((&route.provider, &route.checkpoint)).or_default() |= is_old;
            let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
            if is_old && warned.insert((place, at)) {
                news.push(format!("{} ({} days)", route.name, age.as_secs() / 86_400));
            }
        }
        for ((provider, model), is_old) in stale {
            metrics.price_stale(&policy.name, provider, model, is_old);
        }
        if news.is_empty() {
            return;
        }
        let more = news.len().saturating_sub(NAMED_MAX);
        news.truncate(NAMED_MAX);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        tracing::warn!(
            policy = &*policy.name,
            limit_days = limit.as_secs() / 86_400,
            prices = %format!("{}{more}", news.join(", ")),
            "prices are older than the policy's limit: run `tollway prices sync`, or state them in tollway.yaml"
        );
    }
}

/// How long ago the price in force was read; `None` where there is none or it does not age.
fn age(route: &Route, now: Timestamp) -> Option<Duration> {
    route.price.as_ref()?.entry_in_force(0, now).age(now)
}

fn rates(route: &Route, metrics: &Metrics, now: Timestamp) {
    let Some(card) = &route.price else { return };
    let rates = card.rates(0, now);
    #[expect(clippy::cast_precision_loss, reason = "a gauge for people; charges never read it")]
    let tell = |kind: &str, price: TokenPrice| {
        metrics.price(&route.provider, &route.checkpoint, kind, price.0 as f64 / 1e6);
    };
    tell("input", rates.input);
    tell("output", rates.output);
    if let Some(cached) = rates.cached_input {
        tell("cache_read", cached);
    }
    if let Some(write) = rates.cache_write {
        tell("cache_write", write);
    }
}
