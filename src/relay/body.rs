//! The body a caller reads: frames as the upstream sends them, looked at on the way, with an idle limit and one ending.
//!
//! A stream that breaks off goes on with another route's words where it was given a [`Rescue`], and else ends in an error event.
//! Back-pressure is the caller's: nothing is read from the upstream until the caller has taken what was. Dropping the body
//! (the caller left) drops the upstream's, which closes or resets it, and closes the account.

mod joined;
mod leash;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::Body;
use smallvec::SmallVec;
use tokio::time::Sleep;

use crate::api::envelope::Envelope;
use crate::api::face::{Said, Untold};
use crate::api::sse::{Event, Scanner};
use crate::treasury::Settling;
use crate::units::{Clock, Mono, Reported, Usage};
use crate::upstream::{Streamed, client};

use super::account::{Account, Ended};
use super::ear::Ear;
use super::faced::Faced;
use super::kept::Keeping;
use super::meter::{Flow, Out};
use super::noted::{KeepingIt, Noting};
use super::parts::Bill;
use super::rescue::{Broke, Continued, Rescue, Rescued, Rescuing};
use joined::joined;
use leash::Leash;

/// A stream from one upstream, or one after another, to one caller.
pub struct StreamBody {
    source: Source,
    events: Scanner,
    ear: Ear,
    face: Option<Box<Faced>>,
    account: Option<Account>,
    out: VecDeque<Bytes>,
    /// The frame that is being read, of which neighbouring parts go on as one.
    frame: Bytes,
    clock: Arc<dyn Clock>,
    idle_timeout: Duration,
    heard_at: Mono,
    /// Wakes us when the upstream may have been silent too long; moved on lazily, so that a token costs no timer work.
    idle: Pin<Box<Sleep>>,
    /// Whom it wakes.
    idle_wakes: Option<Waker>,
    rescue: Option<Rescue>,
    /// What was held back until it was known to be good; empty once it has begun.
    prelude: SmallVec<[Event; 4]>,
    /// Takes down what the upstream says, for equal requests that come later.
    keeping: Option<Box<Keeping>>,
    /// Takes down what the caller is told, for when it asks again; then that on its way to where it is kept.
    noting: Option<Box<Noting>>,
    noted: Option<KeepingIt>,
    /// The record of an answer that has ended, on its way to the ledger: the end is told once it is there.
    settling: Option<Settling>,
    /// What it may say at most; none where nobody minds.
    leash: Option<Leash>,
}

/// Where a stream's bytes come from.
enum Source {
    Upstream(client::Body),
    /// It broke off, and somebody is looked for who goes on.
    Rescue(Box<Breakage>),
    Ended,
}

/// A break that may be mended yet.
struct Breakage {
    search: Rescuing,
    reason: &'static str,
    /// The upstream's own error event, which the caller gets if nobody goes on.
    last_words: Out,
}

impl StreamBody {
    /// Goes on with `streamed`, whose first events were held back until now; told by `face`, if it is not the caller's shape.
    /// `rescue` is for when it breaks off.
    pub fn new(
        streamed: Streamed,
        mut ear: Ear,
        face: Option<Box<Faced>>,
        account: Account,
        clock: Arc<dyn Clock>,
        idle_timeout: Duration,
        rescue: Option<Rescue>,
    ) -> Self {
        if rescue.is_some() {
            ear.keep();
        }
        Self {
            source: Source::Upstream(streamed.body),
            events: streamed.events,
            ear,
            face,
            account: Some(account),
            out: VecDeque::new(),
            frame: Bytes::new(),
            heard_at: clock.now().mono,
            clock,
            idle_timeout,
            idle: Box::pin(tokio::time::sleep(idle_timeout)),
            idle_wakes: None,
            rescue,
            prelude: streamed.prelude,
            keeping: None,
            noting: None,
            noted: None,
            settling: None,
            leash: None,
        }
    }

    /// Takes the whole stream down, for equal requests that come later, and what the caller is told, for when it asks again.
    #[must_use]
    pub fn keeping(mut self, keeping: Option<Box<Keeping>>, noting: Option<Box<Noting>>) -> Self {
        self.keeping = keeping.filter(|_| !self.ear.is_native());
        self.noting = noting;
        self
    }

    /// Tells what was held back until now.
    #[must_use]
    pub fn begun(mut self) -> Self {
        for event in std::mem::take(&mut self.prelude) {
            self.take(&event);
        }
        self
    }

    /// Whether nothing more will come.
    pub(super) fn is_over(&self) -> bool {
        let is_told = matches!(self.source, Source::Ended) && self.out.is_empty();
        is_told && self.settling.is_none() && self.noted.is_none()
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            self.take_events();
            if let Some(noted) = self.noted.as_mut() {
                ready!(noted.as_mut().poll(cx));
                self.noted = None;
            }
            if let Some(settling) = self.settling.as_mut() {
                ready!(Pin::new(settling).poll(cx));
                self.settling = None;
            }
            if let Some(bytes) = self.out.pop_front() {
                // What waits for the next frame must not hold this one's memory.
                self.frame = Bytes::new();
                return Poll::Ready(Some(bytes));
            }
            if self.is_growing() {
                ready!(self.poll_growing(cx));
                continue;
            }
            let upstream = match &mut self.source {
                Source::Ended => return Poll::Ready(None),
                Source::Rescue(breakage) => {
                    let rescued = ready!(breakage.search.as_mut().poll(cx));
                    self.rescued(rescued);
                    continue;
                }
                Source::Upstream(upstream) => upstream,
            };
            match Pin::new(upstream).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.heard_at = self.clock.mono();
                    if let Ok(bytes) = frame.into_data() {
                        self.frame = bytes.clone();
                        self.events.push(bytes);
                    }
                }
                Poll::Ready(Some(Err(_))) => self.cut("the provider's connection broke"),
                Poll::Ready(None) => self.upstream_ended(),
                Poll::Pending => ready!(self.poll_idle(cx)),
            }
        }
    }

    /// Takes all events that are here.
    fn take_events(&mut self) {
        while matches!(self.source, Source::Upstream(_)) && !self.is_growing() {
            match self.events.next_event() {
                Ok(Some(event)) => self.take(&event),
                Ok(None) => return,
                Err(_) => self.broken("an event was too long", Out::new()),
            }
        }
    }

    /// Ready once the upstream has been silent for too long, and the stream has been ended for it.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_watched = self.idle_wakes.as_ref().is_some_and(|known| known.will_wake(cx.waker()));
        if is_watched && !self.idle.is_elapsed() {
            return Poll::Pending;
        }
        self.idle_wakes = Some(cx.waker().clone());
        loop {
            ready!(self.idle.as_mut().poll(cx));
            let silent = self.clock.mono().since(self.heard_at);
            if silent >= self.idle_timeout {
                self.cut("the provider fell silent");
                return Poll::Ready(());
            }
            let deadline = tokio::time::Instant::now() + self.idle_timeout.saturating_sub(silent);
            self.idle.as_mut().reset(deadline);
        }
    }

    fn take(&mut self, event: &Event) {
        if !matches!(self.source, Source::Upstream(_)) {
            return;
        }
        if let Some(keeping) = self.keeping.as_deref_mut() {
            keeping.hear(event);
        }
        let mut out = Out::new();
        let flow = self.ear.take(event, bill(self.account.as_ref()), &mut out);
        self.follow(flow, out);
        self.mind_leash();
    }

    /// The upstream's bytes stopped. If the answer had ended by then, only its report is missing.
    fn cut(&mut self, reason: &'static str) {
        if self.ear.is_finished() {
            self.upstream_ended();
        } else {
            self.broken(reason, Out::new());
        }
    }

    fn upstream_ended(&mut self) {
        if let Some(event) = self.events.finish() {
            self.take(&event);
            if !matches!(self.source, Source::Upstream(_)) {
                return;
            }
        }
        let mut out = Out::new();
        let flow = self.ear.end(bill(self.account.as_ref()), &mut out);
        self.follow(flow, out);
    }

    fn follow(&mut self, flow: Flow, out: Out) {
        if let Some(account) = self.account.as_mut() {
            account.note(self.ear.reported(), self.ear.counted());
        }
        match flow {
            Flow::On => {
                self.send(out);
                if self.ear.is_whole() {
                    let bill = bill(self.account.as_ref())(self.ear.reported(), self.ear.counted());
                    self.is_whole(bill);
                    self.settle(Ended::Well);
                }
            }
            Flow::Ended => self.send_end(out),
            Flow::Broken(reason) => self.broken(reason, out),
        }
    }

    fn send(&mut self, out: Out) {
        if let Err(untold) = self.tell(out, None) {
            self.end_broken(untold.0, Out::new());
        }
    }

    /// Sends the end of a stream that ended well.
    fn send_end(&mut self, out: Out) {
        let bill = bill(self.account.as_ref())(self.ear.reported(), self.ear.counted());
        match self.tell(out, Some(bill)) {
            Ok(()) => {
                if let Some(keeping) = self.keeping.take() {
                    keeping.whole(bill.cost);
                }
                self.is_whole(bill);
                self.finish(Ended::Well);
            }
            Err(untold) => self.end_broken(untold.0, Out::new()),
        }
    }

    fn is_whole(&mut self, bill: Bill) {
        if let Some(noting) = self.noting.as_deref_mut() {
            noting.is_whole(bill);
        }
    }

    /// Sends `out`, in the words of the caller's face if it has one; with a bill, the stream has ended with it.
    fn tell(&mut self, out: Out, ended: Option<Bill>) -> Result<(), Untold> {
        if let Some(noting) = self.noting.as_deref_mut() {
            noting.hear(&out);
        }
        let Some(face) = self.face.as_mut() else {
            for bytes in out.into_iter().filter(|bytes| !bytes.is_empty()) {
                let joined = self.out.back().and_then(|before| joined(&self.frame, before, &bytes));
                match (self.out.back_mut(), joined) {
                    (Some(before), Some(joined)) => *before = joined,
                    _ => self.out.push_back(bytes),
                }
            }
            return Ok(());
        };
        let mut told = Vec::new();
        let all = face.relay(&out, ended.map(Bill::into).as_ref(), &mut told);
        self.out.extend((!told.is_empty()).then(|| Bytes::from(told)));
        all
    }

    /// A stream broke: somebody goes on with it, or it ends. `last_words` is the upstream's own error event, if it sent one.
    fn broken(&mut self, reason: &'static str, last_words: Out) {
        // Nothing more is wanted of this upstream, whoever goes on.
        self.source = Source::Ended;
        // The answer was whole, and settled: what was to come behind it is no part of it.
        if self.account.is_none() {
            self.noted = Noting::ended(&mut self.noting);
            return;
        }
        if let (Some(rescue), Ok(so_far)) = (self.rescue.take(), self.ear.so_far()) {
            if let Some(account) = self.account.as_mut() {
                account.broke();
            }
            let search = (rescue.go_on)(Broke { so_far, reason });
            self.source = Source::Rescue(Box::new(Breakage { search, reason, last_words }));
            return;
        }
        self.end_broken(reason, last_words);
    }

    fn rescued(&mut self, rescued: Rescued) {
        let Source::Rescue(breakage) = std::mem::replace(&mut self.source, Source::Ended) else { return };
        let Breakage { reason, last_words, .. } = *breakage;
        match rescued {
            Rescued::By(continued) => self.resume(continued, reason),
            Rescued::AtBound => {
                let mut out = Out::new();
                self.ear.end_at_bound(bill(self.account.as_ref()), &mut out);
                self.send_end(out);
            }
            Rescued::Nobody => self.end_broken(reason, last_words),
        }
    }

    fn resume(&mut self, continued: Continued, reason: &'static str) {
        // An answer of several parts is not taken for one that was given in one.
        self.keeping = None;
        let Continued { so_far, streamed, answered, series, may_echo, resumed, next } = continued;
        if let Some(account) = self.account.as_mut() {
            account.hand_over(answered, series, reason);
        }
        self.ear.resume(&so_far, may_echo, &resumed);
        self.rescue = Some(next);
        self.events = streamed.events;
        self.source = Source::Upstream(streamed.body);
        self.heard_at = self.clock.now().mono;
        for event in &streamed.prelude {
            self.take(event);
        }
    }

    /// Ends a stream that broke: with the upstream's own error event if it sent one, else with ours; never with `[DONE]`.
    fn end_broken(&mut self, reason: &'static str, last_words: Out) {
        let has_told = !last_words.is_empty();
        // A face that could tell no more tells of the break all the same.
        let all = self.tell(last_words, None);
        // A face tells of one break only, in the upstream's words where it had some.
        let is_native = self.ear.is_native();
        if !has_told || all.is_err() || self.face.is_some() || is_native {
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
        if let Some(told) = self.ear.failed("stream_broken", &message) {
            return told;
        }
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
        let source = std::mem::replace(&mut self.source, Source::Ended);
        if let (Source::Upstream(body), Ended::Well) = (source, ended) {
            body.finished();
        }
        self.noted = Noting::ended(&mut self.noting);
        self.settle(ended);
    }

    /// Closes the account, unless it is closed.
    fn settle(&mut self, ended: Ended) {
        self.rescue = None;
        if let Some(account) = self.account.take() {
            self.settling = Some(account.close(ended));
        }
    }
}

impl Drop for StreamBody {
    /// The caller left: whoever was being asked to go on is told so before the account closes, since that costs, too. A whole
    /// answer is kept although nobody waits for that.
    fn drop(&mut self) {
        self.source = Source::Ended;
        drop(Noting::ended(&mut self.noting));
    }
}

/// What an answer comes to, by its account.
fn bill(account: Option<&Account>) -> impl Fn(Option<&Reported>, Usage) -> Bill {
    move |report, counted| account.map_or_else(Bill::default, |account| account.bill(report, counted))
}
