//! Traces as JSON lines, one object a request: `t_ms`, `in`, `out`, and where known `max`, `key`, `tags`, `model`, `blocks`
//! and `ends`. This is our own format, and Mooncake's is a part of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::BufRead;

use serde::Deserialize;

use super::build::{Builder, Request};
use super::load::{Error, Fault, Lines, Load, has_room, micros, tokens};
use super::{Arrival, Link, Trace};

/// Tokens of a prefix block whose end is not stated.
const BLOCK_TOKENS: u32 = 512;
/// Requests of one time are spread over the step to the next one where steps are at least this long.
const COARSE_US: u64 = 1_000_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row<'l> {
    t_ms: f64,
    #[serde(rename = "in")]
    prompt: u64,
    #[serde(rename = "out")]
    output: u64,
    #[serde(default)]
    max: u64,
    #[serde(default, borrow)]
    key: Option<Cow<'l, str>>,
    #[serde(default, borrow)]
    model: Option<Cow<'l, str>>,
    #[serde(default)]
    tags: BTreeMap<Box<str>, Box<str>>,
    #[serde(default)]
    blocks: Vec<u64>,
    #[serde(default)]
    ends: Vec<u32>,
}

/// Reads the rest of a file whose first line is `first`.
pub(super) fn read<R: BufRead>(
    lines: &mut Lines<R>,
    first: &str,
    options: &Load,
    builder: &mut Builder,
) -> Result<(), Error> {
    if let Err(fault) = row(first, builder) {
        return Err(lines.fault(fault));
    }
    while has_room(builder, options) {
        let Some(line) = lines.next()? else { break };
        if let Err(fault) = row(line, builder) {
            return Err(lines.fault(fault));
        }
    }
    spread(builder);
    Ok(())
}

fn row(line: &str, builder: &mut Builder) -> Result<(), Fault> {
    let row: Row<'_> = serde_json::from_str(line).map_err(|error| {
        let message: String = error.to_string().chars().filter(|c| !c.is_control()).take(200).collect();
        let fix = "one JSON object a line, such as {\"t_ms\": 0, \"in\": 6758, \"out\": 500}; `max`, `key`, `tags`, \
                   `model`, `blocks` and `ends` may be there, too";
        Fault::new(format!("this is not a request: {message}"), fix)
    })?;
    let prompt_tokens = tokens(row.prompt, "in")?;
    if !row.ends.is_empty() && row.ends.len() != row.blocks.len() {
        let what = format!("{} `ends` for {} `blocks`", row.ends.len(), row.blocks.len());
        return Err(Fault::new(what, "one end for each block, or none for blocks of 512 tokens"));
    }
    if !row.ends.is_sorted_by(|a, b| a < b) || row.ends.first() == Some(&0) {
        return Err(Fault::new("`ends` must rise", "the prompt's length in tokens at each block's end"));
    }
    let tags = row.tags.into_iter().collect();
    let request = Request {
        at_us: micros(row.t_ms, "t_ms")?,
        prompt_tokens,
        output_tokens: tokens(row.output, "out")?,
        output_tokens_max: tokens(row.max, "max")?,
        key: builder.key(row.key.as_deref().unwrap_or("default")),
        model: builder.model(row.model.as_deref().unwrap_or("default")),
        tags: builder.tags(tags),
    };
    let mut links = Vec::with_capacity(row.blocks.len());
    let mut end = 0_u32;
    for (at, id) in row.blocks.iter().enumerate() {
        let before = end;
        end = row.ends.get(at).copied().unwrap_or(before.saturating_add(BLOCK_TOKENS)).min(prompt_tokens);
        // A block that begins where the prompt has ended holds nothing of it.
        if end > before {
            links.push(Link { block: builder.block(*id), tokens_end: end });
        }
    }
    builder.push(request, |all| all.append(&mut links));
    Ok(())
}

/// Spreads requests of one time evenly up to the next, where the source's clock is so coarse that requests commonly share
/// their time with another; a fine clock's coincidences are left alone.
fn spread(builder: &mut Builder) {
    let mut times: Vec<&mut u64> = builder.times().collect();
    times.sort_by_key(|time| **time);
    let together = times.windows(2).filter(|pair| matches!(pair, [a, b] if a == b)).count();
    let steps = times.windows(2).filter_map(|pair| match pair {
        [a, b] if a != b => Some(**b - **a),
        _ => None,
    });
    let Some(step) = steps.min().filter(|step| *step >= COARSE_US && together * 3 >= times.len()) else {
        return;
    };
    for group in times.chunk_by_mut(|a, b| a == b) {
        let count = group.len() as u64;
        for (at, time) in group.iter_mut().enumerate() {
            // The step itself, not the gap to the next request: a quiet minute is quiet.
            **time += step * at as u64 / count;
        }
    }
}

/// One request of `trace` as a line of this format, without its end.
pub fn line(trace: &Trace, arrival: &Arrival) -> String {
    let name = |names: &[Box<str>], at: usize| names.get(at).cloned().unwrap_or_default();
    let links = trace.links_of(arrival);
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a trace fit a float's 53 bits")]
    let mut object = serde_json::json!({
        "t_ms": arrival.at_us as f64 / 1000.0,
        "in": arrival.prompt_tokens,
        "out": arrival.output_tokens,
        "key": name(&trace.keys, arrival.key as usize),
        "model": name(&trace.models, usize::from(arrival.model)),
    });
    if arrival.output_tokens_max > 0 {
        object["max"] = arrival.output_tokens_max.into();
    }
    let tags = trace.tags.get(arrival.tags as usize).map(Vec::as_slice).unwrap_or_default();
    if !tags.is_empty() {
        let tags: BTreeMap<&str, &str> = tags.iter().map(|(name, value)| (&**name, &**value)).collect();
        object["tags"] = serde_json::json!(tags);
    }
    if !links.is_empty() {
        object["blocks"] = links.iter().map(|link| link.block).collect::<Vec<_>>().into();
        object["ends"] = links.iter().map(|link| link.tokens_end).collect::<Vec<_>>().into();
    }
    object.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::trace::{read, shared_tokens};

    const COARSE: &str = r#"{"t_ms":0,"in":1300,"out":5,"blocks":[7,8,9]}
{"t_ms":0,"in":1600,"out":5,"blocks":[7,8,10,11]}
{"t_ms":0,"in":600,"out":5,"blocks":[7,8]}
{"t_ms":9000,"in":10,"out":5,"blocks":[12]}
{"t_ms":9000,"in":10,"out":5,"blocks":[13]}
{"t_ms":12000,"in":10,"out":0}
"#;

    fn load(text: &str) -> Trace {
        read(text, "x.jsonl", &Load::default()).unwrap()
    }

    #[test]
    fn blocks_are_dense_and_end_with_the_prompt() {
        let trace = load(COARSE);
        let links: Vec<Vec<(u32, u32)>> = trace
            .arrivals
            .iter()
            .map(|a| trace.links_of(a).iter().map(|l| (l.block, l.tokens_end)).collect())
            .collect();
        assert_eq!(links[0], [(0, 512), (1, 1024), (2, 1300)]);
        assert_eq!(links[1], [(0, 512), (1, 1024), (3, 1536), (4, 1600)]);
        assert_eq!(links[2], [(0, 512), (1, 600)]);
        assert_eq!((trace.blocks, links[5].len(), trace.arrivals[5].output_tokens), (7, 0, 1));
        assert_eq!(shared_tokens(&trace, &trace.arrivals[0], &trace.arrivals[1]), 1024);
    }

    #[test]
    fn a_coarse_clock_is_spread_by_its_own_step_and_a_fine_one_left_alone() {
        let times = |text| load(text).arrivals.iter().map(|a| a.at_us / 1000).collect::<Vec<_>>();
        assert_eq!(times(COARSE), [0, 1000, 2000, 9000, 10_500, 12_000]);
        let fine = "{\"t_ms\":0,\"in\":1,\"out\":1}\n{\"t_ms\":0,\"in\":1,\"out\":1}\n{\"t_ms\":3,\"in\":1,\"out\":1}\n";
        assert_eq!(times(fine), [0, 0, 3]);
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let text = r#"{"t_ms":0.5,"in":100,"out":5,"max":64,"key":"k\u00e9y","model":"m","tags":{"app":"x","env":"y"},"blocks":[3,4],"ends":[60,100]}
{"t_ms":7,"in":80,"out":6,"key":"b","model":"m","blocks":[3],"ends":[60]}"#;
        let trace = load(text);
        assert_eq!(
            (&*trace.keys[0], trace.tags[1].len(), trace.arrivals[0].output_tokens_max),
            ("kéy", 2, 64)
        );
        let again: Vec<String> = trace.arrivals.iter().map(|a| line(&trace, a)).collect();
        let read_back = load(&again.join("\n"));
        assert_eq!((&read_back.arrivals, &read_back.links), (&trace.arrivals, &trace.links));
        assert_eq!(
            (&read_back.keys, &read_back.tags, &read_back.models),
            (&trace.keys, &trace.tags, &trace.models)
        );
    }

    #[test]
    fn a_wrong_line_is_named() {
        let fault = |text: &str| read(text, "x.jsonl", &Load::default()).unwrap_err().to_string();
        let good = "{\"t_ms\":0,\"in\":1,\"out\":1}\n";
        for (line, wanted) in [
            ("{\"t_ms\":0,\"in\":1}", "missing field `out`"),
            ("{\"t_ms\":0,\"in\":1,\"out\":1,\"maxx\":1}", "unknown field `maxx`"),
            ("{\"t_ms\":0,\"in\":-1,\"out\":1}", "invalid value"),
            ("{\"t_ms\":0,\"in\":1,\"out\":1,\"blocks\":[1],\"ends\":[1,2]}", "2 `ends` for 1 `blocks`"),
            ("{\"t_ms\":0,\"in\":9,\"out\":1,\"blocks\":[1,2],\"ends\":[4,4]}", "`ends` must rise"),
            ("{\"t_ms\":-5,\"in\":1,\"out\":1}", "`t_ms` must be milliseconds"),
            ("t_ms", "this is not a request"),
        ] {
            let seen = fault(&format!("{good}{line}\n"));
            assert!(seen.starts_with("x.jsonl:2: ") && seen.contains(wanted), "{line}: {seen}");
        }
    }
}
