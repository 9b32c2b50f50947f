//! Where an answer's body ends, and what of the bytes that arrive are its data: a length, chunks, or all until the end.
//!
//! By the letter of RFC 9112, 6 and 7: a body that is framed in two ways, or badly, is no answer.

use bytes::BufMut;
use http::{HeaderMap, StatusCode, header};

use super::Fault;

/// Most hexadecimal digits of a chunk's size, so that it fits 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;
/// Most bytes of all chunk extensions of one body, and of all its trailer fields; both are read over.
const EXTENSION_BYTES_MAX: u16 = 4 << 10;
const TRAILER_BYTES_MAX: u16 = 16 << 10;

/// What is still to come of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decoder {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Chunked),
    /// All until the connection's end.
    UntilEnd,
}

/// What became of the bytes that were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// All of them belong to the body, and more will come.
    Partial,
    /// The body ends with this many of them.
    Whole(usize),
}

impl Decoder {
    /// The framing of an answer with this head; `is_http10` is its version.
    pub(super) fn of(status: StatusCode, is_http10: bool, headers: &HeaderMap) -> Result<Self, Fault> {
        let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
        let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
        let coding = codings.next();
        let length = lengths.next();
        if codings.next().is_some() || lengths.next().is_some() || (coding.is_some() && length.is_some()) {
            return Err(Fault::Framing);
        }
        let length = length.map(|length| parsed(length.as_bytes()).ok_or(Fault::Framing)).transpose()?;
        if coding.is_some_and(|coding| is_http10 || !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
            return Err(Fault::Framing);
        }
        // No body, whatever the head says of one: the length is that of another answer's.
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Ok(Self::Length(0));
        }
        Ok(match (coding, length) {
            (Some(_), _) => Self::Chunked(Chunked::default()),
            (None, Some(length)) => Self::Length(length),
            (None, None) => Self::UntilEnd,
        })
    }

    /// Whether nothing is to come.
    pub(super) const fn is_empty(&self) -> bool {
        matches!(self, Self::Length(0))
    }

    /// Whether the end of the body can be told from the end of the connection.
    pub(super) const fn is_delimited(&self) -> bool {
        !matches!(self, Self::UntilEnd)
    }

    /// Takes the bytes that were `read`, all of them new, and puts their data into `out`; before a fault what is good.
    pub(super) fn take(&mut self, read: &[u8], out: &mut impl BufMut) -> Result<Taken, Fault> {
        match self {
            Self::Length(left) => {
                let here = usize::try_from(*left).map_or(read.len(), |left| left.min(read.len()));
                out.put_slice(&read[..here]);
                *left -= here as u64;
                Ok(if *left == 0 { Taken::Whole(here) } else { Taken::Partial })
            }
            Self::Chunked(chunked) => chunked.take(read, out),
            Self::UntilEnd => {
                out.put_slice(read);
                Ok(Taken::Partial)
            }
        }
    }

    /// The connection has ended.
    pub(super) const fn end(&self) -> Result<(), Fault> {
        match self {
            Self::Length(0) | Self::UntilEnd => Ok(()),
            Self::Length(_) | Self::Chunked(_) => Err(Fault::Cut),
        }
    }
}

/// A length in digits alone, as no sign, list or space may be.
fn parsed(length: &[u8]) -> Option<u64> {
    if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(length).ok()?.parse().ok()
}

/// A chunked body under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chunked {
    place: Place,
    digits: u8,
    extension_bytes: u16,
    trailer_bytes: u16,
    /// Of the chunk's data.
    left: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    SizeStart,
    Size,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    /// Before a trailer field, or the line that ends the body.
    LineStart,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    LastLf,
}

impl Chunked {
    fn take(&mut self, read: &[u8], out: &mut impl BufMut) -> Result<Taken, Fault> {
        let mut at = 0;
        while let Some(byte) = read.get(at) {
            if self.place == Place::Data {
                let rest = &read[at..];
                let here = usize::try_from(self.left).map_or(rest.len(), |left| left.min(rest.len()));
                out.put_slice(&rest[..here]);
                at += here;
                self.left -= here as u64;
                if self.left == 0 {
                    self.place = Place::DataCr;
                }
                continue;
            }
            at += 1;
            match self.next(*byte)? {
                Some(place) => self.place = place,
                None => return Ok(Taken::Whole(at)),
            }
        }
        Ok(Taken::Partial)
    }

    /// Where `byte` leads; nowhere if the body ends with it.
    fn next(&mut self, byte: u8) -> Result<Option<Place>, Fault> {
        Ok(Some(match (self.place, byte) {
            (Place::SizeStart, _) => {
                (self.left, self.digits) = (0, 0);
                self.size(byte)?
            }
            (Place::Size | Place::Extension, b'\r') => Place::SizeEnd,
            (Place::Size, b';' | b' ' | b'\t') => Place::Extension,
            (Place::Size, _) => self.size(byte)?,
            (Place::Extension, _) if is_text(byte) && self.extension_bytes < EXTENSION_BYTES_MAX => {
                self.extension_bytes += 1;
                Place::Extension
            }
            (Place::SizeEnd, b'\n') if self.left == 0 => Place::LineStart,
            (Place::SizeEnd, b'\n') => Place::Data,
            (Place::Data | Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::SizeStart,
            (Place::LineStart, b'\r') => Place::LastLf,
            (Place::LastLf, b'\n') => return Ok(None),
            (Place::TrailerValue, b'\r') => Place::TrailerEnd,
            (Place::TrailerEnd, b'\n') => Place::LineStart,
            (Place::LineStart | Place::TrailerName | Place::TrailerValue, _) => return self.trailer(byte),
            _ => return Err(Fault::Chunk),
        }))
    }

    fn size(&mut self, byte: u8) -> Result<Place, Fault> {
        let digit = char::from(byte).to_digit(16).ok_or(Fault::Chunk)?;
        if self.digits == SIZE_DIGITS_MAX {
            return Err(Fault::Chunk);
        }
        self.digits += 1;
        self.left = self.left << 4 | u64::from(digit);
        Ok(Place::Size)
    }

    fn trailer(&mut self, byte: u8) -> Result<Option<Place>, Fault> {
        if self.trailer_bytes == TRAILER_BYTES_MAX {
            return Err(Fault::Chunk);
        }
        self.trailer_bytes += 1;
        match self.place {
            Place::LineStart | Place::TrailerName if is_token(byte) => Ok(Some(Place::TrailerName)),
            Place::TrailerName if byte == b':' => Ok(Some(Place::TrailerValue)),
            Place::TrailerValue if is_text(byte) => Ok(Some(Place::TrailerValue)),
            _ => Err(Fault::Chunk),
        }
    }
}

/// A byte of a field's value or of an extension.
const fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// A byte of a field's name.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}
