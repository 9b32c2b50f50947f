//! Clients that keep us waiting, each kind with its limit.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tollway::gateway::framing::Pace;
use tollway::gateway::listener::{Http2Settings, ListenerSettings};

use crate::peer::{LONG, Server, answers, start};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// The default limits, a twentieth as long: 10 s are 500 ms.
fn hasty() -> ListenerSettings {
    let settings = ListenerSettings::default();
    ListenerSettings {
        first_byte_timeout: settings.first_byte_timeout / 20,
        tls_handshake_timeout: settings.tls_handshake_timeout / 20,
        head_timeout: settings.head_timeout / 20,
        idle_timeout: settings.idle_timeout / 20,
        body_pace: Pace { window: settings.body_pace.window / 20, ..settings.body_pace },
        http2: Http2Settings {
            ping_interval: settings.http2.ping_interval / 20,
            ping_timeout: settings.http2.ping_timeout / 20,
            ..settings.http2
        },
        ..settings
    }
}

/// Says `words`, then nothing; what came back and after how long the connection ended, in default time.
async fn say(server: &Server, words: &[u8]) -> (Vec<u8>, Duration) {
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    let begun = Instant::now();
    stream.write_all(words).await.expect("room");
    let mut got = Vec::new();
    let end = tokio::time::timeout(LONG, stream.read_to_end(&mut got)).await;
    end.expect("the connection ends").expect("an orderly end");
    (got, begun.elapsed() * 20)
}

#[tokio::test]
async fn r12_every_silence_ends_in_time() {
    let server = start(hasty());
    let settings_then = [PREFACE, SETTINGS].concat();
    // A header block that promises more.
    let half_a_head = [settings_then.as_slice(), &[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82]].concat();
    let (nothing, one, preface, head, body, h2, h2_head) = tokio::join!(
        say(&server, b""),
        say(&server, b"G"),
        say(&server, &PREFACE[..12]),
        say(&server, b"GET / HTTP/1.1\r\nHost: a\r\nX-Half: a he"),
        say(&server, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf a body"),
        say(&server, &settings_then),
        say(&server, &half_a_head),
    );
    for (what, (_, after), from, to) in [
        ("nothing", &nothing, 9, 13),
        ("one byte", &one, 29, 35),
        ("half a preface", &preface, 29, 35),
        ("half a head", &head, 29, 35),
        ("half a body", &body, 9, 15),
        ("HTTP/2 without a request", &h2, 25, 35),
        ("half an HTTP/2 head", &h2_head, 25, 35),
    ] {
        let range = Duration::from_secs(from)..Duration::from_secs(to);
        assert!(range.contains(after), "{what}: {after:?}");
    }
    assert!(nothing.0.is_empty() && preface.0.is_empty());
    for (got, _) in [one, head, body] {
        assert!(matches!(answers(&got)[..], [(408, _)]), "{}", String::from_utf8_lossy(&got));
    }
    assert_eq!(server.tasks.panics(), 0);
}

#[tokio::test]
async fn r12_a_tls_handshake_that_stops_ends_in_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, pair.cert.pem()).expect("room");
    std::fs::write(&key, pair.signing_key.serialize_pem()).expect("room");
    let tls = tollway::gateway::tls::TlsReload::load(cert, key).expect("a pair");
    let seen = crate::peer::Record::default();
    let server = crate::peer::start_with(hasty(), Some(tls), crate::peer::recorder(&seen), seen);
    let (got, after) = say(&server, b"\x16\x03\x01\x02\x00\x01").await;
    assert!(got.is_empty());
    assert!((9..13).contains(&after.as_secs()), "{after:?}");
}

#[tokio::test]
async fn r12_a_head_that_drips_does_not_buy_time() {
    let server = start(ListenerSettings { head_timeout: Duration::from_millis(500), ..hasty() });
    let stream = TcpStream::connect(server.address).await.expect("a connection");
    let (mut reader, mut writer) = stream.into_split();
    let begun = Instant::now();
    let drip = async {
        let mut bytes = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".iter().copied().chain(std::iter::repeat(b'x'));
        while writer.write_all(&[bytes.next().unwrap_or(b'x')]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut got = Vec::new();
    let read = tokio::time::timeout(LONG, reader.read_to_end(&mut got));
    tokio::select! {
        () = drip => {}
        read = read => { let _ = read.expect("the connection ends"); }
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(got.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&got));
}

#[tokio::test]
async fn r12_an_idle_connection_ends_and_a_busy_one_does_not() {
    let server = start(ListenerSettings { idle_timeout: Duration::from_millis(600), ..hasty() });
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    let begun = Instant::now();
    for _ in 0..4 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("an open connection");
        let mut byte = [0; 256];
        assert!(stream.read(&mut byte).await.expect("an answer") > 0);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let last = Instant::now();
    let mut got = Vec::new();
    tokio::time::timeout(LONG, stream.read_to_end(&mut got)).await.expect("an end").expect("an orderly end");
    assert!(got.is_empty(), "an idle connection is closed without a word");
    assert!(begun.elapsed() > Duration::from_millis(1500));
    assert!(last.elapsed() < Duration::from_millis(900), "{:?}", last.elapsed());
}

#[tokio::test]
async fn r12_an_idle_http2_connection_that_answers_pings_ends_too() {
    let server = start(ListenerSettings { idle_timeout: Duration::from_millis(600), ..hasty() });
    let stream = TcpStream::connect(server.address).await.expect("a connection");
    let io = hyper_util::rt::TokioIo::new(stream);
    let (client, connection) = hyper::client::conn::http2::handshake::<
        _,
        _,
        http_body_util::Full<bytes::Bytes>,
    >(hyper_util::rt::TokioExecutor::new(), io)
    .await
    .expect("HTTP/2");
    let begun = Instant::now();
    tokio::time::timeout(LONG, connection).await.expect("an end").expect("an orderly end");
    assert!(begun.elapsed() > Duration::from_millis(500));
    drop(client);
}

#[tokio::test]
async fn r12_a_thousand_silent_connections_are_gone_by_the_deadline() {
    let server = start(hasty());
    let mut silent = Vec::new();
    for n in 0..1000 {
        let mut stream = TcpStream::connect(server.address).await.expect("a connection");
        if n % 2 == 0 {
            stream.write_all(b"POST /").await.expect("room");
        }
        silent.push(stream);
    }
    let begun = Instant::now();
    let good =
        crate::peer::exchange(server.address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
    assert_eq!(answers(&good), [(200, "/".to_owned())]);
    assert!(begun.elapsed() < Duration::from_secs(1), "others are served meanwhile");
    for mut stream in silent {
        let end = tokio::time::timeout(LONG, stream.read_to_end(&mut Vec::new())).await;
        end.expect("the connection ends").expect("an orderly end");
    }
    // 35 s of the default limits, and the linger of those that were answered.
    assert!(begun.elapsed() < Duration::from_secs(35) / 20 + Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// The seven ways to keep a listener waiting, HTTP/2's own among them, and by when each has to be over in default time.
fn silences() -> [(&'static str, Vec<u8>, u64); 7] {
    let settings_then = [PREFACE, SETTINGS].concat();
    let half_a_head = [settings_then.as_slice(), &[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82]].concat();
    [
        ("nothing", Vec::new(), 10),
        ("one byte", b"G".to_vec(), 30),
        ("half a preface", PREFACE[..12].to_vec(), 30),
        ("half a head", b"GET / HTTP/1.1\r\nHost: a\r\nX-Half: a he".to_vec(), 30),
        ("half a body", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf a body".to_vec(), 10),
        ("HTTP/2 without a request", settings_then, 30),
        ("half an HTTP/2 head", half_a_head, 30),
    ]
}

/// Good requests one after the other, over HTTP/1 and HTTP/2 in turn, until `over`; how long each took, the quickest first.
async fn good(server: &Server, over: &std::sync::atomic::AtomicBool) -> Vec<Duration> {
    use http_body_util::{BodyExt, Empty};
    let stream = TcpStream::connect(server.address).await.expect("a connection");
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut http2, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io)
            .await
            .expect("HTTP/2");
    #[expect(clippy::disallowed_methods, reason = "the test itself is no part of the gateway")]
    let connection = tokio::spawn(connection);
    let mut took = Vec::new();
    while !over.load(std::sync::atomic::Ordering::Relaxed) {
        let begun = Instant::now();
        if took.len() % 2 == 0 {
            let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            assert_eq!(
                answers(&crate::peer::exchange(server.address, request).await),
                [(200, "/".to_owned())]
            );
        } else {
            let request =
                http::Request::get("http://a/").body(Empty::<bytes::Bytes>::new()).expect("a request");
            let response = http2.send_request(request).await.expect("an answer");
            assert_eq!(response.status(), 200);
            response.collect().await.expect("a whole answer");
        }
        took.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    connection.abort();
    took.sort_unstable();
    took
}

/// `each` clients of every kind at once. `scale`: how much longer the default limits are than the server's.
#[expect(clippy::print_stdout, reason = "figures, for who asks to see them")]
async fn many_silences(settings: ListenerSettings, each: usize, scale: u32) {
    let server = start(settings);
    let over = std::sync::atomic::AtomicBool::new(false);
    let for_a_while = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let (before, ()) = tokio::join!(good(&server, &over), for_a_while);
    over.store(false, std::sync::atomic::Ordering::Relaxed);
    let flood = async {
        let mut all = tokio::task::JoinSet::new();
        for (what, words, by) in silences() {
            for _ in 0..each {
                // One by one: that clients come all at once is another matter.
                let mut stream = TcpStream::connect(server.address).await.expect("a connection");
                let begun = Instant::now();
                stream.write_all(&words).await.expect("room");
                tokio::task::yield_now().await;
                all.spawn(async move {
                    // Whether it is told why, and whether that still arrives, is not the matter here.
                    let end = tokio::time::timeout(LONG * 3, stream.read_to_end(&mut Vec::new())).await;
                    let _ = end.expect("the connection ends");
                    (what, begun.elapsed(), by)
                });
            }
        }
        let all = all.join_all().await;
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        all
    };
    let (during, ended) = tokio::join!(good(&server, &over), flood);
    for (what, after, by) in &ended {
        // Five seconds more is the promise; the rest is for a machine that is busy.
        let limit = Duration::from_secs(by + 5) / scale + Duration::from_secs(2);
        assert!(*after < limit, "{what}: over after {after:?}, which should be {limit:?} at most");
    }
    let at = |all: &[Duration], share: usize| all[(all.len() * share / 100).min(all.len() - 1)];
    let last = ended.iter().map(|(_, after, _)| *after).max().expect("clients");
    println!(
        "{} silent clients, the last one gone after {last:?}; good requests: {} before, p50 {:?}, p99 {:?}; {} meanwhile, p50 {:?}, p99 {:?}",
        ended.len(),
        before.len(),
        at(&before, 50),
        at(&before, 99),
        during.len(),
        at(&during, 50),
        at(&during, 99),
    );
    // Shorter limits end more of them at once, on the two cores that the good ones need too.
    let share = if scale == 1 { 99 } else { 90 };
    let limit = at(&before, share) * 2 + Duration::from_millis(50);
    assert!(at(&during, share) < limit, "p{share} {:?}, not {limit:?}", at(&during, share));
    assert!(during.len() > 20, "others are served meanwhile: {}", during.len());
    assert_eq!(server.tasks.panics(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_three_hundred_of_each_silence_end_in_time_while_good_requests_are_served() {
    many_silences(hasty(), 300, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes the default limits in full: 35 seconds"]
async fn r12_three_hundred_of_each_silence_at_the_default_limits() {
    many_silences(ListenerSettings::default(), 300, 1).await;
}
