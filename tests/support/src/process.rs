//! What a running process holds, read from `/proc`.

use std::time::Duration;

/// A process's resources at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    /// Open file descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// Processor time used so far, in user and kernel mode.
    pub processor_time: Duration,
}

impl Footprint {
    /// Of the process with that id; panics where it is gone.
    pub fn of(process: u32) -> Self {
        let directory = format!("/proc/{process}");
        let entries = |name: &str| std::fs::read_dir(format!("{directory}/{name}")).expect("alive").count();
        let text = |name: &str| std::fs::read_to_string(format!("{directory}/{name}")).expect("alive");
        let status = text("status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        // Behind the name, which may hold blanks, user and kernel ticks are fields 12 and 13.
        let stat = text("stat");
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Self {
            descriptors: entries("fd"),
            threads: entries("task"),
            resident_bytes: resident.unwrap_or(0) * 1024,
            // The kernel's clock for these fields is 100 Hz on every architecture of interest.
            processor_time: Duration::from_millis(ticks * 10),
        }
    }
}
