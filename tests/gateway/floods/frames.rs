//! HTTP/2 by hand: frames as a hostile client makes them (RFC 9113), and header blocks (RFC 7541).

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// The setting that bounds what a stream may be sent.
pub(super) const INITIAL_WINDOW: u16 = 4;

/// How long a write may wait for a server that does not read.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A literal that no table remembers; `name` is an index below 15 or two bytes that make a larger one.
fn literal(name: &[u8], value: &str) -> Vec<u8> {
    let mut field = name.to_vec();
    field.push(u8::try_from(value.len()).unwrap());
    field.extend(value.as_bytes());
    field
}

/// The head of `POST /v1/chat/completions`.
pub(super) fn head() -> Vec<u8> {
    let fields = [
        vec![0x83, 0x86],
        literal(&[0x04], "/v1/chat/completions"),
        literal(&[0x01], "gateway"),
        literal(&[0x0f, 0x10], "application/json"),
    ];
    fields.concat()
}

/// A field with a new name, of some bytes.
pub(super) fn field(number: u32) -> Vec<u8> {
    let name = format!("x-{number}");
    [vec![0, u8::try_from(name.len()).unwrap()], name.into_bytes(), vec![1, b'v']].concat()
}

/// A field that the table is to remember, nearly as large as the table.
pub(super) fn remembered() -> Vec<u8> {
    // 3,900 as an integer of seven bits and more.
    [&[0x40, 1, b'x', 0x7f, 0xbd, 0x1d][..], &[b'v'; 3900][..]].concat()
}

pub(super) fn request(stream: u32, body: &str) -> Vec<u8> {
    let head = frame(HEADERS, END_HEADERS, stream, &head());
    [head, frame(DATA, END_STREAM, stream, body.as_bytes())].concat()
}

pub(super) fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

pub(super) fn window(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

/// A client that writes what it is told, and throws away what it is sent.
pub(super) struct Attacker {
    writer: OwnedWriteHalf,
    reading: JoinHandle<()>,
    pongs: watch::Receiver<usize>,
}

impl Attacker {
    pub(super) async fn connect(to: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(to).await.expect("a connection");
        stream.set_nodelay(true).expect("an option");
        let (reader, mut writer) = stream.into_split();
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
            .collect();
        let _ = writer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let _ = writer.write_all(&frame(SETTINGS, 0, 0, &settings)).await;
        let (heard, pongs) = watch::channel(0);
        Self { writer, reading: tokio::spawn(swallow(reader, heard)), pongs }
    }

    /// Whether the server still listens.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> bool {
        if self.reading.is_finished() {
            return false;
        }
        matches!(tokio::time::timeout(PATIENCE, self.writer.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Waits until the server has read all that was written; false where it ends the connection instead.
    pub(super) async fn is_read(&mut self) -> bool {
        let before = *self.pongs.borrow_and_update();
        let asked = self.write(&frame(PING, 0, 0, b"are you?")).await;
        let heard = tokio::time::timeout(PATIENCE, self.pongs.wait_for(|pongs| *pongs > before));
        asked && matches!(heard.await, Ok(Ok(_)))
    }

    /// Says that nothing more comes, and waits until the server has read all of it.
    pub(super) async fn done(mut self) {
        let _ = self.writer.shutdown().await;
        assert!(self.ended(Duration::from_secs(20)).await, "the server does not read to the end");
    }

    /// Waits until the server ends the connection; false where it does not.
    pub(super) async fn ended(self, within: Duration) -> bool {
        let Self { writer: _writer, reading, .. } = self;
        tokio::time::timeout(within, reading).await.is_ok()
    }
}

/// Reads to the end of the connection, and counts the answers to pings.
async fn swallow(reader: OwnedReadHalf, told: watch::Sender<usize>) {
    let mut stream = BufReader::new(reader);
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let length = u64::from(u32::from_be_bytes([0, head[0], head[1], head[2]]));
        if head[3] == PING && head[4] == ACK {
            told.send_modify(|pongs| *pongs += 1);
        }
        if tokio::io::copy(&mut (&mut stream).take(length), &mut tokio::io::sink()).await.is_err() {
            return;
        }
    }
}
