//! JSON Schemas of the two documents, for editors. The doc comments of the documents are their descriptions.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::{PolicyDocument, TollwayDocument};

/// The schema of `tollway.yaml`.
pub fn config() -> Value {
    let mut schema = generator().into_root_schema_for::<TollwayDocument>().to_value();
    refuse_null(&mut schema);
    schema
}

/// The schema of a policy file, which holds one policy or a list of them.
pub fn policy() -> Value {
    let mut generator = generator();
    let one = generator.subschema_for::<PolicyDocument>().to_value();
    let definitions = generator.take_definitions(true);
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tollway policy",
        "description": "One policy, or a list of them.",
        "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }],
        "$defs": definitions,
    });
    refuse_null(&mut schema);
    schema
}

/// The schema as it is printed and kept: one line a thing, a line's end at the end.
pub fn printed(schema: &Value) -> String {
    format!("{schema:#}\n")
}

/// A key may be left out, but not be blank: takes back the `null` that an optional field allows.
fn refuse_null(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
                if let [Value::Object(only)] = choices.as_mut_slice() {
                    let only = std::mem::take(only);
                    map.remove("anyOf");
                    map.extend(only);
                }
            }
            map.values_mut().for_each(refuse_null);
        }
        Value::Array(items) => items.iter_mut().for_each(refuse_null),
        _ => {}
    }
}

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().into_generator()
}
