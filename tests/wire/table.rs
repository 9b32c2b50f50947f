//! RFC 9112, sections 2, 3, 5, 6 and 7, as rows: what must be served, what must not, and what its first answer is.

use tollway::gateway::framing::{BodyFault, Refusal};

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// So many requests are served, and the connection is none the worse.
    Served(u64),
    /// So many are served, and the next is refused.
    Refused(u64, Refusal),
    /// So many reach the service, the last with a body that breaks off.
    Faulted(u64, BodyFault),
}

/// Some bytes of a client and what becomes of them.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) fate: Fate,
}

/// A request that no refused row may carry past the gateway.
pub(crate) const HIDDEN: &[u8] = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";

/// A good request in front of others.
pub(crate) const FIRST: &[u8] = b"POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";

fn row(what: &str, bytes: impl AsRef<[u8]>, fate: Fate) -> Row {
    Row { what: what.to_owned(), bytes: bytes.as_ref().to_vec(), fate }
}

fn refused(what: &str, bytes: impl AsRef<[u8]>, refusal: Refusal) -> Row {
    row(what, bytes, Fate::Refused(0, refusal))
}

fn served(what: &str, bytes: impl AsRef<[u8]>) -> Row {
    row(what, bytes, Fate::Served(1))
}

/// All rows.
pub(crate) fn rows() -> Vec<Row> {
    [request_lines(), targets(), fields(), hosts(), lengths(), chunks(), sizes(), sequences()]
        .into_iter()
        .flatten()
        .collect()
}

fn request_lines() -> Vec<Row> {
    use Refusal::{LineEnd, Method, RequestLine, Version};
    let line = |what: &str, line: &str, refusal| {
        refused(what, format!("{line}\r\nHost: a\r\nContent-Length: 0\r\n\r\n"), refusal)
    };
    vec![
        served("plain", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        served("empty line before", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        served("HTTP/1.0 without host", "GET / HTTP/1.0\r\n\r\n"),
        served("HTTP/1.0 with length", "POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi"),
        served("unknown method", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n"),
        served("HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"),
        served("DELETE without length", "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n"),
        line("three empty lines before", "\r\n\r\n\r\nGET / HTTP/1.1", RequestLine),
        line("empty line by line feed", "\nGET / HTTP/1.1", LineEnd),
        line("leading space", " GET / HTTP/1.1", RequestLine),
        line("two spaces before target", "GET  / HTTP/1.1", Version),
        line("two spaces after target", "GET /  HTTP/1.1", Version),
        line("trailing space", "GET / HTTP/1.1 ", Version),
        line("tab for space", "GET\t/\tHTTP/1.1", RequestLine),
        line("no version", "GET /", RequestLine),
        line("no target", "GET HTTP/1.1", RequestLine),
        line("empty method", " / HTTP/1.1", RequestLine),
        line("method not a token", "GE(T / HTTP/1.1", RequestLine),
        line("control in method", "GE\x01T / HTTP/1.1", RequestLine),
        line("method too long", &format!("{} / HTTP/1.1", "M".repeat(33)), RequestLine),
        line("HTTP/0.9", "GET / HTTP/0.9", Version),
        line("HTTP/1.2", "GET / HTTP/1.2", Version),
        line("HTTP/2.0", "GET / HTTP/2.0", Version),
        line("HTTP/11.1", "GET / HTTP/11.1", Version),
        line("HTTP/1.10", "GET / HTTP/1.10", Version),
        line("lower case http", "GET / http/1.1", Version),
        line("other protocol", "GET / ICE/1.1", Version),
        line("CONNECT", "CONNECT a:443 HTTP/1.1", Method),
        line("CONNECT to a path", "CONNECT / HTTP/1.1", Method),
        line("TRACE", "TRACE / HTTP/1.1", Method),
        line("half a preface", "PRI * HTTP/2.0", Version),
        line("return in line", "GET /\rHTTP/1.1", RequestLine),
        refused("line feed ends request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", LineEnd),
        refused("TLS to a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", RequestLine),
        refused("NUL", b"\0", RequestLine),
    ]
}

fn targets() -> Vec<Row> {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut rows = vec![
        served("query", get("/v1/models?a=b&c=%20d")),
        served("double slash stays", get("//v1//models")),
        served("dots stay", get("/v1/../x/./y")),
        served("escaped slash stays", get("/v1%2Fmodels")),
        served("OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ];
    rows.extend(
        [
            "http://a/v1",
            "https://other/v1",
            "a:80",
            "*",
            "v1",
            "/v1#fragment",
            "#",
            "/a\\b",
            "/a\"b",
            "/a<b",
            "/a`b",
            "/a{b}",
            "/a|b",
            "/a^b",
            "/%",
            "/%g1",
            "/%1",
            "/\u{e9}",
            "/\x7f",
            "/\x01",
            "\\",
            "?x",
        ]
        .map(|target| refused(&format!("target {target:?}"), get(target), Refusal::Target)),
    );
    rows
}

fn fields() -> Vec<Row> {
    use Refusal::{FieldName, FieldValue, Folded, LineEnd};
    let with = |field: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\nX: y\r\n\r\n");
    vec![
        served("no space after colon", with("A:b")),
        served("much space around value", with("A: \t b \t ")),
        served("empty value", with("A:")),
        served("token characters", with("!#$%&'*+-.^_`|~09az: x")),
        served("bytes over 127", with("A: \u{e9}\u{20ac}")),
        served("tab in value", with("A: b\tc")),
        served("upgrade", with("Connection: upgrade\r\nUpgrade: websocket")),
        refused("space before colon", with("A : b"), FieldName),
        refused("tab before colon", with("A\t: b"), FieldName),
        refused("no colon", with("A"), FieldName),
        refused("no name", with(": b"), FieldName),
        refused("space in name", with("A B: c"), FieldName),
        refused("parenthesis in name", with("A(: c"), FieldName),
        refused("byte over 127 in name", with("\u{e9}: c"), FieldName),
        refused("NUL in name", with("A\0: c"), FieldName),
        refused("NUL in value", with("A: b\0c"), FieldValue),
        refused("escape in value", with("A: \x1b[m"), FieldValue),
        refused("delete in value", with("A: \x7f"), FieldValue),
        refused("vertical tab in value", with("A: \x0b"), FieldValue),
        refused("return in value", with("A: b\rc"), LineEnd),
        refused("two returns", with("A: b\r"), LineEnd),
        refused("return in name", with("A\r: b"), FieldName),
        refused("line feed ends field", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", LineEnd),
        refused("line feeds only", "GET / HTTP/1.1\nHost: a\n\n", LineEnd),
        refused("line feed ends head", "GET / HTTP/1.1\r\nHost: a\r\n\n", LineEnd),
        refused("line feed hides a field", with("A: b\nTransfer-Encoding: chunked"), LineEnd),
        refused("folded by space", with("A: b\r\n c"), Folded),
        refused("folded by tab", with("A: b\r\n\tc"), Folded),
        refused("space before first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", Folded),
        refused("line of spaces", with("  "), Folded),
        refused("folded coding", with("Transfer-Encoding:\r\n chunked"), Refusal::Coding),
    ]
}

fn hosts() -> Vec<Row> {
    use Refusal::{HostInvalid, HostMissing, HostRepeated};
    let with = |hosts: &str| format!("GET / HTTP/1.1\r\nA: b\r\n{hosts}\r\n");
    vec![
        served("host and port", with("Host: a.example:8080\r\n")),
        served("host in other case", with("hOsT: a\r\n")),
        served("IPv6 host", with("Host: [::1]:80\r\n")),
        refused("no host", with(""), HostMissing),
        refused("two hosts", with("Host: a\r\nHost: b\r\n"), HostRepeated),
        refused("same host twice", with("Host: a\r\nhost: a\r\n"), HostRepeated),
        refused("empty host", with("Host:\r\n"), HostInvalid),
        refused("list of hosts", with("Host: a, b\r\n"), HostInvalid),
        refused("host with path", with("Host: a/b\r\n"), HostInvalid),
        refused("host with user", with("Host: u@a\r\n"), HostInvalid),
        refused("host with scheme", with("Host: http://a\r\n"), HostInvalid),
        refused("host with bad port", with("Host: a:80x\r\n"), HostInvalid),
        refused("host with huge port", with("Host: a:65536\r\n"), HostInvalid),
        refused("bad host in 1.0", "GET / HTTP/1.0\r\nHost: a b\r\n\r\n", HostInvalid),
        refused("two hosts in 1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", HostRepeated),
    ]
}

fn lengths() -> Vec<Row> {
    use Refusal::{Coding, LengthInvalid, LengthRepeated, LengthRequired, TwoFramings};
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n");
    let mut rows = vec![
        served("length 0", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
        served("length with zeros", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0005\r\n\r\nhello"),
        served("GET with body", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
        served("chunked", post("Transfer-Encoding: chunked")),
        served("chunked in other case", post("transfer-encoding: \t CHUNKED ")),
        refused("both", post("Content-Length: 5\r\nTransfer-Encoding: chunked"), TwoFramings),
        refused("both, other order", post("Transfer-Encoding: chunked\r\nContent-Length: 5"), TwoFramings),
        refused("equal lengths", post("Content-Length: 5\r\nContent-Length: 5"), LengthRepeated),
        refused("differing lengths", post("Content-Length: 5\r\nContent-Length: 0"), LengthRepeated),
        refused("coding in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Coding),
        refused("coding twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), Coding),
        refused("coding then other", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip"), Coding),
        refused("space in coding's name", post("Transfer-Encoding : chunked"), Refusal::FieldName),
        refused("POST without length", "POST / HTTP/1.1\r\nHost: a\r\n\r\n", LengthRequired),
        refused("PUT without length", "PUT / HTTP/1.1\r\nHost: a\r\n\r\n", LengthRequired),
        refused("PATCH without length", "PATCH / HTTP/1.1\r\nHost: a\r\n\r\n", LengthRequired),
        refused("POST without length in 1.0", "POST / HTTP/1.0\r\n\r\n", LengthRequired),
    ];
    let bad =
        ["", "+5", "-5", "5,5", "5, 5", "5 5", "0x5", "5.0", "1e1", "five", "\u{b2}", "18446744073709551614"];
    rows.extend(bad.map(|length| {
        refused(&format!("length {length:?}"), post(&format!("Content-Length: {length}")), LengthInvalid)
    }));
    let bad = [
        "",
        "gzip",
        "identity",
        "chunked, chunked",
        "gzip, chunked",
        "chunked, gzip",
        "chunked,",
        ",chunked",
        "\"chunked\"",
        "chunked;q=1",
        "xchunked",
        "chunke\u{fe}d",
        "chunked chunked",
    ];
    rows.extend(bad.map(|coding| {
        refused(&format!("coding {coding:?}"), post(&format!("Transfer-Encoding: {coding}")), Coding)
    }));
    rows
}

fn chunks() -> Vec<Row> {
    use BodyFault::{ChunkEnd, ChunkExtension, ChunkSize, Trailer, TrailerTooLarge};
    let post = |body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let good = |what: &str, body: &str| served(what, post(body));
    let bad = |what: &str, body: &str, fault| row(what, post(body), Fate::Faulted(1, fault));
    vec![
        good("two chunks", "5\r\nhello\r\nA\r\n, everyone\r\n0\r\n\r\n"),
        good("16 digits", "0000000000000005\r\nhello\r\n0\r\n\r\n"),
        good("extension", "5;a=b;c=\"d e\"\r\nhello\r\n0;x\r\n\r\n"),
        good("many zeros end", "5\r\nhello\r\n0000\r\n\r\n"),
        good("trailers", "5\r\nhello\r\n0\r\nA: b\r\nC:\r\n\r\n"),
        good("data looks like framing", "7\r\n0\r\n\r\nGE\r\n0\r\n\r\n"),
        bad("no size", "\r\nhello\r\n0\r\n\r\n", ChunkSize),
        bad("size not hexadecimal", "g\r\nhello\r\n0\r\n\r\n", ChunkSize),
        bad("size with sign", "+5\r\nhello\r\n0\r\n\r\n", ChunkSize),
        bad("negative size", "-5\r\nhello\r\n0\r\n\r\n", ChunkSize),
        bad("size with prefix", "0x5\r\nhello\r\n0\r\n\r\n", ChunkSize),
        bad("size with underscore", "1_0\r\n0123456789012345\r\n0\r\n\r\n", ChunkSize),
        bad("17 digits", "00000000000000005\r\nhello\r\n0\r\n\r\n", ChunkSize),
        bad("size over 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n", ChunkSize),
        bad("space before size", " 5\r\nhello\r\n0\r\n\r\n", ChunkSize),
        bad("space after size", "5 \r\nhello\r\n0\r\n\r\n", ChunkSize),
        bad("tab after size", "5\t\r\nhello\r\n0\r\n\r\n", ChunkSize),
        bad("line feed after size", "5\nhello\r\n0\r\n\r\n", ChunkSize),
        bad("return alone after size", "5\rhello\r\n0\r\n\r\n", ChunkEnd),
        bad("line feed in extension", "5;a\nb\r\nhello\r\n0\r\n\r\n", ChunkExtension),
        bad("return in extension", "5;a\rb\r\nhello\r\n0\r\n\r\n", ChunkEnd),
        bad("NUL in extension", "5;\0\r\nhello\r\n0\r\n\r\n", ChunkExtension),
        bad("endless extension", &format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(4097)), ChunkExtension),
        bad("size too small", "4\r\nhello\r\n0\r\n\r\n", ChunkEnd),
        bad("size too large", "6\r\nhello\r\n0\r\n\r\n", ChunkEnd),
        bad("line feed after data", "5\r\nhello\n0\r\n\r\n", ChunkEnd),
        bad("nothing after data", "5\r\nhello0\r\n\r\n", ChunkEnd),
        bad("line feed at the end", "0\r\n\n", Trailer),
        bad("return without line feed at the end", "0\r\n\rGET", ChunkEnd),
        bad("request for trailers", "0\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n", Trailer),
        bad("folded trailer", "0\r\nA: b\r\n c\r\n\r\n", Trailer),
        bad("trailer without name", "0\r\n: b\r\n\r\n", Trailer),
        bad("line feed ends trailer", "0\r\nA: b\n\r\n", Trailer),
        bad("NUL in trailer", "0\r\nA: \0\r\n\r\n", Trailer),
        bad("many trailers", &format!("0\r\n{}\r\n", "A: b\r\n".repeat(33)), TrailerTooLarge),
        bad("long trailer", &format!("0\r\nA: {}\r\n\r\n", "x".repeat(8192)), TrailerTooLarge),
    ]
}

fn sizes() -> Vec<Row> {
    use Refusal::{HeadTooLarge, TargetTooLong, TooManyFields};
    let target = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(bytes - 1));
    let fields = |more: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(more));
    let head = |bytes: usize| {
        let frame = "GET / HTTP/1.1\r\nHost: a\r\nA: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "x".repeat(bytes - frame))
    };
    vec![
        served("target at the limit", target(8 * 1024)),
        refused("target over the limit", target(8 * 1024 + 1), TargetTooLong),
        refused("endless target", format!("GET /{}", "x".repeat(9 * 1024)), TargetTooLong),
        served("fields at the limit", fields(99)),
        refused("fields over the limit", fields(100), TooManyFields),
        served("head at the limit", head(64 * 1024)),
        refused("head over the limit", head(64 * 1024 + 1), HeadTooLarge),
        refused("endless field", format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(65 * 1024)), HeadTooLarge),
    ]
}

fn sequences() -> Vec<Row> {
    let after = |rest: &str| [FIRST, rest.as_bytes()].concat();
    vec![
        row("two in a row", [FIRST, HIDDEN].concat(), Fate::Served(2)),
        row("empty line between", after("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), Fate::Served(2)),
        row("bytes after an upgrade", [
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
            HIDDEN,
        ].concat(), Fate::Served(2)),
        row("good, then bad", after("GET / HTTP/1.1\r\n\r\n"), Fate::Refused(1, Refusal::HostMissing)),
        row("body longer than said", after("x\r\n\r\n"), Fate::Refused(1, Refusal::RequestLine)),
        row("preface in the middle", after("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Fate::Refused(1, Refusal::Version)),
        row(
            "good, then a bad chunk",
            after("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"),
            Fate::Faulted(2, BodyFault::ChunkSize),
        ),
    ]
}
