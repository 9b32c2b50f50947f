//! What the configuration means: immutable, complete, swapped whole. A request takes one at the door and keeps it.

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use crate::budget::{self, OnStoreLoss};
use crate::providers::{Continuation, Kind};
use crate::routing::{Glob, Policy, Route, RouteId};

use super::budgets::{Groups, PolicyBudget};
use super::models::ModelNames;
use super::problem::Problems;

/// Everything a request needs to know of the configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts the snapshots of this process, from 1; 0 for one that was compiled but never put into service.
    pub generation: u64,
    /// What an operator sets once.
    pub settings: Settings,
    /// Every provider, usable or not, by name.
    pub providers: Vec<Provider>,
    /// Every route of the usable providers; a `RouteId` is an index here.
    pub routes: Vec<Route>,
    /// For each route the index of its provider in `providers`.
    pub route_provider: Vec<u16>,
    /// What a caller may call a model.
    pub names: ModelNames,
    /// In the order in which they are asked; the last one may be the built-in `default`.
    pub policies: Vec<Policy>,
    /// For each policy its budgets.
    pub policy_budgets: Vec<Vec<PolicyBudget>>,
    /// For each policy what happens to its requests while the store does not answer.
    pub on_store_loss: Vec<OnStoreLoss>,
    /// Callers' keys.
    pub keys: Vec<Key>,
    /// Teams, users and organisations.
    pub groups: Groups,
    /// How new the prices are.
    pub catalog: Catalog,
    /// What was accepted with a remark.
    pub warnings: Problems,
}

impl Snapshot {
    /// The route with this id.
    pub fn route(&self, id: RouteId) -> Option<&Route> {
        self.routes.get(usize::from(id.0))
    }

    /// The provider behind a route.
    pub fn provider_of(&self, id: RouteId) -> Option<&Provider> {
        let index = self.route_provider.get(usize::from(id.0))?;
        self.providers.get(usize::from(*index))
    }

    /// The key whose SHA-256 this is. Look up what [`key_hash`] makes of the presented text.
    pub fn key(&self, hash: &[u8; 32]) -> Option<&Key> {
        self.keys.binary_search_by(|key| key.hash.cmp(hash)).ok().and_then(|at| self.keys.get(at))
    }

    /// How much of everything there is, as `check` and start-up print it.
    pub fn counts(&self) -> Counts {
        let (budgets, limits) = self.budgets_and_limits();
        Counts {
            providers: self.providers.len(),
            usable: self.providers.iter().filter(|provider| provider.usable.is_ok()).count(),
            routes: self.routes.len(),
            policies: self.policies.len(),
            keys: self.keys.len(),
            budgets,
            limits,
        }
    }
}

/// The newest day on which a price was read, by source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Of the book that this build carries.
    pub book: Option<jiff::civil::Date>,
    /// Of what `tollway prices sync` fetched.
    pub synced: Option<jiff::civil::Date>,
}

/// How much of everything a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Providers, usable or not.
    pub providers: usize,
    /// Providers that can be asked.
    pub usable: usize,
    /// Routes of the usable providers.
    pub routes: usize,
    /// Policies, the built-in one included where it is in force.
    pub policies: usize,
    /// Callers' keys.
    pub keys: usize,
    /// Budgets, as they are typed: one of a policy that is counted for each team is one.
    pub budgets: usize,
    /// Rates and bounds on requests at once.
    pub limits: usize,
}

/// What is set once, in `tollway.yaml` or on the command line.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where callers connect.
    pub listen: SocketAddr,
    /// Threads that serve connections; `None`: one a core.
    pub workers: Option<NonZero<usize>>,
    /// The second listener.
    pub admin: Admin,
    /// Certificate and key; both listeners then speak TLS.
    pub tls: Option<Tls>,
    /// Whether a caller needs a key.
    pub auth: Auth,
    /// Whether nobody said so: then a gateway that is open is so only while no key exists.
    pub auth_by_default: bool,
    /// Where replicas share what they know.
    pub store: Store,
    /// What is made of its silence.
    pub store_terms: StoreTerms,
    /// Where the gateway keeps what must outlive it.
    pub state_dir: PathBuf,
    /// The record of every request.
    pub ledger: LedgerSettings,
    /// How long answers to requests with an `Idempotency-Key` are kept; zero: such a header means nothing.
    pub idempotency: Duration,
    /// Bounds on requests.
    pub limits: Limits,
    /// Pages of other origins that may call; `None`: none may.
    pub cors: Option<Cors>,
    /// The log.
    pub log: Log,
    /// The engine on this machine.
    pub local_engine: LocalEngine,
}

/// The admin listener.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What its callers must present; always there when it listens beyond loopback.
    pub token: Option<SecretString>,
}

/// Where replicas share what they know.
#[derive(Debug, Clone, Default)]
pub enum Store {
    /// Nowhere: this gateway is alone.
    #[default]
    Embedded,
    /// In the Redis at this address, which may hold a password.
    Redis(SecretString),
}

/// What is made of a store's silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreTerms {
    /// What happens to requests with a hard budget, where their policy says nothing else.
    pub on_loss: OnStoreLoss,
    /// How long a request waits at most for a store that is slow.
    pub patience: Duration,
}

impl Default for StoreTerms {
    fn default() -> Self {
        Self { on_loss: OnStoreLoss::default(), patience: Duration::from_secs(1) }
    }
}

/// How the ledger is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerSettings {
    /// The file.
    pub path: PathBuf,
    /// Whether each group of records is synced to the disk, so that a power cut costs none.
    pub synced: bool,
    /// How long records are kept; `None`: for ever.
    pub retention: Option<Duration>,
    /// The PostgreSQL that every record is sent to as well.
    pub postgres: Option<PostgresAddress>,
}

/// The address of a PostgreSQL, which may hold a password.
#[derive(Debug, Clone)]
pub struct PostgresAddress(pub SecretString);

impl PartialEq for PostgresAddress {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Eq for PostgresAddress {}

/// A certificate and its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Whether a caller needs a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Every request needs one.
    Required,
    /// A caller without a key is team `default`.
    Open,
}

/// Pages of other origins that may call from a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Their origins, as browsers spell them.
    pub origins: Vec<Arc<str>>,
    /// Whether any may.
    pub any: bool,
    /// How long a browser may keep the answer to a preflight.
    pub max_age: Duration,
}

/// Bounds on requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest request body, in bytes.
    pub body_bytes_max: u64,
    /// Whether request bodies may be compressed.
    pub compressed_bodies: bool,
    /// Longest header block of a request, in bytes.
    pub header_bytes_max: u64,
    /// Deepest nesting of a JSON body.
    pub json_depth_max: u32,
    /// Requests in flight at once; one more is answered 503.
    pub in_flight_max: u32,
    /// How long a request may take in all.
    pub request_timeout: Duration,
    /// How long running requests may go on once the gateway is told to stop.
    pub drain: Duration,
    /// How long a caller may take nothing of its answer.
    pub stall_timeout: Duration,
    /// What the kernel keeps for one caller until it is acknowledged, in bytes, as it is asked for.
    pub send_buffer_bytes: u64,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Lowest level written, in `tracing`'s filter language (`info`, `tollway=debug,hyper=warn`).
    pub level: Arc<str>,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// JSON where standard error is no terminal, words where it is.
    Auto,
    /// One JSON object a line.
    Json,
    /// Words for people.
    Text,
}

/// The engine on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalEngine {
    /// Which engine: `auto`, `embedded`, `off`, or another profile's name.
    pub profile: Arc<str>,
    /// The model file; `None`: the small model that ships with the gateway.
    pub model_file: Option<PathBuf>,
    /// Threads that compute; `None`: the engine chooses by the machine.
    pub threads: Option<u32>,
    /// Sequences worked on at once; `None`: the engine's own number.
    pub parallel: Option<u32>,
    /// Requests that may wait; `None`: the engine's own number.
    pub queue: Option<u32>,
    /// What the hardware costs an hour in USD, as typed; for people and dashboards, no charge rests on it.
    pub usd_per_hour: Option<Arc<str>>,
}

impl LocalEngine {
    /// The name its model is served under: of a file of the operator's own, the file's name without its end.
    pub fn model_name(&self) -> Arc<str> {
        let name = |file: &PathBuf| -> Option<Arc<str>> {
            let is_bundled = file.file_name()? == local_engine::MODEL_FILE;
            let stem = file.file_stem()?.to_str()?.to_lowercase();
            (!is_bundled && super::naming::is_model_name(&stem)).then(|| stem.into())
        };
        self.model_file.as_ref().and_then(name).unwrap_or_else(|| local_engine::MODEL_NAME.into())
    }

    /// Whether this machine serves a model at all, else why not.
    pub fn usable(&self) -> Result<(), Unusable> {
        match &*self.profile {
            "off" => Err(Unusable::Off),
            _ if !local_engine::AVAILABLE => Err(Unusable::NotBuilt),
            _ => Ok(()),
        }
    }

    /// Whether this machine serves a model at all.
    pub fn is_on(&self) -> bool {
        self.usable().is_ok()
    }
}

/// Someone who serves models.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Its name in the configuration, and the first half of its routes' names.
    pub name: Arc<str>,
    /// Its kind: the dialect.
    pub kind: Kind,
    /// Where its API lives, without a slash at the end; `None` for the engine on this machine.
    pub base_url: Option<http::Uri>,
    /// What it wants to see as bearer token.
    pub api_key: Option<SecretString>,
    /// Headers added to each of its requests.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// Where it processes requests.
    pub region: Option<Arc<str>>,
    /// How it goes on with an answer that another provider began.
    pub continuation: Continuation,
    /// Whether it is asked at its own `/responses` for what comes to ours.
    pub speaks_responses: bool,
    /// Whether link-local addresses may be dialled for it; every address is checked again when dialling.
    pub allow_link_local: bool,
    /// Whether it can be asked, else why not.
    pub usable: Result<(), Unusable>,
}

/// Why a provider is left aside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It wants a key and has none.
    #[error("no API key: set {0}, or `api_key` in its configuration")]
    NoKey(Arc<str>),
    /// Its key names a variable that is unset or empty.
    #[error("its API key stands in {0}, which is unset or empty")]
    KeyUnset(Arc<str>),
    /// Nobody said what it serves.
    #[error("no model is known for it: list some under `models`")]
    NoModels,
    /// It is the engine on this machine, and this build has none.
    #[error("this build is without the embedded engine")]
    NotBuilt,
    /// The operator switched it off.
    #[error("switched off in the configuration")]
    Off,
}

/// A caller's key.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name, for policies, metrics and logs.
    pub name: Arc<str>,
    /// Whose it is.
    pub team: Arc<str>,
    /// The person or service that has it.
    pub user: Option<Arc<str>>,
    /// What it belongs to.
    pub organisation: Option<Arc<str>>,
    /// From when on it lets nobody in.
    pub expires: Option<jiff::Timestamp>,
    /// What its requests count for by the key itself.
    pub limits: budget::Limits,
    /// SHA-256 of the key's text; the text itself is not kept.
    pub hash: [u8; 32],
    /// Models it may ask for, by the caller's word or by checkpoint; empty: all.
    pub models: Vec<Glob>,
    /// Tags that each of its requests carries.
    pub tags: Vec<(Arc<str>, Arc<str>)>,
}

/// What [`Key::hash`] holds for a key with this text.
///
/// Plain SHA-256: keys are long random texts, so that nobody guesses one from its hash, and `sha256sum` makes the same.
pub fn key_hash(text: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(text).into()
}
