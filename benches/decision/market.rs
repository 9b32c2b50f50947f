//! Candidates to decide among: the sellers of the markets in `tests/scenarios`, with minds that have heard a few hundred
//! answers of each.

use std::path::Path;
use std::time::Duration;

use tollway::replay::chance::{Purpose, normal, uniform};
use tollway::replay::scenario::{MarketRoute, Shapes, load};
use tollway::replay::trace::{Kind, generate};
use tollway::routing::learn::first_token::Reading;
use tollway::routing::learn::prefix::{Block, Held};
use tollway::routing::learn::route::{AttemptId, Failing, RouteMind};
use tollway::routing::{Learned, Policy, RequestFacts, Route, RouteId, RouteOutlook, Slo};
use tollway::units::{Mono, Now};

use super::Error;

/// Different requests that take turns.
pub(crate) const REQUESTS: usize = 4_096;
/// Answers that each mind has heard.
const HEARD: u64 = 400;

/// What decisions are made of.
pub(crate) struct Market {
    pub(crate) routes: Vec<Route>,
    pub(crate) minds: Vec<RouteMind>,
    pub(crate) outlooks: Vec<RouteOutlook>,
    pub(crate) policy: Policy,
    pub(crate) now: Now,
    eligible: Vec<RouteId>,
    requests: Vec<Request>,
}

struct Request {
    prompt_tokens: u64,
    output_tokens: u64,
    held: Vec<Held>,
}

impl Market {
    /// A market of `count` sellers; where there are more than the scenarios have, each is there several times.
    pub(crate) fn new(count: usize) -> Result<Self, Error> {
        let mut sellers: Vec<MarketRoute> = Vec::new();
        for file in ["reference.yaml", "market-c.yaml", "market-b.yaml"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios").join(file);
            let scenario = load(&path, &Shapes::fitted()).map_err(|problems| problems.to_string())?;
            sellers.extend(scenario.routes);
        }
        let chosen: Vec<&MarketRoute> = sellers.iter().cycle().take(count).collect();
        let routes: Vec<Route> = chosen
            .iter()
            .enumerate()
            .map(|(at, seller)| {
                let mut route = seller.route.clone();
                route.name = format!("{}-{at}", route.name).into();
                route
            })
            .collect();
        let mut minds: Vec<RouteMind> =
            chosen.iter().enumerate().map(|(at, seller)| taught(at, seller)).collect();
        let end = Mono((HEARD + 1) * 1_000_000_000);
        let outlooks = minds.iter_mut().map(|mind| mind.outlook(end, false)).collect();
        let trace = generate(Kind::Prefixes, 1, REQUESTS);
        let requests = trace.arrivals.iter().enumerate().map(|(at, arrival)| {
            let draw = |route| uniform(7, at as u64, route, Purpose::Baseline);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a prompt")]
            let held = (0..count as u64)
                .map(|route| match draw(route) {
                    share if share < 0.5 => Held::default(),
                    share => Held {
                        tokens: (f64::from(arrival.prompt_tokens) * (share - 0.5) * 2.0) as u32,
                        age_s: (share * 300.0) as f32,
                    },
                })
                .collect();
            Request {
                prompt_tokens: arrival.prompt_tokens.into(),
                output_tokens: arrival.output_tokens.into(),
                held,
            }
        });
        Ok(Self {
            requests: requests.collect(),
            eligible: (0..u16::try_from(count)?).map(RouteId).collect(),
            now: Now { mono: end, wall: "2026-11-16T00:30:00Z".parse()? },
            policy: policy(),
            routes,
            minds,
            outlooks,
        })
    }

    /// One of the requests, and when it comes: prices' windows open and close on the way.
    pub(crate) fn request(&self, at: usize) -> (RequestFacts<'_>, Now) {
        let at = at % self.requests.len();
        let request = &self.requests[at];
        let facts = RequestFacts {
            model: "market-model",
            eligible: &self.eligible,
            prompt_tokens: request.prompt_tokens,
            held: &request.held,
            learned: Learned {
                lateness_usd: Some(0.004),
                mean_cost_usd: 0.001,
                output_tokens: Some(request.output_tokens),
                session_rest: 1.5,
                ..Learned::default()
            },
            may_hedge: true,
            ..RequestFacts::default()
        };
        let passed = jiff::SignedDuration::from_secs(7 * i64::try_from(at).unwrap_or(0));
        (facts, Now { wall: self.now.wall + passed, ..self.now })
    }
}

/// A mind that has heard [`HEARD`] answers of `seller`, a second apart, a few failures among them.
fn taught(at: usize, seller: &MarketRoute) -> RouteMind {
    let mut mind = RouteMind::default();
    let (place, first) = (at as u64, &seller.first_token);
    for call in 0..HEARD {
        let draw = |purpose| uniform(3, call, place, purpose);
        let began = Mono((call + 1) * 1_000_000_000);
        let uncached = 200.0 + 12_000.0 * draw(Purpose::Cache);
        mind.began(began, AttemptId(call), Reading::of(uncached));
        let time_s = first.rtt_s
            + first.base_s * (0.25 * normal(3, call, place, Purpose::Noise)).exp()
            + uncached / first.prefill_tokens_per_s;
        let after = began.plus(Duration::from_secs_f64(time_s.min(10.0)));
        if draw(Purpose::Error) < 0.01 {
            mind.failed(after, AttemptId(call), Failing::Failure, None, false);
        } else {
            mind.answered(after, AttemptId(call), false, true);
            mind.billed(after, AttemptId(call), Held { tokens: 1_000, age_s: 30.0 }, 1_500, 800);
            #[expect(clippy::cast_possible_truncation, reason = "seconds")]
            mind.ended(Some((200, (200.0 / seller.pace.tokens_per_s) as f32)));
        }
    }
    // Some are under way, one of them for longer than is usual.
    for (call, age_s) in [(HEARD, 4), (HEARD + 1, 0), (HEARD + 2, 0)] {
        mind.began(Mono((HEARD + 1 - age_s) * 1_000_000_000), AttemptId(call), Reading::of(1_000.0));
    }
    mind
}

fn policy() -> Policy {
    Policy {
        slo: Slo {
            ttft: Some(Duration::from_secs(2)),
            ttft_per_1k: Duration::from_millis(100),
            tokens_per_second: Some(30.0),
            attainment: 0.99,
        },
        ..Policy::named("bench")
    }
}

/// A chain of `length` blocks of 248 tokens, another for each `seed`.
pub(crate) fn chain(seed: u64, length: u32) -> Vec<Block> {
    let block = |at: u32| {
        let hash = uniform(seed, at.into(), 0, Purpose::Cache).to_bits().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Block { hash, tokens_end: at * 248 }
    };
    (1..=length).map(block).collect()
}
