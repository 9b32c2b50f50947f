//! `GET /admin/v1/routes`: every route, what it serves, and how it is doing.

use bytes::Bytes;
use http::{Response, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use crate::relay::RelayBody;
use crate::routing::explain::PriceInForce;

use super::{Admin, json};

#[derive(Serialize, JsonSchema)]
pub(super) struct Page {
    routes: Vec<One>,
    unusable: Vec<Unusable>,
}

#[derive(Serialize, JsonSchema)]
struct One {
    route: String,
    checkpoint: String,
    region: Option<String>,
    context_tokens: Option<u64>,
    price: Option<PriceInForce>,
    breaker: &'static str,
    error_rate: f32,
    ttft_ms: Option<u64>,
    tokens_per_second: Option<f32>,
    rate_limited_for_ms: Option<u64>,
    disabled_for_ms: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct Unusable {
    provider: String,
    why: String,
}

impl Admin {
    pub(super) fn routes(&self) -> Response<RelayBody> {
        let live = self.gateway.live();
        let now = self.gateway.books.clock.now();
        let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let routes = live.snapshot.routes.iter().enumerate().map(|(index, route)| {
            let health = live.upstreams.health.get(index);
            let seen = health.map(|health| health.outlook()).unwrap_or_default();
            let first_token_s = (seen.heard > 0).then(|| seen.first_token.typical_s(0.0));
            One {
                route: route.name.to_string(),
                checkpoint: route.checkpoint.to_string(),
                region: route.region.as_ref().map(ToString::to_string),
                context_tokens: route.context_tokens,
                price: PriceInForce::new(route, 0, now),
                breaker: health.map_or("closed", |health| health.breaker_state(now.mono).name()),
                error_rate: seen.error,
                ttft_ms: first_token_s
                    .and_then(|s| std::time::Duration::try_from_secs_f32(s).ok())
                    .map(millis),
                tokens_per_second: seen.pace.seen.then(|| 1.0 / seen.pace.seconds_per_token),
                rate_limited_for_ms: seen.limited_until.map(|until| millis(until.since(now.mono))),
                disabled_for_ms: seen.disabled_until.map(|until| millis(until.since(now.mono))),
            }
        });
        let unusable = live.snapshot.providers.iter().filter_map(|provider| {
            let why = provider.usable.as_ref().err()?;
            Some(Unusable { provider: provider.name.to_string(), why: why.to_string() })
        });
        let page = Page { routes: routes.collect(), unusable: unusable.collect() };
        // Strings, numbers and lists of them always serialise.
        json(StatusCode::OK, serde_json::to_vec(&page).map(Bytes::from).unwrap_or_default())
    }
}
