//! `tollway serve`: puts the parts together, runs them, and takes them down in order.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::config::{Location, LogFormat, Problems, Settings, Snapshot, Snapshots, Store};
use crate::gateway::framing::{HeadLimits, Refusal, RequestBody};
use crate::gateway::listener::{self, ConnInfo, ListenerSettings};
use crate::gateway::tasks::Tasks;
use crate::gateway::tls::TlsReload;
use crate::gateway::workers::Workers;
use crate::gateway::{Gateway, answer, auth, fleet, lookups, probes};
use crate::relay::account::Books;
use crate::store::keys::usage;
use crate::store::{KeyStore, Shared, postgres};
use crate::telemetry::{AccessLog, Metrics};
use crate::units::{Clock, SystemClock};

use super::engine_host::EngineHost;
use super::keys::admin_token_in;
use super::stores;

/// How long the words about where to point a client wait for the engine.
const ENGINE_PATIENCE: Duration = Duration::from_secs(5);

/// Run the gateway.
///
/// Example: tollway serve --config tollway.yaml --policies policies
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration file; without one the built-in defaults serve.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where callers connect, instead of the configuration's `listen`.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The folder of policies.
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
}

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("{0}")]
    Configuration(Problems),
    #[error(
        "cannot listen on {address}: {error}. Is another gateway running there? --listen names another address."
    )]
    Listen { address: SocketAddr, error: std::io::Error },
    #[error("{0}")]
    Money(#[from] stores::Error),
    #[error("store: {0}")]
    Store(#[from] crate::store::Error),
    #[error("keys: {0}")]
    Keys(#[from] crate::store::keys::Error),
    #[error("TLS: {0}")]
    Tls(#[from] crate::gateway::tls::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Runs until SIGTERM or SIGINT. 0 after a clean stop, 2 for a configuration that is wrong, 1 for anything else.
pub(super) fn run(args: Args) -> ExitCode {
    let mut location = Location::new(args.config, args.policies);
    location.listen = args.listen;
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(Stopped::Io)
        .and_then(|runtime| {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
            let snapshots = Snapshots::open(location).map_err(Stopped::Configuration)?;
            runtime.block_on(serve(snapshots, clock))
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(stopped) => {
            let _ = writeln!(anstream::stderr(), "tollway: {stopped}");
            ExitCode::from(if matches!(stopped, Stopped::Configuration(_)) { 2 } else { 1 })
        }
    }
}

async fn serve(snapshots: Snapshots, clock: Arc<dyn Clock>) -> Result<(), Stopped> {
    let snapshot = snapshots.load();
    let settings = snapshot.settings.clone();
    start_log(&settings);
    for warning in &snapshot.warnings {
        tracing::warn!(problem = %warning.to_string().trim_end(), "configuration");
    }
    let metrics = Arc::new(Metrics::new());
    let (log, log_writer) = AccessLog::into_sink(std::io::stdout(), metrics.log_dropped())?;
    let books = Books { metrics: Arc::clone(&metrics), log, clock: Arc::clone(&clock) };

    let listener_settings = listener_settings(&settings);
    let traffic = bind(settings.listen, &listener_settings)?;
    let admin_listener = bind(settings.admin.listen, &listener_settings)?;
    let tls = settings.tls.as_ref().map(|tls| TlsReload::load(&tls.cert, &tls.key)).transpose()?;

    let tasks = {
        let metrics = Arc::clone(&metrics);
        Tasks::reporting(move |task, said| {
            metrics.panicked();
            tracing::error!(task, said, "a bug ended a task");
        })
    };
    let engine = Arc::new(EngineHost::start(&settings));
    let (treasury, heirs) = stores::treasury(&settings, &metrics, &clock).await?;
    let sender = stores::sender(&settings, &treasury, &clock)?;
    let kept = stores::Kept::open(&settings, &clock).await?;
    let (key_store, purse) = (key_store(&settings)?, Some(Arc::clone(&treasury)));
    let gateway = Gateway::new(Arc::clone(&snapshot), engine.socket(), books, purse, key_store);
    let gateway = Arc::new(gateway.keeping(Arc::clone(&kept.answers), Arc::clone(&kept.once)));
    // Before anybody is let in; what cannot be read now is tried again by the task.
    if let Err(error) = gateway.keys.prepare().await {
        tracing::warn!(%error, "the store of keys cannot be read yet");
    }
    metrics.reload(Some((snapshot.generation, seconds(&*clock))));

    let announced = (traffic.local_addr()?, admin_listener.local_addr()?);
    let running = Running {
        gateway,
        snapshots,
        engine,
        tls,
        tasks,
        workers: Workers::start(settings.workers)?,
        settings: listener_settings,
        own_token: own_token(&settings),
        ledger: settings.ledger.path.clone(),
    };
    let stop = CancellationToken::new();
    let stop_admin = CancellationToken::new();
    let (traffic, admin) =
        (running.traffic(traffic, stop.clone()), running.admin(admin_listener, stop_admin.clone()));
    let follow = running.follow();
    let announcing = async {
        // So that the line it prints works as it stands.
        running.engine.until_ready(ENGINE_PATIENCE).await;
        announce(announced, &running.gateway, &snapshot, running.tls.is_some());
    };

    running
        .tasks
        .spawn("probes", probes::run(Arc::clone(&running.gateway), running.tasks.clone(), stop.clone()));
    running.tasks.spawn("lookups", lookups::run(Arc::clone(&running.gateway), stop.clone()));
    let of_keys = (Arc::clone(&running.gateway), stop.clone());
    running.tasks.spawn("keys", async move { of_keys.0.keys.follow(of_keys.1).await });
    if let Store::Redis(url) = &settings.store {
        let shared = Shared::new(url.expose_secret(), running.gateway.unique_name())?;
        running.tasks.spawn("fleet", fleet::run(Arc::clone(&running.gateway), shared, stop.clone()));
    }

    let mut traffic = std::pin::pin!(traffic);
    let stopping = async {
        wait_for_stop(&running).await;
        // Not ready first, so that whoever balances the load looks elsewhere before connections are refused.
        running.gateway.start_draining();
        tracing::info!("stopping: running requests may end, new ones are refused");
        stop.cancel();
    };
    let serving = async {
        tokio::join!(stopping, traffic.as_mut(), announcing);
        running.engine.stop().await;
        stop_admin.cancel();
    };
    let stop_bank = CancellationToken::new();
    let serving = async {
        tokio::select! {
            ((), _) = async { tokio::join!(serving, admin) } => {}
            () = follow => {}
        }
        // What the last requests cost is told to the others first.
        stop_bank.cancel();
    };
    let keeping = kept.run(stop_bank.clone());
    let banking = async {
        if let Some(heirs) = heirs {
            heirs.run(stop_bank.clone()).await;
        }
    };
    let sending = async {
        if let Some(sender) = sender {
            postgres::run(sender, stop_bank.clone()).await;
        }
    };
    tokio::join!(serving, banking, sending, keeping);
    treasury.close().await;
    kept.once.close().await;
    drop(log_writer);
    Ok(())
}

/// What runs, for as long as it does.
struct Running {
    gateway: Arc<Gateway>,
    snapshots: Snapshots,
    engine: Arc<EngineHost>,
    tls: Option<TlsReload>,
    tasks: Tasks,
    workers: Workers,
    settings: ListenerSettings,
    own_token: Option<SecretString>,
    ledger: PathBuf,
}

impl Running {
    fn traffic(&self, listener: TcpListener, stop: CancellationToken) -> impl Future<Output = usize> + use<> {
        let gateway = Arc::clone(&self.gateway);
        let service = move |mut request: Request<RequestBody>, from: ConnInfo| {
            request.extensions_mut().insert(from);
            answer::answer(Arc::clone(&gateway), request)
        };
        let gateway = Arc::clone(&self.gateway);
        let refuse = move |refusal: Refusal| answer::refused(&gateway, refusal);
        let tasks = self.tasks.over(self.workers.clone());
        listener::serve(listener, self.tls.clone(), self.settings, service, refuse, tasks, stop)
    }

    fn admin(&self, listener: TcpListener, stop: CancellationToken) -> impl Future<Output = usize> + use<> {
        let engine = Arc::clone(&self.engine);
        let (of_reload, of_problem) = (self.reloader(), self.snapshots.clone());
        let (ledger, clock) = (self.ledger.clone(), Arc::clone(&self.gateway.books.clock));
        let admin = Arc::new(Admin {
            gateway: Arc::clone(&self.gateway),
            engine: Arc::new(move || engine.view()),
            reload: Arc::new(of_reload),
            reload_problem: Arc::new(move || of_problem.problem()),
            own_token: self.own_token.clone(),
            usage: Some(Arc::new(move |name| usage(&ledger, name, clock.now().wall))),
        });
        let service = move |request, from: ConnInfo| {
            let admin = Arc::clone(&admin);
            async move { admin.answer(request, from).await }
        };
        // Probes and scrapers go on until the last request has ended.
        let settings = ListenerSettings { drain_timeout: Duration::from_secs(1), ..self.settings };
        listener::serve(
            listener,
            self.tls.clone(),
            settings,
            service,
            Admin::refused,
            self.tasks.clone(),
            stop,
        )
    }

    /// Follows the files until the end of the process.
    fn follow(&self) -> impl Future<Output = ()> + use<> {
        let (snapshots, gateway) = (self.snapshots.clone(), Arc::clone(&self.gateway));
        async move { snapshots.follow(|outcome| drop(take(&gateway, outcome))).await }
    }

    fn reloader(&self) -> impl Fn() -> Result<u64, String> + Send + Sync + use<> {
        let (snapshots, gateway) = (self.snapshots.clone(), Arc::clone(&self.gateway));
        move || take(&gateway, snapshots.reload())
    }
}

/// Puts a new snapshot in force, or says why the old one stays.
fn take(gateway: &Gateway, outcome: Result<Arc<Snapshot>, Problems>) -> Result<u64, String> {
    let metrics = &gateway.books.metrics;
    match outcome {
        Ok(snapshot) => {
            let generation = snapshot.generation;
            for warning in &snapshot.warnings {
                tracing::warn!(problem = %warning.to_string().trim_end(), "configuration");
            }
            gateway.replace(snapshot);
            metrics.reload(Some((generation, seconds(&*gateway.books.clock))));
            tracing::info!(generation, "the configuration was reloaded");
            Ok(generation)
        }
        Err(problems) => {
            metrics.reload(None);
            let words = problems.to_string();
            tracing::error!(problems = %words.trim_end(), "the new configuration is not taken; the old one stays in force");
            Err(words)
        }
    }
}

/// SIGTERM or SIGINT ends this; SIGHUP reads the configuration and the certificate again.
async fn wait_for_stop(running: &Running) {
    let (Ok(mut term), Ok(mut int), Ok(mut hup)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()))
    else {
        tracing::error!("signals cannot be heard on this system: stop the process by force");
        return std::future::pending().await;
    };
    let reload = running.reloader();
    loop {
        tokio::select! {
            _ = term.recv() => return,
            _ = int.recv() => return,
            _ = hup.recv() => {
                drop(reload());
                if let Some(Err(error)) = running.tls.as_ref().map(TlsReload::reload) {
                    tracing::error!(%error, "the new certificate is not taken; the old one stays in force");
                }
            }
        }
    }
}

/// Where keys are kept. A folder that cannot be written to holds none; keys that are there and cannot be read are no reason to
/// go on without them.
fn key_store(settings: &Settings) -> Result<Option<KeyStore>, Stopped> {
    match &settings.store {
        Store::Redis(url) => Ok(Some(KeyStore::in_redis(url.expose_secret(), &settings.state_dir)?)),
        Store::Embedded => match KeyStore::in_folder(&settings.state_dir) {
            Ok(store) => Ok(Some(store)),
            Err(error) if settings.state_dir.join("keys.db").exists() => Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "no virtual keys can be kept here");
                Ok(None)
            }
        },
    }
}

/// The token that `/admin/v1/keys` needs where the configuration names none: made once, for whoever may read `state_dir`.
fn own_token(settings: &Settings) -> Option<SecretString> {
    if settings.admin.token.is_some() {
        return None;
    }
    match admin_token_in(&settings.state_dir) {
        Ok(token) => Some(token),
        Err(error) => {
            tracing::warn!(%error, "keys can be changed over the admin listener only once admin.token is set");
            None
        }
    }
}

fn bind(address: SocketAddr, settings: &ListenerSettings) -> Result<TcpListener, Stopped> {
    listener::bind(address, settings).map_err(|error| Stopped::Listen { address, error })
}

/// The least time that a caller has to take something of its answer.
const STALL_TIMEOUT_MIN: Duration = Duration::from_secs(1);

fn listener_settings(settings: &Settings) -> ListenerSettings {
    let defaults = ListenerSettings::default();
    let head_bytes_max = usize::try_from(settings.limits.header_bytes_max).unwrap_or(usize::MAX);
    ListenerSettings {
        drain_timeout: settings.limits.drain,
        // Nobody takes an answer in no time.
        write_stall_timeout: settings.limits.stall_timeout.max(STALL_TIMEOUT_MIN),
        send_buffer_bytes: Some(u32::try_from(settings.limits.send_buffer_bytes).unwrap_or(u32::MAX)),
        head: HeadLimits { head_bytes_max, ..defaults.head },
        ..defaults
    }
}

fn start_log(settings: &Settings) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_new(&*settings.log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = std::io::stderr().is_terminal();
    let json = match settings.log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !terminal,
    };
    let colour = terminal && std::env::var_os("NO_COLOR").is_none();
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    // A second gateway in one process (a test) keeps the first one's log.
    let _ = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_target(false).try_init()
    };
}

/// Says where to point a client, with a line that works as it stands.
fn announce((traffic, admin): (SocketAddr, SocketAddr), gateway: &Gateway, snapshot: &Snapshot, tls: bool) {
    let keys = gateway.keys.table();
    let scheme = if tls { "https" } else { "http" };
    let counts = snapshot.counts();
    let model = snapshot
        .names
        .listed()
        .find(|listed| listed.providers.iter().any(|provider| **provider == *"local"))
        .or_else(|| snapshot.names.listed().next());
    let is_open = auth::is_open(&snapshot.settings, &keys);
    let key = if is_open { "" } else { "-H 'authorization: Bearer YOUR_KEY' " };
    let mut out = anstream::stderr();
    // Nobody may be reading; that is no reason not to serve. In one write, so that who waits for this line never sees half of it.
    let line = format!("listening traffic={traffic} admin={admin}\n");
    let _ = out.write_all(line.as_bytes());
    let _ = writeln!(
        out,
        "{} of {} providers usable, {} routes, {} policies, {} keys",
        counts.usable,
        counts.providers,
        counts.routes,
        counts.policies,
        keys.len()
    );
    let _ = writeln!(out, "\n  export OPENAI_BASE_URL={scheme}://{traffic}/v1");
    if let Some(model) = model {
        let _ = writeln!(
            out,
            "  curl {scheme}://{traffic}/v1/chat/completions {key}-H 'content-type: application/json' \\\n    \
             -d '{{\"model\": \"{}\", \"max_tokens\": 40, \"messages\": [{{\"role\": \"system\", \"content\": \"You are a helpful assistant.\"}}, \
             {{\"role\": \"user\", \"content\": \"What is the capital of France?\"}}]}}'\n",
            model.id
        );
    }
}

fn seconds(clock: &dyn Clock) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this century are exact in a float")]
    let millis = clock.now().wall.as_millisecond() as f64;
    millis / 1000.0
}
