//! A compressed body, unpacked while it comes and never past its bounds: so many bytes in all, and so many times what was sent.

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use flate2::write::{MultiGzDecoder, ZlibDecoder};

use crate::gateway::failure::Failure;

/// The most times its own size that a body may unpack to. Text that people write is packed ten times at most.
pub(super) const RATIO_MAX: u64 = 100;
/// What the smallest body may unpack to, in bytes.
const LEAST: u64 = 64 << 10;

/// A body on its way out of its packing.
pub(super) struct Unpacker {
    decoder: Decoder,
    bytes_max: u64,
    taken: u64,
}

enum Decoder {
    Gzip(Box<MultiGzDecoder<Sink>>),
    Deflate(Box<ZlibDecoder<Sink>>),
}

/// Takes what comes out, and refuses what is more than allowed.
struct Sink {
    out: BytesMut,
    allowed: u64,
    is_full: bool,
}

impl Unpacker {
    /// For the coding called `name`, if it is known here, and a body of at most `bytes_max` when unpacked.
    pub(super) fn new(name: &[u8], bytes_max: u64) -> Option<Self> {
        let sink = Sink { out: BytesMut::new(), allowed: 0, is_full: false };
        let decoder = match name.to_ascii_lowercase().as_slice() {
            b"gzip" | b"x-gzip" => Decoder::Gzip(Box::new(MultiGzDecoder::new(sink))),
            b"deflate" => Decoder::Deflate(Box::new(ZlibDecoder::new(sink))),
            _ => return None,
        };
        Some(Self { decoder, bytes_max, taken: 0 })
    }

    /// Unpacks what has come.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.taken += bytes.len() as u64;
        let allowed = self.bytes_max.min(LEAST.max(self.taken.saturating_mul(RATIO_MAX)));
        self.sink().allowed = allowed;
        let written = match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.write_all(bytes),
            Decoder::Deflate(decoder) => decoder.write_all(bytes),
        };
        written.map_err(|_| self.fault())
    }

    /// All has come.
    pub(super) fn finish(mut self) -> Result<Bytes, Failure> {
        let finished = match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.try_finish(),
            Decoder::Deflate(decoder) => decoder.try_finish(),
        };
        finished.map_err(|_| self.fault())?;
        Ok(std::mem::take(&mut self.sink().out).freeze())
    }

    fn sink(&mut self) -> &mut Sink {
        match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Deflate(decoder) => decoder.get_mut(),
        }
    }

    fn fault(&mut self) -> Failure {
        let bytes_max = self.bytes_max;
        let sink = self.sink();
        match sink.is_full {
            true if sink.allowed >= bytes_max => Failure::BodyTooLarge { bytes_max },
            true => Failure::Bomb { ratio_max: RATIO_MAX },
            false => Failure::BadCompression,
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.out.len() + bytes.len()) as u64 > self.allowed {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(text).unwrap();
        packed.finish().unwrap()
    }

    fn unpacked(coding: &str, packed: &[u8], piece: usize, bytes_max: u64) -> Result<Bytes, Failure> {
        let mut unpacker = Unpacker::new(coding.as_bytes(), bytes_max).unwrap();
        for bytes in packed.chunks(piece) {
            unpacker.take(bytes)?;
        }
        unpacker.finish()
    }

    #[test]
    fn what_was_packed_comes_out_however_it_came() {
        let text: String = (0..5_000).map(|at| at.to_string() + " word ").collect();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(text.as_bytes()).unwrap();
        let packed = [("gzip", gzip(text.as_bytes())), ("Deflate", zlib.finish().unwrap())];
        for (coding, packed) in &packed {
            for piece in [1, 7, usize::MAX] {
                let piece = piece.min(packed.len());
                assert_eq!(unpacked(coding, packed, piece, 1 << 20).unwrap(), text.as_bytes(), "{coding}");
            }
        }
        // Two members are one text.
        let two = [gzip(b"a"), gzip(b"b")].concat();
        assert_eq!(unpacked("gzip", &two, 3, 9).unwrap(), b"ab".as_slice());
        assert!(Unpacker::new(b"br", 9).is_none());
    }

    #[test]
    fn r13_what_unpacks_to_too_much_is_given_up_at_the_bound() {
        let zeros = gzip(&vec![0; 64 << 20]);
        let mut unpacker = Unpacker::new(b"gzip", 1 << 30).unwrap();
        let fault = zeros.chunks(16 << 10).find_map(|bytes| unpacker.take(bytes).err());
        assert!(matches!(fault, Some(Failure::Bomb { ratio_max: RATIO_MAX })), "{fault:?}");
        let kept = unpacker.sink().out.len() as u64;
        assert!(kept <= RATIO_MAX * (16 << 10), "{kept} bytes were kept of it");
        let text = gzip(&vec![b'a'; 5_000]);
        assert!(matches!(
            unpacked("gzip", &text, 100, 4_999),
            Err(Failure::BodyTooLarge { bytes_max: 4_999 })
        ));
        assert_eq!(unpacked("gzip", &text, 100, 5_000).unwrap().len(), 5_000);
    }

    #[test]
    fn what_is_no_packing_is_told() {
        let packed = gzip(b"{\"a\":1}");
        let mut flipped = packed.clone();
        let last = flipped.len() - 6;
        flipped[last] ^= 1;
        for bad in
            [&b"{\"a\":1}"[..], &packed[..packed.len() - 3], &[&packed[..], b"more"].concat(), &flipped]
        {
            assert!(matches!(unpacked("gzip", bad, 4, 100), Err(Failure::BadCompression)), "{bad:?}");
        }
    }
}
