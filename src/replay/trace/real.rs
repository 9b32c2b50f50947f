//! The loaders on real traces, where a folder of them is named in `TRACES`; without one these tests say so and pass.

#![expect(clippy::cast_precision_loss, reason = "counts and times of traces fit a float's 53 bits")]

use std::path::PathBuf;

use super::{Load, Trace, load, shared_tokens};

/// A real trace, if there is a folder of them.
pub(super) fn real(file: &str, options: &Load) -> Option<Trace> {
    let Some(folder) = std::env::var_os("TRACES") else {
        #[expect(clippy::print_stderr, reason = "who reads the test's output must see what was left out")]
        {
            eprintln!("left out: TRACES names no folder with {file}");
        }
        return None;
    };
    Some(load(&PathBuf::from(folder).join(file), options).unwrap())
}

fn mean(values: impl Iterator<Item = u32>) -> f64 {
    let values: Vec<f64> = values.map(f64::from).collect();
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn azure_chat_is_an_hour_of_five_and_a_half_requests_a_second() {
    let Some(trace) = real("azure_conv_2023.csv.gz", &Load::default()) else { return };
    assert_eq!(trace.arrivals.len(), 19_366);
    assert!((trace.span_us() as f64 / 3.5e9 - 1.0).abs() < 0.05);
    assert!((mean(trace.arrivals.iter().map(|a| a.prompt_tokens)) - 1155.0).abs() < 2.0);
    assert!((mean(trace.arrivals.iter().map(|a| a.output_tokens)) - 211.0).abs() < 2.0);
}

#[test]
fn mooncake_chat_shares_a_third_of_its_prompts_and_comes_evenly() {
    let Some(trace) = real("mooncake_conversation.jsonl.gz", &Load::default()) else { return };
    assert_eq!(trace.arrivals.len(), 12_031);
    assert!((mean(trace.arrivals.iter().map(|a| a.prompt_tokens)) - 12_035.0).abs() < 10.0);
    let mut seen = vec![false; trace.blocks as usize];
    let (mut old, mut all) = (0.0, 0.0);
    for arrival in &trace.arrivals {
        all += f64::from(arrival.prompt_tokens);
        let links = trace.links_of(arrival);
        old += links
            .iter()
            .take_while(|l| seen[l.block as usize])
            .last()
            .map_or(0.0, |l| f64::from(l.tokens_end));
        for link in links {
            seen[link.block as usize] = true;
        }
    }
    assert!((old / all - 0.37).abs() < 0.02, "{}", old / all);
    let most = trace.arrivals.chunk_by(|a, b| a.at_us == b.at_us).map(<[_]>::len).max().unwrap();
    assert_eq!(most, 1, "the source's steps of three seconds are spread");
}

#[test]
fn coding_agents_keep_sessions_and_their_common_prefixes() {
    let Some(trace) = real("agentic_coding_a.csv.gz", &Load::default()) else { return };
    assert_eq!((trace.arrivals.len(), trace.keys.len()), (10_638, 175));
    assert!((mean(trace.arrivals.iter().map(|a| a.prompt_tokens)) - 120_087.0).abs() < 10.0);
    let rate = trace.arrivals.len() as f64 / (trace.span_us() as f64 / 1e6);
    assert!((0.4..0.6).contains(&rate), "{rate}");
    // The longest prefix in common with any earlier call of the session.
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); trace.keys.len()];
    let (mut shared, mut all) = (0.0, 0.0);
    for (at, arrival) in trace.arrivals.iter().enumerate() {
        let earlier = &mut before[arrival.key as usize];
        let most = earlier
            .iter()
            .rev()
            .take(40)
            .map(|other| shared_tokens(&trace, &trace.arrivals[*other], arrival));
        shared += f64::from(most.max().unwrap_or(0));
        all += f64::from(arrival.prompt_tokens);
        earlier.push(at);
    }
    assert!((shared / all - 0.96).abs() < 0.015, "{}", shared / all);
    assert!(trace.links.len() < 1_500_000, "{} links", trace.links.len());
    let part = real("agentic_coding_a.csv.gz", &Load { limit: Some(3000), ..Load::default() }).unwrap();
    assert_eq!(part.arrivals.len(), 3000);
}

#[test]
fn a_day_has_its_clients_and_its_curve() {
    let Some(trace) = real("servegen_large_day.csv.gz", &Load::default()) else { return };
    assert_eq!(trace.arrivals.len(), 68_776);
    assert!(trace.keys.len() > 20);
    let mut hours = [0u32; 24];
    for arrival in &trace.arrivals {
        hours[usize::try_from(arrival.at_us / 3_600_000_000).unwrap().min(23)] += 1;
    }
    assert!(hours.iter().max().unwrap() > &(2 * hours.iter().min().unwrap()), "{hours:?}");
}
