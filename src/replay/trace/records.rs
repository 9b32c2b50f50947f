//! Tollway's own access log as a trace: who asked for how much when, and what each route made of it.
//!
//! The log has no text and no blocks, so what prompts had in common is known only where a provider served it from its
//! cache: a request with cached tokens is taken to share that many with the last one of the same key and model. That is
//! less than the truth wherever the prefix was on another route.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::BufRead;
use std::path::Path;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Trace;
use super::build::{Builder, Request};
use super::load::{Error, Fault, Lines, Load, REQUESTS_MAX, tokens};
use super::prefix::{End, Prefixes};
use crate::units::{PicoUsd, Usage};

/// What a log holds: the requests as a trace, and what was seen of each route.
#[derive(Debug, Clone)]
pub struct Records {
    /// The requests that were answered; of others the log does not say how long they were.
    pub trace: Trace,
    /// The moment at which the trace begins.
    pub begins: Timestamp,
    /// Names of the routes that were asked.
    pub routes: Vec<Box<str>>,
    /// Every attempt, by the time at which its request came.
    pub attempts: Vec<Attempt>,
    /// How many requests nobody answered.
    pub unanswered: usize,
}

/// One attempt, as far as the log tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// When its request came, in microseconds from the trace's start.
    pub at_us: u64,
    /// Which route: an index into `Records::routes`.
    pub route: u32,
    /// Who asked: an index into the trace's keys.
    pub key: u32,
    /// How it ended.
    pub ended: Seen,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// With an answer.
    Answered {
        /// Tokens as billed.
        usage: Usage,
        /// From the request to its first token, in seconds; `None`: it was not streamed, or not the first attempt.
        ttft_s: Option<f64>,
        /// From the first token to the last, in seconds; `None`: it was not streamed, or not whole.
        rest_s: Option<f64>,
        /// What it cost, where that is known.
        cost: Option<PicoUsd>,
    },
    /// With a 429.
    Limited,
    /// With an error soon, or none for too long.
    Failed {
        /// Whether there was an error, rather than silence.
        quick: bool,
    },
}

#[derive(Debug, Deserialize)]
struct Line<'l> {
    #[serde(borrow)]
    ts: Cow<'l, str>,
    #[serde(borrow)]
    model: Cow<'l, str>,
    #[serde(default, borrow)]
    team: Cow<'l, str>,
    #[serde(default, borrow)]
    key: Cow<'l, str>,
    #[serde(default, borrow)]
    route: Option<Cow<'l, str>>,
    status: u16,
    #[serde(borrow)]
    outcome: Cow<'l, str>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    cached_tokens: u64,
    #[serde(default)]
    cache_write_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    #[serde(default)]
    reasoning_tokens: u64,
    #[serde(default)]
    ttft_ms: u64,
    total_ms: u64,
    #[serde(default, borrow)]
    cost_usd: Option<&'l RawValue>,
    #[serde(default, borrow)]
    failed: Vec<FailedAttempt<'l>>,
}

#[derive(Debug, Deserialize)]
struct FailedAttempt<'l> {
    #[serde(borrow)]
    route: Cow<'l, str>,
    #[serde(borrow)]
    reason: Cow<'l, str>,
}

/// An attempt whose time is still a moment.
struct Dated {
    came: Timestamp,
    route: u32,
    key: u32,
    ended: Seen,
}

/// A request whose time is still a moment.
struct Asked {
    came: Timestamp,
    request: Request,
    cached_tokens: u32,
}

/// Reads the access log in `path`, plain or gzipped.
pub fn load(path: &Path, options: &Load) -> Result<Records, Error> {
    from_lines(Lines::open(path)?, options)
}

/// Reads the access log in `text`, which messages call `file`.
pub fn read(text: &str, file: &str, options: &Load) -> Result<Records, Error> {
    from_lines(Lines::new(text.as_bytes(), file.to_owned()), options)
}

/// Whether `path` holds an access log, rather than another kind of trace.
pub fn is_log(path: &Path) -> Result<bool, Error> {
    let mut lines = Lines::open(path)?;
    Ok(lines.next()?.is_some_and(|first| first.starts_with('{') && is_record(first)))
}

/// Whether a trace file's first line is one of an access log.
pub(super) fn is_record(first: &str) -> bool {
    #[derive(Deserialize)]
    struct Any {
        #[serde(rename = "ts")]
        _ts: serde::de::IgnoredAny,
        #[serde(rename = "request_id")]
        _request_id: serde::de::IgnoredAny,
    }
    serde_json::from_str::<Any>(first).is_ok()
}

fn from_lines<R: BufRead>(mut lines: Lines<R>, options: &Load) -> Result<Records, Error> {
    let first = lines.next()?.map(str::to_owned);
    let Some(first) = first else { return Err(empty(&lines)) };
    from_first(lines, &first, options)
}

/// Reads the rest of a log whose first line is `first`.
pub(super) fn from_first<R: BufRead>(
    mut lines: Lines<R>,
    first: &str,
    options: &Load,
) -> Result<Records, Error> {
    let mut gathered = Gathered::new();
    if let Err(fault) = gathered.take(first) {
        return Err(lines.fault(fault));
    }
    // A limit cannot end the reading early: lines stand in the order in which requests ended.
    while gathered.asked.len() < REQUESTS_MAX {
        let Some(line) = lines.next()? else { break };
        if let Err(fault) = gathered.take(line) {
            // A gateway that runs may be in the middle of its last line.
            if lines.is_cut() {
                break;
            }
            return Err(lines.fault(fault));
        }
    }
    gathered.finish(options).ok_or_else(|| empty(&lines))
}

fn empty<R: BufRead>(lines: &Lines<R>) -> Error {
    let fix = "an access log with at least one request that was answered".to_owned();
    Error::Empty { file: lines.file().to_owned(), fix }
}

/// The log so far. Lines stand in the order in which requests ended, so times are put right at the end.
struct Gathered {
    builder: Builder,
    asked: Vec<Asked>,
    attempts: Vec<Dated>,
    routes: Vec<Box<str>>,
    unanswered: usize,
}

impl Gathered {
    fn new() -> Self {
        let builder = Builder::new("access-log");
        Self { builder, asked: Vec::new(), attempts: Vec::new(), routes: Vec::new(), unanswered: 0 }
    }

    fn route(&mut self, name: &str) -> u32 {
        let place = self.routes.iter().position(|known| **known == *name).unwrap_or_else(|| {
            self.routes.push(name.into());
            self.routes.len() - 1
        });
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    fn take(&mut self, line: &str) -> Result<(), Fault> {
        let line: Line<'_> = serde_json::from_str(line).map_err(|error| {
            let message: String = error.to_string().chars().filter(|c| !c.is_control()).take(200).collect();
            let fix = "only lines of Tollway's access log (its standard output), one JSON object each";
            Fault::new(format!("this is no line of an access log: {message}"), fix)
        })?;
        let took = jiff::SignedDuration::from_millis(i64::try_from(line.total_ms).unwrap_or(i64::MAX));
        let ts: Option<Timestamp> = line.ts.parse().ok();
        let came = ts.and_then(|ts| ts.checked_sub(took).ok()).ok_or_else(|| {
            Fault::new("`ts` is no moment, or `total_ms` before all calendars", "a line as Tollway wrote it")
        })?;
        let who = if line.key.is_empty() { &line.team } else { &line.key };
        let key = self.builder.key(if who.is_empty() { "default" } else { who });
        for failed in &line.failed {
            let route = self.route(&failed.route);
            let ended = match &*failed.reason {
                "rate" => Seen::Limited,
                "timeout" => Seen::Failed { quick: false },
                "server" | "overload" | "connect" | "malformed" | "broken_stream" => {
                    Seen::Failed { quick: true }
                }
                // The caller's or the operator's fault says nothing about the route.
                _ => continue,
            };
            self.attempts.push(Dated { came, route, key, ended });
        }
        let answered = line.route.as_deref().filter(|_| line.status == 200 && line.prompt_tokens > 0);
        let Some(route) = answered else {
            self.unanswered += 1;
            return Ok(());
        };
        let usage = Usage {
            prompt: line.prompt_tokens,
            cached: line.cached_tokens.min(line.prompt_tokens),
            cache_write: line.cache_write_tokens,
            completion: line.completion_tokens,
            reasoning: line.reasoning_tokens,
        };
        let whole = line.outcome == "ok" && line.stream;
        let seconds = |ms: u64| std::time::Duration::from_millis(ms).as_secs_f64();
        let cost = line.cost_usd.and_then(|cost| PicoUsd::from_usd_text(cost.get()).ok());
        let ended = Seen::Answered {
            usage,
            ttft_s: (line.stream && line.failed.is_empty()).then(|| seconds(line.ttft_ms)),
            rest_s: whole.then(|| seconds(line.total_ms.saturating_sub(line.ttft_ms))),
            cost,
        };
        let route = self.route(route);
        self.attempts.push(Dated { came, route, key, ended });
        let tags =
            if line.team.is_empty() { Vec::new() } else { vec![("team".into(), line.team.as_ref().into())] };
        let request = Request {
            prompt_tokens: tokens(line.prompt_tokens, "prompt_tokens")?,
            output_tokens: tokens(line.completion_tokens, "completion_tokens")?,
            key,
            tags: self.builder.tags(tags),
            model: self.builder.model(&line.model),
            ..Request::default()
        };
        let cached_tokens = tokens(usage.cached, "cached_tokens")?;
        self.asked.push(Asked { came, request, cached_tokens });
        Ok(())
    }

    fn finish(mut self, options: &Load) -> Option<Records> {
        self.asked.sort_by_key(|asked| asked.came);
        self.attempts.sort_by_key(|attempt| attempt.came);
        self.asked.truncate(options.limit.unwrap_or(usize::MAX));
        let (begins, ends) = (self.asked.first()?.came, self.asked.last()?.came);
        let since = |came: Timestamp| u64::try_from(came.duration_since(begins).as_micros()).ok();
        let mut tree = Prefixes::new();
        let mut last: HashMap<(u32, u16), End> = HashMap::new();
        let mut tips = Vec::with_capacity(self.asked.len());
        for Asked { request, cached_tokens, .. } in &self.asked {
            let before = last.get(&(request.key, request.model)).copied();
            let with = before.unwrap_or(Prefixes::ROOT);
            let shared = if before.is_some() { *cached_tokens } else { 0 };
            let end = tree.extend(with, shared, request.prompt_tokens);
            last.insert((request.key, request.model), end);
            tips.push(end);
        }
        for (asked, end) in self.asked.iter().zip(tips) {
            let request = Request { at_us: since(asked.came).unwrap_or(0), ..asked.request };
            self.builder.push(request, |links| {
                tree.links_into(end, 0, links);
            });
        }
        self.builder.blocks(tree.blocks());
        let attempts = self
            .attempts
            .into_iter()
            // Attempts of requests that came before the first answered one, or after the last, have no place in the trace.
            .filter(|attempt| (begins..=ends).contains(&attempt.came))
            .filter_map(|Dated { came, route, key, ended }| {
                Some(Attempt { at_us: since(came)?, route, key, ended })
            })
            .collect();
        let trace = self.builder.finish();
        Some(Records { trace, begins, routes: self.routes, attempts, unanswered: self.unanswered })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"{"ts":"2026-11-24T10:00:05.000Z","request_id":"b","model":"m","endpoint":"chat","policy":"default","team":"red","key":"ann","route":"x/m","checkpoint":"m-1","attempts":2,"status":200,"outcome":"ok","stream":true,"prompt_tokens":900,"cached_tokens":0,"cache_write_tokens":0,"completion_tokens":31,"reasoning_tokens":0,"usage":"reported","cost_usd":0.000220800,"ttft_ms":1000,"total_ms":4000,"overhead_us":5,"failed":[{"route":"y/m","reason":"rate","message":"slow \"down\""}]}
{"ts":"2026-11-24T10:00:06.000Z","request_id":"c","model":"m","endpoint":"chat","policy":"default","team":"red","attempts":1,"status":502,"outcome":"upstream_error","code":"x","total_ms":10,"failed":[{"route":"y/m","reason":"timeout","message":""}]}
{"ts":"2026-11-24T10:00:03.500Z","request_id":"a","model":"m","endpoint":"chat","policy":"default","team":"red","key":"","route":"x/m","checkpoint":"m-1","attempts":1,"status":200,"outcome":"ok","stream":false,"prompt_tokens":100,"cached_tokens":0,"cache_write_tokens":0,"completion_tokens":5,"reasoning_tokens":0,"usage":"reported","ttft_ms":3000,"total_ms":3000,"overhead_us":5}
{"ts":"2026-11-24T10:00:20.000Z","request_id":"d","model":"m","endpoint":"chat","policy":"default","team":"red","key":"ann","route":"x/m","checkpoint":"m-1","attempts":1,"status":200,"outcome":"ok","stream":true,"prompt_tokens":1000,"cached_tokens":832,"cache_write_tokens":0,"completion_tokens":1,"reasoning_tokens":0,"usage":"reported","ttft_ms":500,"total_ms":1000,"overhead_us":5}
"#;

    #[test]
    fn a_log_becomes_a_trace_in_the_order_in_which_requests_came() {
        let records = read(LOG, "log", &Load::default()).unwrap();
        let trace = &records.trace;
        let seen: Vec<(u64, u32, &str)> =
            trace.arrivals.iter().map(|a| (a.at_us, a.prompt_tokens, &*trace.keys[a.key as usize])).collect();
        assert_eq!(seen, [(0, 100, "red"), (500_000, 900, "ann"), (18_500_000, 1000, "ann")]);
        assert_eq!(records.begins.to_string(), "2026-11-24T10:00:00.5Z");
        assert_eq!(super::super::shared_tokens(trace, &trace.arrivals[1], &trace.arrivals[2]), 832);
        assert_eq!(trace.tags[trace.arrivals[0].tags as usize], [("team".into(), "red".into())]);
        assert_eq!((records.unanswered, records.attempts.len()), (1, 5));
    }

    #[test]
    fn the_line_in_the_handbook_is_read() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
        let page = std::fs::read_to_string(page).unwrap();
        let line = page.lines().find(|line| line.starts_with("{\"ts\"")).unwrap();
        let records = read(line, "log", &Load::default()).unwrap();
        assert_eq!((records.trace.arrivals[0].prompt_tokens, &*records.trace.keys[0]), (1200, "default"));
        let Seen::Answered { usage, cost, .. } = &records.attempts[0].ended else { panic!("an answer") };
        assert_eq!((usage.cached, *cost), (800, Some(PicoUsd(220_800_000))));
        assert_eq!(records.begins.to_string(), "2026-11-24T01:43:07.311Z");
    }

    #[test]
    fn attempts_say_what_was_seen_of_each_route() {
        let records = read(LOG, "log", &Load::default()).unwrap();
        let of = |name: &str| {
            let place = records.routes.iter().position(|known| &**known == name).unwrap();
            records
                .attempts
                .iter()
                .filter(move |attempt| attempt.route as usize == place)
                .map(|a| a.ended.clone())
        };
        assert_eq!(of("y/m").collect::<Vec<_>>(), [Seen::Limited, Seen::Failed { quick: false }]);
        let times: Vec<(Option<f64>, Option<f64>)> = of("x/m")
            .map(|ended| match ended {
                Seen::Answered { ttft_s, rest_s, .. } => (ttft_s, rest_s),
                other => panic!("{other:?}"),
            })
            .collect();
        // Not streamed; second attempt, so that its wait is not this route's alone; plain.
        assert_eq!(times, [(None, None), (None, Some(3.0)), (Some(0.5), Some(0.5))]);
    }

    #[test]
    fn a_log_is_known_by_its_lines_and_a_wrong_one_is_named() {
        let trace = super::super::read(LOG, "log.jsonl", &Load::default()).unwrap();
        assert_eq!(trace.arrivals.len(), 3);
        let still_written = read(&format!("{LOG}{{\"ts\":\"2026-"), "log", &Load::default()).unwrap();
        assert_eq!(still_written.trace.arrivals.len(), 3);
        let fault = read(&format!("{LOG}not json\n"), "log", &Load::default()).unwrap_err().to_string();
        assert!(fault.starts_with("log:5: this is no line of an access log"), "{fault}");
        let nobody = LOG.lines().nth(1).unwrap();
        assert!(matches!(read(nobody, "log", &Load::default()), Err(Error::Empty { .. })));
    }
}
