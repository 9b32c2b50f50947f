//! What a provider must hear that the caller did not say: its own model id, a wish for usage, and nothing it refuses.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::api::body::Call;
use crate::api::scan::{self, Kind as JsonKind, Scanner};
use crate::api::splice::{self, Edit, Member, Pieces, splice};
use crate::api::wishes;
use crate::routing::Endpoint;

use super::continuation::{self, Continuation};
use super::fireworks;
use super::kind::Kind;
use super::steering;
use super::thinking;

/// The edits to a body, few enough to stay off the heap.
pub type Edits = SmallVec<[Edit; 4]>;

/// `call`'s body as a route of this kind wants it: the same bytes but for what must differ. `way` is how it goes on with an
/// answer, where the call is to do that.
pub fn body_for(kind: Kind, way: Continuation, call: &Call, upstream_model: &str) -> Pieces {
    splice(&call.body, &call.members, &edits_for(kind, way, call, upstream_model))
}

/// The same for a call without a stream that is asked for as one.
pub fn body_as_stream(kind: Kind, way: Continuation, call: &Call, upstream_model: &str) -> Pieces {
    let mut edits = edits_for(kind, way, call, upstream_model);
    let usage = (!call.stream && kind != Kind::OpenRouter).then(|| ask_for_usage(call));
    edits.extend(usage);
    edits.push(match call.member("stream") {
        Some((index, _)) => Edit::Replace(index, Bytes::from_static(b"true")),
        None => Edit::Append(Bytes::from_static(b"\"stream\":true")),
    });
    splice(&call.body, &call.members, &edits)
}

/// The path below a provider's base URL.
pub const fn path_of(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Chat => "/chat/completions",
        Endpoint::Completions => "/completions",
        Endpoint::Embeddings => "/embeddings",
        Endpoint::Rerank => "/rerank",
    }
}

/// Request headers of a caller that may go on to a provider of this kind; every other stays here.
pub const fn forwarded_headers(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::OpenRouter => &[
            "http-referer",
            "x-title",
            "x-openrouter-title",
            "x-openrouter-categories",
            "x-openrouter-metadata",
            "x-session-id",
        ],
        Kind::Fireworks => &["x-session-affinity"],
        _ => &[],
    }
}

fn edits_for(kind: Kind, way: Continuation, call: &Call, upstream_model: &str) -> Edits {
    let mut edits = Edits::new();
    name_model(call.member("model").map(|(index, _)| index), &call.model, upstream_model, &mut edits);
    if let Some(wishes) = &call.wishes {
        steering::edit(kind, &call.body, &call.members, wishes, &mut edits);
    }
    if call.stream && !call.include_usage && call.endpoint.writes() && kind != Kind::OpenRouter {
        edits.push(ask_for_usage(call));
    }
    // Who has thought already is told so below.
    if !continuation::ends_thinking(kind, call) {
        thinking::in_words_of(kind, call, &mut edits);
    }
    match kind {
        Kind::Fireworks => leave_out_unknown(call, &mut edits),
        Kind::Together => {
            one_name_for_the_bound(call, "max_tokens", &mut edits);
            integer_logprobs(call, &mut edits);
        }
        Kind::DeepSeek => one_name_for_the_bound(call, "max_tokens", &mut edits),
        _ => {}
    }
    if let Some(so_far) = &call.so_far {
        continuation::go_on(kind, way, call, so_far, &mut edits);
    }
    edits
}

/// Puts the route's own name where the caller's stands, at `place`.
pub(super) fn name_model(place: Option<usize>, model: &str, upstream_model: &str, edits: &mut Edits) {
    match place {
        Some(index) if *model != *upstream_model => {
            edits.push(Edit::Replace(index, json_string(upstream_model)));
        }
        Some(_) => {}
        // Only `models` said it.
        None => edits.push(Edit::Append([b"\"model\":", &*json_string(upstream_model)].concat().into())),
    }
}

/// Usage is wanted of every stream: the bill rests on it. The caller gets the usage chunk only if it asked.
fn ask_for_usage(call: &Call) -> Edit {
    let asked = Bytes::from_static(br#"{"include_usage":true}"#);
    let Some((index, member)) = call.member("stream_options") else {
        return Edit::Append(Bytes::from_static(br#""stream_options":{"include_usage":true}"#));
    };
    let options = call.body.slice(member.value.clone());
    let Some(members) = members_of(&options) else { return Edit::Replace(index, asked) };
    let known = members.iter().position(|option| scan::says(&options, &option.key, "include_usage"));
    let edit = match known {
        Some(at) => Edit::Replace(at, Bytes::from_static(b"true")),
        None => Edit::Append(Bytes::from_static(br#""include_usage":true"#)),
    };
    Edit::Replace(index, Bytes::from(splice(&options, &members, &[edit]).concat()))
}

/// Fireworks answers 400 to a field it does not know, so such fields end here.
fn leave_out_unknown(call: &Call, edits: &mut Edits) {
    let both_bounds = call.member("max_tokens").is_some() && call.member("max_completion_tokens").is_some();
    for (index, member) in call.members.iter().enumerate() {
        let name = scan::text_of(&call.body, &member.key);
        // What steers was seen to before.
        if wishes::MEMBERS.contains(&&*name) {
            continue;
        }
        if !fireworks::FIELDS.contains(&&*name) || (both_bounds && name == "max_tokens") {
            edits.push(Edit::Remove(index));
        }
    }
}

/// Providers that know only `max_tokens` would answer without a bound to `max_completion_tokens`.
fn one_name_for_the_bound(call: &Call, name: &'static str, edits: &mut Edits) {
    if let Some((index, _)) = call.member("max_completion_tokens") {
        edits.push(match call.member(name) {
            Some(_) => Edit::Remove(index),
            None => Edit::Rename(index, json_string(name)),
        });
    }
}

/// Together wants the number of alternatives in `logprobs` itself.
fn integer_logprobs(call: &Call, edits: &mut Edits) {
    let Some((index, member)) = call.member("logprobs") else { return };
    if &call.body[member.value.clone()] != b"true" {
        return;
    }
    let alternatives = match call.member("top_logprobs") {
        Some((top, member)) => {
            edits.push(Edit::Remove(top));
            call.body.slice(member.value.clone())
        }
        None => Bytes::from_static(b"1"),
    };
    edits.push(Edit::Replace(index, alternatives));
}

pub(super) fn members_of(object: &Bytes) -> Option<Vec<Member>> {
    let mut scanner = Scanner::new(object, scan::DEPTH_LIMIT);
    if scanner.kind().ok()? != JsonKind::Object {
        return None;
    }
    splice::members(&mut scanner).ok()
}

pub(super) fn json_string(text: &str) -> Bytes {
    // A string always serialises.
    serde_json::to_vec(text).map(Bytes::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(kind: Kind, body: &'static str) -> String {
        let call = Call::parse(Endpoint::Chat, Bytes::from_static(body.as_bytes()), 128).unwrap();
        String::from_utf8(body_for(kind, Continuation::None, &call, "up/m").concat()).unwrap()
    }

    #[test]
    fn r05_only_what_must_differ_differs() {
        let body = r#"{ "x":1E2, "model" :"m","messages":[{"role":"user","content":"\u00e9"}],"y":18446744073709551617}"#;
        assert_eq!(sent(Kind::OpenAi, body), body.replace("\"m\"", "\"up/m\""));
    }

    #[test]
    fn r05_a_body_that_needs_no_edit_is_the_same_bytes() {
        let body = Bytes::from_static(br#"{"model":"up/m","messages":[{}]}"#);
        let call = Call::parse(Endpoint::Chat, body.clone(), 128).unwrap();
        let pieces = body_for(Kind::OpenAi, Continuation::None, &call, "up/m");
        assert_eq!(pieces.as_slice(), [body]);
    }

    #[test]
    fn usage_is_asked_for_however_the_caller_spelled_its_options() {
        let with = |options: &str| format!(r#"{{"model":"up/m","messages":[{{}}],"stream":true{options}}}"#);
        let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
        assert_eq!(sent(Kind::OpenAi, leak(with(""))), with(r#","stream_options":{"include_usage":true}"#));
        assert_eq!(
            sent(Kind::OpenAi, leak(with(r#","stream_options":null"#))),
            with(r#","stream_options":{"include_usage":true}"#)
        );
        assert_eq!(
            sent(Kind::OpenAi, leak(with(r#","stream_options":{"a":1,"include_usage":false}"#))),
            with(r#","stream_options":{"a":1,"include_usage":true}"#)
        );
        assert_eq!(
            sent(Kind::OpenAi, leak(with(r#","stream_options":{"a":1}"#))),
            with(r#","stream_options":{"a":1,"include_usage":true}"#)
        );
    }

    #[test]
    fn fireworks_hears_only_what_it_knows() {
        let body = r#"{"model":"up/m","store":true,"messages":[{}],"provider":{"sort":"price"},"top_k":3,"verbosity":"low"}"#;
        assert_eq!(sent(Kind::Fireworks, body), r#"{"model":"up/m","messages":[{}],"top_k":3}"#);
    }

    #[test]
    fn together_hears_max_tokens_and_integer_logprobs() {
        let body =
            r#"{"model":"up/m","messages":[{}],"max_completion_tokens":5,"logprobs":true,"top_logprobs":3}"#;
        assert_eq!(
            sent(Kind::Together, body),
            r#"{"model":"up/m","messages":[{}],"max_tokens":5,"logprobs":3}"#
        );
    }
}
