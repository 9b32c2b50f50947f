//! What the engine can be told: by the gateway to the supervisor, and by the supervisor to the worker's command line.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    time::Duration,
};

use crate::hardware;

/// The file name of the bundled model.
pub const MODEL_FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// The name under which the bundled model is served.
pub const MODEL_NAME: &str = "smollm2-135m-instruct";

/// What a supervisor needs to run the embedded engine.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// The GGUF file.
    pub model: PathBuf,
    /// The name the model answers to.
    pub model_name: String,
    /// Where the socket and the pid file live. Made if missing.
    pub state_dir: PathBuf,
    /// Tokens of context, shared by all sequences.
    pub context_tokens: u32,
    /// Sequences decoded together.
    pub parallel: u16,
    /// Requests that may wait for a sequence before the answer is 429.
    pub queue_requests_max: u16,
    /// Compute threads; `None` picks one on one or two cores, and all but one above.
    pub threads: Option<u16>,
    /// The program that holds the worker; `None` is the running program itself.
    pub program: Option<PathBuf>,
    /// What leads that program to [`crate::worker_main`].
    pub subcommand: Vec<OsString>,
    /// How long loading the model may take.
    pub start_timeout: Duration,
    /// Without progress, or without an answer, for this long the worker counts as hung.
    pub hang_timeout: Duration,
    /// How often the worker is asked how it is.
    pub watch_interval: Duration,
    /// After this long without work, one token is asked for, to know that the engine still computes.
    pub probe_interval: Duration,
}

impl EngineSettings {
    /// The bundled model under `data_dir` (its file in `models/`, the socket and the pid file in `engine/`), everything else by default.
    pub fn bundled(data_dir: &std::path::Path) -> Self {
        Self {
            model: data_dir.join("models").join(MODEL_FILE),
            model_name: MODEL_NAME.to_owned(),
            state_dir: data_dir.join("engine"),
            context_tokens: 8192,
            parallel: 8,
            queue_requests_max: 32,
            threads: None,
            program: None,
            subcommand: vec![OsString::from("engine-worker")],
            start_timeout: Duration::from_mins(2),
            hang_timeout: Duration::from_secs(15),
            watch_interval: Duration::from_secs(2),
            probe_interval: Duration::from_secs(30),
        }
    }
}

/// The worker's command line.
#[derive(Debug, Clone)]
pub(crate) struct WorkerSettings {
    pub(crate) socket: PathBuf,
    pub(crate) model: PathBuf,
    pub(crate) model_name: String,
    pub(crate) context_tokens: u32,
    pub(crate) parallel: u16,
    pub(crate) queue_requests_max: u16,
    pub(crate) threads: u16,
    /// Tokens an answer may have when its request sets no limit.
    pub(crate) answer_tokens_default: u32,
    /// Whether standard input is a pipe from the supervisor, whose end means that the worker must go too.
    pub(crate) lifeline: bool,
    /// How long running requests may take to end after SIGTERM.
    pub(crate) grace: Duration,
}

/// Why the worker's command line is refused.
#[derive(Debug, thiserror::Error)]
#[error("engine-worker: {0}")]
pub(crate) struct UsageError(String);

impl WorkerSettings {
    /// Reads `--socket PATH --model PATH` and the optional rest.
    pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Result<Self, UsageError> {
        let mut settings = Self {
            socket: PathBuf::new(),
            model: PathBuf::new(),
            model_name: MODEL_NAME.to_owned(),
            context_tokens: 8192,
            parallel: 8,
            queue_requests_max: 32,
            threads: hardware::compute_threads(hardware::cores()),
            answer_tokens_default: 1024,
            lifeline: false,
            grace: Duration::from_secs(30),
        };
        let mut args = args;
        while let Some(flag) = args.next() {
            let name = flag.to_string_lossy().into_owned();
            if name == "--lifeline" {
                settings.lifeline = true;
                continue;
            }
            let value = args.next().ok_or_else(|| UsageError(format!("`{name}` needs a value after it")))?;
            match name.as_str() {
                "--socket" => settings.socket = PathBuf::from(value),
                "--model" => settings.model = PathBuf::from(value),
                "--model-name" => settings.model_name = value.to_string_lossy().into_owned(),
                "--context" => settings.context_tokens = number(&name, &value, 256, 1 << 20)?,
                "--parallel" => settings.parallel = number(&name, &value, 1, 64)?,
                "--queue" => settings.queue_requests_max = number(&name, &value, 0, 4096)?,
                "--threads" => settings.threads = number(&name, &value, 1, 512)?,
                "--answer-tokens" => settings.answer_tokens_default = number(&name, &value, 1, 1 << 20)?,
                "--grace-seconds" => settings.grace = Duration::from_secs(number(&name, &value, 0, 3600)?),
                _ => {
                    return Err(UsageError(format!(
                        "`{name}` is not an option; there are --socket --model --model-name --context --parallel \
                         --queue --threads --answer-tokens --grace-seconds --lifeline"
                    )));
                }
            }
        }
        for (path, flag) in [(&settings.socket, "--socket"), (&settings.model, "--model")] {
            if path.as_os_str().is_empty() {
                return Err(UsageError(format!("`{flag} PATH` is missing")));
            }
        }
        Ok(settings)
    }
}

fn number<T>(flag: &str, value: &OsStr, least: T, most: T) -> Result<T, UsageError>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display + Copy,
{
    value
        .to_str()
        .and_then(|text| text.parse().ok())
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| {
            UsageError(format!(
                "`{flag}` wants a whole number from {least} to {most}, not `{}`",
                value.to_string_lossy()
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<WorkerSettings, UsageError> {
        WorkerSettings::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_full_line_is_read() {
        let settings = parse("--socket s --model m --context 512 --parallel 2 --queue 0 --lifeline").unwrap();
        assert_eq!((settings.context_tokens, settings.parallel, settings.queue_requests_max), (512, 2, 0));
        assert!(settings.lifeline);
    }

    #[test]
    fn faults_name_the_option_and_the_fix() {
        for (line, words) in [
            ("--model m", "`--socket PATH` is missing"),
            ("--socket s --model m --context ten", "`--context` wants a whole number from 256"),
            ("--socket s --model", "`--model` needs a value"),
            ("--sockets s", "`--sockets` is not an option"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
