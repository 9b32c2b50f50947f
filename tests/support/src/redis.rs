//! A real Redis on a free port, which a test may kill, pause and bring back on the same port.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::gate::PATIENCE;

/// How often it is tried whether it listens.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A running `redis-server` without persistence. Dropping it kills it.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    directory: tempfile::TempDir,
    address: SocketAddr,
    arguments: Vec<String>,
    url: String,
}

impl Redis {
    /// Starts one; panics where `redis-server` is not installed (`scripts/setup-tests.sh` installs it).
    pub async fn start() -> Self {
        let address = free();
        Self::with(address, &["--port", &address.port().to_string()], format!("redis://{address}/0")).await
    }

    /// Starts one that speaks TLS only, with this certificate for `127.0.0.1` and its key (PEM), and wants `password`.
    pub async fn with_tls(cert: &str, key: &str, password: &str) -> Self {
        let address = free();
        let arguments = ["--port", "0", "--tls-port", &address.port().to_string(), "--requirepass", password];
        let files = tempfile::tempdir().expect("a directory for the certificate");
        let write = |name: &str, text: &str| {
            let path = files.path().join(name);
            std::fs::write(&path, text).expect("a fresh directory");
            path.to_str().expect("a plain path").to_owned()
        };
        let (cert, key) = (write("cert.pem", cert), write("key.pem", key));
        let tls = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &cert];
        let all: Vec<&str> = arguments.into_iter().chain(tls).chain(["--tls-auth-clients", "no"]).collect();
        // Once it listens it has read them.
        Self::with(address, &all, format!("rediss://:{password}@{address}/0")).await
    }

    /// Starts a cluster of one node, which has all slots.
    pub async fn cluster() -> Self {
        let (address, bus) = (free(), free().port().to_string());
        let port = address.port().to_string();
        let arguments = ["--port", &port, "--cluster-enabled", "yes", "--cluster-port", &bus];
        let redis = Self::with(address, &arguments, format!("redis+cluster://{address}")).await;
        redis.command(&[b"CLUSTER", b"ADDSLOTSRANGE", b"0", b"16383"]);
        let deadline = Instant::now() + PATIENCE;
        while !redis.command(&[b"CLUSTER", b"INFO"]).contains("cluster_state:ok") {
            assert!(Instant::now() < deadline, "a cluster that is never ready");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        redis
    }

    /// Starts a sentinel that watches `primary` under the name `main`, and takes it for dead after half a second.
    pub async fn sentinel(primary: &Self) -> Self {
        let address = free();
        let files = tempfile::tempdir().expect("a directory for the configuration");
        let path = files.keep().join("sentinel.conf");
        let (port, watched) = (address.port(), primary.address.port());
        let text = format!(
            "port {port}\nsentinel monitor main 127.0.0.1 {watched} 1\nsentinel down-after-milliseconds main 500\n\
             sentinel failover-timeout main 2000\n"
        );
        std::fs::write(&path, text).expect("a fresh directory");
        let path = path.to_str().expect("a plain path").to_owned();
        Self::with(address, &[&path, "--sentinel"], format!("redis+sentinel://{address}/main/0")).await
    }

    async fn with(address: SocketAddr, arguments: &[&str], url: String) -> Self {
        let directory = tempfile::tempdir().expect("a directory for Redis");
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let child = spawn(directory.path(), &arguments);
        let mut redis = Self { child, directory, address, arguments, url };
        assert!(redis.listens().await, "Redis does not listen on {address}");
        redis
    }

    /// `redis://…/0`, or `rediss://…` with the password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts one that follows `primary`, and waits until it has all that the primary has.
    pub async fn following(primary: &Self) -> Self {
        let replica = Self::start().await;
        primary.command(&[b"CONFIG", b"SET", b"repl-diskless-sync-delay", b"0"]);
        replica.command(&[b"REPLICAOF", b"127.0.0.1", primary.address.port().to_string().as_bytes()]);
        let deadline = Instant::now() + PATIENCE;
        while !replica.command(&[b"INFO", b"replication"]).contains("master_link_status:up") {
            assert!(Instant::now() < deadline, "a replica that never follows");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        replica
    }

    /// Ends it without a word.
    pub fn kill9(&mut self) {
        self.child.kill().expect("our own child");
        let _ = self.child.wait();
    }

    /// Starts it again, empty, where it was.
    pub async fn restart(&mut self) {
        self.child = spawn(self.directory.path(), &self.arguments);
        assert!(self.listens().await, "Redis does not come back on {}", self.address);
    }

    /// Stops it where it stands: connections stay open, the kernel goes on accepting, and nobody answers.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends one command and returns the answer as Redis writes it, up to 64 KiB.
    pub fn command(&self, arguments: &[&[u8]]) -> String {
        let mut stream = TcpStream::connect(self.address).expect("Redis listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        let mut request = format!("*{}\r\n", arguments.len()).into_bytes();
        for argument in arguments {
            request.extend(format!("${}\r\n", argument.len()).bytes());
            request.extend_from_slice(argument);
            request.extend_from_slice(b"\r\n");
        }
        // So that the end of the answer is the end of the connection.
        request.extend_from_slice(b"*1\r\n$4\r\nQUIT\r\n");
        stream.write_all(&request).expect("Redis reads");
        let mut answer = Vec::new();
        stream.take(64 << 10).read_to_end(&mut answer).expect("Redis answers");
        let text = String::from_utf8_lossy(&answer);
        text.strip_suffix("+OK\r\n").unwrap_or(&text).to_owned()
    }

    /// Whether this sentinel knows of a replica: it looks for one every ten seconds.
    pub fn knows_a_replica(&self) -> bool {
        let mut stream = TcpStream::connect(self.address).expect("a sentinel listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        stream.write_all(b"SENTINEL REPLICAS main\r\n").expect("a sentinel reads");
        let mut start = [0; 3];
        stream.read_exact(&mut start).expect("a sentinel answers");
        start != *b"*0\r"
    }

    async fn listens(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            let ended = self.child.try_wait().expect("our own child").is_some();
            if ended || Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        true
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(id.expect("a process id"), signal).expect("Redis is alive");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
}

fn spawn(directory: &std::path::Path, arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(arguments).args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]);
    command.arg(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server is installed: run scripts/setup-tests.sh")
}
