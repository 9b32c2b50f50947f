//! `GET /admin/v1/openapi.json`: the admin API for programs, made from the types that its pages are made of.

use std::sync::LazyLock;

use bytes::Bytes;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use crate::keys::{Ask, Made, Overlap, Shown, Usage};
use crate::routing::Explanation;

use super::{decisions, keys, routes};

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(document_of().to_string()));

/// The document, made once.
pub fn document() -> Bytes {
    DOCUMENT.clone()
}

/// A key's name, and whatever else is one.
const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";

fn document_of() -> Value {
    let mut api = Api::new();
    let mut paths = Map::new();
    let mut add = |path: &str, operations: Value| drop(paths.insert(path.to_owned(), operations));
    add(
        "/healthz",
        Api::get(
            "alive",
            "The process is alive.",
            &[],
            &[(200, fixed(&json!({"status": {"const": "alive"}})))],
        ),
    );
    let ready = readiness();
    add("/readyz", Api::get("ready", "Whether it can serve.", &[], &[(200, ready.clone()), (503, ready)]));
    add("/metrics", metrics());
    let explanation = api.answer::<Explanation>();
    add(
        "/admin/v1/explain",
        Api::shown(
            "explain",
            "The decision that such a request would get now.",
            &explain(),
            &[(200, explanation), (400, Answer::Error), (404, Answer::Error)],
        ),
    );
    let rows = api.answer::<Vec<decisions::Row>>();
    add(
        "/admin/v1/decisions",
        Api::shown(
            "decisions",
            "The last decisions, newest first.",
            &filter(),
            &[(200, rows), (400, Answer::Error)],
        ),
    );
    let full = api.answer::<decisions::Full>();
    let id = json!({"name": "id", "in": "path", "required": true, "description": "The request's id.", "schema": {"type": "string", "minLength": 1}});
    add(
        "/admin/v1/decisions/{id}",
        Api::shown(
            "decision",
            "One decision, with how the request ended.",
            &[id],
            &[(200, full), (404, Answer::Error)],
        ),
    );
    let page = api.answer::<routes::Page>();
    add("/admin/v1/routes", Api::shown("routes", "Every route with its health.", &[], &[(200, page)]));
    add("/admin/v1/engine", Api::shown("engine", "The local engine's state.", &[], &[(200, engine())]));
    add(
        "/admin/v1/openapi.json",
        Api::shown(
            "openapi",
            "This document.",
            &[],
            &[(200, fixed(&json!({"openapi": {"type": "string"}})))],
        ),
    );
    add("/admin/v1/reload", Api::reload());
    api.keys(&mut add);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tollway's admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The second listener. Pages that show something are open where it listens on loopback and no admin.token is configured; keys need a token always.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "admin.token, or what stands in admin.token under state_dir."}},
            "schemas": api.schemas(),
        },
    })
}

/// What a response holds.
#[derive(Clone)]
enum Answer {
    Error,
    Json(Value),
}

/// Gathers the schemas that the pages refer to.
struct Api {
    answers: SchemaGenerator,
    bodies: SchemaGenerator,
}

impl Api {
    fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        let bodies = settings.clone().with(|settings| settings.inline_subschemas = true);
        Self { answers: settings.for_serialize().into_generator(), bodies: bodies.into_generator() }
    }

    fn answer<T: JsonSchema>(&mut self) -> Answer {
        Answer::Json(self.answers.subschema_for::<T>().to_value())
    }

    fn body<T: JsonSchema>(&mut self) -> Schema {
        self.bodies.root_schema_for::<T>()
    }

    fn schemas(&mut self) -> Map<String, Value> {
        let mut schemas = self.answers.take_definitions(true);
        schemas.insert(
            "Error".to_owned(),
            json!({
                "type": "object",
                "required": ["error"],
                "properties": {"error": {
                    "type": "object",
                    "required": ["message", "type", "param", "code"],
                    "properties": {
                        "message": {"type": "string", "description": "What is wrong, and what to do."},
                        "type": {"type": "string"},
                        "param": {"type": ["string", "null"]},
                        "code": {"type": "string", "description": "Stable; docs/errors.md has them all."},
                    },
                }},
            }),
        );
        schemas
    }

    /// A page that anybody may see.
    fn get(id: &str, summary: &str, parameters: &[Value], answers: &[(u16, Answer)]) -> Value {
        let mut get = operation(id, summary, parameters, answers);
        get["security"] = json!([]);
        json!({"get": get})
    }

    /// A page that needs the token where one is configured.
    fn shown(id: &str, summary: &str, parameters: &[Value], answers: &[(u16, Answer)]) -> Value {
        let refused = [(401, Answer::Error), (429, Answer::Error)];
        let answers = [answers, &refused].concat();
        let mut get = operation(id, summary, parameters, &answers);
        get["security"] = json!([{}, {"token": []}]);
        json!({"get": get})
    }

    fn reload() -> Value {
        let answers = [
            (200, fixed(&json!({"generation": {"type": "integer", "minimum": 0}}))),
            (401, Answer::Error),
            (422, Answer::Error),
            (429, Answer::Error),
        ];
        let mut post = operation("reload", "Reads the configuration again.", &[], &answers);
        post["security"] = json!([{}, {"token": []}]);
        json!({"post": post})
    }

    fn keys(&mut self, add: &mut impl FnMut(&str, Value)) {
        let (list, shown) = (self.answer::<keys::Page>(), self.answer::<Shown>());
        let (made, usage) = (self.answer::<Made>(), self.answer::<Usage>());
        let (ask, overlap) = (self.body::<Ask>(), self.body::<Overlap>());
        let name = [
            json!({"name": "name", "in": "path", "required": true, "description": "The key's name.", "schema": {"type": "string", "pattern": NAME}}),
        ];
        let missing = (404, Answer::Error);
        // What any body can be refused for.
        let bad = [400, 408, 413, 415].map(|status| (status, Answer::Error));
        let with = |answers: &[(u16, Answer)]| [answers, &bad].concat();
        let conflict = (409, Answer::Error);
        add(
            keys::PATH,
            json!({
                "get": locked(operation("listKeys", "Every key, those that ended lately included; no text is among it.", &[], &[(200, list)])),
                "post": locked(taking(&ask, true, operation("createKey", "Makes a key. Its text is in the answer, and nowhere else.", &[], &with(&[(201, made.clone()), conflict.clone()])))),
            }),
        );
        let path = |rest: &str| format!("{}/{{name}}{rest}", keys::PATH);
        add(
            &path(""),
            json!({
                "get": locked(operation("showKey", "One key.", &name, &[(200, shown.clone()), missing.clone()])),
                "delete": locked(operation("revokeKey", "Takes a key away: refused here at once, and within a second everywhere. Doing it again changes nothing.", &name, &[(200, shown), missing.clone(), conflict.clone()])),
            }),
        );
        add(
            &path("/rotate"),
            json!({
                "post": locked(taking(&overlap, false, operation("rotateKey", "Gives a key another text; the old one counts for a while yet.", &name, &with(&[(200, made), missing.clone(), conflict])))),
            }),
        );
        add(
            &path("/usage"),
            json!({
                "get": locked(operation("keyUsage", "What a key has used, as the ledger says.", &name, &[(200, usage), missing, (501, Answer::Error)])),
            }),
        );
    }
}

fn operation(id: &str, summary: &str, parameters: &[Value], answers: &[(u16, Answer)]) -> Value {
    let mut responses = Map::new();
    for (status, answer) in answers {
        let schema = match answer {
            Answer::Error => json!({"$ref": "#/components/schemas/Error"}),
            Answer::Json(schema) => schema.clone(),
        };
        let status = http::StatusCode::from_u16(*status).unwrap_or_default();
        let description = status.canonical_reason().unwrap_or("An answer");
        let content = json!({"application/json": {"schema": schema}});
        responses.insert(status.as_str().to_owned(), json!({"description": description, "content": content}));
    }
    json!({"operationId": id, "summary": summary, "parameters": parameters, "responses": responses})
}

/// Behind the token, whatever is configured.
fn locked(mut operation: Value) -> Value {
    for status in ["401", "403", "429", "503"] {
        let content = json!({"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}});
        let description = match status {
            "401" => "The admin token is missing or wrong",
            "403" => "There is no admin token",
            "429" => "Too many wrong tokens came from there",
            _ => "The store of keys does not answer",
        };
        operation["responses"][status] = json!({"description": description, "content": content});
    }
    operation["security"] = json!([{"token": []}]);
    operation
}

fn taking(body: &Schema, required: bool, mut operation: Value) -> Value {
    operation["requestBody"] =
        json!({"required": required, "content": {"application/json": {"schema": body}}});
    operation
}

/// An object that has these members.
fn fixed(properties: &Value) -> Answer {
    let required: Vec<&String> = properties.as_object().into_iter().flat_map(Map::keys).collect();
    Answer::Json(json!({"type": "object", "required": required, "properties": properties}))
}

fn metrics() -> Value {
    let content = json!({"text/plain": {"schema": {"type": "string"}}});
    json!({"get": {
        "operationId": "metrics",
        "summary": "Prometheus's page.",
        "security": [],
        "responses": {"200": {"description": "OK", "content": content}},
    }})
}

fn readiness() -> Answer {
    let count = json!({"type": "integer", "minimum": 0});
    fixed(&json!({
        "ready": {"type": "boolean"},
        "draining": {"type": "boolean"},
        "generation": count,
        "providers_usable": count,
        "routes": count,
        "policies": count,
        "local_engine": {"type": "string"},
        "reload_problem": {"type": ["string", "null"]},
    }))
}

fn engine() -> Answer {
    let (count, text) = (json!({"type": "integer", "minimum": 0}), json!({"type": "string"}));
    let maybe = json!({"type": ["integer", "null"], "minimum": 0});
    fixed(&json!({
        "state": {}, "reason": {"type": ["string", "null"]}, "pid": maybe, "restarts": count, "model": text,
        "model_file": text, "socket": text, "context_tokens": count, "parallel": count, "queue_requests_max": count,
        "running": count, "queued": count, "kv_tokens": count, "tokens_per_second": count, "start_ms": maybe,
    }))
}

fn query(name: &str, required: bool, description: &str, schema: &Value) -> Value {
    json!({"name": name, "in": "query", "required": required, "description": description, "schema": schema})
}

fn explain() -> [Value; 7] {
    let count = json!({"type": "integer", "minimum": 0, "maximum": 1_000_000_000_000_u64});
    let text = json!({"type": "string"});
    let tag =
        json!({"type": "array", "items": {"type": "string", "pattern": "^[A-Za-z0-9._-]+=[A-Za-z0-9._-]*$"}});
    [
        query("model", true, "As a caller would write it.", &json!({"type": "string", "minLength": 1})),
        query("prompt_tokens", false, "Length of the prompt; 1000 without.", &count),
        query("max_tokens", false, "The caller's bound on the answer.", &count),
        query(
            "endpoint",
            false,
            "Which API is called.",
            &json!({"enum": ["chat", "completions", "embeddings", "rerank"]}),
        ),
        query("key", false, "Name of the caller's key.", &text),
        query("tag", false, "A tag of the request, name=value; may be given again.", &tag),
        query("wish", false, "Members of the request's body that steer, as JSON.", &text),
    ]
}

fn filter() -> [Value; 3] {
    let degraded: Vec<&str> = ["true", "false"]
        .into_iter()
        .chain(crate::routing::Degraded::ALL.map(crate::routing::Degraded::code))
        .collect();
    [
        query("limit", false, "How many.", &json!({"type": "integer", "minimum": 1, "maximum": 500})),
        query("policy", false, "Of this policy only.", &json!({"type": "string"})),
        query(
            "degraded",
            false,
            "Only where less was possible than wanted, or in this way.",
            &json!({"enum": degraded}),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document_of();
        let text = document.to_string();
        let references: Vec<&str> = text
            .match_indices("\"$ref\":\"")
            .map(|(at, mark)| text[at + mark.len()..].split('"').next().unwrap())
            .collect();
        assert!(references.len() > 20);
        for reference in references {
            let place = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(place).is_some(), "{reference}");
        }
    }
}
