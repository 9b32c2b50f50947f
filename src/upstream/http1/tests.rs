//! Tests of the readers: what is refused, what is read over, and that no split of the bytes changes the answer.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::Fault;
use super::reading::{Reading, read};

fn whole(bytes: &str) -> (Reading, Option<Fault>) {
    read([bytes.as_bytes()])
}

fn data(bytes: &str) -> Result<(String, usize, bool), Fault> {
    let (reading, fault) = whole(bytes);
    match fault {
        Some(fault) => Err(fault),
        None => Ok((String::from_utf8(reading.data).unwrap(), reading.rest.unwrap(), reading.keeps_alive)),
    }
}

fn framed(fields: &str) -> Result<(String, usize, bool), Fault> {
    data(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n2\r\nab\r\n0\r\n\r\n"))
}

#[test]
fn r01_an_answer_framed_twice_or_badly_is_refused() {
    for fields in [
        "content-length: 2\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 2\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding:\r\n",
        "content-length: 2\r\ncontent-length: 2\r\n",
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: 2, 2\r\n",
        "content-length: +2\r\n",
        "content-length: -2\r\n",
        "content-length: 0x2\r\n",
        "content-length: 2 2\r\n",
        "content-length:\r\n",
        "content-length: 18446744073709551616\r\n",
    ] {
        assert_eq!(framed(fields), Err(Fault::Framing), "{fields:?}");
    }
    assert_eq!(data("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"), Err(Fault::Framing));
    assert_eq!(framed("Transfer-Encoding: Chunked\r\n"), Ok(("ab".to_owned(), 0, true)));
    assert_eq!(framed("Content-Length: 2\r\n"), Ok(("2\r".to_owned(), 10, true)));
    assert_eq!(framed(""), Ok(("2\r\nab\r\n0\r\n\r\n".to_owned(), 0, false)), "all until the end");
}

#[test]
fn r01_a_head_is_read_by_the_letter() {
    for head in [
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\n\n",
        "HTTP/1.1 200 OK\r\nx: y\n\r\n",
        "HTTP/1.1 200 OK\r\nx: y\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "HTTP/1.0 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\n\r\n",
        "\0\0\0\r\n\r\n",
    ] {
        assert_eq!(data(head), Err(Fault::Head), "{head:?}");
    }
    assert_eq!(data("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"), Err(Fault::Upgrade));
    assert_eq!(data("HTTP/1.1 200 OK\r\nx: y\r\n"), Err(Fault::Cut));
    assert_eq!(data(""), Err(Fault::Cut));
    let fields = "x: y\r\n".repeat(101);
    assert_eq!(data(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")), Err(Fault::Head), "more than a hundred");
}

#[test]
fn r13_a_head_of_64_kib_is_read_and_no_longer_one() {
    let head = |bytes: usize| {
        let begin = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: ";
        format!("{begin}{}\r\n\r\n", "y".repeat(bytes - begin.len() - 4))
    };
    let (max, more) = (head(64 << 10), head((64 << 10) + 1));
    assert_eq!(data(&format!("{max}ab")), Ok(("ab".to_owned(), 0, true)));
    assert_eq!(data(&more), Err(Fault::HeadTooLarge));
    let (_, fault) = read(more.as_bytes().chunks(1000));
    assert_eq!(fault, Some(Fault::HeadTooLarge));
    let (_, fault) = read(std::iter::repeat_n(&b"HTTP/1.1 102 Processing\r\n\r\n"[..], 10_000));
    assert_eq!(fault, Some(Fault::HeadTooLarge), "informational answers count");
}

#[test]
fn informational_answers_are_read_over_and_some_answers_have_no_body() {
    let before = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
    let (reading, fault) = whole(&format!("{before}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab"));
    assert_eq!((fault, reading.head.unwrap().0, &*reading.data), (None, 200, &b"ab"[..]));
    for status in ["204 No Content", "304 Not Modified"] {
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n");
        assert_eq!(data(&head), Ok((String::new(), 0, true)), "{status}");
        assert_eq!(data(&format!("{head}ab")), Ok((String::new(), 2, true)), "{status}");
    }
}

#[test]
fn r25_a_connection_is_used_again_only_where_both_ends_know_where_the_answer_ends() {
    for (head, keeps) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x, Close\r\n", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x\r\nconnection: close\r\n", false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n", false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: Keep-Alive\r\n", true),
        ("HTTP/1.1 200 OK\r\n", false),
    ] {
        assert_eq!(data(&format!("{head}\r\n")), Ok((String::new(), 0, keeps)), "{head:?}");
    }
}

#[test]
fn r01_chunks_are_read_by_the_letter() {
    let chunks = |text: &str| data(&format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{text}"));
    for odd in [
        "2\nab\r\n0\r\n\r\n",
        "2\r\nab\n0\r\n\r\n",
        "2\r\nab\r\n0\n\r\n",
        "2\r\nab\r\n0\r\n\n",
        "2\r\nabc\r\n0\r\n\r\n",
        "\r\n",
        " 2\r\nab\r\n0\r\n\r\n",
        "+2\r\nab\r\n0\r\n\r\n",
        "0x2\r\nab\r\n0\r\n\r\n",
        "g\r\n",
        "10000000000000000\r\n",
        "2;a\0\r\nab\r\n0\r\n\r\n",
        "0\r\n: x\r\n\r\n",
        "0\r\nx\r\n\r\n",
        "0\r\nx : y\r\n\r\n",
        "0\r\nx: y\r\n folded\r\n\r\n",
        "0\r\nx: y\n\r\n",
    ] {
        assert_eq!(chunks(odd), Err(Fault::Chunk), "{odd:?}");
    }
    let long = "x".repeat(20_000);
    assert_eq!(chunks(&format!("2;{long}\r\nab\r\n0\r\n\r\n")), Err(Fault::Chunk));
    assert_eq!(chunks(&format!("0\r\nx: {long}\r\n\r\n")), Err(Fault::Chunk));
    for cut in ["", "2", "2\r\na", "2\r\nab", "2\r\nab\r\n", "2\r\nab\r\n0\r\n", "0\r\nx: y\r\n"] {
        assert_eq!(chunks(cut), Err(Fault::Cut), "{cut:?}");
    }
    for (text, said, rest) in [
        ("0\r\n\r\n", "", 0),
        ("0002\r\nab\r\n00\r\n\r\n", "ab", 0),
        ("A\r\n0123456789\r\n1;x=\"y\"\r\na\r\n0;z\r\nx: y\r\ndate: z\r\n\r\n", "0123456789a", 0),
        ("2 \r\nab\r\n0\r\n\r\nHTTP/1.1", "ab", 8),
    ] {
        assert_eq!(chunks(text), Ok((said.to_owned(), rest, true)), "{text:?}");
    }
    // What was good before a fault is told.
    let (reading, fault) = whole("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\nx");
    assert_eq!((&*reading.data, fault), (&b"ab"[..], Some(Fault::Chunk)));
    assert_eq!(data("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab"), Err(Fault::Cut));
}

fn cut(bytes: &[u8], mut cuts: Vec<usize>) -> Vec<&[u8]> {
    for at in &mut cuts {
        *at = (*at).min(bytes.len());
    }
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

const PIECES: &str = "(HTTP/1\\.[01] (100|101|200|204|304|500) OK\r\n|content-length: [0-9]{1,2}\r\n|transfer-encoding: chunked\r\n|connection: (close|keep-alive)\r\n|x: y\r\n|\r\n|[0-3a];?\r\n|[a-f]{1,3}\r\n|0\r\n\r\n|[\\x00-\\x7f]){0,24}";

proptest! {
    #[test]
    fn any_split_of_any_bytes_is_the_same_answer(
        text in PIECES,
        begins_well in any::<bool>(),
        cuts in prop::collection::vec(0..400_usize, 0..12),
    ) {
        let begin = if begins_well { "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" } else { "" };
        let bytes = [begin, &text].concat();
        let expected = read([bytes.as_bytes()]);
        prop_assert_eq!(&read(cut(bytes.as_bytes(), cuts)), &expected);
        prop_assert_eq!(&read(bytes.as_bytes().chunks(1)), &expected);
    }

    #[test]
    fn what_is_said_in_chunks_is_read(
        chunks in prop::collection::vec("[a\r\n0-9]{1,40}", 0..12),
        cuts in prop::collection::vec(0..700_usize, 0..20),
    ) {
        let mut bytes = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
        for data in &chunks {
            write!(bytes, "{:x}\r\n{data}\r\n", data.len()).unwrap();
        }
        bytes.push_str("0\r\n\r\n");
        let (reading, fault) = read(cut(bytes.as_bytes(), cuts));
        prop_assert_eq!((fault, reading.rest), (None, Some(0)));
        prop_assert_eq!(reading.data, chunks.concat().into_bytes());
    }
}
