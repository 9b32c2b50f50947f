//! What callers write: messages with their parts, prompts and texts.

use serde_json::{Value, json};

use super::{error::ApiError, fields::shorten, tools};

/// Text, or tokens that the caller made from it.
#[derive(Debug)]
pub(crate) enum Text {
    Words(String),
    Tokens(Vec<i32>),
}

/// A message as templates know it: a role and text, and an assistant's calls.
pub(crate) fn read_message(index: usize, message: &Value) -> Result<Value, ApiError> {
    let at = |field: &str| format!("messages[{index}]{field}");
    let Some(fields) = message.as_object() else {
        return Err(ApiError::field(
            &at(""),
            format!("`{}` must be an object with `role` and `content`", at("")),
        ));
    };
    let role = match fields.get("role").and_then(Value::as_str) {
        Some("developer") => "system",
        Some("function") => "tool",
        Some(role @ ("system" | "user" | "assistant" | "tool")) => role,
        _ => {
            return Err(ApiError::field(
                &at(".role"),
                format!("`{}` must be system, developer, user, assistant or tool", at(".role")),
            ));
        }
    };
    let calls = fields.get("tool_calls").filter(|calls| !calls.is_null());
    let content = match fields.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => read_parts(&at(".content"), parts)?,
        None | Some(Value::Null) if role == "assistant" && calls.is_some() => String::new(),
        _ => {
            return Err(ApiError::field(
                &at(".content"),
                format!("`{}` must be a string or an array of text parts", at(".content")),
            ));
        }
    };
    let mut message = json!({"role": role, "content": content});
    for name in ["name", "tool_call_id"] {
        if let Some(value) = fields.get(name).filter(|value| value.is_string()) {
            message[name] = value.clone();
        }
    }
    if let Some(calls) = calls {
        message["tool_calls"] = tools::read_calls(&at(".tool_calls"), calls)?;
    }
    Ok(message)
}

fn read_parts(param: &str, parts: &[Value]) -> Result<String, ApiError> {
    let mut text = String::new();
    for (index, part) in parts.iter().enumerate() {
        let at = format!("{param}[{index}]");
        match part.get("type").and_then(Value::as_str) {
            Some("text") => text.push_str(part.get("text").and_then(Value::as_str).ok_or_else(|| {
                let field = format!("{at}.text");
                ApiError::field(&field, format!("`{field}` must be a string"))
            })?),
            Some(other) => {
                return Err(ApiError::field(
                    &at,
                    format!(
                        "`{at}` is of type `{}`, and this model reads text only; send parts of type `text`",
                        shorten(other)
                    ),
                ));
            }
            None => {
                return Err(ApiError::field(&at, format!("`{at}` must be an object with `type` and `text`")));
            }
        }
    }
    Ok(text)
}

/// A string, an array of strings, an array of tokens or an array of those.
pub(crate) fn read_texts(param: &str, value: &Value) -> Result<Vec<Text>, ApiError> {
    let wrong = || {
        ApiError::field(
            param,
            format!(
                "`{param}` must be a string, an array of strings, or an array of token numbers, none of them empty"
            ),
        )
    };
    let words = |text: &str| (!text.is_empty()).then(|| Text::Words(text.to_owned())).ok_or_else(wrong);
    let tokens = |list: &[Value]| {
        let read =
            |token: &Value| token.as_i64().and_then(|token| i32::try_from(token).ok()).ok_or_else(wrong);
        list.iter().map(read).collect::<Result<Vec<_>, _>>().map(Text::Tokens)
    };
    match value {
        Value::String(text) => Ok(vec![words(text)?]),
        Value::Array(list) if list.first().is_some_and(Value::is_number) => Ok(vec![tokens(list)?]),
        Value::Array(list) if !list.is_empty() => list
            .iter()
            .map(|item| match item {
                Value::String(text) => words(text),
                Value::Array(list) if !list.is_empty() => tokens(list),
                _ => Err(wrong()),
            })
            .collect(),
        _ => Err(wrong()),
    }
}
