//! Who may not serve a request, and why.
//!
//! The first reason in this order is the one that is told; what lasts comes before what passes:
//! 1. who is asked for: `Forbidden`, `NotInPolicy`, `NotWanted`, `WishOrder`, `WishFallbacks`, `PinOnly`
//! 2. what it can do: `Lacks`, `ContextTooSmall`, `WishParameter`
//! 3. where the data goes: `Region`, `Retention`, `Quantization`, `WishRetention`, `WishQuantization`
//! 4. what it costs: `Unpriced`, `PriceOver`, `WishPrice`, `WishFee`
//! 5. how it is at this moment: `Disabled`, `RateLimited`, `BreakerOpen`, `OverCap`, `Full`
//!
//! Within a group what the operator's policy says comes before what the caller wishes. What is not known meets no constraint:
//! not a region, not a quantisation, not a price.

use std::time::Duration;

use crate::pricing::Rates;
use crate::units::{Mono, TokenPrice};

use super::decision::Exclusion;
use super::facts::RequestFacts;
use super::learn::load::WINDOW_S;
use super::outlook::RouteOutlook;
use super::policy::Policy;
use super::route::{Retention, Route};
use super::wishes;

/// What all candidates of a request are held to.
pub struct Sieve<'a> {
    policy: &'a Policy,
    facts: &'a RequestFacts<'a>,
    /// Whether the caller narrows it: most do not, and are not asked what they want for every candidate.
    narrows: bool,
}

impl<'a> Sieve<'a> {
    /// For a request that `policy` decides.
    pub fn new(policy: &'a Policy, facts: &'a RequestFacts<'a>) -> Self {
        Self { policy, facts, narrows: wishes::narrow(facts) }
    }

    /// Why `route` may not serve, as [`lasting`].
    pub fn lasting(&self, route: &Route, place: usize, rates: Option<&Rates>) -> Option<Exclusion> {
        let (policy, facts) = (self.policy, self.facts);
        if self.narrows {
            return lasting(route, place, rates, policy, facts);
        }
        let name = facts.model;
        asked_for(route, name, policy, facts)
            .or_else(|| (route.pin_only && !is_pinned(route, name)).then_some(Exclusion::PinOnly))
            .or_else(|| able(route, facts))
            .or_else(|| promises(route, policy))
            .or_else(|| price(rates, policy, facts))
    }
}

/// Why `route`, the `place`th eligible one, may not serve whatever the moment (groups 1 to 4). `rates` are its prices in force
/// for this prompt.
///
/// A route of another model than the first that the caller names is held to the policy of that model, too: nobody gets past a
/// policy by naming its model second.
fn lasting(
    route: &Route,
    place: usize,
    rates: Option<&Rates>,
    policy: &Policy,
    facts: &RequestFacts<'_>,
) -> Option<Exclusion> {
    let model = facts.model_at(place);
    let name = model.map_or(facts.model, |model| model.name);
    let own = model.map(|model| model.policy).filter(|own| !std::ptr::eq(*own, policy));
    asked_for(route, name, policy, facts)
        .or_else(|| own.filter(|own| own.place_of(route).is_none()).map(|_| Exclusion::NotInPolicy))
        .or_else(|| wishes::who(route, place, facts))
        .or_else(|| (route.pin_only && !is_pinned(route, name)).then_some(Exclusion::PinOnly))
        .or_else(|| able(route, facts))
        .or_else(|| wishes::what(place, facts))
        .or_else(|| promises(route, policy))
        .or_else(|| own.and_then(|own| promises(route, own)))
        .or_else(|| wishes::promises(route, facts))
        .or_else(|| price(rates, policy, facts))
        .or_else(|| own.and_then(|own| price(rates, own, facts)))
        .or_else(|| wishes::price(rates, facts))
}

/// Why a route should not be asked at this moment (group 5) for a prompt of which it would have to read `uncached` tokens.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates that are never negative, in words"
)]
pub fn passing(seen: &RouteOutlook, uncached: f32, now: Mono) -> Option<Exclusion> {
    let left =
        |until: Option<Mono>| until.map(|until| until.since(now)).filter(|left| *left > Duration::ZERO);
    left(seen.disabled_until)
        .map(|remaining| Exclusion::Disabled { remaining })
        .or_else(|| left(seen.limited_until).map(|remaining| Exclusion::RateLimited { remaining }))
        .or_else(|| left(seen.open_until).map(|remaining| Exclusion::BreakerOpen { remaining }))
        .or_else(|| {
            let rate = seen.rate + uncached / WINDOW_S;
            let cap = seen.cap.filter(|cap| rate > *cap)?;
            Some(Exclusion::OverCap { rate: rate as u64, cap: cap as u64 })
        })
        .or_else(|| {
            let most = seen.running_max?;
            (seen.running >= most).then_some(Exclusion::Full { running: seen.running })
        })
}

fn asked_for(route: &Route, name: &str, policy: &Policy, facts: &RequestFacts<'_>) -> Option<Exclusion> {
    let allowed = facts.models_allowed.is_empty()
        || facts
            .models_allowed
            .iter()
            .any(|glob| glob.matches(name) || glob.matches(&route.checkpoint) || glob.matches(&route.name));
    if !allowed {
        Some(Exclusion::Forbidden)
    } else if policy.place_of(route).is_none() {
        Some(Exclusion::NotInPolicy)
    } else {
        None
    }
}

fn is_pinned(route: &Route, name: &str) -> bool {
    *name == *route.name || *name == *route.upstream_model
}

fn able(route: &Route, facts: &RequestFacts<'_>) -> Option<Exclusion> {
    let missing = facts.needs.0.with(facts.endpoint.capability()).without(route.capabilities);
    if missing.0 != 0 {
        return Some(Exclusion::Lacks(missing));
    }
    let tokens_needed = facts.prompt_tokens.saturating_add(facts.output_tokens_max.unwrap_or(0));
    let tokens_max = route.context_tokens.filter(|max| tokens_needed > *max)?;
    Some(Exclusion::ContextTooSmall { tokens_max, tokens_needed })
}

fn promises(route: &Route, policy: &Policy) -> Option<Exclusion> {
    let limits = &policy.constraints;
    let is_in = |list: &[std::sync::Arc<str>], value: Option<&str>| {
        list.is_empty() || value.is_some_and(|value| list.iter().any(|one| **one == *value))
    };
    if !is_in(&limits.regions, route.region.as_deref()) {
        return Some(Exclusion::Region(route.region.clone()));
    }
    if limits.retention_max.is_some_and(|max| keeps_more(route, max)) {
        return Some(Exclusion::Retention);
    }
    (!is_in(&limits.quantizations, route.quantization.as_deref()))
        .then(|| Exclusion::Quantization(route.quantization.clone()))
}

/// Whether it keeps more of a request than `max`, or nobody knows.
pub(super) fn keeps_more(route: &Route, max: Retention) -> bool {
    route.retention > max || route.retention == Retention::Unknown
}

fn price(rates: Option<&Rates>, policy: &Policy, facts: &RequestFacts<'_>) -> Option<Exclusion> {
    let limits = &policy.constraints;
    let Some(rates) = rates else {
        let is_capped =
            limits.input_price_max.or(limits.output_price_max).is_some() || wishes::has_ceiling(facts);
        return (!policy.allow_unpriced || is_capped).then_some(Exclusion::Unpriced);
    };
    let over = |which, price: TokenPrice, max: Option<TokenPrice>| {
        max.filter(|max| price > *max).map(|max| Exclusion::PriceOver { which, price, max })
    };
    over("input", rates.input, limits.input_price_max)
        .or_else(|| over("output", rates.output, limits.output_price_max))
}
