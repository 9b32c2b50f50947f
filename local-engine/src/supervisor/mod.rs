//! Keeps the worker process alive, and knows how it is.
//!
//! - `process` starts one worker in a group of its own and ends it, leftovers of an earlier gateway included;
//! - `probe` speaks HTTP to it over the socket;
//! - `status` is what others see;
//! - here is the loop: start, wait until ready, watch, back off, again.

mod probe;
mod process;
mod status;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::status::{EngineState, EngineStatus};
use self::{
    probe::{Figures, Probe},
    process::Worker,
};
use crate::EngineSettings;

const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MOST: Duration = Duration::from_mins(1);

/// A worker that stayed ready this long has proved itself: the next fault starts the back-off anew.
const PROVEN: Duration = Duration::from_mins(1);

/// How often a missing model file is looked for again.
const MISSING_INTERVAL: Duration = Duration::from_secs(2);

/// How often a loading worker is asked whether it is ready.
const READY_INTERVAL: Duration = Duration::from_millis(50);

/// The embedded engine's keeper. Dropping it ends the worker at once; [`Supervisor::shutdown`] lets running answers end.
#[derive(Debug)]
pub struct Supervisor {
    seen: Arc<Seen>,
    stop: CancellationToken,
    grace: watch::Sender<Duration>,
    tasks: TaskTracker,
}

/// What the loop knows and others may see.
#[derive(Debug)]
struct Seen {
    socket: PathBuf,
    status: Mutex<EngineStatus>,
    ready: watch::Sender<bool>,
}

/// How one worker's life ended.
enum Ended {
    /// We were told to stop.
    Stopped,
    /// It crashed, hung or did not start: the words say which.
    Fault { reason: String, proven: bool },
}

impl Supervisor {
    /// Starts to keep a worker. Returns at once; [`Supervisor::status`] tells how far it is, and nothing here can fail
    /// in a way that stops the caller.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn start(settings: EngineSettings) -> Self {
        let socket = process::socket_path(&settings.state_dir);
        let status = EngineStatus::new(&settings, &socket);
        let seen = Arc::new(Seen { socket, status: Mutex::new(status), ready: watch::Sender::new(false) });
        let stop = CancellationToken::new();
        let (grace, grace_wanted) = watch::channel(Duration::ZERO);
        let tasks = TaskTracker::new();
        let keeper = Keeper { settings, seen: Arc::clone(&seen), stop: stop.clone(), grace: grace_wanted };
        tasks.spawn(keeper.run());
        tasks.close();
        Self { seen, stop, grace, tasks }
    }

    /// How the engine is now.
    pub fn status(&self) -> EngineStatus {
        self.seen.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where the worker listens. It does only while the state is ready.
    pub fn socket(&self) -> &Path {
        &self.seen.socket
    }

    /// True while the worker can take requests; changes wake whoever waits on it.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.seen.ready.subscribe()
    }

    /// Ends the worker: no new requests, up to `grace` for those that run, then the whole group is killed.
    /// Dropping this future leaves the worker to end by itself; calling it twice is harmless.
    pub async fn shutdown(&self, grace: Duration) {
        self.grace.send_replace(grace);
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Supervisor {
    /// The keeper sees this, and its worker goes with it.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Seen {
    fn change(&self, change: impl FnOnce(&mut EngineStatus)) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut status);
        let ready = status.state == EngineState::Ready;
        drop(status);
        self.ready.send_if_modified(|was| std::mem::replace(was, ready) != ready);
    }
}

/// The task behind a supervisor.
struct Keeper {
    settings: EngineSettings,
    seen: Arc<Seen>,
    stop: CancellationToken,
    grace: watch::Receiver<Duration>,
}

impl Keeper {
    async fn run(self) {
        let mut backoff = BACKOFF_FIRST;
        while !self.stop.is_cancelled() {
            if let Err(reason) = self.obstacle() {
                self.seen.change(|status| status.fail(EngineState::Failed, reason));
                self.pause(MISSING_INTERVAL).await;
                continue;
            }
            match self.one_worker().await {
                Ended::Stopped => break,
                Ended::Fault { reason, proven } => {
                    if proven {
                        backoff = BACKOFF_FIRST;
                    }
                    let wait = backoff.mul_f64(0.75 + fastrand::f64() * 0.5).min(BACKOFF_MOST);
                    backoff = (backoff * 2).min(BACKOFF_MOST);
                    tracing::warn!(%reason, wait_ms = wait.as_millis(), "the local engine ended; it is started again after a pause");
                    self.seen.change(|status| {
                        status.restarts += 1;
                        status.fail(EngineState::BackingOff, reason);
                    });
                    self.pause(wait).await;
                }
            }
        }
        self.seen.change(|status| status.fail(EngineState::Off, "stopped".to_owned()));
    }

    /// What no restart can cure.
    fn obstacle(&self) -> Result<(), String> {
        if !crate::AVAILABLE && self.settings.program.is_none() {
            return Err(
                "this build has no embedded engine; build with the feature `embedded-engine`".to_owned()
            );
        }
        if !self.settings.model.is_file() {
            return Err(format!(
                "the model file {} is missing; fetch it with `make model` or `python3 scripts/fetch-model.py`, and the engine starts by itself",
                self.settings.model.display()
            ));
        }
        Ok(())
    }

    /// From start to end of one worker.
    async fn one_worker(&self) -> Ended {
        self.seen.change(EngineStatus::start);
        let fault = |reason| Ended::Fault { reason, proven: false };
        let mut worker = match Worker::start(&self.settings, &self.seen.socket).await {
            Ok(worker) => worker,
            Err(error) => return fault(error.to_string()),
        };
        self.seen.change(|status| status.pid = worker.pid());
        let probe = Probe::new(&self.seen.socket, &self.settings.model_name);
        let ended = tokio::select! {
            () = self.stop.cancelled() => Ended::Stopped,
            reason = worker.ended() => fault(reason),
            ended = self.until_fault(&probe) => ended,
        };
        // Out of the rotation first: nobody should be sent to a worker that is ending.
        self.seen.change(|status| status.fail(EngineState::BackingOff, "ending".to_owned()));
        let grace = if matches!(ended, Ended::Stopped) { *self.grace.borrow() } else { Duration::ZERO };
        worker.end(grace).await;
        match ended {
            Ended::Fault { reason, proven } => Ended::Fault { reason: worker.last_words(&reason), proven },
            Ended::Stopped => Ended::Stopped,
        }
    }

    /// Waits until the worker is ready and then watches it; returns only when something is wrong.
    async fn until_fault(&self, probe: &Probe) -> Ended {
        let started = Instant::now();
        while !probe.healthy().await {
            if started.elapsed() > self.settings.start_timeout {
                let reason = format!("not ready after {} s", self.settings.start_timeout.as_secs());
                return Ended::Fault { reason, proven: false };
            }
            self.pause(READY_INTERVAL).await;
        }
        self.seen.change(|status| status.become_ready(started.elapsed()));
        let ready_since = Instant::now();
        let reason = self.watch(probe).await;
        Ended::Fault { reason, proven: ready_since.elapsed() >= PROVEN }
    }

    /// Watches a ready worker: it must answer, it must make progress while it has work, and an idle one must still be
    /// able to compute a token.
    async fn watch(&self, probe: &Probe) -> String {
        let hang = self.settings.hang_timeout;
        let mut last_steps = 0;
        let mut progress_at = Instant::now();
        let mut computed_at = Instant::now();
        loop {
            self.pause(self.settings.watch_interval).await;
            let Ok(Some(figures)) = tokio::time::timeout(hang, probe.status()).await else {
                return format!("hung: no answer within {} s", hang.as_secs_f32());
            };
            self.seen.change(|status| figures.put_into(status));
            if figures.steps_total != last_steps || figures.idle() {
                last_steps = figures.steps_total;
                progress_at = Instant::now();
            }
            if !figures.idle() {
                computed_at = Instant::now();
            }
            if progress_at.elapsed() > hang {
                return format!(
                    "hung: {} requests and no progress for {} s",
                    figures.running,
                    hang.as_secs_f32()
                );
            }
            if computed_at.elapsed() > self.settings.probe_interval {
                if !matches!(tokio::time::timeout(hang, probe.one_token()).await, Ok(true)) {
                    return format!("hung: idle, but no token within {} s", hang.as_secs_f32());
                }
                computed_at = Instant::now();
            }
        }
    }

    /// Waits, or less if we are told to stop.
    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.stop.cancelled() => {}
        }
    }
}

impl Figures {
    fn idle(&self) -> bool {
        self.running == 0 && self.queued == 0
    }
}
