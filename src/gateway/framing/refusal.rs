//! Why a request is refused before it is one: for the log and metrics a code, for the caller what to mend.

use http::StatusCode;

/// A head that is not served. The connection closes after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The first line is not `method target HTTP/1.x`, with single spaces.
    #[error("the request line is malformed: send `METHOD /path HTTP/1.1` with single spaces")]
    RequestLine,
    /// Another version than 1.0 and 1.1, or one badly written.
    #[error("the HTTP version is not supported: use HTTP/1.1, or HTTP/2 from the first byte on")]
    Version,
    /// `CONNECT` or `TRACE`, which a gateway to fixed places has no use for.
    #[error("the method is not allowed: CONNECT and TRACE are never served here")]
    Method,
    /// Not a plain path: an absolute URL, a bare authority, a fragment, or a character that needs an escape.
    #[error(
        "the request target is invalid: send a path that starts with `/`, percent-encoded and without `#`"
    )]
    Target,
    /// A target over the limit.
    #[error("the request target is too long: shorten the path or the query")]
    TargetTooLong,
    /// A line that ends in a bare line feed, or a carriage return inside one.
    #[error("a line of the head does not end in CR LF")]
    LineEnd,
    /// A header field over several lines, or white space before its name.
    #[error("a header field is folded: send each field on one line")]
    Folded,
    /// A field without a name or colon, or with a character in its name that names may not have.
    #[error("a header field has an invalid name: send `Name: value` without a space before the colon")]
    FieldName,
    /// A control character in a field's value.
    #[error("a header field has an invalid value: control characters are not allowed")]
    FieldValue,
    /// No `Host` in HTTP/1.1, or neither `:authority` nor `Host` in HTTP/2.
    #[error("the Host header is missing: send exactly one")]
    HostMissing,
    /// More than one `Host`, or two names for the host that differ.
    #[error("more than one host is named: send exactly one Host header")]
    HostRepeated,
    /// A `Host` that is not `name[:port]`.
    #[error("the Host header is invalid: send `name` or `name:port`")]
    HostInvalid,
    /// `Content-Length` more than once, even with the same value.
    #[error("Content-Length is given more than once: send it once")]
    LengthRepeated,
    /// A `Content-Length` that is not plain digits within range.
    #[error("Content-Length is invalid: send one decimal number")]
    LengthInvalid,
    /// Another coding than `chunked`, `chunked` not once, or any in HTTP/1.0.
    #[error("Transfer-Encoding is invalid: send `chunked` once, in HTTP/1.1, or Content-Length instead")]
    Coding,
    /// Two ways to tell where the body ends.
    #[error("both Content-Length and Transfer-Encoding are given: send one of them")]
    TwoFramings,
    /// A method that has a body, without its length.
    #[error("the body's length is missing: send Content-Length, or Transfer-Encoding: chunked")]
    LengthRequired,
    /// A head over the limit in bytes.
    #[error("the request head is too large: send fewer or shorter header fields")]
    HeadTooLarge,
    /// More header fields than allowed.
    #[error("the request has too many header fields")]
    TooManyFields,
    /// A head that did not arrive whole in time.
    #[error("the request head did not arrive in time")]
    HeadTimeout,
    /// A connection past the limit on how many are served at once.
    #[error("too many connections are open: try again shortly")]
    Connections,
}

impl Refusal {
    /// The answer's status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::LengthRequired => StatusCode::LENGTH_REQUIRED,
            Self::HeadTooLarge | Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Connections => StatusCode::SERVICE_UNAVAILABLE,
            Self::RequestLine
            | Self::Version
            | Self::Target
            | Self::LineEnd
            | Self::Folded
            | Self::FieldName
            | Self::FieldValue
            | Self::HostMissing
            | Self::HostRepeated
            | Self::HostInvalid
            | Self::LengthRepeated
            | Self::LengthInvalid
            | Self::Coding
            | Self::TwoFramings => StatusCode::BAD_REQUEST,
        }
    }

    /// A stable name, for the error body's `code` and as a metric label.
    pub fn code(self) -> &'static str {
        match self {
            Self::RequestLine => "invalid_request_line",
            Self::Version => "unsupported_http_version",
            Self::Method => "method_not_allowed",
            Self::Target => "invalid_request_target",
            Self::TargetTooLong => "request_target_too_long",
            Self::LineEnd => "invalid_line_end",
            Self::Folded => "folded_header",
            Self::FieldName => "invalid_header_name",
            Self::FieldValue => "invalid_header_value",
            Self::HostMissing => "missing_host",
            Self::HostRepeated => "repeated_host",
            Self::HostInvalid => "invalid_host",
            Self::LengthRepeated => "repeated_content_length",
            Self::LengthInvalid => "invalid_content_length",
            Self::Coding => "invalid_transfer_encoding",
            Self::TwoFramings => "ambiguous_framing",
            Self::LengthRequired => "length_required",
            Self::HeadTooLarge => "request_head_too_large",
            Self::TooManyFields => "too_many_header_fields",
            Self::HeadTimeout => "request_head_timeout",
            Self::Connections => "too_many_connections",
        }
    }
}

/// What is wrong within a chunked body whose head was good. The request is answered with 400 and the connection closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BodyFault {
    /// A chunk size that is not 1 to 16 hexadecimal digits.
    #[error("a chunk size is invalid: send 1 to 16 hexadecimal digits and CR LF")]
    ChunkSize,
    /// A chunk extension with a control character, or extensions over the limit.
    #[error("a chunk extension is invalid or too long")]
    ChunkExtension,
    /// A line within the chunked framing that does not end in CR LF, or chunk data that does not end where its size says.
    #[error("a chunk does not end in CR LF where its size says")]
    ChunkEnd,
    /// A trailer field that is malformed.
    #[error("a trailer field is malformed")]
    Trailer,
    /// Trailer fields over the limit in number or bytes.
    #[error("the trailer fields are too many or too long")]
    TrailerTooLarge,
}

impl BodyFault {
    /// A stable name, for the error body's `code` and as a metric label.
    pub fn code(self) -> &'static str {
        match self {
            Self::ChunkSize => "invalid_chunk_size",
            Self::ChunkExtension => "invalid_chunk_extension",
            Self::ChunkEnd => "invalid_chunk_end",
            Self::Trailer => "invalid_trailer",
            Self::TrailerTooLarge => "trailer_too_large",
        }
    }
}
