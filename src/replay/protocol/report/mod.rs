//! The report of a protocol run as a Markdown page: the targets first, then what is behind them.

mod targets;

use std::fmt::Write as _;

use super::failover::Failure;
use super::measure::Measure;
use super::{Combination, Findings, Plan};
use targets::Target;

/// What a page says of how it came to be.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    /// The command.
    pub command: &'a str,
    /// The day.
    pub day: &'a str,
    /// The machine.
    pub machine: &'a str,
}

/// The page.
pub fn page(plan: &Plan, findings: &Findings, made: &Made<'_>) -> String {
    let mut text = String::new();
    head(&mut text, plan, findings, made);
    let _ = writeln!(
        text,
        "## Targets\n\n| | accept | goal | ours, mean | ours, worst | |\n| --- | --- | --- | --- | --- | --- |"
    );
    for Target { what, accept, goal, mean, worst, verdict } in targets::all(findings) {
        let _ = writeln!(text, "| {what} | {accept} | {goal} | {mean} | {worst} | {verdict} |");
    }
    text.push_str(MEANING);
    regrets(&mut text, findings);
    spends(&mut text, findings);
    rivals(&mut text, findings);
    beaten_oracles(&mut text, findings);
    latencies(&mut text, findings);
    failures(&mut text, findings);
    overheads(&mut text, findings);
    text
}

const MEANING: &str = "
**Regret** is spend ÷ the informed oracle's spend at the same attainment − 1, on the lower convex hull of twelve runs of
the oracle with the price of lateness fixed. The oracle is the same plan search, but knows every distribution, drift,
incident, price, limit and cache at each instant, and no single draw. Where we attain more than any of its runs, we are compared with
the one that attains most (†). The **bound** is below what any router could pay, every draw known beforehand; the
gap between the two is mostly luck that nobody can foresee. A mean is over the seeds of a combination; *worst* is the worst
combination's mean.

The oracle's worst minute is its cheapest run's that attains the target; as there are but twelve runs, that one attains more. Where it
attains *just the target*, that run and the next below are mixed, as they are for its spend. A router that is told of a slow-down often
goes on asking who became slow, as the cheapest way to be late: *longer* counts the time from when it no longer does.
";

fn head(text: &mut String, plan: &Plan, findings: &Findings, made: &Made<'_>) {
    let _ = writeln!(
        text,
        "# Routing report\n\nWhat routing costs beside what could be had, on every trace × market × rate × target × seed of the \
         protocol.\nMarkets are simulated ([replay.md](replay.md)); their levels are plausible, not measured.\n"
    );
    let runs: usize = findings.combinations.iter().map(|one| one.seeds.len()).sum();
    let list = |items: Vec<String>| items.join(", ");
    let _ = writeln!(
        text,
        "* command: `{}`\n* made on {} on {}, in {}\n* {runs} runs of ours in {} combinations; traces ({} requests each at most): {}\n* \
         seeds 1 to {}; targets {}; markets: {}",
        made.command,
        made.day,
        made.machine,
        span(findings.took.as_secs_f64()),
        findings.combinations.len(),
        findings.requests,
        list(plan.traces.iter().map(|trace| trace.name.clone()).collect()),
        plan.seeds,
        list(plan.attainments.iter().map(|share| percent(*share, 0)).collect()),
        list(plan.markets.iter().map(|market| market.scenario.name.clone()).collect()),
    );
    let _ = writeln!(
        text,
        "* decision time and allocations: see [benchmarks.md](benchmarks.md) (`make bench`)\n"
    );
}

fn regrets(text: &mut String, findings: &Findings) {
    let mut columns: Vec<(f64, f64)> =
        findings.combinations.iter().map(|one| (one.rate, one.attainment)).collect();
    columns.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    columns.dedup();
    let _ = write!(text, "\n## Regret\n\n| trace | market |");
    for (rate, attainment) in &columns {
        let _ = write!(text, " ×{rate} @ {} |", percent(*attainment, 0));
    }
    let _ = writeln!(text, "\n| --- | --- |{}", " ---: |".repeat(columns.len()));
    for row in rows(findings) {
        let Some(first) = row.first() else { continue };
        let _ = write!(text, "| {} | {} |", first.trace, market(first));
        for column in &columns {
            let found = row.iter().find(|one| (one.rate, one.attainment) == *column);
            let cell = found.and_then(|one| one.regret());
            let _ = match cell {
                Some((share, beyond)) => {
                    write!(text, " {}{} |", signed(share), if beyond { " †" } else { "" })
                }
                None => write!(text, " |"),
            };
        }
        text.push('\n');
    }
}

/// Combinations that differ in rate and target alone.
fn rows(findings: &Findings) -> Vec<Vec<&Combination>> {
    let mut rows: Vec<Vec<&Combination>> = Vec::new();
    for one in &findings.combinations {
        let same = |row: &&mut Vec<&Combination>| {
            row.first().is_some_and(|first| first.trace == one.trace && first.market == one.market)
        };
        match rows.iter_mut().find(same) {
            Some(row) => row.push(one),
            None => rows.push(vec![one]),
        }
    }
    rows
}

fn market(one: &Combination) -> String {
    let mode = if one.hybrid { "hybrid" } else { "API only" };
    format!("{} ({mode}, {})", one.market, if one.incidents { "incidents" } else { "calm" })
}

fn spends(text: &mut String, findings: &Findings) {
    let _ = writeln!(
        text,
        "\n## Spend and attainment\n\nThe oracle's spend is for the target, or for the most that it attains; ours ÷ bound is at our own \
         attainment.\n\n| trace | market | rate | target | USD | attained | oracle's USD | oracle's most | ours ÷ bound | cheapest \
         baseline that attains as much | its USD | we save |\n| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: |"
    );
    for one in &findings.combinations {
        let ours = one.ours();
        let bounds: Vec<f64> = one
            .seeds
            .iter()
            .filter_map(|seen| Some(seen.ours.spend_usd / seen.bound_usd.filter(|usd| *usd > 0.0)?))
            .collect();
        let rival = one.best_rival();
        let _ = writeln!(
            text,
            "| {} | {} | ×{} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            one.trace,
            market(one),
            one.rate,
            percent(one.attainment, 0),
            usd(ours.spend_usd),
            percent(ours.attainment, 2),
            usd(one.mean_of(|seen| seen.oracle_usd)),
            percent(one.mean_of(|seen| seen.oracle_best), 2),
            mean(&bounds).map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
            rival.map_or("none".to_owned(), |rival| name(rival.name, rival.local_most)),
            rival.map_or("–".to_owned(), |rival| usd(rival.mean.spend_usd)),
            rival.map_or("–".to_owned(), |rival| percent(1.0 - ours.spend_usd / rival.mean.spend_usd, 0)),
        );
    }
}

fn name(rule: &str, local_most: Option<u32>) -> String {
    local_most.map_or_else(|| rule.to_owned(), |most| format!("{rule}, local first below {most}"))
}

fn rivals(text: &mut String, findings: &Findings) {
    let _ = writeln!(
        text,
        "\n## Against each baseline\n\nEach with fail-over, and beside a node of our own with the best of the tried limits on requests in \
         flight there.\n\n| baseline | attains as much as we do in | where it does, we save: mean | least | attains less by, mean | its errors a 1,000 \
         requests |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    );
    let names: Vec<&str> = findings
        .combinations
        .first()
        .map_or_else(Vec::new, |one| one.rivals.iter().map(|rival| rival.name).collect());
    for wanted in names {
        let (mut saved, mut less, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for one in &findings.combinations {
            let ours = one.ours();
            let Some(rival) = one.rivals.iter().find(|rival| rival.name == wanted) else { continue };
            errors.push(rival.mean.errors);
            if rival.mean.attainment >= ours.attainment {
                saved.push(1.0 - ours.spend_usd / rival.mean.spend_usd);
            } else {
                less.push(ours.attainment - rival.mean.attainment);
            }
        }
        let least = saved.iter().copied().min_by(f64::total_cmp);
        let share = |value: Option<f64>| value.map_or("–".to_owned(), |value| percent(value, 0));
        #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
        let thousands = findings.requests.max(1) as f64 / 1_000.0;
        let _ = writeln!(
            text,
            "| {wanted} | {} of {} | {} | {} | {} | {:.2} |",
            saved.len(),
            findings.combinations.len(),
            share(mean(&saved)),
            share(least),
            mean(&less).map_or("–".to_owned(), points),
            mean(&errors).unwrap_or(0.0) / thousands,
        );
    }
}

/// Where the yardstick itself is beaten: there a low regret says little.
fn beaten_oracles(text: &mut String, findings: &Findings) {
    let beaten: Vec<String> = findings
        .combinations
        .iter()
        .filter_map(|one| {
            let oracle = one.mean_of(|seen| seen.oracle_usd);
            let enough = one.rivals.iter().filter(|rival| rival.mean.attainment >= one.attainment);
            let rival = enough.min_by(|a, b| a.mean.spend_usd.total_cmp(&b.mean.spend_usd))?;
            let place =
                format!("{} in {} ×{} @ {}", one.trace, one.market, one.rate, percent(one.attainment, 0));
            (rival.mean.spend_usd < oracle).then(|| {
                let name = name(rival.name, rival.local_most);
                format!("* {place}: {name} {}, the oracle {} USD", usd(rival.mean.spend_usd), usd(oracle))
            })
        })
        .collect();
    if !beaten.is_empty() {
        let _ = writeln!(
            text,
            "\nA baseline reaches the target for less than the informed oracle in {} of {} combinations, so that regret understates there \
             what could be had:\n\n{}",
            beaten.len(),
            findings.combinations.len(),
            beaten.join("\n")
        );
    }
}

fn latencies(text: &mut String, findings: &Findings) {
    let _ = writeln!(
        text,
        "\n## First tokens\n\nMeans over rates and seeds. *By size*: attained by the third of requests with the shortest, middling and \
         longest prompts.\n\n| trace | market | target | p50 | p95 | p99 | worst 60 s | oracle's | by size | errors | own node, late |\n\
         | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: |"
    );
    for (row, attainment) in by_target(findings) {
        let Some(first) = row.first() else { continue };
        let ours = mean_of_all(&row);
        let oracle: Vec<f64> = row.iter().map(|one| one.mean_of(|seen| seen.oracle_worst_minute)).collect();
        let [p50, p95, p99] = ours.ttft_s;
        let _ = writeln!(
            text,
            "| {} | {} | {} | {p50:.2} s | {p95:.2} s | {p99:.2} s | {} | {} | {} | {:.1} | {:.1} |",
            first.trace,
            market(first),
            percent(attainment, 0),
            percent(ours.worst_minute, 1),
            percent(mean(&oracle).unwrap_or(1.0), 1),
            ours.by_size.map(|share| percent(share, 1)).join(" · "),
            ours.errors,
            ours.local_late,
        );
    }
}

fn by_target(findings: &Findings) -> Vec<(Vec<&Combination>, f64)> {
    let mut all = Vec::new();
    for row in rows(findings) {
        let mut targets: Vec<f64> = row.iter().map(|one| one.attainment).collect();
        targets.sort_by(f64::total_cmp);
        targets.dedup();
        for target in targets {
            #[expect(clippy::float_cmp, reason = "the very same number")]
            let of: Vec<&Combination> = row.iter().copied().filter(|one| one.attainment == target).collect();
            all.push((of, target));
        }
    }
    all
}

fn mean_of_all(row: &[&Combination]) -> Measure {
    let ours: Vec<Measure> = row.iter().map(|one| one.ours()).collect();
    Measure::mean(&ours)
}

fn failures(text: &mut String, findings: &Findings) {
    let _ = writeln!(
        text,
        "\n## Failing over\n\nThe route that serves most of the trace goes down, or becomes three times as slow, at three requests a \
         second. Time until at most one of twenty first attempts goes there. *Told*: the same, had the router been told as it began.\n\n\
         | trace | target | what fails | s, mean | s, worst | told, mean | told, worst | first attempts exposed, mean | stayed | \
         callers' errors |\n| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    let mut groups: Vec<Vec<&Failure>> = Vec::new();
    for one in &findings.failures {
        let same = |group: &&mut Vec<&Failure>| {
            group.first().is_some_and(|first| {
                #[expect(clippy::float_cmp, reason = "the very same number")]
                let target = first.attainment == one.attainment;
                target && first.trace == one.trace && first.down == one.down
            })
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    for group in groups {
        let Some(first) = group.first() else { continue };
        let seconds: Vec<f64> = group.iter().filter_map(|one| one.seconds).collect();
        #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
        let exposed: Vec<f64> = group.iter().map(|one| one.exposed as f64).collect();
        let told: Vec<f64> = group.iter().filter_map(|one| one.told_seconds).collect();
        let worst = |times: &[f64]| times.iter().copied().max_by(f64::total_cmp);
        let second = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.1}"));
        let mut routes: Vec<&str> = group.iter().map(|one| &*one.route).collect();
        routes.sort_unstable();
        routes.dedup();
        let _ = writeln!(
            text,
            "| {} | {} | {} {} | {} | {} | {} | {} | {:.0} | {} of {} | {} |",
            first.trace,
            percent(first.attainment, 0),
            routes.join(", "),
            if first.down { "down" } else { "×3 slow" },
            second(mean(&seconds)),
            second(worst(&seconds)),
            second(mean(&told)),
            second(worst(&told)),
            mean(&exposed).unwrap_or(0.0),
            group.len() - seconds.len(),
            group.len(),
            group.iter().map(|one| one.errors).sum::<u64>(),
        );
    }
    text.push_str(
        "\n*Stayed*: the route went on being asked more often than that, as is right where it still answers in time or is the cheapest way to \
         be late.\n",
    );
}

fn overheads(text: &mut String, findings: &Findings) {
    let _ = writeln!(
        text,
        "\n## Second attempts and probes\n\n| trace | market | target | attempts a request | second ones a request | attempts without an answer, of spend | \
         probes, of spend |\n| --- | --- | --- | ---: | ---: | ---: | ---: |"
    );
    for (row, attainment) in by_target(findings) {
        let Some(first) = row.first() else { continue };
        let ours = mean_of_all(&row);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.3} | {:.3} | {} | {} |",
            first.trace,
            market(first),
            percent(attainment, 0),
            ours.attempts,
            ours.hedges,
            percent(ours.wasted_usd / ours.spend_usd.max(1e-12), 1),
            percent(ours.probes_usd / ours.spend_usd.max(1e-12), 2),
        );
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a short list")]
    let count = values.len() as f64;
    (count > 0.0).then(|| values.iter().sum::<f64>() / count)
}

/// A share as a percentage.
pub fn percent(share: f64, digits: usize) -> String {
    format!("{:.digits$} %", share * 100.0)
}

fn signed(share: f64) -> String {
    format!("{:+.1} %", share * 100.0)
}

fn points(share: f64) -> String {
    format!("{:.1} points", share * 100.0)
}

/// An amount with the digits that matter.
pub fn usd(amount: f64) -> String {
    match amount.abs() {
        0.0 => "0".to_owned(),
        100.0.. => format!("{amount:.0}"),
        1.0.. => format!("{amount:.2}"),
        _ => format!("{amount:.4}"),
    }
}

/// A span of seconds in words.
pub fn span(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a span of a report")]
    let whole = seconds.max(0.0).round() as u64;
    if whole < 120 { format!("{whole} s") } else { format!("{} min {} s", whole / 60, whole % 60) }
}
