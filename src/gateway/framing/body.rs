//! A request's body as the gateway reads it: with its faults named, and no slower than a least rate.

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::BodyFault;

/// The least rate of a request's body: so many bytes in each such time that we wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long a client may take for `bytes_min`. Default 10 s.
    pub window: Duration,
    /// Bytes that must come in a window. Default 1,024.
    pub bytes_min: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { window: Duration::from_secs(10), bytes_min: 1024 }
    }
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Badly framed: answer 400.
    #[error(transparent)]
    Fault(#[from] BodyFault),
    /// Slower than [`Pace`] allows: answer 408.
    #[error("the request body arrives too slowly")]
    TooSlow,
    /// The connection or stream ended; nobody is there to read an answer.
    #[error("the client left within its request body")]
    Left(#[source] hyper::Error),
}

impl From<hyper::Error> for BodyError {
    fn from(error: hyper::Error) -> Self {
        let fault = error
            .source()
            .and_then(|source| source.downcast_ref::<io::Error>())
            .and_then(|error| error.get_ref())
            .and_then(|inner| inner.downcast_ref::<BodyFault>());
        match fault {
            Some(&fault) => Self::Fault(fault),
            None => Self::Left(error),
        }
    }
}

/// A request's body. Time counts only while somebody waits for its next part.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Incoming,
    pace: Pace,
    bytes_in_window: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    /// `incoming`, held to `pace`.
    pub fn new(incoming: Incoming, pace: Pace) -> Self {
        Self { incoming, pace, bytes_in_window: 0, timer: None }
    }

    /// Ready once a window has passed with too few bytes.
    fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let window = self.pace.window;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(window)));
        while timer.as_mut().poll(cx).is_ready() {
            if self.bytes_in_window < self.pace.bytes_min {
                return Poll::Ready(());
            }
            self.bytes_in_window = 0;
            timer.as_mut().reset(Instant::now() + window);
        }
        Poll::Pending
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    this.bytes_in_window += data.len() as u64;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => this.poll_too_slow(cx).map(|()| Some(Err(BodyError::TooSlow))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
