//! Traces of chance that are like published ones: any length, any seed, no data of anyone's.
//!
//! `profile` is what they are fitted to. Arrivals are a Poisson process whose level wanders; conversations and sessions
//! bring their own pauses.

mod profile;

use super::Trace;
use super::build::{Builder, Request};
use super::draw::Draw;
use super::load::Load;
use super::prefix::{End, Prefixes};
use super::sessions::{Call, Session, lay};
use profile::{AGENTS, CHAT, DAY, PREFIXES, Wander};

/// What a generated trace is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A chat service: 5.5 requests a second, prompts of a thousand tokens, nothing in common.
    Chat,
    /// A chat service whose conversations grow: 3.4 requests a second, prompts of twelve thousand tokens, a third seen before.
    Prefixes,
    /// Coding agents: half a request a second, prompts of a hundred thousand tokens, nearly all seen before.
    Agents,
    /// A day of many clients, with its busy and its quiet hours, whatever the number of requests.
    Day,
}

impl Kind {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Chat, Self::Prefixes, Self::Agents, Self::Day];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Prefixes => "prefixes",
            Self::Agents => "agents",
            Self::Day => "day",
        }
    }
}

/// What draws are for: each purpose has a stream of its own, so that one length more does not move every arrival.
#[derive(Clone, Copy)]
enum Purpose {
    Arrivals = 10,
    Level,
    Lengths,
    Turns,
    Who,
}

fn stream(seed: u64, purpose: Purpose) -> Draw {
    Draw::new(seed, purpose as u64)
}

/// `count` requests like those of `kind`.
pub fn generate(kind: Kind, seed: u64, count: usize) -> Trace {
    let mut builder = Builder::new(&format!("generated-{}-{seed}", kind.name()));
    match kind {
        Kind::Chat => chat(seed, count, &mut builder),
        Kind::Prefixes => prefixes(seed, count, &mut builder),
        Kind::Agents => agents(seed, count, &mut builder),
        Kind::Day => day(seed, count, &mut builder),
    }
    builder.finish()
}

/// Arrivals of a Poisson process whose rate wanders around what `rate_at` says.
struct Arrivals<F> {
    draw: Draw,
    level: Draw,
    wander: Wander,
    rate_at: F,
    now_s: f64,
    /// The level's logarithm, and until when it holds.
    log: f64,
    until_s: f64,
}

/// For how long a level holds, in seconds.
const LEVEL_S: f64 = 5.0;

impl<F: Fn(f64) -> f64> Arrivals<F> {
    fn new(seed: u64, wander: Wander, rate_at: F) -> Self {
        let mut level = stream(seed, Purpose::Level);
        let log = wander.sigma * level.normal();
        let draw = stream(seed, Purpose::Arrivals);
        Self { draw, level, wander, rate_at, now_s: 0.0, log, until_s: LEVEL_S }
    }

    /// When the next one comes, in seconds. A gap that crosses a change of level goes on at the new one.
    fn next_s(&mut self) -> f64 {
        let mut work = -self.draw.uniform().ln();
        loop {
            // The mean of a lognormal level is one.
            let level = (self.log - self.wander.sigma.powi(2) / 2.0).exp();
            let rate = ((self.rate_at)(self.now_s) * level).max(1e-9);
            let room = (self.until_s - self.now_s) * rate;
            if work <= room {
                self.now_s += work / rate;
                return self.now_s;
            }
            work -= room;
            self.now_s = self.until_s;
            self.until_s += LEVEL_S;
            let keep = (-LEVEL_S / self.wander.relaxation_s).exp();
            self.log = self.log * keep + self.wander.sigma * (1.0 - keep * keep).sqrt() * self.level.normal();
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "seconds of a trace, from zero up"
)]
fn micros(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1e6) as u64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a quantile of token counts")]
fn tokens(number: f64) -> u32 {
    number.round().max(1.0) as u32
}

fn chat(seed: u64, count: usize, builder: &mut Builder) {
    let mut arrivals = Arrivals::new(seed, CHAT.wander, |_| CHAT.rate);
    let mut lengths = stream(seed, Purpose::Lengths);
    let (key, model) = (builder.key("default"), builder.model("default"));
    for _ in 0..count {
        let request = Request {
            at_us: micros(arrivals.next_s()),
            prompt_tokens: tokens(CHAT.prompt.draw(&mut lengths)),
            output_tokens: tokens(CHAT.output.draw(&mut lengths)),
            key,
            model,
            ..Request::default()
        };
        builder.push(request, |_| {});
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of requests")]
fn day(seed: u64, count: usize, builder: &mut Builder) {
    let mean = count as f64 / 86_400.0;
    let hour = |now_s: f64| {
        let at = micros(now_s) / 3_600_000_000 % 24;
        usize::try_from(at).ok().and_then(|at| DAY.hours.get(at)).copied().unwrap_or(1.0)
    };
    let mut arrivals = Arrivals::new(seed, DAY.wander, |now_s| mean * hour(now_s));
    let (mut lengths, mut who) = (stream(seed, Purpose::Lengths), stream(seed, Purpose::Who));
    let shares: Vec<f64> = (1..=DAY.clients)
        .scan(0.0, |sum, rank| {
            *sum += (rank as f64).powf(-DAY.falls);
            Some(*sum)
        })
        .collect();
    let all = shares.last().copied().unwrap_or(1.0);
    let model = builder.model("default");
    for _ in 0..count {
        let wanted = who.uniform() * all;
        let client = shares.partition_point(|share| *share < wanted);
        let request = Request {
            at_us: micros(arrivals.next_s()),
            prompt_tokens: tokens(DAY.prompt.draw(&mut lengths)),
            output_tokens: tokens(DAY.output.draw(&mut lengths)),
            key: builder.key(&format!("client-{client}")),
            model,
            ..Request::default()
        };
        builder.push(request, |_| {});
    }
}

/// One turn of a conversation.
struct Turn {
    at_s: f64,
    prompt_tokens: u32,
    end: End,
    who: usize,
}

/// Conversations from well before the first request that counts, so that the trace does not begin with beginnings only.
#[expect(clippy::cast_precision_loss, reason = "a count of requests")]
fn prefixes(seed: u64, count: usize, builder: &mut Builder) {
    const BEFORE_S: f64 = 1800.0;
    let span_s = count as f64 / PREFIXES.rate;
    let rate = PREFIXES.rate * PREFIXES.conversations_per_request;
    let mut arrivals = Arrivals::new(seed, PREFIXES.wander, |_| rate);
    let (mut turns, mut who) = (stream(seed, Purpose::Turns), stream(seed, Purpose::Who));
    let mut tree = Prefixes::new();
    let system = tree.extend(Prefixes::ROOT, 0, PREFIXES.system_tokens);
    let mut all: Vec<Turn> = Vec::new();
    // Until there are enough requests of which no later conversation could come first.
    loop {
        let start_s = arrivals.next_s();
        let enough = || all.iter().filter(|turn| (BEFORE_S..start_s).contains(&turn.at_s)).count() >= count;
        if start_s > BEFORE_S + span_s * 0.8 && enough() {
            break;
        }
        converse(start_s, who.below(PREFIXES.keys), system, &mut tree, &mut turns, &mut all);
    }
    all.retain(|turn| turn.at_s >= BEFORE_S);
    all.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    all.truncate(count);
    let mut lengths = stream(seed, Purpose::Lengths);
    let model = builder.model("default");
    for turn in all {
        let request = Request {
            at_us: micros(turn.at_s - BEFORE_S),
            prompt_tokens: turn.prompt_tokens,
            output_tokens: tokens(PREFIXES.output.draw(&mut lengths)),
            key: builder.key(&format!("caller-{}", turn.who)),
            model,
            ..Request::default()
        };
        builder.push(request, |links| {
            tree.links_into(turn.end, 0, links);
        });
    }
    builder.blocks(tree.blocks());
}

fn converse(
    start_s: f64,
    who: usize,
    system: End,
    tree: &mut Prefixes,
    draw: &mut Draw,
    all: &mut Vec<Turn>,
) {
    let mut at_s = start_s;
    let mut prompt = PREFIXES.first_prompt.draw(draw);
    let mut end = tree.extend(system, PREFIXES.system_tokens, tokens(prompt));
    let mut goes_on = PREFIXES.goes_on.iter();
    let mut chance = 0.0;
    loop {
        all.push(Turn { at_s, prompt_tokens: tokens(prompt), end, who });
        chance = goes_on.next().copied().unwrap_or(chance);
        if draw.uniform() > chance {
            return;
        }
        at_s += PREFIXES.pause_s.draw(draw);
        let kept = prompt * PREFIXES.kept.draw(draw);
        prompt = if draw.uniform() < PREFIXES.shrinks {
            (prompt * (0.5 + draw.uniform() / 2.0)).max(f64::from(PREFIXES.system_tokens) + 1.0)
        } else {
            prompt + PREFIXES.growth.draw(draw)
        };
        end = tree.extend(end, tokens(kept).max(PREFIXES.system_tokens), tokens(prompt));
    }
}

fn agents(seed: u64, count: usize, builder: &mut Builder) {
    let (mut turns, mut lengths) = (stream(seed, Purpose::Turns), stream(seed, Purpose::Lengths));
    let mut sessions = Vec::new();
    let mut calls = 0;
    while calls < count {
        let session = session(sessions.len(), &mut turns, &mut lengths);
        calls += session.calls.len();
        sessions.push(session);
    }
    lay(sessions, &Load { seed, limit: Some(count), span_s: None }, builder);
}

fn session(number: usize, turns: &mut Draw, lengths: &mut Draw) -> Session {
    let mut prompt = AGENTS.first_prompt.draw(turns);
    let mut at_s = 0.0;
    let mut calls: Vec<Call> = Vec::new();
    let mut shared = 0.0;
    let length = tokens(AGENTS.calls.draw(turns)) as usize;
    for place in 0..length {
        calls.push(Call {
            at_us: micros(at_s),
            prompt_tokens: tokens(prompt),
            output_tokens: tokens(AGENTS.output.draw(lengths)),
            with: place.checked_sub(1),
            shared_tokens: tokens(shared),
        });
        at_s += AGENTS.pause_s.draw(turns);
        let grown = prompt + AGENTS.growth.draw(turns);
        if turns.uniform() < AGENTS.anew || grown > AGENTS.prompt_max {
            let anew = AGENTS.anew_prompt.draw(turns);
            shared = anew.min(prompt) * AGENTS.anew_kept;
            prompt = anew;
        } else {
            shared = (prompt - f64::from(AGENTS.lost_tokens)).max(0.0);
            prompt = grown;
        }
    }
    Session { name: format!("session-{number}"), calls, places: std::collections::HashMap::new() }
}

#[cfg(test)]
mod tests;
