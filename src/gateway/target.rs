//! Which of our endpoints a request names. The raw path is matched, so that no other spelling reaches one.

use http::Method;

use crate::api::face::Surface;
use crate::routing::Endpoint;

/// One of the endpoints on the traffic listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A call that is routed.
    Call(Endpoint),
    /// A call of another shape, routed as the chat completion that it is translated to.
    Faced(Surface),
    /// `POST /v1/messages/count_tokens`
    CountTokens,
    /// `GET /v1/models`
    Models,
    /// `GET /v1/models/{id}`, the id with its escapes undone.
    Model(String),
    /// A response that was given earlier, by the id in the path: nothing is kept, so there is none.
    Response(String),
    /// `GET /health`, `HEAD /`: alive, without a key.
    Health,
}

/// Why a request names none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// No such path.
    Path,
    /// The path exists, for this other method.
    Method(&'static str),
}

impl Target {
    /// The shape that its caller speaks.
    pub const fn surface(&self) -> Surface {
        match self {
            Self::Faced(surface) => *surface,
            Self::CountTokens => Surface::Messages,
            Self::Call(_) | Self::Models | Self::Model(_) | Self::Response(_) | Self::Health => {
                Surface::Plain
            }
        }
    }
}

/// The shape that whoever asks for `path` will understand, where the request as such names no endpoint.
pub fn surface_at(path: &str) -> Surface {
    if path.starts_with("/v1/messages") { Surface::Messages } else { Surface::Plain }
}

/// The endpoint at `path` for `method`. One slash at the end is overlooked.
pub fn of(method: &Method, path: &str) -> Result<Target, Unknown> {
    let trimmed = if path.len() > 1 { path.strip_suffix('/').unwrap_or(path) } else { path };
    let (target, wanted) = match trimmed {
        "/v1/chat/completions" => (Target::Call(Endpoint::Chat), "POST"),
        "/v1/completions" => (Target::Call(Endpoint::Completions), "POST"),
        "/v1/embeddings" => (Target::Call(Endpoint::Embeddings), "POST"),
        "/v1/rerank" => (Target::Call(Endpoint::Rerank), "POST"),
        "/v1/responses" => (Target::Faced(Surface::Responses), "POST"),
        "/v1/messages" => (Target::Faced(Surface::Messages), "POST"),
        "/v1/messages/count_tokens" => (Target::CountTokens, "POST"),
        "/v1/models" => (Target::Models, "GET"),
        "/health" | "/" => (Target::Health, "GET"),
        other => match other.strip_prefix("/v1/models/") {
            Some(id) if !id.is_empty() => (Target::Model(percent_decoded(id).ok_or(Unknown::Path)?), "GET"),
            _ => return response_at(method, other),
        },
    };
    let fits = method.as_str() == wanted || (wanted == "GET" && method == Method::HEAD);
    if fits { Ok(target) } else { Err(Unknown::Method(wanted)) }
}

/// What asks for a response that was given earlier.
fn response_at(method: &Method, path: &str) -> Result<Target, Unknown> {
    let rest = path.strip_prefix("/v1/responses/").ok_or(Unknown::Path)?;
    let (id, wanted) = match rest.split_once('/') {
        None => (rest, if method == Method::DELETE { "DELETE" } else { "GET" }),
        Some((id, "input_items")) => (id, "GET"),
        Some((id, "cancel")) => (id, "POST"),
        Some(_) => return Err(Unknown::Path),
    };
    if !id.starts_with("resp_") {
        return Err(Unknown::Path);
    }
    let id = percent_decoded(id).ok_or(Unknown::Path)?;
    if method.as_str() == wanted { Ok(Target::Response(id)) } else { Err(Unknown::Method(wanted)) }
}

/// Undoes percent escapes; `None` where one is malformed or the result is not UTF-8.
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r02_only_the_raw_path_matches() {
        assert_eq!(of(&Method::POST, "/v1/chat/completions"), Ok(Target::Call(Endpoint::Chat)));
        assert_eq!(of(&Method::POST, "/v1/chat/completions/"), Ok(Target::Call(Endpoint::Chat)));
        for other in [
            "/v1//chat/completions",
            "/v1/chat%2fcompletions",
            "/v1/x/../chat/completions",
            "/V1/chat/completions",
            "//v1/models",
            "",
        ] {
            assert_eq!(of(&Method::POST, other), Err(Unknown::Path), "{other}");
        }
        assert_eq!(of(&Method::GET, "/v1/chat/completions"), Err(Unknown::Method("POST")));
        assert_eq!(of(&Method::POST, "/v1/models"), Err(Unknown::Method("GET")));
        assert_eq!(of(&Method::HEAD, "/"), Ok(Target::Health));
    }

    #[test]
    fn an_earlier_response_is_known_for_what_it_is() {
        let one = Ok(Target::Response("resp_1".into()));
        assert_eq!(of(&Method::POST, "/v1/responses"), Ok(Target::Faced(Surface::Responses)));
        assert_eq!(of(&Method::GET, "/v1/responses"), Err(Unknown::Method("POST")));
        for method in [Method::GET, Method::DELETE] {
            assert_eq!(of(&method, "/v1/responses/resp_1"), one);
        }
        assert_eq!(of(&Method::POST, "/v1/responses/resp_1/cancel"), one);
        assert_eq!(of(&Method::GET, "/v1/responses/resp_1/input_items"), one);
        assert_eq!(of(&Method::POST, "/v1/responses/resp_1"), Err(Unknown::Method("GET")));
        for other in ["/v1/responses/compact", "/v1/responses/resp_1/x", "/v1/responses/resp_1/cancel/x"] {
            assert_eq!(of(&Method::POST, other), Err(Unknown::Path), "{other}");
        }
    }

    #[test]
    fn a_model_id_may_have_slashes_escaped_or_not() {
        let id = Target::Model("deepseek/deepseek-v4-pro".into());
        assert_eq!(of(&Method::GET, "/v1/models/deepseek%2Fdeepseek-v4-pro"), Ok(id.clone()));
        assert_eq!(of(&Method::GET, "/v1/models/deepseek/deepseek-v4-pro"), Ok(id));
        assert_eq!(of(&Method::GET, "/v1/models/%zz"), Err(Unknown::Path));
        assert_eq!(of(&Method::GET, "/v1/models/"), Ok(Target::Models));
    }
}
