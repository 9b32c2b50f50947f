//! Who may not serve a request, and why.
//!
//! The first reason in this order is the one that is told; what lasts comes before what passes:
//! 1. who is asked for: `Forbidden`, `NotInPolicy`, `NotWanted`, `PinOnly`
//! 2. what it can do: `Lacks`, `ContextTooSmall`
//! 3. where the data goes: `Region`, `Retention`, `Quantization`
//! 4. what it costs: `Unpriced`, `PriceOver`
//! 5. how it is at this moment: `Disabled`, `RateLimited`, `BreakerOpen`, `OverCap`, `Full`
//!
//! What is not known meets no constraint: not a region, not a quantisation, not a price.

use std::time::Duration;

use crate::pricing::Rates;
use crate::units::{Mono, TokenPrice};

use super::decision::Exclusion;
use super::facts::RequestFacts;
use super::learn::load::WINDOW_S;
use super::outlook::RouteOutlook;
use super::policy::Policy;
use super::route::{Retention, Route};

/// Why `route` may not serve whatever the moment (groups 1 to 4). `rates` are its prices in force for this prompt.
pub fn lasting(
    route: &Route,
    rates: Option<&Rates>,
    policy: &Policy,
    facts: &RequestFacts<'_>,
) -> Option<Exclusion> {
    asked_for(route, policy, facts)
        .or_else(|| able(route, facts))
        .or_else(|| promises(route, policy, facts))
        .or_else(|| price(rates, policy, facts))
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

/// Whether one of the caller's names means this route.
pub(super) fn names(list: &[&str], route: &Route) -> bool {
    list.iter().any(|name| is_named(name, route))
}

/// Whether a caller's name, a provider or a route, means this route.
pub(super) fn is_named(name: &str, route: &Route) -> bool {
    route.provider.eq_ignore_ascii_case(name) || route.name.eq_ignore_ascii_case(name)
}

fn asked_for(route: &Route, policy: &Policy, facts: &RequestFacts<'_>) -> Option<Exclusion> {
    let allowed = facts.models_allowed.is_empty()
        || facts.models_allowed.iter().any(|glob| {
            glob.matches(facts.model) || glob.matches(&route.checkpoint) || glob.matches(&route.name)
        });
    let wanted =
        (facts.wants.only.is_empty() || names(facts.wants.only, route)) && !names(facts.wants.ignore, route);
    let pinned = *facts.model == *route.name || *facts.model == *route.upstream_model;
    if !allowed {
        Some(Exclusion::Forbidden)
    } else if policy.place_of(route).is_none() {
        Some(Exclusion::NotInPolicy)
    } else if !wanted {
        Some(Exclusion::NotWanted)
    } else if route.pin_only && !pinned {
        Some(Exclusion::PinOnly)
    } else {
        None
    }
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

fn promises(route: &Route, policy: &Policy, facts: &RequestFacts<'_>) -> Option<Exclusion> {
    let limits = &policy.constraints;
    let is_in = |list: &[std::sync::Arc<str>], value: Option<&str>| {
        list.is_empty() || value.is_some_and(|value| list.iter().any(|one| **one == *value))
    };
    if !is_in(&limits.regions, route.region.as_deref()) {
        return Some(Exclusion::Region(route.region.clone()));
    }
    let keeps_too_much = |max: Option<Retention>| {
        max.is_some_and(|max| route.retention > max || route.retention == Retention::Unknown)
    };
    if keeps_too_much(limits.retention_max) || keeps_too_much(facts.wants.retention_max) {
        return Some(Exclusion::Retention);
    }
    let quantization = route.quantization.as_deref();
    let wanted = facts.wants.quantizations;
    let is_wanted = wanted.is_empty() || quantization.is_some_and(|kind| wanted.contains(&kind));
    (!is_in(&limits.quantizations, quantization) || !is_wanted)
        .then(|| Exclusion::Quantization(route.quantization.clone()))
}

fn price(rates: Option<&Rates>, policy: &Policy, facts: &RequestFacts<'_>) -> Option<Exclusion> {
    let lower = |ours: Option<TokenPrice>, theirs: Option<TokenPrice>| match (ours, theirs) {
        (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
        (one, other) => one.or(other),
    };
    let input_max = lower(policy.constraints.input_price_max, facts.wants.input_price_max);
    let output_max = lower(policy.constraints.output_price_max, facts.wants.output_price_max);
    let Some(rates) = rates else {
        let ceiling = input_max.or(output_max);
        return (!policy.allow_unpriced || ceiling.is_some()).then_some(Exclusion::Unpriced);
    };
    let over = |which, price: TokenPrice, max: Option<TokenPrice>| {
        max.filter(|max| price > *max).map(|max| Exclusion::PriceOver { which, price, max })
    };
    over("input", rates.input, input_max).or_else(|| over("output", rates.output, output_max))
}
