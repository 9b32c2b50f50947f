//! YAML to [`Snapshot`]: what was typed (`document`), what it means (`snapshot`), and one pure `compile` between them.
//!
//! `load` reads the files, `watch` notices their changes and swaps the snapshot; a configuration that does not compile
//! leaves the old snapshot in place.

pub mod budgets;
pub mod compile;
pub mod document;
pub mod environment;
pub(crate) mod excerpt;
mod expand;
pub mod load;
mod mask;
pub mod models;
pub mod node;
pub mod problem;
pub mod read;
pub(crate) mod record;
pub(crate) mod sheet;
pub mod snapshot;
pub mod watch;

pub use crate::units::names as naming;
pub use compile::compile;
pub use environment::{Environment, Machine};
pub use load::{Documents, Location};
pub use models::{ListedModel, ModelNames, NameKind, Resolved};
pub use problem::{Problem, Problems, Severity};
pub use snapshot::{
    Admin, Auth, Catalog, Cors, Counts, Key, LedgerSettings, Limits, LocalEngine, Log, LogFormat,
    PostgresAddress, Provider, Settings, Snapshot, Store, Tls, Unusable, key_hash,
};
pub use watch::Snapshots;
