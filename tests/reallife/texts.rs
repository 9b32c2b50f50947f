//! Requests as bytes: as long as the trace says at four bytes a token, the same where its prompts are the same.

use std::fmt::Write as _;

use tollway::replay::trace::{Arrival, Trace};

/// Bytes that a token is made of: what the gateway assumes before anybody has told it better.
const TOKEN_BYTES: usize = 4;
/// What stands before and behind the text in the prompt's member, which counts as prompt.
const BEFORE: &str = r#"[{"role":"user","content":""#;
const BEHIND: &str = r#""}]"#;
/// Stands before the request's place in its `user`, which goes upstream as it came.
const PLACE: &str = "place-";

/// The body of the request at `place`.
pub(crate) fn body(trace: &Trace, place: usize, arrival: &Arrival, model: &str) -> String {
    let wanted = arrival.prompt_tokens as usize * TOKEN_BYTES;
    let mut prompt = String::with_capacity(wanted + 64);
    prompt.push_str(BEFORE);
    for link in trace.links_of(arrival) {
        fill(&mut prompt, u64::from(link.block), link.tokens_end as usize * TOKEN_BYTES);
    }
    let end = wanted.saturating_sub(BEHIND.len());
    prompt.truncate(end.max(BEFORE.len() + 1));
    fill(&mut prompt, !(place as u64), end.max(BEFORE.len() + 8));
    prompt.push_str(BEHIND);
    let most = match arrival.output_tokens_max {
        0 => String::new(),
        most => format!(r#","max_tokens":{most}"#),
    };
    format!(
        r#"{{"model":"{model}","stream":true,"stream_options":{{"include_usage":true}},"user":"{PLACE}{place}"{most},"messages":{prompt}}}"#
    )
}

/// The place of the request that has this body; `None`: a probe of the gateway's own.
pub(crate) fn place_of(body: &[u8]) -> Option<usize> {
    let at = memchr::memmem::find(body, PLACE.as_bytes())? + PLACE.len();
    let digits = body.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&body[at..at + digits]).ok()?.parse().ok()
}

/// Fills up to `end` bytes with words that hang on `seed` alone.
fn fill(text: &mut String, seed: u64, end: usize) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    while text.len() < end {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        write!(text, "{state:016x} ").unwrap();
    }
    text.truncate(end);
}
