//! The callers: one blocking thread a connection, which writes a request made beforehand and reads to the answer's end.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Error;
use super::scenario::Scenario;

/// An answer that takes longer than this has gone wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request, and where it goes.
pub(crate) struct Load {
    request: Arc<[u8]>,
    address: SocketAddr,
}

impl Load {
    /// For `scenario` at `address`.
    pub(crate) fn new(scenario: &Scenario, address: SocketAddr) -> Self {
        let body = scenario.body();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer bench\r\ncontent-type: application/json\r\n\
             accept: application/json\r\nuser-agent: bench/1\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Self { request: [head.as_bytes(), body.as_bytes()].concat().into(), address }
    }

    /// Sends `requests` requests over the scenario's connections, and tells how long they took together.
    pub(crate) fn run(&self, scenario: &Scenario, requests: usize) -> Result<Duration, Error> {
        let left = Arc::new(AtomicUsize::new(requests));
        let sockets = (0..scenario.connections).map(|_| self.connect()).collect::<Result<Vec<_>, _>>()?;
        let began = now();
        let threads: Vec<_> = sockets
            .into_iter()
            .map(|mut socket| {
                let (left, request) = (Arc::clone(&left), Arc::clone(&self.request));
                std::thread::spawn(move || -> Result<(), Error> {
                    let mut buffer = vec![0; 64 << 10];
                    while left
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                        .is_ok()
                    {
                        socket.write_all(&request)?;
                        read_answer(&mut socket, &mut buffer)?;
                    }
                    Ok(())
                })
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| "a caller's thread panicked")??;
        }
        Ok(began.elapsed())
    }

    fn connect(&self) -> Result<TcpStream, Error> {
        let socket = TcpStream::connect(self.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    }
}

/// Opens `streams` streams, and waits for the first chunk of each.
pub(crate) fn hold(
    scenario: &Scenario,
    address: SocketAddr,
    streams: usize,
) -> Result<Vec<TcpStream>, Error> {
    let load = Load::new(scenario, address);
    let mut buffer = vec![0; 16 << 10];
    let mut held = Vec::with_capacity(streams);
    for _ in 0..streams {
        let mut socket = load.connect()?;
        socket.write_all(&load.request)?;
        let mut filled = 0;
        while !contains(&buffer[..filled], b" tolling") {
            filled += read_some(&mut socket, &mut buffer[filled..])?;
        }
        held.push(socket);
    }
    Ok(held)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
fn now() -> Instant {
    Instant::now()
}

/// Reads one answer: by its length if it states one, else to its last chunk.
fn read_answer(socket: &mut TcpStream, buffer: &mut [u8]) -> Result<(), Error> {
    let mut filled = 0;
    let body_at = loop {
        filled += read_some(socket, &mut buffer[filled..])?;
        if let Some(at) = find(&buffer[..filled], b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = std::str::from_utf8(&buffer[..body_at])?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(format!(
            "not the answer that was asked for: {}",
            String::from_utf8_lossy(&buffer[..filled])
        )
        .into());
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    if let Some(length) = length {
        let mut left = (body_at + length).checked_sub(filled).ok_or("bytes after the answer")?;
        while left > 0 {
            left = left.checked_sub(read_some(socket, buffer)?).ok_or("bytes after the answer")?;
        }
        return Ok(());
    }
    // The last five bytes of a chunked body; `buffer` keeps the end of what came before.
    while !buffer[..filled].ends_with(b"0\r\n\r\n") {
        let kept = filled.min(4);
        buffer.copy_within(filled - kept..filled, 0);
        filled = kept + read_some(socket, &mut buffer[kept..])?;
    }
    Ok(())
}

fn read_some(socket: &mut TcpStream, buffer: &mut [u8]) -> Result<usize, Error> {
    match socket.read(buffer)? {
        0 => Err("the connection was closed before the answer was whole".into()),
        bytes => Ok(bytes),
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, what)
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    find(text, what).is_some()
}
