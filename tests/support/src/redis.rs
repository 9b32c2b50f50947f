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
}

impl Redis {
    /// Starts one; panics where `redis-server` is not installed (`scripts/setup-tests.sh` installs it).
    pub async fn start() -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = free.expect("a free port");
        let directory = tempfile::tempdir().expect("a directory for Redis");
        let mut redis = Self { child: spawn(directory.path(), address), directory, address };
        assert!(redis.listens().await, "Redis does not listen on {address}");
        redis
    }

    /// `redis://…/0`.
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// Ends it without a word.
    pub fn kill9(&mut self) {
        self.child.kill().expect("our own child");
        let _ = self.child.wait();
    }

    /// Starts it again, empty, where it was.
    pub async fn restart(&mut self) {
        self.child = spawn(self.directory.path(), self.address);
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

fn spawn(directory: &std::path::Path, address: SocketAddr) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()]);
    command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(directory);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server is installed: run scripts/setup-tests.sh")
}
