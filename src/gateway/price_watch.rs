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
                warn(policy, limit, self.newly_old(snapshot, (place, policy), limit, metrics, now));
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

    /// Sets the gauges of one policy, and names the prices that have become too old since it was asked last.
    fn newly_old(
        &self,
        snapshot: &Snapshot,
        (place, policy): (usize, &Policy),
        limit: Duration,
        metrics: &Metrics,
        now: Timestamp,
    ) -> Vec<String> {
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
        news
    }
}

fn warn(policy: &Policy, limit: Duration, mut news: Vec<String>) {
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

#[cfg(test)]
mod tests {
    use crate::config::load::Source;
    use crate::config::{Documents, Machine, compile};
    use crate::pricing::Book;

    use super::*;

    const PRO: &str = "deepseek-v4-pro-0813";

    fn snapshot() -> Snapshot {
        let source = |name: &str, text: &str| Source { name: name.into(), text: Ok(text.into()) };
        let documents = Documents {
            config: Some(source(
                "tollway.yaml",
                "providers:
  mine: {kind: deepseek, base_url: 'http://127.0.0.1:1/v1'}
  own: {kind: openai, base_url: 'http://127.0.0.1:1/v1', models: [{id: m, price: {input: 1, output: 1}}]}",
            )),
            policies: vec![
                source(
                    "1.yaml",
                    "{policy: strict, match: {models: [x]}, routes: [mine], prices: {max_age: 7d}}",
                ),
                source("2.yaml", "{policy: silent, match: {models: [y]}, prices: {max_age: 0s}}"),
                source("3.yaml", "policy: lax"),
            ],
            ..Documents::default()
        };
        let machine = Machine { folder: ".".into() };
        compile(&documents, &machine, Book::shipped()).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn a_price_older_than_the_policys_limit_is_told_and_told_once() {
        let (snapshot, metrics, watch) = (snapshot(), Metrics::new(), PriceWatch::default());
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let page = |now| {
            watch.tell(&snapshot, &metrics, at(now));
            metrics.page()
        };
        let line = |page: &str, wanted: &str| {
            let found = page.lines().find_map(|line| line.strip_prefix(wanted));
            found.map(|value| value.trim().to_owned())
        };
        let stale = |page: &str, policy: &str, provider: &str, model: &str| {
            let labels = format!("model=\"{model}\",policy=\"{policy}\",provider=\"{provider}\"");
            line(page, &format!("tollway_price_stale{{{labels}}}"))
        };
        let fresh = page("2026-11-16T00:00:00Z");
        assert_eq!(stale(&fresh, "strict", "mine", PRO).as_deref(), Some("0"));
        assert_eq!(watch.warned.lock().unwrap().len(), 0);
        let age = format!("tollway_price_age_seconds{{model=\"{PRO}\",provider=\"mine\"}}");
        assert_eq!(line(&fresh, &age).as_deref(), Some("86400"));
        // Nine and a half days after the book was read, off peak.
        let old = page("2026-11-24T12:00:00Z");
        assert_eq!(stale(&old, "strict", "mine", PRO).as_deref(), Some("1"));
        assert_eq!(stale(&old, "lax", "mine", PRO).as_deref(), Some("0"));
        assert_eq!(stale(&old, "silent", "mine", PRO), None, "no limit");
        assert_eq!(stale(&old, "lax", "own", "m"), None, "the operator's own price does not age");
        let warned = watch.warned.lock().unwrap().len();
        assert_eq!(warned, 3, "the three routes of mine, for the strict policy");
        let limit = Duration::from_hours(7 * 24);
        let again = watch.newly_old(
            &snapshot,
            (0, &snapshot.policies[0]),
            limit,
            &metrics,
            at("2026-11-25T00:00:00Z"),
        );
        assert_eq!(again, Vec::<String>::new(), "told already");
        let input = format!(
            "tollway_price_usd_per_million_tokens{{kind=\"input\",model=\"{PRO}\",provider=\"mine\"}}"
        );
        assert_eq!(line(&old, &input).as_deref(), Some("0.66"));
        // By time alone: peak.
        assert_eq!(line(&page("2026-11-25T02:00:00Z"), &input).as_deref(), Some("1.32"));
        let catalog = line(&old, "tollway_price_catalog_timestamp_seconds{source=\"book\"}").unwrap();
        assert!(catalog.parse::<f64>().unwrap() >= 1_794_700_800.0, "2026-11-15 or later: {catalog}");
    }
}
