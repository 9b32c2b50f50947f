//! The real binary, in a directory and with an environment of its own, on free ports.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::watch;

use crate::{Client, Config, Footprint, Metrics, Request, gate::PATIENCE};

/// Lines of the gateway's output that are kept; the oldest go first.
const LOG_LINES_MAX: usize = 20_000;

/// How often a condition outside this process is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A running gateway. Dropping it kills it and removes its directory.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    directory: tempfile::TempDir,
    traffic: Client,
    admin: Client,
    addresses: (SocketAddr, SocketAddr),
    log: Arc<Log>,
}

#[derive(Debug)]
struct Log {
    lines: Mutex<VecDeque<String>>,
    changes: watch::Sender<usize>,
}

impl Gateway {
    /// Starts `binary` (a test passes `env!("CARGO_BIN_EXE_tollway")`) and waits until it is ready; panics with
    /// its output where it is not.
    pub async fn start(binary: impl AsRef<Path>, config: Config) -> Self {
        Self::try_start(binary, config).await.unwrap_or_else(|output| panic!("no gateway:\n{output}"))
    }

    /// As [`Gateway::start`]; a gateway that exits or never becomes ready gives its output.
    pub async fn try_start(binary: impl AsRef<Path>, config: Config) -> Result<Self, String> {
        let directory = tempfile::tempdir().expect("a directory for the gateway");
        Self::start_in(directory, binary.as_ref(), config).await
    }

    /// Kills it if it still runs, and starts `binary` again in the same folder, where it finds what it wrote before.
    pub async fn restarted(mut self, binary: impl AsRef<Path>, config: Config) -> Self {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What is left of the old one must not remove the folder.
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().expect("a folder"));
        drop(self);
        let started = Self::start_in(directory, binary.as_ref(), config).await;
        started.unwrap_or_else(|output| panic!("no gateway:\n{output}"))
    }

    async fn start_in(directory: tempfile::TempDir, binary: &Path, config: Config) -> Result<Self, String> {
        let mut child = spawn(binary, directory.path(), &config);
        let log = Arc::new(Log { lines: Mutex::default(), changes: watch::Sender::new(0) });
        log.follow(child.stdout.take().expect("piped"));
        log.follow(child.stderr.take().expect("piped"));
        let deadline = Instant::now() + PATIENCE;
        let addresses = loop {
            let found = (log.address("traffic"), log.address("admin"));
            if let (Some(traffic), Some(admin)) = found {
                break (traffic, admin);
            }
            if let Ok(Some(status)) = child.try_wait() {
                // Both pipes are closed by now; their readers may still be at the last lines.
                tokio::time::sleep(LOOK_AGAIN * 5).await;
                return Err(format!("{status}\n{}", log.text()));
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                return Err(format!("no `listening traffic=… admin=…` line\n{}", log.text()));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        let (traffic, admin) = (Client::new(addresses.0), Client::new(addresses.1));
        let gateway = Self { child, directory, traffic, admin, addresses, log };
        while !gateway.ready().await {
            if Instant::now() > deadline {
                return Err(format!("never ready\n{}", gateway.logs()));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(gateway)
    }

    /// Where callers connect.
    pub fn address(&self) -> SocketAddr {
        self.addresses.0
    }

    /// Where the admin listener is.
    pub fn admin_address(&self) -> SocketAddr {
        self.addresses.1
    }

    /// `http://127.0.0.1:PORT/v1`, for a client SDK.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address())
    }

    /// A client of the traffic listener.
    pub fn client(&self) -> &Client {
        &self.traffic
    }

    /// A client of the admin listener.
    pub fn admin(&self) -> &Client {
        &self.admin
    }

    /// A GET to the traffic listener.
    pub fn get(&self, path: &str) -> Request {
        self.traffic.get(path)
    }

    /// A POST of JSON to the traffic listener.
    pub fn post(&self, path: &str, body: impl Into<Bytes>) -> Request {
        self.traffic.post(path, body)
    }

    /// A POST to `/v1/chat/completions`.
    pub fn chat(&self, body: &serde_json::Value) -> Request {
        self.post("/v1/chat/completions", body.to_string())
    }

    /// Writes these bytes to a new connection of the traffic listener; see [`Client::raw`].
    pub async fn raw(&self, bytes: &[u8], quiet: Duration) -> Bytes {
        self.traffic.raw(bytes, quiet).await
    }

    /// Whether `/readyz` says so.
    pub async fn ready(&self) -> bool {
        matches!(self.admin.get("/readyz").try_send().await, Ok(response) if response.status == 200)
    }

    /// A scrape of `/metrics`.
    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.admin.get("/metrics").send().await.text().await)
    }

    /// Waits until a scrape is as `wanted`; panics with `what` when it never is.
    pub async fn metrics_until(&self, what: &str, wanted: impl Fn(&Metrics) -> bool) -> Metrics {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metrics = self.metrics().await;
            if wanted(&metrics) {
                return metrics;
            }
            assert!(Instant::now() < deadline, "never seen in the metrics: {what}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Writes a file under `policies/` in one step, as an editor that renames does.
    pub fn write_policy(&self, file: &str, yaml: &str) {
        let draft = self.path("draft.tmp");
        std::fs::write(&draft, yaml).expect("the gateway's directory is writable");
        std::fs::rename(draft, self.path("policies").join(file)).expect("the same file system");
    }

    /// Removes a file under `policies/`.
    pub fn remove_policy(&self, file: &str) {
        std::fs::remove_file(self.path("policies").join(file)).expect("the policy is there");
    }

    /// A path in the gateway's directory: `tollway.yaml`, `policies`, `data`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The latest lines of the gateway's output, both streams.
    pub fn logs(&self) -> String {
        self.log.text()
    }

    /// Waits for a line of output that holds `text`, and returns it.
    pub async fn logged(&self, text: &str) -> String {
        let mut changes = self.log.changes.subscribe();
        let seen = tokio::time::timeout(PATIENCE, async {
            loop {
                changes.borrow_and_update();
                if let Some(line) = self.log.find(|line| line.contains(text)) {
                    return line;
                }
                changes.changed().await.expect("the log outlives its readers");
            }
        });
        seen.await.unwrap_or_else(|_| panic!("never logged: {text}\n{}", self.logs()))
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the process holds now.
    pub fn footprint(&self) -> Footprint {
        Footprint::of(self.id())
    }

    /// Asks the gateway to drain and stop.
    pub fn sigterm(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Asks the gateway to reload.
    pub fn sighup(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    /// Ends it without a word.
    pub fn kill9(&mut self) {
        self.child.kill().expect("our own child");
        let _ = self.child.wait();
    }

    /// Waits until the process has ended; panics with its output where it does not.
    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return status;
            }
            assert!(Instant::now() < deadline, "the gateway runs on:\n{}", self.logs());
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(id.expect("a process id"), signal).expect("the gateway is alive");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let logs = self.logs();
            let tail: Vec<_> = logs.lines().rev().take(40).collect();
            let tail: Vec<_> = tail.into_iter().rev().collect();
            #[expect(clippy::print_stderr, reason = "the test's report should hold the gateway's last words")]
            {
                eprintln!("--- the gateway's last lines ---\n{}", tail.join("\n"));
            }
        }
    }
}

impl Log {
    fn follow(self: &Arc<Self>, pipe: impl Read + Send + 'static) {
        let log = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut lines = log.lines.lock().unwrap_or_else(PoisonError::into_inner);
                if lines.len() == LOG_LINES_MAX {
                    lines.pop_front();
                }
                lines.push_back(line);
                drop(lines);
                log.changes.send_modify(|count| *count += 1);
            }
        });
    }

    fn find(&self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().find(|line| wanted(line)).cloned()
    }

    fn text(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().fold(String::new(), |text, line| text + line + "\n")
    }

    fn address(&self, name: &str) -> Option<SocketAddr> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().find_map(|line| address_in(line, name))
    }
}

/// The address behind `name=` in a line of text, or behind `"name":` in one of JSON.
fn address_in(line: &str, name: &str) -> Option<SocketAddr> {
    line.match_indices(name).find_map(|(place, _)| {
        let rest = line[place + name.len()..].trim_start_matches('"');
        let rest = rest.strip_prefix(['=', ':'])?.trim_start().trim_start_matches('"');
        let rest = rest.strip_prefix("http://").unwrap_or(rest);
        let end = rest.find(|c: char| !(c.is_ascii_hexdigit() || ".:[]".contains(c))).unwrap_or(rest.len());
        rest[..end].parse().ok()
    })
}

fn spawn(binary: &Path, directory: &Path, config: &Config) -> Child {
    let policies = directory.join("policies");
    std::fs::create_dir_all(&policies).expect("a fresh directory");
    for (file, yaml) in &config.policies {
        std::fs::write(policies.join(file), yaml).expect("a fresh directory");
    }
    let file = directory.join("tollway.yaml");
    std::fs::write(&file, config.yaml()).expect("a fresh directory");
    let mut command = Command::new(binary);
    command.arg("serve").arg("--config").arg(&file).arg("--policies").arg(&policies);
    command.args(&config.arguments).current_dir(directory);
    // Keys, proxies and settings of whoever runs the tests must not reach the gateway.
    command.env_clear().env("HOME", directory).env("RUST_BACKTRACE", "1");
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.envs(config.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|error| panic!("{}: {error}", binary.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_text_and_in_json() {
        let wanted = Some("127.0.0.1:8080".parse().unwrap());
        assert_eq!(address_in("listening traffic=127.0.0.1:8080 admin=127.0.0.1:1", "traffic"), wanted);
        assert_eq!(address_in(r#"{"m":"listening","traffic":"127.0.0.1:8080","b":1}"#, "traffic"), wanted);
        assert_eq!(address_in("traffic light", "traffic"), None);
    }
}
