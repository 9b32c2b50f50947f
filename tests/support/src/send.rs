//! Puts a reply on the wire, step by step, while watching whether the caller is still there.

use std::fmt::Write;

use bytes::{Bytes, BytesMut};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, tcp::ReadHalf},
};

use crate::{
    Pause,
    connection::Received,
    reply::{Break, Framing, Opening, Part, Plan, Reply},
    wire::fill,
};

/// How an exchange ended, seen from the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Not yet.
    Open,
    /// The whole answer was written.
    Answered,
    /// The answer stopped early because the script said so.
    Broken,
    /// The caller closed or reset the connection before the answer's end.
    CallerLeft,
    /// The fake was killed meanwhile.
    Killed,
}

enum Step {
    Write(Bytes),
    Wait(Pause),
    Break(Break),
}

/// Sends `reply`; the second value says whether the connection can carry another request.
pub(crate) async fn send(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    reply: &Reply,
    request: &Received,
) -> (Ending, bool) {
    for step in steps(&reply.0, request) {
        let (mut reader, mut writer) = stream.split();
        let done = async {
            match &step {
                Step::Write(bytes) => writer.write_all(bytes).await.is_ok(),
                Step::Wait(pause) => {
                    pause.wait().await;
                    true
                }
                Step::Break(Break::Stall) => std::future::pending().await,
                Step::Break(Break::Close | Break::Reset) => true,
            }
        };
        let alive = tokio::select! {
            biased;
            done = done => done,
            () = gone(&mut reader, buffer) => false,
        };
        if !alive {
            return (Ending::CallerLeft, false);
        }
        if let Step::Break(how) = &step {
            if matches!(how, Break::Reset) {
                stream.set_zero_linger().expect("an open socket takes the option");
            }
            return (Ending::Broken, false);
        }
    }
    (Ending::Answered, !reply.0.close_after)
}

/// Ends when the peer closes or resets; bytes of a next request are kept in the buffer.
async fn gone(reader: &mut ReadHalf<'_>, buffer: &mut BytesMut) {
    while matches!(fill(reader, buffer).await, Ok(bytes) if bytes > 0) {}
}

fn steps(plan: &Plan, request: &Received) -> Vec<Step> {
    let mut steps: Vec<_> = plan.before_head.iter().cloned().map(Step::Wait).collect();
    if let Opening::Nothing(how) = &plan.opening {
        steps.push(Step::Break(how.clone()));
        return steps;
    }
    let body = whole_body(plan, request);
    let limit = plan.limit(&body);
    if let Some(head) = head(plan, body.len()) {
        steps.push(Step::Write(head));
    }
    steps.extend(plan.after_head.iter().cloned().map(Step::Wait));
    let mut left = limit.as_ref().map_or(usize::MAX, |(bytes, _)| *bytes);
    let mut first = true;
    for part in &plan.parts {
        let bytes = match part {
            Part::Pause(pause) => {
                steps.push(Step::Wait(pause.clone()));
                continue;
            }
            Part::Bytes(bytes) => bytes,
            Part::Request => &request.body,
        };
        if left == 0 {
            break;
        }
        if !std::mem::take(&mut first) {
            steps.extend(plan.between_parts.iter().cloned().map(Step::Wait));
        }
        steps.extend(framed(plan, bytes, left).map(Step::Write));
        left -= bytes.len().min(left);
    }
    match limit {
        Some((_, how)) => steps.push(Step::Break(how)),
        None if plan.framing == Framing::Chunked && !matches!(plan.opening, Opening::Raw) => {
            steps.push(Step::Write(Bytes::from_static(b"0\r\n\r\n")));
        }
        None => {}
    }
    joined(steps)
}

fn whole_body(plan: &Plan, request: &Received) -> Bytes {
    let parts = plan.parts.iter().filter_map(|part| match part {
        Part::Bytes(bytes) => Some(&bytes[..]),
        Part::Request => Some(&request.body[..]),
        Part::Pause(_) => None,
    });
    parts.collect::<Vec<_>>().concat().into()
}

/// A part as it goes out, at most `left` bytes of it; a chunk promises its whole size even where it is cut.
fn framed(plan: &Plan, bytes: &Bytes, left: usize) -> Option<Bytes> {
    if bytes.is_empty() {
        return None;
    }
    let sent = &bytes[..bytes.len().min(left)];
    if plan.framing != Framing::Chunked || matches!(plan.opening, Opening::Raw) {
        return Some(bytes.slice_ref(sent));
    }
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(sent);
    if sent.len() == bytes.len() {
        chunk.extend_from_slice(b"\r\n");
    }
    Some(chunk.into())
}

fn head(plan: &Plan, length: usize) -> Option<Bytes> {
    let Opening::Status { status, reason, headers } = &plan.opening else { return None };
    let mut head = format!("HTTP/1.1 {status} {reason}\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").expect("a string grows");
    }
    let end = match plan.framing {
        Framing::Length => format!("content-length: {length}"),
        Framing::FalseLength(length) => format!("content-length: {length}"),
        Framing::Chunked => "transfer-encoding: chunked".to_owned(),
        Framing::UntilClose => "connection: close".to_owned(),
    };
    write!(head, "{end}\r\n\r\n").expect("a string grows");
    Some(head.into())
}

/// A head and a body of one part with nothing between them share a packet, as servers send them.
fn joined(steps: Vec<Step>) -> Vec<Step> {
    match &steps[..] {
        [Step::Write(head), Step::Write(body)] => vec![Step::Write([&head[..], &body[..]].concat().into())],
        _ => steps,
    }
}
