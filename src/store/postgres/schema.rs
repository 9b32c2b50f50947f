//! The tables, and how they come to be: whichever replica comes first makes them, under a lock. Amounts are whole nano-dollars.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::Error;

/// What is added to the tables by each version, in order. What stands here is never changed once it was released.
const VERSIONS: [&str; 1] = ["
CREATE TABLE tollway.ledger (one boolean PRIMARY KEY DEFAULT true CHECK (one), id text NOT NULL, version integer NOT NULL);
INSERT INTO tollway.ledger (id, version) VALUES (md5(random()::text || clock_timestamp()::text || pg_backend_pid()::text), 0);
CREATE TABLE tollway.requests (
    hold uuid NOT NULL, replica text NOT NULL, seq bigint NOT NULL, began timestamptz NOT NULL, began_ns bigint NOT NULL,
    id text NOT NULL, key text NOT NULL, user_name text NOT NULL, team text NOT NULL, organisation text NOT NULL,
    policy text NOT NULL, tags jsonb NOT NULL, model text NOT NULL, endpoint text NOT NULL, stream boolean NOT NULL,
    ttft_ms bigint, total_ms bigint NOT NULL, status integer NOT NULL, outcome text NOT NULL, amount_nanos bigint NOT NULL,
    saved_nanos bigint NOT NULL, attempts integer NOT NULL, PRIMARY KEY (hold, replica)
);
CREATE INDEX requests_began ON tollway.requests (began_ns, hold, replica);
CREATE TABLE tollway.attempts (
    hold uuid NOT NULL, replica text NOT NULL, n integer NOT NULL, provider text NOT NULL, route text NOT NULL,
    checkpoint text NOT NULL, prompt_tokens bigint NOT NULL, cached_tokens bigint NOT NULL, cache_write_tokens bigint NOT NULL,
    completion_tokens bigint NOT NULL, reasoning_tokens bigint NOT NULL, source text NOT NULL, reason text NOT NULL,
    amount_nanos bigint NOT NULL, input_nanos bigint NOT NULL, cache_read_nanos bigint NOT NULL,
    cache_write_nanos bigint NOT NULL, output_nanos bigint NOT NULL, request_nanos bigint NOT NULL, unpriced boolean NOT NULL,
    price_source text NOT NULL, price_as_of text NOT NULL, generation text NOT NULL, asked timestamptz NOT NULL,
    asked_ns bigint NOT NULL, outcome text NOT NULL, PRIMARY KEY (hold, replica, n)
);
CREATE TABLE tollway.replicas (replica text PRIMARY KEY, place bigint NOT NULL, told timestamptz NOT NULL);
"];

/// The version that is written here.
pub(super) const VERSION: usize = VERSIONS.len();

/// Keeps two replicas from making the same tables at once: `tollway` in letters.
const LOCK: i64 = 0x0074_6f6c_6c77_6179;

/// Makes the tables, or brings them to this version. The name that the database bears.
pub(super) async fn prepare(client: &Client) -> Result<String, Error> {
    if let Some((id, version)) = there(client).await?
        && version == VERSION
    {
        return Ok(id);
    }
    // One command whose parts are one transaction: nothing is there by halves.
    client
        .batch_execute(&format!(
            "BEGIN; SELECT pg_advisory_xact_lock({LOCK}); CREATE SCHEMA IF NOT EXISTS tollway"
        ))
        .await?;
    let version = there(client).await?.map_or(0, |(_, version)| version);
    for (at, sql) in VERSIONS.iter().enumerate().skip(version) {
        client.batch_execute(sql).await?;
        client.batch_execute(&format!("UPDATE tollway.ledger SET version = {}", at + 1)).await?;
    }
    client.batch_execute("COMMIT").await?;
    there(client).await?.map(|(id, _)| id).ok_or_else(|| Error::Odd("its tables are gone again".to_owned()))
}

/// The name of the database and the version of its tables; `None` where there are none.
pub(super) async fn there(client: &Client) -> Result<Option<(String, usize)>, Error> {
    let found = client.query_typed_one("SELECT to_regclass('tollway.ledger') IS NOT NULL", &[]).await?;
    if !found.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let row = client.query_typed_one("SELECT id, version FROM tollway.ledger", &[]).await?;
    let version: i32 = row.try_get(1)?;
    match usize::try_from(version) {
        Ok(known) if known <= VERSION => Ok(Some((row.try_get(0)?, known))),
        _ => Err(Error::Version(version)),
    }
}

/// The place up to which this replica's records are there; 0 where none is.
pub(super) async fn place(client: &Client, replica: &str) -> Result<i64, Error> {
    let sql = "SELECT coalesce(max(place), 0) FROM tollway.replicas WHERE replica = $1";
    Ok(client.query_typed_one(sql, &[(&replica, Type::TEXT)]).await?.try_get(0)?)
}
