//! What a key has used, summed up from the ledger on this machine. It reads every record, so that it is for people, off every
//! request's path.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};

use crate::keys::Usage;
use crate::store::ledger::Reader;
use crate::units::NanoUsd;

const SUMS: &str = "
    SELECT count(CASE WHEN outcome != 'adjusted' THEN 1 END), coalesce(sum(amount_nanos), 0) FROM requests WHERE key = ?1";
const TOKENS: &str = "
    SELECT coalesce(sum(a.prompt_tokens), 0), coalesce(sum(a.completion_tokens), 0)
    FROM requests r JOIN attempts a ON a.seq = r.seq WHERE r.key = ?1";
const SPENT: &str = "
    SELECT amount_nanos, window_start FROM spent WHERE budget = ?1 AND window_start <= ?2 AND window_end > ?2
    ORDER BY window_start DESC LIMIT 1";

/// What the key `name` has used by `now`, as the ledger at `path` says.
pub fn usage(path: &Path, name: &str, now: Timestamp) -> Result<Usage, String> {
    let reader = Reader::open(path).map_err(|error| error.to_string())?;
    summed(reader.connection(), name, now).map_err(|error| reader.misread(&error).to_string())
}

fn summed(ledger: &Connection, name: &str, now: Timestamp) -> Result<Usage, rusqlite::Error> {
    let (requests, cost): (i64, i64) =
        ledger.query_row(SUMS, [name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (prompt, answer): (i64, i64) =
        ledger.query_row(TOKENS, [name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let budget = format!("key/{name}");
    let spent: Option<(i64, i64)> = ledger
        .query_row(SPENT, rusqlite::params![budget, now.as_second()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    Ok(Usage {
        name: name.into(),
        requests: count(requests),
        prompt_tokens: count(prompt),
        answer_tokens: count(answer),
        cost_usd: NanoUsd(cost).to_string(),
        budget_spent_usd: spent.map(|(amount, _)| NanoUsd(amount).to_string()),
        window_began: spent.and_then(|(_, began)| Timestamp::from_second(began).ok()),
    })
}
