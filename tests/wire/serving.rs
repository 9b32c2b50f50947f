//! What is good is served: pipelined, over HTTP/2 by prior knowledge, and over TLS by ALPN.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tollway::gateway::framing::RequestBody;
use tollway::gateway::listener::{ConnInfo, ListenerSettings, Protocol};
use tollway::gateway::tls::{self, TlsReload};

use crate::peer::{LONG, Record, answers, exchange, full, recorder, start, start_with};

#[tokio::test]
async fn r01_pipelined_requests_are_served_in_order() {
    let server = start(ListenerSettings::default());
    let mut bytes = Vec::new();
    for n in 0..200 {
        let close = if n == 199 { "Connection: close\r\n" } else { "" };
        let request = match n % 3 {
            0 => format!("GET /{n} HTTP/1.1\r\nHost: a\r\n{close}\r\n"),
            1 => format!("POST /{n} HTTP/1.1\r\nHost: a\r\n{close}Content-Length: 5\r\n\r\nhello"),
            _ => format!(
                "POST /{n} HTTP/1.1\r\nHost: a\r\n{close}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
            ),
        };
        bytes.extend_from_slice(request.as_bytes());
    }
    let got = answers(&exchange(server.address, &bytes).await);
    let expected: Vec<_> = (0..200).map(|n| (200, format!("/{n}"))).collect();
    assert_eq!(got, expected);
    let seen = server.seen.lock().expect("lock");
    assert!(seen.iter().enumerate().all(|(n, seen)| {
        seen.target == format!("/{n}") && seen.body.as_deref() == Ok(if n % 3 == 0 { b"" } else { b"hello" })
    }));
}

#[tokio::test]
async fn r01_an_answer_under_way_comes_before_the_refusal_behind_it() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let service = {
        let gate = Arc::clone(&gate);
        move |_: Request<RequestBody>, _: ConnInfo| {
            let gate = Arc::clone(&gate);
            async move {
                gate.notified().await;
                full(StatusCode::OK, "slow")
            }
        }
    };
    let server = start_with(ListenerSettings::default(), None, service, Record::default());
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("room");
    stream.write_all(b"GET / HTTP/1.1\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("room");
    gate.notify_one();
    let mut got = Vec::new();
    tokio::time::timeout(LONG, stream.read_to_end(&mut got)).await.expect("an end").expect("an orderly end");
    let got = answers(&got);
    assert_eq!(got[0], (200, "slow".to_owned()));
    assert_eq!(got[1].0, 400);
    assert_eq!(got.len(), 2);
}

#[tokio::test]
async fn r04_an_upgrade_is_ignored_and_early_data_is_the_next_request() {
    let server = start(ListenerSettings::default());
    let upgrade = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let got = exchange(server.address, format!("{upgrade}\u{1}raw bytes").as_bytes()).await;
    let got: Vec<u16> = answers(&got).iter().map(|(status, _)| *status).collect();
    assert_eq!(got, [200, 400]);
    let h2c = "GET /h2c HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
        HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let got = exchange(server.address, h2c.as_bytes()).await;
    let got: Vec<u16> = answers(&got).iter().map(|(status, _)| *status).collect();
    assert_eq!(got, [200, 400]);
    assert_eq!(server.seen.lock().expect("lock").len(), 2);
}

async fn http2_get<T>(io: T, uri: &str) -> (StatusCode, Bytes)
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.expect("HTTP/2");
    let request = Request::post(uri).body(Full::new(Bytes::from_static(b"hello"))).expect("a request");
    let exchange = async {
        let response = client.send_request(request).await.expect("an answer");
        let status = response.status();
        (status, response.collect().await.expect("a whole answer").to_bytes())
    };
    tokio::select! {
        got = exchange => got,
        ended = connection => panic!("the connection ended before the answer: {ended:?}"),
    }
}

#[tokio::test]
async fn http2_by_prior_knowledge_is_served() {
    let server = start(ListenerSettings::default());
    let stream = TcpStream::connect(server.address).await.expect("a connection");
    let (status, body) = http2_get(stream, "http://a/v1/models?x=1").await;
    assert_eq!((status, body.as_ref()), (StatusCode::OK, b"http://a/v1/models?x=1".as_slice()));
    assert_eq!(server.seen.lock().expect("lock")[0].body.as_deref(), Ok(b"hello".as_slice()));
}

#[tokio::test]
async fn r02_http2_requests_meet_the_same_demands() {
    let server = start(ListenerSettings::default());
    let stream = TcpStream::connect(server.address).await.expect("a connection");
    let (status, _) = http2_get(stream, &format!("http://a/{}", "x".repeat(8 * 1024))).await;
    assert_eq!(status, StatusCode::URI_TOO_LONG);
    assert!(server.seen.lock().expect("lock").is_empty());
}

/// Writes a fresh certificate and key for `localhost`.
fn write_pair(folder: &Path) {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(folder.join("cert.pem"), pair.cert.pem()).expect("room");
    std::fs::write(folder.join("key.pem"), pair.signing_key.serialize_pem()).expect("room");
}

/// Connects and trusts what stands in the folder now.
async fn tls_connect(
    folder: &Path,
    address: std::net::SocketAddr,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("cert.pem")).expect("PEM")).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("localhost").expect("a name"), stream)
        .await
}

#[tokio::test]
async fn r56_tls_serves_http2_and_http1_by_alpn_and_guards_both() {
    let folder = tempfile::tempdir().expect("a folder");
    write_pair(folder.path());
    let tls = TlsReload::load(folder.path().join("cert.pem"), folder.path().join("key.pem")).expect("a pair");
    let seen = Record::default();
    let protocols = Arc::new(std::sync::Mutex::new(Vec::new()));
    let service = {
        let (seen, protocols) = (Arc::clone(&seen), Arc::clone(&protocols));
        move |request: Request<RequestBody>, from: ConnInfo| {
            protocols.lock().expect("lock").push((from.protocol, from.is_tls));
            crate::peer::record(request, Arc::clone(&seen))
        }
    };
    let server = start_with(ListenerSettings::default(), Some(tls), service, seen);

    let stream = tls_connect(folder.path(), server.address, &[b"h2", b"http/1.1"]).await.expect("TLS");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (status, _) = http2_get(stream, "https://localhost/v1/models").await;
    assert_eq!(status, StatusCode::OK);

    for (alpn, head, status) in [
        (&[b"http/1.1".as_slice()][..], "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
        (&[], "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
        (&[b"http/1.1"], "GET / HTTP/1.1\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ] {
        let mut stream = tls_connect(folder.path(), server.address, alpn).await.expect("TLS");
        stream.write_all(head.as_bytes()).await.expect("room");
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.expect("an orderly end");
        assert!(matches!(answers(&got)[..], [(got, _)] if got == status));
    }
    let expected = [(Protocol::Http2, true), (Protocol::Http1, true), (Protocol::Http1, true)];
    assert_eq!(*protocols.lock().expect("lock"), expected);
}

#[tokio::test]
async fn r56_a_certificate_reloads_without_a_dropped_connection_and_a_bad_pair_keeps_the_old() {
    let (old, new) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    write_pair(old.path());
    write_pair(new.path());
    let live = tempfile::tempdir().expect("a folder");
    let (cert, key) = (live.path().join("cert.pem"), live.path().join("key.pem"));
    let put = |from: &Path, name: &str| std::fs::copy(from.join(name), live.path().join(name)).expect("room");
    put(old.path(), "cert.pem");
    put(old.path(), "key.pem");
    let tls = TlsReload::load(&cert, &key).expect("a pair");
    let seen = Record::default();
    let server = start_with(ListenerSettings::default(), Some(tls.clone()), recorder(&seen), seen);
    let mut open = tls_connect(old.path(), server.address, &[]).await.expect("TLS");

    put(new.path(), "cert.pem");
    let error = tls.reload().expect_err("the new certificate with the old key");
    assert!(matches!(error, tls::Error::Mismatch { .. }), "{error}");
    std::fs::write(&cert, "nothing").expect("room");
    let error = tls.reload().expect_err("no certificate");
    assert!(
        matches!(error, tls::Error::NoCertificate(_)) && error.to_string().contains("cert.pem"),
        "{error}"
    );
    std::fs::remove_file(&key).expect("a file");
    put(new.path(), "cert.pem");
    let error = tls.reload().expect_err("no key");
    assert!(matches!(error, tls::Error::Unreadable { what: "key", .. }), "{error}");
    assert!(tls_connect(old.path(), server.address, &[]).await.is_ok(), "the old pair is still in force");

    put(new.path(), "key.pem");
    tls.reload().expect("a good pair");
    assert!(tls_connect(new.path(), server.address, &[]).await.is_ok());
    assert!(tls_connect(old.path(), server.address, &[]).await.is_err());

    open.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("room");
    let mut got = Vec::new();
    open.read_to_end(&mut got).await.expect("an orderly end");
    assert_eq!(answers(&got), [(200, "/".to_owned())]);
}
