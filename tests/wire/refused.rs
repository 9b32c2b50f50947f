//! Every row of the table over a socket, each refused one with a request hidden behind it.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tollway::gateway::listener::ListenerSettings;

use crate::peer::{LONG, Record, Seen, answers, exchange, record, start};
use crate::table::{Fate, HIDDEN, rows};

const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn r01_r02_r13_what_must_be_refused_gets_one_answer_and_a_closed_connection() {
    let server = start(ListenerSettings::default());
    for row in rows() {
        let (before, status) = match row.fate {
            Fate::Served(_) => continue,
            Fate::Refused(before, refusal) => (before, refusal.status().as_u16()),
            Fate::Faulted(nth, _) => (nth - 1, 400),
        };
        server.seen.lock().expect("lock").clear();
        let got = exchange(server.address, &[&row.bytes, HIDDEN].concat()).await;
        let text = String::from_utf8_lossy(&got);
        assert!(text.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{}: {text}", row.what);
        let got: Vec<u16> = if row.bytes.starts_with(b"HEAD ") {
            vec![text[9..12].parse().expect("a status")]
        } else {
            answers(&got).iter().map(|(status, _)| *status).collect()
        };
        let mut expected = vec![200; usize::try_from(before).expect("few")];
        expected.push(status);
        assert_eq!(got, expected, "{}", row.what);
        let seen = server.seen.lock().expect("lock");
        assert!(seen.iter().all(|seen| seen.target != "/hidden"), "{}: {seen:?}", row.what);
        let faulted = matches!(row.fate, Fate::Faulted(..));
        assert_eq!(seen.len() as u64, before + u64::from(faulted), "{}: {seen:?}", row.what);
        assert_eq!(seen.last().is_some_and(|seen| seen.body.is_err()), faulted, "{}", row.what);
    }
    assert_eq!(server.tasks.panics(), 0);
}

/// What hyper alone makes of `bytes`.
async fn by_hyper_alone(bytes: &[u8]) -> Vec<Seen> {
    let seen = Record::default();
    let (mut client, io) = tokio::io::duplex(1024 * 1024);
    client.write_all(bytes).await.expect("room");
    let service = {
        let seen = Arc::clone(&seen);
        service_fn(move |request: hyper::Request<Incoming>| {
            let seen = Arc::clone(&seen);
            async move { Ok::<_, Infallible>(record(request, seen).await) }
        })
    };
    let connection = hyper::server::conn::http1::Builder::new()
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(io), service);
    tokio::time::timeout(LONG, connection).await.expect("an end").expect("a good connection");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("an orderly end");
    Arc::into_inner(seen).expect("nobody else holds it").into_inner().expect("lock")
}

#[tokio::test]
async fn r01_what_must_be_served_reaches_the_service_as_through_hyper_alone() {
    let server = start(ListenerSettings::default());
    for row in rows() {
        let Fate::Served(requests) = row.fate else { continue };
        server.seen.lock().expect("lock").clear();
        // HTTP/1.0 closes after its answer, as hyper alone does too.
        let bytes = [row.bytes.as_slice(), LAST].concat();
        let got = exchange(server.address, &bytes).await;
        let is_1_0 = row.bytes.windows(8).any(|window| window == b"HTTP/1.0");
        if !row.bytes.starts_with(b"HEAD") {
            let statuses: Vec<u16> = answers(&got).iter().map(|(status, _)| *status).collect();
            let expected = usize::try_from(requests).expect("few") + usize::from(!is_1_0);
            assert_eq!(statuses, vec![200; expected], "{}", row.what);
        }
        let seen = server.seen.lock().expect("lock").clone();
        assert!(seen.iter().all(|seen| seen.body.is_ok()), "{}", row.what);
        assert_eq!(seen, by_hyper_alone(&bytes).await, "{}", row.what);
    }
}

#[tokio::test]
async fn r09_a_refused_head_request_is_answered_without_a_body() {
    let server = start(ListenerSettings::default());
    let got = exchange(server.address, b"HEAD / HTTP/1.1\r\n\r\n").await;
    let got = String::from_utf8(got).expect("text");
    assert!(got.starts_with("HTTP/1.1 400 ") && got.ends_with("\r\n\r\n"), "{got}");
}

#[tokio::test]
async fn r01_a_client_that_asks_for_the_stand_in_gets_a_common_answer() {
    let server = start(ListenerSettings::default());
    let request = b"GET /refused HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
    let got = answers(&exchange(server.address, request).await);
    assert_eq!(got, [(200, "/refused".to_owned())]);
    assert_eq!(server.seen.lock().expect("lock").len(), 1);
}

#[tokio::test]
async fn r02_no_name_in_a_request_is_dialled() {
    let canary = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = canary.local_addr().expect("an address");
    let server = start(ListenerSettings::default());
    for request in [
        format!("CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n\r\n"),
        format!("GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\n\r\n"),
        format!("TRACE / HTTP/1.1\r\nHost: {at}\r\n\r\n"),
        format!("GET {at} HTTP/1.1\r\nHost: {at}\r\n\r\n"),
    ] {
        let got = answers(&exchange(server.address, request.as_bytes()).await);
        assert!(matches!(got[..], [(400 | 405, _)]), "{request}: {got:?}");
        assert!(!got[0].1.contains(&at.to_string()), "nothing is echoed");
    }
    assert!(server.seen.lock().expect("lock").is_empty());
    let nobody = futures_util::future::FutureExt::now_or_never(canary.accept());
    assert!(nobody.is_none(), "nobody came");
}
