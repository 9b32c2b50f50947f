//! A caller's routing fields on the way to a provider: OpenRouter hears those that are still to be honoured, nobody else any;
//! and which parameters of a request each kind of provider would not heed.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::api::body::Call;
use crate::api::scan;
use crate::api::splice::{self, Edit, Member, splice};
use crate::api::wishes::{MEMBERS, Wishes};

use super::fireworks;
use super::kind::Kind;
use super::request::{Edits, json_string, members_of};

/// Adds what a route of this kind must hear differently of the wishes in `body`, an object with these `members`.
pub(super) fn edit(kind: Kind, body: &Bytes, members: &[Member], wishes: &Wishes, edits: &mut Edits) {
    for (index, member) in members.iter().enumerate() {
        let name = scan::text_of(body, &member.key);
        if !MEMBERS.contains(&&*name) {
            continue;
        }
        match (kind, &*name) {
            // With a list of its own it would go on to another checkpoint, unseen by us.
            (Kind::OpenRouter, "models") => edits.push(Edit::Remove(index)),
            (Kind::OpenRouter, "provider") => {
                let stated = body.slice(member.value.clone());
                edits.extend(passed_on(index, &stated, wishes));
            }
            (Kind::OpenRouter, _) => {}
            (Kind::Fireworks, "session_id")
                if splice::member(body, members, "prompt_cache_key").is_none()
                    && wishes.session.is_some() =>
            {
                edits.push(Edit::Rename(index, json_string("prompt_cache_key")));
            }
            _ => edits.push(Edit::Remove(index)),
        }
    }
}

/// `provider`, the member at `at`, without the names that only mean something here; `None`: as it is.
fn passed_on(at: usize, stated: &Bytes, wishes: &Wishes) -> Option<Edit> {
    let is_ours = |name: &str| !wishes.foreign.iter().any(|known| **known == *name);
    let has_ours = |list: &[Box<str>]| list.iter().any(|name| is_ours(name));
    if !has_ours(&wishes.order) && !has_ours(&wishes.only) {
        return None;
    }
    let members = members_of(stated)?;
    let mut edits: SmallVec<[Edit; 2]> = SmallVec::new();
    for (index, member) in members.iter().enumerate() {
        let list = match &*scan::text_of(stated, &member.key) {
            "order" => &wishes.order,
            "only" => &wishes.only,
            _ => continue,
        };
        if !has_ours(list) {
            continue;
        }
        let left: Vec<&str> = list.iter().map(|name| &**name).filter(|name| !is_ours(name)).collect();
        edits.push(if left.is_empty() {
            Edit::Remove(index)
        } else {
            // A list of strings always serialises.
            Edit::Replace(index, serde_json::to_vec(&left).unwrap_or_default().into())
        });
    }
    let removed = edits.iter().filter(|edit| matches!(edit, Edit::Remove(_))).count();
    if removed == members.len() {
        return Some(Edit::Remove(at));
    }
    Some(Edit::Replace(at, splice(stated, &members, &edits).concat().into()))
}

/// The first member of `call` that a provider of this kind would drop, or refuse for not knowing it; of an OpenRouter route
/// it is OpenRouter itself that sees to that.
pub fn unheeded(kind: Kind, call: &Call, wishes: &Wishes) -> Option<Arc<str>> {
    if kind.passes_wishes_on() {
        return None;
    }
    if let Some(unknown) = wishes.unknown.first() {
        return Some(format!("provider.{unknown}").into());
    }
    if !wishes.require_parameters {
        return None;
    }
    let names = call.members.iter().map(|member| scan::text_of(&call.body, &member.key));
    let is_lost = |name: &str| match kind {
        Kind::Fireworks => !MEMBERS.contains(&name) && !fireworks::FIELDS.contains(&name),
        _ => ignored(kind).contains(&name),
    };
    names.into_iter().find(|name| is_lost(name)).map(Into::into)
}

/// Request fields that are known to count for nothing, or to be refused, at a provider of this kind.
const fn ignored(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::DeepSeek => &["seed", "top_k", "min_p", "repetition_penalty", "prompt_cache_key"],
        Kind::DashScope => &["min_p", "repetition_penalty", "prompt_cache_key"],
        Kind::OpenAi => &["top_k", "min_p", "repetition_penalty"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::super::Continuation;
    use super::super::request::body_for;
    use super::*;
    use crate::routing::Endpoint;

    fn call(more: &str) -> Call {
        let body = format!(r#"{{"model":"up/m","messages":[{{}}]{more}}}"#);
        let mut call = Call::parse(Endpoint::Chat, Bytes::from(body), 128).unwrap();
        if let Some(wishes) = &mut call.wishes {
            // As if only deepinfra and chutes were nobody's here.
            let names = wishes.order.iter().chain(&wishes.only);
            wishes.foreign =
                names.filter(|name| ["deepinfra", "chutes"].contains(&&***name)).cloned().collect();
        }
        call
    }

    fn sent(kind: Kind, more: &str) -> String {
        let sent = body_for(kind, Continuation::None, &call(more), "up/m").concat();
        String::from_utf8(sent).unwrap().replace(r#"{"model":"up/m","messages":[{}]"#, "")
    }

    #[test]
    fn only_openrouter_hears_what_steers() {
        let more =
            r#","provider":{"zdr":true,"sort":"price"},"session_id":"s","usage":{"include":true},"top_k":3"#;
        assert_eq!(sent(Kind::OpenRouter, more), format!("{more}}}"));
        for kind in [Kind::DeepSeek, Kind::Together, Kind::OpenAi, Kind::Vllm, Kind::Local] {
            assert_eq!(sent(kind, more), r#","top_k":3}"#, "{}", kind.name());
        }
        assert_eq!(sent(Kind::Fireworks, more), r#","prompt_cache_key":"s","top_k":3}"#);
        assert_eq!(
            sent(Kind::Fireworks, r#","session_id":"s","prompt_cache_key":"k""#),
            r#","prompt_cache_key":"k"}"#
        );
        assert_eq!(sent(Kind::DeepSeek, r#","prompt_cache_key":"k""#), r#","prompt_cache_key":"k"}"#);
    }

    #[test]
    fn openrouter_never_gets_a_list_of_models() {
        assert_eq!(sent(Kind::OpenRouter, r#","models":["other"],"seed":1"#), r#","seed":1}"#);
        let call =
            Call::parse(Endpoint::Chat, Bytes::from_static(br#"{"models":["a","b"],"messages":[{}]}"#), 128);
        let sent = body_for(Kind::OpenRouter, Continuation::None, &call.unwrap(), "up/m").concat();
        assert_eq!(String::from_utf8(sent).unwrap(), r#"{"messages":[{}],"model":"up/m"}"#);
    }

    #[test]
    fn names_that_are_ours_do_not_reach_openrouter() {
        let provider = |inside: &str| sent(Kind::OpenRouter, &format!(r#","provider":{{{inside}}}"#));
        assert_eq!(provider(r#""order": [ "deepinfra" ]"#), r#","provider":{"order": [ "deepinfra" ]}}"#);
        assert_eq!(
            provider(r#""order":["my-vllm","deepinfra","openrouter"],"zdr":true"#),
            r#","provider":{"order":["deepinfra"],"zdr":true}}"#
        );
        assert_eq!(provider(r#""only":["openrouter"],"zdr":true"#), r#","provider":{"zdr":true}}"#);
        assert_eq!(provider(r#""only":["openrouter"]"#), "}");
        // Whom to leave out is for OpenRouter to heed as well.
        assert_eq!(provider(r#""ignore":["together"]"#), r#","provider":{"ignore":["together"]}}"#);
    }

    #[test]
    fn what_a_provider_would_not_heed_is_known() {
        let lost = |kind, more: &str| {
            let call = call(more);
            unheeded(kind, &call, call.wishes.as_ref().unwrap())
        };
        let all = r#","provider":{"require_parameters":true}"#;
        let with = |more: &str| format!("{all},{more}");
        assert_eq!(lost(Kind::DeepSeek, &with(r#""seed":1"#)).as_deref(), Some("seed"));
        assert_eq!(lost(Kind::Fireworks, &with(r#""verbosity":"low""#)).as_deref(), Some("verbosity"));
        assert_eq!(lost(Kind::Vllm, &with(r#""seed":1"#)), None);
        assert_eq!(lost(Kind::DeepSeek, r#","seed":1,"provider":{}"#), None, "nobody insists on it");
        assert_eq!(
            lost(Kind::Vllm, r#","provider":{"onyl":["x"]}"#).as_deref(),
            Some("provider.onyl"),
            "a wish that nobody understands is not met by accident"
        );
        assert_eq!(lost(Kind::OpenRouter, r#","provider":{"onyl":["x"]}"#), None);
    }
}
