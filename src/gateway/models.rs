//! `GET /v1/models`: every name an application may use, checkpoints and aliases, without asking anyone upstream.

use bytes::Bytes;
use serde::Serialize;

use crate::config::{ListedModel, NameKind, Snapshot};

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_length: Option<u64>,
    /// What an alias stands for; empty for a checkpoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<&'a str>,
}

/// When the list began: a constant, since clients require the field and nobody knows a checkpoint's second of birth.
const CREATED: u64 = 1_767_225_600;

impl<'a> Model<'a> {
    fn new(listed: &'a ListedModel) -> Self {
        let members = if listed.kind == NameKind::Alias {
            listed.checkpoints.iter().map(|m| &**m).collect()
        } else {
            Vec::new()
        };
        Self {
            id: &listed.id,
            object: "model",
            created: CREATED,
            owned_by: "tollway",
            context_length: listed.context_tokens,
            members,
        }
    }
}

/// The whole list as JSON.
pub fn list(snapshot: &Snapshot) -> Bytes {
    let data = snapshot.names.listed().map(Model::new).collect();
    json(&List { object: "list", data })
}

/// One model as JSON; any name that a request may use is found.
pub fn one(snapshot: &Snapshot, id: &str) -> Option<Bytes> {
    let resolved = snapshot.names.resolve(id)?;
    let listed = snapshot.names.listed().find(|listed| listed.id == *resolved.canonical)?;
    Some(json(&Model { id, ..Model::new(listed) }))
}

fn json(value: &impl Serialize) -> Bytes {
    // Strings, numbers and lists of them always serialise.
    serde_json::to_vec(value).map(Bytes::from).unwrap_or_default()
}
