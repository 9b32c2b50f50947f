//! What serves: one snapshot with all that is made from it, swapped whole, and what outlives every snapshot.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue};
use tokio::sync::{Notify, Semaphore};

use crate::budget::HoldId;
use crate::config::Snapshot;
use crate::providers::Kind;
use crate::relay::account::Books;
use crate::routing::RouteId;
use crate::routing::learn::breaker::State;
use crate::routing::learn::retries::RetryBudget;
use crate::store::KeyStore;
use crate::store::answers::{Answers, Once};
use crate::telemetry::{InFlight, Metrics, Series};
use crate::treasury::Treasury;
use crate::units::RequestId;
use crate::upstream::attempt::Target;
use crate::upstream::client::Client;
use crate::upstream::connect::{LOCAL_HOST, LinkLocalHosts};
use crate::upstream::fallback::Upstreams;
use crate::upstream::health::Archive;
use crate::upstream::{Demand, Prefixes, RouteHealth, Stays};

use super::decisions::Decisions;
use super::keyring::Keyring;
use super::logins::Logins;
use super::price_watch::PriceWatch;

/// The gateway: what outlives every configuration.
pub struct Gateway {
    live: ArcSwap<Live>,
    lasting: Lasting,
    room: Arc<Semaphore>,
    draining: AtomicBool,
    ids: Ids,
    /// Callers' keys.
    pub keys: Keyring,
    /// Logins that failed.
    pub logins: Logins,
    treasury: Option<Arc<Treasury>>,
    /// Answers kept for equal requests.
    pub answers: Arc<Answers>,
    /// Requests that their callers have named.
    pub once: Arc<Once>,
    /// The last decisions.
    pub decisions: Arc<Decisions>,
    /// Metrics, access log and time.
    pub books: Books,
}

/// What is learnt and held over every reload.
struct Lasting {
    client: Client,
    link_local: LinkLocalHosts,
    health: Archive<RouteHealth>,
    budgets: Archive<Mutex<RetryBudget>>,
    demand: Arc<Demand>,
    prefixes: Arc<Prefixes>,
    stays: Arc<Stays>,
    attempts: Arc<AtomicU64>,
    news: Arc<Notify>,
}

/// One snapshot, and all that is made from it.
pub struct Live {
    /// The configuration.
    pub snapshot: Arc<Snapshot>,
    /// Connections, health and retries for its routes.
    pub upstreams: Upstreams,
    /// Each route's name as a header, by `RouteId`.
    pub route_names: Vec<HeaderValue>,
    /// Each policy's name as a header.
    pub policy_names: Vec<HeaderValue>,
    series: RwLock<HashMap<SeriesKey, Arc<Series>>>,
    prices: PriceWatch,
}

/// Policy and route by their place in the snapshot, and the team: bounded by the configuration and the keys.
type SeriesKey = (u16, Arc<str>, RouteId);

impl Gateway {
    /// A gateway that serves `snapshot`. `local_socket` is where the local engine listens, `key_store` where keys are kept beside
    /// the configuration's.
    /// Without a `treasury` nothing is held, and nothing recorded beyond metrics and log.
    pub fn new(
        snapshot: Arc<Snapshot>,
        local_socket: Option<Arc<Path>>,
        books: Books,
        treasury: Option<Arc<Treasury>>,
        key_store: Option<KeyStore>,
    ) -> Self {
        let link_local: LinkLocalHosts = Arc::new(ArcSwap::from_pointee(HashSet::new()));
        let decisions = Arc::new(Decisions::default());
        decisions.under(Arc::clone(&snapshot));
        if let Some(treasury) = &treasury {
            treasury.know(&snapshot.fixed_budgets());
        }
        let lasting = Lasting {
            client: Client::new(local_socket, Arc::clone(&link_local)),
            link_local,
            health: Archive::default(),
            budgets: Archive::default(),
            demand: Arc::default(),
            prefixes: Arc::default(),
            stays: Arc::default(),
            attempts: Arc::default(),
            news: Arc::default(),
        };
        let room = usize::try_from(snapshot.settings.limits.in_flight_max).unwrap_or(Semaphore::MAX_PERMITS);
        let keys = Keyring::new(&snapshot, key_store);
        let live = ArcSwap::from_pointee(Live::new(snapshot, &lasting, &books));
        Self {
            live,
            lasting,
            room: Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS))),
            draining: AtomicBool::new(false),
            ids: Ids::new(),
            keys,
            logins: Logins::new(Arc::clone(&books.clock)),
            treasury,
            answers: Arc::default(),
            once: Arc::new(Once::forgetful(Arc::clone(&books.clock))),
            decisions,
            books,
        }
    }

    /// The same, which keeps answers there.
    #[must_use]
    pub fn keeping(self, answers: Arc<Answers>, once: Arc<Once>) -> Self {
        Self { answers, once, ..self }
    }

    /// The snapshot in force, to keep for one request.
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Puts `snapshot` in force. Requests under way end under the one they began with.
    pub fn replace(&self, snapshot: Arc<Snapshot>) {
        if let Some(treasury) = &self.treasury {
            treasury.know(&snapshot.fixed_budgets());
        }
        self.decisions.under(Arc::clone(&snapshot));
        self.keys.under(&snapshot);
        self.live.store(Arc::new(Live::new(snapshot, &self.lasting, &self.books)));
    }

    /// A place among the requests that may be in flight at once.
    pub fn enter(&self) -> Option<InFlight> {
        Arc::clone(&self.room).try_acquire_owned().ok().map(InFlight::new)
    }

    /// The caller's own request id if it is well formed, else a new one.
    pub fn request_id(&self, headers: &HeaderMap) -> RequestId {
        let own = headers.get("x-request-id").and_then(|value| RequestId::from_caller(value.as_bytes()));
        own.unwrap_or_else(|| self.ids.next())
    }

    /// Who says whether a request may spend.
    pub const fn treasury(&self) -> Option<&Arc<Treasury>> {
        self.treasury.as_ref()
    }

    /// A hold's name, which no other hold has or had.
    pub fn hold_id(&self) -> HoldId {
        HoldId(self.ids.bits())
    }

    /// The id of a request of the gateway's own.
    pub fn own_id(&self) -> RequestId {
        self.ids.next()
    }

    /// A name that no other process has.
    pub fn unique_name(&self) -> String {
        self.ids.next().to_string()
    }

    /// Woken when other replicas should hear at once of something.
    pub fn news(&self) -> &Notify {
        &self.lasting.news
    }

    /// A number from 0 to below 1.
    pub fn draw(&self) -> f32 {
        self.ids.draw()
    }

    /// From now on not ready: the load balancer should send no more.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Whether it has been told to stop.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }
}

impl Live {
    fn new(snapshot: Arc<Snapshot>, lasting: &Lasting, books: &Books) -> Self {
        let routes = snapshot.routes.iter();
        let upstreams = Upstreams {
            client: lasting.client.clone(),
            targets: snapshot.providers.iter().map(target).collect(),
            health: lasting
                .health
                .of(routes.clone().map(|route| (&route.name, route.local)), |queues, number| {
                    RouteHealth::new(queues, RouteId(number)).telling(Arc::clone(&lasting.news))
                }),
            budgets: lasting
                .budgets
                .of(routes.map(|route| (&route.checkpoint, ())), |(), _| Mutex::default()),
            demand: Arc::clone(&lasting.demand),
            prefixes: Arc::clone(&lasting.prefixes),
            stays: Arc::clone(&lasting.stays),
            metrics: Arc::clone(&books.metrics),
            clock: Arc::clone(&books.clock),
            attempts: Arc::clone(&lasting.attempts),
        };
        lasting
            .demand
            .keep_only(&snapshot.policies, |name| snapshot.routes.iter().any(|route| *route.name == *name));
        let allowed = snapshot.providers.iter().filter(|provider| provider.allow_link_local);
        let hosts =
            allowed.filter_map(|provider| provider.base_url.as_ref()?.host().map(str::to_owned)).collect();
        lasting.link_local.store(Arc::new(hosts));
        let prices = PriceWatch::default();
        books.metrics.forget_prices();
        prices.tell(&snapshot, &books.metrics, books.clock.now().wall);
        Self {
            route_names: snapshot.routes.iter().map(|route| header_of(&route.name)).collect(),
            policy_names: snapshot.policies.iter().map(|policy| header_of(&policy.name)).collect(),
            series: RwLock::default(),
            prices,
            snapshot,
            upstreams,
        }
    }

    /// Sets the gauges of every breaker to the state it is in now, since an open one becomes half open by time alone, and
    /// those of every promise.
    pub fn tell_breakers(&self) {
        self.upstreams.demand.tell(&self.upstreams.metrics);
        let now = self.upstreams.clock.now().mono;
        let states = State::ALL.map(State::name);
        for (route, health) in self.snapshot.routes.iter().zip(&self.upstreams.health) {
            let state = health.breaker_state(now).name();
            self.upstreams.metrics.breaker(&route.provider, &route.checkpoint, &states, state, false);
        }
    }

    /// Sets the gauges of prices to what is in force now: windows open and close, and prices age, by time alone.
    pub fn tell_prices(&self) {
        self.prices.tell(&self.snapshot, &self.upstreams.metrics, self.upstreams.clock.now().wall);
    }

    /// The metric handles of a request; made at its first, found afterwards.
    pub fn series(&self, metrics: &Metrics, policy: usize, team: Arc<str>, route: RouteId) -> Arc<Series> {
        let place = |index: usize| u16::try_from(index).unwrap_or(u16::MAX);
        let id = (place(policy), team, route);
        if let Some(known) = self.series.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Arc::clone(known);
        }
        let policy_name = self.snapshot.policies.get(policy).map_or("", |policy| &*policy.name);
        let (provider, model) =
            self.snapshot.route(route).map_or(("", ""), |r| (&*r.provider, &*r.checkpoint));
        let made = Arc::new(metrics.series(policy_name, &id.1, provider, model));
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(series.entry(id).or_insert(made))
    }
}

fn target(provider: &crate::config::Provider) -> Option<Target> {
    if provider.usable.is_err() {
        return None;
    }
    let local = format!("http://{LOCAL_HOST}/v1");
    let base_url = match (&provider.base_url, provider.kind) {
        (Some(url), _) => url.to_string(),
        (None, Kind::Local) => local,
        (None, _) => return None,
    };
    let extra: HeaderMap = provider.headers.iter().cloned().collect();
    let key = provider.api_key.as_ref().map(secrecy::ExposeSecret::expose_secret);
    match Target::new(provider.kind, provider.continuation, &base_url, key, &extra) {
        Ok(target) => Some(target.speaking_responses(provider.speaks_responses)),
        Err(error) => {
            tracing::error!(provider = &*provider.name, %error, "this provider cannot be spoken to and is left out");
            None
        }
    }
}

/// A name from the configuration as a header's value; names are checked when the configuration is compiled.
fn header_of(name: &str) -> HeaderValue {
    HeaderValue::from_str(name).unwrap_or_else(|_| HeaderValue::from_static("unprintable"))
}

/// Makes request ids: a counter under two keyed hashes whose keys nobody outside knows.
struct Ids {
    keys: [RandomState; 2],
    counter: AtomicU64,
}

impl Ids {
    fn new() -> Self {
        Self { keys: [RandomState::new(), RandomState::new()], counter: AtomicU64::new(0) }
    }

    fn next(&self) -> RequestId {
        RequestId::from_bits(self.bits())
    }

    fn bits(&self) -> u128 {
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let [high, low] = self.keys.each_ref().map(|key| u128::from(key.hash_one(count)));
        high << 64 | low
    }

    fn draw(&self) -> f32 {
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        // Of a pair, so that it tells nothing of the ids.
        #[expect(clippy::cast_precision_loss, reason = "24 bits are exact")]
        let share = (self.keys[0].hash_one((count, "draw")) >> 40) as f32 / (1 << 24) as f32;
        share
    }
}
