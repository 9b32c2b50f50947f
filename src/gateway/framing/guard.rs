//! The stream that hyper reads: the socket's bytes, as far as they are good.
//!
//! A read goes straight into hyper's buffer and is checked there. Only a head that arrives in pieces, or the start of a
//! pipelined one, waits in a side buffer of at most one head and one read.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::{BodyFault, ConnectionState, Framer, HeadLimits, Refusal, Scan, Stop};

/// What hyper reads in place of a refused head. The path is for a reader of a trace; it is told by its number.
const STAND_IN: &[u8] = b"GET /refused HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// As above, so that the answer to a refused `HEAD` has no body either.
const STAND_IN_HEAD: &[u8] = b"HEAD /refused HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// How long, and for how many bytes, a closing connection is read on, so that what the client still sends does not turn
/// into a reset that takes the answer away.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// So few bytes in several pieces, as a token's event and the marks around it, are put together before they are written: the
/// kernel takes longer to gather them.
const GATHERED_BYTES_MAX: usize = 1024;

/// The least time a timer is set for, so that a loop around one always ends.
const TURN: Duration = Duration::from_millis(1);

/// How long a connection may keep us waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From a head's first byte to its last.
    pub head: Duration,
    /// Between an answer and the next request.
    pub idle: Duration,
    /// Without the client taking a byte of an answer.
    pub write_stall: Duration,
}

/// A stream with a [`Framer`] on its reading side, and limits on silence on both.
#[derive(Debug)]
pub struct GuardedIo<T> {
    io: T,
    mode: Mode,
    framer: Framer,
    /// Bytes not handed over yet, the first `cleared` of them good.
    side: BytesMut,
    cleared: usize,
    state: Arc<ConnectionState>,
    patience: Patience,
    head_since: Option<Instant>,
    read_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
    peer_has_ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// HTTP/1: each byte is checked.
    Guarding,
    /// HTTP/2: its own layer checks.
    Open,
    /// The body breaks off behind the good bytes.
    Faulted(BodyFault),
    /// Nothing more is read; hyper has what it needs to finish.
    Deaf,
    /// Nothing more will come.
    Ended,
}

impl<T> GuardedIo<T> {
    /// Guards HTTP/1 on `io`, of which `start` was read already.
    pub fn http1(
        io: T,
        start: BytesMut,
        limits: HeadLimits,
        patience: Patience,
        state: Arc<ConnectionState>,
    ) -> Self {
        let mut guarded = Self::new(io, start, Mode::Guarding, limits, patience, state);
        if !guarded.side.is_empty() {
            guarded.scan_side();
        }
        guarded
    }

    /// Lets HTTP/2 on `io` pass, of which `start` was read already. Only stalled writes are limited.
    pub fn http2(io: T, start: BytesMut, patience: Patience, state: Arc<ConnectionState>) -> Self {
        let mut open = Self::new(io, start, Mode::Open, HeadLimits::default(), patience, state);
        open.cleared = open.side.len();
        open
    }

    fn new(
        io: T,
        side: BytesMut,
        mode: Mode,
        limits: HeadLimits,
        patience: Patience,
        state: Arc<ConnectionState>,
    ) -> Self {
        Self {
            io,
            mode,
            framer: Framer::new(limits),
            side,
            cleared: 0,
            state,
            patience,
            head_since: None,
            read_timer: None,
            write_timer: None,
            peer_has_ended: false,
        }
    }

    fn scan_side(&mut self) {
        let heads = self.framer.heads();
        let scan = self.framer.scan(&self.side);
        self.cleared = scan.good;
        self.note(scan, heads);
        if let Some(stop) = scan.stop {
            let is_head = self.side[scan.good..].starts_with(b"HEAD ");
            self.side.truncate(scan.good);
            self.stop(stop, is_head);
        }
    }

    fn note(&mut self, scan: Scan, heads_before: u64) {
        if self.framer.heads() != heads_before {
            self.head_since = None;
        }
        if scan.good > 0 {
            let open = if self.framer.is_within_body() { self.framer.heads() } else { 0 };
            self.state.set_body_open(open);
        }
    }

    /// The side buffer holds nothing but good bytes when this is called.
    fn stop(&mut self, stop: Stop, is_head: bool) {
        match stop {
            Stop::Refused(refusal) => {
                self.state.set_refused(self.framer.heads() + 1, refusal);
                self.side.extend_from_slice(if is_head { STAND_IN_HEAD } else { STAND_IN });
                self.cleared = self.side.len();
                self.mode = Mode::Deaf;
            }
            Stop::Fault(fault) => {
                self.state.set_fault(self.framer.heads(), fault);
                self.mode = Mode::Faulted(fault);
            }
        }
    }

    fn deliver(&mut self, buf: &mut ReadBuf<'_>) {
        let bytes = self.cleared.min(buf.remaining());
        buf.put_slice(&self.side[..bytes]);
        self.side.advance(bytes);
        self.cleared -= bytes;
        if self.side.is_empty() {
            self.side = BytesMut::new();
        }
    }

    /// Checks what was read into `buf` behind `before`, and leaves only the good part there.
    fn take_in(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let read = &buf.filled()[before..];
        if !self.side.is_empty() {
            self.side.extend_from_slice(read);
            buf.set_filled(before);
            self.scan_side();
            return;
        }
        let heads = self.framer.heads();
        let scan = self.framer.scan(read);
        self.note(scan, heads);
        let rest = &read[scan.good..];
        match scan.stop {
            Some(stop) => {
                let is_head = rest.starts_with(b"HEAD ");
                self.stop(stop, is_head);
            }
            None if !rest.is_empty() => self.side.extend_from_slice(rest),
            None => {}
        }
        buf.set_filled(before + scan.good);
    }

    /// Ready once the client has kept us waiting for too long.
    fn poll_impatient(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.mode != Mode::Guarding {
            return Poll::Pending;
        }
        let within_head = self.framer.is_within_head();
        let quiet_since = self.state.quiet_since();
        let deadline = match quiet_since {
            Some(since) if within_head => {
                since.max(*self.head_since.get_or_insert_with(Instant::now)) + self.patience.head
            }
            Some(since) => since + self.patience.idle,
            // While a request is open it is not the client who keeps us waiting. But hyper will not read again when the
            // answer is out, so a timer must be under way that ends no later than the client's time then.
            None => match &self.read_timer {
                // It wakes this connection's task, which is always the same one, by itself: each piece of an answer comes by here.
                Some(timer) if !timer.is_elapsed() => return Poll::Pending,
                _ => Instant::now() + self.patience.head.min(self.patience.idle),
            },
        };
        // The timer may stand too early, and is moved on when it ends; so most requests leave it alone.
        let timer = self.read_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline || timer.is_elapsed() {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            if quiet_since.is_some() && now >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline.max(now + TURN));
        }
    }

    fn lose_patience(&mut self) {
        if self.framer.is_within_head() {
            let is_head = self.side.starts_with(b"HEAD ");
            self.side.clear();
            self.stop(Stop::Refused(Refusal::HeadTimeout), is_head);
        } else {
            self.mode = Mode::Ended;
        }
    }

    /// Watches a write for a client that takes nothing.
    fn watch_write<R>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if written.is_ready() {
            if self.state.is_write_blocked() {
                self.state.set_write_blocked(false);
            }
            return written;
        }
        let begins = !self.state.is_write_blocked();
        self.state.set_write_blocked(true);
        let limit = self.patience.write_stall;
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if begins {
            timer.as_mut().reset(Instant::now() + limit);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no more of the answer")))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> GuardedIo<T> {
    /// Closes the connection: writing first; then, if the client may still be sending, reads on for a moment.
    pub async fn close(mut self) {
        let still_sends = !self.peer_has_ended
            && (matches!(self.mode, Mode::Deaf | Mode::Faulted(_))
                || self.framer.is_within_head()
                || self.framer.is_within_body());
        let close = async {
            if self.io.shutdown().await.is_err() || !still_sends {
                return;
            }
            let mut waste = vec![0; 8 * 1024];
            let mut total = 0;
            while let Ok(bytes @ 1..) = self.io.read(&mut waste).await {
                total += bytes;
                if total > LINGER_BYTES_MAX {
                    return;
                }
            }
        };
        // Past the limit the socket closes all the same.
        let _ = tokio::time::timeout(LINGER, close).await;
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for GuardedIo<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.cleared > 0 {
                this.deliver(buf);
                return Poll::Ready(Ok(()));
            }
            match this.mode {
                Mode::Guarding | Mode::Open => {}
                Mode::Faulted(fault) => {
                    this.mode = Mode::Deaf;
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault)));
                }
                // hyper is left with work to do, and ends the connection when it is done; an end here would end it early.
                Mode::Deaf => return Poll::Pending,
                Mode::Ended => return Poll::Ready(Ok(())),
            }
            let before = buf.filled().len();
            match Pin::new(&mut this.io).poll_read(cx, buf) {
                Poll::Pending => {
                    ready!(this.poll_impatient(cx));
                    this.lose_patience();
                }
                Poll::Ready(Err(error)) => {
                    this.peer_has_ended = true;
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Ok(())) if buf.filled().len() == before => {
                    this.peer_has_ended = true;
                    this.mode = Mode::Ended;
                }
                Poll::Ready(Ok(())) if this.mode == Mode::Open => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {
                    this.take_in(buf, before);
                    if buf.filled().len() > before {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for GuardedIo<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        this.watch_write(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let bytes: usize = bufs.iter().map(|buf| buf.len()).sum();
        let written = if bytes <= GATHERED_BYTES_MAX {
            let mut room = [MaybeUninit::uninit(); GATHERED_BYTES_MAX];
            let mut whole = ReadBuf::uninit(&mut room);
            for buf in bufs {
                whole.put_slice(buf);
            }
            Pin::new(&mut this.io).poll_write(cx, whole.filled())
        } else {
            Pin::new(&mut this.io).poll_write_vectored(cx, bufs)
        };
        this.watch_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        this.watch_write(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.io).poll_shutdown(cx);
        this.watch_write(cx, shut)
    }
}
