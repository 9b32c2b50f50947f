//! Function calls that a caller insists on: the grammar that forces one, and reading it while it is being written.
//!
//! With `tool_choice` `auto` or `none` the model answers in plain text: a model of this size cannot be trusted to know when
//! a call is due.

use llama_cpp_2::json_schema_to_grammar;
use serde_json::{Value, json};

use super::{error::ApiError, fields::Form};

/// A function that may be called.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Its schema for arguments, always of type object.
    pub(crate) parameters: Value,
    /// The whole entry of `tools`, for the prompt.
    pub(crate) entry: Value,
}

const TOOLS_MAX: usize = 128;
const SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// A grammar unrolls counted repetitions, so they are bounded.
const REPETITIONS_MAX: u64 = 1000;
const DEPTH_MAX: usize = 32;

/// The functions one of which must be called, or nothing when text is wanted.
pub(crate) fn forced(
    tools: Option<&Value>,
    choice: Option<&Value>,
) -> Result<Option<Vec<Function>>, ApiError> {
    let functions = tools.map_or_else(|| Ok(Vec::new()), read_tools)?;
    let named = match choice {
        None => return Ok(None),
        Some(Value::String(word)) => match word.as_str() {
            "auto" | "none" => return Ok(None),
            "required" => None,
            _ => {
                return Err(ApiError::field(
                    "tool_choice",
                    "`tool_choice` is `auto`, `none`, `required` or a named function",
                ));
            }
        },
        Some(object) => {
            let name =
                object.get("function").and_then(|function| function.get("name")).and_then(Value::as_str);
            Some(name.ok_or_else(|| {
                ApiError::field("tool_choice", "`tool_choice.function.name` must name one of `tools`")
            })?)
        }
    };
    let chosen: Vec<Function> =
        functions.into_iter().filter(|function| named.is_none_or(|name| function.name == name)).collect();
    if chosen.is_empty() {
        return Err(ApiError::field(
            "tool_choice",
            "`tool_choice` asks for a call, but `tools` has no such function; add it there",
        ));
    }
    Ok(Some(chosen))
}

fn read_tools(tools: &Value) -> Result<Vec<Function>, ApiError> {
    let list = tools.as_array().filter(|list| list.len() <= TOOLS_MAX);
    let list = list.ok_or_else(|| {
        ApiError::field("tools", format!("`tools` must be an array of at most {TOOLS_MAX} functions"))
    })?;
    list.iter().enumerate().map(|(index, entry)| read_tool(index, entry)).collect()
}

fn read_tool(index: usize, entry: &Value) -> Result<Function, ApiError> {
    let at = format!("tools[{index}].function");
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name = entry["function"]["name"]
        .as_str()
        .filter(|name| (1..=64).contains(&name.len()) && name.chars().all(allowed));
    let Some(name) = name else {
        return Err(ApiError::field(
            &at,
            format!("`{at}.name` must have 1 to 64 letters, digits, `_` or `-`"),
        ));
    };
    let mut parameters = match &entry["function"]["parameters"] {
        Value::Null => json!({"type": "object", "properties": {}}),
        schema @ Value::Object(_) => schema.clone(),
        _ => return Err(ApiError::field(&at, format!("`{at}.parameters` must be a JSON schema"))),
    };
    check_schema(&format!("{at}.parameters"), &parameters)?;
    parameters["type"] = "object".into();
    Ok(Function { name: name.to_owned(), parameters, entry: entry.clone() })
}

/// An assistant's earlier calls as templates want them: arguments as an object rather than as a string of JSON.
pub(crate) fn read_calls(param: &str, calls: &Value) -> Result<Value, ApiError> {
    let wrong = || {
        ApiError::field(
            param,
            format!("`{param}` must be an array of function calls, each with a name and arguments"),
        )
    };
    let mut calls = calls.as_array().ok_or_else(wrong)?.clone();
    for call in &mut calls {
        let function =
            call.get_mut("function").filter(|function| function["name"].is_string()).ok_or_else(wrong)?;
        if let Some(parsed) =
            function["arguments"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok())
        {
            function["arguments"] = parsed;
        }
    }
    Ok(Value::Array(calls))
}

/// Refuses schemas whose grammar would take too much memory or time to make.
pub(crate) fn check_schema(param: &str, schema: &Value) -> Result<(), ApiError> {
    if !schema.is_object() && !schema.is_boolean() {
        return Err(ApiError::field(param, format!("`{param}` must be a JSON schema, which is an object")));
    }
    if schema.to_string().len() > SCHEMA_BYTES_MAX {
        return Err(ApiError::field(
            param,
            format!("`{param}` is larger than {SCHEMA_BYTES_MAX} bytes; make it smaller"),
        ));
    }
    check_node(param, schema, 0)
}

fn check_node(param: &str, node: &Value, depth: usize) -> Result<(), ApiError> {
    if depth > DEPTH_MAX {
        return Err(ApiError::field(
            param,
            format!("`{param}` is nested deeper than {DEPTH_MAX} levels; make it flatter"),
        ));
    }
    match node {
        Value::Array(list) => list.iter().try_for_each(|item| check_node(param, item, depth + 1)),
        Value::Object(map) => map.iter().try_for_each(|(key, value)| {
            let counted = matches!(key.as_str(), "maxItems" | "minItems" | "maxLength" | "minLength");
            if counted && value.as_u64().is_some_and(|count| count > REPETITIONS_MAX) {
                return Err(ApiError::field(
                    param,
                    format!("`{key}` in `{param}` is more than {REPETITIONS_MAX}; lower it or leave it out"),
                ));
            }
            check_node(param, value, depth + 1)
        }),
        _ => Ok(()),
    }
}

/// The grammar for a form, if it needs one.
pub(crate) fn grammar(form: &Form) -> Result<Option<String>, ApiError> {
    let (param, schema) = match form {
        Form::Text => return Ok(None),
        Form::Json(schema) => ("response_format", schema.clone()),
        Form::Call(functions) => ("tools", call_schema(functions)),
    };
    json_schema_to_grammar(&schema.to_string()).map(Some).map_err(|_| {
        ApiError::field(
            param,
            format!("a schema in `{param}` uses something that cannot be enforced; use simpler keywords"),
        )
    })
}

/// One function: its arguments alone. Several: an object that says which, before the arguments.
fn call_schema(functions: &[Function]) -> Value {
    if let [only] = functions {
        return only.parameters.clone();
    }
    let one = |function: &Function| {
        json!({
            "type": "object",
            "properties": {"name": {"const": function.name}, "arguments": function.parameters},
            "required": ["name", "arguments"],
            "additionalProperties": false,
        })
    };
    json!({"oneOf": functions.iter().map(one).collect::<Vec<_>>()})
}

/// Reads a forced call as it is being written.
#[derive(Debug)]
pub(crate) struct CallReader {
    id: String,
    /// The function, when there is only one.
    only: Option<String>,
    /// What was read before the arguments began.
    head: String,
    named: bool,
    arguments: JsonObject,
}

/// What became known of a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CallPart {
    Name { id: String, name: String },
    Arguments(String),
}

impl CallReader {
    pub(crate) fn new(id: String, functions: &[Function]) -> Self {
        let only = if let [only] = functions { Some(only.name.clone()) } else { None };
        Self { id, only, head: String::new(), named: false, arguments: JsonObject::default() }
    }

    /// Takes more text.
    pub(crate) fn push(&mut self, text: &str) -> Vec<CallPart> {
        let mut parts = Vec::new();
        let mut text = text.to_owned();
        if !self.named {
            self.head.push_str(&text);
            let known = match &self.only {
                Some(name) => Some((name.clone(), 0)),
                None => name_and_start(&self.head),
            };
            let Some((name, start)) = known else { return parts };
            self.named = true;
            parts.push(CallPart::Name { id: self.id.clone(), name });
            text = self.head.split_off(start);
        }
        let arguments = self.arguments.take(&text);
        if !arguments.is_empty() {
            parts.push(CallPart::Arguments(arguments.to_owned()));
        }
        parts
    }
}

/// The name in `{"name": "…", "arguments": …`, and where the arguments begin; nothing while that is not all there.
fn name_and_start(head: &str) -> Option<(String, usize)> {
    let rest = head.trim_start().strip_prefix('{')?.trim_start().strip_prefix("\"name\"")?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let (name, rest) = rest.split_once('"')?;
    let rest = rest.trim_start().strip_prefix(',')?.trim_start().strip_prefix("\"arguments\"")?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start();
    Some((name.to_owned(), head.len() - rest.len()))
}

/// Lets one JSON object through and drops what stands around it.
#[derive(Debug, Default)]
struct JsonObject {
    depth: usize,
    in_string: bool,
    escaped: bool,
    ended: bool,
}

impl JsonObject {
    fn take<'a>(&mut self, text: &'a str) -> &'a str {
        if self.ended {
            return "";
        }
        let text = if self.depth == 0 { text.trim_start() } else { text };
        for (index, byte) in text.bytes().enumerate() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' if !self.in_string => self.depth += 1,
                b'}' if !self.in_string => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        self.ended = true;
                        return text.get(..=index).unwrap_or(text);
                    }
                }
                _ => {}
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn functions(names: &[&str]) -> Vec<Function> {
        names
            .iter()
            .map(|name| read_tool(0, &json!({"type": "function", "function": {"name": name}})).unwrap())
            .collect()
    }

    fn read(functions: &[Function], text: &str) -> (String, String) {
        let mut reader = CallReader::new("id".into(), functions);
        let (mut names, mut arguments) = (String::new(), String::new());
        for character in text.chars() {
            for part in reader.push(&character.to_string()) {
                match part {
                    CallPart::Name { name, .. } => names.push_str(&name),
                    CallPart::Arguments(text) => arguments.push_str(&text),
                }
            }
        }
        (names, arguments)
    }

    #[test]
    fn a_call_of_the_only_function_is_its_arguments() {
        assert_eq!(read(&functions(&["f"]), r#"{"a":"}\"{"}"#), ("f".into(), r#"{"a":"}\"{"}"#.into()));
    }

    #[test]
    fn a_call_of_one_of_several_names_it_first() {
        let text = r#"{ "name": "g", "arguments": {"a": {"b": 1}} } "#;
        assert_eq!(read(&functions(&["f", "g"]), text), ("g".into(), r#"{"a": {"b": 1}}"#.into()));
    }

    #[test]
    fn schemas_that_would_explode_are_refused() {
        assert!(check_schema("s", &json!({"type": "array", "maxItems": 100_000})).is_err());
        assert!(check_schema("s", &json!("string")).is_err());
        assert!(check_schema("s", &json!({"type": "array", "maxItems": 10})).is_ok());
    }

    #[test]
    fn a_choice_must_be_among_the_tools() {
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        assert!(forced(Some(&tools), Some(&json!("auto"))).unwrap().is_none());
        assert_eq!(forced(Some(&tools), Some(&json!("required"))).unwrap().unwrap().len(), 1);
        let other = json!({"type": "function", "function": {"name": "g"}});
        assert_eq!(forced(Some(&tools), Some(&other)).unwrap_err().param.as_deref(), Some("tool_choice"));
        assert!(forced(None, Some(&json!("required"))).is_err());
    }
}
