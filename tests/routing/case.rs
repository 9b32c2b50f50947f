//! A case as it stands in a file, and its way through `decide`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::Deserialize;
use tollway::pricing::{Book, PriceCard, PriceEntry, Rates, Version};
use tollway::routing::learn::prefix::Held;
use tollway::routing::learn::queue_price::Behind;
use tollway::routing::{
    Capabilities, Constraints, Endpoint, Explanation, Fallback, Glob, Hedging, Learned, Matcher, Mode, Model,
    Needs, Objective, Policy, Quantile, RequestFacts, Retention, Route, RouteId, RouteOutlook, Slo, Wants,
};
use tollway::units::{NanoUsd, Now, PicoUsd, TokenPrice};

use super::seen::{MONO, SeenCase};
use super::written;

/// One case.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// Its heading on the page that teaches by it.
    #[serde(default, rename = "title")]
    _title: Option<String>,
    /// What the case is about; for its reader.
    #[serde(rename = "about")]
    _about: String,
    at: String,
    routes: Vec<RouteCase>,
    /// A policy in few words, or
    #[serde(default)]
    policy: PolicyCase,
    /// policies as an operator writes them.
    policies: Option<String>,
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
    /// It has many hosts behind it and honours wishes itself.
    #[serde(default)]
    passes_wishes_on: bool,
}

/// One of several models that the caller names, and the routes that serve it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelCase {
    name: String,
    routes: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct PolicyCase {
    routes: Vec<String>,
    objective: Option<String>,
    in_order: bool,
    allow_unpriced: bool,
    ttft_ms: Option<u64>,
    hedge: bool,
    input_max: Option<String>,
    output_max: Option<String>,
    regions: Vec<String>,
    retention_max: Option<String>,
    quantizations: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "what may be written in a case")]
struct RequestCase {
    model: Option<String>,
    endpoint: Option<String>,
    prompt_tokens: u64,
    max_tokens: Option<u64>,
    needs: Vec<String>,
    allowed: Vec<String>,
    only: Vec<String>,
    ignore: Vec<String>,
    order: Vec<String>,
    sort: Option<String>,
    input_max: Option<String>,
    output_max: Option<String>,
    fee_max: Option<String>,
    foreign: Vec<String>,
    no_fallbacks: bool,
    zdr: bool,
    quantizations: Vec<String>,
    unheeded: BTreeMap<String, String>,
    seconds_max: Option<f32>,
    rate_min: Option<f32>,
    models: Vec<ModelCase>,
    across_models: bool,
    session: Option<String>,
    tried: Vec<String>,
    tags: BTreeMap<String, String>,
    team: String,
    /// What is learnt of such requests.
    lateness_usd: Option<f64>,
    mean_cost_usd: f64,
    out_of_reach: bool,
    session_rest: f32,
    queue_usd_per_s: f64,
    may_hedge: bool,
}

impl Default for RequestCase {
    fn default() -> Self {
        Self {
            model: None,
            endpoint: None,
            prompt_tokens: 1_000,
            max_tokens: None,
            needs: Vec::new(),
            allowed: Vec::new(),
            only: Vec::new(),
            ignore: Vec::new(),
            order: Vec::new(),
            sort: None,
            input_max: None,
            output_max: None,
            fee_max: None,
            foreign: Vec::new(),
            no_fallbacks: false,
            zdr: false,
            quantizations: Vec::new(),
            unheeded: BTreeMap::new(),
            seconds_max: None,
            rate_min: None,
            models: Vec::new(),
            across_models: false,
            session: None,
            tried: Vec::new(),
            tags: BTreeMap::new(),
            team: "default".to_owned(),
            lateness_usd: None,
            mean_cost_usd: 0.0,
            out_of_reach: false,
            session_rest: 0.0,
            queue_usd_per_s: 0.0,
            may_hedge: true,
        }
    }
}

impl Case {
    /// The decision in words.
    #[expect(clippy::too_many_lines, reason = "one field of a case after the other")]
    pub(crate) fn decide(&self) -> String {
        let routes: Vec<Route> = self.routes.iter().map(RouteCase::route).collect();
        let eligible: Vec<RouteId> = (0..).take(routes.len()).map(RouteId).collect();
        let request = &self.request;
        let (only, ignore, order) = (refs(&request.only), refs(&request.ignore), refs(&request.order));
        let (foreign, quantizations) = (refs(&request.foreign), refs(&request.quantizations));
        let place =
            |name: &str| routes.iter().position(|route| *route.name == *name).expect("one of the routes");
        let tried: Vec<RouteId> =
            request.tried.iter().map(|name| RouteId(u16::try_from(place(name)).unwrap())).collect();
        let policies = match &self.policies {
            Some(text) => written::policies(text),
            None => vec![self.policy.policy()],
        };
        let allowed = globs(&request.allowed);
        let tags: Vec<(&str, &str)> = request.tags.iter().map(|(name, value)| (&**name, &**value)).collect();
        let unknown = self.seen.keys().find(|name| routes.iter().all(|route| *route.name != ***name));
        assert!(unknown.is_none(), "`seen` has {unknown:?}, which is none of the routes");
        let seen_of = |route: &Route| self.seen.get(&*route.name);
        let held: Vec<Held> =
            routes.iter().map(|r| seen_of(r).map_or(Held::default(), SeenCase::held)).collect();
        let seen: Vec<RouteOutlook> = routes
            .iter()
            .map(|r| {
                seen_of(r).map_or_else(RouteOutlook::default, |seen| seen.outlook(request.prompt_tokens))
            })
            .collect();
        let unheeded: Vec<Option<Arc<str>>> =
            routes.iter().map(|route| Some(request.unheeded.get(&*route.name)?.as_str().into())).collect();
        let median = |value: Option<f32>| -> Vec<Quantile> {
            value.map(|value| Quantile { share: 0.5, value }).into_iter().collect()
        };
        let (latency_max, throughput_min) = (median(request.seconds_max), median(request.rate_min));
        let models: Vec<Model<'_>> = request
            .models
            .iter()
            .map(|model| {
                let facts = RequestFacts { model: &model.name, ..RequestFacts::default() };
                let at = tollway::routing::select(&policies, &facts).expect("a policy matches");
                Model { name: &model.name, policy: &policies[at] }
            })
            .collect();
        let model_of: Vec<u8> = routes
            .iter()
            .filter_map(|route| {
                let serves = |model: &ModelCase| model.routes.iter().any(|name| **name == *route.name);
                request.models.iter().position(serves)
            })
            .map(|at| u8::try_from(at).unwrap())
            .collect();
        let facts = RequestFacts {
            model: request.model.as_deref().unwrap_or("some-model"),
            endpoint: request.endpoint.as_deref().map_or(Endpoint::Chat, endpoint),
            eligible: &eligible,
            prompt_tokens: request.prompt_tokens,
            output_tokens_max: request.max_tokens,
            needs: Needs(capabilities(&request.needs)),
            tags: &tags,
            team: &request.team,
            models_allowed: &allowed,
            wants: Wants {
                only: &only,
                ignore: &ignore,
                order: &order,
                objective: request.sort.as_deref().map(objective),
                input_price_max: request.input_max.as_deref().map(price),
                output_price_max: request.output_max.as_deref().map(price),
                fee_max: request.fee_max.as_deref().and_then(NanoUsd::ceiling_from_usd_text),
                foreign: &foreign,
                no_fallbacks: request.no_fallbacks,
                retention_max: request.zdr.then_some(Retention::None),
                quantizations: &quantizations,
                unheeded: &unheeded,
                latency_max: &latency_max,
                throughput_min: &throughput_min,
                models: &models,
                model_of: &model_of,
                across_models: request.across_models,
                session: request
                    .session
                    .as_deref()
                    .map(|name| (place(name), Held { tokens: 800, age_s: 5.0 })),
            },
            tried: &tried,
            held: &held,
            learned: Learned {
                lateness_usd: request.lateness_usd,
                mean_cost_usd: request.mean_cost_usd,
                out_of_reach: request.out_of_reach,
                session_rest: request.session_rest,
                behind: Behind::bearing(0.0, request.queue_usd_per_s, 0.0),
                ..Learned::default()
            },
            may_hedge: request.may_hedge,
            ..RequestFacts::default()
        };
        let now = Now { mono: MONO, wall: self.at.parse().expect("a timestamp") };
        let explanation =
            Explanation::decided(&routes, &policies, &facts, &seen[..], now).expect("a policy matches");
        let mut text = explanation.to_text();
        if let Some(wait) = explanation.wait_s {
            writeln!(text, "\ndecide again in {wait} s").unwrap();
        }
        text
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
            passes_wishes_on: self.passes_wishes_on,
            ..Route::named(&self.name, "", None)
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
            slo: Slo {
                ttft: self.ttft_ms.map(std::time::Duration::from_millis),
                attainment: 0.95,
                ..Slo::default()
            },
            constraints: Constraints {
                input_price_max: self.input_max.as_deref().map(price),
                output_price_max: self.output_max.as_deref().map(price),
                regions: self.regions.iter().map(|one| one.as_str().into()).collect(),
                retention_max: self.retention_max.as_deref().map(retention),
                quantizations: self.quantizations.iter().map(|one| one.as_str().into()).collect(),
            },
            fallback: Fallback::default(),
            hedging: Hedging { on: self.hedge, ..Hedging::default() },
            probe: true,
            mode: Mode::Live,
            stream_upstream: false,
            cache: None,
            allow_unpriced: self.allow_unpriced,
            output_tokens_assumed: 500,
            output_tokens_max: None,
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
    Endpoint::from_name(name).expect("an endpoint")
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
            "rerank" => Capabilities::RERANK,
            other => panic!("{other} is not a capability of these cases"),
        })
    })
}
