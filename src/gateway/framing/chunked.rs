//! The chunked coding, byte by byte: sizes, data, extensions and trailers, each by the letter and within bounds.

use super::BodyFault;
use super::chars::{TOKEN, is_field_byte};

/// Most hexadecimal digits of a chunk size, so that it fits 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

/// Most bytes of all chunk extensions of one body; nothing we know of sends any. Under hyper's own limit of 16 KiB.
const EXTENSION_BYTES_MAX: u16 = 4 * 1024;

/// Most bytes of all trailer fields. Under hyper's own limit of 16 KiB.
const TRAILER_BYTES_MAX: u16 = 8 * 1024;

/// Most trailer fields. Under hyper's own limit of 100.
const TRAILER_FIELDS_MAX: u8 = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    SizeStart,
    Size,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    LineStart,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    LastLf,
}

/// A chunked body under way.
#[derive(Debug, Clone)]
pub(super) struct Chunked {
    place: Place,
    remaining: u64,
    digits: u8,
    extension_bytes: u16,
    trailer_bytes: u16,
    trailer_fields: u8,
}

/// Where a chunked body stands after more of it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChunkedStep {
    /// All of the bytes belong to the body, and more will come.
    Partial,
    /// The body ends with this many bytes of those given.
    Whole(usize),
    /// This many bytes are good; the next is not.
    Fault(usize, BodyFault),
}

impl Chunked {
    pub(super) fn new() -> Self {
        Self {
            place: Place::SizeStart,
            remaining: 0,
            digits: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
            trailer_fields: 0,
        }
    }

    /// Goes through `bytes`, all of them new.
    pub(super) fn step(&mut self, bytes: &[u8]) -> ChunkedStep {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.place == Place::Data {
                let here = bytes.len() - at;
                let data = usize::try_from(self.remaining).map_or(here, |remaining| remaining.min(here));
                at += data;
                self.remaining -= data as u64;
                if self.remaining == 0 {
                    self.place = Place::DataCr;
                }
                continue;
            }
            match self.next(byte) {
                Ok(Some(place)) => self.place = place,
                Ok(None) => return ChunkedStep::Whole(at + 1),
                Err(fault) => return ChunkedStep::Fault(at, fault),
            }
            at += 1;
        }
        ChunkedStep::Partial
    }

    /// Where `byte` leads; nowhere if the body ends with it.
    fn next(&mut self, byte: u8) -> Result<Option<Place>, BodyFault> {
        Ok(Some(match self.place {
            Place::SizeStart | Place::Size => return self.size(byte).map(Some),
            Place::Extension => match byte {
                b'\r' => Place::SizeEnd,
                _ if is_field_byte(byte) && self.extension_bytes < EXTENSION_BYTES_MAX => {
                    self.extension_bytes += 1;
                    Place::Extension
                }
                _ => return Err(BodyFault::ChunkExtension),
            },
            Place::SizeEnd => match (byte, self.remaining) {
                (b'\n', 0) => Place::LineStart,
                (b'\n', _) => Place::Data,
                _ => return Err(BodyFault::ChunkEnd),
            },
            Place::Data | Place::DataCr => match byte {
                b'\r' => Place::DataLf,
                _ => return Err(BodyFault::ChunkEnd),
            },
            Place::DataLf => match byte {
                b'\n' => Place::SizeStart,
                _ => return Err(BodyFault::ChunkEnd),
            },
            Place::LastLf => match byte {
                b'\n' => return Ok(None),
                _ => return Err(BodyFault::ChunkEnd),
            },
            Place::LineStart | Place::TrailerName | Place::TrailerValue | Place::TrailerEnd => {
                return self.trailer(byte).map(Some);
            }
        }))
    }

    fn size(&mut self, byte: u8) -> Result<Place, BodyFault> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if self.place == Place::Size => return Ok(Place::SizeEnd),
            b';' if self.place == Place::Size => return Ok(Place::Extension),
            _ => return Err(BodyFault::ChunkSize),
        };
        if self.place == Place::SizeStart {
            (self.remaining, self.digits) = (0, 0);
        }
        if self.digits == SIZE_DIGITS_MAX {
            return Err(BodyFault::ChunkSize);
        }
        self.digits += 1;
        self.remaining = self.remaining << 4 | u64::from(digit);
        Ok(Place::Size)
    }

    fn trailer(&mut self, byte: u8) -> Result<Place, BodyFault> {
        if self.place == Place::LineStart && byte == b'\r' {
            return Ok(Place::LastLf);
        }
        if self.trailer_bytes == TRAILER_BYTES_MAX {
            return Err(BodyFault::TrailerTooLarge);
        }
        self.trailer_bytes += 1;
        match self.place {
            Place::LineStart if self.trailer_fields == TRAILER_FIELDS_MAX => Err(BodyFault::TrailerTooLarge),
            Place::LineStart if TOKEN[byte as usize] => {
                self.trailer_fields += 1;
                Ok(Place::TrailerName)
            }
            Place::TrailerName if byte == b':' => Ok(Place::TrailerValue),
            Place::TrailerName if TOKEN[byte as usize] => Ok(Place::TrailerName),
            Place::TrailerValue if byte == b'\r' => Ok(Place::TrailerEnd),
            Place::TrailerValue if is_field_byte(byte) => Ok(Place::TrailerValue),
            Place::TrailerEnd if byte == b'\n' => Ok(Place::LineStart),
            _ => Err(BodyFault::Trailer),
        }
    }
}
