//! How much a model shall think, in the words of each kind of provider. A face writes the wish as one member `thinking`
//! (`{"type": "enabled" | "disabled" | "adaptive", "budget_tokens"?}`); a kind that has no word for it leaves it to the model.

use bytes::Bytes;
use serde::Deserialize;

use crate::api::body::Call;
use crate::api::splice::{Edit, Member};

use super::kind::Kind;
use super::request::Edits;

#[derive(Deserialize)]
struct Wish<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    budget_tokens: Option<u64>,
}

/// Puts a face's wish into the words of `kind`. A plain call says what it means itself, and nothing is changed.
pub(super) fn in_words_of(kind: Kind, call: &Call, edits: &mut Edits) {
    if call.face.is_none() {
        return;
    }
    let Some((at, member)) = call.member("thinking") else { return };
    let Ok(wish) = serde_json::from_slice::<Wish<'_>>(&call.body[member.value.clone()]) else { return };
    let thinks = wish.kind != "disabled";
    let effort = call.member("reasoning_effort");
    // Not to think, and how hard to: the first is meant. OpenAI's own word for it is an effort.
    let is_word = |effort: &Member| kind == Kind::OpenAi && &call.body[effort.value.clone()] == b"\"none\"";
    if let Some((effort, _)) = effort.filter(|(_, effort)| !thinks && !is_word(effort)) {
        edits.push(Edit::Remove(effort));
    }
    let effort = effort.is_some() && thinks;
    match kind {
        Kind::DeepSeek | Kind::Hunyuan => {
            let on = if thinks { r#"{"type":"enabled"}"# } else { r#"{"type":"disabled"}"# };
            edits.push(Edit::Replace(at, Bytes::from_static(on.as_bytes())));
        }
        // Takes either this or an effort, and knows no `adaptive`.
        Kind::Fireworks if !effort && wish.kind != "adaptive" => {}
        Kind::OpenRouter if !effort => {
            let word = match wish.budget_tokens {
                _ if !thinks => r#""reasoning":{"effort":"none"}"#.to_owned(),
                Some(budget) => format!(r#""reasoning":{{"max_tokens":{budget}}}"#),
                None => r#""reasoning":{"enabled":true}"#.to_owned(),
            };
            instead(call, at, "reasoning", word, edits);
        }
        Kind::Together => {
            instead(call, at, "reasoning", format!(r#""reasoning":{{"enabled":{thinks}}}"#), edits);
        }
        Kind::DashScope => {
            let budget = wish
                .budget_tokens
                .map(|budget| format!(r#","thinking_budget":{budget}"#))
                .unwrap_or_default();
            instead(call, at, "enable_thinking", format!(r#""enable_thinking":{thinks}{budget}"#), edits);
        }
        // Which of the two a chat template asks for is the template's matter; it ignores the other.
        Kind::Vllm | Kind::Sglang => {
            let word =
                format!(r#""chat_template_kwargs":{{"thinking":{thinks},"enable_thinking":{thinks}}}"#);
            instead(call, at, "chat_template_kwargs", word, edits);
        }
        Kind::Fireworks | Kind::OpenRouter | Kind::ModelArts | Kind::OpenAi | Kind::Local => {
            edits.push(Edit::Remove(at));
        }
    }
}

/// Says `word` in place of the member at `at`, unless the caller has said `name` itself.
fn instead(call: &Call, at: usize, name: &str, word: String, edits: &mut Edits) {
    edits.push(Edit::Remove(at));
    if call.member(name).is_none() {
        edits.push(Edit::Append(Bytes::from(word)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::face::Surface;
    use crate::providers::Continuation;
    use crate::providers::request::body_for;
    use crate::routing::Endpoint;

    /// What a route of `kind` hears of the members `more` beside the model and a message.
    fn heard(kind: Kind, more: &str) -> String {
        let body =
            format!(r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"x"}}],{more}}}"#);
        let (chat, face) = Surface::Messages.translate(Bytes::from(body), 64).unwrap();
        let mut call = Call::parse(Endpoint::Chat, chat, 64).unwrap();
        call.wear(face);
        let heard = String::from_utf8(body_for(kind, Continuation::None, &call, "m").concat()).unwrap();
        let rest =
            heard.strip_prefix(r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}]"#);
        rest.unwrap_or_else(|| panic!("{heard}")).strip_suffix('}').unwrap().to_owned()
    }

    #[test]
    fn an_effort_of_none_is_a_wish_not_to_think() {
        let heard = |kind| {
            let body = Bytes::from_static(br#"{"model":"m","input":"x","reasoning":{"effort":"none"}}"#);
            let (chat, face) = Surface::Responses.translate(body, 64).unwrap();
            let mut call = Call::parse(Endpoint::Chat, chat, 64).unwrap();
            call.wear(face);
            String::from_utf8(body_for(kind, Continuation::None, &call, "m").concat()).unwrap()
        };
        for (kind, words) in [
            (Kind::OpenAi, r#""reasoning_effort":"none""#),
            (Kind::DeepSeek, r#""thinking":{"type":"disabled"}"#),
            (Kind::OpenRouter, r#""reasoning":{"effort":"none"}"#),
            (Kind::DashScope, r#""enable_thinking":false"#),
        ] {
            let heard = heard(kind);
            assert!(heard.contains(words), "{heard}");
            assert_eq!(heard.matches("none").count(), words.matches("none").count(), "{heard}");
            assert_eq!(heard.matches("thinking").count(), words.matches("thinking").count(), "{heard}");
        }
    }

    #[test]
    fn each_kind_hears_its_own_words() {
        let on = r#""thinking":{"type":"enabled","budget_tokens":2048}"#;
        let off = r#""thinking":{"type":"disabled"}"#;
        let free = r#""thinking":{"type":"adaptive"}"#;
        let own = r#","thinking":{"type":"enabled"}"#;
        for (kind, words) in [
            (Kind::DeepSeek, [own, r#","thinking":{"type":"disabled"}"#, own]),
            (Kind::Fireworks, [&format!(",{on}"), &format!(",{off}"), ""]),
            (
                Kind::OpenRouter,
                [
                    r#","reasoning":{"max_tokens":2048}"#,
                    r#","reasoning":{"effort":"none"}"#,
                    r#","reasoning":{"enabled":true}"#,
                ],
            ),
            (
                Kind::Together,
                [
                    r#","reasoning":{"enabled":true}"#,
                    r#","reasoning":{"enabled":false}"#,
                    r#","reasoning":{"enabled":true}"#,
                ],
            ),
            (
                Kind::DashScope,
                [
                    r#","enable_thinking":true,"thinking_budget":2048"#,
                    r#","enable_thinking":false"#,
                    r#","enable_thinking":true"#,
                ],
            ),
            (
                Kind::Vllm,
                [
                    r#","chat_template_kwargs":{"thinking":true,"enable_thinking":true}"#,
                    r#","chat_template_kwargs":{"thinking":false,"enable_thinking":false}"#,
                    r#","chat_template_kwargs":{"thinking":true,"enable_thinking":true}"#,
                ],
            ),
            (Kind::OpenAi, ["", "", ""]),
        ] {
            for (wish, word) in [on, off, free].into_iter().zip(words) {
                assert_eq!(heard(kind, wish), word, "{kind:?}: {wish}");
            }
        }
    }

    #[test]
    fn an_effort_and_a_wish_never_contradict_each_other() {
        let effort = r#""output_config":{"effort":"max"}"#;
        let said = r#","reasoning_effort":"high""#;
        let with = |thinking: &str| format!(r#"{effort},"thinking":{{"type":"{thinking}"}}"#);
        for kind in [Kind::Fireworks, Kind::OpenRouter, Kind::OpenAi] {
            assert_eq!(heard(kind, &with("adaptive")), said, "{kind:?}");
        }
        assert_eq!(heard(Kind::OpenRouter, &with("disabled")), r#","reasoning":{"effort":"none"}"#);
        assert_eq!(heard(Kind::OpenAi, &with("disabled")), "");
        assert_eq!(heard(Kind::OpenRouter, &with("between_tools")), r#","reasoning":{"effort":"none"}"#);
    }

    #[test]
    fn a_caller_who_knows_the_routes_own_word_is_heard() {
        let both = r#""thinking":{"type":"adaptive"},"reasoning":{"effort":"xhigh"}"#;
        assert_eq!(heard(Kind::OpenRouter, both), r#","reasoning":{"effort":"xhigh"}"#);
    }

    #[test]
    fn a_plain_call_says_it_itself() {
        let body = Bytes::from_static(br#"{"model":"m","messages":[{}],"thinking":{"type":"enabled"}}"#);
        let call = Call::parse(Endpoint::Chat, body.clone(), 64).unwrap();
        assert_eq!(body_for(Kind::OpenRouter, Continuation::None, &call, "m").concat(), body);
    }
}
