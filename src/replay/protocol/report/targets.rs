//! The targets, and how far from them we are.

use crate::replay::protocol::{Combination, Failure, Findings, Seen};

use super::{mean, percent, points, signed};

/// A row of the table of targets.
pub(super) struct Target {
    pub(super) what: &'static str,
    pub(super) accept: &'static str,
    pub(super) goal: &'static str,
    pub(super) mean: String,
    pub(super) worst: String,
    pub(super) verdict: &'static str,
}

/// Whether what is to be small is small enough.
fn verdict(value: f64, accept: f64, goal: f64) -> &'static str {
    if value <= goal + 1e-9 {
        "goal"
    } else if value <= accept + 1e-9 {
        "accepted"
    } else {
        "**missed**"
    }
}

/// The less favourable of two.
fn both(one: &'static str, other: &'static str) -> &'static str {
    let rank = |word: &str| ["goal", "accepted"].iter().position(|known| *known == word).unwrap_or(2);
    if rank(one) >= rank(other) { one } else { other }
}

fn worst(values: &[f64]) -> f64 {
    values.iter().copied().max_by(f64::total_cmp).unwrap_or(0.0)
}

/// A figure of each combination that has it: the mean, the most, and where that is.
struct Figures<'f> {
    mean: f64,
    most: f64,
    place: Option<&'f Combination>,
}

impl<'f> Figures<'f> {
    fn of(all: impl Iterator<Item = &'f Combination>, figure: impl Fn(&Combination) -> Option<f64>) -> Self {
        let found: Vec<(f64, &Combination)> = all.filter_map(|one| Some((figure(one)?, one))).collect();
        let values: Vec<f64> = found.iter().map(|one| one.0).collect();
        let place = found.iter().max_by(|a, b| a.0.total_cmp(&b.0)).map(|one| one.1);
        Self { mean: mean(&values).unwrap_or(0.0), most: worst(&values), place }
    }

    /// The most, in words, and where.
    fn worst(&self, show: impl Fn(f64) -> String) -> String {
        let at = self.place.map(|one| {
            format!(" ({}, {}, ×{} @ {})", one.trace, one.market, one.rate, percent(one.attainment, 0))
        });
        format!("{}{}", show(self.most), at.unwrap_or_default())
    }
}

/// All rows.
pub(super) fn all(findings: &Findings) -> Vec<Target> {
    let all = &findings.combinations;
    vec![
        regret(all),
        attainment(all),
        worst_minute(all, "worst 60 s against the oracle's, 99 % class", |seen| seen.oracle_worst_minute),
        worst_minute(all, "the same, the oracle attaining just the target", |seen| seen.oracle_worst_just),
        rivals(all),
        errors(all),
        failover(findings, "failover at 3 requests/s: hard down", true, |one| one.seconds),
        failover(findings, "failover at 3 requests/s: ×3 slow", false, |one| one.seconds),
        failover(findings, "the same, longer than a router that is told", false, Failure::longer_than_told),
        overhead(all),
        speed(findings),
    ]
}

fn regret(all: &[Combination]) -> Target {
    let found = Figures::of(all.iter(), |one| Some(one.regret()?.0));
    Target {
        what: "regret at equal attainment, mean / worst combination",
        accept: "≤ 8 % / ≤ 12 %",
        goal: "≤ 5 % / ≤ 8 %",
        mean: signed(found.mean),
        worst: found.worst(signed),
        verdict: both(verdict(found.mean, 0.08, 0.05), verdict(found.most, 0.12, 0.08)),
    }
}

fn attainment(all: &[Combination]) -> Target {
    let reached = all.iter().filter(|one| one.oracle_reaches());
    let short = Figures::of(reached, |one| Some(one.attainment - one.ours().attainment));
    Target {
        what: "attainment − target, where the oracle reaches the target",
        accept: "≥ −0.2 points",
        goal: "≥ 0",
        mean: points(-short.mean),
        worst: short.worst(|share| points(-share)),
        verdict: verdict(short.most, 0.002, 0.0),
    }
}

fn worst_minute(all: &[Combination], what: &'static str, oracle: fn(&Seen) -> f64) -> Target {
    let strict = all.iter().filter(|one| one.attainment >= 0.985);
    let short = Figures::of(strict, |one| Some(one.mean_of(|seen| oracle(seen) - seen.ours.worst_minute)));
    Target {
        what,
        accept: "≥ −3 points",
        goal: "≥ −1 point",
        mean: points(-short.mean),
        worst: short.worst(|share| points(-share)),
        verdict: verdict(short.most, 0.03, 0.01),
    }
}

fn rivals(all: &[Combination]) -> Target {
    let found =
        Figures::of(all.iter(), |one| Some(one.ours().spend_usd / one.best_rival()?.mean.spend_usd - 1.0));
    Target {
        what: "against the cheapest baseline that attains as much or more",
        accept: "never dearer",
        goal: "≥ 25 % cheaper",
        mean: signed(found.mean),
        worst: found.worst(signed),
        verdict: verdict(found.most, 0.0, -0.25),
    }
}

fn errors(all: &[Combination]) -> Target {
    let sums: Vec<f64> = all.iter().map(|one| one.seeds.iter().map(|seen| seen.ours.errors).sum()).collect();
    let sum: f64 = sums.iter().sum();
    Target {
        what: "errors that callers see",
        accept: "0",
        goal: "0",
        mean: format!("{sum:.0} in all"),
        worst: format!("{:.0}", worst(&sums)),
        verdict: verdict(sum, 0.0, 0.0),
    }
}

fn failover(
    findings: &Findings,
    what: &'static str,
    down: bool,
    seconds: fn(&Failure) -> Option<f64>,
) -> Target {
    let times: Vec<f64> =
        findings.failures.iter().filter(|one| one.down == down).filter_map(seconds).collect();
    let most = worst(&times);
    let (accept, goal, limits) =
        if down { ("≤ 10 s", "≤ 5 s", (10.0, 5.0)) } else { ("≤ 30 s", "≤ 15 s", (30.0, 15.0)) };
    let verdict = if times.is_empty() { "not measured" } else { verdict(most, limits.0, limits.1) };
    Target {
        what,
        accept,
        goal,
        mean: mean(&times).map_or("–".to_owned(), |time| format!("{time:.1} s")),
        worst: if times.is_empty() { "–".to_owned() } else { format!("{most:.1} s") },
        verdict,
    }
}

fn overhead(all: &[Combination]) -> Target {
    let found = Figures::of(all.iter(), |one| Some(one.ours().overhead));
    Target {
        what: "second attempts and probes, share of spend",
        accept: "≤ 10 %",
        goal: "≤ 5 %",
        mean: percent(found.mean, 1),
        worst: found.worst(|share| percent(share, 1)),
        verdict: verdict(found.most, 0.10, 0.05),
    }
}

fn speed(findings: &Findings) -> Target {
    let (requests, took) = findings.replayed;
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    let rate = requests as f64 / took.as_secs_f64().max(1e-9);
    Target {
        what: "replay speed, one core",
        accept: "≥ 20,000 requests/s",
        goal: "≥ 100,000",
        mean: format!("{rate:.0} requests/s"),
        worst: "–".to_owned(),
        verdict: verdict(-rate, -20_000.0, -100_000.0),
    }
}
