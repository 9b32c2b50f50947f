//! `ledger` in `tollway.yaml`: where and how the record of every request is kept.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::config::node::{Node, Value};
use crate::config::read::{At, Decode, Reader};
use crate::config::record::{choice, record};

use super::values::{Days, FilePath, Secret};

choice! {
    /// What a record has lived through once an answer is over.
    pub enum DurabilityWord {
        /// The death of the process. A power cut can cost the last seconds.
        Process = "process",
        /// A power cut too: each group of records is synced to the disk.
        Power = "power",
    }
}

record! {
    /// The ledger: what is held before a request is sent, and one record of each request and of each attempt.
    pub struct LedgerDocument {
        /// The file. Default: `ledger.db` in `state_dir`.
        path: FilePath,
        /// What a record has lived through once an answer is over. Default process.
        durability: DurabilityWord,
        /// How long records are kept, in days (`400d`), or `forever`. Sums of budgets do not depend on it. Default 400d.
        retention: Days,
        /// The PostgreSQL that records are sent to as well, from every replica: `postgres://user:password@host/database`, with
        /// `?sslmode=disable`, `prefer`, `require`, `verify-ca` or `verify-full` (the default but on this machine) and
        /// `sslrootcert=FILE`.
        postgres: Secret,
        /// A file that holds that address.
        postgres_file: FilePath,
    }
}

/// How the ledger is kept, or only the address of the database that records are sent to.
#[derive(Debug, Clone)]
pub struct LedgerOrAddress(pub LedgerDocument);

impl Decode for LedgerOrAddress {
    fn decode(node: &Node, reader: &Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Scalar { .. } => Secret::decode(node, reader).map(|address| {
                let postgres = Some(At { value: address, spot: node.spot });
                Self(LedgerDocument { postgres, ..LedgerDocument::default() })
            }),
            _ => LedgerDocument::decode(node, reader).map(Self),
        }
    }
}

impl JsonSchema for LedgerOrAddress {
    fn schema_name() -> Cow<'static, str> {
        "LedgerOrAddress".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let whole = generator.subschema_for::<LedgerDocument>();
        json_schema!({ "anyOf": [whole, { "type": "string", "pattern": "^postgres(ql)?://|\\$\\{" }] })
    }
}
