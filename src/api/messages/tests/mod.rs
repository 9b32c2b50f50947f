//! Messages requests and answers, held against what Anthropic's API says of them.

use serde_json::{Value, json};

use super::{Face, Purpose, translate};
use crate::api::body::Error;
use crate::api::face::{Start, Tally};
use crate::units::{NanoUsd, Usage};

mod answers;
mod requests;
mod streams;

const START: Start<'static> = Start { request_id: "req-1", at_s: 0, prompt_tokens: 12 };

fn with(more: &Value) -> Value {
    let mut request =
        json!({"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

fn translated(request: &Value) -> Result<(Value, Face), Error> {
    let (chat, face) = translate(request.to_string().as_bytes(), 128, Purpose::Answer)?;
    Ok((serde_json::from_slice(&chat).unwrap(), face))
}

fn face(more: &Value) -> Face {
    translated(&with(more)).unwrap().1
}

fn tally() -> Tally {
    let usage = Usage { prompt: 10, cached: 4, cache_write: 1, completion: 5, reasoning: 2 };
    Tally { usage, cost: Some(NanoUsd(740_080)), estimated: false }
}
