//! One blocking request, for verbs that ask a running gateway: plain HTTP/1.0 over a socket, everything bounded.
//!
//! The admin listener stands on loopback unless told otherwise, so there is no TLS here; where it has some, `curl` is
//! the tool, and the message says so.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use http::Uri;

/// How long connecting, and each read and write, may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer that is read, headers included, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Why a request gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an address that can be asked.
    #[error("{0:?} is not a URL like http://127.0.0.1:9464")]
    Url(String),
    /// TLS is not spoken here.
    #[error(
        "{0:?} wants TLS, which this verb does not speak; use the admin listener's http address, or curl"
    )]
    Tls(String),
    /// The connection failed.
    #[error("cannot ask {at}: {source}; is the gateway running, and is this its admin address?")]
    Io {
        /// Host and port.
        at: String,
        /// What failed.
        source: io::Error,
    },
    /// What came back is no whole HTTP answer.
    #[error("{at} did not answer in HTTP: {problem}")]
    Answer {
        /// Host and port.
        at: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status code.
    pub(super) status: u16,
    /// The body.
    pub(super) body: Vec<u8>,
}

/// Asks `base` (`http://127.0.0.1:9464`) for `path`, its query included; `token` goes into `authorization`.
pub(super) fn get(base: &str, path: &str, token: Option<&str>) -> Result<Answer, Error> {
    ask("GET", base, path, token, None)
}

/// As [`get`], with any method, and a body of JSON if there is one.
pub(super) fn ask(
    method: &str,
    base: &str,
    path: &str,
    token: Option<&str>,
    body: Option<&[u8]>,
) -> Result<Answer, Error> {
    let url = || Error::Url(base.to_owned());
    let uri: Uri = base.parse().map_err(|_| url())?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(Error::Tls(base.to_owned())),
        _ => return Err(url()),
    }
    let authority = uri.authority().ok_or_else(url)?;
    let port = authority.port_u16().unwrap_or(80);
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let at = format!("{}:{port}", authority.host());
    let failed = |source| Error::Io { at: at.clone(), source };
    let prefix = uri.path().trim_end_matches('/');
    let bearer = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
    let typed = body.map_or_else(String::new, |body| {
        format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())
    });
    // In HTTP/1.0 the answer ends with the connection, and never comes in chunks.
    let head = format!(
        "{method} {prefix}{path} HTTP/1.0\r\nhost: {at}\r\naccept: application/json\r\n{bearer}{typed}\r\n"
    );
    let request = [head.as_bytes(), body.unwrap_or_default()].concat();
    let answer = exchange(host, port, &request).map_err(failed)?;
    parse(&answer).map_err(|problem| Error::Answer { at: at.clone(), problem })
}

/// The message of an error in the gateway's envelope, or the beginning of whatever came.
pub(super) fn message_in(body: &[u8]) -> String {
    let envelope: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = envelope.as_ref().and_then(|value| value["error"]["message"].as_str());
    message.map_or_else(|| String::from_utf8_lossy(body).chars().take(200).collect(), str::to_owned)
}

/// `text` for use in a query: everything but letters, digits and `-._~` as `%XX`.
pub(super) fn query_escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

fn exchange(host: &str, port: u16, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        let mut stream = match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => stream,
            Err(error) => {
                last = error;
                continue;
            }
        };
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.write_all(request)?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        return Ok(answer);
    }
    Err(last)
}

fn parse(answer: &[u8]) -> Result<Answer, &'static str> {
    let head_end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or("its headers do not end")?;
    let head = std::str::from_utf8(&answer[..head_end]).map_err(|_| "its headers are not text")?;
    let body = &answer[head_end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1."))
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or("its first line has no status")?;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") && value.trim().parse() != Ok(body.len()) {
            return Err("its body is cut short");
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("it came in chunks, which HTTP/1.0 does not have");
        }
    }
    Ok(Answer { status, body: body.to_vec() })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Serves `answer` once and hands back what was asked.
    fn serve(answer: &'static [u8]) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.extend(byte);
            }
            stream.write_all(answer).unwrap();
            String::from_utf8(asked).unwrap()
        });
        (base, served)
    }

    #[test]
    fn an_answer_comes_back_whole() {
        let (base, served) = serve(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        let answer = get(&format!("{base}/"), "/admin/v1/explain?model=a%2Fb", Some("secret")).unwrap();
        assert_eq!(answer, Answer { status: 200, body: b"{}".to_vec() });
        let asked = served.join().unwrap();
        assert!(
            asked.starts_with("GET /admin/v1/explain?model=a%2Fb HTTP/1.0\r\nhost: 127.0.0.1:"),
            "{asked}"
        );
        assert!(asked.contains("\r\nauthorization: Bearer secret\r\n"), "{asked}");
    }

    #[test]
    fn a_broken_answer_is_an_error() {
        for (answer, words) in [
            (&b""[..], "headers do not end"),
            (b"SSH-2.0-x\r\n\r\n", "no status"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{}", "cut short"),
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "chunks"),
        ] {
            let (base, served) = serve(answer);
            let error = get(&base, "/", None).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            served.join().unwrap();
        }
    }

    #[test]
    fn an_odd_url_says_what_would_do() {
        for (base, words) in [
            ("127.0.0.1:9464", "is not a URL like http://127.0.0.1:9464"),
            ("ftp://a", "is not a URL"),
            ("https://a", "wants TLS"),
            ("", "is not a URL"),
        ] {
            let error = get(base, "/", None).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        // A port that was free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = get(&format!("http://{free}"), "/", None).unwrap_err().to_string();
        assert!(error.contains("is the gateway running"), "{error}");
    }

    #[test]
    fn a_query_is_escaped() {
        assert_eq!(query_escaped("tier=a b&c/é~"), "tier%3Da%20b%26c%2F%C3%A9~");
    }
}
