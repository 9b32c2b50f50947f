//! An answer as server-sent events, pulled by the connection at its own pace.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

use super::{answer::Answer, error::ApiError, queue::Event};

/// The body of a streamed answer. Dropping it, as hyper does when the caller leaves, cancels the work.
#[derive(Debug)]
pub(crate) struct EventStream {
    answer: Answer,
    events: mpsc::Receiver<Event>,
    ready: VecDeque<Bytes>,
    ended: bool,
}

impl EventStream {
    pub(crate) fn new(answer: Answer, events: mpsc::Receiver<Event>) -> Self {
        let ready = answer.opening().iter().map(frame).collect();
        Self { answer, events, ready, ended: false }
    }

    fn take(&mut self, event: Option<Event>) {
        match event {
            Some(Event::Text(text)) => self.ready.extend(self.answer.more(&text).iter().map(frame)),
            Some(Event::Done(done)) => {
                self.ready.extend(self.answer.closing(done).iter().map(frame));
                self.ready.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
                self.ended = true;
            }
            Some(Event::Failed(error)) => self.fail(&error),
            None => self.fail(&ApiError::stopping()),
        }
    }

    /// The error takes the place of `[DONE]`, so that nobody takes the answer for whole.
    fn fail(&mut self, error: &ApiError) {
        self.ready.push_back(frame(&error.body()));
        self.ended = true;
    }
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match self.events.poll_recv(context) {
                Poll::Ready(event) => self.take(event),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

fn frame(value: &serde_json::Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}
