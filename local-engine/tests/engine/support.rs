//! Starts a worker and speaks HTTP to it, with nothing but the standard library in between.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// A worker of this test alone; it loads in a fraction of a second. Dropping it kills it.
pub(crate) struct Worker {
    pub(crate) child: Child,
    socket: PathBuf,
    _directory: tempfile::TempDir,
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// The real model: at `TOLLWAY_MODEL`, or where `make model` puts it.
pub(crate) fn model() -> PathBuf {
    let usual =
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../data/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let path = std::env::var_os("TOLLWAY_MODEL").map_or_else(usual, PathBuf::from);
    assert!(
        path.is_file(),
        "these tests need the model at {}: run `python3 scripts/fetch-model.py`, or set TOLLWAY_MODEL",
        path.display()
    );
    path
}

/// Waits for a condition; fails when it does not come true in time.
#[expect(clippy::disallowed_methods, reason = "a test's own patience")]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

impl Worker {
    pub(crate) fn start(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("engine.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_engine-worker"));
        command.arg("--lifeline").arg("--socket").arg(&socket).arg("--model").arg(model()).args(options);
        let child = command.env("OMP_WAIT_POLICY", "PASSIVE").stdin(Stdio::piped()).spawn().unwrap();
        let worker = Self { child, socket, _directory: directory };
        until("the worker listens", || UnixStream::connect(&worker.socket).is_ok());
        worker
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut all = String::new();
        self.open(method, path, body).read_to_string(&mut all).unwrap();
        let (head, body) = all.split_once("\r\n\r\n").unwrap();
        let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
        let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
        Answer {
            status,
            head: head.to_lowercase(),
            body: if chunked { unchunk(body) } else { body.to_owned() },
        }
    }

    /// Sends a request and leaves the answer to be read.
    pub(crate) fn open(&self, method: &str, path: &str, body: &str) -> UnixStream {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        // A worker that refuses a body closes its end before all of it is written; the answer is there all the same.
        let _ = write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: engine\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &body.to_string())
    }

    pub(crate) fn status(&self) -> Value {
        self.ask("GET", "/status", "").json()
    }

    /// A chat that has to succeed.
    pub(crate) fn chat(&self, fields: &Value) -> Value {
        let answer = self.post("/v1/chat/completions", &chat(fields));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// The events of a streamed chat that has to succeed, without `[DONE]`.
    pub(crate) fn stream(&self, fields: &Value) -> Vec<Value> {
        let mut body = chat(fields);
        body["stream"] = true.into();
        body["stream_options"] = json!({"include_usage": true});
        let answer = self.post("/v1/chat/completions", &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let mut events: Vec<&str> =
            answer.body.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap()).collect();
        assert_eq!(events.pop(), Some("[DONE]"));
        events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
    }

    /// Starts an answer that goes on for long, and waits for its first words.
    pub(crate) fn long_answer(&self) -> UnixStream {
        let stream = self.open_long();
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        while !line.contains("\"content\":\"") || line.contains("\"content\":\"\"") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the stream ended early");
        }
        stream
    }

    /// Starts an answer that goes on for long.
    pub(crate) fn open_long(&self) -> UnixStream {
        let body = chat(&json!({"ignore_eos": true, "max_tokens": 4000, "stream": true}));
        self.open("POST", "/v1/chat/completions", &body.to_string())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// A greedy chat of a few tokens, with fields of one's own over it.
pub(crate) fn chat(fields: &Value) -> Value {
    let mut body = json!({
        "model": "smollm2-135m-instruct", "temperature": 0, "max_tokens": 32,
        "messages": [{"role": "user", "content": "Write one sentence about the sea."}],
    });
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

pub(crate) fn text(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap()
}

/// What the deltas of a stream say together.
pub(crate) fn streamed_text(events: &[Value]) -> String {
    events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect()
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}
