//! Generated traces against the statistics of those that they are fitted to.

use super::*;
use crate::replay::trace::real::real;
use crate::replay::trace::{Statistics, shared_tokens};

/// What the published traces are like, and how many requests they have; measured as `profile` says.
fn targets() -> [(Kind, &'static str, usize, Statistics); 4] {
    let blank = Statistics::default();
    [
        (
            Kind::Chat,
            "azure_conv_2023.csv.gz",
            19_366,
            Statistics {
                rate: 5.53,
                burstiness: 16.1,
                prompt_tokens: 1155.0,
                prompt_tokens_p50: 1020,
                prompt_tokens_p90: 2735,
                output_tokens: 211.0,
                output_tokens_p50: 129,
                output_tokens_p90: 424,
                ..blank
            },
        ),
        (
            Kind::Prefixes,
            "mooncake_conversation.jsonl.gz",
            12_031,
            Statistics {
                rate: 3.4,
                burstiness: 2.9,
                prompt_tokens: 12_035.0,
                prompt_tokens_p50: 6909,
                prompt_tokens_p90: 27_367,
                output_tokens: 342.6,
                output_tokens_p50: 350,
                output_tokens_p90: 597,
                seen_before: 0.374,
                ..blank
            },
        ),
        (
            Kind::Agents,
            "agentic_coding_a.csv.gz",
            10_638,
            Statistics {
                rate: 0.5,
                burstiness: 4.0,
                prompt_tokens: 120_087.0,
                prompt_tokens_p50: 96_275,
                prompt_tokens_p90: 233_602,
                output_tokens: 425.0,
                output_tokens_p50: 207,
                output_tokens_p90: 834,
                seen_before: 0.96,
                requests_per_key: 60.8,
                pause_s_p50: 17.0,
                ..blank
            },
        ),
        (
            Kind::Day,
            "servegen_large_day.csv.gz",
            68_776,
            Statistics {
                rate: 0.8,
                burstiness: 16.0,
                prompt_tokens: 741.0,
                prompt_tokens_p50: 622,
                prompt_tokens_p90: 1438,
                output_tokens: 90.4,
                output_tokens_p50: 31,
                output_tokens_p90: 406,
                requests_per_key: 893.0,
                ..blank
            },
        ),
    ]
}

/// Each number of `seen` that has a target is within a factor of it; burstiness within a larger one, as few hours of
/// chance say little about it.
fn compare(name: &str, seen: &Statistics, wanted: &Statistics, factor: f64) {
    let pairs = [
        ("rate", seen.rate, wanted.rate, factor),
        ("burstiness", seen.burstiness, wanted.burstiness, 2.2),
        ("prompt", seen.prompt_tokens, wanted.prompt_tokens, factor),
        ("prompt p50", f64::from(seen.prompt_tokens_p50), f64::from(wanted.prompt_tokens_p50), factor),
        ("prompt p90", f64::from(seen.prompt_tokens_p90), f64::from(wanted.prompt_tokens_p90), factor),
        ("output", seen.output_tokens, wanted.output_tokens, factor),
        ("output p50", f64::from(seen.output_tokens_p50), f64::from(wanted.output_tokens_p50), factor),
        ("output p90", f64::from(seen.output_tokens_p90), f64::from(wanted.output_tokens_p90), factor),
        ("seen before", seen.seen_before, wanted.seen_before, factor),
        ("requests a key", seen.requests_per_key, wanted.requests_per_key, factor),
        ("pause", seen.pause_s_p50, wanted.pause_s_p50, factor),
    ];
    for (what, seen, wanted, factor) in pairs.into_iter().filter(|(_, _, wanted, _)| *wanted > 0.0) {
        let ratio = seen / wanted;
        assert!((1.0 / factor..=factor).contains(&ratio), "{name}: {what} is {seen}, not about {wanted}");
    }
}

#[test]
fn generated_traces_are_like_the_published_ones() {
    for (kind, _, count, wanted) in targets() {
        for seed in [1, 2] {
            let trace = generate(kind, seed, count);
            assert_eq!(trace.arrivals.len(), count, "{kind:?}");
            // Few sessions of very unequal length: agents differ more from seed to seed.
            let factor = if kind == Kind::Agents { 1.5 } else { 1.2 };
            compare(&format!("{kind:?} {seed}"), &Statistics::of(&trace), &wanted, factor);
        }
    }
}

#[test]
fn the_targets_are_what_the_real_traces_show() {
    for (_, file, count, wanted) in targets() {
        let Some(trace) = real(file, &Load::default()) else { continue };
        assert_eq!(trace.arrivals.len(), count);
        compare(file, &Statistics::of(&trace), &wanted, 1.1);
    }
}

#[test]
fn a_seed_is_a_trace() {
    for kind in Kind::ALL {
        let (one, again, other) = (generate(kind, 5, 400), generate(kind, 5, 400), generate(kind, 6, 400));
        assert_eq!((&one.arrivals, &one.links), (&again.arrivals, &again.links), "{kind:?}");
        assert_ne!(one.arrivals, other.arrivals, "{kind:?}");
        assert!(one.arrivals.is_sorted_by_key(|arrival| arrival.at_us));
        assert!(one.links.iter().all(|link| link.block < one.blocks));
    }
}

#[test]
fn a_day_is_busy_in_the_hours_in_which_it_should_be() {
    let trace = generate(Kind::Day, 3, 30_000);
    let of_hour =
        |hour: u64| trace.arrivals.iter().filter(|arrival| arrival.at_us / 3_600_000_000 == hour).count();
    assert!(of_hour(3) > 2 * of_hour(8), "{} against {}", of_hour(3), of_hour(8));
}

#[test]
fn all_conversations_begin_with_the_same_words() {
    let trace = generate(Kind::Prefixes, 4, 500);
    for pair in trace.arrivals.windows(2) {
        assert!(shared_tokens(&trace, &pair[0], &pair[1]) >= PREFIXES.system_tokens);
    }
}
