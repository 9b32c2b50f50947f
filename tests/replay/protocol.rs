//! The protocol: deterministic, whatever the number of threads; nobody is lost; others are not cheaper.

use tollway::replay::protocol::traces::{in_folder, promise};
use tollway::replay::protocol::{Findings, Market, Plan, report, run};
use tollway::replay::trace::{Kind, generate};
use tollway::units::SystemClock;

use crate::scenario;

fn plan(kinds: &[Kind], markets: &[&str], requests: usize, threads: usize) -> Plan {
    let market = |name: &&str| Market { scenario: scenario(name), rates: vec![1.0], seeds_max: u64::MAX };
    Plan {
        traces: kinds.iter().map(|kind| generate(*kind, 1, requests)).collect(),
        markets: markets.iter().map(market).collect(),
        attainments: vec![0.95, 0.99],
        seeds: 2,
        failover_in: None,
        threads,
        bound: None,
    }
}

fn found(plan: &Plan) -> Findings {
    run(plan, &SystemClock::new(), &|_, _| {})
}

#[test]
fn what_is_found_depends_on_the_seed_and_not_on_the_threads() {
    let plan_of = |threads| Plan {
        failover_in: Some(scenario("reference-calm")),
        ..plan(&[Kind::Chat], &["reference-hybrid"], 200, threads)
    };
    let (one, three) = (found(&plan_of(1)), found(&plan_of(3)));
    assert_eq!(one.combinations, three.combinations);
    assert_eq!(one.failures, three.failures);
    let combination = &one.combinations[0];
    assert_eq!((one.combinations.len(), combination.seeds.len(), combination.rivals.len()), (2, 2, 8));
    assert_ne!(combination.seeds[0].ours, combination.seeds[1].ours, "another seed is another world");
    assert_eq!(one.failures.len(), 2 * 2 * 2, "two targets, two seeds, down and slow");
}

#[test]
fn no_request_is_lost_while_a_route_works() {
    let kinds = [Kind::Chat, Kind::Prefixes, Kind::Agents];
    let findings = found(&plan(&kinds, &["reference", "market-b-hybrid"], 300, 0));
    assert_eq!(findings.combinations.len(), 12);
    for one in &findings.combinations {
        let errors: f64 = one.seeds.iter().map(|seen| seen.ours.errors).sum();
        assert!(errors < 0.5, "{} in {}: {errors} errors", one.trace, one.market);
        assert!(one.seeds.iter().all(|seen| seen.regret.is_some() && seen.ours.spend_usd > 0.0));
    }
}

#[test]
fn no_baseline_attains_as_much_for_less() {
    let findings = found(&plan(&[Kind::Chat, Kind::Prefixes], &["reference"], 1_500, 0));
    for one in &findings.combinations {
        let ours = one.ours();
        for rival in one.rivals.iter().filter(|rival| rival.mean.attainment >= ours.attainment) {
            let ratio = ours.spend_usd / rival.mean.spend_usd;
            assert!(ratio < 1.1, "{} at {}: {ratio:.2} times {}", one.trace, one.attainment, rival.name);
        }
        let (regret, _) = one.regret().unwrap();
        assert!(regret < 1.0, "{} at {}: regret {regret:.2}", one.trace, one.attainment);
    }
}

#[test]
fn the_report_shows_targets_and_every_combination() {
    let plan = plan(&[Kind::Chat], &["reference", "reference-hybrid-calm"], 120, 0);
    let made = report::Made { command: "tollway replay --protocol", day: "2026-11-25", machine: "two cores" };
    let page = report::page(&plan, &found(&plan), &made);
    for wanted in [
        "| regret at equal attainment, mean / worst combination | ≤ 8 % / ≤ 12 % | ≤ 5 % / ≤ 8 % |",
        "made on 2026-11-25 on two cores",
        "| generated-chat-1 | reference (API only, incidents) | ×1 | 95 % |",
        "| generated-chat-1 | reference-hybrid-calm (hybrid, calm) | ×1 | 99 % |",
        "| LiteLLM latency | ",
        "failover at 3 requests/s: hard down | ≤ 10 s | ≤ 5 s | – | – | not measured |",
    ] {
        assert!(page.contains(wanted), "{wanted}\nnot in\n{page}");
    }
    let mut width = None;
    for line in page.lines() {
        let cells = line.starts_with('|').then(|| line.matches('|').count());
        assert!(cells.is_none() || width.is_none() || cells == width, "a row of another width: {line}");
        width = cells;
    }
}

#[test]
fn a_folder_of_traces_is_looked_through_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = in_folder(folder.path(), 10).unwrap_err().to_string();
    assert!(nothing.contains("azure_conv, mooncake, agentic, servegen"), "{nothing}");
    let csv = "t_ms,in_tokens,out_tokens\n0,100,10\n50,90000,10\n90,100,10\n";
    for name in ["azure_conv_2023.csv", "servegen_day.csv", "other.csv"] {
        std::fs::write(folder.path().join(name), csv).unwrap();
    }
    let traces = in_folder(folder.path(), 2).unwrap();
    let seen: Vec<(&str, usize)> =
        traces.iter().map(|trace| (trace.name.as_str(), trace.arrivals.len())).collect();
    assert_eq!(seen, [("azure_conv_2023", 2), ("servegen_day", 2)]);
    assert!((promise(&traces[0]).ttft_s_per_1k - 0.03).abs() < 1e-9, "45,000 tokens on average");
    assert!((promise(&generate(Kind::Chat, 1, 100)).ttft_s - 1.5).abs() < 1e-9);
}
