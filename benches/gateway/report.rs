//! The table: medians over the rounds, their range, and ratios to nginx.

use std::collections::BTreeMap;
use std::fmt;

/// One turn of one target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// CPU of the target's process per request or chunk, in microseconds; nothing for the direct connection.
    pub(crate) cpu_us: Option<f64>,
    /// What a caller waited for an answer in the mean, in microseconds.
    pub(crate) wait_us: f64,
}

/// What was measured.
#[derive(Debug)]
pub(crate) struct Report {
    quick: bool,
    /// Scenarios and targets in the order of their first sample.
    scenarios: Vec<&'static str>,
    targets: Vec<&'static str>,
    samples: BTreeMap<(&'static str, &'static str), Vec<Sample>>,
    /// Bytes of one idle stream.
    memory: Vec<(&'static str, u64)>,
}

/// What the others are compared with.
const REFERENCE: &str = "nginx";

impl Report {
    /// Nothing yet.
    pub(crate) fn new(quick: bool) -> Self {
        Self {
            quick,
            scenarios: Vec::new(),
            targets: Vec::new(),
            samples: BTreeMap::new(),
            memory: Vec::new(),
        }
    }

    /// Takes one sample.
    pub(crate) fn add(&mut self, scenario: &'static str, target: &'static str, sample: Sample) {
        if !self.scenarios.contains(&scenario) {
            self.scenarios.push(scenario);
        }
        if !self.targets.contains(&target) {
            self.targets.push(target);
        }
        self.samples.entry((scenario, target)).or_default().push(sample);
    }

    /// Takes the memory of one idle stream, in bytes.
    pub(crate) fn memory(&mut self, target: &'static str, bytes: u64) {
        self.memory.push((target, bytes));
    }

    fn cpu(&self, scenario: &'static str, target: &'static str) -> Option<Spread> {
        Spread::of(self.samples.get(&(scenario, target))?.iter().filter_map(|sample| sample.cpu_us))
    }

    fn wait(&self, scenario: &'static str, target: &'static str) -> Option<Spread> {
        Spread::of(self.samples.get(&(scenario, target))?.iter().map(|sample| sample.wait_us))
    }

    fn write_cpu(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "| per | of | CPU µs: median | min to max | to nginx | caller's wait, ms |")?;
        writeln!(out, "| --- | --- | ---: | ---: | ---: | ---: |")?;
        for scenario in &self.scenarios {
            let reference = self.cpu(scenario, REFERENCE);
            for target in &self.targets {
                write!(out, "| {scenario} | {target} ")?;
                match self.cpu(scenario, target) {
                    Some(Spread { median, min, max }) => {
                        write!(out, "| {median:.1} | {min:.1} to {max:.1} | ")?;
                        match reference {
                            Some(reference) => write!(out, "{:.2} ", median / reference.median)?,
                            None => write!(out, "- ")?,
                        }
                    }
                    None => write!(out, "| - | - | - ")?,
                }
                writeln!(
                    out,
                    "| {:.3} |",
                    self.wait(scenario, target).map_or(0.0, |wait| wait.median / 1e3)
                )?;
            }
        }
        Ok(())
    }
}

/// Median and range.
#[derive(Debug, Clone, Copy)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let median = *values.get(values.len() / 2)?;
        Some(Self { median, min: *values.first()?, max: *values.last()? })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.quick {
            writeln!(out, "A quick run: it shows that the benchmark works, and its figures say little.\n")?;
        }
        if !self.scenarios.is_empty() {
            self.write_cpu(out)?;
        }
        if self.memory.is_empty() {
            return Ok(());
        }
        writeln!(out, "\n| memory of an idle stream | KB |\n| --- | ---: |")?;
        for (target, bytes) in &self.memory {
            #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
            let kb = *bytes as f64 / 1024.0;
            writeln!(out, "| {target} | {kb:.1} |")?;
        }
        Ok(())
    }
}
