//! The traces that a report is made on: published ones from a folder, or generated ones that are like them.

use std::path::{Path, PathBuf};

use crate::replay::scenario::SloClass;
use crate::replay::trace::{Error, Kind, Load, Trace, generate, load};

/// Files that a folder of traces is looked through for, by how their names begin.
const KNOWN: [&str; 4] = ["azure_conv", "mooncake", "agentic", "servegen"];
/// The seed of generated traces, and of what files leave open.
const SEED: u64 = 1;

/// The promise that suits a trace: what people wait for a prompt of its kind. Nothing of it depends on a name.
#[expect(clippy::cast_precision_loss, reason = "a mean length")]
pub fn promise(trace: &Trace) -> SloClass {
    let sum: u64 = trace.arrivals.iter().map(|one| u64::from(one.prompt_tokens)).sum();
    let mean = sum as f64 / trace.arrivals.len().max(1) as f64;
    match mean {
        // Chat with short prompts, conversations that have grown, and agents whose prompts are mostly cached.
        ..4_000.0 => SloClass { ttft_s: 1.5, ttft_s_per_1k: 0.1 },
        ..40_000.0 => SloClass { ttft_s: 2.0, ttft_s_per_1k: 0.1 },
        _ => SloClass { ttft_s: 2.0, ttft_s_per_1k: 0.03 },
    }
}

/// The first `requests` of each generated kind.
pub fn generated(requests: usize) -> Vec<Trace> {
    Kind::ALL.into_iter().map(|kind| generate(kind, SEED, requests)).collect()
}

/// The traces in `folder`: all of known names, else all that its files hold.
pub fn in_folder(folder: &Path, requests: usize) -> Result<Vec<Trace>, Error> {
    let unreadable = |error| Error::Unreadable { file: folder.display().to_string(), error };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_file() && KNOWN.iter().any(|known| name.starts_with(known)) {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        let fix = format!("files whose names begin with one of {}", KNOWN.join(", "));
        return Err(Error::Empty { file: folder.display().to_string(), fix });
    }
    let options = Load { seed: SEED, limit: Some(requests), span_s: None };
    paths.iter().map(|path| load(path, &options)).collect()
}
