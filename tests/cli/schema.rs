//! `tollway schema`, and the copies of the schemas that are kept for editors.

use std::path::Path;

use serde_json::Value;

use crate::printed;

#[test]
fn the_kept_copies_are_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (document, file) in
        [("config", "docs/schema/tollway.schema.json"), ("policy", "docs/schema/policy.schema.json")]
    {
        let (text, status) = printed(root, &["schema", document]);
        assert_eq!(status, 0);
        let kept = std::fs::read_to_string(root.join(file)).unwrap();
        assert!(text == kept, "{file} is stale: tollway schema {document} > {file}");
    }
}

#[test]
fn every_key_is_described_and_no_other_is_allowed() {
    for document in ["config", "policy"] {
        let (text, _) = printed(Path::new("."), &["schema", document]);
        let schema: Value = serde_json::from_str(&text).unwrap();
        let mut objects = 0;
        walk(&schema, &mut |object| {
            let Some(properties) = object.get("properties").and_then(Value::as_object) else { return };
            objects += 1;
            assert_eq!(object["additionalProperties"], false);
            for (key, property) in properties {
                assert!(property.get("description").is_some(), "{document}: `{key}` has no description");
            }
        });
        assert!(objects >= 5, "{document}: {objects} objects");
    }
}

fn walk(value: &Value, see: &mut impl FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            see(object);
            object.values().for_each(|inner| walk(inner, see));
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, see)),
        _ => {}
    }
}
