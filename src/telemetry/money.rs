//! Counters of money: whole nano-dollars inside, decimal dollars on the page, never a float in between.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::units::NanoUsd;

/// One series: a count of nano-dollars that only grows.
#[derive(Debug, Default)]
pub struct MoneyCounter(AtomicU64);

impl MoneyCounter {
    /// Adds an amount; a negative one (which no charge is) counts as nothing.
    pub fn add(&self, amount: NanoUsd) {
        self.0.fetch_add(u64::try_from(amount.0).unwrap_or(0), Ordering::Relaxed);
    }

    /// What has been added so far.
    pub fn total(&self) -> NanoUsd {
        NanoUsd(i64::try_from(self.0.load(Ordering::Relaxed)).unwrap_or(i64::MAX))
    }
}

/// A family of such counters.
#[derive(Debug)]
pub struct MoneyFamily {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    series: Mutex<BTreeMap<Vec<Box<str>>, Arc<MoneyCounter>>>,
}

impl MoneyFamily {
    /// A family without series yet.
    pub fn new(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self { name, help, labels, series: Mutex::default() }
    }

    /// The series with these label values, in the order of the labels.
    pub fn with(&self, values: &[&str]) -> Arc<MoneyCounter> {
        let key: Vec<Box<str>> = values.iter().map(|value| Box::from(*value)).collect();
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(series.entry(key).or_default())
    }

    /// Appends the family in Prometheus's text format.
    pub fn render(&self, page: &mut String) {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if series.is_empty() {
            return;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(page, "# HELP {} {}\n# TYPE {} counter", self.name, self.help, self.name);
        for (values, counter) in series.iter() {
            let labels: Vec<String> = self
                .labels
                .iter()
                .zip(values)
                .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
                .collect();
            let _ = writeln!(page, "{}{{{}}} {}", self.name, labels.join(","), counter.total());
        }
    }
}

/// A label's value as the text format wants it.
pub(super) fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_on_the_page() {
        let family = MoneyFamily::new("tollway_cost_usd_total", "Cost.", &["provider"]);
        let counter = family.with(&["a\"b"]);
        (0..3).for_each(|_| counter.add(NanoUsd(100_000_001)));
        let mut page = String::new();
        family.render(&mut page);
        assert!(page.ends_with("tollway_cost_usd_total{provider=\"a\\\"b\"} 0.300000003\n"), "{page}");
    }
}
