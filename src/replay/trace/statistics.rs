//! What a trace is like, in a few numbers: rate, burstiness, lengths, and how much of its prompts was seen before.

use std::collections::HashMap;

use super::Trace;

/// A trace in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Statistics {
    /// How many requests.
    pub requests: usize,
    /// Requests a second.
    pub rate: f64,
    /// Variance ÷ mean of the number of requests in a minute: 1 for independent arrivals at a constant rate.
    pub burstiness: f64,
    /// Mean tokens of a prompt.
    pub prompt_tokens: f64,
    /// Tokens of a prompt that half of the prompts do not exceed.
    pub prompt_tokens_p50: u32,
    /// As before, nine in ten.
    pub prompt_tokens_p90: u32,
    /// Mean tokens of an answer.
    pub output_tokens: f64,
    /// Tokens of an answer that half of the answers do not exceed.
    pub output_tokens_p50: u32,
    /// As before, nine in ten.
    pub output_tokens_p90: u32,
    /// Share of prompt tokens that an earlier request had, too, in the same place.
    pub seen_before: f64,
    /// Requests of each who asks, on average.
    pub requests_per_key: f64,
    /// Seconds between two requests of one who asks that half of such pauses do not exceed.
    pub pause_s_p50: f64,
}

impl Statistics {
    /// The numbers of `trace`.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts and microseconds of a trace fit a float's 53 bits"
    )]
    pub fn of(trace: &Trace) -> Self {
        let arrivals = &trace.arrivals;
        let count = arrivals.len().max(1) as f64;
        let prompts: Vec<u32> = arrivals.iter().map(|arrival| arrival.prompt_tokens).collect();
        let outputs: Vec<u32> = arrivals.iter().map(|arrival| arrival.output_tokens).collect();
        let prompt_sum: f64 = prompts.iter().copied().map(f64::from).sum();
        let output_sum: f64 = outputs.iter().copied().map(f64::from).sum();
        let mut seen = vec![false; trace.blocks as usize];
        let mut old = 0.0;
        let mut last: HashMap<u32, u64> = HashMap::new();
        let mut pauses: Vec<u64> = Vec::new();
        for arrival in arrivals {
            let links = trace.links_of(arrival);
            let known = |block: u32| seen.get(block as usize).copied().unwrap_or(false);
            old += links
                .iter()
                .take_while(|link| known(link.block))
                .last()
                .map_or(0.0, |link| f64::from(link.tokens_end));
            for link in links {
                if let Some(block) = seen.get_mut(link.block as usize) {
                    *block = true;
                }
            }
            if let Some(before) = last.insert(arrival.key, arrival.at_us) {
                pauses.push(arrival.at_us - before);
            }
        }
        pauses.sort_unstable();
        Self {
            requests: arrivals.len(),
            rate: count / (trace.span_us().max(1) as f64 / 1e6),
            burstiness: burstiness(trace),
            prompt_tokens: prompt_sum / count,
            prompt_tokens_p50: share_below(&prompts, 50),
            prompt_tokens_p90: share_below(&prompts, 90),
            output_tokens: output_sum / count,
            output_tokens_p50: share_below(&outputs, 50),
            output_tokens_p90: share_below(&outputs, 90),
            seen_before: old / prompt_sum.max(1.0),
            requests_per_key: count / last.len().max(1) as f64,
            pause_s_p50: pauses.get(pauses.len() / 2).map_or(0.0, |pause| *pause as f64 / 1e6),
        }
    }
}

fn share_below(values: &[u32], percent: usize) -> u32 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}

/// Over whole minutes only.
#[expect(clippy::cast_precision_loss, reason = "counts")]
fn burstiness(trace: &Trace) -> f64 {
    let first = trace.arrivals.first().map_or(0, |arrival| arrival.at_us);
    let minutes = usize::try_from(trace.span_us() / 60_000_000).unwrap_or(0);
    let mut counts = vec![0.0_f64; minutes];
    for arrival in &trace.arrivals {
        let minute = usize::try_from((arrival.at_us - first) / 60_000_000).unwrap_or(usize::MAX);
        if let Some(count) = counts.get_mut(minute) {
            *count += 1.0;
        }
    }
    let mean = counts.iter().sum::<f64>() / counts.len().max(1) as f64;
    let variance =
        counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / counts.len().max(1) as f64;
    if mean > 0.0 { variance / mean } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::trace::{Load, read};

    #[test]
    fn a_small_trace_by_hand() {
        let text = r#"{"t_ms":0,"in":100,"out":5,"key":"a","blocks":[1],"ends":[100]}
{"t_ms":10000,"in":300,"out":10,"key":"b","blocks":[1,2],"ends":[100,300]}
{"t_ms":30000,"in":200,"out":30,"key":"a","blocks":[1,3],"ends":[100,200]}
{"t_ms":120000,"in":400,"out":15,"key":"a","blocks":[1,2,4],"ends":[100,300,400]}"#;
        let seen = Statistics::of(&read(text, "x", &Load::default()).unwrap());
        assert_eq!((seen.requests, seen.prompt_tokens, seen.output_tokens), (4, 250.0, 15.0));
        assert_eq!((seen.prompt_tokens_p50, seen.output_tokens_p90), (300, 30));
        assert!((seen.seen_before - 0.5).abs() < 1e-9, "{seen:?}");
        assert!((seen.rate - 4.0 / 120.0).abs() < 1e-9);
        assert!((seen.burstiness - 1.5).abs() < 1e-9, "three, none, and a minute that is not whole");
        assert!((seen.requests_per_key - 2.0).abs() < 1e-9 && (seen.pause_s_p50 - 90.0).abs() < 1e-9);
    }
}
