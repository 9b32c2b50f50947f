//! How a provider is asked to go on with an answer that another one began: the text so far stands as the assistant's own
//! last message, with whatever marks the dialect wants. Data; nothing here knows of streams.

use bytes::Bytes;

use crate::api::body::Call;
use crate::api::continued::SoFar;
use crate::api::splice::Edit;
use crate::routing::Endpoint;

use super::kind::Kind;
use super::request::{Edits, json_string, path_of};

/// A provider's way to go on with an assistant's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuation {
    /// It has none, or none that is known.
    None,
    /// An assistant's message at the end is gone on with.
    Prefill,
    /// vLLM's and SGLang's: the request says so.
    FinalMessage,
    /// DeepSeek's: the message is marked, and the request goes to the beta address.
    Prefix,
    /// Alibaba's: the message is marked; models that do not think.
    Partial,
}

impl Continuation {
    /// What providers of this kind are known to do. The others promise nothing, or, as OpenRouter, leave it to hosts of which some
    /// begin anew.
    pub const fn of(kind: Kind) -> Self {
        match kind {
            Kind::DeepSeek => Self::Prefix,
            Kind::DashScope => Self::Partial,
            Kind::Vllm | Kind::Sglang | Kind::Local => Self::FinalMessage,
            Kind::OpenRouter
            | Kind::Together
            | Kind::Fireworks
            | Kind::Hunyuan
            | Kind::ModelArts
            | Kind::OpenAi => Self::None,
        }
    }

    /// Whether `upstream_model` can go on in this way with an answer to such a call. The text of a completion only makes its
    /// prompt longer, which everybody understands.
    pub fn serves(self, endpoint: Endpoint, upstream_model: &str) -> bool {
        match endpoint {
            // Alibaba has it for its own models.
            Endpoint::Chat if self == Self::Partial => upstream_model.starts_with("qwen"),
            Endpoint::Chat => self != Self::None,
            Endpoint::Completions => true,
            Endpoint::Embeddings | Endpoint::Rerank => false,
        }
    }

    /// Whether an answer may begin with a repetition of what it goes on from.
    pub const fn may_echo(self) -> bool {
        matches!(self, Self::Prefill | Self::Partial)
    }

    /// Members that mark the message.
    const fn message_marks(self) -> &'static str {
        match self {
            Self::None | Self::Prefill | Self::FinalMessage => "",
            Self::Prefix => r#","prefix":true"#,
            Self::Partial => r#","partial":true"#,
        }
    }

    /// Members that mark the request, with their values.
    const fn request_marks(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::FinalMessage => &[("continue_final_message", "true"), ("add_generation_prompt", "false")],
            Self::None | Self::Prefill | Self::Prefix | Self::Partial => &[],
        }
    }

    /// The message's member for the reasoning that came before its text.
    const fn reasoning_member(self) -> Option<&'static str> {
        match self {
            Self::Prefix => Some("reasoning_content"),
            Self::None | Self::Prefill | Self::FinalMessage | Self::Partial => None,
        }
    }
}

/// Where DeepSeek goes on with a message: beside the address that is configured.
pub fn beta_url(base_url: &str) -> String {
    let base = base_url.strip_suffix("/v1").or_else(|| base_url.strip_suffix("/beta")).unwrap_or(base_url);
    format!("{base}/beta{}", path_of(Endpoint::Chat))
}

/// What keeps a model from thinking anew about an answer of which it has thought already.
const fn no_thinking(kind: Kind) -> Option<(&'static str, &'static str)> {
    match kind {
        Kind::OpenRouter | Kind::Together => Some(("reasoning", r#"{"enabled":false}"#)),
        Kind::Fireworks => Some(("reasoning_effort", r#""none""#)),
        Kind::DashScope => Some(("enable_thinking", "false")),
        Kind::Hunyuan => Some(("thinking", r#"{"type":"disabled"}"#)),
        Kind::Vllm | Kind::Sglang | Kind::Local => {
            Some(("chat_template_kwargs", r#"{"thinking":false,"enable_thinking":false}"#))
        }
        // DeepSeek is given the reasoning itself.
        Kind::DeepSeek | Kind::ModelArts | Kind::OpenAi => None,
    }
}

/// Adds to `edits` what makes `call` a request to go on from what was said.
pub(super) fn go_on(kind: Kind, way: Continuation, call: &Call, so_far: &SoFar, edits: &mut Edits) {
    let (text, _) = so_far.split();
    less_to_say(call, so_far, edits);
    // Nothing but blanks was said: the answer may as well begin anew.
    if text.is_empty() {
        return;
    }
    if call.endpoint == Endpoint::Completions {
        if let Some((index, prompt)) = call.member("prompt") {
            let asked = &call.body[prompt.value.start..prompt.value.end - 1];
            let said = json_string(text);
            edits.push(Edit::Replace(index, Bytes::from([asked, &said[1..]].concat())));
        }
        return;
    }
    if let Some((index, messages)) = call.member("messages") {
        let asked = &call.body[messages.value.start..messages.value.end - 1];
        let message = message(way, text, &so_far.reasoning);
        edits.push(Edit::Replace(index, Bytes::from([asked, b",", message.as_bytes(), b"]"].concat())));
    }
    for (name, value) in way.request_marks() {
        set(call, name, value, edits);
    }
    if ends_thinking(kind, call)
        && let Some((name, value)) = no_thinking(kind)
    {
        set(call, name, value, edits);
        // A face's own wish, which is in nobody's words yet.
        let wish = call.member("thinking").filter(|_| call.face.is_some() && name != "thinking");
        edits.extend(wish.map(|(index, _)| Edit::Remove(index)));
    }
}

/// Whether a request to go on has to say that the thinking is over.
pub(super) fn ends_thinking(kind: Kind, call: &Call) -> bool {
    let thought = call.so_far.as_ref().is_some_and(|said| !said.reasoning.is_empty());
    thought && no_thinking(kind).is_some()
}

fn message(way: Continuation, text: &str, reasoning: &str) -> String {
    let quoted = |text: &str| String::from_utf8_lossy(&json_string(text)).into_owned();
    let reasoning = way
        .reasoning_member()
        .filter(|_| !reasoning.is_empty())
        .map_or_else(String::new, |name| format!(",\"{name}\":{}", quoted(reasoning)));
    format!(r#"{{"role":"assistant","content":{}{reasoning}{}}}"#, quoted(text), way.message_marks())
}

/// What was said counts against the caller's bound.
fn less_to_say(call: &Call, so_far: &SoFar, edits: &mut Edits) {
    for name in ["max_tokens", "max_completion_tokens"] {
        let Some((index, member)) = call.member(name) else { continue };
        let bound = std::str::from_utf8(&call.body[member.value.clone()]).ok().and_then(|t| t.parse().ok());
        if let Some(bound) = bound {
            let left: u64 = u64::saturating_sub(bound, so_far.tokens).max(1);
            edits.push(Edit::Replace(index, Bytes::from(left.to_string())));
        }
    }
}

fn set(call: &Call, name: &str, value: &'static str, edits: &mut Edits) {
    edits.push(match call.member(name) {
        Some((index, _)) => Edit::Replace(index, Bytes::from_static(value.as_bytes())),
        None => Edit::Append(Bytes::from(format!("\"{name}\":{value}"))),
    });
}

#[cfg(test)]
mod tests {
    use super::super::request::body_for;
    use super::*;

    fn sent(
        endpoint: Endpoint,
        kind: Kind,
        way: Continuation,
        body: &'static str,
        reasoning: &str,
    ) -> String {
        let call = Call::parse(endpoint, Bytes::from_static(body.as_bytes()), 128).unwrap();
        let so_far = SoFar { text: "Once \"upon\" \n".into(), reasoning: reasoning.into(), tokens: 4 };
        String::from_utf8(body_for(kind, way, &call.continued(so_far), "m").concat()).unwrap()
    }

    const BODY: &str = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"stream_options":{"include_usage":true},"stream":true,"max_tokens":9}"#;

    fn expected(marks: &str, more: &str) -> String {
        format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":"x"}},{{"role":"assistant","content":"Once \"upon\""{marks}}}],"stream_options":{{"include_usage":true}},"stream":true,"max_tokens":5{more}}}"#
        )
    }

    #[test]
    fn each_dialect_marks_it_in_its_own_way() {
        let chat = |kind, way, reasoning| sent(Endpoint::Chat, kind, way, BODY, reasoning);
        let engine = r#","continue_final_message":true,"add_generation_prompt":false"#;
        assert_eq!(chat(Kind::Vllm, Continuation::FinalMessage, ""), expected("", engine));
        assert_eq!(chat(Kind::OpenRouter, Continuation::Prefill, ""), expected("", ""));
        assert_eq!(chat(Kind::DeepSeek, Continuation::Prefix, ""), expected(r#","prefix":true"#, ""));
        assert_eq!(
            chat(Kind::DeepSeek, Continuation::Prefix, "hm"),
            expected(r#","reasoning_content":"hm","prefix":true"#, "")
        );
        assert_eq!(
            chat(Kind::DashScope, Continuation::Partial, "hm"),
            expected(r#","partial":true"#, r#","enable_thinking":false"#)
        );
    }

    #[test]
    fn a_completion_only_gets_a_longer_prompt() {
        let body =
            r#"{"model":"m","prompt":"Tell\u0020me","stream":true,"stream_options":{"include_usage":true}}"#;
        assert_eq!(
            sent(Endpoint::Completions, Kind::OpenAi, Continuation::None, body, ""),
            body.replace("me\"", "meOnce \\\"upon\\\"\"")
        );
    }
}
