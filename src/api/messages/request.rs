//! A Messages request as a chat completion.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Face;
use crate::api::body::Error;

#[derive(Deserialize, Serialize)]
struct Request {
    model: String,
    max_tokens: u64,
    messages: Vec<Message>,
    #[serde(default)]
    stream: bool,
}

#[derive(Deserialize, Serialize)]
struct Message {
    role: String,
    content: String,
}

/// `body` as chat completions understands it, and what its answer must know.
pub fn translate(body: &[u8], _depth_max: usize) -> Result<(Bytes, Face), Error> {
    let refused = |error: serde_json::Error| Error::Untranslated {
        param: "".into(),
        message: format!("The request body cannot be read: {error}.").into(),
    };
    let request: Request = serde_json::from_slice(body).map_err(refused)?;
    let face = Face { model: request.model.as_str().into() };
    let chat = serde_json::to_vec(&request).map_err(refused)?;
    Ok((Bytes::from(chat), face))
}
