//! Records as Parquet: a row for each attempt, the columns of CSV with types of their own. Amounts are decimals of nine places on
//! whole nano-dollars, moments nanoseconds in UTC; no float is in it.
//!
//! What is in memory is one group of rows.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::ledger::{AttemptRecord, RequestRecord};
use crate::units::NanoUsd;

/// Rows of a group, and the records that are kept until there are so many.
const GROUP_ROWS: usize = 10_000;

/// One row: a request, and the attempt at this place if it has any.
struct Row<'a> {
    request: &'a RequestRecord,
    at: usize,
    attempt: Option<&'a AttemptRecord>,
}

impl<'a> Row<'a> {
    /// A request's own amounts stand in its first row alone, so that each column can be summed.
    fn once(&self, amount: NanoUsd) -> Option<i64> {
        (self.at == 0).then_some(amount.0)
    }

    fn of(&self, what: fn(&'a AttemptRecord) -> &'a str) -> Option<Cow<'a, str>> {
        self.attempt.map(|attempt| Cow::Borrowed(what(attempt)))
    }

    fn money(&self, what: fn(&AttemptRecord) -> NanoUsd) -> Option<i64> {
        self.attempt.map(|attempt| what(attempt).0)
    }

    fn tokens(&self, what: fn(&AttemptRecord) -> u64) -> Option<i64> {
        self.attempt.map(|attempt| whole(what(attempt)))
    }
}

/// Where a column's values come from.
#[derive(Clone, Copy)]
enum Values {
    Text(for<'a> fn(&Row<'a>) -> Option<Cow<'a, str>>),
    Whole(fn(&Row<'_>) -> Option<i64>),
    Flag(fn(&Row<'_>) -> Option<bool>),
}

use Values::{Flag, Text, Whole};

const TEXT: &str = "BYTE_ARRAY {} (STRING)";
const MONEY: &str = "INT64 {} (DECIMAL(18,9))";
const MOMENT: &str = "INT64 {} (TIMESTAMP(NANOS,true))";
const NUMBER: &str = "INT64 {}";
const FLAG: &str = "BOOLEAN {}";

/// Every column: its name, its type, where it comes from.
const COLUMNS: [(&str, &str, Values); 41] = [
    ("hold", TEXT, Text(|row| Some(format!("{:032x}", row.request.hold.0).into()))),
    ("id", TEXT, Text(|row| Some(row.request.id.as_str().into()))),
    ("began", MOMENT, Whole(|row| Some(nanos(row.request.began)))),
    ("key", TEXT, Text(|row| Some((&*row.request.key).into()))),
    ("user", TEXT, Text(|row| Some((&*row.request.user).into()))),
    ("team", TEXT, Text(|row| Some((&*row.request.team).into()))),
    ("organisation", TEXT, Text(|row| Some((&*row.request.organisation).into()))),
    ("policy", TEXT, Text(|row| Some((&*row.request.policy).into()))),
    ("tags", TEXT, Text(|row| serde_json::to_string(&super::rows::tags(row.request)).ok().map(Cow::Owned))),
    ("model", TEXT, Text(|row| Some((&*row.request.model).into()))),
    ("endpoint", TEXT, Text(|row| Some(row.request.endpoint.into()))),
    ("stream", FLAG, Flag(|row| Some(row.request.stream))),
    ("status", NUMBER, Whole(|row| Some(row.request.status.into()))),
    ("request_outcome", TEXT, Text(|row| Some(row.request.outcome.into()))),
    ("ttft_ms", NUMBER, Whole(|row| row.request.ttft_ms.map(whole))),
    ("total_ms", NUMBER, Whole(|row| Some(whole(row.request.total_ms)))),
    ("request_amount_usd", MONEY, Whole(|row| row.once(row.request.amount))),
    ("request_saved_usd", MONEY, Whole(|row| row.once(row.request.saved))),
    ("attempt", NUMBER, Whole(|row| row.attempt.map(|_| whole(row.at as u64)))),
    ("provider", TEXT, Text(|row| row.of(|attempt| &attempt.provider))),
    ("route", TEXT, Text(|row| row.of(|attempt| &attempt.route))),
    ("checkpoint", TEXT, Text(|row| row.of(|attempt| &attempt.checkpoint))),
    ("asked", MOMENT, Whole(|row| row.attempt.map(|attempt| nanos(attempt.asked)))),
    ("outcome", TEXT, Text(|row| row.of(|attempt| attempt.outcome))),
    ("source", TEXT, Text(|row| row.of(|attempt| attempt.source))),
    ("reason", TEXT, Text(|row| row.of(|attempt| &attempt.reason))),
    ("prompt_tokens", NUMBER, Whole(|row| row.tokens(|attempt| attempt.usage.prompt))),
    ("cached_tokens", NUMBER, Whole(|row| row.tokens(|attempt| attempt.usage.cached))),
    ("cache_write_tokens", NUMBER, Whole(|row| row.tokens(|attempt| attempt.usage.cache_write))),
    ("completion_tokens", NUMBER, Whole(|row| row.tokens(|attempt| attempt.usage.completion))),
    ("reasoning_tokens", NUMBER, Whole(|row| row.tokens(|attempt| attempt.usage.reasoning))),
    ("amount_usd", MONEY, Whole(|row| row.money(|attempt| attempt.amount))),
    ("input_usd", MONEY, Whole(|row| row.money(|attempt| attempt.parts[0]))),
    ("cache_read_usd", MONEY, Whole(|row| row.money(|attempt| attempt.parts[1]))),
    ("cache_write_usd", MONEY, Whole(|row| row.money(|attempt| attempt.parts[2]))),
    ("output_usd", MONEY, Whole(|row| row.money(|attempt| attempt.parts[3]))),
    ("request_usd", MONEY, Whole(|row| row.money(|attempt| attempt.parts[4]))),
    ("unpriced", FLAG, Flag(|row| row.attempt.map(|attempt| attempt.unpriced))),
    ("price_source", TEXT, Text(|row| row.of(|attempt| &attempt.price_source))),
    ("price_as_of", TEXT, Text(|row| row.of(|attempt| &attempt.price_as_of))),
    ("generation", TEXT, Text(|row| row.of(|attempt| &attempt.generation))),
];

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn nanos(moment: jiff::Timestamp) -> i64 {
    i64::try_from(moment.as_nanosecond()).unwrap_or(i64::MAX)
}

/// Writes a file.
pub(super) struct Parquet<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    waiting: Vec<RequestRecord>,
    rows: usize,
}

impl<W: Write + Send> Parquet<W> {
    /// Begins a file.
    pub(super) fn new(to: W) -> io::Result<Self> {
        let columns: Vec<String> =
            COLUMNS.iter().map(|(name, kind, _)| format!("OPTIONAL {};", kind.replace("{}", name))).collect();
        let schema =
            parse_message_type(&format!("message records {{ {} }}", columns.join(" "))).map_err(failed)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::GZIP(parquet::basic::GzipLevel::default()))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .set_created_by(concat!("tollway ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = SerializedFileWriter::new(to, Arc::new(schema), Arc::new(properties)).map_err(failed)?;
        Ok(Self { writer, waiting: Vec::new(), rows: 0 })
    }

    /// Takes a record.
    pub(super) fn write(&mut self, record: RequestRecord) -> io::Result<()> {
        self.rows += record.attempts.len().max(1);
        self.waiting.push(record);
        if self.rows < GROUP_ROWS { Ok(()) } else { self.group() }
    }

    /// Writes what is left, and the end without which it is no file of Parquet's.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if self.rows > 0 {
            self.group()?;
        }
        self.writer.close().map(|_| ()).map_err(failed)
    }

    /// Writes the rows that wait.
    fn group(&mut self) -> io::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        self.rows = 0;
        let row = |request, at, attempt| Row { request, at, attempt };
        let rows: Vec<Row<'_>> = waiting
            .iter()
            .flat_map(|request| {
                let none = request.attempts.is_empty().then(|| row(request, 0, None));
                let each = request.attempts.iter().enumerate();
                none.into_iter().chain(each.map(move |(at, attempt)| row(request, at, Some(attempt))))
            })
            .collect();
        self.columns(&rows).map_err(failed)
    }

    fn columns(&mut self, rows: &[Row<'_>]) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        for (_, _, values) in COLUMNS {
            let Some(mut column) = group.next_column()? else { break };
            match values {
                Text(of) => {
                    let (values, levels) = split(rows, |row| {
                        of(row).map(|text| ByteArray::from(text.into_owned().into_bytes()))
                    });
                    column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None)?;
                }
                Whole(of) => {
                    let (values, levels) = split(rows, of);
                    column.typed::<Int64Type>().write_batch(&values, Some(&levels), None)?;
                }
                Flag(of) => {
                    let (values, levels) = split(rows, of);
                    column.typed::<BoolType>().write_batch(&values, Some(&levels), None)?;
                }
            }
            column.close()?;
        }
        group.close().map(|_| ())
    }
}

/// The values that are there, and for each row whether it has one.
fn split<T>(rows: &[Row<'_>], of: impl Fn(&Row<'_>) -> Option<T>) -> (Vec<T>, Vec<i16>) {
    let mut values = Vec::with_capacity(rows.len());
    let mut levels = Vec::with_capacity(rows.len());
    for row in rows {
        let value = of(row);
        levels.push(i16::from(value.is_some()));
        values.extend(value);
    }
    (values, levels)
}

/// Whoever reads may have closed the pipe, which is no fault.
fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(cause) => io::Error::other(cause),
        },
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::Field;

    use super::*;
    use crate::budget::HoldId;
    use crate::ledger::{HoldContext, HoldEntry};
    use crate::units::RequestId;

    fn record(id: u128, nanos: i64) -> RequestRecord {
        let context = HoldContext {
            id: RequestId::from_bits(id),
            key: "alice".into(),
            user: "".into(),
            team: "search".into(),
            organisation: "acme".into(),
            policy: "p".into(),
            tags: vec![("note".into(), "a \"b\"".into())],
            model: "m".into(),
            endpoint: "chat",
            stream: true,
            began: "2026-11-03T23:59:59.999999999Z".parse().expect("a moment"),
            provider: "one".into(),
            route: "one/m".into(),
            checkpoint: "m-1".into(),
        };
        HoldEntry { id: HoldId(id), amount: NanoUsd(nanos), lines: Vec::new(), context }.lost().0
    }

    #[test]
    fn groups_are_bounded_and_every_value_comes_back_as_it_was() {
        let mut bytes = Vec::new();
        let mut file = Parquet::new(&mut bytes).expect("a schema");
        let count = 25_000;
        for id in 0..count {
            let mut one = record(id, i64::try_from(id).expect("few") - 5);
            if id == 7 {
                one.attempts.clear();
                one.amount = NanoUsd(0);
            }
            file.write(one).expect("memory");
            assert!(file.waiting.len() < GROUP_ROWS);
        }
        file.finish().expect("memory");
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).expect("a file of Parquet's");
        let meta = reader.metadata();
        assert_eq!((meta.num_row_groups(), meta.file_metadata().num_rows()), (3, 25_000));
        let mut sums = [0_i128; 2];
        for (at, row) in reader.get_row_iter(None).expect("rows").enumerate() {
            let row = row.expect("a row");
            let of = |name: &str| {
                row.get_column_iter().find(|(known, _)| *known == name).expect("a column").1.clone()
            };
            for (sum, name) in sums.iter_mut().zip(["amount_usd", "request_amount_usd"]) {
                match of(name) {
                    Field::Decimal(value) => {
                        assert_eq!((value.scale(), value.precision()), (9, 18));
                        let bytes: [u8; 8] = value.data().try_into().expect("64 bits");
                        *sum += i128::from(i64::from_be_bytes(bytes));
                    }
                    Field::Null => assert_eq!(at, 7),
                    other => panic!("{other:?}"),
                }
            }
            if at == 9 {
                assert_eq!(of("hold"), Field::Str(format!("{:032x}", 9)));
                assert_eq!(of("tags"), Field::Str("{\"note\":\"a \\\"b\\\"\"}".to_owned()));
                assert_eq!(of("ttft_ms"), Field::Null);
                assert_eq!(of("stream"), Field::Bool(true));
            }
        }
        let expected: i128 = (0..25_000_i128).filter(|id| *id != 7).map(|id| id - 5).sum();
        assert_eq!(sums, [expected, expected]);
    }
}
