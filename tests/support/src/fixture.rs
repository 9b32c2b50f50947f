//! The stored payloads under `tests/fixtures/providers`, by name.

use std::{path::PathBuf, sync::LazyLock};

use bytes::Bytes;
use serde_json::Value;

use crate::{Reply, reply::packets_by_event};

/// A payload, and what the manifest says about it.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// A file's name, or a stored refusal's id.
    pub name: String,
    /// Who sends it: `openrouter`, `together`, ….
    pub provider: String,
    /// The model that was asked for, where it answers a chat.
    pub model: Option<String>,
    /// HTTP status.
    pub status: u16,
    /// Header fields that come with it.
    pub headers: Vec<(String, String)>,
    /// The exact body.
    pub body: Bytes,
    /// What a correct reader takes out of it.
    pub expect: Value,
}

static ALL: LazyLock<Vec<Fixture>> = LazyLock::new(load);

impl Fixture {
    /// Every payload, then every refusal.
    pub fn all() -> &'static [Self] {
        &ALL
    }

    /// The payload or refusal of that name; panics where there is none.
    pub fn named(name: &str) -> &'static Self {
        Self::all().iter().find(|fixture| fixture.name == name).unwrap_or_else(|| panic!("no fixture {name}"))
    }

    /// Whether the body is an event stream.
    pub fn is_stream(&self) -> bool {
        self.headers.iter().any(|(name, value)| name == "content-type" && value == "text/event-stream")
    }

    /// The payload as an answer: one packet an event where it is a stream.
    pub fn reply(&self) -> Reply {
        let reply = if self.is_stream() {
            Reply::stream(packets_by_event(&self.body)).status(self.status)
        } else {
            Reply::new(self.status, self.body.clone())
        };
        // A stream has its content type already.
        let own = self.headers.iter().filter(|(name, _)| !(self.is_stream() && name == "content-type"));
        own.fold(reply, |reply, (name, value)| reply.header(name, value))
    }
}

fn load() -> Vec<Fixture> {
    let entries = |file: &str| match serde_json::from_slice(&read(file)) {
        Ok(Value::Array(entries)) => entries,
        other => panic!("{file} should hold an array: {other:?}"),
    };
    let files = entries("manifest.json").into_iter().filter(|entry| entry["status"].is_u64());
    let files = files.map(|entry| {
        let name = text(&entry["file"]);
        let body = read(&name);
        fixture(name, body, &entry)
    });
    let refusals = entries("errors_by_provider.json").into_iter();
    files
        .chain(refusals.map(|entry| fixture(text(&entry["id"]), text(&entry["body"]).into(), &entry)))
        .collect()
}

fn fixture(name: String, body: Bytes, entry: &Value) -> Fixture {
    let fields = entry["headers"].as_object().into_iter().flatten();
    Fixture {
        name,
        provider: text(&entry["provider"]),
        model: entry["requested_model"].as_str().map(str::to_owned),
        status: entry["status"].as_u64().and_then(|status| status.try_into().ok()).expect("a status"),
        headers: fields.map(|(name, value)| (name.clone(), text(value))).collect(),
        body,
        expect: entry["expect"].clone(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}

fn read(file: &str) -> Bytes {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "fixtures", "providers", file].iter().collect();
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}
