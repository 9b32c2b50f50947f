//! Heads: ours, written, and the provider's, found in the bytes that arrive and read strictly.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Uri};

use super::Fault;
use super::framing::Decoder;

/// Longest head of an answer, those of informational answers before it included, in bytes: what a caller's may be, too.
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most fields of a head.
const FIELDS_MAX: usize = 100;

/// The head of a request to `uri` with a body of `body_bytes`.
pub(super) fn request(method: &Method, uri: &Uri, headers: &HeaderMap, body_bytes: u64) -> Vec<u8> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let mut head = Vec::with_capacity(512);
    let mut line = |parts: &[&[u8]]| {
        for part in parts {
            head.extend_from_slice(part);
        }
        head.extend_from_slice(b"\r\n");
    };
    line(&[method.as_str().as_bytes(), b" ", target.as_bytes(), b" HTTP/1.1"]);
    for (name, value) in headers {
        // The framing is ours alone.
        if name != header::CONTENT_LENGTH && name != header::TRANSFER_ENCODING && name != header::HOST {
            line(&[name.as_str().as_bytes(), b": ", value.as_bytes()]);
        }
    }
    let host = uri.host().unwrap_or_default();
    let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    match uri.port_u16().filter(|port| *port != usual) {
        Some(port) => line(&[format!("host: {host}:{port}").as_bytes()]),
        None => line(&[b"host: ", host.as_bytes()]),
    }
    if body_bytes > 0 || method == Method::POST {
        line(&[format!("content-length: {body_bytes}").as_bytes()]);
    }
    line(&[]);
    head
}

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Decoder,
    /// Whether the connection may be used again behind the body.
    pub(super) keeps_alive: bool,
}

/// Finds the head of the final answer in what arrives.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    /// A head that no read completed.
    begun: Vec<u8>,
    /// How many bytes came in all, and how many of `begun` were looked at.
    bytes: usize,
    seen: usize,
    /// Where the line begins that is being looked at.
    line: usize,
}

impl HeadReader {
    /// Takes what was `read`. With the final head come the bytes of `read` that stand behind it.
    pub(super) fn take<'r>(&mut self, read: &'r [u8]) -> Result<Option<(Head, &'r [u8])>, Fault> {
        let mut begun = std::mem::take(&mut self.begun);
        let bytes = if begun.is_empty() {
            read
        } else {
            begun.extend_from_slice(read);
            &begun
        };
        self.bytes += read.len();
        let mut start = 0;
        while let Some(end) = self.end(bytes)? {
            let rest = bytes.len() - end;
            if self.bytes - rest > HEAD_BYTES_MAX {
                return Err(Fault::HeadTooLarge);
            }
            let head = parsed(&bytes[start..end])?;
            (start, self.line) = (end, end);
            if let Some(head) = head {
                // A head ends within the read that completes it.
                return Ok(Some((head, &read[read.len() - rest..])));
            }
        }
        if self.bytes > HEAD_BYTES_MAX {
            return Err(Fault::HeadTooLarge);
        }
        (self.seen, self.line) = (self.seen - start, self.line - start);
        if begun.is_empty() {
            begun.extend_from_slice(&read[start..]);
        } else {
            begun.drain(..start);
        }
        self.begun = begun;
        Ok(None)
    }

    /// Where the next head in `bytes` ends, behind its blank line.
    fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        while let Some(found) = memchr::memchr(b'\n', &bytes[self.seen..]) {
            let at = self.seen + found;
            // A line ends in CR LF and in nothing else.
            if at == self.line || bytes[at - 1] != b'\r' {
                return Err(Fault::Head);
            }
            let is_blank = at == self.line + 1;
            (self.seen, self.line) = (at + 1, at + 1);
            if is_blank {
                return Ok(Some(at + 1));
            }
        }
        self.seen = bytes.len();
        Ok(None)
    }
}

/// The head in `bytes`, which end with its blank line; none for an informational one.
fn parsed(bytes: &[u8]) -> Result<Option<Head>, Fault> {
    let mut fields = [MaybeUninit::uninit(); FIELDS_MAX];
    let mut read = httparse::Response::new(&mut []);
    // Strict as it is: no folded lines, no space before a colon.
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut read, bytes, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        _ => return Err(Fault::Head),
    }
    let status = read.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Fault::Head)?;
    let is_http10 = read.version == Some(0);
    match status {
        StatusCode::SWITCHING_PROTOCOLS => return Err(Fault::Upgrade),
        _ if status.is_informational() => return if is_http10 { Err(Fault::Head) } else { Ok(None) },
        _ => {}
    }
    // One allocation for all values.
    let all = Bytes::copy_from_slice(bytes);
    let mut headers = HeaderMap::with_capacity(read.headers.len());
    for field in &*read.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Fault::Head)?;
        let value =
            HeaderValue::from_maybe_shared(all.slice(within(bytes, field.value))).map_err(|_| Fault::Head)?;
        headers.append(name, value);
    }
    let body = Decoder::of(status, is_http10, &headers)?;
    let keeps_alive = body.is_delimited()
        && !has_option(&headers, "close")
        && (!is_http10 || has_option(&headers, "keep-alive"));
    Ok(Some(Head { status, headers, body, keeps_alive }))
}

/// Where `part` stands in `whole`, of which it is a part.
fn within(whole: &[u8], part: &[u8]) -> std::ops::Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr()).min(whole.len() - part.len());
    start..start + part.len()
}

/// Whether `Connection` names `option`.
fn has_option(headers: &HeaderMap, option: &str) -> bool {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(option))
}
