//! The fields of a body that several endpoints share, each read with its type and its range.

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

/// What an answer has to look like.
#[derive(Debug)]
pub(crate) enum Form {
    Text,
    /// JSON that follows this schema.
    Json(Value),
    /// A call of one of these functions; never empty.
    Call(Vec<tools::Function>),
}

/// A body's fields. `null` is the same as absent, as with OpenAI.
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    pub(crate) fn parse(body: &[u8], model: &str) -> Result<Self, ApiError> {
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

    pub(crate) fn any(&self, name: &str) -> Option<&Value> {
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

    pub(crate) fn array(&self, name: &str) -> Result<Option<&Vec<Value>>, ApiError> {
        self.typed(name, "an array", Value::as_array)
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        self.typed(name, "a string", Value::as_str)
    }

    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.typed(name, "true or false", Value::as_bool)
    }

    pub(crate) fn integer(&self, name: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, ApiError> {
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

    pub(crate) fn options(&self) -> Result<Options, ApiError> {
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

    pub(crate) fn form(&self) -> Result<Form, ApiError> {
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
