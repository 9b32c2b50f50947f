//! OpenAI's error envelope: the one shape in which an error reaches a caller.

use bytes::Bytes;
use serde::Serialize;

/// The body of an error: `{"error": {message, type, param, code}}`, all four always present, and the request id.
#[derive(Debug, Serialize)]
pub struct Envelope<'a> {
    error: Inner<'a>,
}

#[derive(Debug, Serialize)]
struct Inner<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl<'a> Envelope<'a> {
    /// An error for people (`message`) and for programs (`kind`, `param`, `code`).
    pub fn new(
        message: &'a str,
        kind: &'a str,
        param: Option<&'a str>,
        code: Option<&'a str>,
        request_id: Option<&'a str>,
    ) -> Self {
        Self { error: Inner { message, kind, param, code, request_id } }
    }

    /// As a JSON body.
    pub fn body(&self) -> Bytes {
        // Strings and options of strings always serialise.
        serde_json::to_vec(self).map(Bytes::from).unwrap_or_default()
    }

    /// As one event of a stream; both official SDKs raise on it.
    pub fn event(&self) -> Bytes {
        let mut event = b"data: ".to_vec();
        event.extend_from_slice(&self.body());
        event.extend_from_slice(b"\n\n");
        Bytes::from(event)
    }
}
