//! One worker process: its start in a group of its own, with nothing of our environment, and its end.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::{Child, ChildStdin, Command},
    time::{Instant, sleep, timeout},
};
use tokio_util::task::TaskTracker;

use crate::EngineSettings;

/// The longest path a Unix socket can have.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Log lines kept, and the bytes of each.
const LOG_LINES_MAX: usize = 40;
const LOG_LINE_BYTES_MAX: u64 = 4096;

/// Log lines shown in an error.
const LAST_WORDS: usize = 3;

/// How long a killed process may take to be gone.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// Variables that the worker gets from our environment. No provider's key is among them.
const ENVIRONMENT: &[&str] = &["PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH"];

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot use the directory {0}: {1}")]
    Directory(PathBuf, std::io::Error),
    #[error("cannot start {0}: {1}")]
    Spawn(PathBuf, std::io::Error),
    #[error("a worker of an earlier run, process {0}, does not end; end it by hand")]
    Leftover(i32),
}

/// A running worker. Dropping it kills it.
pub(super) struct Worker {
    child: Child,
    group: Option<Pid>,
    /// The worker ends when this does.
    lifeline: Option<ChildStdin>,
    pid_file: PathBuf,
    socket: PathBuf,
    log: Arc<Mutex<VecDeque<String>>>,
    readers: TaskTracker,
}

impl Worker {
    /// Ends leftovers of an earlier gateway and starts a worker.
    pub(super) async fn start(settings: &EngineSettings, socket: &Path) -> Result<Self, Error> {
        for directory in [settings.state_dir.as_path(), socket.parent().unwrap_or(Path::new("."))] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.map_err(|error| Error::Directory(directory.to_owned(), error))?;
        }
        let pid_file = settings.state_dir.join("engine.pid");
        end_leftover(&pid_file, &settings.subcommand).await?;
        let program = match &settings.program {
            Some(program) => program.clone(),
            None => std::env::current_exe()
                .map_err(|error| Error::Spawn(PathBuf::from("/proc/self/exe"), error))?,
        };
        let mut child =
            command(&program, settings, socket).spawn().map_err(|error| Error::Spawn(program, error))?;
        let group = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let mut worker = Self {
            lifeline: child.stdin.take(),
            group,
            pid_file,
            socket: socket.to_owned(),
            log: Arc::default(),
            readers: TaskTracker::new(),
            child,
        };
        worker.read_log();
        worker.write_pid_file()?;
        Ok(worker)
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for its end and says how that was. Dropping this leaves it running.
    pub(super) async fn ended(&mut self) -> String {
        self.child.wait().await.map_or_else(|error| format!("lost: {error}"), describe)
    }

    /// Asks it to end, waits up to `grace`, then kills its whole group and waits until that is gone.
    pub(super) async fn end(&mut self, grace: Duration) {
        if !grace.is_zero() && self.child.id().is_some() {
            self.signal(Signal::TERM);
            // However it ends, and if it does not, the group is killed next.
            let _ = timeout(grace, self.child.wait()).await;
        }
        self.lifeline = None;
        self.signal(Signal::KILL);
        let _ = timeout(KILL_TIMEOUT, self.child.wait()).await;
        self.readers.close();
        let _ = timeout(KILL_TIMEOUT, self.readers.wait()).await;
        // Gone already is as good.
        let _ = fs::remove_file(&self.pid_file);
        let _ = fs::remove_file(&self.socket);
    }

    /// The reason with the last log lines behind it.
    pub(super) fn last_words(&self, reason: &str) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<&str> =
            log.iter().skip(log.len().saturating_sub(LAST_WORDS)).map(String::as_str).collect();
        if lines.is_empty() { reason.to_owned() } else { format!("{reason}: {}", lines.join(" / ")) }
    }

    /// To the group: it has the worker's number, and outlives it while any member lives.
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // No such group means that all of it has ended.
            let _ = kill_process_group(group, signal);
        }
    }

    fn write_pid_file(&self) -> Result<(), Error> {
        let Some(pid) = self.child.id() else { return Ok(()) };
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&self.pid_file);
        file.and_then(|mut file| write!(file, "{pid}"))
            .map_err(|error| Error::Directory(self.pid_file.clone(), error))
    }

    fn read_log(&mut self) {
        if let Some(output) = self.child.stdout.take() {
            self.readers.spawn(keep_lines(output, Arc::clone(&self.log)));
        }
        if let Some(output) = self.child.stderr.take() {
            self.readers.spawn(keep_lines(output, Arc::clone(&self.log)));
        }
    }
}

/// The socket's place: in the state directory, or, where that is too long a path for a socket, in the directory for temporary files.
pub(super) fn socket_path(state_dir: &Path) -> PathBuf {
    // The worker is started in our directory, but whoever connects may be elsewhere.
    let near = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned()).join("engine.sock");
    if near.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return near;
    }
    std::env::temp_dir()
        .join(format!("tollway-engine-{}-{:08x}", std::process::id(), fastrand::u32(..)))
        .join("engine.sock")
}

fn command(program: &Path, settings: &EngineSettings, socket: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(&settings.subcommand)
        .arg("--lifeline")
        .args([OsString::from("--socket"), socket.into(), "--model".into(), settings.model.clone().into()])
        .args(["--model-name", &settings.model_name])
        .args(["--context", &settings.context_tokens.to_string()])
        .args(["--parallel", &settings.parallel.to_string()])
        .args(["--queue", &settings.queue_requests_max.to_string()]);
    if let Some(threads) = settings.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    command.env_clear();
    for name in ENVIRONMENT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        // Waiting threads sleep instead of spinning; the library reads this only while the process starts.
        .env("OMP_WAIT_POLICY", "PASSIVE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Kills the group that an earlier gateway left behind, if the recorded process is still one of ours.
async fn end_leftover(pid_file: &Path, subcommand: &[OsString]) -> Result<(), Error> {
    let recorded = match fs::read_to_string(pid_file) {
        Ok(text) => text.trim().parse().ok().filter(|pid| *pid > 1).and_then(Pid::from_raw),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(Error::Directory(pid_file.to_owned(), error)),
    };
    let Some(pid) = recorded.filter(|pid| is_ours(*pid, subcommand)) else { return Ok(()) };
    tracing::warn!(pid = pid.as_raw_nonzero().get(), "ending an engine process of an earlier run");
    let _ = kill_process_group(pid, Signal::KILL);
    let deadline = Instant::now() + KILL_TIMEOUT;
    while test_kill_process(pid).is_ok() && is_ours(pid, subcommand) {
        if Instant::now() > deadline {
            return Err(Error::Leftover(pid.as_raw_nonzero().get()));
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Numbers are used again: only a process with our sub-command and our options is a worker.
fn is_ours(pid: Pid, subcommand: &[OsString]) -> bool {
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let wanted =
        subcommand.iter().map(|word| word.as_encoded_bytes()).chain([b"--lifeline".as_slice(), b"--socket"]);
    wanted.into_iter().all(|word| words.contains(&word))
}

async fn keep_lines(output: impl AsyncRead + Unpin, log: Arc<Mutex<VecDeque<String>>>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        // A line without an end is cut into pieces instead of growing.
        match (&mut output).take(LOG_LINE_BYTES_MAX).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        tracing::debug!(target: "engine", "{text}");
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() == LOG_LINES_MAX {
            log.pop_front();
        }
        log.push_back(text);
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(4)) => {
            "ended by an illegal instruction: this CPU lacks something the engine was built with".to_owned()
        }
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_state_directory_gets_a_short_socket() {
        assert!(socket_path(Path::new("/a")).starts_with("/a"));
        let long = socket_path(Path::new(&format!("/{}", "x".repeat(120))));
        assert!(long.as_os_str().len() <= SOCKET_PATH_BYTES_MAX, "{long:?}");
    }

    #[test]
    fn a_stranger_with_a_recorded_number_is_not_ours() {
        assert!(!is_ours(rustix::process::getpid(), &[OsString::from("engine-worker")]));
    }
}
