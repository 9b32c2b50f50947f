//! An answer that broke off, and the request to go on with it: what was said so far, and which requests allow it at all.

use std::sync::Arc;

use crate::routing::{Capabilities, Endpoint};

use super::body::Call;
use super::scan::{self, Kind, Scanner, Span};

/// What a caller has been told before its answer broke off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SoFar {
    /// The text, escapes undone.
    pub text: Box<str>,
    /// The reasoning that came before it.
    pub reasoning: Box<str>,
    /// The answer's tokens, reasoning included: as reported, else one an event.
    pub tokens: u64,
}

impl SoFar {
    /// The text without the blanks at its end, which prompt templates are known to cut off, and those blanks.
    pub fn split(&self) -> (&str, &str) {
        self.text.split_at(self.text.trim_end().len())
    }
}

impl Call {
    /// Why another route could not go on with a broken answer to this call; `None`: it could.
    pub fn cannot_go_on(&self) -> Option<&'static str> {
        if !self.stream || !self.endpoint.writes() {
            return Some("it is no stream");
        }
        if self.needs.0.covers(Capabilities::MANY_CHOICES) {
            return Some("it has several choices");
        }
        if self.needs.0.covers(Capabilities::LOGPROBS) {
            return Some("log probabilities were asked for");
        }
        if self.needs.0.covers(Capabilities::FORCED_TOOL) {
            return Some("a tool call was asked for");
        }
        if self.member("response_format").is_some_and(|(_, member)| !self.is_plain_text(&member.value)) {
            return Some("its form is prescribed");
        }
        let is_true = |name| self.member(name).is_some_and(|(_, m)| &self.body[m.value.clone()] == b"true");
        if is_true("echo") {
            return Some("its prompt is repeated");
        }
        let (_, prompt) = self.member(if self.endpoint == Endpoint::Chat { "messages" } else { "prompt" })?;
        let prompt = prompt.value.clone();
        match self.endpoint {
            Endpoint::Chat if last_role(&self.body[prompt.clone()]).as_deref() == Some("assistant") => {
                Some("its last message is an assistant's")
            }
            Endpoint::Completions if self.body.get(prompt.start) != Some(&b'"') => {
                Some("its prompt is no plain text")
            }
            _ => None,
        }
    }

    /// The same call for who goes on from `so_far`.
    #[must_use]
    pub fn continued(&self, so_far: SoFar) -> Self {
        let said = (so_far.text.len() + so_far.reasoning.len()) as u64;
        Self {
            output_tokens_max: self.output_tokens_max.map(|max| max.saturating_sub(so_far.tokens).max(1)),
            prompt_bytes: self.prompt_bytes.saturating_add(said),
            so_far: Some(Arc::new(so_far)),
            ..self.clone()
        }
    }

    /// `{"type":"text"}`, or null.
    fn is_plain_text(&self, value: &Span) -> bool {
        let text = &self.body[value.clone()];
        text == b"null" || member_of(text, "type").is_some_and(|kind| kind == "text")
    }
}

/// The text of `object`'s member `name`.
fn member_of(object: &[u8], name: &str) -> Option<String> {
    let mut scanner = Scanner::new(object, scan::DEPTH_LIMIT);
    let mut members = scanner.enter_object().ok()?;
    let mut found = None;
    while let Some(key) = members.next(&mut scanner).ok()? {
        let is_text = scanner.kind().ok()? == Kind::String;
        let value = scanner.value().ok()?;
        if is_text && scan::says(object, &key, name) {
            found = Some(scan::text_of(object, &value).into_owned());
        }
    }
    found
}

fn last_role(messages: &[u8]) -> Option<String> {
    let mut scanner = Scanner::new(messages, scan::DEPTH_LIMIT);
    let mut items = scanner.enter_array().ok()?;
    let mut last = None;
    while items.next(&mut scanner).ok()? {
        last = Some(scanner.value().ok()?);
    }
    member_of(&messages[last?], "role")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn why_not(endpoint: Endpoint, body: &'static str) -> Option<&'static str> {
        Call::parse(endpoint, Bytes::from_static(body.as_bytes()), 128).unwrap().cannot_go_on()
    }

    #[test]
    fn only_plain_text_can_be_gone_on_with() {
        let chat = |body| why_not(Endpoint::Chat, body);
        assert_eq!(chat(r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}"#), None);
        assert_eq!(
            chat(
                r#"{"model":"m","stream":true,"messages":[{"role":"user"}],"response_format":{"type":"text"},"tools":[{}]}"#
            ),
            None
        );
        for body in [
            r#"{"model":"m","messages":[{}]}"#,
            r#"{"model":"m","stream":true,"messages":[{}],"n":2}"#,
            r#"{"model":"m","stream":true,"messages":[{}],"logprobs":true}"#,
            r#"{"model":"m","stream":true,"messages":[{}],"tool_choice":"required"}"#,
            r#"{"model":"m","stream":true,"messages":[{}],"response_format":{"type":"json_object"}}"#,
            r#"{"model":"m","stream":true,"messages":[{"role":"user"},{"role":"assistant","content":"So"}]}"#,
        ] {
            assert!(chat(body).is_some(), "{body}");
        }
        let completion = |body| why_not(Endpoint::Completions, body);
        assert_eq!(completion(r#"{"model":"m","stream":true,"prompt":"x"}"#), None);
        assert!(completion(r#"{"model":"m","stream":true,"prompt":["x"]}"#).is_some());
        assert!(completion(r#"{"model":"m","stream":true,"prompt":"x","echo":true}"#).is_some());
    }

    #[test]
    fn what_was_said_counts_against_the_bound() {
        let body = r#"{"model":"m","stream":true,"messages":[{}],"max_tokens":9}"#;
        let call = Call::parse(Endpoint::Chat, Bytes::from_static(body.as_bytes()), 128).unwrap();
        let so_far = |tokens| SoFar { text: "a \n".into(), tokens, ..SoFar::default() };
        assert_eq!(call.continued(so_far(4)).output_tokens_max, Some(5));
        assert_eq!(so_far(4).split(), ("a", " \n"));
    }
}
