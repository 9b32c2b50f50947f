//! The columns of FOCUS 1.2, the FinOps Foundation's specification of billing data: a row for each part of an attempt's
//! charge. What a provider's own bill would know and a gateway does not (list prices, discounts) is left empty.

use jiff::civil::{DateTime, Time, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use crate::ledger::{ADJUSTED, AttemptRecord, RequestRecord};
use crate::units::NanoUsd;

/// FOCUS's columns by their ids, and ours behind them, which bear the `x_` that the specification asks for.
pub(super) const COLUMNS: [&str; 46] = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingAccountType",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "SubAccountType",
    "Tags",
    "x_CostSource",
    "x_GenerationId",
    "x_Hold",
    "x_Key",
    "x_Outcome",
    "x_Policy",
    "x_RequestId",
];

/// A part of a charge: its meter, its unit, how many, what they cost.
type Part = (&'static str, &'static str, u64, NanoUsd);

fn parts(attempt: &AttemptRecord) -> [Part; 5] {
    let [input, cache_read, cache_write, output, request] = attempt.parts;
    let usage = &attempt.usage;
    let requests = u64::from(request != NanoUsd::ZERO);
    [
        ("Input tokens", "Tokens", usage.uncached(), input),
        ("Cached input tokens", "Tokens", usage.cached, cache_read),
        ("Cache write tokens", "Tokens", usage.cache_write, cache_write),
        ("Output tokens", "Tokens", usage.completion, output),
        ("Requests", "Requests", requests, request),
    ]
}

/// A request's rows: one for each part of which there was any.
pub(super) fn rows(record: &RequestRecord) -> Vec<Vec<String>> {
    let of = |attempt: &AttemptRecord| {
        let parts = parts(attempt).into_iter();
        let used = parts.filter(|(_, _, quantity, cost)| *quantity > 0 || *cost != NanoUsd::ZERO);
        used.map(|part| row(record, attempt, part)).collect::<Vec<_>>()
    };
    record.attempts.iter().flat_map(of).collect()
}

fn row(record: &RequestRecord, attempt: &AttemptRecord, (meter, unit, quantity, cost): Part) -> Vec<String> {
    let tags = serde_json::to_string(&super::rows::tags(record)).unwrap_or_default();
    let (month, next_month, second, next_second) = periods(attempt.asked);
    let cost = cost.to_string();
    let team = if record.team.is_empty() { "default" } else { &record.team };
    let sku = format!("{} {meter}", attempt.route);
    let price = format!("{sku} {}", attempt.price_as_of);
    let description = format!("{meter} of {}, {}", attempt.route, attempt.outcome);
    let cells: [&str; COLUMNS.len()] = [
        &cost,
        // The account that pays is the operator's with this provider.
        &attempt.provider,
        &attempt.provider,
        "Provider account",
        "USD",
        &next_month,
        &month,
        if attempt.outcome == ADJUSTED { "Adjustment" } else { "Usage" },
        "",
        &description,
        "Usage-Based",
        &next_second,
        &second,
        &quantity.to_string(),
        unit,
        &cost,
        "",
        &cost,
        &attempt.provider,
        &cost,
        "",
        "Standard",
        &quantity.to_string(),
        unit,
        &attempt.provider,
        &attempt.provider,
        &attempt.route,
        &attempt.checkpoint,
        "Model",
        "AI and Machine Learning",
        &attempt.provider,
        "Generative AI",
        &sku,
        meter,
        price.trim_end(),
        team,
        team,
        "Team",
        &tags,
        attempt.source,
        &attempt.generation,
        &format!("{:032x}", record.hold.0),
        &record.key,
        attempt.outcome,
        &record.policy,
        record.id.as_str(),
    ];
    cells.map(str::to_owned).to_vec()
}

/// The calendar month and the second of a moment, each with its end, in UTC as FOCUS writes them.
fn periods(at: Timestamp) -> (String, String, String, String) {
    let day = TimeZone::UTC.to_datetime(at).date();
    let month = date(day.year(), day.month(), 1);
    let written = |moment: DateTime| moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let next = month.saturating_add(1.month());
    let second = |second: i64| {
        let moment = Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
        written(TimeZone::UTC.to_datetime(moment))
    };
    let began = at.as_second();
    (
        written(month.to_datetime(Time::midnight())),
        written(next.to_datetime(Time::midnight())),
        second(began),
        second(began + 1),
    )
}
