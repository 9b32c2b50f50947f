//! What is asked, and how often.

use std::time::Duration;

/// One kind of request.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    /// Its name in the table; also the model asked for, by which the upstream knows what to answer.
    pub(crate) name: &'static str,
    /// Size of the request's body in bytes, about.
    pub(crate) request_bytes: usize,
    /// How the answer comes, if it is a stream.
    pub(crate) stream: Option<Streaming>,
    /// Connections that ask at the same time, one request each.
    pub(crate) connections: usize,
    /// Requests of one turn.
    pub(crate) requests: usize,
    /// What one request is divided by: 1, or the chunks of a stream.
    pub(crate) units: usize,
}

/// How a stream comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Streaming {
    /// Chunks before its end.
    pub(crate) chunks: usize,
    /// Between two of them; nothing: as fast as they are taken.
    pub(crate) pace: Option<Duration>,
}

/// Slow enough that each chunk is read and written by itself, as tokens are.
const PACE: Duration = Duration::from_millis(4);
const CHUNKS: usize = 200;
const CHUNKS_FLOODED: usize = 5000;

const KB: usize = 1 << 10;

impl Scenario {
    /// All that CPU is measured for.
    pub(crate) fn all() -> [Self; 6] {
        let whole = |name, request_bytes, requests| Self {
            name,
            request_bytes,
            stream: None,
            connections: 8,
            requests,
            units: 1,
        };
        let streamed = |name, chunks, pace, connections, requests| Self {
            name,
            request_bytes: KB,
            stream: Some(Streaming { chunks, pace }),
            connections,
            requests,
            units: chunks,
        };
        [
            whole("1 KB in, 1 KB out", KB, 8000),
            whole("256 KB in, 1 KB out", 256 * KB, 1600),
            whole("1 KB in, 256 KB out", KB, 1600),
            streamed("stream of one token", 1, None, 1, 1000),
            streamed("chunk of a stream", CHUNKS, Some(PACE), 32, 64),
            streamed("chunk of a flooded stream", CHUNKS_FLOODED, None, 8, 32),
        ]
    }

    /// A stream that stands still after its first chunk.
    pub(crate) fn idle() -> Self {
        let stream = Some(Streaming { chunks: 2, pace: Some(Duration::MAX) });
        Self { name: "idle stream", request_bytes: KB, stream, connections: 1, requests: 1, units: 1 }
    }

    /// The model that is asked for.
    pub(crate) fn model(&self) -> String {
        format!("bench-{}", self.name.replace([' ', ','], "-"))
    }

    /// The request's body: a conversation in messages of up to 4 KB, with a line break every so often, as prompts have.
    pub(crate) fn body(&self) -> String {
        let mut body = format!("{{\"model\":\"{}\",", self.model());
        if self.stream.is_some() {
            body.push_str("\"stream\":true,\"stream_options\":{\"include_usage\":true},");
        }
        body.push_str("\"max_tokens\":256,\"temperature\":0.7,\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"}");
        while body.len() < self.request_bytes - 64 {
            let bytes = (self.request_bytes - 64 - body.len()).min(4 * KB);
            body.push_str(",{\"role\":\"user\",\"content\":\"");
            body.push_str(&prose(bytes));
            body.push_str("\"}");
        }
        body.push_str("]}");
        body
    }
}

/// About `bytes` bytes of text as the inside of a JSON string.
pub(crate) fn prose(bytes: usize) -> String {
    const LINE: &str = "The toll is paid once, at the gate, and the road behind it is free to all who \\\"came\\\" by it.\\n";
    LINE.chars().cycle().take(bytes / LINE.len() * LINE.len() + LINE.len()).collect()
}
