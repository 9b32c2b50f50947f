//! One request head, line by line: everything that RFC 9112 demands and hyper forgives.
//!
//! The head may arrive in any pieces. What is checked once is not looked at again, so that a client that sends a large
//! head byte by byte costs no more than its bytes.

use super::Refusal;
use super::chars::{TOKEN, is_field_value, is_host, is_path_and_query, trim};

/// Longest method taken, in bytes.
const METHOD_BYTES_MAX: usize = 32;

/// Empty lines skipped before a request line (RFC 9112, 2.2).
const EMPTY_LINES_MAX: u8 = 2;

/// How long a `Content-Length` may be; hyper keeps the two numbers above for itself.
const LENGTH_MAX: u64 = u64::MAX - 2;

/// How large a head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes from the first line to the empty line, both included. Default 64 KiB.
    pub head_bytes_max: usize,
    /// Bytes of the request target. Default 8 KiB.
    pub target_bytes_max: usize,
    /// Header fields. Default 100, which is also the most that hyper takes.
    pub fields_max: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { head_bytes_max: 64 * 1024, target_bytes_max: 8 * 1024, fields_max: 100 }
    }
}

/// How the body behind a head is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFraming {
    Length(u64),
    Chunked,
}

/// Where a head stands after more of it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadStep {
    /// The empty line has not come yet.
    Partial,
    /// Good, and `bytes` long.
    Whole {
        bytes: usize,
        body: BodyFraming,
    },
    Refused(Refusal),
}

/// A head under way. Offsets are relative to its first byte.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one line of the head seen or not, in any order")]
pub(super) struct Head {
    line_starts: usize,
    searched: usize,
    empty_lines: u8,
    fields: usize,
    has_request_line: bool,
    is_http_11: bool,
    needs_length: bool,
    has_host: bool,
    is_chunked: bool,
    length: Option<u64>,
}

impl Head {
    /// Whether anything but empty lines was seen.
    pub(super) fn has_begun(&self) -> bool {
        self.has_request_line || self.searched > self.line_starts
    }

    /// Looks at what is new in `bytes`, which begins with the head's first byte and may go on past its end.
    pub(super) fn step(&mut self, bytes: &[u8], limits: &HeadLimits) -> HeadStep {
        match self.lines(bytes, limits) {
            Ok(step) => step,
            Err(refusal) => HeadStep::Refused(refusal),
        }
    }

    fn lines(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<HeadStep, Refusal> {
        loop {
            if !self.has_request_line
                && let Some(&first) = bytes.get(self.line_starts)
                && !(TOKEN[first as usize] || first == b'\r')
            {
                return Err(if first == b'\n' { Refusal::LineEnd } else { Refusal::RequestLine });
            }
            let Some(at) = bytes.get(self.searched..).and_then(|new| memchr::memchr(b'\n', new)) else {
                self.searched = bytes.len();
                self.check_unfinished_line(bytes, limits)?;
                return Ok(HeadStep::Partial);
            };
            let line_ends = self.searched + at;
            if line_ends >= limits.head_bytes_max {
                self.check_unfinished_line(&bytes[..limits.head_bytes_max], limits)?;
                return Err(Refusal::HeadTooLarge);
            }
            let [line @ .., b'\r'] = &bytes[self.line_starts..line_ends] else {
                self.check_unfinished_line(&bytes[..line_ends], limits)?;
                return Err(Refusal::LineEnd);
            };
            self.line_starts = line_ends + 1;
            self.searched = self.line_starts;

            if self.has_request_line && line.is_empty() {
                return self.finish().map(|body| HeadStep::Whole { bytes: line_ends + 1, body });
            } else if self.has_request_line {
                self.fields += 1;
                if self.fields > limits.fields_max {
                    return Err(Refusal::TooManyFields);
                }
                self.field(line)?;
            } else if line.is_empty() && self.empty_lines < EMPTY_LINES_MAX {
                self.empty_lines += 1;
            } else {
                self.request_line(line, limits)?;
                self.has_request_line = true;
            }
        }
    }

    /// Refuses what no further byte can make good, so that the answer does not wait for it.
    fn check_unfinished_line(&self, bytes: &[u8], limits: &HeadLimits) -> Result<(), Refusal> {
        let line = bytes.get(self.line_starts..).unwrap_or_default();
        if !self.has_request_line && line.len() > METHOD_BYTES_MAX {
            let (_, target) = split_method(line)?;
            let target = &target[..memchr::memchr(b' ', target).unwrap_or(target.len())];
            if target.len() > limits.target_bytes_max {
                return Err(Refusal::TargetTooLong);
            }
        }
        if bytes.len() >= limits.head_bytes_max { Err(Refusal::HeadTooLarge) } else { Ok(()) }
    }

    fn request_line(&mut self, line: &[u8], limits: &HeadLimits) -> Result<(), Refusal> {
        let (method, rest) = split_method(line)?;
        let Some(end) = memchr::memchr(b' ', rest) else {
            let too_long = rest.len() > limits.target_bytes_max;
            return Err(if too_long { Refusal::TargetTooLong } else { Refusal::RequestLine });
        };
        let (target, version) = (&rest[..end], &rest[end + 1..]);
        if target.len() > limits.target_bytes_max {
            return Err(Refusal::TargetTooLong);
        }
        self.is_http_11 = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            _ => return Err(Refusal::Version),
        };
        if matches!(method, b"CONNECT" | b"TRACE") {
            return Err(Refusal::Method);
        }
        let is_good = match target {
            b"*" => method == b"OPTIONS",
            [b'/', ..] => is_path_and_query(target),
            _ => false,
        };
        if !is_good {
            return Err(Refusal::Target);
        }
        self.needs_length = matches!(method, b"POST" | b"PUT" | b"PATCH");
        Ok(())
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Refusal> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Refusal::Folded);
        }
        let name_ends = line.iter().position(|&byte| !TOKEN[byte as usize]);
        let (name, value) = match name_ends {
            Some(end) if end > 0 && line[end] == b':' => (&line[..end], &line[end + 1..]),
            _ => return Err(Refusal::FieldName),
        };
        if !is_field_value(value) {
            // A carriage return that ends no line is a matter of line ends.
            let stray = memchr::memchr(b'\r', value).is_some();
            return Err(if stray { Refusal::LineEnd } else { Refusal::FieldValue });
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(trim(value)),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(trim(value)),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(trim(value)),
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.has_host {
            return Err(Refusal::HostRepeated);
        }
        self.has_host = true;
        if is_host(value) { Ok(()) } else { Err(Refusal::HostInvalid) }
    }

    fn content_length(&mut self, digits: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::LengthRepeated);
        }
        if digits.is_empty() {
            return Err(Refusal::LengthInvalid);
        }
        let mut length = 0_u64;
        for digit in digits {
            if !digit.is_ascii_digit() {
                return Err(Refusal::LengthInvalid);
            }
            length = length
                .checked_mul(10)
                .and_then(|length| length.checked_add(u64::from(digit - b'0')))
                .filter(|&length| length <= LENGTH_MAX)
                .ok_or(Refusal::LengthInvalid)?;
        }
        self.length = Some(length);
        Ok(())
    }

    fn transfer_encoding(&mut self, coding: &[u8]) -> Result<(), Refusal> {
        if self.is_chunked || !self.is_http_11 || !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::Coding);
        }
        self.is_chunked = true;
        Ok(())
    }

    fn finish(&self) -> Result<BodyFraming, Refusal> {
        if self.is_http_11 && !self.has_host {
            return Err(Refusal::HostMissing);
        }
        match (self.is_chunked, self.length) {
            (true, Some(_)) => Err(Refusal::TwoFramings),
            (true, None) => Ok(BodyFraming::Chunked),
            (false, Some(length)) => Ok(BodyFraming::Length(length)),
            (false, None) if self.needs_length => Err(Refusal::LengthRequired),
            (false, None) => Ok(BodyFraming::Length(0)),
        }
    }
}

fn split_method(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let start = &line[..line.len().min(METHOD_BYTES_MAX + 1)];
    match memchr::memchr(b' ', start) {
        Some(end) if end > 0 && line[..end].iter().all(|&byte| TOKEN[byte as usize]) => {
            Ok((&line[..end], &line[end + 1..]))
        }
        _ => Err(Refusal::RequestLine),
    }
}
