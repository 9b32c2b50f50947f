//! A real PostgreSQL on a free port, which a test may kill, pause and bring back on the same port.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};

use crate::gate::PATIENCE;

/// How often it is tried whether it answers.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The user, its password and its database.
const USER: &str = "tollway";
const PASSWORD: &str = "pw-of-the-ledger";

/// A running `postgres`. Dropping it kills it.
#[derive(Debug)]
pub struct Postgres {
    child: Option<Child>,
    directory: tempfile::TempDir,
    programs: PathBuf,
    address: SocketAddr,
    /// User and group that it runs as; it refuses to be root.
    identity: Option<(u32, u32)>,
}

impl Postgres {
    /// Starts one; `None`, and a line that says why, where no PostgreSQL is installed (`scripts/setup-tests.sh` installs it).
    pub async fn start() -> Option<Self> {
        Self::with(&[]).await
    }

    /// Starts one that also speaks TLS, with this certificate and its key (PEM), and lets nobody in without.
    pub async fn with_tls(cert: &str, key: &str) -> Option<Self> {
        Self::with(&[("server.crt", cert), ("server.key", key)]).await
    }

    async fn with(tls: &[(&str, &str)]) -> Option<Self> {
        let Some(programs) = programs() else {
            skipped();
            return None;
        };
        let directory = tempfile::tempdir().expect("a directory for PostgreSQL");
        let identity = rustix::process::geteuid().is_root().then(somebody);
        let mut one = Self { child: None, directory, programs, address: free(), identity };
        one.own(one.directory.path());
        let password = one.put("password", PASSWORD);
        let data = one.data();
        let mut initdb = one.command("initdb");
        initdb.args([
            "--no-sync",
            "--auth",
            "scram-sha-256",
            "--encoding",
            "UTF8",
            "--locale",
            "C",
            "-U",
            USER,
        ]);
        initdb.arg("--pwfile").arg(&password).arg("-D").arg(&data);
        let made = initdb.stdin(Stdio::null()).output().expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        for (name, text) in tls {
            let path = one.put(name, text);
            fs::rename(path, data.join(name)).expect("one disk");
        }
        if !tls.is_empty() {
            let rules = "local all all scram-sha-256\nhostssl all all all scram-sha-256\n";
            let path = one.put("rules", rules);
            fs::rename(path, data.join("pg_hba.conf")).expect("one disk");
        }
        one.restart().await;
        let made = one.sql_in("postgres", &format!("CREATE DATABASE {USER}"));
        assert!(made.is_ok(), "{made:?}");
        Some(one)
    }

    /// `postgres://user:password@127.0.0.1:port/tollway`.
    pub fn url(&self) -> String {
        format!("postgres://{USER}:{PASSWORD}@{}/{USER}", self.address)
    }

    /// The password in it.
    pub const fn password(&self) -> &'static str {
        PASSWORD
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Ends it at once with everything that it does, as a crash would.
    pub fn kill9(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // Its children serve connections, and would go on for a moment.
        if let Some(group) = pid(&child) {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let _ = child.wait();
    }

    /// Starts it where it was, with what is on its disk.
    pub async fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs");
        self.spawn();
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.sql_in("postgres", "SELECT 1") {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "PostgreSQL does not answer: {error}\n{log}");
            // The last of those that were killed may still hold its memory, and then it ends at once.
            if self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None))) {
                self.spawn();
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn spawn(&mut self) {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.directory.path());
        command.args(["-h", "127.0.0.1", "-p", &self.port().to_string()]);
        command.args(["-c", "fsync=off", "-c", "max_connections=20", "-c", "shared_buffers=16MB"]);
        if self.data().join("server.crt").exists() {
            command.args(["-c", "ssl=on"]);
        }
        let log = fs::File::create(self.directory.path().join("log")).expect("a fresh directory");
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("postgres runs"));
    }

    /// What one statement brings, a row a line, columns with `|` between.
    pub fn sql(&self, sql: &str) -> String {
        self.sql_in(USER, sql).expect("the statement is right")
    }

    fn sql_in(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut command = Command::new(self.programs.join("psql"));
        command.arg("-h").arg(self.directory.path()).args([
            "-p",
            &self.port().to_string(),
            "-U",
            USER,
            "-d",
            database,
        ]);
        command.args(["-X", "-q", "-A", "-t", "-c", sql]).env("PGPASSWORD", PASSWORD);
        let output = command.stdin(Stdio::null()).output().expect("psql is installed with PostgreSQL");
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A file that only it may read.
    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, text).expect("a fresh directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
        self.own(&path);
        path
    }

    fn own(&self, path: &Path) {
        if let Some((user, group)) = self.identity {
            chown(path, Some(user), Some(group)).expect("root may give files away");
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        if let Some((user, group)) = self.identity {
            command.uid(user).gid(group);
        }
        command.current_dir(self.directory.path());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill9();
    }
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

#[expect(clippy::print_stderr, reason = "whoever runs the tests should see what was not tested")]
fn skipped() {
    eprintln!("skipped: there is no `initdb` on this machine; scripts/setup-tests.sh installs PostgreSQL");
}

/// Where its programs are: Debian keeps those that a server needs out of the path.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let of_debian = versions.map(|version| version.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let whole =
        |folder: &PathBuf| ["initdb", "postgres", "psql"].iter().all(|name| folder.join(name).is_file());
    std::env::split_paths(&path).chain(of_debian).find(whole)
}

/// Some user who is not root, for a server that refuses to be.
fn somebody() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    named("postgres").or_else(|| named("nobody")).unwrap_or((65_534, 65_534))
}

fn free() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
}
