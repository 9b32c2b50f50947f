//! Every limit of a listener, with its default.

use std::time::Duration;

use crate::gateway::framing::{HeadLimits, Pace};

/// What a listener grants its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Connections served at once; further ones get 503 and are closed. Default 20,000.
    pub connections_max: usize,
    /// From the connection to its first byte, and from the TLS handshake to the first byte within. Default 10 s.
    pub first_byte_timeout: Duration,
    /// For the TLS handshake. Default 10 s.
    pub tls_handshake_timeout: Duration,
    /// From a head's (or the HTTP/2 preface's) first byte to its last. Default 30 s.
    pub head_timeout: Duration,
    /// Without an open request, in HTTP/1 and HTTP/2. Default 75 s.
    pub idle_timeout: Duration,
    /// Without the client taking a byte of an answer. Default 300 s.
    pub write_stall_timeout: Duration,
    /// For open requests to end once told to stop; then connections are cut. Default 30 s.
    pub drain_timeout: Duration,
    /// Bounds of a request head.
    pub head: HeadLimits,
    /// Least rate of a request body.
    pub body_pace: Pace,
    /// Bytes the kernel keeps for one connection until they are acknowledged (it doubles the number for its own needs), of which a
    /// quarter may wait to be sent; `None` leaves both to the kernel, which may go to megabytes. Default 128 KiB.
    pub send_buffer_bytes: Option<u32>,
    /// Connections waiting to be accepted. Default 1,024.
    pub backlog: u32,
    /// HTTP/2 only.
    pub http2: Http2Settings,
}

impl Default for ListenerSettings {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            first_byte_timeout: Duration::from_secs(10),
            tls_handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            write_stall_timeout: Duration::from_mins(5),
            drain_timeout: Duration::from_secs(30),
            head: HeadLimits::default(),
            body_pace: Pace::default(),
            send_buffer_bytes: Some(128 * 1024),
            backlog: 1024,
            http2: Http2Settings::default(),
        }
    }
}

/// Limits of an HTTP/2 connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Settings {
    /// Streams open at once on a connection. Default 256.
    pub streams_max: u32,
    /// Bytes of a request body a stream may send ahead of its reader. Default 256 KiB.
    pub stream_window_bytes: u32,
    /// As above, over all streams of a connection. Default 1 MiB.
    pub connection_window_bytes: u32,
    /// Bytes of answer kept for a stream whose client does not read. Default 16 KiB.
    pub send_buffer_bytes_max: usize,
    /// A ping goes out after so long a silence, so that a client that is gone is noticed. Default 20 s.
    pub ping_interval: Duration,
    /// And must be answered within this. Default 10 s.
    pub ping_timeout: Duration,
    /// Streams that the client reset before we took them up; more ends the connection (rapid reset). Default 20.
    pub pending_resets_max: usize,
    /// Streams that we reset for the client's errors; more ends the connection. Default 128.
    pub local_resets_max: usize,
}

impl Default for Http2Settings {
    fn default() -> Self {
        Self {
            streams_max: 256,
            stream_window_bytes: 256 * 1024,
            connection_window_bytes: 1024 * 1024,
            send_buffer_bytes_max: 16 * 1024,
            ping_interval: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(10),
            pending_resets_max: 20,
            local_resets_max: 128,
        }
    }
}
