//! What this machine has: cores and CPU features, and accelerators as their own tools report them.

use std::{
    io::Read,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde::Serialize;

use crate::clock;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hardware {
    /// CPU cores that this process may use.
    pub cores: u16,
    /// Compute threads the embedded engine takes by default.
    pub compute_threads: u16,
    /// The processor's architecture, such as `x86_64`.
    pub architecture: &'static str,
    /// CPU features that matter to the embedded engine and are there.
    pub cpu_features: Vec<&'static str>,
    /// CPU features that this build of the embedded engine needs and that are missing.
    pub cpu_features_missing: Vec<&'static str>,
    /// Accelerators, in the order of their tools.
    pub accelerators: Vec<Accelerator>,
}

/// One GPU or NPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Accelerator {
    /// `nvidia` or `ascend`.
    pub vendor: &'static str,
    /// The index its tool gives it.
    pub index: u32,
    /// The product's name, as its tool prints it.
    pub name: String,
    /// Memory in MiB, where the tool says.
    pub memory_mib: Option<u64>,
}

/// The longest that a vendor's tool may take to answer.
const TOOL_TIMEOUT: Duration = Duration::from_secs(10);

/// The most of a tool's answer that is read.
const TOOL_BYTES_MAX: u64 = 1 << 20;

/// Looks at this machine. Runs `nvidia-smi` and `npu-smi` where they are on the PATH, so it may take seconds.
pub fn detect() -> Hardware {
    let cores = cores();
    let mut accelerators =
        run("nvidia-smi", &["--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits"])
            .map_or_else(Vec::new, |text| nvidia(&text));
    accelerators.extend(run("npu-smi", &["info"]).map_or_else(Vec::new, |text| ascend(&text)));
    Hardware {
        cores,
        compute_threads: compute_threads(cores),
        architecture: std::env::consts::ARCH,
        cpu_features: CPU_FEATURES.iter().filter(|(_, seen)| seen()).map(|(name, _)| *name).collect(),
        cpu_features_missing: missing_cpu_features(),
        accelerators,
    }
}

/// CPU cores that this process may use.
pub fn cores() -> u16 {
    thread::available_parallelism().ok().and_then(|cores| u16::try_from(cores.get()).ok()).unwrap_or(1)
}

/// Compute threads by default: waiting threads of llama.cpp spin, so one core is always left to everyone else.
pub fn compute_threads(cores: u16) -> u16 {
    cores.saturating_sub(1).max(1)
}

/// CPU features that llama.cpp's kernels in this build use without asking.
pub fn missing_cpu_features() -> Vec<&'static str> {
    CPU_FEATURES
        .iter()
        .filter(|(name, seen)| NEEDED.contains(name) && !seen())
        .map(|(name, _)| *name)
        .collect()
}

#[cfg(target_arch = "x86_64")]
const NEEDED: &[&str] = &["avx2", "fma", "f16c", "bmi2"];
#[cfg(not(target_arch = "x86_64"))]
const NEEDED: &[&str] = &[];

type Feature = (&'static str, fn() -> bool);

#[cfg(target_arch = "x86_64")]
const CPU_FEATURES: &[Feature] = &[
    ("sse4.2", || std::is_x86_feature_detected!("sse4.2")),
    ("avx", || std::is_x86_feature_detected!("avx")),
    ("avx2", || std::is_x86_feature_detected!("avx2")),
    ("fma", || std::is_x86_feature_detected!("fma")),
    ("f16c", || std::is_x86_feature_detected!("f16c")),
    ("bmi2", || std::is_x86_feature_detected!("bmi2")),
    ("avx512f", || std::is_x86_feature_detected!("avx512f")),
    ("avx512vnni", || std::is_x86_feature_detected!("avx512vnni")),
];
#[cfg(not(target_arch = "x86_64"))]
const CPU_FEATURES: &[Feature] = &[];

/// A tool's standard output, or nothing where it is absent, fails or hangs.
fn run(program: &str, args: &[&str]) -> Option<String> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let output = child.stdout.take()?;
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        output.take(TOOL_BYTES_MAX).read_to_end(&mut text).map(|_| text)
    });
    let started = clock::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < TOOL_TIMEOUT => thread::sleep(Duration::from_millis(20)),
            _ => {
                // It is past helping: end it, and reap it so that no zombie stays.
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    };
    let text = reader.join().ok()?.ok()?;
    status.success().then(|| String::from_utf8_lossy(&text).into_owned())
}

/// Rows of `index, name, memory`; a value may be `[N/A]`.
fn nvidia(text: &str) -> Vec<Accelerator> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(',').map(str::trim);
            let index = fields.next()?.parse().ok()?;
            let name = fields.next()?.to_owned();
            let memory_mib = fields.next().and_then(|field| field.parse().ok());
            Some(Accelerator { vendor: "nvidia", index, name, memory_mib })
        })
        .collect()
}

/// The box table of `npu-smi info`: two lines a chip, columns of changing width, `used / total` memory in the second line.
fn ascend(text: &str) -> Vec<Accelerator> {
    let mut found = Vec::new();
    let mut named: Option<(u32, String)> = None;
    for line in text.lines().take_while(|line| !line.contains("Process id")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let [first, .., last] = cells.as_slice() else { continue };
        let mut words = first.split_whitespace();
        let Some(Ok(number)) = words.next().map(str::parse::<u32>) else { continue };
        match (words.next(), named.take()) {
            (Some(name), _) if name.chars().any(char::is_alphabetic) => {
                named = Some((number, name.to_owned()));
            }
            (_, Some((npu, name))) => {
                found.push(Accelerator {
                    vendor: "ascend",
                    index: npu,
                    name,
                    memory_mib: total_after_slash(last),
                });
            }
            _ => {}
        }
    }
    found
}

/// The total of the last `used / total` pair in a cell, with or without blanks around the slash.
fn total_after_slash(cell: &str) -> Option<u64> {
    cell.rsplit_once('/').and_then(|(_, total)| total.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_core_is_left_to_others() {
        assert_eq!([1, 2, 3, 16].map(compute_threads), [1, 1, 2, 15]);
    }

    #[test]
    fn nvidia_rows_with_values_that_are_not_there() {
        let found = nvidia("0, NVIDIA H200, 143771\n1, NVIDIA H200, [N/A]\nNo devices were found\n");
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].memory_mib, found[1].memory_mib), (Some(143_771), None));
    }

    #[test]
    fn an_ascend_table_is_read_by_its_bars() {
        let table = "\
+---------------------------+---------------+----------------------------------------------------+
| npu-smi 25.0.rc1          Version: 25.0.rc1                                                     |
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page) |
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)         |
+===========================+===============+=====================================================+
| 0     910B2               | OK            | 93.6        45                0    / 0              |
| 0                         | 0000:C1:00.0  | 0           0    / 0          3397 / 65536          |
+===========================+===============+=====================================================+
| 1     910B2               | OK            | 93.6        45                0    / 0              |
| 0                         | 0000:01:00.0  | 0           0    / 0          57784/ 65536          |
+===========================+===============+=====================================================+
| NPU     Chip              | Process id    | Process name             | Process memory(MB)       |
| 0       0                 | 1234          | python                   | 54000                    |
";
        let found = ascend(table);
        assert_eq!(
            found.iter().map(|npu| (npu.index, npu.name.as_str(), npu.memory_mib)).collect::<Vec<_>>(),
            [(0, "910B2", Some(65_536)), (1, "910B2", Some(65_536))]
        );
    }

    #[test]
    fn an_absent_tool_is_no_accelerator() {
        assert_eq!(run("a-tool-that-no-machine-has", &[]), None);
    }
}
