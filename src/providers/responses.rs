//! Providers that speak OpenAI's Responses API themselves: what goes there of a caller's own request, and when a refusal may be
//! of that API rather than of what was asked.

use bytes::Bytes;
use http::StatusCode;

use crate::api::body::Call;
use crate::api::responses::Native;
use crate::api::splice::{Edit, Pieces, splice};

use super::fault::{Class, Fault};
use super::kind::Kind;
use super::request::{Edits, name_model};
use super::steering;

/// The path below a provider's base URL.
pub const PATH: &str = "/responses";

/// `native`, the caller's own words for `call`, as a route of this kind wants them: the same bytes but for the model, for
/// what steers us, and for `store`. `as_stream`: a stream is asked for although the caller wants none.
pub fn body_for(kind: Kind, native: &Native, call: &Call, upstream_model: &str, as_stream: bool) -> Pieces {
    let mut edits = Edits::new();
    name_model(native.member("model").map(|(index, _)| index), &call.model, upstream_model, &mut edits);
    if let Some(wishes) = &call.wishes {
        steering::edit(kind, &native.body, &native.members, wishes, &mut edits);
    }
    // Unless told not to, providers keep what they answer under our account, for whoever knows its id.
    set(native, "store", "false", &mut edits);
    if let Some(bound) = call.bound {
        set(native, "max_output_tokens", &bound.to_string(), &mut edits);
    }
    if as_stream {
        set(native, "stream", "true", &mut edits);
    }
    splice(&native.body, &native.members, &edits)
}

fn set(native: &Native, name: &str, value: &str, edits: &mut Edits) {
    match native.member(name) {
        Some((_, member)) if native.body[member.value.clone()] == *value.as_bytes() => {}
        Some((index, _)) => edits.push(Edit::Replace(index, Bytes::copy_from_slice(value.as_bytes()))),
        None => edits.push(Edit::Append(Bytes::from(format!("\"{name}\":{value}")))),
    }
}

/// Whether a refusal may be of this API, or of what only this API says, so that the same provider may take the same as a chat:
/// there is no such path, a field or a tool of that type is not known, or an item was made by somebody else, as in a
/// conversation that another provider began.
pub fn may_refuse_form(status: StatusCode, fault: &Fault) -> bool {
    match status.as_u16() {
        404 | 405 | 501 => !fault.message.to_lowercase().contains("model"),
        400 | 422 => is_of_request(fault.class),
        _ => false,
    }
}

/// Whether a fault is one of what was asked, or of how.
const fn is_of_request(class: Class) -> bool {
    matches!(class, Class::Caller | Class::UnknownField | Class::FeatureMissing)
}

/// Whether `first`, a refusal of the caller's own words under `status`, tells more than `second`, of the same as a chat.
pub const fn tells_more(status: StatusCode, first: &Fault, second: &Fault) -> bool {
    matches!(status.as_u16(), 400 | 422)
        && is_of_request(first.class)
        && matches!(second.class, Class::Caller)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::face::Surface;
    use crate::routing::Endpoint;

    fn sent(kind: Kind, body: &str, as_stream: bool) -> String {
        let (chat, face) = Surface::Responses.translate(Bytes::from(body.to_owned()), 64).unwrap();
        let mut call = Call::parse(Endpoint::Chat, chat, 64).unwrap();
        call.wear(face);
        let pieces = body_for(kind, call.native().unwrap(), &call, "up/m", as_stream);
        String::from_utf8(pieces.concat()).unwrap()
    }

    #[test]
    fn r05_only_the_model_and_what_must_be_set_differ() {
        let body = r#"{ "x":1E2, "model" :"m","input":[{"role":"user","content":"\u00e9"}],"store": false,"y":18446744073709551617}"#;
        let own = body.replace("\"m\"", "\"up/m\"");
        assert_eq!(sent(Kind::OpenAi, body, false), own);
        let kept = body.replace("\"store\": false", "\"store\": true");
        assert_eq!(sent(Kind::Fireworks, &kept, false), own);
        let unsaid = body.replace("\"store\": false,", "");
        let told = own.replace("\"store\": false,", "").replace("17}", "17,\"store\":false}");
        assert_eq!(sent(Kind::DeepSeek, &unsaid, false), told);
        assert_eq!(sent(Kind::OpenAi, body, true), own.replace("17}", "17,\"stream\":true}"));
    }

    #[test]
    fn only_openrouter_hears_what_steers() {
        let body = r#"{"model":"up/m","input":"x","provider":{"zdr":true},"store":false}"#;
        assert_eq!(sent(Kind::OpenRouter, body, false), body);
        assert_eq!(sent(Kind::OpenAi, body, false), r#"{"model":"up/m","input":"x","store":false}"#);
    }

    #[test]
    fn a_refusal_that_may_be_of_the_form_is_told_from_others() {
        let fault = |class, message: &str| Fault { class, retry_after: None, message: message.to_owned() };
        let refuses = |status: u16, class, message: &str| {
            may_refuse_form(StatusCode::from_u16(status).unwrap(), &fault(class, message))
        };
        assert!(refuses(404, Class::UnknownModel, "Not Found"));
        assert!(refuses(404, Class::UnknownModel, "Item with id 'rs_1' not found."));
        assert!(refuses(400, Class::Caller, "The encrypted content gAA could not be verified."));
        assert!(refuses(400, Class::UnknownField, "Extra inputs are not permitted"));
        assert!(!refuses(404, Class::UnknownModel, "The model `x` does not exist"));
        assert!(!refuses(400, Class::UnknownModel, "Model Not Exist"));
        assert!(!refuses(400, Class::ContextOverflow, "maximum context length"));
        assert!(!refuses(400, Class::Moderation, "flagged"));
        assert!(!refuses(429, Class::Rate, ""));
        let tells =
            |status: StatusCode, first, second| tells_more(status, &fault(first, ""), &fault(second, ""));
        assert!(tells(StatusCode::BAD_REQUEST, Class::Caller, Class::Caller));
        assert!(!tells(StatusCode::BAD_REQUEST, Class::Caller, Class::Server));
        assert!(!tells(StatusCode::NOT_FOUND, Class::UnknownModel, Class::Caller));
    }
}
