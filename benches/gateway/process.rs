//! What a process and its children have used, as Linux tells it.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::Error;

/// CPU time of a process so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// User and system time of all its threads and its children's.
    pub(crate) cpu: Duration,
}

/// A process that ends with this value.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `command`, its input closed.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Error> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).spawn().map_err(|error| format!("{name}: {error}"))?;
        Ok(Self { child })
    }

    /// An error if it has ended.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        match self.child.try_wait()? {
            Some(status) => Err(format!("a process of the benchmark ended early: {status}").into()),
            None => Ok(()),
        }
    }

    /// CPU time so far.
    pub(crate) fn usage(&self) -> Result<Usage, Error> {
        let mut cpu = Duration::ZERO;
        for process in self.with_children()? {
            for thread in fs::read_dir(format!("/proc/{process}/task"))? {
                // Nanoseconds on a CPU, in the first of three numbers. A thread may end while we look.
                let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
                let nanos: u64 = text.split(' ').next().unwrap_or_default().parse()?;
                cpu += Duration::from_nanos(nanos);
            }
        }
        Ok(Usage { cpu })
    }

    /// Memory in use: the pages of its own, in bytes.
    pub(crate) fn resident(&self) -> Result<u64, Error> {
        let mut bytes = 0;
        for process in self.with_children()? {
            let status = fs::read_to_string(format!("/proc/{process}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("no RssAnon")?;
            bytes += line.trim().trim_end_matches(" kB").parse::<u64>()? << 10;
        }
        Ok(bytes)
    }

    fn with_children(&self) -> Result<Vec<u32>, Error> {
        let own = self.child.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
        let mut all = vec![own];
        for child in children.split_whitespace() {
            all.push(child.parse()?);
        }
        Ok(all)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut all = self.with_children().unwrap_or_default();
        all.dedup();
        // nginx's master ends its workers when it is asked, not when it is killed.
        let asked = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        if asked.is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
