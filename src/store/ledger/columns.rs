//! Records and holds as rows, both ways.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rusqlite::Row;
use serde::{Deserialize, Serialize};

use crate::budget::{HoldId, Scope, ScopeKind, Window};
use crate::ledger::{AttemptRecord, HoldContext, HoldEntry, Line, RequestRecord};
use crate::units::{NanoUsd, RequestId, Usage};

use super::row::Writing;

/// A request's columns: `seq`, then those that its checksum covers, then the checksum.
pub(super) const REQUEST: &str = "seq, hold, began_ns, id, key, user, team, organisation, policy, tags, model, endpoint, stream, ttft_ms, total_ms, status, \
     outcome, amount_nanos, saved_nanos, attempts, lines, checksum";
/// How many those are.
pub(super) const REQUEST_COLUMNS: usize = 22;
/// An attempt's, in the same order. Its checksum begins with its request's hold, which ties the two together.
pub(super) const ATTEMPT: &str = "seq, n, provider, route, checkpoint, prompt_tokens, cached_tokens, cache_write_tokens, completion_tokens, \
     reasoning_tokens, source, reason, amount_nanos, input_nanos, cache_read_nanos, cache_write_nanos, output_nanos, \
     request_nanos, unpriced, price_source, price_as_of, generation, asked_ns, outcome, checksum";
/// How many those are.
pub(super) const ATTEMPT_COLUMNS: usize = 25;

/// A moment as nanoseconds since 1970, held inside what 64 bits reach (the year 2262).
pub(in crate::store) fn nanos(moment: Timestamp) -> i64 {
    i64::try_from(moment.as_nanosecond()).unwrap_or(if moment < Timestamp::UNIX_EPOCH {
        i64::MIN
    } else {
        i64::MAX
    })
}

/// The other way.
pub(in crate::store) fn moment(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanos.into()).unwrap_or(Timestamp::MAX)
}

pub(super) fn write_request(
    row: &mut Writing<'_, '_>,
    record: &RequestRecord,
    lines: &str,
) -> rusqlite::Result<()> {
    row.blob(&record.hold.0.to_be_bytes())?;
    row.integer(nanos(record.began))?;
    row.text(record.id.as_str())?;
    for text in [&record.key, &record.user, &record.team, &record.organisation, &record.policy] {
        row.text(text)?;
    }
    row.text(&if record.tags.is_empty() { "{}".into() } else { json(&Tags(record.tags.clone())) })?;
    row.text(&record.model)?;
    row.text(record.endpoint)?;
    row.integer(record.stream.into())?;
    match record.ttft_ms {
        Some(ttft) => row.count(ttft)?,
        None => row.null()?,
    }
    row.count(record.total_ms)?;
    row.integer(record.status.into())?;
    row.text(record.outcome)?;
    row.integer(record.amount.0)?;
    row.integer(record.saved.0)?;
    row.count(record.attempts.len() as u64)?;
    row.text(lines)
}

pub(super) fn write_attempt(
    row: &mut Writing<'_, '_>,
    at: usize,
    attempt: &AttemptRecord,
) -> rusqlite::Result<()> {
    row.count(at as u64)?;
    for text in [&attempt.provider, &attempt.route, &attempt.checkpoint] {
        row.text(text)?;
    }
    let Usage { prompt, cached, cache_write, completion, reasoning } = attempt.usage;
    for tokens in [prompt, cached, cache_write, completion, reasoning] {
        row.count(tokens)?;
    }
    row.text(attempt.source)?;
    row.text(&attempt.reason)?;
    row.integer(attempt.amount.0)?;
    for part in attempt.parts {
        row.integer(part.0)?;
    }
    row.integer(attempt.unpriced.into())?;
    row.text(&attempt.price_source)?;
    row.text(&attempt.price_as_of)?;
    row.text(&attempt.generation)?;
    row.integer(nanos(attempt.asked))?;
    row.text(attempt.outcome)
}

/// A request without its attempts, and how many it has.
pub(super) fn read_request(row: &Row<'_>) -> rusqlite::Result<(RequestRecord, usize)> {
    let record = RequestRecord {
        hold: HoldId(u128::from_be_bytes(row.get(1)?)),
        began: moment(row.get(2)?),
        id: request_id(&text(row, 3)?),
        key: text(row, 4)?,
        user: text(row, 5)?,
        team: text(row, 6)?,
        organisation: text(row, 7)?,
        policy: text(row, 8)?,
        tags: serde_json::from_str::<Tags>(&text(row, 9)?).map(|tags| tags.0).unwrap_or_default(),
        model: (&*text(row, 10)?).into(),
        endpoint: word(&text(row, 11)?),
        stream: row.get(12)?,
        ttft_ms: row.get::<_, Option<i64>>(13)?.map(count),
        total_ms: count(row.get(14)?),
        status: row.get(15)?,
        outcome: word(&text(row, 16)?),
        amount: NanoUsd(row.get(17)?),
        saved: NanoUsd(row.get(18)?),
        attempts: Vec::new(),
    };
    Ok((record, usize::try_from(count(row.get(19)?)).unwrap_or(0)))
}

pub(super) fn read_attempt(row: &Row<'_>) -> rusqlite::Result<AttemptRecord> {
    let tokens = |at: usize| row.get(at).map(count);
    let money = |at: usize| row.get(at).map(NanoUsd);
    Ok(AttemptRecord {
        provider: text(row, 2)?,
        route: text(row, 3)?,
        checkpoint: text(row, 4)?,
        usage: Usage {
            prompt: tokens(5)?,
            cached: tokens(6)?,
            cache_write: tokens(7)?,
            completion: tokens(8)?,
            reasoning: tokens(9)?,
        },
        source: word(&text(row, 10)?),
        reason: (&*text(row, 11)?).into(),
        amount: money(12)?,
        parts: [money(13)?, money(14)?, money(15)?, money(16)?, money(17)?],
        unpriced: row.get(18)?,
        price_source: text(row, 19)?,
        price_as_of: text(row, 20)?,
        generation: (&*text(row, 21)?).into(),
        asked: moment(row.get(22)?),
        outcome: word(&text(row, 23)?),
    })
}

fn text(row: &Row<'_>, at: usize) -> rusqlite::Result<Arc<str>> {
    row.get(at)
}

/// A count that was kept as a signed number.
pub(in crate::store) fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// The other way.
pub(in crate::store) fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(in crate::store) fn request_id(text: &str) -> RequestId {
    RequestId::from_caller(text.as_bytes()).unwrap_or_else(|| RequestId::from_bits(0))
}

/// The few words that records use for endpoints, outcomes and sources. Kept for ever, so no more than a few of them.
pub(in crate::store) fn word(text: &str) -> &'static str {
    static WORDS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    const WORDS_MAX: usize = 256;
    let mut words = WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    match words.get(text) {
        Some(word) => word,
        None if words.len() < WORDS_MAX && text.len() <= 64 => {
            let word: &'static str = Box::leak(text.into());
            words.insert(word);
            word
        }
        None => "other",
    }
}

/// A hold, ready to be written.
#[derive(Debug)]
pub(super) struct HoldRow {
    pub(super) id: HoldId,
    pub(super) amount: NanoUsd,
    lines: String,
    context: String,
}

impl HoldRow {
    pub(super) fn of(entry: &HoldEntry) -> Self {
        Self {
            id: entry.id,
            amount: entry.amount,
            lines: json(&entry.lines.iter().map(flat).collect::<Vec<_>>()),
            context: json(&Kept::of(&entry.context)),
        }
    }

    pub(super) fn write(&self, row: &mut Writing<'_, '_>) -> rusqlite::Result<()> {
        row.blob(&self.id.0.to_be_bytes())?;
        row.integer(self.amount.0)?;
        row.text(&self.lines)?;
        row.text(&self.context)
    }

    /// From `seq, id, amount_nanos, lines, context`; `None` where they make no sense.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Option<HoldEntry>> {
        let lines: Option<Vec<Flat<'_>>> = serde_json::from_str(row.get_ref(3)?.as_str()?).ok();
        let kept: Option<Kept> = serde_json::from_str(row.get_ref(4)?.as_str()?).ok();
        let (Some(lines), Some(kept)) = (lines, kept) else { return Ok(None) };
        let Some(lines) = lines.iter().map(line).collect() else { return Ok(None) };
        let id = HoldId(u128::from_be_bytes(row.get(1)?));
        Ok(Some(HoldEntry { id, amount: NanoUsd(row.get(2)?), lines, context: kept.context() }))
    }
}

/// Budget, kind and name of the scope, the window's start and end.
type Flat<'a> = (std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>, i64, i64);

fn flat(line: &Line) -> Flat<'_> {
    let Line { budget, scope, window } = line;
    ((&**budget).into(), scope.kind.word().into(), (&*scope.name).into(), window.start, window.end)
}

fn line((budget, kind, name, start, end): &Flat<'_>) -> Option<Line> {
    let scope = Scope { kind: scope_kind(kind)?, name: (&**name).into() };
    Some(Line { budget: (&**budget).into(), scope, window: Window { start: *start, end: *end } })
}

/// The kind of scope of this word.
pub(super) fn scope_kind(word: &str) -> Option<ScopeKind> {
    use ScopeKind::{Key, Organisation, Policy, Tag, Team, User};
    [Key, User, Team, Organisation, Tag, Policy].into_iter().find(|kind| kind.word() == word)
}

/// A hold's context in JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    id: String,
    key: Arc<str>,
    user: Arc<str>,
    team: Arc<str>,
    organisation: Arc<str>,
    policy: Arc<str>,
    tags: Tags,
    model: Box<str>,
    endpoint: String,
    stream: bool,
    began_ns: i64,
    provider: Arc<str>,
    route: Arc<str>,
    checkpoint: Arc<str>,
}

impl Kept {
    fn of(context: &HoldContext) -> Self {
        Self {
            id: context.id.to_string(),
            key: Arc::clone(&context.key),
            user: Arc::clone(&context.user),
            team: Arc::clone(&context.team),
            organisation: Arc::clone(&context.organisation),
            policy: Arc::clone(&context.policy),
            tags: Tags(context.tags.clone()),
            model: context.model.clone(),
            endpoint: context.endpoint.to_owned(),
            stream: context.stream,
            began_ns: nanos(context.began),
            provider: Arc::clone(&context.provider),
            route: Arc::clone(&context.route),
            checkpoint: Arc::clone(&context.checkpoint),
        }
    }

    fn context(self) -> HoldContext {
        HoldContext {
            id: request_id(&self.id),
            key: self.key,
            user: self.user,
            team: self.team,
            organisation: self.organisation,
            policy: self.policy,
            tags: self.tags.0,
            model: self.model,
            endpoint: word(&self.endpoint),
            stream: self.stream,
            began: moment(self.began_ns),
            provider: self.provider,
            route: self.route,
            checkpoint: self.checkpoint,
        }
    }
}

/// Tags as one JSON object, in their order.
#[derive(Debug)]
struct Tags(Vec<(Box<str>, Box<str>)>);

impl Serialize for Tags {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> serde::de::Visitor<'de> for Pairs {
            type Value = Tags;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of texts")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Tags, A::Error> {
                let mut tags = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    tags.push(pair);
                }
                Ok(Tags(tags))
            }
        }
        from.deserialize_map(Pairs)
    }
}

/// Texts and numbers always have a JSON.
fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
