//! `GET /v1/models`: every name an application may use, checkpoints and aliases, without asking anyone upstream.
//!
//! One shape for the readers of OpenAI's list and of OpenRouter's, who both ignore what is not theirs. Together's list is a bare
//! array with other members of the same names, so its client gets one of its own, told by its `User-Agent`.

mod prices;
mod together;

use bytes::Bytes;
use http::{HeaderMap, header};
use jiff::Timestamp;
use serde::Serialize;

use crate::config::{ListedModel, NameKind, Snapshot};
use crate::routing::{Capabilities, Route};

use prices::Pricing;

/// When the list began: a constant, since clients require the field and nobody knows a checkpoint's second of birth.
const CREATED: u64 = 1_767_225_600;

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
    total_count: usize,
    links: Links,
}

#[derive(Serialize)]
struct Links {
    next: Option<&'static str>,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    canonical_slug: &'a str,
    name: &'a str,
    context_length: Option<u64>,
    architecture: Architecture,
    pricing: Pricing,
    top_provider: TopProvider,
    supported_parameters: Vec<&'static str>,
    default_parameters: Option<()>,
    per_request_limits: Option<()>,
    supported_voices: Option<()>,
    links: Details,
    /// What an alias stands for; empty for a checkpoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<&'a str>,
    /// Who serves it.
    providers: Vec<&'a str>,
}

#[derive(Serialize)]
struct Architecture {
    modality: String,
    input_modalities: [&'static str; 1],
    output_modalities: [&'static str; 1],
    tokenizer: &'static str,
    instruct_type: Option<()>,
}

#[derive(Serialize)]
struct TopProvider {
    context_length: Option<u64>,
    max_completion_tokens: Option<u64>,
    is_moderated: bool,
}

#[derive(Serialize)]
struct Details {
    details: String,
}

/// The whole list as JSON, in the shape that the client with these headers reads.
pub fn list(snapshot: &Snapshot, headers: &HeaderMap, now: Timestamp) -> Bytes {
    let listed = snapshot.names.listed();
    if is_together(headers) {
        return json(&listed.map(|model| together::Model::new(snapshot, model, now)).collect::<Vec<_>>());
    }
    let data: Vec<Model<'_>> = listed.map(|model| Model::new(snapshot, &model.id, model, now)).collect();
    json(&List { object: "list", total_count: data.len(), data, links: Links { next: None } })
}

/// One model as JSON; any name that a request may use is found.
pub fn one(snapshot: &Snapshot, id: &str, now: Timestamp) -> Option<Bytes> {
    let resolved = snapshot.names.resolve(id)?;
    let listed = snapshot.names.listed().find(|listed| listed.id == *resolved.canonical)?;
    Some(json(&Model::new(snapshot, id, listed, now)))
}

/// Whether Together's own client asks (`Together/JS 0.52.0`, `Together/Python 2.1.0`).
fn is_together(headers: &HeaderMap) -> bool {
    headers.get(header::USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"Together/"))
}

impl<'a> Model<'a> {
    /// `listed` under the name `id`, which may be a pin that has fewer routes.
    fn new(snapshot: &'a Snapshot, id: &'a str, listed: &'a ListedModel, now: Timestamp) -> Self {
        let routes = routes_of(snapshot, id);
        let is_alias = listed.kind == NameKind::Alias;
        let all = routes.iter().fold(Capabilities::default(), |all, route| all.with(route.capabilities));
        let top = prices::cheapest(&routes, now);
        let output = output_of(all);
        let mut providers: Vec<&str> = routes.iter().map(|route| &*route.provider).collect();
        providers.sort_unstable();
        providers.dedup();
        Self {
            id,
            object: "model",
            created: CREATED,
            owned_by: "tollway",
            canonical_slug: &listed.id,
            name: id,
            context_length: routes.iter().map(|route| route.context_tokens).min().flatten(),
            architecture: Architecture {
                modality: format!("text->{output}"),
                input_modalities: ["text"],
                output_modalities: [output],
                tokenizer: "Other",
                instruct_type: None,
            },
            pricing: Pricing::new(top, now),
            top_provider: TopProvider {
                context_length: top.and_then(|route| route.context_tokens),
                max_completion_tokens: None,
                is_moderated: false,
            },
            supported_parameters: parameters(all),
            default_parameters: None,
            per_request_limits: None,
            supported_voices: None,
            links: Details { details: format!("/v1/models/{id}") },
            members: if is_alias { listed.checkpoints.iter().map(|m| &**m).collect() } else { Vec::new() },
            providers,
        }
    }
}

/// The routes that a request for `id` may go to; those that only a pin chooses, only where nothing else is meant.
fn routes_of<'a>(snapshot: &'a Snapshot, id: &str) -> Vec<&'a Route> {
    let resolved = snapshot.names.resolve(id);
    let routes: Vec<&Route> =
        resolved.iter().flat_map(|found| found.routes).filter_map(|id| snapshot.route(*id)).collect();
    let open: Vec<&Route> = routes.iter().copied().filter(|route| !route.pin_only).collect();
    if open.is_empty() { routes } else { open }
}

/// What comes out of it, in OpenRouter's words.
const fn output_of(all: Capabilities) -> &'static str {
    if all.covers(Capabilities::CHAT) || all.covers(Capabilities::COMPLETIONS) {
        "text"
    } else if all.covers(Capabilities::EMBEDDINGS) {
        "embeddings"
    } else if all.covers(Capabilities::RERANK) {
        "rerank"
    } else {
        "text"
    }
}

/// Request parameters that at least one of its routes heeds, in OpenRouter's words.
fn parameters(all: Capabilities) -> Vec<&'static str> {
    if output_of(all) != "text" {
        return Vec::new();
    }
    let by_capability: [(Capabilities, &[&'static str]); 4] = [
        (Capabilities::TOOLS, &["tools", "tool_choice"]),
        (Capabilities::CHAT, &["response_format"]),
        (Capabilities::JSON_SCHEMA, &["structured_outputs"]),
        (Capabilities::LOGPROBS, &["logprobs", "top_logprobs"]),
    ];
    let mut names = vec![
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "stop",
        "seed",
        "frequency_penalty",
        "presence_penalty",
    ];
    for (one, more) in by_capability {
        if all.covers(one) {
            names.extend(more);
        }
    }
    names
}

fn json(value: &impl Serialize) -> Bytes {
    // Strings, numbers and lists of them always serialise.
    serde_json::to_vec(value).map(Bytes::from).unwrap_or_default()
}
