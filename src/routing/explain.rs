//! A decision in words and figures: one value for `tollway explain`, the admin page and the message of a refusal.
//!
//! Money and prices are decimal text, so that nothing is lost on the way through JSON.

mod figures;
pub mod record;
mod sentence;
pub mod table;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pricing::PriceEntry;
use crate::units::Now;

use super::choose;
use super::decision::{Decision, Degraded};
use super::facts::RequestFacts;
use super::matching::{select, shadows};
use super::outlook::Observe;
use super::policy::{Objective, Policy};
use super::route::{Route, RouteId, Routes};
use record::{Figures, Gist, View};

pub use figures::Usd;
pub use record::{KEPT_WITHIN, Origin, Outcome, Record};

/// Why a request goes where it goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The decision in one line.
    pub sentence: String,
    /// The model as the caller wrote it.
    pub model: String,
    /// The policy that decided.
    pub policy: String,
    /// `cost`, `latency`, `throughput` or `balanced`.
    pub objective: String,
    /// The moment whose prices are in force.
    pub at: String,
    /// Prompt length in tokens, estimated.
    pub prompt_tokens: u64,
    /// Answer length in tokens that the expected cost assumes.
    pub output_tokens_assumed: u64,
    /// The promise about speed, if there is one.
    pub promise: Option<Promise>,
    /// What a second of our own engine's prefill work counts (ν), in USD; `None`: nothing.
    pub queue_usd_per_s: Option<String>,
    /// `no`, or in which way less was possible than the policy wants (`slo`, `limited`, `price`, `residency`, `panic`,
    /// `no_route`).
    pub degraded: String,
    /// Whom to ask first, and who backs it up.
    pub plan: Option<Plan>,
    /// Who would be asked if the first were not there.
    pub runner_up: Option<RunnerUp>,
    /// With nobody to ask: seconds after which to decide again.
    pub wait_s: Option<u64>,
    /// Who is asked, in order.
    pub candidates: Vec<Offer>,
    /// Who is not, and why.
    pub excluded: Vec<LeftOut>,
    /// What policies that only watch would have decided.
    pub shadows: Vec<Shadow>,
}

/// What a policy that only watches would have decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Shadow {
    /// Its name.
    pub policy: String,
    /// Its decision in one line.
    pub sentence: String,
}

/// The promise about speed, as it holds for this request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Promise {
    /// A first token later than this is late, in milliseconds from the request's arrival.
    pub within_ms: u64,
    /// Share of requests that must keep it, 0..1.
    pub attainment: f64,
    /// What one late first token counts (λ), in USD.
    pub lateness_usd: String,
}

/// Whom to ask, after which silence whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// Who is asked first.
    pub first: String,
    /// Who is asked while the first is silent.
    pub second: Option<Second>,
    /// Chance of a first token in time with both, 0..1.
    pub in_time: f64,
    /// What the first is ranked by with the second behind it, in USD; `None`: there is no second.
    #[serde(default)]
    pub score_usd: Option<String>,
}

/// A second route and when it is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Second {
    /// Which.
    pub route: String,
    /// After this much silence, in milliseconds from the request's arrival.
    pub after_ms: u64,
    /// Chance that it comes to that, 0..1.
    pub chance: f64,
}

/// The next best.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunnerUp {
    /// Which.
    pub route: String,
    /// By how much its score is worse than the plan's, in USD; less than 0 where a list or a small share overruled it.
    pub behind_usd: String,
}

/// A route that may serve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Offer {
    /// `provider/upstream-model`.
    pub route: String,
    /// The weights behind it.
    pub checkpoint: String,
    /// Prices in force; `None`: not known, and the policy allows that.
    pub price: Option<PriceInForce>,
    /// What this request is expected to cost there, fee included, in USD.
    pub cost_usd_expected: Option<String>,
    /// Predicted time to first token in milliseconds; `None`: never seen.
    pub ttft_ms_expected: Option<u64>,
    /// Prompt tokens that are expected to be billed as cached.
    pub cached_tokens_expected: u64,
    /// Chance of a first token in time, 0..1; while it was never seen, an assumption.
    pub in_time: f64,
    /// What choosing it is expected to cost the rest of the session, in USD.
    pub session_usd: String,
    /// What else counts, in USD: our own queue, the objective's own terms.
    pub other_usd: String,
    /// What it is ranked by, in USD: expected cost, lateness, session and the rest; smaller is better. `None`: unpriced.
    pub score_usd: Option<String>,
    /// Whether it is new here, or was long unheard, and gets a small share.
    pub new: bool,
    /// Asked only because nothing else is left.
    pub last_resort: bool,
}

/// Prices that hold for this prompt at this moment, in USD per million tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PriceInForce {
    /// Plain prompt tokens.
    pub input: String,
    /// Prompt tokens from the provider's cache.
    pub cached_input: Option<String>,
    /// Answer tokens.
    pub output: String,
    /// Why these and not the base prices (`Mon-Fri 01:00-04:00 UTC`).
    pub because: Option<String>,
    /// The first moment at which they hold; `None`: always.
    #[serde(default)]
    pub valid_from: Option<String>,
    /// What the operator pays on top to hold credit there, in parts per million.
    pub fee_ppm: u32,
    /// Where the price was read.
    pub source: String,
    /// When.
    pub as_of: String,
    /// How sure the book is.
    pub confidence: String,
}

/// A route left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// `provider/upstream-model`.
    pub route: String,
    /// A stable name of the reason (`price_over`).
    pub code: String,
    /// The reason in words, with the fix.
    pub why: String,
}

impl Explanation {
    /// Explains `decision`, which was made from these facts at `now`.
    pub fn new(
        routes: &Routes,
        policy: &Policy,
        decision: &Decision,
        facts: &RequestFacts<'_>,
        now: Now,
    ) -> Self {
        let candidates: Vec<Figures> = decision.order.iter().map(Figures::from).collect();
        let gist = Gist::new(policy, decision, facts, now);
        let excluded = &decision.excluded;
        Self::of(routes, policy, &View { gist: &gist, model: facts.model, candidates: &candidates, excluded })
    }

    /// Explains a decision of `policy` from its figures.
    pub fn of(routes: &Routes, policy: &Policy, view: &View<'_>) -> Self {
        let gist = view.gist;
        let name =
            |id: RouteId| route_of(routes, id).map_or_else(String::new, |route| route.name.to_string());
        let offers = view
            .candidates
            .iter()
            .filter_map(|figures| Some(Offer::new(route_of(routes, figures.route)?, figures, gist)));
        let excluded = view.excluded.iter().filter_map(|excluded| {
            Some(LeftOut {
                route: route_of(routes, excluded.route)?.name.to_string(),
                code: excluded.why.code().to_owned(),
                why: excluded.why.to_string(),
            })
        });
        let first = view.candidates.first().filter(|first| !first.last_resort);
        let score = first.map(|first| gist.hedge.map_or(first.score_usd, |hedge| hedge.score_usd));
        let runner_up = score.zip(view.candidates.get(1)).map(|(score, next)| RunnerUp {
            route: name(next.route),
            behind_usd: figures::nanos(next.score_usd - score).to_string(),
        });
        let mut sentence = String::new();
        // Writing to a String cannot fail.
        let _ = sentence::write(&mut sentence, routes, view);
        Self {
            sentence,
            model: view.model.to_owned(),
            policy: policy.name.to_string(),
            objective: gist.objective.name().to_owned(),
            at: jiff::Timestamp::from_second(gist.at.as_second()).unwrap_or(gist.at).to_string(),
            prompt_tokens: gist.prompt_tokens,
            output_tokens_assumed: gist.output_tokens,
            promise: gist.limit.map(|limit| Promise {
                within_ms: whole_ms(limit),
                attainment: share(policy.slo.attainment),
                lateness_usd: figures::nanos(gist.lateness_usd).to_string(),
            }),
            queue_usd_per_s: (gist.queue_usd_per_s > 0.0)
                .then(|| figures::nanos(gist.queue_usd_per_s).to_string()),
            degraded: gist.degraded.code().to_owned(),
            plan: view.candidates.first().map(|first| Plan {
                first: name(first.route),
                second: gist.hedge.map(|hedge| Second {
                    route: name(hedge.route),
                    after_ms: whole_ms(hedge.after),
                    chance: share(hedge.chance),
                }),
                in_time: share(gist.hedge.map_or(first.in_time, |hedge| hedge.in_time)),
                score_usd: gist.hedge.map(|hedge| figures::nanos(hedge.score_usd).to_string()),
            }),
            runner_up,
            wait_s: gist.wait.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0)),
            candidates: offers.collect(),
            excluded: excluded.collect(),
            shadows: Vec::new(),
        }
    }

    /// Decides and explains a request, by the first of the policies that matches it; `None`: none does. Shadow policies say
    /// their line too.
    pub fn decided(
        routes: &Routes,
        policies: &[Policy],
        facts: &RequestFacts<'_>,
        observe: &(impl Observe + ?Sized),
        now: Now,
    ) -> Option<Self> {
        let explained = |policy: &Policy, facts: &RequestFacts<'_>| {
            let decision = choose::decide(routes, policy, facts, observe, now);
            Self::new(routes, policy, &decision, facts, now)
        };
        let live = explained(policies.get(select(policies, facts)?)?, facts);
        let shadows = shadows(policies, facts).map(|(_, policy)| Shadow {
            policy: policy.name.to_string(),
            sentence: explained(policy, &facts.in_the_shadow()).sentence,
        });
        Some(Self { shadows: shadows.collect(), ..live })
    }
}

impl Degraded {
    /// What is amiss, in words; `None`: nothing.
    pub const fn words(self) -> Option<&'static str> {
        match self {
            Self::No => None,
            Self::Slo => Some("no route is likely to be in time, or the promise has become too dear to keep"),
            Self::Limited => Some("every route that would do is at its limit for the moment"),
            Self::Price => Some("the price ceiling leaves nobody"),
            Self::Residency => {
                Some("region, retention or quantisation leave nobody, and they are never relaxed")
            }
            Self::Panic => Some("nobody is known to work, so the one that returns first is asked"),
            Self::NoRoute => Some("nobody can serve it"),
        }
    }
}

impl Objective {
    /// Its name in a policy.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::Balanced => "balanced",
        }
    }
}

impl Offer {
    fn new(route: &Route, figures: &Figures, gist: &Gist) -> Self {
        Self {
            route: route.name.to_string(),
            checkpoint: route.checkpoint.to_string(),
            price: PriceInForce::at(route, gist.prompt_tokens, gist.at),
            cost_usd_expected: figures.cost.map(|cost| cost.to_string()),
            ttft_ms_expected: figures.ttft_ms.map(u64::from),
            cached_tokens_expected: figures.cached_tokens.into(),
            in_time: share(figures.in_time),
            session_usd: figures::nanos(figures.session_usd.into()).to_string(),
            other_usd: figures::nanos(figures.other_usd.into()).to_string(),
            score_usd: figures.cost.map(|_| figures::nanos(figures.score_usd).to_string()),
            new: figures.ramping,
            last_resort: figures.last_resort,
        }
    }
}

impl PriceInForce {
    /// The prices of `route` for a prompt of this length, if it has any.
    pub fn new(route: &Route, prompt_tokens: u64, now: Now) -> Option<Self> {
        Self::at(route, prompt_tokens, now.wall)
    }

    fn at(route: &Route, prompt_tokens: u64, at: jiff::Timestamp) -> Option<Self> {
        let card = route.price.as_ref()?;
        let (rates, condition) = card.in_force(prompt_tokens, at);
        let valid_from = card.at(at).valid_from;
        let assumed = valid_from.filter(|_| card.is_assumed(at));
        let assumed = assumed.map(|from| format!("assumed: the first known price is from {from}"));
        let because: Vec<String> = condition.map(ToString::to_string).into_iter().chain(assumed).collect();
        let PriceEntry { source, as_of, confidence } = card.entry_in_force(prompt_tokens, at);
        Some(Self {
            input: rates.input.to_string(),
            cached_input: rates.cached_input.map(|price| price.to_string()),
            output: rates.output.to_string(),
            because: (!because.is_empty()).then(|| because.join("; ")),
            valid_from: valid_from.map(|from| from.to_string()),
            fee_ppm: card.fee_ppm,
            source: source.to_string(),
            as_of: as_of.to_string(),
            confidence: confidence.to_string(),
        })
    }
}

/// A chance as it is printed: four decimals.
fn share(chance: f32) -> f64 {
    (f64::from(chance) * 1e4).round() / 1e4
}

fn whole_ms(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn route_of(routes: &Routes, id: RouteId) -> Option<&Route> {
    routes.get(usize::from(id.0))
}
