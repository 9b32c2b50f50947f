//! A request in one spelling, whatever the order of its members, its white space and its escapes: equal requests have equal
//! bytes, and different ones differ. Numbers stay as they are spelled, so that no two are taken for one by rounding.
//!
//! A long object stands as its hash, so that each byte is moved and hashed once, however deep it lies.

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

/// An object that takes more bytes stands as its hash.
const SPELLED_MAX: usize = 256;

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
        let value = &call.body[value.clone()];
        let _ = value_into(&mut Scanner::new(value, scan::DEPTH_LIMIT), value, &mut out);
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

/// All of `body` in one spelling, whatever it is a request of.
pub fn whole(body: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::with_capacity(body.len() + 32);
    value_into(&mut Scanner::new(body, scan::DEPTH_LIMIT), body, &mut out)?;
    Ok(out)
}

/// Appends the value that `scanner` stands at. It nests as deep as a body may, which is bounded where bodies are read.
fn value_into(scanner: &mut Scanner<'_>, text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    match scanner.kind()? {
        Kind::Object => {
            let mut walk = scanner.enter_object()?;
            let begin = out.len();
            let mut members: Vec<(String, Span)> = Vec::new();
            while let Some(key) = walk.next(scanner)? {
                let start = out.len();
                value_into(scanner, text, out)?;
                members.push((scan::text_of(text, &key).into_owned(), start..out.len()));
            }
            members.sort_by(|a, b| a.0.cmp(&b.0));
            let mut spelled = Vec::with_capacity(out.len() - begin + 16 * members.len());
            for (name, value) in members {
                string_into(&name, &mut spelled);
                spelled.push(b':');
                spelled.extend_from_slice(&out[value]);
                spelled.push(b',');
            }
            out.truncate(begin);
            out.push(b'{');
            if spelled.len() > SPELLED_MAX {
                out.push(b'#');
                out.extend_from_slice(blake3::hash(&spelled).as_bytes());
            } else {
                out.extend_from_slice(&spelled);
            }
            out.push(b'}');
        }
        Kind::Array => {
            let mut walk = scanner.enter_array()?;
            out.push(b'[');
            while walk.next(scanner)? {
                value_into(scanner, text, out)?;
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

    #[test]
    fn of_a_whole_body_all_counts_but_its_spelling() {
        let plain = whole(br#"{"model":"m","user":"x","a":{"b":1,"c":[1,{"d":"\u0041"}]}}"#).unwrap();
        let other = whole(br#" {"a" : {"c":[1, {"d":"A"}], "b":1}, "user":"x", "model":"m"}"#).unwrap();
        assert_eq!(plain, other);
        let anothers = whole(br#"{"model":"m","user":"y","a":{"b":1,"c":[1,{"d":"A"}]}}"#).unwrap();
        assert!(plain != anothers && whole(b"{\"a\"").is_err());
    }

    #[test]
    fn a_long_and_deep_body_takes_linear_time_and_still_differs() {
        let deep = |inmost: &str| {
            let text = "x".repeat(64 << 10);
            let open = format!("{{\"z\":\"{text}\",\"a\":").repeat(100);
            whole(format!("{open}{inmost}{}", "}".repeat(100)).as_bytes()).unwrap()
        };
        // 6 MiB, a hundred deep: what is under each object is not carried up through all above it.
        let one = deep("1");
        assert!(one.len() < SPELLED_MAX + 64, "{}", one.len());
        assert_ne!(one, deep("2"));
    }
}
