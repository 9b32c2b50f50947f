//! `tollway keys`: virtual keys, made, listed, rotated and revoked; in the files of this machine, in the fleet's Redis, or on a
//! running gateway.

mod desk;
mod text;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use secrecy::SecretString;

use crate::config::Problems;
use crate::keys::{Allowance, Ask, Fault, Overlap};
use crate::store::keys::{Error as StoreError, Refusal, secret_file};
use crate::units::{Clock as _, SystemClock};

use super::http_get;
use super::output::Output;
use desk::Desk;

/// Make, list, rotate and revoke virtual keys
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    tollway keys create --team search --budget 50/month --rpm 600 --tpm 200000 --concurrency 20 --models 'deepseek-*' \\\n    \
    --tags env=prod --expires 90d\n  \
    tollway keys rotate search-k3x9qa --overlap 24h\n  \
    tollway keys revoke search-k3x9qa --url http://127.0.0.1:9464")]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    place: Place,
    /// For people, or for scripts
    #[arg(long, value_enum, default_value = "human", global = true)]
    output: Output,
}

/// Where the keys are.
#[derive(Debug, Clone, Args)]
struct Place {
    /// The configuration file, which says where keys are kept
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Ask a running gateway at its admin address instead
    #[arg(long, value_name = "URL", global = true)]
    url: Option<String>,
    /// The admin token, for --url; on the gateway's own machine it is found by itself
    #[arg(long, env = "TOLLWAY_ADMIN_TOKEN", hide_env_values = true, value_name = "TOKEN", global = true)]
    token: Option<String>,
}

#[derive(Debug, Clone, Subcommand)]
enum Verb {
    /// Make a key, and show it once
    Create(Box<CreateArgs>),
    /// List the keys
    List,
    /// Take a key away: it is refused within a second everywhere
    Revoke(NameArgs),
    /// Give a key another text, and show it once; the old one counts for a while yet
    Rotate(RotateArgs),
    /// Show what a key has used
    Usage(NameArgs),
}

#[derive(Debug, Clone, Args)]
struct CreateArgs {
    /// Its name; without one, the team's and some letters
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Whose it is
    #[arg(long, value_name = "TEAM", default_value = "default")]
    team: String,
    /// The person or service that has it
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// What the team belongs to
    #[arg(long, value_name = "NAME")]
    organisation: Option<String>,
    /// What it may spend, in USD: 50/month, 5/day, 2.50/24h
    #[arg(long, value_name = "AMOUNT/PERIOD")]
    budget: Option<String>,
    /// Whose midnights the budget goes by, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE", requires = "budget")]
    budget_zone: Option<String>,
    /// Requests a minute
    #[arg(long, value_name = "N")]
    rpm: Option<u64>,
    /// Tokens a minute
    #[arg(long, value_name = "N")]
    tpm: Option<u64>,
    /// Requests at once
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
    /// Models it may ask for, with * and ?; commas between, or given again
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    models: Vec<String>,
    /// Tags that each of its requests carries; commas between, or given again
    #[arg(long, value_name = "NAME=VALUE", value_delimiter = ',', value_parser = tag)]
    tags: Vec<(String, String)>,
    /// When it ends: after a span (90d, 12h), or at a moment (2027-01-01T00:00:00Z)
    #[arg(long, value_name = "SPAN|MOMENT", value_parser = expiry)]
    expires: Option<Expiry>,
}

#[derive(Debug, Clone, Args)]
struct NameArgs {
    /// The key's name
    name: String,
}

#[derive(Debug, Clone, Args)]
struct RotateArgs {
    /// The key's name
    name: String,
    /// How long the old text counts beside the new one
    #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = seconds)]
    overlap: u64,
}

#[derive(Debug, Clone, Copy)]
enum Expiry {
    After(u64),
    At(Timestamp),
}

/// Why a verb did not do its work.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Configuration(Problems),
    #[error("--{}", .0.to_string().replacen("expires_in_seconds", "expires", 1))]
    Asked(Fault),
    #[error("{0}")]
    Refused(Refusal),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}; set admin.token, or run this where the gateway keeps its files")]
    Token(StoreError),
    #[error(transparent)]
    Http(#[from] http_get::Error),
    #[error("the gateway answered {status}: {message}")]
    Answered { status: u16, message: String },
    #[error("the gateway's answer is not what was asked for ({0}); is it of another version?")]
    Shape(serde_json::Error),
    #[error("no ledger is kept here, so that nobody can say what a key has used")]
    NoLedger,
    #[error("{0}")]
    Ledger(String),
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Ask(fault) => Self::Asked(fault),
            refusal => Self::Refused(refusal),
        }
    }
}

/// Does what the verb says. 0: done. 1: it could not be done. 2: the configuration or an argument is wrong.
pub(super) fn run(args: &KeysArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Error::Runtime).and_then(|runtime| runtime.block_on(act(args)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where even the error cannot be printed, the exit code is all there is.
            let _ = writeln!(anstream::stderr(), "tollway keys: {error}");
            ExitCode::from(if matches!(error, Error::Configuration(_) | Error::Asked(_)) { 2 } else { 1 })
        }
    }
}

async fn act(args: &KeysArgs) -> Result<(), Error> {
    let now = SystemClock::new().now().wall;
    let desk = Desk::open(&args.place)?;
    let to = &mut anstream::stdout();
    match &args.verb {
        Verb::Create(asked) => {
            let made = desk.create(asked.ask(now)?, now).await?;
            args.output.print(&made, |made| text::made(made, None), to)?;
        }
        Verb::List => {
            let keys = desk.list(now).await?;
            args.output.print(&keys, |keys| text::list(keys, now), to)?;
        }
        Verb::Revoke(NameArgs { name }) => {
            let shown = desk.revoke(name, now).await?;
            args.output.print(&shown, text::revoked, to)?;
        }
        Verb::Rotate(RotateArgs { name, overlap }) => {
            let overlap = Overlap { overlap_seconds: *overlap };
            overlap.span().map_err(|fault| Error::Asked(Fault { field: "overlap", ..fault }))?;
            let made = desk.rotate(name, overlap, now).await?;
            args.output.print(&made, |made| text::made(made, made.shown.overlaps_until), to)?;
        }
        Verb::Usage(NameArgs { name }) => {
            let usage = desk.usage(name, now).await?;
            args.output.print(&usage, text::usage, to)?;
        }
    }
    Ok(())
}

impl CreateArgs {
    fn ask(&self, now: Timestamp) -> Result<Ask, Error> {
        let budget = self.budget.as_ref();
        let budget = budget.map(|text| Allowance::parse(text, self.budget_zone.as_deref()));
        let expires_in_seconds = self.expires.map(|expiry| match expiry {
            Expiry::After(seconds) => seconds,
            // One that is past is less than the shortest life, and refused as that.
            Expiry::At(at) => u64::try_from(at.duration_since(now).as_secs()).unwrap_or(0),
        });
        Ok(Ask {
            name: self.name.clone(),
            team: Some(self.team.clone()),
            user: self.user.clone(),
            organisation: self.organisation.clone(),
            tags: self.tags.iter().cloned().collect::<BTreeMap<_, _>>(),
            models: self.models.clone(),
            budget: budget.transpose().map_err(Error::Asked)?,
            rpm: self.rpm,
            tpm: self.tpm,
            concurrency: self.concurrency,
            expires_in_seconds,
        })
    }
}

/// The admin token that a gateway without a configured one makes for itself; made if it is not there yet.
pub(super) fn admin_token_in(state_dir: &Path) -> Result<SecretString, StoreError> {
    std::fs::create_dir_all(state_dir)
        .map_err(|error| StoreError::Io { path: state_dir.to_owned(), error })?;
    secret_file::kept(&token_path(state_dir)).map(|bits| token_of(&bits))
}

fn token_path(state_dir: &Path) -> PathBuf {
    state_dir.join("admin.token")
}

/// As it stands in the file, so that it can be copied from there.
fn token_of(bits: &[u8; 32]) -> SecretString {
    blake3::Hash::from_bytes(*bits).to_string().into()
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as name=value, such as env=prod".to_owned()),
    }
}

fn expiry(text: &str) -> Result<Expiry, String> {
    let span = seconds(text).map(Expiry::After);
    let moment = || text.parse().map(Expiry::At);
    span.or_else(|_| moment())
        .map_err(|_| "write a span such as 90d or 12h, or a moment such as 2027-01-01T00:00:00Z".to_owned())
}

fn seconds(text: &str) -> Result<u64, String> {
    const WANTED: &str = "write a span such as 90d, 24h, 30m or 0s";
    let (digits, unit) =
        text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(|| WANTED.to_owned())?;
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "w" => 7 * 24 * 3600,
        _ => return Err(WANTED.to_owned()),
    };
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse::<u64>().ok().filter(|_| is_plain);
    number.and_then(|number| number.checked_mul(unit_s)).ok_or_else(|| WANTED.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_moments_are_read() {
        assert_eq!((seconds("90d"), seconds("0s"), seconds("2w")), (Ok(7_776_000), Ok(0), Ok(1_209_600)));
        for odd in ["", "d", "-1d", "1y", "1.5h", "+1d", "9d9", "99999999999999999999d", "é"] {
            assert!(seconds(odd).is_err(), "{odd}");
        }
        assert!(matches!(expiry("2027-01-01T00:00:00Z"), Ok(Expiry::At(_))));
        assert!(expiry("tomorrow").is_err());
    }
}
