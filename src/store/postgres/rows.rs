//! Records as the rows of the database, both ways, by way of JSON: one parameter holds a whole batch, and one statement puts it
//! where it belongs, all of it or nothing. Each row is there once, however often it is sent.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::budget::HoldId;
use crate::ledger::{AttemptRecord, RequestRecord};
use crate::store::ledger::{count, moment, nanos, request_id, whole, word};
use crate::units::{NanoUsd, Usage};

/// Writes the batch `$2` of the replica `$1`, and that its records up to the place `$3` are there.
pub(super) const WRITE: &str = "
WITH batch AS (
    SELECT * FROM json_to_recordset($2::text::json) AS batch (
        hold uuid, seq bigint, began_ns bigint, id text, key text, user_name text, team text, organisation text, policy text,
        tags jsonb, model text, endpoint text, stream boolean, ttft_ms bigint, total_ms bigint, status integer, outcome text,
        amount_nanos bigint, saved_nanos bigint, attempts json)
), request AS (
    INSERT INTO tollway.requests (hold, replica, seq, began, began_ns, id, key, user_name, team, organisation, policy, tags, model,
        endpoint, stream, ttft_ms, total_ms, status, outcome, amount_nanos, saved_nanos, attempts)
    SELECT hold, $1, seq, 'epoch'::timestamptz + began_ns / 1000 * interval '1 microsecond', began_ns, id, key, user_name, team,
        organisation, policy, tags, model, endpoint, stream, ttft_ms, total_ms, status, outcome, amount_nanos, saved_nanos,
        json_array_length(attempts)
    FROM batch ON CONFLICT DO NOTHING
), attempt AS (
    INSERT INTO tollway.attempts (hold, replica, n, provider, route, checkpoint, prompt_tokens, cached_tokens, cache_write_tokens,
        completion_tokens, reasoning_tokens, source, reason, amount_nanos, input_nanos, cache_read_nanos, cache_write_nanos,
        output_nanos, request_nanos, unpriced, price_source, price_as_of, generation, asked, asked_ns, outcome)
    SELECT batch.hold, $1, one.n, one.provider, one.route, one.checkpoint, one.prompt_tokens, one.cached_tokens,
        one.cache_write_tokens, one.completion_tokens, one.reasoning_tokens, one.source, one.reason, one.amount_nanos,
        one.input_nanos, one.cache_read_nanos, one.cache_write_nanos, one.output_nanos, one.request_nanos, one.unpriced,
        one.price_source, one.price_as_of, one.generation, 'epoch'::timestamptz + one.asked_ns / 1000 * interval '1 microsecond',
        one.asked_ns, one.outcome
    FROM batch, json_to_recordset(batch.attempts) AS one (
        n integer, provider text, route text, checkpoint text, prompt_tokens bigint, cached_tokens bigint,
        cache_write_tokens bigint, completion_tokens bigint, reasoning_tokens bigint, source text, reason text,
        amount_nanos bigint, input_nanos bigint, cache_read_nanos bigint, cache_write_nanos bigint, output_nanos bigint,
        request_nanos bigint, unpriced boolean, price_source text, price_as_of text, generation text, asked_ns bigint,
        outcome text)
    ON CONFLICT DO NOTHING
)
INSERT INTO tollway.replicas (replica, place, told) VALUES ($1, $3, now())
ON CONFLICT (replica) DO UPDATE SET place = excluded.place, told = excluded.told";

/// Reads up to `$5` requests behind the moment `$1`, hold `$2` and replica `$3`, before the moment `$4`: as JSON, attempts in it.
pub(super) const READ: &str = "
SELECT (to_jsonb(r) || jsonb_build_object('attempts', (
    SELECT coalesce(jsonb_agg(to_jsonb(a) ORDER BY a.n), '[]') FROM tollway.attempts a
    WHERE a.hold = r.hold AND a.replica = r.replica)))::text, r.replica, r.attempts
FROM tollway.requests r
WHERE (r.began_ns, r.hold, r.replica) > ($1, $2::text::uuid, $3) AND r.began_ns < $4
ORDER BY r.began_ns, r.hold, r.replica LIMIT $5";

/// A request's row.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Row {
    hold: String,
    seq: i64,
    began_ns: i64,
    id: String,
    key: String,
    user_name: String,
    team: String,
    organisation: String,
    policy: String,
    tags: Map<String, Value>,
    model: String,
    endpoint: String,
    stream: bool,
    ttft_ms: Option<i64>,
    total_ms: i64,
    status: u16,
    outcome: String,
    amount_nanos: i64,
    saved_nanos: i64,
    attempts: Vec<Attempt>,
}

/// An attempt's.
#[derive(Debug, Serialize, Deserialize)]
struct Attempt {
    n: usize,
    provider: String,
    route: String,
    checkpoint: String,
    prompt_tokens: i64,
    cached_tokens: i64,
    cache_write_tokens: i64,
    completion_tokens: i64,
    reasoning_tokens: i64,
    source: String,
    reason: String,
    amount_nanos: i64,
    input_nanos: i64,
    cache_read_nanos: i64,
    cache_write_nanos: i64,
    output_nanos: i64,
    request_nanos: i64,
    unpriced: bool,
    price_source: String,
    price_as_of: String,
    generation: String,
    asked_ns: i64,
    outcome: String,
}

/// A text as PostgreSQL takes it: no text there has a NUL in it, and callers' words may.
fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

impl Row {
    pub(super) fn of(seq: i64, record: &RequestRecord) -> Self {
        Self {
            hold: format!("{:032x}", record.hold.0),
            seq,
            began_ns: nanos(record.began),
            id: text(record.id.as_str()),
            key: text(&record.key),
            user_name: text(&record.user),
            team: text(&record.team),
            organisation: text(&record.organisation),
            policy: text(&record.policy),
            tags: record.tags.iter().map(|(name, value)| (text(name), text(value).into())).collect(),
            model: text(&record.model),
            endpoint: text(record.endpoint),
            stream: record.stream,
            ttft_ms: record.ttft_ms.map(whole),
            total_ms: whole(record.total_ms),
            status: record.status,
            outcome: text(record.outcome),
            amount_nanos: record.amount.0,
            saved_nanos: record.saved.0,
            attempts: record
                .attempts
                .iter()
                .enumerate()
                .map(|(n, attempt)| Attempt::of(n, attempt))
                .collect(),
        }
    }

    pub(super) fn record(self) -> Option<RequestRecord> {
        let hold = u128::from_str_radix(&self.hold.replace('-', ""), 16).ok()?;
        let tag = |(name, value): (String, Value)| (name.into(), value.as_str().unwrap_or_default().into());
        Some(RequestRecord {
            hold: HoldId(hold),
            id: request_id(&self.id),
            key: self.key.into(),
            user: self.user_name.into(),
            team: self.team.into(),
            organisation: self.organisation.into(),
            policy: self.policy.into(),
            tags: self.tags.into_iter().map(tag).collect(),
            model: self.model.into(),
            endpoint: word(&self.endpoint),
            stream: self.stream,
            began: moment(self.began_ns),
            ttft_ms: self.ttft_ms.map(count),
            total_ms: count(self.total_ms),
            status: self.status,
            outcome: word(&self.outcome),
            amount: NanoUsd(self.amount_nanos),
            saved: NanoUsd(self.saved_nanos),
            attempts: self.attempts.into_iter().map(Attempt::record).collect(),
        })
    }
}

impl Attempt {
    fn of(n: usize, attempt: &AttemptRecord) -> Self {
        let Usage { prompt, cached, cache_write, completion, reasoning } = attempt.usage;
        let [input, cache_read, write, output, request] = attempt.parts.map(|part| part.0);
        Self {
            n,
            provider: text(&attempt.provider),
            route: text(&attempt.route),
            checkpoint: text(&attempt.checkpoint),
            prompt_tokens: whole(prompt),
            cached_tokens: whole(cached),
            cache_write_tokens: whole(cache_write),
            completion_tokens: whole(completion),
            reasoning_tokens: whole(reasoning),
            source: text(attempt.source),
            reason: text(&attempt.reason),
            amount_nanos: attempt.amount.0,
            input_nanos: input,
            cache_read_nanos: cache_read,
            cache_write_nanos: write,
            output_nanos: output,
            request_nanos: request,
            unpriced: attempt.unpriced,
            price_source: text(&attempt.price_source),
            price_as_of: text(&attempt.price_as_of),
            generation: text(&attempt.generation),
            asked_ns: nanos(attempt.asked),
            outcome: text(attempt.outcome),
        }
    }

    fn record(self) -> AttemptRecord {
        AttemptRecord {
            provider: self.provider.into(),
            route: self.route.into(),
            checkpoint: self.checkpoint.into(),
            usage: Usage {
                prompt: count(self.prompt_tokens),
                cached: count(self.cached_tokens),
                cache_write: count(self.cache_write_tokens),
                completion: count(self.completion_tokens),
                reasoning: count(self.reasoning_tokens),
            },
            source: word(&self.source),
            reason: self.reason.into(),
            amount: NanoUsd(self.amount_nanos),
            parts: [
                self.input_nanos,
                self.cache_read_nanos,
                self.cache_write_nanos,
                self.output_nanos,
                self.request_nanos,
            ]
            .map(NanoUsd),
            unpriced: self.unpriced,
            price_source: self.price_source.into(),
            price_as_of: self.price_as_of.into(),
            generation: self.generation.into(),
            asked: moment(self.asked_ns),
            outcome: word(&self.outcome),
        }
    }
}
