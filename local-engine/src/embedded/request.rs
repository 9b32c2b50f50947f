//! Request bodies to typed wishes. Every complaint names the field; fields that nobody here knows are left alone.

use serde_json::Value;

use super::{
    error::ApiError,
    fields::{Fields, Form, Options},
    message::{Text, read_message, read_texts},
    tools,
};

/// A chat completion that was asked for.
#[derive(Debug)]
pub(crate) struct Chat {
    /// Messages with text content only.
    pub(crate) messages: Vec<Value>,
    /// The beginning of the answer, which somebody else has said: the answer goes on from it.
    pub(crate) begun: Option<String>,
    pub(crate) options: Options,
    pub(crate) form: Form,
}

/// A plain completion that was asked for.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) prompt: Text,
    pub(crate) options: Options,
    pub(crate) form: Form,
}

/// Embeddings that were asked for.
#[derive(Debug)]
pub(crate) struct Embeddings {
    pub(crate) texts: Vec<Text>,
    pub(crate) base64: bool,
}

/// The most texts in one embeddings request.
const TEXTS_MAX: usize = 256;

impl Chat {
    pub(crate) fn parse(body: &[u8], model: &str) -> Result<Self, ApiError> {
        let fields = Fields::parse(body, model)?;
        let list = fields
            .array("messages")?
            .ok_or_else(|| ApiError::field("messages", "`messages` is missing; give an array of messages"))?;
        if list.is_empty() {
            return Err(ApiError::field("messages", "`messages` is empty; give at least one message"));
        }
        let mut messages = list
            .iter()
            .enumerate()
            .map(|(index, message)| read_message(index, message))
            .collect::<Result<Vec<_>, _>>()?;
        let begun = match fields.boolean("continue_final_message")? {
            Some(true) => Some(begun(&fields, &mut messages)?),
            Some(false) | None => None,
        };
        let form = match tools::forced(fields.any("tools"), fields.any("tool_choice"))? {
            Some(functions) => Form::Call(functions),
            None => fields.form()?,
        };
        if fields.boolean("logprobs")? == Some(true) || fields.any("top_logprobs").is_some() {
            return Err(ApiError::field(
                "logprobs",
                "the local engine gives no `logprobs`; leave `logprobs` and `top_logprobs` out",
            ));
        }
        Ok(Self { messages, begun, options: fields.options()?, form })
    }
}

/// Takes the last message, an assistant's, as the beginning of the answer.
fn begun(fields: &Fields, messages: &mut Vec<Value>) -> Result<String, ApiError> {
    if fields.boolean("add_generation_prompt")? == Some(true) {
        return Err(ApiError::field(
            "add_generation_prompt",
            "`add_generation_prompt` begins a new message, `continue_final_message` goes on with the last one; leave one out",
        ));
    }
    let last = messages.last().filter(|message| message["role"] == "assistant");
    let text = last.and_then(|message| message["content"].as_str()).map(str::to_owned);
    let (Some(text), true) = (text, messages.len() > 1) else {
        return Err(ApiError::field(
            "continue_final_message",
            "`continue_final_message` needs an assistant's message at the end of `messages`",
        ));
    };
    messages.pop();
    Ok(text)
}

impl Completion {
    pub(crate) fn parse(body: &[u8], model: &str) -> Result<Self, ApiError> {
        let fields = Fields::parse(body, model)?;
        let prompt = fields.any("prompt").ok_or_else(|| {
            ApiError::field("prompt", "`prompt` is missing; give a string or an array of tokens")
        })?;
        let mut prompts = read_texts("prompt", prompt)?;
        let (Some(prompt), true) = (prompts.pop(), prompts.is_empty()) else {
            return Err(ApiError::field(
                "prompt",
                "the local engine takes one `prompt` a request; send one request for each",
            ));
        };
        for name in ["logprobs", "suffix"] {
            if fields.any(name).is_some() {
                return Err(ApiError::field(
                    name,
                    format!("the local engine does not know `{name}`; leave it out"),
                ));
            }
        }
        if fields.boolean("echo")? == Some(true) {
            return Err(ApiError::field(
                "echo",
                "the local engine does not echo the prompt; leave `echo` out",
            ));
        }
        if fields.integer("best_of", 1..=i64::MAX)?.is_some_and(|best_of| best_of != 1) {
            return Err(ApiError::field(
                "best_of",
                "the local engine gives one answer a request; leave `best_of` out",
            ));
        }
        Ok(Self { prompt, form: fields.form()?, options: fields.options()? })
    }
}

impl Embeddings {
    /// `dimensions` is the one length of vector that the model has.
    pub(crate) fn parse(body: &[u8], model: &str, dimensions: i64) -> Result<Self, ApiError> {
        let fields = Fields::parse(body, model)?;
        let input = fields.any("input").ok_or_else(|| {
            ApiError::field("input", "`input` is missing; give a string or an array of strings")
        })?;
        let texts = read_texts("input", input)?;
        if texts.len() > TEXTS_MAX {
            return Err(ApiError::field(
                "input",
                format!("`input` has {} texts; send at most {TEXTS_MAX} at a time", texts.len()),
            ));
        }
        if fields.integer("dimensions", 1..=i64::MAX)?.is_some_and(|wanted| wanted != dimensions) {
            return Err(ApiError::field(
                "dimensions",
                format!("this model's vectors have {dimensions} dimensions; leave `dimensions` out"),
            ));
        }
        let base64 = match fields.text("encoding_format")? {
            None | Some("float") => false,
            Some("base64") => true,
            Some(other) => {
                return Err(ApiError::field(
                    "encoding_format",
                    format!("`encoding_format` is `float` or `base64`, not `{other}`"),
                ));
            }
        };
        Ok(Self { texts, base64 })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn complaint(body: &Value) -> (String, String) {
        let error = Chat::parse(body.to_string().as_bytes(), "m").unwrap_err();
        (error.param.clone().unwrap_or_default(), error.message)
    }

    #[test]
    fn wrong_fields_are_named() {
        let user = json!([{"role": "user", "content": "hi"}]);
        for (body, param) in [
            (json!({"model": "m"}), "messages"),
            (json!({"model": "m", "messages": []}), "messages"),
            (json!({"model": "m", "messages": "hi"}), "messages"),
            (json!({"model": "other", "messages": user}), "model"),
            (json!({"model": 5, "messages": user}), "model"),
            (json!({"model": "m", "messages": user, "temperature": "hot"}), "temperature"),
            (json!({"model": "m", "messages": user, "temperature": 3}), "temperature"),
            (json!({"model": "m", "messages": user, "n": 2}), "n"),
            (json!({"model": "m", "messages": user, "max_tokens": 0}), "max_tokens"),
            (json!({"model": "m", "messages": user, "stop": ["a", "b", "c", "d", "e"]}), "stop"),
            (json!({"model": "m", "messages": user, "stop": ""}), "stop"),
            (
                json!({"model": "m", "messages": user, "continue_final_message": true}),
                "continue_final_message",
            ),
            (json!({"model": "m", "messages": user, "logprobs": true}), "logprobs"),
            (json!({"model": "m", "messages": user, "logit_bias": {"x": 1}}), "logit_bias"),
            (
                json!({"model": "m", "messages": user, "response_format": {"type": "xml"}}),
                "response_format.type",
            ),
            (json!({"model": "m", "messages": [{"role": "robot", "content": "x"}]}), "messages[0].role"),
            (json!({"model": "m", "messages": [{"role": "user"}]}), "messages[0].content"),
            (
                json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
                "messages[0].content[0]",
            ),
        ] {
            let (named, message) = complaint(&body);
            assert_eq!(named, param, "{message}");
        }
    }

    #[test]
    fn null_is_absent_and_unknown_fields_are_left_alone() {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
            "stop": null, "temperature": null, "seed": -3, "metadata": {"a": 1}, "max_completion_tokens": 7, "max_tokens": 9});
        let chat = Chat::parse(body.to_string().as_bytes(), "m").unwrap();
        assert_eq!(chat.messages[0]["content"], "ab");
        assert_eq!(chat.options.answer_tokens_max, Some(7));
    }

    #[test]
    fn inputs_come_in_four_shapes() {
        for (input, count) in
            [(json!("a"), 1), (json!(["a", "b"]), 2), (json!([1, 2]), 1), (json!([[1], [2], [3]]), 3)]
        {
            assert_eq!(read_texts("input", &input).unwrap().len(), count);
        }
        for input in [json!([]), json!(""), json!([""]), json!([1, "a"]), json!([[]]), json!({})] {
            assert!(read_texts("input", &input).is_err(), "{input}");
        }
    }
}
