//! A model as Together's client reads it: prices as numbers in USD per million tokens, written from whole numbers.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::config::{ListedModel, Snapshot};
use crate::pricing::Rates;
use crate::routing::{Capabilities, Route};
use crate::units::TokenPrice;

use super::{CREATED, output_of, prices, routes_of};

#[derive(Serialize)]
pub(super) struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    #[serde(rename = "type")]
    kind: &'static str,
    running: bool,
    display_name: &'a str,
    organization: &'static str,
    context_length: Option<u64>,
    config: Config,
    pricing: Pricing,
}

#[derive(Serialize)]
struct Config {
    chat_template: Option<()>,
    stop: [(); 0],
    bos_token: Option<()>,
    eos_token: Option<()>,
}

#[derive(Serialize)]
struct Pricing {
    hourly: u8,
    input: Option<Box<RawValue>>,
    output: Option<Box<RawValue>>,
    base: u8,
    finetune: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_input: Option<Box<RawValue>>,
}

impl<'a> Model<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, listed: &'a ListedModel, now: Timestamp) -> Self {
        let routes = routes_of(snapshot, &listed.id);
        let all = routes.iter().fold(Capabilities::default(), |all, route| all.with(route.capabilities));
        Self {
            id: &listed.id,
            object: "model",
            created: CREATED,
            kind: match output_of(all) {
                "embeddings" => "embedding",
                "rerank" => "rerank",
                _ if all.covers(Capabilities::CHAT) => "chat",
                _ => "language",
            },
            running: false,
            display_name: &listed.id,
            organization: "tollway",
            context_length: listed.context_tokens,
            config: Config { chat_template: None, stop: [], bos_token: None, eos_token: None },
            pricing: Pricing::new(prices::cheapest(&routes, now), now),
        }
    }
}

impl Pricing {
    fn new(route: Option<&Route>, now: Timestamp) -> Self {
        let rates = route.and_then(|route| route.price.as_ref()).map(|card| card.rates(0, now));
        // A decimal number is JSON.
        let number = |price: TokenPrice| RawValue::from_string(price.to_string()).ok();
        let of = |pick: fn(&Rates) -> Option<TokenPrice>| rates.and_then(pick).and_then(number);
        Self {
            hourly: 0,
            input: of(|rates| Some(rates.input)),
            output: of(|rates| Some(rates.output)),
            base: 0,
            finetune: 0,
            cached_input: of(|rates| rates.cached_input),
        }
    }
}
