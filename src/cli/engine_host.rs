//! The local engine as `serve` hosts it.

use std::path::Path;
use std::sync::Arc;

use crate::admin::EngineView;
use crate::config::Settings;
use crate::gateway::tasks::Tasks;

use super::serve::engine_off;

/// The engine's supervisor, or nothing where the engine is off.
pub(super) struct EngineHost {}

impl EngineHost {
    /// Starts the engine that the settings ask for.
    pub(super) fn start(_settings: &Settings, _tasks: &Tasks) -> Self {
        Self {}
    }

    /// Where it listens.
    pub(super) fn socket(&self) -> Option<Arc<Path>> {
        None
    }

    /// How it is.
    pub(super) fn view(&self) -> EngineView {
        engine_off()
    }

    /// Ends it.
    pub(super) async fn stop(&self) {}
}
