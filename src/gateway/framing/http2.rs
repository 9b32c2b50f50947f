//! The same demands on an HTTP/2 request, whose framing its own layer has checked already.

use http::header::HOST;
use http::{Method, Request};

use super::chars::{is_host, is_path_and_query};
use super::{HeadLimits, Refusal};

/// Why this HTTP/2 request is not served, if it is not.
///
/// A fragment in `:path` can't be told here, as the library cuts it off; what is left is a path like any other.
pub fn refusal_of<B>(request: &Request<B>, limits: &HeadLimits) -> Option<Refusal> {
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    if target.len() > limits.target_bytes_max {
        return Some(Refusal::TargetTooLong);
    }
    if request.headers().len() > limits.fields_max {
        return Some(Refusal::TooManyFields);
    }
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Some(Refusal::Method);
    }
    let is_good = match target.as_bytes() {
        b"*" => request.method() == Method::OPTIONS,
        path @ [b'/', ..] => is_path_and_query(path),
        _ => false,
    };
    if !is_good {
        return Some(Refusal::Target);
    }
    refusal_of_host(request)
}

fn refusal_of_host<B>(request: &Request<B>) -> Option<Refusal> {
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let mut hosts = request.headers().get_all(HOST).iter().map(http::HeaderValue::as_bytes);
    let (host, second) = (hosts.next(), hosts.next());
    match (authority.or(host), host) {
        (None, _) => Some(Refusal::HostMissing),
        _ if second.is_some() => Some(Refusal::HostRepeated),
        (Some(name), Some(host)) if !name.eq_ignore_ascii_case(host) => Some(Refusal::HostRepeated),
        (Some(name), _) if !is_host(name) => Some(Refusal::HostInvalid),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> Option<Refusal> {
        let request = build(Request::builder()).body(()).expect("a request");
        refusal_of(&request, &HeadLimits::default())
    }

    #[test]
    fn r02_http2_requests_name_one_host_and_a_plain_path() {
        assert_eq!(refusal(|r| r.uri("http://a/v1/models?x=1")), None);
        assert_eq!(refusal(|r| r.uri("http://a/v1").header("host", "A")), None);
        assert_eq!(refusal(|r| r.uri("/v1").header("host", "a:80")), None);
        assert_eq!(refusal(|r| r.uri("/v1")), Some(Refusal::HostMissing));
        assert_eq!(refusal(|r| r.uri("http://a/v1").header("host", "b")), Some(Refusal::HostRepeated));
        assert_eq!(
            refusal(|r| r.uri("/v1").header("host", "a").header("host", "a")),
            Some(Refusal::HostRepeated)
        );
        assert_eq!(refusal(|r| r.uri("http://u@a/v1")), Some(Refusal::HostInvalid));
        assert_eq!(refusal(|r| r.uri("http://a/v1\"x")), Some(Refusal::Target));
        assert_eq!(refusal(|r| r.method("CONNECT").uri("a:443")), Some(Refusal::Method));
        assert_eq!(refusal(|r| r.method("TRACE").uri("http://a/")), Some(Refusal::Method));
        assert_eq!(
            refusal(|r| r.uri(format!("http://a/{}", "x".repeat(8 * 1024)))),
            Some(Refusal::TargetTooLong)
        );
        assert_eq!(
            refusal(|r| (0..101).fold(r.uri("http://a/"), |r, i| r.header(format!("x{i}"), "y"))),
            Some(Refusal::TooManyFields)
        );
    }
}
