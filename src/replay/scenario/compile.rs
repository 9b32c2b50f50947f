//! From what is typed in a scenario file to the market that it means. Pure: every fault is reported at once.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::document::{FirstTokenDocument, LimitsDocument, LocalDocument, RouteDocument, ScenarioDocument};
use super::incident::{Befallen, incident};
use super::{
    Cache, Errors, FirstToken, Incident, Limits, LocalNode, MarketRoute, Pace, Scenario, Shapes, SloClass,
};
use crate::config::compile::prices;
use crate::config::document::gateway::RetentionWord;
use crate::config::document::values::{Span, Text};
use crate::config::node::Spot;
use crate::config::problem::nearest;
use crate::config::read::{At, Reader};
use crate::pricing::{PriceCard, PriceEntry, Rates, Version};
use crate::routing::{Retention, Route};
use crate::units::{PicoUsd, TokenPrice};

/// The moment at which a scenario begins that does not say: a Monday, noon in UTC.
const BEGINS_S: i64 = 1_794_830_400;
/// What a scenario promises that does not say.
const SLO: SloClass = SloClass { ttft_s: 2.0, ttft_s_per_1k: 0.1 };
const CHECKPOINT: &str = "market-model";
const LOCAL: &str = "local";

pub(super) fn compile(
    reader: &Reader<'_>,
    name: &str,
    document: &ScenarioDocument,
    shapes: &Shapes,
) -> Scenario {
    let checkpoint: Arc<str> =
        document.checkpoint.as_ref().map_or(CHECKPOINT.into(), |name| Arc::clone(&name.0));
    let blank = RouteDocument::default();
    let defaults = document.defaults.as_ref().map_or(&blank, |defaults| &defaults.value);
    let market = Market { reader, defaults, checkpoint, shapes, said_default_noise: Cell::new(false) };
    let typed = document.routes.as_ref().map(|routes| routes.value.as_slice()).unwrap_or_default();
    let routes: Vec<MarketRoute> = typed.iter().filter_map(|route| market.route(route)).collect();
    let local = document.local.as_ref().and_then(|local| market.local(local));
    if typed.is_empty() && document.local.is_none() {
        reader.error(Spot { line: 1, column: 1, length: 1, file: 0 }, "a market needs `routes`", None);
    }
    for (at, route) in typed.iter().enumerate() {
        let same = |other: &At<RouteDocument>| {
            text(other.name.as_ref()) == text(route.name.as_ref()) && other.name.is_some()
        };
        if let Some(first) = typed.iter().take(at).find(|other| same(other)) {
            let message = format!("a second route of this name; first in line {}", first.spot.line);
            reader.error(route.spot, &message, None);
        }
    }
    let typed_incidents =
        document.incidents.as_ref().map(|incidents| incidents.value.as_slice()).unwrap_or_default();
    let names: Vec<Befallen<'_>> = typed
        .iter()
        .map(|route| Befallen {
            name: text(route.name.as_ref()),
            is_local: false,
            has_limits: market.has_limits(route),
        })
        .chain(document.local.iter().map(|node| Befallen {
            name: node.name.as_ref().map_or(LOCAL, |name| &name.0),
            is_local: true,
            has_limits: false,
        }))
        .collect();
    let incidents: Vec<Incident> =
        typed_incidents.iter().filter_map(|typed| incident(reader, typed, &names)).collect();
    let slo = document.slo.as_ref();
    Scenario {
        name: name.to_owned(),
        about: document.about.as_ref().map_or_else(String::new, |about| about.0.to_string()),
        begins: document
            .begins
            .as_ref()
            .map_or_else(|| Timestamp::from_second(BEGINS_S).unwrap_or_default(), |begins| begins.0),
        slo: SloClass {
            ttft_s: slo.and_then(|slo| slo.ttft.as_ref()).map_or(SLO.ttft_s, |span| span.0.as_secs_f64()),
            ttft_s_per_1k: slo
                .and_then(|slo| slo.ttft_per_1k.as_ref())
                .map_or(SLO.ttft_s_per_1k, |span| span.0.as_secs_f64()),
        },
        routes,
        local,
        incidents,
    }
}

fn place<D>(section: Option<&At<D>>) -> Option<Spot> {
    section.map(|section| section.spot)
}

fn text(name: Option<&At<Text>>) -> &str {
    name.map_or("", |name| &name.0)
}

/// What is said of one thing: by the route itself, or else for all.
struct Said<'d, D>(Option<&'d D>, Option<&'d D>);

impl<'d, D> Said<'d, D> {
    fn of(own: Option<&'d At<D>>, all: Option<&'d At<D>>) -> Self {
        Self(own.map(|own| &own.value), all.map(|all| &all.value))
    }

    fn find<T>(&self, pick: impl Fn(&'d D) -> &'d Option<At<T>>) -> Option<&'d T> {
        let own = self.0.and_then(|own| pick(own).as_ref());
        own.or_else(|| self.1.and_then(|all| pick(all).as_ref())).map(|found| &found.value)
    }

    fn seconds(&self, pick: impl Fn(&'d D) -> &'d Option<At<Span>>, default: f64) -> f64 {
        self.find(pick).map_or(default, |Span(span): &Span| Duration::as_secs_f64(span))
    }
}

struct Market<'r, 'f> {
    reader: &'r Reader<'f>,
    defaults: &'r RouteDocument,
    checkpoint: Arc<str>,
    shapes: &'r Shapes,
    /// Whether it was said what is wrong with the noise of the defaults.
    said_default_noise: Cell<bool>,
}

impl Market<'_, '_> {
    fn route(&self, typed: &At<RouteDocument>) -> Option<MarketRoute> {
        let all = self.defaults;
        let name: Arc<str> =
            Arc::clone(&self.needed(typed.name.as_ref(), typed.spot, ("", Some(typed.spot)), "name")?.0);
        let price = self.needed(
            typed.price.as_ref().or(all.price.as_ref()),
            typed.spot,
            ("", Some(typed.spot)),
            "price",
        );
        let card = price.and_then(|price| {
            prices::version(self.reader, price, "the scenario file", "scenario")
                .map(|version| PriceCard::new(version, 0))
        });
        let first_token = self.first_token(typed);
        let pace = Said::of(typed.pace.as_ref(), all.pace.as_ref());
        let tokens_per_s = pace.find(|pace| &pace.tokens_per_second);
        let tokens_per_s =
            self.needed(tokens_per_s, typed.spot, ("pace", place(typed.pace.as_ref())), "tokens_per_second");
        let errors = Said::of(typed.errors.as_ref(), all.errors.as_ref());
        let cache = Said::of(typed.cache.as_ref(), all.cache.as_ref());
        let ttl_s = cache.seconds(|cache| &cache.ttl, 0.0);
        let (first_token, tokens_per_s, card) = (first_token?, tokens_per_s?.0, card?);
        let bound = typed.context_tokens.as_ref().or(all.context_tokens.as_ref());
        Some(MarketRoute {
            route: Route {
                region: typed.region.as_ref().or(all.region.as_ref()).map(|region| Arc::clone(&region.0)),
                retention: match typed.retention.as_ref().or(all.retention.as_ref()).map(|word| word.value) {
                    Some(RetentionWord::None) => Retention::None,
                    Some(RetentionWord::Stored) => Retention::Stored,
                    Some(RetentionWord::Training) => Retention::Training,
                    None => Retention::Unknown,
                },
                quantization: typed
                    .quantization
                    .as_ref()
                    .or(all.quantization.as_ref())
                    .map(|word| Arc::clone(&word.0)),
                context_tokens: bound.map(|bound| bound.0),
                ..Route::named(&name, &self.checkpoint, Some(card))
            },
            first_token,
            pace: Pace {
                tokens_per_s,
                noise_sigma: pace.find(|pace| &pace.noise_sigma).map_or(0.15, |sigma| sigma.0),
                stall_share: pace.find(|pace| &pace.stall_share).map_or(0.002, |share| share.0),
                stall_s: pace.seconds(|pace| &pace.stall, 3.0),
            },
            errors: Errors {
                share: errors.find(|errors| &errors.share).map_or(0.0, |share| share.0),
                quick_share: errors.find(|errors| &errors.quick_share).map_or(0.7, |share| share.0),
                quick_s: errors.seconds(|errors| &errors.quick, 0.3),
            },
            limits: limits(&Said::of(typed.limits.as_ref(), all.limits.as_ref())),
            cache: (ttl_s > 0.0).then(|| Cache {
                ttl_s,
                honoured: cache.find(|cache| &cache.honoured).map_or(1.0, |share| share.0),
                granularity_tokens: cache
                    .find(|cache| &cache.granularity_tokens)
                    .map_or(64, |count| short(count.0)),
            }),
            cancelled_prompt_billed: typed
                .cancelled_prompt_billed
                .as_ref()
                .or(all.cancelled_prompt_billed.as_ref())
                .map_or(1.0, |share| share.0),
        })
    }

    fn first_token(&self, typed: &At<RouteDocument>) -> Option<FirstToken> {
        let said = Said::of(typed.first_token.as_ref(), self.defaults.first_token.as_ref());
        let section = ("first_token", place(typed.first_token.as_ref()));
        let base = self.needed(said.find(|first| &first.base), typed.spot, section, "base");
        let prefill = said.find(|first| &first.prefill_tokens_per_second);
        let prefill = self.needed(prefill, typed.spot, section, "prefill_tokens_per_second");
        let noise = self.noise(typed);
        let (base, prefill, noise) = (base?, prefill?, noise?);
        Some(FirstToken {
            rtt_s: said.seconds(|first| &first.rtt, 0.02),
            base_s: base.0.as_secs_f64(),
            prefill_tokens_per_s: prefill.0,
            noise,
            noise_sigma: said.find(|first| &first.noise_sigma).map_or(0.05, |sigma| sigma.0),
            tail_share: said.find(|first| &first.tail_share).map_or(0.01, |share| share.0),
            tail_factor: said.find(|first| &first.tail_factor).map_or(3.5, |factor| factor.0),
            drift_sigma: said.find(|first| &first.drift_sigma).map_or(0.15, |sigma| sigma.0),
            drift_relaxation_s: said.seconds(|first| &first.drift_relaxation, 900.0).max(1.0),
            day_amplitude: said.find(|first| &first.day_amplitude).map_or(0.1, |share| share.0),
        })
    }

    /// The noise as listed, or else that of a shape: what the route says of either counts, or else what the defaults do.
    #[expect(clippy::cast_possible_truncation, reason = "a multiplier needs no more than a float's 24 bits")]
    fn noise(&self, typed: &At<RouteDocument>) -> Option<Arc<[f32]>> {
        let says = |first: &&FirstTokenDocument| first.noise.is_some() || first.shape.is_some();
        let own = typed.first_token.as_ref().map(|first| &first.value).filter(says);
        let all = self.defaults.first_token.as_ref().map(|first| &first.value).filter(says);
        // Every route would say again what is wrong with the defaults.
        let error = |spot: Spot, message: &str, help: Option<String>| {
            if own.is_some() || !self.said_default_noise.replace(true) {
                self.reader.error(spot, message, help);
            }
        };
        let first = own.or(all);
        if let Some(noise) = first.and_then(|first| first.noise.as_ref()) {
            let draws: Arc<[f32]> = noise.value.iter().map(|draw| draw.value.0 as f32).collect();
            if draws.is_empty() || !draws.is_sorted() {
                let message = "`noise` must be a list of multipliers in ascending order";
                error(noise.spot, message, Some("such as [0.8, 0.9, 1.0, 1.1, 2.5]".to_owned()));
                return None;
            }
            return Some(draws);
        }
        let shape = first.and_then(|first| first.shape.as_ref());
        let name: &str = shape.map_or("h", |shape| &shape.value.0);
        let found = self.shapes.find(name);
        if found.is_none() {
            let known = self.shapes.names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let help = nearest(name, self.shapes.names()).map(|near| format!("did you mean `{near}`?"));
            let spot = shape.map_or(typed.spot, |shape| shape.spot);
            error(spot, &format!("`shape` must be one of {known}, not `{name}`"), help);
        }
        found
    }

    fn local(&self, typed: &At<LocalDocument>) -> Option<LocalNode> {
        let name = typed.name.as_ref().map_or(LOCAL.into(), |name| Arc::clone(&name.0));
        let spot = typed.spot;
        let prefill = self.needed(
            typed.prefill_tokens_per_second.as_ref(),
            spot,
            ("", Some(spot)),
            "prefill_tokens_per_second",
        );
        let stream = self.needed(
            typed.stream_tokens_per_second.as_ref(),
            spot,
            ("", Some(spot)),
            "stream_tokens_per_second",
        );
        let decode = self.needed(
            typed.decode_tokens_per_second.as_ref(),
            spot,
            ("", Some(spot)),
            "decode_tokens_per_second",
        );
        let active = self.needed(typed.active_max.as_ref(), spot, ("", Some(spot)), "active_max");
        let cache = self.needed(typed.cache_tokens.as_ref(), spot, ("", Some(spot)), "cache_tokens");
        let card = match &typed.price {
            Some(price) => prices::version(self.reader, price, "the scenario file", "scenario")
                .map(|version| PriceCard::new(version, 0)),
            None => Some(free()),
        };
        let region = typed.region.as_ref().map_or("local".into(), |region| Arc::clone(&region.0));
        let power = typed.power_usd_per_hour.as_ref().and_then(|usd| usd.0.parse::<f64>().ok());
        Some(LocalNode {
            route: Route {
                region: Some(region),
                retention: Retention::None,
                context_tokens: typed.context_tokens.as_ref().map(|bound| bound.0),
                local: true,
                ..Route::named(&name, &self.checkpoint, card)
            },
            prefill_tokens_per_s: prefill?.0,
            stream_tokens_per_s: stream?.0,
            decode_tokens_per_s: decode?.0,
            active_max: short(active?.0),
            cache_tokens: cache?.0,
            cache_ttl_s: typed.cache_ttl.as_ref().map_or(3600.0, |ttl| ttl.0.as_secs_f64()),
            power_usd_per_hour: power.unwrap_or(1.0),
            share: typed.share.as_ref().map(|share| share.0),
        })
    }

    /// What must be there, or a complaint that it is not, unless it is there and was complained of. `section` is the part
    /// of the route that would hold `key`.
    fn needed<T>(&self, found: Option<T>, spot: Spot, section: (&str, Option<Spot>), key: &str) -> Option<T> {
        let (name, place) = section;
        let is_typed = place.is_some_and(|place| self.reader.typed(place).contains(&key));
        if found.is_none() && !is_typed {
            let what = if name.is_empty() { key.to_owned() } else { format!("{name}: {{{key}}}") };
            self.reader.error(spot, &format!("`{what}` is missing here"), None);
        }
        found
    }

    fn has_limits(&self, typed: &RouteDocument) -> bool {
        let limits = limits(&Said::of(typed.limits.as_ref(), self.defaults.limits.as_ref()));
        let all = [limits.uncached_per_s, limits.prompt_per_s, limits.output_per_s, limits.requests_per_s];
        all.iter().any(Option::is_some)
    }
}

fn limits(said: &Said<'_, LimitsDocument>) -> Limits {
    Limits {
        uncached_per_s: said.find(|limits| &limits.uncached_tokens_per_second).map(|rate| rate.0),
        prompt_per_s: said.find(|limits| &limits.prompt_tokens_per_second).map(|rate| rate.0),
        output_per_s: said.find(|limits| &limits.output_tokens_per_second).map(|rate| rate.0),
        requests_per_s: said.find(|limits| &limits.requests_per_second).map(|rate| rate.0),
        burst_s: said.seconds(|limits| &limits.burst, 10.0),
        adaptive: said.find(|limits| &limits.adaptive).is_some_and(|flag| flag.0),
        refusal_s: said.seconds(|limits| &limits.refusal, 0.08),
        says_retry_after: said.find(|limits| &limits.says_retry_after).is_none_or(|flag| flag.0),
    }
}

/// Tokens of hardware that is paid for.
fn free() -> PriceCard {
    let nothing = TokenPrice(0);
    let entry = PriceEntry {
        source: "hardware that is paid for".into(),
        as_of: "scenario".into(),
        confidence: "operator".into(),
    };
    let rates = Rates {
        input: nothing,
        cached_input: None,
        cache_write: None,
        output: nothing,
        request: PicoUsd::ZERO,
    };
    PriceCard::new(Version::always(entry, rates), 0)
}

fn short(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
