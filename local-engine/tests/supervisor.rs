//! The supervisor with real workers: crashes, hangs, orphans, leftovers, and what it says when there is no model.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use local_engine::{EngineSettings, EngineState, EngineStatus, MODEL_FILE, Supervisor};
use rustix::process::{Pid, Signal, kill_process};

fn model() -> PathBuf {
    let usual = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../data/models").join(MODEL_FILE);
    let path = std::env::var_os("TOLLWAY_MODEL").map_or_else(usual, PathBuf::from);
    assert!(
        path.is_file(),
        "these tests need the model at {}: run `python3 scripts/fetch-model.py`, or set TOLLWAY_MODEL",
        path.display()
    );
    path
}

fn settings(directory: &Path) -> EngineSettings {
    EngineSettings {
        model: model(),
        program: Some(env!("CARGO_BIN_EXE_engine-worker").into()),
        watch_interval: Duration::from_millis(100),
        hang_timeout: Duration::from_secs(3),
        probe_interval: Duration::from_millis(200),
        ..EngineSettings::bundled(directory)
    }
}

async fn until(
    supervisor: &Supervisor,
    what: &str,
    condition: impl Fn(&EngineStatus) -> bool,
) -> EngineStatus {
    let waiting = async {
        loop {
            let status = supervisor.status();
            if condition(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), waiting)
        .await
        .unwrap_or_else(|_| panic!("{what} never came: {:?}", supervisor.status()))
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

/// Gone, or dead and waiting to be reaped by whoever adopts orphans on this machine.
fn gone(pid: u32) -> bool {
    state(pid).is_none_or(|state| state == 'Z')
}

/// The kernel's letter for what a process does: `T` is frozen, `Z` is dead.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_is_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::start(settings(directory.path()));
    let ready = |status: &EngineStatus| status.state == EngineState::Ready;
    let before = until(&supervisor, "ready", ready).await.pid.unwrap();
    signal(before, Signal::KILL);
    let fault = until(&supervisor, "the crash", |status| {
        status.state == EngineState::BackingOff && status.restarts == 1
    })
    .await;
    assert!(fault.reason.unwrap().contains("signal 9"));
    let after = until(&supervisor, "ready again", ready).await;
    assert_ne!(after.pid, Some(before));
    assert_eq!(after.restarts, 1);
    supervisor.shutdown(Duration::from_secs(5)).await;
    assert!(gone(after.pid.unwrap()) && !supervisor.socket().exists());
    assert_eq!(supervisor.status().state, EngineState::Off);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_hangs_is_found_and_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::start(settings(directory.path()));
    let ready = |status: &EngineStatus| status.state == EngineState::Ready;
    let before = until(&supervisor, "ready", ready).await.pid.unwrap();
    signal(before, Signal::STOP);
    let fault = until(&supervisor, "the hang", |status| status.restarts == 1).await;
    assert!(fault.reason.unwrap().contains("hung"));
    assert!(gone(before));
    until(&supervisor, "ready again", ready).await;
    supervisor.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_that_computes_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::start(settings(directory.path()));
    // The rate appears once the probe's tokens have been computed.
    let probed = until(&supervisor, "a probe", |status| status.tokens_per_second > 0).await;
    assert_eq!((probed.state, probed.restarts), (EngineState::Ready, 0));
    supervisor.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_model_is_said_in_words_and_picked_up_when_it_comes() {
    let directory = tempfile::tempdir().unwrap();
    let late = directory.path().join("late.gguf");
    let supervisor = Supervisor::start(EngineSettings { model: late.clone(), ..settings(directory.path()) });
    let failed = until(&supervisor, "the failure", |status| status.state == EngineState::Failed).await;
    let reason = failed.reason.unwrap();
    assert!(reason.contains("late.gguf is missing") && reason.contains("make model"), "{reason}");
    std::os::unix::fs::symlink(model(), &late).unwrap();
    until(&supervisor, "ready", |status| status.state == EngineState::Ready).await;
    supervisor.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_no_model_is_reported_with_the_workers_words() {
    let directory = tempfile::tempdir().unwrap();
    let broken = directory.path().join("broken.gguf");
    fs::write(&broken, "not a model").unwrap();
    let supervisor = Supervisor::start(EngineSettings { model: broken, ..settings(directory.path()) });
    let status = until(&supervisor, "the failure", |status| status.restarts > 0).await;
    let reason = status.reason.unwrap();
    assert!(reason.contains("status 1") && reason.contains("is not a model"), "{reason}");
    supervisor.shutdown(Duration::ZERO).await;
}

/// A process with a supervisor in it, killed in any case.
struct Supervising(Child);

impl Drop for Supervising {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn supervising(directory: &Path) -> (Supervising, u32) {
    let child = Supervising(
        Command::new(env!("CARGO_BIN_EXE_engine-worker"))
            .arg("supervise")
            .arg(directory)
            .arg(model())
            .spawn()
            .unwrap(),
    );
    let pid_file = directory.join("engine/engine.pid");
    let socket = directory.join("engine/engine.sock");
    let mut worker = None;
    // Its own worker: not one whose number an earlier supervisor left in the file.
    wait(|| {
        worker = fs::read_to_string(&pid_file).ok().and_then(|text| text.parse().ok());
        socket.exists() && worker.is_some_and(|pid| parent(pid) == Some(child.0.id()))
    });
    (child, worker.unwrap())
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split_whitespace().nth(1)?.parse().ok()
}

#[expect(clippy::disallowed_methods, reason = "a test's own patience")]
fn wait(mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it never came true");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn no_worker_outlives_a_killed_supervisor() {
    let directory = tempfile::tempdir().unwrap();
    let (supervisor, worker) = supervising(directory.path());
    drop(supervisor);
    wait(|| gone(worker));
}

#[test]
fn a_frozen_leftover_is_ended_before_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let (first, leftover) = supervising(directory.path());
    // Frozen, it cannot see its lifeline end.
    signal(leftover, Signal::STOP);
    wait(|| state(leftover) == Some('T'));
    // The kernel itself may end it now (a frozen group that is orphaned gets SIGHUP); if not, the next start must.
    drop(first);
    let (second, worker) = supervising(directory.path());
    assert_ne!(worker, leftover);
    // Its memory is gone by then; its entry in the table follows.
    wait(|| gone(leftover));
    drop(second);
    wait(|| gone(worker));
}
