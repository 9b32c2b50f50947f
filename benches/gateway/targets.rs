//! What is measured: each target with its configuration, started on free ports.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::Error;
use super::process::{Process, Usage};
use super::scenario::Scenario;

/// A folder for configurations and logs.
pub(crate) struct Place(TempDir);

impl Place {
    /// A new one.
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self(tempfile::Builder::new().prefix("tollway-bench-").tempdir()?))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Something that answers requests.
pub(crate) struct Target {
    /// Its name in the table.
    pub(crate) name: &'static str,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    process: Option<Process>,
}

impl Target {
    fn started(name: &'static str, address: SocketAddr, command: &mut Command) -> Result<Self, Error> {
        let mut process = Process::start(command)?;
        for _ in 0..500 {
            process.check()?;
            if TcpStream::connect(address).is_ok() {
                return Ok(Self { name, address, process: Some(process) });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("{name} does not listen on {address}").into())
    }

    /// CPU time so far; nothing for the direct connection.
    pub(crate) fn usage(&self) -> Result<Option<Usage>, Error> {
        self.process.as_ref().map(Process::usage).transpose()
    }

    /// Memory in use, in bytes; nothing for the direct connection.
    pub(crate) fn resident(&self) -> Result<Option<u64>, Error> {
        self.process.as_ref().map(Process::resident).transpose()
    }
}

/// The upstream of all.
pub(crate) fn upstream() -> Result<Target, Error> {
    let address = free()?;
    Target::started(
        "upstream",
        address,
        Command::new(std::env::current_exe()?).args(["upstream", &address.to_string()]),
    )
}

/// All targets in front of `upstream`, each a fresh process.
pub(crate) fn all(place: &Place, upstream: SocketAddr) -> Result<Vec<Target>, Error> {
    let direct = Target { name: "direct", address: upstream, process: None };
    let nginx = |name, at_its_least, workers| nginx(place, upstream, name, at_its_least, workers);
    let tollway = |name, workers, binary| tollway(place, upstream, name, workers, binary);
    let built = Path::new(env!("CARGO_BIN_EXE_tollway"));
    let mut all = vec![
        direct,
        nginx("nginx", false, "1")?,
        nginx("nginx, at its least", true, "1")?,
        nginx("nginx, a worker a core", false, "auto")?,
        bare_proxy(upstream)?,
        tollway("tollway", "", built)?,
        tollway("tollway, one worker", "workers: 1\n", built)?,
    ];
    // Another build of the gateway in the same rounds: the way to see what a change does on a noisy machine.
    if let Some(other) = std::env::var_os("BENCH_OTHER") {
        all.push(tollway("tollway, other", "", Path::new(&other))?);
    }
    Ok(all)
}

/// An address nobody listens on.
fn free() -> Result<SocketAddr, Error> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

fn bare_proxy(upstream: SocketAddr) -> Result<Target, Error> {
    let address = free()?;
    let mut command = Command::new(std::env::current_exe()?);
    Target::started(
        "bare hyper proxy",
        address,
        command.args(["bare-proxy", &address.to_string(), &upstream.to_string()]),
    )
}

/// nginx with a log and each request's body read whole before it goes on, as a gateway must; or, `at_its_least`, with neither.
fn nginx(
    place: &Place,
    upstream: SocketAddr,
    name: &'static str,
    at_its_least: bool,
    workers: &str,
) -> Result<Target, Error> {
    let address = free()?;
    let folder = place.path().join(address.port().to_string());
    fs::create_dir_all(&folder)?;
    let at = folder.display().to_string();
    let log = format!("{at}/access.log combined buffer=64k flush=1s");
    let text = include_str!("nginx.conf")
        .replace("{folder}", &at)
        .replace("{workers}", workers)
        .replace("{log}", if at_its_least { "off" } else { &log })
        .replace("{request_buffering}", if at_its_least { "off" } else { "on" })
        .replace("{upstream}", &upstream.to_string())
        .replace("{address}", &address.to_string());
    let file = folder.join("nginx.conf");
    fs::write(&file, text)?;
    let mut command = Command::new("nginx");
    command.args([
        "-p".as_ref(),
        folder.as_os_str(),
        "-e".as_ref(),
        folder.join("error.log").as_os_str(),
        "-c".as_ref(),
        file.as_os_str(),
    ]);
    Target::started(name, address, command.stderr(Stdio::null()))
}

/// The gateway as released: one provider with a price, the default policy, metrics, and the access log into a file; `workers` is the
/// line of its configuration that says how many it has, if it is not a worker a core.
fn tollway(
    place: &Place,
    upstream: SocketAddr,
    name: &'static str,
    workers: &str,
    binary: &Path,
) -> Result<Target, Error> {
    let (address, admin) = (free()?, free()?);
    let folder = place.path().join(address.port().to_string());
    fs::create_dir_all(&folder)?;
    let mut text = format!(
        "{workers}listen: {address}\nadmin: {{listen: {admin}}}\nlocal_engine: {{profile: off}}\nstate_dir: {}\nproviders:\n  bench:\n    kind: openai\n    \
         base_url: http://{upstream}/v1\n    api_key: bench\n    models:\n",
        folder.display()
    );
    for scenario in Scenario::all().iter().chain(&[Scenario::idle()]) {
        let model = scenario.model();
        let price = "{input: 0.14, cached_input: 0.028, output: 0.28}";
        // Writing to a String cannot fail.
        let _ = writeln!(text, "      - {{id: {model}, model: {model}, context: 131072, price: {price}}}");
    }
    // In a folder of its own: the gateway looks when something changes beside its configuration, as the log does.
    let file = folder.join("etc/tollway.yaml");
    fs::create_dir_all(folder.join("etc"))?;
    fs::write(&file, text)?;
    let mut command = Command::new(binary);
    command.args(["serve".as_ref(), "--config".as_ref(), file.as_os_str()]).current_dir(&folder);
    command
        .stdout(fs::File::create(folder.join("access.log"))?)
        .stderr(fs::File::create(folder.join("log"))?);
    Target::started(name, address, &mut command)
}
