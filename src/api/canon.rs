//! A request in one spelling, whatever the order of its members, its white space and its escapes: equal requests have equal
//! bytes, and different ones differ. Numbers stay as they are spelled, so that no two are taken for one by rounding.

use crate::routing::Endpoint;

use super::body::Call;
use super::scan::{self, Fault, Kind, Scanner, Span};

/// Members that have no part in what is answered: who asks, how the answer is sent, and where providers cache prompts.
const ASIDE: [&str; 9] = [
    "model",
    "stream",
    "stream_options",
    "metadata",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "session_id",
    "usage",
];

/// What `call` asks for, in one spelling. `model` is not in it: the same model has several names.
pub fn canonical(call: &Call) -> Vec<u8> {
    let mut out = Vec::with_capacity(call.body.len() + 32);
    out.extend_from_slice(endpoint_word(call.endpoint));
    let mut members: Vec<(String, &Span)> = call
        .members
        .iter()
        .map(|member| (scan::text_of(&call.body, &member.key).into_owned(), &member.value))
        .filter(|(name, _)| !ASIDE.contains(&&**name))
        .collect();
    members.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    for (name, value) in members {
        string_into(&name, &mut out);
        out.push(b':');
        // The body was read once, so that this cannot fail.
        let _ = value_into(&call.body[value.clone()], &mut out);
        out.push(b',');
    }
    out
}

const fn endpoint_word(endpoint: Endpoint) -> &'static [u8] {
    match endpoint {
        Endpoint::Chat => b"chat ",
        Endpoint::Completions => b"completions ",
        Endpoint::Embeddings => b"embeddings ",
        Endpoint::Rerank => b"rerank ",
    }
}

/// Appends one value. It nests as deep as a body may, which is bounded where bodies are read.
fn value_into(text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut scanner = Scanner::new(text, scan::DEPTH_LIMIT);
    match scanner.kind()? {
        Kind::Object => {
            let mut walk = scanner.enter_object()?;
            let mut members: Vec<(String, Span)> = Vec::new();
            while let Some(key) = walk.next(&mut scanner)? {
                let value = scanner.value()?;
                members.push((scan::text_of(text, &key).into_owned(), value));
            }
            members.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            out.push(b'{');
            for (name, value) in members {
                string_into(&name, out);
                out.push(b':');
                value_into(&text[value], out)?;
                out.push(b',');
            }
            out.push(b'}');
        }
        Kind::Array => {
            let mut walk = scanner.enter_array()?;
            out.push(b'[');
            while walk.next(&mut scanner)? {
                let value = scanner.value()?;
                value_into(&text[value], out)?;
                out.push(b',');
            }
            out.push(b']');
        }
        Kind::String => {
            let value = scanner.value()?;
            string_into(&scan::text_of(text, &value), out);
        }
        Kind::Number | Kind::Bool | Kind::Null => {
            let value = scanner.value()?;
            out.extend_from_slice(&text[value]);
        }
    }
    Ok(())
}

/// A text with its length in front, so that nothing in it can be taken for what stands around it.
fn string_into(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn of(body: &'static str) -> Vec<u8> {
        canonical(&Call::parse(Endpoint::Chat, Bytes::from_static(body.as_bytes()), 64).unwrap())
    }

    #[test]
    fn spelling_does_not_count() {
        let plain = of(r#"{"model":"m","messages":[{"role":"user","content":"é"}],"temperature":0}"#);
        let other = of(
            "{ \"temperature\" : 0, \"messages\":[ {\"content\":\"\\u00e9\",\"role\":\"user\"} ], \"user\":\"x\", \
             \"model\":\"n\", \"stream\":true }",
        );
        assert_eq!(plain, other);
    }

    #[test]
    fn whatever_may_change_the_answer_counts() {
        let plain = of(r#"{"model":"m","messages":[{"role":"user","content":"a"}],"seed":1}"#);
        for other in [
            r#"{"model":"m","messages":[{"role":"user","content":"b"}],"seed":1}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"a"}],"seed":2}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"a"}],"seed":1.0}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#,
            r#"{"model":"m","messages":[{"role":"user"},{"content":"a"}],"seed":1}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"a"}],"seed":1,"tools":[]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"a\",\"seed\":1"}]}"#,
        ] {
            assert_ne!(plain, of(other), "{other}");
        }
    }
}
