//! Records as they are exported: names that stay, amounts as exact decimals, moments in UTC.

use serde::Serialize;

use crate::ledger::{AttemptRecord, RequestRecord};
use crate::units::NanoUsd;

/// A request, with its attempts in it.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    hold: String,
    id: &'a str,
    began: String,
    key: &'a str,
    user: &'a str,
    team: &'a str,
    organisation: &'a str,
    policy: &'a str,
    tags: serde_json::Map<String, serde_json::Value>,
    model: &'a str,
    endpoint: &'a str,
    stream: bool,
    status: u16,
    outcome: &'a str,
    ttft_ms: Option<u64>,
    total_ms: u64,
    amount_usd: String,
    saved_usd: String,
    attempts: Vec<Attempt<'a>>,
}

/// An attempt.
#[derive(Debug, Serialize)]
pub(super) struct Attempt<'a> {
    provider: &'a str,
    route: &'a str,
    checkpoint: &'a str,
    asked: String,
    outcome: &'a str,
    source: &'a str,
    reason: &'a str,
    prompt_tokens: u64,
    cached_tokens: u64,
    cache_write_tokens: u64,
    completion_tokens: u64,
    reasoning_tokens: u64,
    amount_usd: String,
    input_usd: String,
    cache_read_usd: String,
    cache_write_usd: String,
    output_usd: String,
    request_usd: String,
    unpriced: bool,
    price_source: &'a str,
    price_as_of: &'a str,
    generation: &'a str,
}

impl<'a> Request<'a> {
    pub(super) fn of(record: &'a RequestRecord) -> Self {
        Self {
            hold: format!("{:032x}", record.hold.0),
            id: record.id.as_str(),
            began: record.began.to_string(),
            key: &record.key,
            user: &record.user,
            team: &record.team,
            organisation: &record.organisation,
            policy: &record.policy,
            tags: tags(record),
            model: &record.model,
            endpoint: record.endpoint,
            stream: record.stream,
            status: record.status,
            outcome: record.outcome,
            ttft_ms: record.ttft_ms,
            total_ms: record.total_ms,
            amount_usd: record.amount.to_string(),
            saved_usd: record.saved.to_string(),
            attempts: record.attempts.iter().map(Attempt::of).collect(),
        }
    }
}

/// Tags as one object.
pub(super) fn tags(record: &RequestRecord) -> serde_json::Map<String, serde_json::Value> {
    record.tags.iter().map(|(name, value)| (name.to_string(), value.to_string().into())).collect()
}

impl<'a> Attempt<'a> {
    fn of(attempt: &'a AttemptRecord) -> Self {
        let [input, cache_read, cache_write, output, request] = attempt.parts.map(|part| part.to_string());
        Self {
            provider: &attempt.provider,
            route: &attempt.route,
            checkpoint: &attempt.checkpoint,
            asked: attempt.asked.to_string(),
            outcome: attempt.outcome,
            source: attempt.source,
            reason: &attempt.reason,
            prompt_tokens: attempt.usage.prompt,
            cached_tokens: attempt.usage.cached,
            cache_write_tokens: attempt.usage.cache_write,
            completion_tokens: attempt.usage.completion,
            reasoning_tokens: attempt.usage.reasoning,
            amount_usd: attempt.amount.to_string(),
            input_usd: input,
            cache_read_usd: cache_read,
            cache_write_usd: cache_write,
            output_usd: output,
            request_usd: request,
            unpriced: attempt.unpriced,
            price_source: &attempt.price_source,
            price_as_of: &attempt.price_as_of,
            generation: &attempt.generation,
        }
    }
}

/// The columns of CSV: a row an attempt, its request's fields repeated but for the amounts, which stand in the first row alone,
/// so that each column can be summed.
pub(super) const CSV: [&str; 41] = [
    "hold",
    "id",
    "began",
    "key",
    "user",
    "team",
    "organisation",
    "policy",
    "tags",
    "model",
    "endpoint",
    "stream",
    "status",
    "request_outcome",
    "ttft_ms",
    "total_ms",
    "request_amount_usd",
    "request_saved_usd",
    "attempt",
    "provider",
    "route",
    "checkpoint",
    "asked",
    "outcome",
    "source",
    "reason",
    "prompt_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "amount_usd",
    "input_usd",
    "cache_read_usd",
    "cache_write_usd",
    "output_usd",
    "request_usd",
    "unpriced",
    "price_source",
    "price_as_of",
    "generation",
];

/// A request's rows; one without attempts has one row.
pub(super) fn csv(record: &RequestRecord) -> Vec<Vec<String>> {
    let request = Request::of(record);
    let row = |at: usize, attempt: Option<&Attempt<'_>>| {
        let first = at == 0;
        let once = |amount: NanoUsd| if first { amount.to_string() } else { String::new() };
        let mut row = vec![
            request.hold.clone(),
            request.id.to_owned(),
            request.began.clone(),
            request.key.to_owned(),
            request.user.to_owned(),
            request.team.to_owned(),
            request.organisation.to_owned(),
            request.policy.to_owned(),
            serde_json::to_string(&request.tags).unwrap_or_default(),
            request.model.to_owned(),
            request.endpoint.to_owned(),
            request.stream.to_string(),
            request.status.to_string(),
            request.outcome.to_owned(),
            request.ttft_ms.map(|ms| ms.to_string()).unwrap_or_default(),
            request.total_ms.to_string(),
            once(record.amount),
            once(record.saved),
        ];
        match attempt {
            Some(attempt) => row.extend(attempt_cells(at, attempt)),
            None => row.resize(CSV.len(), String::new()),
        }
        row
    };
    if request.attempts.is_empty() {
        return vec![row(0, None)];
    }
    request.attempts.iter().enumerate().map(|(at, attempt)| row(at, Some(attempt))).collect()
}

fn attempt_cells(at: usize, attempt: &Attempt<'_>) -> Vec<String> {
    vec![
        at.to_string(),
        attempt.provider.to_owned(),
        attempt.route.to_owned(),
        attempt.checkpoint.to_owned(),
        attempt.asked.clone(),
        attempt.outcome.to_owned(),
        attempt.source.to_owned(),
        attempt.reason.to_owned(),
        attempt.prompt_tokens.to_string(),
        attempt.cached_tokens.to_string(),
        attempt.cache_write_tokens.to_string(),
        attempt.completion_tokens.to_string(),
        attempt.reasoning_tokens.to_string(),
        attempt.amount_usd.clone(),
        attempt.input_usd.clone(),
        attempt.cache_read_usd.clone(),
        attempt.cache_write_usd.clone(),
        attempt.output_usd.clone(),
        attempt.request_usd.clone(),
        attempt.unpriced.to_string(),
        attempt.price_source.to_owned(),
        attempt.price_as_of.to_owned(),
        attempt.generation.to_owned(),
    ]
}
