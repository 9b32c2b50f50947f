//! Traces as CSV of sessions, such as a coding agent's: each row a call of a session, with how much of its prompt it has in
//! common with an earlier call. When sessions begin is not in the file, so it is drawn.

use std::collections::HashMap;
use std::io::BufRead;

use super::build::{Builder, Request};
use super::draw::Draw;
use super::load::{Error, Fault, Lines, Load, has_room, micros};
use super::prefix::{End, Prefixes};
use super::table::{Header, Row};

/// Longest time between two calls of a session that is kept: someone who comes back the next day would stretch the trace
/// without telling anything, since no cache is warm after an hour.
const PAUSE_US_MAX: u64 = 3_600_000_000;
/// Shortest to which pauses are cut where a session would not fit into the span.
const PAUSE_US_MIN: u64 = 60_000_000;
/// Requests a second where the span is not given.
const RATE: f64 = 0.5;
/// What the draws are for.
const STARTS: u64 = 1;

/// One call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// From the session's start.
    pub(super) at_us: u64,
    pub(super) prompt_tokens: u32,
    pub(super) output_tokens: u32,
    /// The call with which the prompt has its beginning in common, by its place in the session.
    pub(super) with: Option<usize>,
    pub(super) shared_tokens: u32,
}

/// One session's calls in their order.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) name: String,
    pub(super) calls: Vec<Call>,
    /// The places of calls by their numbers.
    pub(super) places: HashMap<u32, usize>,
}

pub(super) fn read<R: BufRead>(
    lines: &mut Lines<R>,
    header: &Header,
    options: &Load,
    builder: &mut Builder,
) -> Result<(), Error> {
    let mut sessions: Vec<Session> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    while let Some(line) = lines.next()? {
        if let Err(fault) = call(&header.row(line), &mut sessions, &mut places) {
            return Err(lines.fault(fault));
        }
    }
    lay(sessions, options, builder);
    Ok(())
}

fn call(
    row: &Row<'_, '_>,
    sessions: &mut Vec<Session>,
    places: &mut HashMap<String, usize>,
) -> Result<(), Fault> {
    let name = row.text("session")?;
    let at = *places.entry(name.to_owned()).or_insert_with(|| {
        sessions.push(Session { name: name.to_owned(), calls: Vec::new(), places: HashMap::new() });
        sessions.len() - 1
    });
    let Some(session) = sessions.get_mut(at) else { return Ok(()) };
    let number = row.tokens("seq")?;
    let with = if row.text("shared_with")? == "-1" {
        None
    } else {
        let other = row.tokens("shared_with")?;
        let known = session.places.get(&other).copied();
        Some(known.ok_or_else(|| {
            let what = format!("`shared_with` is {other}, a call that session `{name}` has not had yet");
            Fault::new(what, "an earlier `seq` of the same session, or -1")
        })?)
    };
    let call = Call {
        at_us: micros(row.number("t_ms")?, "t_ms")?,
        prompt_tokens: row.tokens("in_tokens")?.max(1),
        output_tokens: row.tokens("out_tokens")?,
        with,
        shared_tokens: row.tokens("shared_tokens")?,
    };
    if session.calls.last().is_some_and(|last| last.at_us > call.at_us) {
        return Err(Fault::new(
            format!("session `{name}` goes back in time here"),
            "the calls of a session in order of `t_ms`",
        ));
    }
    if session.places.insert(number, session.calls.len()).is_some() {
        return Err(Fault::new(format!("session `{name}` has call {number} twice"), "each `seq` once"));
    }
    session.calls.push(call);
    Ok(())
}

/// Lays sessions over the span: each begins at a time of chance, such that it ends within. Of one that is longer, the
/// longest pauses are cut, by halves, until it fits.
#[expect(clippy::cast_precision_loss, reason = "counts and seconds, far below 2⁵³")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times are not negative")]
pub(super) fn lay(mut sessions: Vec<Session>, options: &Load, builder: &mut Builder) {
    let mut draw = Draw::new(options.seed, STARTS);
    draw.shuffle(&mut sessions);
    let all: usize = sessions.iter().map(|session| session.calls.len()).sum();
    let count = options.limit.unwrap_or(usize::MAX).min(all);
    let span_us = options.span_s.unwrap_or(count as f64 / RATE) * 1e6;
    let mut blocks = 0u32;
    for session in sessions {
        if !has_room(builder, options) {
            break;
        }
        let room = count - builder.len();
        let calls = session.calls.get(..room.min(session.calls.len())).unwrap_or_default();
        let mut pause_us_max = PAUSE_US_MAX;
        let mut times = squeezed(calls, pause_us_max);
        let length = |times: &[u64]| times.last().copied().unwrap_or(0) as f64;
        while length(&times) > span_us && pause_us_max > PAUSE_US_MIN {
            pause_us_max /= 2;
            times = squeezed(calls, pause_us_max);
        }
        let start_us = ((span_us - length(&times)).max(0.0) * draw.uniform()) as u64;
        let (key, model) = (builder.key(&session.name), builder.model("default"));
        let mut prefixes = Prefixes::new();
        let mut ends: Vec<End> = Vec::with_capacity(calls.len());
        for call in calls {
            let with = call.with.and_then(|place| ends.get(place)).copied();
            let shared = if with.is_some() { call.shared_tokens } else { 0 };
            ends.push(prefixes.extend(with.unwrap_or(Prefixes::ROOT), shared, call.prompt_tokens));
        }
        for ((call, end), at_us) in calls.iter().zip(ends).zip(times) {
            let request = Request {
                at_us: start_us + at_us,
                prompt_tokens: call.prompt_tokens,
                output_tokens: call.output_tokens,
                key,
                model,
                ..Request::default()
            };
            builder.push(request, |links| {
                prefixes.links_into(end, blocks, links);
            });
        }
        blocks = blocks.saturating_add(prefixes.blocks());
    }
    builder.blocks(blocks);
}

/// When calls come, from the first, with pauses no longer than the longest that is kept.
fn squeezed(calls: &[Call], pause_us_max: u64) -> Vec<u64> {
    let mut now = 0;
    let mut before = calls.first().map_or(0, |call| call.at_us);
    let mut times = Vec::with_capacity(calls.len());
    for call in calls {
        now += (call.at_us - before).min(pause_us_max);
        before = call.at_us;
        times.push(now);
    }
    times
}

#[cfg(test)]
mod tests {
    use crate::replay::trace::{Arrival, Load, Trace, read, shared_tokens};

    const SESSIONS: &str =
        "session,seq,subagent,t_ms,in_tokens,out_tokens,shared_with,shared_tokens,api_ms,think_ms
a,0,0,0,1000,10,-1,0,1,0
a,1,0,5000,1500,20,0,960,1,0
b,0,0,0,70,5,-1,0,1,0
a,2,0,90000000,1600,30,1,1472,1,0
a,3,1,90001000,640,40,0,640,1,0
";

    fn load(options: &Load) -> Trace {
        read(SESSIONS, "x.csv", options).unwrap()
    }

    fn of<'t>(trace: &'t Trace, key: &str) -> Vec<&'t Arrival> {
        trace.arrivals.iter().filter(|arrival| &*trace.keys[arrival.key as usize] == key).collect()
    }

    #[test]
    fn sessions_keep_their_order_their_pauses_and_what_they_share() {
        let trace = load(&Load { span_s: Some(10_000.0), ..Load::default() });
        let (a, b) = (of(&trace, "a"), of(&trace, "b"));
        let gaps: Vec<u64> = a.windows(2).map(|pair| pair[1].at_us - pair[0].at_us).collect();
        assert_eq!(gaps, [5_000_000, 3_600_000_000, 1_000_000], "a night is an hour");
        assert_eq!(shared_tokens(&trace, a[0], a[1]), 960);
        assert_eq!(shared_tokens(&trace, a[1], a[2]), 1472);
        assert_eq!(shared_tokens(&trace, a[0], a[2]), 960, "through what lies between");
        assert_eq!(shared_tokens(&trace, a[0], a[3]), 640);
        assert_eq!(shared_tokens(&trace, a[2], a[3]), 640);
        assert_eq!(shared_tokens(&trace, a[0], b[0]), 0);
        for arrival in &trace.arrivals {
            let links = trace.links_of(arrival);
            assert!(links.is_sorted_by_key(|link| link.tokens_end));
            assert_eq!(links.last().unwrap().tokens_end, arrival.prompt_tokens);
            assert!(links.iter().all(|link| link.block < trace.blocks));
        }
        assert!(trace.arrivals.last().unwrap().at_us < 10_000_000_000);
        assert!(trace.arrivals.is_sorted_by_key(|arrival| arrival.at_us));
    }

    #[test]
    fn a_session_longer_than_the_span_loses_its_longest_pauses() {
        let trace = load(&Load { span_s: Some(1000.0), ..Load::default() });
        let gaps: Vec<u64> = of(&trace, "a").windows(2).map(|pair| pair[1].at_us - pair[0].at_us).collect();
        assert_eq!(gaps, [5_000_000, 900_000_000, 1_000_000]);
        assert!(trace.arrivals.last().unwrap().at_us < 1_000_000_000);
    }

    #[test]
    fn the_seed_says_when_sessions_begin() {
        let starts =
            |seed| of(&load(&Load { seed, span_s: Some(10_000.0), ..Load::default() }), "b")[0].at_us;
        assert_eq!(starts(1), starts(1));
        assert_ne!(starts(1), starts(2));
    }

    #[test]
    fn a_limit_takes_whole_sessions_of_chance_and_cuts_the_last() {
        for seed in 0..8 {
            let trace = load(&Load { seed, limit: Some(3), ..Load::default() });
            assert_eq!(trace.arrivals.len(), 3);
            assert!(of(&trace, "a").len() >= 2, "b has only one");
        }
    }

    #[test]
    fn a_call_refers_to_an_earlier_one_of_its_session() {
        let fault = |line: &str| {
            read(&format!("{SESSIONS}{line}\n"), "x.csv", &Load::default()).unwrap_err().to_string()
        };
        let seen = fault("b,1,0,10,80,5,7,64,1,0");
        assert!(
            seen.starts_with("x.csv:7: `shared_with` is 7, a call that session `b` has not had yet"),
            "{seen}"
        );
        assert!(fault("a,4,0,10,80,5,-1,0,1,0").contains("goes back in time"));
        assert!(fault("b,0,0,10,80,5,-1,0,1,0").contains("has call 0 twice"));
    }
}
