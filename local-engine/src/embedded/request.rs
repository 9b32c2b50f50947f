//! Request bodies to typed wishes. Every complaint names the field; fields that nobody here knows are left alone.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use super::{error::ApiError, sampling::Sampling, tools};

/// What chat and plain completions have in common.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) sampling: Sampling,
    pub(crate) stops: Vec<String>,
    pub(crate) answer_tokens_max: Option<u32>,
}

/// A chat completion that was asked for.
#[derive(Debug)]
pub(crate) struct Chat {
    /// Messages with text content only.
    pub(crate) messages: Vec<Value>,
    pub(crate) options: Options,
    pub(crate) form: Form,
}

/// What an answer has to look like.
#[derive(Debug)]
pub(crate) enum Form {
    Text,
    /// JSON that follows this schema.
    Json(Value),
    /// A call of one of these functions; never empty.
    Call(Vec<tools::Function>),
}

/// A plain completion that was asked for.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) prompt: Text,
    pub(crate) options: Options,
    pub(crate) form: Form,
}

/// Text, or tokens that the caller made from it.
#[derive(Debug)]
pub(crate) enum Text {
    Words(String),
    Tokens(Vec<i32>),
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
        let messages = list
            .iter()
            .enumerate()
            .map(|(index, message)| read_message(index, message))
            .collect::<Result<_, _>>()?;
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
        Ok(Self { messages, options: fields.options()?, form })
    }
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

/// A body's fields. `null` is the same as absent, as with OpenAI.
struct Fields(Map<String, Value>);

impl Fields {
    fn parse(body: &[u8], model: &str) -> Result<Self, ApiError> {
        let fields = match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Self(fields),
            Ok(_) => {
                return Err(ApiError::new(
                    400,
                    "invalid_request_error",
                    "the body is not a JSON object; send `{...}`",
                ));
            }
            Err(error) => {
                return Err(ApiError::new(
                    400,
                    "invalid_request_error",
                    format!("the body is not JSON: {error}"),
                ));
            }
        };
        match fields.text("model")? {
            Some(name) if name == model => Ok(fields),
            Some(name) => Err(ApiError {
                status: 404,
                ..ApiError::field(
                    "model",
                    format!("the local engine has no model `{}`; it serves `{model}`", shorten(name)),
                )
            }
            .with_code("model_not_found")),
            None => Err(ApiError::field(
                "model",
                format!("`model` is missing; the local engine serves `{model}`"),
            )),
        }
    }

    fn any(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn typed<'a, T>(
        &'a self,
        name: &str,
        wanted: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let wrong = |value: &Value| {
            ApiError::field(name, format!("`{name}` must be {wanted}, not {}", describe(value)))
        };
        self.any(name).map(|value| read(value).ok_or_else(|| wrong(value))).transpose()
    }

    fn array(&self, name: &str) -> Result<Option<&Vec<Value>>, ApiError> {
        self.typed(name, "an array", Value::as_array)
    }

    fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        self.typed(name, "a string", Value::as_str)
    }

    fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.typed(name, "true or false", Value::as_bool)
    }

    fn integer(&self, name: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, ApiError> {
        let bounds = if *range.end() == i64::MAX {
            format!("a whole number of at least {}", range.start())
        } else {
            format!("a whole number from {} to {}", range.start(), range.end())
        };
        self.typed(name, &bounds, |value| value.as_i64().filter(|number| range.contains(number)))
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "settings of a sampler, which computes in single precision"
    )]
    fn number(&self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f32>, ApiError> {
        let wanted = format!("a number from {} to {}", range.start(), range.end());
        Ok(self
            .typed(name, &wanted, |value| value.as_f64().filter(|number| range.contains(number)))?
            .map(|number| number as f32))
    }

    fn options(&self) -> Result<Options, ApiError> {
        if self.integer("n", 1..=i64::MAX)?.is_some_and(|n| n != 1) {
            return Err(ApiError::field(
                "n",
                "the local engine gives one answer a request; leave `n` out and send more requests",
            ));
        }
        let limit = match self.integer("max_completion_tokens", 1..=i64::MAX)? {
            None => self.integer("max_tokens", 1..=i64::MAX)?,
            given => given,
        };
        let include_usage = match self.typed("stream_options", "an object", Value::as_object)? {
            None => false,
            Some(options) => match options.get("include_usage") {
                None | Some(Value::Null) => false,
                Some(Value::Bool(include)) => *include,
                Some(other) => {
                    return Err(ApiError::field(
                        "stream_options.include_usage",
                        format!(
                            "`stream_options.include_usage` must be true or false, not {}",
                            describe(other)
                        ),
                    ));
                }
            },
        };
        Ok(Options {
            stream: self.boolean("stream")?.unwrap_or(false),
            include_usage,
            sampling: self.sampling()?,
            stops: self.stops()?,
            answer_tokens_max: limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX)),
        })
    }

    /// Defaults are what the bundled model's card recommends (temperature 0.2, `top_p` 0.9), where OpenAI's are 1 and 1:
    /// a model of this size wanders off at full temperature.
    fn sampling(&self) -> Result<Sampling, ApiError> {
        let seed = self.typed("seed", "a whole number", Value::as_i64)?.unwrap_or_else(|| fastrand::i64(..));
        Ok(Sampling {
            temperature: self.number("temperature", 0.0..=2.0)?.unwrap_or(0.2),
            top_p: self.number("top_p", 0.0..=1.0)?.unwrap_or(0.9),
            top_k: self.integer("top_k", -1..=1_000_000)?.and_then(|k| i32::try_from(k).ok()).unwrap_or(0),
            min_p: self.number("min_p", 0.0..=1.0)?.unwrap_or(0.0),
            seed: fold(seed),
            presence_penalty: self.number("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0),
            frequency_penalty: self.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0),
            repetition_penalty: self.number("repetition_penalty", 0.01..=10.0)?.unwrap_or(1.0),
            logit_bias: self.logit_bias()?,
            ignore_end: self.boolean("ignore_eos")?.unwrap_or(false),
        })
    }

    #[expect(clippy::cast_possible_truncation, reason = "as in `number`")]
    fn logit_bias(&self) -> Result<Vec<(i32, f32)>, ApiError> {
        let Some(map) =
            self.typed("logit_bias", "an object of token numbers and biases", Value::as_object)?
        else {
            return Ok(Vec::new());
        };
        map.iter()
            .map(|(token, bias)| {
                let bias = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias));
                token
                    .parse::<i32>()
                    .ok()
                    .filter(|token| *token >= 0)
                    .zip(bias.map(|bias| bias as f32))
                    .ok_or_else(|| {
                        ApiError::field(
                            "logit_bias",
                            "`logit_bias` maps token numbers, as strings, to numbers from -100 to 100",
                        )
                    })
            })
            .collect()
    }

    fn stops(&self) -> Result<Vec<String>, ApiError> {
        let wrong = || {
            ApiError::field(
                "stop",
                "`stop` must be a string that is not empty, or an array of up to 4 such strings",
            )
        };
        let list = match self.any("stop") {
            None => Vec::new(),
            Some(Value::Array(list)) if list.len() <= 4 => list.iter().collect(),
            Some(one @ Value::String(_)) => vec![one],
            Some(_) => return Err(wrong()),
        };
        list.into_iter()
            .map(|stop| stop.as_str().filter(|stop| !stop.is_empty()).map(str::to_owned).ok_or_else(wrong))
            .collect()
    }

    fn form(&self) -> Result<Form, ApiError> {
        let Some(format) = self.typed("response_format", "an object", Value::as_object)? else {
            return Ok(Form::Text);
        };
        match format.get("type").and_then(Value::as_str) {
            Some("text") => Ok(Form::Text),
            Some("json_object") => Ok(Form::Json(json!({"type": "object"}))),
            Some("json_schema") => {
                let param = "response_format.json_schema.schema";
                let schema = format.get("json_schema").and_then(|named| named.get("schema"));
                let schema = schema.ok_or_else(|| {
                    ApiError::field(param, format!("`{param}` is missing; give a JSON schema"))
                })?;
                tools::check_schema(param, schema)?;
                Ok(Form::Json(schema.clone()))
            }
            _ => Err(ApiError::field(
                "response_format.type",
                "`response_format.type` is `text`, `json_object` or `json_schema`",
            )),
        }
    }
}

/// A message as templates know it: a role and text, and an assistant's calls.
fn read_message(index: usize, message: &Value) -> Result<Value, ApiError> {
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
fn read_texts(param: &str, value: &Value) -> Result<Vec<Text>, ApiError> {
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

/// llama.cpp takes seeds of 32 bits, and the highest stands for a random one.
fn fold(seed: i64) -> u32 {
    let bits = seed.cast_unsigned();
    u32::try_from((bits ^ (bits >> 32)) & 0xffff_ffff).unwrap_or(0).min(u32::MAX - 1)
}

fn describe(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        other => format!("`{}`", shorten(&other.to_string())),
    }
}

/// A caller's text as it may stand in an error: short, and on one line.
pub(crate) fn shorten(text: &str) -> String {
    let line: String = text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.len() < text.len() { format!("{line}…") } else { line }
}

#[cfg(test)]
mod tests {
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
