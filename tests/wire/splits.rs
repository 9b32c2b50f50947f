//! However the bytes arrive, they mean the same.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use proptest::prelude::*;
use tokio::io::{AsyncRead, ReadBuf};
use tollway::gateway::framing::{
    BodyFault, ConnectionState, Framer, GuardedIo, HeadLimits, Patience, Refusal, Stop,
};

use crate::table::{Fate, HIDDEN, rows};

/// What came through, and what ended it.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    good: Vec<u8>,
    heads: u64,
    stop: Option<Stop>,
}

fn verdict<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Verdict {
    let mut framer = Framer::new(HeadLimits::default());
    let (mut good, mut held, mut stop) = (Vec::new(), Vec::new(), None);
    for piece in pieces {
        held.extend_from_slice(piece);
        let scan = framer.scan(&held);
        good.extend(held.drain(..scan.good));
        stop = stop.or(scan.stop);
    }
    Verdict { good, heads: framer.heads(), stop }
}

#[test]
fn r01_every_row_has_its_fate() {
    for row in rows() {
        let seen = verdict([row.bytes.as_slice(), HIDDEN]);
        let fate = match seen.stop {
            None => Fate::Served(seen.heads - 1),
            Some(Stop::Refused(refusal)) => Fate::Refused(seen.heads, refusal),
            Some(Stop::Fault(fault)) => Fate::Faulted(seen.heads, fault),
        };
        assert_eq!(fate, row.fate, "{}", row.what);
        let is_whole = seen.good == [row.bytes.as_slice(), HIDDEN].concat();
        assert_eq!(is_whole, matches!(row.fate, Fate::Served(_)), "{}", row.what);
    }
}

#[test]
fn r01_every_split_in_two_means_the_same() {
    for row in rows() {
        let bytes = [row.bytes.as_slice(), HIDDEN].concat();
        let whole = verdict([bytes.as_slice()]);
        // All of them for a row of common size; for the large ones those near the ends and a share of the rest.
        let step = if bytes.len() > 2048 { 509 } else { 1 };
        let near = (0..bytes.len()).filter(|&at| at % step == 0 || at < 64 || at + 128 > bytes.len());
        for at in near {
            let (one, two) = bytes.split_at(at);
            assert_eq!(verdict([one, two]), whole, "{} split at {at}", row.what);
        }
    }
}

#[test]
fn r01_byte_by_byte_means_the_same() {
    for row in rows() {
        let bytes = [row.bytes.as_slice(), HIDDEN].concat();
        assert_eq!(verdict(bytes.chunks(1)), verdict([bytes.as_slice()]), "{}", row.what);
    }
}

/// A client whose bytes come one piece a read, and who then ends.
struct Pieces(VecDeque<Vec<u8>>);

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(mut piece) = self.0.pop_front() else { return Poll::Ready(Ok(())) };
        let rest = piece.split_off(piece.len().min(buf.remaining()));
        buf.put_slice(&piece);
        if !rest.is_empty() {
            self.0.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

/// What hyper would read through the guard with buffers of `room` bytes, and what the connection then knows.
fn guarded(start: &[u8], pieces: Vec<Vec<u8>>, room: usize) -> (Vec<u8>, Option<Refusal>, Option<BodyFault>) {
    let state = ConnectionState::new();
    let long = Duration::from_hours(1);
    let patience = Patience { head: long, idle: long, write_stall: long };
    let io = Pieces(pieces.into());
    let mut guard = GuardedIo::http1(
        io,
        BytesMut::from(start),
        HeadLimits::default(),
        patience,
        std::sync::Arc::clone(&state),
    );
    let mut read = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    let mut space = vec![0; room];
    loop {
        let mut buf = ReadBuf::new(&mut space);
        match Pin::new(&mut guard).poll_read(&mut cx, &mut buf) {
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => read.extend_from_slice(buf.filled()),
            Poll::Ready(Err(_)) => {}
            Poll::Ready(Ok(())) | Poll::Pending => break,
        }
    }
    let refusal = (1..10).find_map(|nth| state.refusal(nth));
    let fault = (1..10).find_map(|nth| state.fault(nth));
    (read, refusal, fault)
}

fn check_guard(what: &str, bytes: &[u8], start: usize, pieces: Vec<Vec<u8>>, room: usize) {
    let whole = verdict([bytes]);
    let (read, refusal, fault) = guarded(&bytes[..start], pieces, room);
    assert_eq!(read[..whole.good.len()], whole.good, "{what}");
    let stop = refusal.map(Stop::Refused).or(fault.map(Stop::Fault));
    assert_eq!(stop, whole.stop, "{what}");
    let stand_in = &read[whole.good.len()..];
    assert_eq!(refusal.is_some(), !stand_in.is_empty(), "{what}");
    if refusal.is_some() {
        let is_stand_in =
            stand_in.ends_with(b" /refused HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n");
        assert!(is_stand_in && stand_in.len() < 80, "{what}");
    }
}

#[test]
fn r01_the_guard_agrees_with_the_framer_for_any_buffer() {
    for row in rows().iter().filter(|row| row.bytes.len() < 1024) {
        let bytes = [row.bytes.as_slice(), HIDDEN].concat();
        for room in [1, 7, 64, 8192] {
            for size in [1, 3, 50, 8192] {
                let start = size.min(24);
                let pieces = bytes[start..].chunks(size).map(<[u8]>::to_vec).collect();
                check_guard(&row.what, &bytes, start, pieces, room);
            }
        }
    }
}

/// Bytes near the grammar: rows cut up and put together again, with a little noise.
fn near_http() -> impl Strategy<Value = Vec<u8>> {
    let rows: Vec<Vec<u8>> = rows().into_iter().map(|row| row.bytes).filter(|b| b.len() < 512).collect();
    let part = (proptest::sample::select(rows), any::<prop::sample::Index>(), any::<u8>(), 0..8_u8).prop_map(
        |(mut bytes, at, noise, kind)| {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = noise,
                1 => bytes.truncate(at),
                2 => bytes.insert(at, noise),
                _ => {}
            }
            bytes
        },
    );
    proptest::collection::vec(part, 1..5).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn r01_random_splits_mean_the_same(
        bytes in near_http(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        room in 1..300_usize,
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for to in cuts.into_iter().chain([bytes.len()]) {
            pieces.push(bytes[from..to].to_vec());
            from = to;
        }
        pieces.retain(|piece| !piece.is_empty());
        prop_assert_eq!(verdict(pieces.iter().map(Vec::as_slice)), verdict([bytes.as_slice()]));
        check_guard("random", &bytes, 0, pieces, room);
    }

    #[test]
    fn r17_no_bytes_make_the_framer_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let seen = verdict([bytes.as_slice()]);
        prop_assert!(bytes.starts_with(&seen.good));
    }
}
