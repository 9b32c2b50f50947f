//! Server-sent events found in bytes as they arrive: LF, CR and CRLF, a leading BOM, comments, several data lines, any split.
//!
//! The relay forwards the bytes; this scanner only says where events begin and end. What is complete in a frame is looked at
//! in place; only the beginning of an event that its frame did not complete is copied.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::scan::Span;

/// An event is larger than the scanner holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {max} bytes")]
pub struct TooLong {
    /// The limit in bytes.
    pub max: usize,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its bytes as they came, blank line included. All events' bytes together are the stream's, but for an unfinished rest.
    pub raw: Bytes,
    /// Where its data stands in `raw`, line by line; none for a comment or an event without data.
    data: SmallVec<[Span; 1]>,
}

impl Event {
    /// An event of our own with this text, which has no line end in it.
    pub fn of(data: &[u8]) -> Self {
        let raw = [&b"data: "[..], data, b"\n\n"].concat();
        Self { raw: Bytes::from(raw), data: smallvec::smallvec![6..6 + data.len()] }
    }

    /// Its data: the lines joined by LF, without copying where there is but one.
    pub fn data(&self) -> Option<Bytes> {
        match self.data.as_slice() {
            [] => None,
            [one] => Some(self.raw.slice(one.clone())),
            many => {
                let lines: Vec<&[u8]> = many.iter().map(|span| &self.raw[span.clone()]).collect();
                Some(Bytes::from(lines.join(&b"\n"[..])))
            }
        }
    }

    /// Where the data stands in `raw`, if it stands on one line.
    pub fn data_span(&self) -> Option<&Span> {
        match self.data.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }
}

/// Finds events in frames.
#[derive(Debug)]
pub struct Scanner {
    /// The frame being looked at, from the first byte not yet given out.
    frame: Bytes,
    /// An event begun in earlier frames; while it is not empty, frames are appended to it.
    begun: BytesMut,
    /// How far the present event has been looked at, and where its present line began.
    seen: usize,
    line: usize,
    data: SmallVec<[Span; 1]>,
    /// The last line ended in CR: an LF that follows belongs to it.
    after_cr: bool,
    /// The event has ended, but for the LF that may belong to its last CR.
    ended_at_cr: bool,
    at_stream_start: bool,
    event_bytes_max: usize,
}

impl Scanner {
    /// A scanner that holds events of up to `event_bytes_max` bytes.
    pub fn new(event_bytes_max: usize) -> Self {
        Self {
            frame: Bytes::new(),
            begun: BytesMut::new(),
            seen: 0,
            line: 0,
            data: SmallVec::new(),
            after_cr: false,
            ended_at_cr: false,
            at_stream_start: true,
            event_bytes_max,
        }
    }

    /// Takes the next frame. Call it only after [`Self::next_event`] has returned `None`.
    pub fn push(&mut self, frame: Bytes) {
        if self.begun.is_empty() {
            self.frame = frame;
        } else {
            self.begun.extend_from_slice(&frame);
        }
    }

    /// The next complete event in what has arrived, or `None` until more arrives.
    pub fn next_event(&mut self) -> Result<Option<Event>, TooLong> {
        let max = self.event_bytes_max;
        let in_frame = self.begun.is_empty();
        let found = if in_frame {
            let bytes = std::mem::take(&mut self.frame);
            let found = self.scan(&bytes);
            self.frame = bytes;
            found
        } else {
            let bytes = std::mem::take(&mut self.begun);
            let found = self.scan(&bytes);
            self.begun = bytes;
            found
        };
        match found {
            Some(end) if in_frame => Ok(Some(self.event(end, true))),
            Some(end) => Ok(Some(self.event(end, false))),
            None => {
                if in_frame && !self.frame.is_empty() {
                    self.begun.extend_from_slice(&self.frame);
                    self.frame = Bytes::new();
                }
                if self.begun.len() > max { Err(TooLong { max }) } else { Ok(None) }
            }
        }
    }

    /// The last event of a stream that is at its end, where it waited for an LF that never came.
    pub fn finish(&mut self) -> Option<Event> {
        self.after_cr = false;
        std::mem::take(&mut self.ended_at_cr).then(|| self.event(self.seen, false))
    }

    /// What is left of an event that never ended.
    pub fn rest(&self) -> &[u8] {
        &self.begun
    }

    fn event(&mut self, end: usize, in_frame: bool) -> Event {
        let raw = if in_frame {
            self.frame.split_to(end)
        } else {
            let raw = self.begun.split_to(end).freeze();
            // What follows goes back to being a frame, so that whole events in it are not copied again.
            self.frame = self.begun.split().freeze();
            raw
        };
        self.seen = 0;
        self.line = 0;
        Event { raw, data: std::mem::take(&mut self.data) }
    }

    /// Looks for the end of the present event in `bytes`, from `self.seen` on.
    fn scan(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.at_stream_start {
            match bytes {
                [0xef, 0xbb, 0xbf, ..] => {
                    self.at_stream_start = false;
                    self.seen = 3;
                    self.line = 3;
                }
                [] | [0xef] | [0xef, 0xbb] => return None,
                _ => self.at_stream_start = false,
            }
        }
        loop {
            if self.after_cr {
                match bytes.get(self.seen) {
                    None => return None,
                    Some(b'\n') => {
                        self.seen += 1;
                        self.line += 1;
                    }
                    Some(_) => {}
                }
                self.after_cr = false;
                if std::mem::take(&mut self.ended_at_cr) {
                    return Some(self.seen);
                }
            }
            let Some(run) = memchr::memchr2(b'\n', b'\r', bytes.get(self.seen..)?) else {
                self.seen = bytes.len();
                return None;
            };
            let line_end = self.seen + run;
            let line = self.line..line_end;
            let mut next = line_end + 1;
            if bytes[line_end] == b'\r' {
                match bytes.get(next) {
                    Some(b'\n') => next += 1,
                    Some(_) => {}
                    // The LF may come with the next frame; the line has ended all the same.
                    None => self.after_cr = true,
                }
            }
            self.seen = next;
            self.line = next;
            if line.is_empty() {
                if self.after_cr {
                    self.ended_at_cr = true;
                    continue;
                }
                return Some(next);
            }
            if let Some(span) = data_of(bytes, &line) {
                self.data.push(span);
            }
            // Most lines are an event's only one.
            if !self.after_cr && bytes.get(next) == Some(&b'\n') {
                self.seen = next + 1;
                self.line = next + 1;
                return Some(next + 1);
            }
        }
    }
}

/// The value of a `data` line: after the colon and at most one space.
fn data_of(bytes: &[u8], line: &Span) -> Option<Span> {
    let text = &bytes[line.clone()];
    let value = text.strip_prefix(b"data")?;
    match value {
        [] => Some(line.end..line.end),
        [b':', b' ', ..] => Some(line.start + 6..line.end),
        [b':', ..] => Some(line.start + 5..line.end),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\u{feff}: hello\r\n\r\ndata: {\"a\":\"Łódź\"}\n\ndata:x\ndata: y\n\nevent: e\rdata\r\rid: 1\n\n\r\ndata: [DONE]\r\n\r\n";

    fn all(frames: &[&[u8]]) -> (Vec<Option<Vec<u8>>>, Vec<u8>) {
        let mut scanner = Scanner::new(1 << 20);
        let (mut data, mut raw) = (Vec::new(), Vec::new());
        for frame in frames {
            scanner.push(Bytes::copy_from_slice(frame));
            while let Some(event) = scanner.next_event().unwrap() {
                raw.extend_from_slice(&event.raw);
                data.push(event.data().map(|d| d.to_vec()));
            }
        }
        if let Some(event) = scanner.finish() {
            raw.extend_from_slice(&event.raw);
            data.push(event.data().map(|d| d.to_vec()));
        }
        raw.extend_from_slice(scanner.rest());
        (data.into_iter().flatten().map(Some).collect(), raw)
    }

    #[test]
    fn r07_events_of_the_whole() {
        let (data, raw) = all(&[STREAM.as_bytes()]);
        let expected: Vec<Option<Vec<u8>>> =
            ["{\"a\":\"Łódź\"}", "x\ny", "", "[DONE]"].iter().map(|d| Some(d.as_bytes().to_vec())).collect();
        assert_eq!(data, expected);
        assert_eq!(raw, STREAM.as_bytes());
    }

    #[test]
    fn r07_every_two_way_split_and_byte_by_byte_equal_the_whole() {
        let bytes = STREAM.as_bytes();
        let whole = all(&[bytes]);
        for cut in 0..=bytes.len() {
            assert_eq!(all(&[&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(all(&single), whole);
    }

    #[test]
    fn r07_a_line_over_the_bound_is_a_clean_error() {
        let mut scanner = Scanner::new(1000);
        scanner.push(Bytes::from(vec![b'x'; 1001]));
        assert_eq!(scanner.next_event(), Err(TooLong { max: 1000 }));
    }

    #[test]
    fn r07_long_lines_and_many_events_take_linear_time() {
        let mut scanner = Scanner::new(1 << 21);
        let mut pushes = 0;
        for _ in 0..100_000 {
            scanner.push(Bytes::from_static(b"0123456789"));
            assert!(scanner.next_event().unwrap().is_none());
            pushes += 1;
        }
        scanner.push(Bytes::from_static(b"\n\n"));
        assert_eq!(scanner.next_event().unwrap().unwrap().raw.len(), 10 * pushes + 2);
        let (data, _) = all(&["data: x\n\n".repeat(20_000).as_bytes()]);
        assert_eq!(data.len(), 20_000);
    }

    proptest::proptest! {
        #[test]
        fn r07_any_split_of_any_text(text in "(data: ?|:|id|[\r\n]|\u{e9}|a){0,60}", cuts in proptest::collection::vec(0..200_usize, 0..6)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let frames: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            proptest::prop_assert_eq!(all(&frames), all(&[bytes]));
        }
    }
}
