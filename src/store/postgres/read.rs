//! For those who look: the records of all replicas together.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use crate::ledger::RequestRecord;
use crate::store::ledger::read::Span;
use crate::units::NanoUsd;

use super::rows::{READ, Row};
use super::{Address, Error, Link, schema};

/// Requests that are read at once.
const AT_ONCE: i64 = 1_000;
/// Longest wait for an answer: sums over all records take their time.
const ANSWER_MAX: Duration = Duration::from_mins(10);

/// A fleet's ledger that is read.
pub struct Reader {
    link: Link,
}

/// What is there of one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Its name.
    pub name: String,
    /// Requests.
    pub requests: i64,
    /// Their attempts.
    pub attempts: i64,
    /// What they cost.
    pub amount: NanoUsd,
    /// Requests whose attempts are not all there, or do not add up to them.
    pub odd: i64,
    /// The place of its last record that is there.
    pub place: i64,
}

impl Reader {
    /// Connects. Tables must be there.
    pub async fn open(address: &Address) -> Result<Self, Error> {
        let mut link = Link::open(address).await?;
        let there = link.driven(ANSWER_MAX, async |client| schema::there(client).await).await?;
        match there {
            Some((_, version)) if version == schema::VERSION => Ok(Self { link }),
            Some((_, version)) => Err(Error::Version(i32::try_from(version).unwrap_or(i32::MAX))),
            None => Err(Error::Odd("there is no ledger: no replica has sent any record yet".to_owned())),
        }
    }

    /// Each record in turn, until `see` says no more (`false`).
    pub async fn each(
        &mut self,
        span: Span,
        mut see: impl FnMut(RequestRecord) -> bool,
    ) -> Result<(), Error> {
        let (mut from, to) = span.nanos();
        let (mut hold, mut replica) = (format!("{:032x}", 0), String::new());
        loop {
            let (at, after, of) = (from, hold.clone(), replica.clone());
            let page =
                self.link.driven(ANSWER_MAX, async |client| page(client, at, &after, &of, to).await).await?;
            for (row, by, attempts) in &page {
                let record = serde_json::from_str::<Row>(row).ok().and_then(Row::record);
                let record = record.ok_or_else(|| Error::Odd("a row that is no record".to_owned()))?;
                if i64::try_from(record.attempts.len()) != Ok(i64::from(*attempts)) {
                    return Err(Error::Odd(format!("attempts of the request {} are missing", record.id)));
                }
                (from, hold, replica) = (
                    crate::store::ledger::nanos(record.began),
                    format!("{:032x}", record.hold.0),
                    by.clone(),
                );
                if !see(record) {
                    return Ok(());
                }
            }
            if page.is_empty() {
                return Ok(());
            }
        }
    }

    /// The rows that `sql` brings, all of whose columns are texts; `$1` and `$2` are the span in nanoseconds since 1970.
    pub async fn texts(&mut self, sql: &str, span: Span) -> Result<Vec<Vec<String>>, Error> {
        let (from, to) = span.nanos();
        let rows = self.link.driven(ANSWER_MAX, async |client| {
            let of: [(&(dyn ToSql + Sync), Type); 2] = [(&from, Type::INT8), (&to, Type::INT8)];
            Ok(client.query_typed(sql, &of).await?)
        });
        let rows = rows.await?;
        let texts = |row: &tokio_postgres::Row| {
            (0..row.len()).map(|at| Ok(row.try_get::<_, Option<String>>(at)?.unwrap_or_default())).collect()
        };
        rows.iter().map(texts).collect()
    }

    /// What is there of each replica, by name.
    pub async fn replicas(&mut self) -> Result<Vec<Replica>, Error> {
        let sql = "SELECT p.replica, coalesce(r.requests, 0), coalesce(r.attempts, 0), coalesce(r.amount, 0)::bigint, \
                   coalesce(r.odd, 0), p.place FROM tollway.replicas p LEFT JOIN ( \
                     SELECT r.replica, count(*) AS requests, coalesce(sum(a.attempts), 0)::bigint AS attempts, \
                            sum(r.amount_nanos) AS amount, \
                            count(*) FILTER (WHERE r.attempts != coalesce(a.attempts, 0) \
                                             OR r.amount_nanos != coalesce(a.amount, 0) OR a.apart > 0) AS odd \
                     FROM tollway.requests r LEFT JOIN ( \
                       SELECT hold, replica, count(*) AS attempts, sum(amount_nanos) AS amount, \
                              count(*) FILTER (WHERE amount_nanos != input_nanos + cache_read_nanos + cache_write_nanos \
                                               + output_nanos + request_nanos) AS apart \
                       FROM tollway.attempts GROUP BY hold, replica) a USING (hold, replica) \
                     GROUP BY r.replica) r USING (replica) ORDER BY p.replica";
        let rows =
            self.link.driven(ANSWER_MAX, async |client| Ok(client.query_typed(sql, &[]).await?)).await?;
        let replica = |row: &tokio_postgres::Row| -> Result<Replica, Error> {
            Ok(Replica {
                name: row.try_get(0)?,
                requests: row.try_get(1)?,
                attempts: row.try_get(2)?,
                amount: NanoUsd(row.try_get(3)?),
                odd: row.try_get(4)?,
                place: row.try_get(5)?,
            })
        };
        rows.iter().map(replica).collect()
    }
}

/// Requests as JSON, each with its replica and how many attempts it should have.
async fn page(
    client: &Client,
    from: i64,
    hold: &str,
    replica: &str,
    to: i64,
) -> Result<Vec<(String, String, i32)>, Error> {
    let of: [(&(dyn ToSql + Sync), Type); 5] = [
        (&from, Type::INT8),
        (&hold, Type::TEXT),
        (&replica, Type::TEXT),
        (&to, Type::INT8),
        (&AT_ONCE, Type::INT8),
    ];
    let rows = client.query_typed(READ, &of).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
}
