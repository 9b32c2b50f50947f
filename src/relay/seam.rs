//! One stream out of two: the chunks of a continuation become chunks of the stream that broke off before it.
//!
//! They get the first one's id, time, model and fingerprint, lose the role that was told already and whatever they repeat of
//! the text, and their usage becomes that of the whole answer. The finish chunk says that there was a seam. No I/O here.

use std::borrow::Cow;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::api::chunk::Chunk;
use crate::api::continued::SoFar;
use crate::api::scan::{self, Span};
use crate::api::sse::Event;

/// Text shorter than this, in bytes, may well say the same twice: it is never taken for an echo.
const ECHO_BYTES_MIN: usize = 24;

/// What every chunk of a stream says alike, each as JSON.
#[derive(Debug, Clone, Default)]
pub(super) struct Identity {
    id: Option<Box<[u8]>>,
    object: Option<Box<[u8]>>,
    created: Option<Box<[u8]>>,
    model: Option<Box<[u8]>>,
    fingerprint: Option<Box<[u8]>>,
}

impl Identity {
    /// As `chunk` of `data` says it.
    pub(super) fn of(data: &[u8], chunk: &Chunk) -> Self {
        let text = |span: &Option<Span>| span.clone().map(|span| data[span].into());
        Self {
            id: text(&chunk.id),
            object: text(&chunk.object),
            created: text(&chunk.created),
            model: text(&chunk.model),
            fingerprint: text(&chunk.fingerprint),
        }
    }

    /// The beginning of a chunk of our own, up to its choices.
    pub(super) fn head(&self) -> String {
        let text = |known: &Option<Box<[u8]>>, otherwise: &str| {
            known.as_deref().map_or_else(|| otherwise.into(), |own| String::from_utf8_lossy(own).into_owned())
        };
        format!(
            "{{\"id\":{},\"object\":{},\"created\":{},\"model\":{}",
            text(&self.id, "\"\""),
            text(&self.object, "\"chat.completion.chunk\""),
            text(&self.created, "0"),
            text(&self.model, "\"\"")
        )
    }

    fn is_completion(&self) -> bool {
        self.object.as_deref() == Some(b"\"text_completion\"")
    }

    /// A chunk of our own that says that the choice at `index` has ended where its bound was.
    pub(super) fn at_bound(&self, index: u32, more: &str) -> Event {
        let choice = if self.is_completion() { "\"text\":\"\"" } else { "\"delta\":{}" };
        let head = self.head();
        let finish = "\"finish_reason\":\"length\"";
        Event::of(format!("{head},\"choices\":[{{\"index\":{index},{choice},{finish}}}]{more}}}").as_bytes())
    }

    /// A chunk of our own that says `text`, or that the answer has ended for the reason `finish`.
    pub(super) fn chunk(&self, text: &str, finish: Option<&str>, more: &str) -> Event {
        let finish = finish.map_or_else(|| "null".to_owned(), |reason| format!("\"{reason}\""));
        let said = if text.is_empty() && !self.is_completion() {
            String::new()
        } else {
            String::from_utf8_lossy(&quoted(text)).into_owned()
        };
        let choice = match (self.is_completion(), said.is_empty()) {
            (true, _) => format!("\"text\":{said}"),
            (false, true) => "\"delta\":{}".to_owned(),
            (false, false) => format!("\"delta\":{{\"content\":{said}}}"),
        };
        let head = self.head();
        Event::of(
            format!("{head},\"choices\":[{{\"index\":0,{choice},\"finish_reason\":{finish}}}]{more}}}")
                .as_bytes(),
        )
    }
}

/// What the chunks of a continuation become.
#[derive(Debug)]
pub(super) struct Seam {
    identity: Identity,
    repeats: Repeats,
    /// Whether the continuation has said something.
    spoken: bool,
    /// Whether the caller has been told that there was a seam.
    told: bool,
    /// `,"tollway":{…}`.
    extension: Box<str>,
}

/// What became of a chunk.
#[derive(Debug)]
pub(super) enum Joined {
    /// These chunks, in order; none where it said nothing new.
    Chunks(SmallVec<[Event; 2]>),
    /// The continuation is none: the route began to answer anew.
    Anew,
}

impl Seam {
    /// A seam after `so_far` in the stream `identity`. `may_echo`: the continuation may begin by saying all of it again.
    /// `resumed` is what the caller is told of it: a JSON array.
    pub(super) fn new(identity: Identity, so_far: &SoFar, may_echo: bool, resumed: &str) -> Self {
        Self {
            identity,
            repeats: Repeats::of(so_far, may_echo),
            spoken: false,
            told: false,
            extension: format!(",\"tollway\":{{\"resumed\":{resumed}}}").into(),
        }
    }

    /// What tells the caller of the seam, as a member at a chunk's end; once.
    pub(super) fn extension(&mut self) -> &str {
        if std::mem::replace(&mut self.told, true) { "" } else { &self.extension }
    }

    /// Joins one chunk; `usage` is what stands for its usage.
    pub(super) fn join(&mut self, data: &Bytes, chunk: &Chunk, usage: Option<Bytes>) -> Joined {
        if chunk.reasoning.is_some() && !self.spoken {
            return Joined::Anew;
        }
        let mut out = SmallVec::new();
        let mut changes: SmallVec<[(Span, Bytes); 8]> = SmallVec::new();
        let is_end = chunk.finished != 0 || chunk.usage.is_some();
        let said = chunk.content.as_ref().or(chunk.text.as_ref());
        let mut is_news = chunk.has_content || is_end;
        if let Some(span) = said {
            self.spoken = true;
            let text = scan::text_of(data, span);
            let left = self.repeats.new_in(&text);
            if *left != *text {
                is_news = !left.is_empty() || is_end;
                let left = Bytes::from(quoted(&left));
                for span in [&chunk.content, &chunk.text].into_iter().flatten() {
                    changes.push((span.clone(), left.clone()));
                }
            }
        }
        if is_end && let Some(held) = self.repeats.held() {
            out.push(self.identity.chunk(&held, None, ""));
        }
        // A role alone, said once before, or a repetition: nothing to tell.
        if !is_news {
            return Joined::Chunks(out);
        }
        self.rename(chunk, &mut changes);
        if let Some(role) = &chunk.role {
            changes.push((without_comma(data, role), Bytes::new()));
        }
        if let (Some(span), Some(usage)) = (&chunk.usage, usage) {
            changes.push((span.clone(), usage));
        }
        if chunk.finished != 0 {
            let end = data.trim_ascii_end().len() - 1;
            changes.push((end..end, Bytes::copy_from_slice(self.extension().as_bytes())));
        }
        out.push(changed(data, changes));
        Joined::Chunks(out)
    }

    fn rename(&self, chunk: &Chunk, changes: &mut SmallVec<[(Span, Bytes); 8]>) {
        let own = &self.identity;
        for (span, text, otherwise) in [
            (&chunk.id, &own.id, None),
            (&chunk.created, &own.created, None),
            (&chunk.model, &own.model, None),
            (&chunk.fingerprint, &own.fingerprint, Some(&b"null"[..])),
        ] {
            if let (Some(span), Some(text)) = (span, text.as_deref().or(otherwise)) {
                changes.push((span.clone(), Bytes::copy_from_slice(text)));
            }
        }
    }
}

/// What a continuation may say again of the text before it: all of it (an echo), then the blanks at its end, which were not
/// sent along.
#[derive(Debug)]
struct Repeats {
    echo: Box<str>,
    blanks: Box<str>,
    /// How much of the echo, and then of the blanks, was heard again.
    echoed: usize,
    skipped: usize,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Echo,
    Blanks,
    Over,
}

impl Repeats {
    fn of(so_far: &SoFar, may_echo: bool) -> Self {
        let (text, blanks) = so_far.split();
        let phase = if may_echo && text.len() >= ECHO_BYTES_MIN { Phase::Echo } else { Phase::Blanks };
        let echo = if phase == Phase::Echo { text } else { "" };
        Self { echo: echo.into(), blanks: blanks.into(), echoed: 0, skipped: 0, phase }
    }

    /// What of `said` the caller has not been told yet. What may be an echo is held until that is known.
    fn new_in<'t>(&mut self, said: &'t str) -> Cow<'t, str> {
        if self.phase != Phase::Echo {
            return Cow::Borrowed(self.beyond_blanks(said));
        }
        let same = common(&self.echo[self.echoed..], said);
        if self.echoed + same == self.echo.len() {
            self.phase = Phase::Blanks;
            return Cow::Borrowed(self.beyond_blanks(&said[same..]));
        }
        if same == said.len() {
            self.echoed += same;
            return Cow::Borrowed("");
        }
        self.phase = Phase::Blanks;
        let whole = [&self.echo[..self.echoed], said].concat();
        Cow::Owned(self.beyond_blanks(&whole).to_owned())
    }

    fn beyond_blanks<'t>(&mut self, said: &'t str) -> &'t str {
        if self.phase != Phase::Blanks {
            return said;
        }
        let same = common(&self.blanks[self.skipped..], said);
        self.skipped += same;
        if same < said.len() {
            self.phase = Phase::Over;
        }
        &said[same..]
    }

    /// What was held and turned out to be no echo, since the answer ends here.
    fn held(&mut self) -> Option<String> {
        if self.phase != Phase::Echo {
            return None;
        }
        self.phase = Phase::Over;
        (self.echoed > 0).then(|| self.echo[..self.echoed].to_owned())
    }
}

/// How long the beginning that both texts have in common is, in bytes; whole characters only.
fn common(one: &str, other: &str) -> usize {
    let pairs = one.chars().zip(other.chars());
    pairs.take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

/// A member's span with the comma that goes with it.
fn without_comma(data: &[u8], member: &Span) -> Span {
    let blank = |byte: &&u8| byte.is_ascii_whitespace();
    let after = member.end + data[member.end..].iter().take_while(blank).count();
    if data.get(after) == Some(&b',') {
        return member.start..after + 1;
    }
    let before = member.start - data[..member.start].iter().rev().take_while(blank).count();
    if before > 0 && data[before - 1] == b',' { before - 1..member.end } else { member.clone() }
}

/// An event of `data` with these changes made; none overlap.
fn changed(data: &[u8], mut changes: SmallVec<[(Span, Bytes); 8]>) -> Event {
    changes.sort_by_key(|(span, _)| span.start);
    let mut text = Vec::with_capacity(data.len() + 128);
    let mut at = 0;
    for (span, instead) in changes {
        text.extend_from_slice(&data[at..span.start]);
        text.extend_from_slice(&instead);
        at = span.end;
    }
    text.extend_from_slice(&data[at..]);
    // JSON has no line end but between its tokens, where any blank does.
    text.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    Event::of(&text)
}

fn quoted(text: &str) -> Vec<u8> {
    // A string always serialises.
    serde_json::to_vec(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::chunk;

    fn so_far(text: &str) -> SoFar {
        SoFar { text: text.into(), ..SoFar::default() }
    }

    /// What a caller reads of a continuation in these pieces.
    fn read_on(text: &str, may_echo: bool, pieces: &[&str]) -> String {
        let mut repeats = Repeats::of(&so_far(text), may_echo);
        let mut all: String = pieces.iter().map(|piece| repeats.new_in(piece).into_owned()).collect();
        all.extend(repeats.held());
        text.to_owned() + &all
    }

    const LONG: &str = "Once upon a time in Łódź, there";

    #[test]
    fn blanks_at_the_end_are_not_said_twice() {
        assert_eq!(read_on("one\n\n", false, &["\n\ntwo"]), "one\n\ntwo");
        assert_eq!(read_on("one\n", false, &["\n", "\ntwo"]), "one\n\ntwo");
        assert_eq!(read_on("one \n", false, &[" ", "\n", "two", " \n"]), "one \ntwo \n");
        assert_eq!(read_on("one\n", false, &["two"]), "one\ntwo");
        assert_eq!(read_on("one ", false, &[" two"]), "one two");
    }

    #[test]
    fn an_echo_is_dropped_however_it_is_cut() {
        for cut in LONG.char_indices().map(|(at, _)| at) {
            let pieces = [&LONG[..cut], &LONG[cut..], " was", " a"];
            assert_eq!(read_on(LONG, true, &pieces), format!("{LONG} was a"), "cut at {cut}");
        }
        assert_eq!(read_on(LONG, true, &[&format!("{LONG} was")]), format!("{LONG} was"));
        let blanks = format!("{LONG}\n\n");
        assert_eq!(read_on(&blanks, true, &[LONG, "\n\n", "was"]), format!("{blanks}was"));
    }

    #[test]
    fn what_only_begins_like_an_echo_is_told_in_full() {
        assert_eq!(read_on(LONG, true, &["Once", " again"]), format!("{LONG}Once again"));
        assert_eq!(read_on(LONG, true, &["Once"]), format!("{LONG}Once"));
        // Too short to tell: people laugh twice.
        assert_eq!(read_on("ha", true, &["ha"]), "haha");
        assert_eq!(read_on(LONG, false, &[LONG]), format!("{LONG}{LONG}"));
    }

    fn joined(seam: &mut Seam, data: &str) -> String {
        let data = Bytes::copy_from_slice(data.as_bytes());
        let chunk = chunk::read(&data).unwrap();
        match seam.join(&data, &chunk, Some(Bytes::from_static(b"{}"))) {
            Joined::Chunks(chunks) => {
                chunks.iter().map(|c| String::from_utf8(c.data().unwrap().to_vec()).unwrap() + "|").collect()
            }
            Joined::Anew => "anew".to_owned(),
        }
    }

    #[test]
    fn chunks_become_those_of_the_first_stream() {
        let first = br#"{"id":"a","object":"chat.completion.chunk","created":7,"model":"m","system_fingerprint":"f"}"#;
        let identity = Identity::of(first, &chunk::read(first).unwrap());
        let mut seam = Seam::new(identity, &so_far("x"), false, "[1]");
        let role = r#"{"id":"b","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#;
        assert_eq!(joined(&mut seam, role), "");
        let text = r#"{"id":"b","created":8,"model":"n","system_fingerprint":null,"choices":[{"index":0,"delta":{"content":"y" , "role":"assistant"}}]}"#;
        assert_eq!(
            joined(&mut seam, text),
            r#"{"id":"a","created":7,"model":"m","system_fingerprint":"f","choices":[{"index":0,"delta":{"content":"y" }}]}|"#
        );
        let finish = r#"{"id":"b","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}"#;
        assert_eq!(
            joined(&mut seam, finish),
            r#"{"id":"a","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{},"tollway":{"resumed":[1]}}|"#
        );
    }

    #[test]
    fn who_thinks_first_begins_anew() {
        let mut seam = Seam::new(Identity::default(), &so_far("x"), false, "[]");
        assert_eq!(joined(&mut seam, r#"{"choices":[{"index":0,"delta":{"reasoning":"hm"}}]}"#), "anew");
    }
}
