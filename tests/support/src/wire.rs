//! HTTP/1.1 by hand, for both sides: heads with their order and case kept, bodies by length, by chunk or to the end.

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest head that either side takes, in bytes.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// The longest line that gives a chunk's size, in bytes.
const CHUNK_LINE_BYTES_MAX: usize = 4096;

/// Room made for each read, in bytes.
const READ_BYTES: usize = 1 << 15;

/// Header fields as they came: order, case and repeats kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The first field of that name, whatever its case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Every field of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.iter().filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Every field, in order, with its name as it was spelt.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// A message's head.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    /// The bytes, closing blank line included.
    pub(crate) raw: Bytes,
    /// The first line's three words.
    pub(crate) start: [String; 3],
    pub(crate) headers: Headers,
}

/// How a body's end is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Length(u64),
    Chunked,
    UntilClose,
}

impl Head {
    /// Takes a head off the front of `buffer`, if it is all there.
    pub(crate) fn take(buffer: &mut BytesMut) -> Option<Self> {
        let end = memchr::memmem::find(buffer, b"\r\n\r\n")? + 4;
        let raw = buffer.split_to(end).freeze();
        let text = String::from_utf8_lossy(&raw);
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or_default().splitn(3, ' ').map(str::to_owned);
        let start = std::array::from_fn(|_| words.next().unwrap_or_default());
        let fields = lines.filter_map(|line| line.split_once(':'));
        let headers = fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        Some(Self { raw: raw.clone(), start, headers: Headers(headers) })
    }

    /// The body's extent, if the head says one.
    pub(crate) fn extent(&self) -> Option<Extent> {
        let coding = self.headers.get("transfer-encoding");
        if coding.is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return Some(Extent::Chunked);
        }
        self.headers.get("content-length")?.parse().ok().map(Extent::Length)
    }
}

/// Reads what has come, up to [`READ_BYTES`], and says how much it was; 0 is the peer's close. Cancel safe.
pub(crate) async fn fill(
    from: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> std::io::Result<usize> {
    // A nearly full buffer would take a packet in slices, and a packet should be seen as one.
    buffer.reserve(READ_BYTES);
    from.read_buf(buffer).await
}

/// Reads a head; `None` where the peer went, or sent too much, before its end.
pub(crate) async fn read_head(from: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> Option<Head> {
    loop {
        if let Some(head) = Head::take(buffer) {
            return Some(head);
        }
        if buffer.len() > HEAD_BYTES_MAX || fill(from, buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Reads a body piece by piece.
#[derive(Debug)]
pub(crate) struct BodyReader {
    extent: Extent,
    /// Bytes still due of the body or of the current chunk.
    due: u64,
    /// Inside a chunk, or behind its data and before its line end.
    in_chunk: bool,
    finished: bool,
}

/// What a body reader found in the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Data(Bytes),
    /// The buffer holds too little: read on.
    More,
    End,
    Malformed,
}

impl BodyReader {
    pub(crate) fn new(extent: Extent) -> Self {
        let due = if let Extent::Length(length) = extent { length } else { 0 };
        Self { extent, due, in_chunk: false, finished: false }
    }

    /// Takes the next piece off the front of `buffer`.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Piece {
        match self.extent {
            _ if self.finished => Piece::End,
            Extent::Length(_) if self.due == 0 => Piece::End,
            Extent::Chunked if self.due == 0 => self.next_chunk(buffer),
            _ if buffer.is_empty() => Piece::More,
            Extent::UntilClose => Piece::Data(buffer.split().freeze()),
            Extent::Length(_) | Extent::Chunked => self.data(buffer),
        }
    }

    /// Whether the peer may close here and the body be whole.
    pub(crate) fn may_close(&self) -> bool {
        matches!(self.extent, Extent::UntilClose)
    }

    fn data(&mut self, buffer: &mut BytesMut) -> Piece {
        let length = usize::try_from(self.due).map_or(buffer.len(), |due| due.min(buffer.len()));
        self.due -= length as u64;
        Piece::Data(buffer.split_to(length).freeze())
    }

    fn next_chunk(&mut self, buffer: &mut BytesMut) -> Piece {
        if self.in_chunk {
            if buffer.len() < 2 {
                return Piece::More;
            }
            if !buffer.starts_with(b"\r\n") {
                return Piece::Malformed;
            }
            buffer.advance(2);
            self.in_chunk = false;
        }
        let Some(end) = memchr::memmem::find(buffer, b"\r\n") else {
            return if buffer.len() > CHUNK_LINE_BYTES_MAX { Piece::Malformed } else { Piece::More };
        };
        let size = buffer[..end].split(|byte| *byte == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(size).ok().and_then(|size| u64::from_str_radix(size.trim(), 16).ok());
        match size {
            None => Piece::Malformed,
            Some(0) => self.trailer(buffer, end),
            Some(size) => {
                buffer.advance(end + 2);
                (self.due, self.in_chunk) = (size, true);
                if buffer.is_empty() { Piece::More } else { self.data(buffer) }
            }
        }
    }

    fn trailer(&mut self, buffer: &mut BytesMut, end: usize) -> Piece {
        let Some(blank) = memchr::memmem::find(&buffer[end..], b"\r\n\r\n") else { return Piece::More };
        buffer.advance(end + blank + 4);
        self.finished = true;
        Piece::End
    }
}

/// Reads a whole body; `None` where it was malformed or the peer went before its end.
pub(crate) async fn read_body(
    from: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    extent: Extent,
) -> Option<Bytes> {
    let mut reader = BodyReader::new(extent);
    let mut body = BytesMut::new();
    loop {
        match reader.next(buffer) {
            Piece::Data(data) => body.extend_from_slice(&data),
            Piece::End => return Some(body.freeze()),
            Piece::Malformed => return None,
            Piece::More => {
                if fill(from, buffer).await.ok()? == 0 {
                    return None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_keep_order_and_case() {
        let mut buffer = BytesMut::from("POST /v1/x HTTP/1.1\r\nX-B: 1\r\nx-a:2\r\nX-B: 3\r\n\r\nrest");
        let head = Head::take(&mut buffer).unwrap();
        assert_eq!(head.start, ["POST", "/v1/x", "HTTP/1.1"]);
        let fields: Vec<_> = head.headers.iter().collect();
        assert_eq!(fields, [("X-B", "1"), ("x-a", "2"), ("X-B", "3")]);
        assert_eq!(head.headers.all("x-b").collect::<Vec<_>>(), ["1", "3"]);
        assert_eq!(&buffer[..], b"rest");
    }

    #[test]
    fn a_chunked_body_is_read_at_any_split() {
        let wire = b"3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nT: 1\r\n\r\nNEXT";
        for split in 0..wire.len() {
            let (mut reader, mut body) = (BodyReader::new(Extent::Chunked), Vec::new());
            let mut buffer = BytesMut::from(&wire[..split]);
            let mut rest = Some(&wire[split..]);
            loop {
                match reader.next(&mut buffer) {
                    Piece::Data(data) => body.extend_from_slice(&data),
                    Piece::More => buffer.extend_from_slice(rest.take().expect("one refill is enough")),
                    Piece::End => break,
                    Piece::Malformed => panic!("split at {split}"),
                }
            }
            buffer.extend_from_slice(rest.unwrap_or_default());
            assert_eq!((&body[..], &buffer[..]), (&b"abcd"[..], &b"NEXT"[..]), "split at {split}");
        }
    }
}
