//! One connection: a request goes out, and the head of its answer comes in, at the same time if need be.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::Error;
use super::head::{Head, HeadReader};
use crate::upstream::connect::Stream;

/// What is read at a time of a stream: it is also what is held for a caller who does not read.
pub(super) const STREAM_READ_BYTES: usize = 16 << 10;
/// What is read at a time of an answer that is wanted whole.
pub(super) const WHOLE_READ_BYTES: usize = 64 << 10;
/// Most pieces that are written at once.
const SLICES_MAX: usize = 16;

/// What is left to send of a request.
#[derive(Debug)]
pub(super) struct Unsent {
    pieces: VecDeque<Bytes>,
    /// TLS keeps what it was given until it is flushed.
    is_flushed: bool,
    has_begun: bool,
}

impl Unsent {
    pub(super) fn new(head: Vec<u8>, body: &[Bytes]) -> Self {
        let head = std::iter::once(Bytes::from(head));
        let pieces = head.chain(body.iter().cloned()).filter(|piece| !piece.is_empty()).collect();
        Self { pieces, is_flushed: false, has_begun: false }
    }

    fn is_done(&self) -> bool {
        self.pieces.is_empty() && self.is_flushed
    }

    fn sent(&mut self, mut bytes: usize) {
        self.has_begun |= bytes > 0;
        while let Some(piece) = self.pieces.front_mut() {
            if bytes < piece.len() {
                return piece.advance(bytes);
            }
            bytes -= piece.len();
            self.pieces.pop_front();
        }
    }
}

/// Why an exchange brought no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// Not one byte of the request went out: it may be sent again.
    NothingSent(io::Error),
    Failed(Error),
}

impl Unanswered {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::NothingSent(error) => Error::Send(error),
            Self::Failed(error) => error,
        }
    }
}

/// A connection, with what is left of its request where the answer came early.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    unsent: Option<Box<Unsent>>,
    /// Some of a request could not be sent, so that none may follow it.
    is_broken: bool,
}

impl Connection {
    pub(super) const fn new(stream: Stream) -> Self {
        Self { stream, unsent: None, is_broken: false }
    }

    /// Whether all of the request went out.
    pub(super) const fn is_sent(&self) -> bool {
        self.unsent.is_none() && !self.is_broken
    }

    /// Sends `unsent`, and waits for the head of the answer; what was read behind that comes with it. Dropped on the way,
    /// the connection is closed.
    pub(super) async fn exchange(mut self, unsent: &mut Unsent) -> Result<(Self, Head, Vec<u8>), Unanswered> {
        let mut head = HeadReader::default();
        let mut broken = None;
        let answer = poll_fn(|cx| {
            if broken.is_none()
                && let Poll::Ready(Err(error)) = self.poll_send(cx, unsent)
            {
                if !unsent.has_begun {
                    return Poll::Ready(Err(Unanswered::NothingSent(error)));
                }
                // Who refuses a request may close before it has all of it; the answer tells more than the error.
                broken = Some(error);
            }
            self.poll_head(cx, &mut head).map_err(|error| match (error, broken.take()) {
                (Error::Closed | Error::Read(_), Some(broken)) => Unanswered::Failed(Error::Send(broken)),
                (error, _) => Unanswered::Failed(error),
            })
        });
        let (head, rest) = answer.await?;
        self.is_broken = broken.is_some();
        if !self.is_broken && !unsent.is_done() {
            let rest = Unsent { pieces: std::mem::take(&mut unsent.pieces), ..*unsent };
            self.unsent = Some(Box::new(rest));
        }
        Ok((self, head, rest))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, unsent: &mut Unsent) -> Poll<io::Result<()>> {
        while !unsent.pieces.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for (slice, piece) in slices.iter_mut().zip(&unsent.pieces) {
                *slice = IoSlice::new(piece);
                count += 1;
            }
            let bytes = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..count]))?;
            if bytes == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            unsent.sent(bytes);
        }
        if !unsent.is_flushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            unsent.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut HeadReader,
    ) -> Poll<Result<(Head, Vec<u8>), Error>> {
        loop {
            let found = ready!(self.poll_read::<STREAM_READ_BYTES, _>(cx, |read| {
                if read.is_empty() {
                    return Err(Error::Closed);
                }
                let found = head.take(read)?;
                Ok(found.map(|(head, rest)| (head, rest.to_vec())))
            }))??;
            if let Some(found) = found {
                return Poll::Ready(Ok(found));
            }
        }
    }

    /// What the kernel has for a reader: see [`Stream::peek`].
    pub(super) fn peek(&self) -> io::Result<usize> {
        self.stream.peek()
    }

    /// Has the current runtime wait for it from now on: see [`Stream::move_here`].
    pub(super) fn move_here(&mut self) -> io::Result<()> {
        self.stream.move_here()
    }

    /// Goes on sending what is left of a request whose answer came early. It matters no more whether that works.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) {
        let Some(mut unsent) = self.unsent.take() else { return };
        match self.poll_send(cx, &mut unsent) {
            Poll::Pending => self.unsent = Some(unsent),
            Poll::Ready(sent) => self.is_broken = sent.is_err(),
        }
    }

    /// Reads once, at most `N` bytes, and gives them to `taken`: none, if the connection has ended.
    pub(super) fn poll_read<const N: usize, R>(
        &mut self,
        cx: &mut Context<'_>,
        taken: impl FnOnce(&[u8]) -> R,
    ) -> Poll<Result<R, Error>> {
        let mut space = [const { MaybeUninit::uninit() }; N];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read)).map_err(Error::Read)?;
        Poll::Ready(Ok(taken(read.filled())))
    }
}
