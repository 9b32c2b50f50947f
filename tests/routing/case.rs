//! A case as it stands in a file, and its way through `decide`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tollway::pricing::{Book, PriceCard, PriceEntry, Rates, Version};
use tollway::routing::{
    Capabilities, Constraints, Endpoint, Explanation, Glob, Matcher, Needs, Objective, Observation, Observe,
    Policy, RequestFacts, Retention, Route, RouteId, Slo, Wants, decide,
};
use tollway::units::{Mono, Now, PicoUsd, TokenPrice};

/// One case.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// What the case is about; for its reader.
    #[serde(rename = "about")]
    _about: String,
    at: String,
    routes: Vec<RouteCase>,
    #[serde(default)]
    policy: PolicyCase,
    #[serde(default)]
    request: RequestCase,
    #[serde(default)]
    seen: BTreeMap<String, SeenCase>,
}

/// A route: out of the shipped book by its name, or with its own prices.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteCase {
    name: String,
    checkpoint: Option<String>,
    input: Option<String>,
    output: Option<String>,
    context: Option<u64>,
    region: Option<String>,
    retention: Option<String>,
    quantization: Option<String>,
    #[serde(default)]
    without: Vec<String>,
    #[serde(default)]
    pin_only: bool,
    #[serde(default)]
    local: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct PolicyCase {
    routes: Vec<String>,
    objective: Option<String>,
    in_order: bool,
    allow_unpriced: bool,
    ttft_ms: Option<u64>,
    input_max: Option<String>,
    output_max: Option<String>,
    regions: Vec<String>,
    retention_max: Option<String>,
    quantizations: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RequestCase {
    model: Option<String>,
    endpoint: Option<String>,
    prompt_tokens: Option<u64>,
    max_tokens: Option<u64>,
    needs: Vec<String>,
    allowed: Vec<String>,
    only: Vec<String>,
    ignore: Vec<String>,
    order: Vec<String>,
    sort: Option<String>,
    output_max: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct SeenCase {
    ttft_ms: Option<u64>,
    tokens_per_second: Option<f32>,
    error_rate: f32,
    open_s: Option<u64>,
    limited_s: Option<u64>,
    disabled_s: Option<u64>,
}

const MONO: Mono = Mono(1_000_000_000_000);

impl Case {
    /// The decision in words.
    pub(crate) fn decide(&self) -> String {
        let routes: Vec<Route> = self.routes.iter().map(RouteCase::route).collect();
        let eligible: Vec<RouteId> = (0..).take(routes.len()).map(RouteId).collect();
        let policy = self.policy.policy();
        let request = &self.request;
        let (only, ignore, order) = (refs(&request.only), refs(&request.ignore), refs(&request.order));
        let allowed = globs(&request.allowed);
        let facts = RequestFacts {
            model: request.model.as_deref().unwrap_or("some-model"),
            endpoint: request.endpoint.as_deref().map_or(Endpoint::Chat, endpoint),
            eligible: &eligible,
            prompt_tokens: request.prompt_tokens.unwrap_or(1_000),
            output_tokens_max: request.max_tokens,
            needs: Needs(capabilities(&request.needs)),
            models_allowed: &allowed,
            wants: Wants {
                only: &only,
                ignore: &ignore,
                order: &order,
                objective: request.sort.as_deref().map(objective),
                output_price_max: request.output_max.as_deref().map(price),
                ..Wants::default()
            },
            ..RequestFacts::default()
        };
        let now = Now { mono: MONO, wall: self.at.parse().expect("a timestamp") };
        let seen = Seen { routes: &routes, seen: &self.seen };
        let decision = decide(&routes, &policy, &facts, &seen, now);
        let mut text = Explanation::new(&routes, &policy, &decision, &facts, now).to_text();
        if let Some(wait) = decision.wait_min() {
            text.push_str(&format!("\ndecide again in {} s\n", wait.as_secs()));
        }
        text
    }
}

struct Seen<'a> {
    routes: &'a [Route],
    seen: &'a BTreeMap<String, SeenCase>,
}

impl Observe for Seen<'_> {
    fn of(&self, route: RouteId) -> Observation {
        let Some(seen) = self.seen.get(&*self.routes[usize::from(route.0)].name) else {
            return Observation::default();
        };
        let until = |seconds: Option<u64>| seconds.map(|seconds| MONO.plus(Duration::from_secs(seconds)));
        Observation {
            ttft: seen.ttft_ms.map(Duration::from_millis),
            tokens_per_second: seen.tokens_per_second,
            error_rate: seen.error_rate,
            open_until: until(seen.open_s),
            limited_until: until(seen.limited_s),
            disabled_until: until(seen.disabled_s),
        }
    }
}

impl RouteCase {
    fn route(&self) -> Route {
        let (provider, model) = self.name.split_once('/').expect("a route is named provider/model");
        let row = Book::shipped().find(provider, model);
        let own = self.input.as_deref().map(|input| {
            let output = self.output.as_deref().expect("a price has both sides");
            card(price(input), price(output))
        });
        let shipped = || row.map(|row| row.card.clone());
        Route {
            provider: provider.into(),
            upstream_model: model.into(),
            name: self.name.as_str().into(),
            checkpoint: match (&self.checkpoint, row) {
                (Some(checkpoint), _) => checkpoint.as_str().into(),
                (None, Some(row)) => Arc::clone(&row.checkpoint),
                (None, None) => "some-checkpoint".into(),
            },
            context_tokens: self.context.or_else(|| row.and_then(|row| row.context_tokens)),
            region: self.region.as_deref().map(Arc::from),
            retention: self.retention.as_deref().map_or(Retention::Unknown, retention),
            quantization: self.quantization.as_deref().map(Arc::from),
            capabilities: Capabilities::ALL.without(capabilities(&self.without)),
            price: own.or_else(shipped),
            local: self.local,
            pin_only: self.pin_only,
        }
    }
}

impl PolicyCase {
    fn policy(&self) -> Policy {
        Policy {
            name: "case".into(),
            matcher: Matcher::default(),
            routes: globs(&self.routes),
            objective: self.objective.as_deref().map_or(Objective::Cost, objective),
            in_order: self.in_order,
            slo: Slo { ttft: self.ttft_ms.map(Duration::from_millis), ..Slo::default() },
            constraints: Constraints {
                input_price_max: self.input_max.as_deref().map(price),
                output_price_max: self.output_max.as_deref().map(price),
                regions: self.regions.iter().map(|one| one.as_str().into()).collect(),
                retention_max: self.retention_max.as_deref().map(retention),
                quantizations: self.quantizations.iter().map(|one| one.as_str().into()).collect(),
            },
            fallback: tollway::routing::Fallback::default(),
            allow_unpriced: self.allow_unpriced,
            output_tokens_assumed: 500,
            price_age_max: None,
        }
    }
}

/// A card with two prices and nothing else.
pub(crate) fn card(input: TokenPrice, output: TokenPrice) -> PriceCard {
    let entry =
        PriceEntry { source: "case".into(), as_of: "2026-11-24".into(), confidence: "operator".into() };
    let base = Rates { input, cached_input: None, cache_write: None, output, request: PicoUsd::ZERO };
    PriceCard::new(Version::always(entry, base), 0)
}

fn price(text: &str) -> TokenPrice {
    TokenPrice::from_usd_per_mtok(text).unwrap()
}

fn refs(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

fn globs(list: &[String]) -> Vec<Glob> {
    list.iter().map(|one| Glob(one.as_str().into())).collect()
}

fn objective(name: &str) -> Objective {
    [Objective::Cost, Objective::Latency, Objective::Throughput, Objective::Balanced]
        .into_iter()
        .find(|one| one.name() == name)
        .expect("an objective")
}

fn endpoint(name: &str) -> Endpoint {
    [Endpoint::Chat, Endpoint::Completions, Endpoint::Embeddings]
        .into_iter()
        .find(|one| one.name() == name)
        .expect("an endpoint")
}

fn retention(name: &str) -> Retention {
    match name {
        "none" => Retention::None,
        "stored" => Retention::Stored,
        "training" => Retention::Training,
        other => panic!("{other} is not a retention"),
    }
}

fn capabilities(names: &[String]) -> Capabilities {
    names.iter().fold(Capabilities::default(), |all, name| {
        all.with(match name.as_str() {
            "tools" => Capabilities::TOOLS,
            "json_schema" => Capabilities::JSON_SCHEMA,
            "embeddings" => Capabilities::EMBEDDINGS,
            other => panic!("{other} is not a capability of these cases"),
        })
    })
}
