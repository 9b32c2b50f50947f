//! What can befall a provider, and how its fake does it.

use std::time::Duration;

use serde_json::Value;
use tollway_test_support::{Break, Kind, Reply};

use super::{FIRST_TOKEN, IDLE, Setting, TOKENS};
use crate::rescue::Fate;

/// Content pieces that come before a fault in mid-stream.
const BEFORE: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    Refused,
    Tls,
    ResetBeforeHead,
    LimitedWithTime,
    Limited,
    Status500,
    Status503,
    Html502,
    Html200,
    HangBeforeHead,
    HangBeforeToken,
    SlowToken,
    ErrorInside,
    Garbage,
    NoContent,
    Cut,
    Reset,
    Stall,
    ErrorMidway,
    GarbageMidway,
    NoFinish,
    NoDone,
    TooLong,
    ContentFilter,
    NextFailsToo,
    Flapping,
}

pub(super) const FAULTS: [Fault; 26] = [
    Fault::Refused,
    Fault::Tls,
    Fault::ResetBeforeHead,
    Fault::LimitedWithTime,
    Fault::Limited,
    Fault::Status500,
    Fault::Status503,
    Fault::Html502,
    Fault::Html200,
    Fault::HangBeforeHead,
    Fault::HangBeforeToken,
    Fault::SlowToken,
    Fault::ErrorInside,
    Fault::Garbage,
    Fault::NoContent,
    Fault::Cut,
    Fault::Reset,
    Fault::Stall,
    Fault::ErrorMidway,
    Fault::GarbageMidway,
    Fault::NoFinish,
    Fault::NoDone,
    Fault::TooLong,
    Fault::ContentFilter,
    Fault::NextFailsToo,
    Fault::Flapping,
];

impl Fault {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Refused => "connection refused",
            Self::Tls => "TLS handshake fails",
            Self::ResetBeforeHead => "reset before the head",
            Self::LimitedWithTime => "429 with `retry-after: 30`",
            Self::Limited => "429",
            Self::Status500 => "500",
            Self::Status503 => "503",
            Self::Html502 => "502 in HTML",
            Self::Html200 => "HTML under 200",
            Self::HangBeforeHead => "silence before the head",
            Self::HangBeforeToken => "silence before the first token",
            Self::SlowToken => "a first token that is slow, and in time",
            Self::ErrorInside => "an error under 200",
            Self::Garbage => "no JSON",
            Self::NoContent => "an answer with nothing in it",
            Self::Cut => "cut in the middle",
            Self::Reset => "reset in the middle",
            Self::Stall => "silence in the middle",
            Self::ErrorMidway => "an error event in the middle",
            Self::GarbageMidway => "an event that is no JSON in the middle",
            Self::NoFinish => "`[DONE]` in the middle, without a finish reason",
            Self::NoDone => "no `[DONE]`",
            Self::TooLong => "prompt too long for the route",
            Self::ContentFilter => "content filter",
            Self::NextFailsToo => "500, and the next route fails too",
            Self::Flapping => "every second request fails",
        }
    }

    /// Whether a caller of a stream has seen some of it by then.
    pub(super) fn is_in_mid_stream(self) -> bool {
        matches!(
            self,
            Self::Cut
                | Self::Reset
                | Self::Stall
                | Self::ErrorMidway
                | Self::GarbageMidway
                | Self::NoFinish
                | Self::NoDone
        )
    }

    /// Whether it can happen to an answer that is no stream.
    pub(super) fn befalls_whole_answers(self) -> bool {
        !matches!(self, Self::ErrorMidway | Self::GarbageMidway | Self::NoFinish | Self::NoDone)
    }

    pub(super) fn needs_another(self) -> bool {
        matches!(self, Self::NextFailsToo | Self::Flapping)
    }

    pub(super) fn requests(self) -> usize {
        if self == Self::Flapping { 6 } else { 1 }
    }

    /// Whether most of its time is waiting, in which a slow machine is no slower.
    pub(super) fn waits(self) -> bool {
        matches!(self, Self::HangBeforeHead | Self::HangBeforeToken | Self::Stall)
    }

    /// How long a request that meets it takes, in words and at least.
    pub(super) fn recovery(self, streamed: bool, setting: Setting) -> (&'static str, Duration) {
        let waits = Duration::from_millis(TOKENS * 1000 / 30);
        match (self, streamed, setting) {
            (Self::HangBeforeHead | Self::HangBeforeToken, true, _) => ("`first_token_timeout`", FIRST_TOKEN),
            (Self::HangBeforeHead | Self::HangBeforeToken | Self::Stall, false, _) => {
                ("`first_token_timeout` + `max_tokens` / 30 s", FIRST_TOKEN + waits)
            }
            (Self::Stall, true, _) => ("`idle_timeout`", IDLE),
            _ => ("at once", Duration::ZERO),
        }
    }

    /// What `answer` becomes. `index` counts the requests of this case.
    pub(super) fn befall(self, kind: Kind, answer: Reply, streamed: bool, index: usize) -> Reply {
        let half = answer.body().len() / 2;
        // OpenRouter begins without a role of its own.
        let behind = BEFORE + usize::from(kind != Kind::OpenRouter);
        let cut = |how: Break| {
            let answer = answer.clone();
            if streamed { answer.cut_after_events(behind, how) } else { answer.cut_after_bytes(half, how) }
        };
        match self {
            Self::Refused | Self::NextFailsToo | Self::Status500 => kind.trouble(500),
            // Nothing that can be read of a handshake is a request.
            Self::Tls => Reply::nothing(Break::Close),
            Self::ResetBeforeHead => Reply::nothing(Break::Reset),
            Self::LimitedWithTime => kind.trouble(429).header("retry-after", "30"),
            Self::Limited => kind.trouble(429),
            Self::Status503 => kind.trouble(503),
            Self::Html502 => Reply::html(502),
            Self::Html200 => Reply::html(200),
            Self::HangBeforeHead => Reply::nothing(Break::Stall),
            Self::HangBeforeToken => answer.cut_after_bytes(0, Break::Stall),
            Self::SlowToken => answer.after_head(Duration::from_millis(300)),
            Self::ErrorInside => {
                let (error, _) = kind.fault_under_200(false);
                if streamed { Reply::events([error]) } else { Reply::json(200, error) }
            }
            Self::Garbage => {
                let garbage = r#"{"id":"x","choices":[{"ind"#;
                if streamed { Reply::events([garbage]) } else { Reply::json(200, garbage) }
            }
            Self::NoContent if streamed => Reply::events(Vec::<String>::new()),
            Self::NoContent => Reply::json(200, r#"{"id":"x","object":"chat.completion","choices":[]}"#),
            Self::Cut => cut(Break::Close),
            Self::Reset => cut(Break::Reset),
            Self::Stall => cut(Break::Stall),
            Self::ErrorMidway => error_midway(kind, &answer, behind),
            Self::GarbageMidway => Fate::Garbage.befall(answer, behind),
            Self::NoFinish => without_finish(&answer, behind),
            Self::NoDone => {
                let events = tollway_test_support::data_ends(&answer.body()).len();
                answer.cut_after_events(events - 1, Break::Close)
            }
            Self::TooLong => kind.overflow(),
            Self::ContentFilter => filtered(&answer, behind, streamed),
            Self::Flapping if index.is_multiple_of(2) => Reply::error(500, "server_error", "down"),
            Self::Flapping => answer,
        }
    }

    /// What the next route makes of its own answer.
    pub(super) fn befall_next(self, answer: Reply) -> Reply {
        if self == Self::NextFailsToo { Reply::error(503, "overloaded", "busy") } else { answer }
    }
}

/// Three pieces, then the end mark alone.
fn without_finish(answer: &Reply, behind: usize) -> Reply {
    let body = answer.body();
    let end = tollway_test_support::data_ends(&body)[behind - 1];
    Reply::stream([body.slice(..end), "data: [DONE]\n\n".into()])
}

/// Three pieces, then the provider's own word for having failed.
fn error_midway(kind: Kind, answer: &Reply, behind: usize) -> Reply {
    let body = answer.body();
    let end = tollway_test_support::data_ends(&body)[behind - 1];
    let (error, is_done) = kind.fault_under_200(true);
    let done = if is_done { "data: [DONE]\n\n" } else { "" };
    Reply::stream([body.slice(..end), format!("data: {error}\n\n{done}").into()])
}

/// The answer as a filter ends it: three pieces, and its own finish reason.
fn filtered(answer: &Reply, behind: usize, streamed: bool) -> Reply {
    let body = String::from_utf8(answer.body().to_vec()).unwrap();
    let filtered = |text: &str| {
        let text = text.replace(r#""finish_reason":"stop""#, r#""finish_reason":"content_filter""#);
        text.replace(r#""finish_reason":"length""#, r#""finish_reason":"content_filter""#)
    };
    if !streamed {
        let mut whole: Value = serde_json::from_str(filtered(&body).trim()).unwrap();
        whole["choices"][0]["message"]["content"] = "tok-7 tides at".into();
        return Reply::json(200, whole.to_string());
    }
    let ends = tollway_test_support::data_ends(body.as_bytes());
    let finish = ends
        .iter()
        .position(|end| body[..*end].contains(r#""finish_reason":"#) && is_finished(&body[..*end]));
    let from = ends[finish.expect("a finish") - 1];
    Reply::stream([body[..ends[behind - 1]].to_owned(), filtered(&body[from..])])
}

fn is_finished(body: &str) -> bool {
    body.contains(r#""finish_reason":"stop""#) || body.contains(r#""finish_reason":"length""#)
}
