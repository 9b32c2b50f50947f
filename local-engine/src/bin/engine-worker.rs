//! The worker process alone, without the gateway around it; with `supervise DIR MODEL` in front, a supervisor and its worker.

use std::{process::ExitCode, time::Duration};

use local_engine::{EngineSettings, Supervisor};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.next_if(|arg| arg == "supervise").is_some() {
        let (Some(data_dir), Some(model)) = (args.next(), args.next()) else { return ExitCode::from(2) };
        return supervise(EngineSettings {
            model: model.into(),
            ..EngineSettings::bundled(data_dir.as_ref())
        });
    }
    // The gateway calls us by a sub-command; alone, it may be left out.
    let _ = args.next_if(|arg| arg == "engine-worker");
    local_engine::worker_main(args)
}

/// Keeps an engine until it is killed.
fn supervise(settings: EngineSettings) -> ExitCode {
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
    else {
        return ExitCode::FAILURE;
    };
    runtime.block_on(async {
        let supervisor = Supervisor::start(settings);
        let _ = tokio::signal::ctrl_c().await;
        supervisor.shutdown(Duration::from_secs(5)).await;
    });
    ExitCode::SUCCESS
}
