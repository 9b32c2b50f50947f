//! The body a caller reads: frames as the upstream sends them, looked at on the way, with an idle limit and one ending.
//!
//! Back-pressure is the caller's: nothing is read from the upstream until the caller has taken what was. Dropping the body
//! (the caller left) drops the upstream's, which closes or resets it, and closes the account.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use crate::api::envelope::Envelope;
use crate::api::face::{Said, Untold};
use crate::api::sse::Scanner;
use crate::units::{Clock, Mono};
use crate::upstream::Streamed;

use super::account::{Account, Ended};
use super::faced::{self, Faced};
use super::meter::{Flow, Meter, Out};

/// A body of any of the three kinds a caller gets.
pub enum RelayBody {
    /// Bytes that are all here.
    Whole(VecDeque<Bytes>),
    /// A stream under way.
    Stream(Box<StreamBody>),
}

impl RelayBody {
    /// A body of one piece.
    pub fn of(bytes: impl Into<Bytes>) -> Self {
        Self::pieces([bytes.into()])
    }

    /// A body of several pieces.
    pub fn pieces(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        Self::Whole(pieces.into_iter().filter(|piece| !piece.is_empty()).collect())
    }
}

impl Body for RelayBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(pieces) => Poll::Ready(pieces.pop_front().map(|piece| Ok(Frame::data(piece)))),
            Self::Stream(stream) => stream.poll(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(pieces) => pieces.is_empty(),
            Self::Stream(stream) => stream.upstream.is_none() && stream.out.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(pieces) => SizeHint::with_exact(pieces.iter().map(|piece| piece.len() as u64).sum()),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// A stream from one upstream to one caller.
pub struct StreamBody {
    upstream: Option<Incoming>,
    events: Scanner,
    meter: Meter,
    face: Option<Box<Faced>>,
    account: Option<Account>,
    out: VecDeque<Bytes>,
    clock: Arc<dyn Clock>,
    idle_timeout: Duration,
    heard_at: Mono,
    /// Wakes us when the upstream may have been silent too long; moved on lazily, so that a token costs no timer work.
    idle: Pin<Box<Sleep>>,
}

impl StreamBody {
    /// Goes on with `streamed`, whose first events were held back until now; told by `face`, if it is not the caller's shape.
    pub fn new(
        streamed: Streamed,
        meter: Meter,
        face: Option<Box<Faced>>,
        account: Account,
        clock: Arc<dyn Clock>,
        idle_timeout: Duration,
    ) -> Self {
        let mut body = Self {
            upstream: Some(streamed.body),
            events: streamed.events,
            meter,
            face,
            account: Some(account),
            out: VecDeque::new(),
            heard_at: clock.now().mono,
            clock,
            idle_timeout,
            idle: Box::pin(tokio::time::sleep(idle_timeout)),
        };
        for event in &streamed.prelude {
            body.take(event);
        }
        body
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(bytes) = self.out.pop_front() {
                return Poll::Ready(Some(bytes));
            }
            let Some(upstream) = self.upstream.as_mut() else { return Poll::Ready(None) };
            match self.events.next_event() {
                Ok(Some(event)) => {
                    self.take(&event);
                    continue;
                }
                Ok(None) => {}
                Err(_) => {
                    self.broken("an event was too long");
                    continue;
                }
            }
            match Pin::new(upstream).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.heard_at = self.clock.now().mono;
                    if let Ok(bytes) = frame.into_data() {
                        self.events.push(bytes);
                    }
                }
                Poll::Ready(Some(Err(_))) => self.broken("the provider's connection broke"),
                Poll::Ready(None) => self.upstream_ended(),
                Poll::Pending => ready!(self.poll_idle(cx)),
            }
        }
    }

    /// Ready once the upstream has been silent for too long, and the stream has been ended for it.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.idle.as_mut().poll(cx));
            let silent = self.clock.now().mono.since(self.heard_at);
            if silent >= self.idle_timeout {
                self.broken("the provider fell silent");
                return Poll::Ready(());
            }
            let deadline = tokio::time::Instant::now() + self.idle_timeout.saturating_sub(silent);
            self.idle.as_mut().reset(deadline);
        }
    }

    fn take(&mut self, event: &crate::api::sse::Event) {
        if self.upstream.is_none() {
            return;
        }
        let mut out = Out::new();
        let account = self.account.as_ref();
        let flow =
            self.meter.take(event, |report, counted| account?.price(report, counted)?.cost(), &mut out);
        self.follow(flow, out);
    }

    fn upstream_ended(&mut self) {
        if let Some(event) = self.events.finish() {
            self.take(&event);
            if self.upstream.is_none() {
                return;
            }
        }
        let mut out = Out::new();
        let account = self.account.as_ref();
        let flow = self.meter.end(|report, counted| account?.price(report, counted)?.cost(), &mut out);
        self.follow(flow, out);
    }

    fn follow(&mut self, flow: Flow, out: Out) {
        if let Some(account) = self.account.as_mut() {
            account.note(self.meter.reported(), self.meter.counted());
        }
        if self.face.is_some() {
            if let Err(untold) = self.tell(flow, &out) {
                return self.broken(untold.0);
            }
        } else {
            self.out.extend(out.into_iter().filter(|bytes| !bytes.is_empty()));
        }
        match flow {
            Flow::On => {}
            Flow::Ended => self.finish(Ended::Well),
            Flow::Broken(reason) => self.broken(reason),
        }
    }

    /// Puts `out` into the words of the caller's face.
    fn tell(&mut self, flow: Flow, out: &Out) -> Result<(), Untold> {
        let Some(face) = self.face.as_mut() else { return Ok(()) };
        let ended = (flow == Flow::Ended).then(|| {
            let account = self.account.as_ref();
            let settlement =
                account.and_then(|account| account.price(self.meter.reported(), self.meter.counted()));
            faced::tally(settlement.as_ref())
        });
        let mut told = Vec::new();
        let all = face.relay(out, ended.as_ref(), &mut told);
        self.out.extend((!told.is_empty()).then(|| Bytes::from(told)));
        all
    }

    /// Ends a stream that broke: with the upstream's own error event if it sent one, else with ours; never with `[DONE]`.
    fn broken(&mut self, reason: &'static str) {
        if !self.meter.told() || self.face.is_some() {
            let event = self.break_told(reason);
            self.out.extend((!event.is_empty()).then_some(event));
        }
        self.finish(Ended::Broken(reason));
    }

    fn break_told(&mut self, reason: &str) -> Bytes {
        let message = format!(
            "The answer broke off: {reason}. What came so far is incomplete; send the request again."
        );
        let kind = "upstream_error";
        let id = self.account.as_ref().map(Account::request_id);
        let Some(face) = self.face.as_mut() else {
            return Envelope::new(&message, kind, None, Some("stream_broken"), id).event();
        };
        face.failed(&Said {
            status: StatusCode::BAD_GATEWAY,
            kind,
            param: None,
            code: "stream_broken",
            message: &message,
            request_id: id.unwrap_or_default(),
        })
    }

    fn finish(&mut self, ended: Ended) {
        self.upstream = None;
        if let Some(account) = self.account.take() {
            account.close(ended);
        }
    }
}
