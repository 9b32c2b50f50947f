//! The worker process: what the hidden sub-command `engine-worker` runs.

use std::{ffi::OsString, io::Read, process::ExitCode, thread};

use rustix::process::{Signal, getpid, kill_process};

use crate::settings::WorkerSettings;

/// Runs the engine until it is told to stop. `args` are what follows the sub-command: `--socket PATH --model PATH` and options.
///
/// Exit status 0 after SIGTERM, 1 when it could not run (standard error says why), 2 for a wrong command line.
pub fn worker_main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let settings = match WorkerSettings::parse(args) {
        Ok(settings) => settings,
        Err(error) => return fail(2, &error),
    };
    if settings.lifeline {
        hold_on_to_the_lifeline();
    }
    run(settings)
}

#[cfg(feature = "llama")]
fn run(settings: WorkerSettings) -> ExitCode {
    // Whatever is made from here on, the socket above all, is for this user alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4)
        .enable_all()
        .build();
    let served = match runtime {
        Ok(runtime) => {
            let served = runtime.block_on(crate::embedded::serve(settings));
            // A blocking task may still be at work on a request that nobody waits for.
            runtime.shutdown_background();
            served
        }
        Err(error) => return fail(1, &error),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &error),
    }
}

#[cfg(not(feature = "llama"))]
fn run(_: WorkerSettings) -> ExitCode {
    fail(1, &"this build has no embedded engine; build with the feature `embedded-engine`")
}

/// Standard input is a pipe whose other end only the supervisor has: it ends when the supervisor does, even by SIGKILL.
fn hold_on_to_the_lifeline() {
    thread::spawn(|| {
        let mut byte = [0];
        // Nothing is ever written: reading returns when the other end is gone.
        while matches!(std::io::stdin().read(&mut byte), Ok(1)) {}
        // By SIGKILL, because the ways of ending in order may wait for a computation that hangs.
        let _ = kill_process(getpid(), Signal::KILL);
    });
}

#[expect(clippy::print_stderr, reason = "standard error is where the supervisor reads a worker's last words")]
fn fail(status: u8, why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(status)
}
