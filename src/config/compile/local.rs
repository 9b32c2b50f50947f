//! This machine, as one more provider.

use std::sync::Arc;

use crate::config::snapshot::{LocalEngine, Provider};
use crate::pricing::PriceCard;
use crate::providers::{Continuation, Kind};
use crate::routing::{Retention, Route};

use super::providers::Made;

/// The model that ships with the gateway.
pub(super) const LOCAL_MODEL: &str = "smollm2-135m-instruct";
const LOCAL_FAMILY: &str = "smollm2";
/// The embedded engine's context, prompt and answer together.
const LOCAL_CONTEXT_TOKENS: u64 = 8192;

impl Made {
    /// This machine, as a provider with one route.
    pub(super) fn local(&mut self, engine: &LocalEngine, card: PriceCard) {
        let model = engine.model_name();
        let usable = engine.usable();
        self.providers.push(Provider {
            name: Kind::Local.name().into(),
            kind: Kind::Local,
            base_url: None,
            api_key: None,
            headers: Vec::new(),
            continuation: Continuation::of(Kind::Local),
            speaks_responses: false,
            region: Some("local".into()),
            allow_link_local: false,
            usable: usable.clone(),
        });
        if usable.is_err() {
            return;
        }
        let family = if *model == *LOCAL_MODEL { LOCAL_FAMILY.into() } else { Arc::clone(&model) };
        let route = Route {
            provider: Kind::Local.name().into(),
            name: format!("local/{model}").into(),
            upstream_model: Arc::clone(&model),
            checkpoint: model,
            context_tokens: Some(LOCAL_CONTEXT_TOKENS),
            region: Some("local".into()),
            retention: Retention::None,
            quantization: None,
            capabilities: Kind::Local.capabilities(),
            price: Some(card),
            local: true,
            pin_only: false,
            slugs: Kind::Local.slugs(),
            passes_wishes_on: false,
        };
        self.push(route, family, 0);
    }
}
