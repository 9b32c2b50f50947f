//! `tollway explain`: where a request would go, and why; from the files, or from a running gateway's live state.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use crate::config::{Location, Problems, Snapshot, Snapshots};
use crate::gateway::auth::Caller;
use crate::gateway::keyring::stated;
use crate::gateway::steering::{self, Steering};
use crate::keys::Table;
use crate::keys::table::Known;
use crate::routing::{Endpoint, Explanation, RequestFacts};
use crate::units::{Clock, Now, SystemClock};

use super::http_get::{self, message_in, query_escaped};
use super::output::Output;

/// Explain where such a request would go: every candidate, its price and expected cost, who is left out and why
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    tollway explain --model deepseek-v4-flash-0731 --prompt-tokens 8000 --max-tokens 500\n  \
    tollway explain --model deepseek-v4-pro-0813 --tag tier=batch --at 2026-11-24T02:00:00Z\n  \
    tollway explain --model deepseek-v4-pro-0813 --url http://127.0.0.1:9464 --output json")]
pub struct ExplainArgs {
    /// The model as a caller would write it
    #[arg(long)]
    pub model: String,
    /// Length of the prompt in tokens
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub prompt_tokens: u64,
    /// The caller's bound on the answer, in tokens
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u64>,
    /// A tag of the request; may be given again
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    pub tags: Vec<(String, String)>,
    /// Name of the caller's key
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// Which API is called
    #[arg(long, default_value = "chat", value_name = "chat|completions|embeddings|rerank", value_parser = endpoint)]
    pub endpoint: Endpoint,
    /// Members of the request's body that steer, as JSON: `{"provider": {"only": ["deepseek"]}}`
    #[arg(long, value_name = "JSON")]
    pub wish: Option<String>,
    /// Ask a running gateway at its admin address, so that what it has seen of the routes counts
    #[arg(long, value_name = "URL", conflicts_with_all = ["config", "policies", "at"])]
    pub url: Option<String>,
    /// The admin listener's token, where it wants one
    #[arg(long, env = "TOLLWAY_ADMIN_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The folder of policies
    #[arg(long, value_name = "DIR")]
    pub policies: Option<PathBuf>,
    /// Prices at this moment instead of now
    #[arg(long, value_name = "TIMESTAMP")]
    pub at: Option<jiff::Timestamp>,
    /// For people, or for scripts
    #[arg(long, value_enum, default_value = "human")]
    pub output: Output,
}

/// Why there is nothing to explain.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The files are wrong.
    #[error("{0}")]
    Configuration(Problems),
    /// Nobody knows the model.
    #[error("the model {model:?} is not known{near}", near = nearest(.near))]
    Model {
        /// As it was written.
        model: String,
        /// Known names like it.
        near: Vec<String>,
    },
    /// The model is known, but nobody who offers it can be asked.
    #[error(
        "nobody who offers {model} can be asked; set the API key of one of: {}", .offered_by.join(", ")
    )]
    Unusable {
        /// The model.
        model: String,
        /// Providers that offer it.
        offered_by: Vec<String>,
    },
    /// The wishes cannot be read.
    #[error("--wish: {0}")]
    Wish(String),
    /// There is no such key.
    #[error("there is no key named {0:?} in the configuration")]
    Key(String),
    /// Nobody decides such a request.
    #[error("no policy matches this request; add one without `match`, which then decides whatever is left")]
    NoPolicy,
    /// The gateway could not be asked.
    #[error(transparent)]
    Get(#[from] http_get::Error),
    /// The gateway refused.
    #[error("the gateway answered {status}: {message}")]
    Refused {
        /// Its status code.
        status: u16,
        /// Its error message, or the beginning of its body.
        message: String,
    },
    /// The gateway's answer is no explanation.
    #[error("the gateway's answer is not an explanation ({0}); is it of another version?")]
    Shape(serde_json::Error),
    /// The explanation could not be printed.
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// Explains and prints. 0: somebody may serve; 1: nobody may, or the gateway did not say; 2: the files are wrong.
pub fn run(args: &ExplainArgs) -> ExitCode {
    let explained = match &args.url {
        Some(url) => from_url(args, url),
        None => from_files(args),
    };
    let printed = explained.and_then(|explanation| {
        args.output.print(&explanation, Explanation::to_text, &mut anstream::stdout())?;
        Ok(explanation.candidates.is_empty())
    });
    match printed {
        Ok(nobody) => ExitCode::from(u8::from(nobody)),
        Err(error) => {
            // Where even the error cannot be printed, the exit code is all there is.
            let _ = writeln!(anstream::stderr(), "tollway explain: {error}");
            ExitCode::from(if matches!(error, Error::Configuration(_)) { 2 } else { 1 })
        }
    }
}

fn from_files(args: &ExplainArgs) -> Result<Explanation, Error> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let location = Location::new(args.config.clone(), args.policies.clone());
    let snapshots = Snapshots::open(location).map_err(Error::Configuration)?;
    explain(args, &snapshots.load(), clock.now())
}

/// Decides by a snapshot alone: no route has been seen yet.
pub fn explain(args: &ExplainArgs, snapshot: &Snapshot, now: Now) -> Result<Explanation, Error> {
    let model = &args.model;
    let near = || snapshot.names.nearest(model, 3).into_iter().map(str::to_owned).collect();
    let call =
        steering::call_of(snapshot, args.endpoint, model, args.wish.as_deref()).map_err(Error::Wish)?;
    if let Some(resolved) = snapshot.names.resolve(model)
        && resolved.routes.is_empty()
        && args.wish.is_none()
    {
        let offered_by = resolved.offered_by.iter().map(ToString::to_string).collect();
        return Err(Error::Unusable { model: model.clone(), offered_by });
    }
    let named = args.key.as_deref().unwrap_or_default();
    let keys = Table::new(&stated(snapshot), &Known::NoStore);
    let caller = Caller::named(&keys, named).ok_or_else(|| Error::Key(named.to_owned()))?;
    let mut tags: Vec<(&str, &str)> = args.tags.iter().map(|(name, value)| (&**name, &**value)).collect();
    caller.replace_tags(&mut tags);
    let facts = RequestFacts {
        prompt_tokens: args.prompt_tokens,
        output_tokens_max: args.max_tokens,
        ..caller.facts(args.endpoint, &tags)
    };
    let steering = Steering::by(snapshot, &call, &facts)
        .ok_or_else(|| Error::Model { model: model.clone(), near: near() })?;
    let facts = RequestFacts { may_hedge: steering.may_hedge(), ..steering.steered(facts) };
    let now = Now { wall: args.at.unwrap_or(now.wall), ..now };
    Explanation::decided(&snapshot.routes, &snapshot.policies, &facts, &(), now).ok_or(Error::NoPolicy)
}

/// Asks a running gateway at `url`: `GET /admin/v1/explain`.
fn from_url(args: &ExplainArgs, url: &str) -> Result<Explanation, Error> {
    let answer = http_get::get(url, &path(args), args.token.as_deref())?;
    if answer.status != 200 {
        return Err(Error::Refused { status: answer.status, message: message_in(&answer.body) });
    }
    serde_json::from_slice(&answer.body).map_err(Error::Shape)
}

fn path(args: &ExplainArgs) -> String {
    let mut query = vec![
        ("model", args.model.clone()),
        ("prompt_tokens", args.prompt_tokens.to_string()),
        ("endpoint", args.endpoint.name().to_owned()),
    ];
    query.extend(args.max_tokens.map(|tokens| ("max_tokens", tokens.to_string())));
    query.extend(args.wish.as_ref().map(|wish| ("wish", wish.clone())));
    query.extend(args.key.as_ref().map(|key| ("key", key.clone())));
    query.extend(args.tags.iter().map(|(key, value)| ("tag", format!("{key}={value}"))));
    let query: Vec<String> =
        query.iter().map(|(name, value)| format!("{name}={}", query_escaped(value))).collect();
    format!("/admin/v1/explain?{}", query.join("&"))
}

fn nearest(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) }
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    Endpoint::from_name(text).ok_or_else(|| "write chat, completions, embeddings or rerank".to_owned())
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as key=value, such as tier=interactive".to_owned()),
    }
}

#[cfg(test)]
mod tests;
