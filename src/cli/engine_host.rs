//! The local engine as `serve` hosts it: a supervisor whose worker is this same binary under a hidden verb.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use local_engine::{EngineSettings, EngineState, EngineStatus, Supervisor};

use crate::admin::EngineView;
use crate::config::{LocalEngine, Settings};

/// How long answers under way may take once the gateway has drained: there should be none left.
const GRACE: Duration = Duration::from_secs(2);

/// The engine's supervisor, or nothing where the engine is off.
pub(super) struct EngineHost {
    supervisor: Option<Supervisor>,
    usd_per_hour: f64,
}

impl EngineHost {
    /// Starts the engine that the settings ask for. Returns at once; the engine loads meanwhile.
    pub(super) fn start(settings: &Settings) -> Self {
        let engine = &settings.local_engine;
        let supervisor =
            engine.is_on().then(|| Supervisor::start(engine_settings(engine, &settings.state_dir)));
        let usd_per_hour = engine.usd_per_hour.as_deref().and_then(|usd| usd.parse().ok()).unwrap_or(0.0);
        Self { supervisor, usd_per_hour }
    }

    /// Where it listens.
    pub(super) fn socket(&self) -> Option<Arc<Path>> {
        self.supervisor.as_ref().map(|supervisor| supervisor.socket().into())
    }

    /// How it is.
    pub(super) fn view(&self) -> EngineView {
        let status = match &self.supervisor {
            Some(supervisor) => supervisor.status(),
            None => EngineStatus::off("switched off in the configuration"),
        };
        let kv_share = f64::from(status.kv_tokens) / f64::from(status.context_tokens.max(1));
        EngineView {
            // Strings and numbers always serialise.
            json: serde_json::to_vec(&status).map(Bytes::from).unwrap_or_default(),
            ready: status.state == EngineState::Ready,
            state: state_name(status.state),
            figures: [f64::from(status.queued), f64::from(status.running), kv_share, self.usd_per_hour],
        }
    }

    /// Waits until it takes requests, for at most `patience`; a missing model or a crash is no reason to wait on.
    pub(super) async fn until_ready(&self, patience: Duration) {
        let Some(supervisor) = &self.supervisor else { return };
        let mut ready = supervisor.ready();
        let settled = async {
            while !*ready.borrow_and_update() && supervisor.status().state == EngineState::Starting {
                if ready.changed().await.is_err() {
                    return;
                }
            }
        };
        // Whoever is impatient is served by the other routes, or told that the engine is starting.
        let _ = tokio::time::timeout(patience, settled).await;
    }

    /// Ends it.
    pub(super) async fn stop(&self) {
        if let Some(supervisor) = &self.supervisor {
            supervisor.shutdown(GRACE).await;
        }
    }
}

fn engine_settings(engine: &LocalEngine, state_dir: &Path) -> EngineSettings {
    let bundled = EngineSettings::bundled(state_dir);
    let small = |number: Option<u32>| number.map(|number| u16::try_from(number).unwrap_or(u16::MAX));
    EngineSettings {
        model: engine.model_file.clone().unwrap_or(bundled.model),
        model_name: engine.model_name().to_string(),
        threads: small(engine.threads),
        parallel: small(engine.parallel).unwrap_or(bundled.parallel),
        queue_requests_max: small(engine.queue).unwrap_or(bundled.queue_requests_max),
        ..bundled
    }
}

fn state_name(state: EngineState) -> &'static str {
    match state {
        EngineState::Starting => "starting",
        EngineState::Ready => "ready",
        EngineState::BackingOff => "backing_off",
        EngineState::Failed => "failed",
        EngineState::Off => "off",
    }
}
