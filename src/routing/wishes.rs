//! What the caller's own routing fields rule out, and what they put first. Each only ever adds a reason to leave a route out, or
//! moves it back: what the policy left out stays out.
//!
//! A route that passes wishes on (OpenRouter) has many hosts behind it: where a name in `order` or `only` is nobody's here, it
//! may be one of those; and what is not known of it, retention and quantisation, the caller's own field sees to there.

use crate::pricing::Rates;
use crate::units::{NanoUsd, TokenPrice};

use super::decision::Exclusion;
use super::facts::RequestFacts;
use super::filter::keeps_more;
use super::outlook::RouteOutlook;
use super::route::{Retention, Route};

/// Whether a caller's name means this route: its provider by name or slug, the provider and a quantisation, or itself.
pub fn is_named(name: &str, route: &Route) -> bool {
    let is_provider = |name: &str| {
        route.provider.eq_ignore_ascii_case(name)
            || route.slugs.iter().any(|slug| slug.eq_ignore_ascii_case(name))
    };
    if is_provider(name) || route.name.eq_ignore_ascii_case(name) {
        return true;
    }
    let Some((provider, kind)) = name.rsplit_once('/') else { return false };
    route.quantization.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(kind)) && is_provider(provider)
}

/// As [`is_named`], or a host behind this route that nobody else here could be.
fn is_meant(name: &str, route: &Route, facts: &RequestFacts<'_>) -> bool {
    is_named(name, route) || (route.passes_wishes_on && facts.wants.foreign.contains(&name))
}

/// Whether the caller's own fields may leave a route out at all.
pub(super) fn narrow(facts: &RequestFacts<'_>) -> bool {
    let wants = &facts.wants;
    let lists = [wants.only.len(), wants.ignore.len(), wants.quantizations.len(), wants.unheeded.len()];
    lists.iter().any(|length| *length > 0)
        || wants.no_fallbacks
        || wants.retention_max.is_some()
        || has_ceiling(facts)
        || !wants.models.is_empty()
}

/// Where the caller's order has this route; who is not in it comes after those that are.
pub(super) fn place_in_order(route: &Route, facts: &RequestFacts<'_>) -> usize {
    let order = facts.wants.order;
    order.iter().position(|name| is_meant(name, route, facts)).unwrap_or(order.len())
}

/// Whether it is known to be slower than the caller prefers; what is not known is not held against it.
pub(super) fn is_slower(seen: &RouteOutlook, uncached: f32, facts: &RequestFacts<'_>) -> bool {
    let wants = &facts.wants;
    let late = |one: &super::Quantile| seen.first_token.quantile_s(one.share, uncached) > one.value;
    let slow = |one: &super::Quantile| seen.pace.slower_than(one.value) > 1.0 - one.share;
    (seen.heard > 0 && wants.latency_max.iter().any(late))
        || (seen.pace.seen && wants.throughput_min.iter().any(slow))
}

/// Whom the caller wants.
pub(super) fn who(route: &Route, place: usize, facts: &RequestFacts<'_>) -> Option<Exclusion> {
    let wants = &facts.wants;
    if !wants.only.is_empty() && !wants.only.iter().any(|name| is_meant(name, route, facts)) {
        return Some(Exclusion::NotWanted { field: "only" });
    }
    if wants.ignore.iter().any(|name| is_named(name, route)) {
        return Some(Exclusion::NotWanted { field: "ignore" });
    }
    if !wants.no_fallbacks {
        return None;
    }
    if !wants.order.is_empty() {
        return (place_in_order(route, facts) == wants.order.len()).then_some(Exclusion::WishOrder);
    }
    let model = facts.model_place(place);
    let tried = facts.tried.iter().filter_map(|id| facts.eligible.iter().position(|one| one == id));
    tried.into_iter().any(|tried| facts.model_place(tried) == model).then_some(Exclusion::WishFallbacks)
}

/// What it must heed.
pub(super) fn what(place: usize, facts: &RequestFacts<'_>) -> Option<Exclusion> {
    facts.wants.unheeded.get(place)?.clone().map(Exclusion::WishParameter)
}

/// What happens to the data.
pub(super) fn promises(route: &Route, facts: &RequestFacts<'_>) -> Option<Exclusion> {
    let wants = &facts.wants;
    let seen_to = route.passes_wishes_on && route.retention == Retention::Unknown;
    if !seen_to && wants.retention_max.is_some_and(|max| keeps_more(route, max)) {
        return Some(Exclusion::WishRetention);
    }
    let is_wanted = match route.quantization.as_deref() {
        _ if wants.quantizations.is_empty() => true,
        Some(kind) => wants.quantizations.iter().any(|wanted| wanted.eq_ignore_ascii_case(kind)),
        None => route.passes_wishes_on,
    };
    (!is_wanted).then(|| Exclusion::WishQuantization(route.quantization.clone()))
}

/// Whether there is a price that the caller will not go above.
pub(super) fn has_ceiling(facts: &RequestFacts<'_>) -> bool {
    let wants = &facts.wants;
    wants.input_price_max.is_some() || wants.output_price_max.is_some() || wants.fee_max.is_some()
}

/// What it costs. A route without a price has been left out before.
pub(super) fn price(rates: Option<&Rates>, facts: &RequestFacts<'_>) -> Option<Exclusion> {
    let (rates, wants) = (rates?, &facts.wants);
    let over = |which, price: TokenPrice, max: Option<TokenPrice>| {
        max.filter(|max| price > *max).map(|max| Exclusion::WishPrice { which, price, max })
    };
    let fee = || {
        let is_over = |max: &NanoUsd| rates.request.0 > i128::from(max.0) * 1_000;
        wants.fee_max.filter(is_over).map(|max| Exclusion::WishFee { fee: rates.request.to_nanos(), max })
    };
    over("prompt", rates.input, wants.input_price_max)
        .or_else(|| over("completion", rates.output, wants.output_price_max))
        .or_else(fee)
}
