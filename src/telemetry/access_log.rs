//! The access log: one JSON line a request, written by a thread of its own from a bounded buffer.
//!
//! A request only appends to a buffer. The writer wakes every so often, or when the buffer grows; when it cannot keep up,
//! lines are dropped and counted rather than the gateway slowed or its memory filled.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus::IntCounter;

/// The buffer is handed to the writer early beyond this many bytes, and takes no more beyond the maximum.
const FLUSH_BYTES: usize = 64 << 10;
const BUFFER_BYTES_MAX: usize = 8 << 20;
const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// A handle to append lines with; clones share the buffer.
#[derive(Clone)]
pub struct AccessLog {
    shared: Arc<Shared>,
    dropped: IntCounter,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    stop: bool,
}

/// Ends the writer when dropped, after what was appended has been written.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl AccessLog {
    /// A log into `sink`, with the thread that writes it. `dropped` counts lines that found the buffer full.
    pub fn into_sink(
        mut sink: impl Write + Send + 'static,
        dropped: IntCounter,
    ) -> std::io::Result<(Self, Writer)> {
        let shared = Arc::new(Shared { state: Mutex::new(State::default()), wake: Condvar::new() });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("access-log".into()).spawn(move || {
            let mut batch = Vec::new();
            loop {
                let stop = of_thread.take(&mut batch);
                // A sink that is gone (a closed pipe) takes nothing more; requests go on.
                let _ = sink.write_all(&batch).and_then(|()| sink.flush());
                batch.clear();
                if stop {
                    return;
                }
            }
        })?;
        Ok((Self { shared: Arc::clone(&shared), dropped }, Writer { shared, thread: Some(thread) }))
    }

    /// Appends one line; `write` puts it into the buffer without its end.
    pub fn line(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.buffer.len() >= BUFFER_BYTES_MAX {
            drop(state);
            self.dropped.inc();
            return;
        }
        let before = state.buffer.len();
        write(&mut state.buffer);
        state.buffer.push(b'\n');
        let wake = before < FLUSH_BYTES && state.buffer.len() >= FLUSH_BYTES;
        drop(state);
        if wake {
            self.shared.wake.notify_one();
        }
    }
}

impl Shared {
    /// Waits until there is a batch's worth or time is up, swaps what there is into `batch`, and tells whether to stop
    /// after it. Lines are not taken as they come: under load that would be a write, and two threads at one lock, for each.
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_little = |state: &mut State| state.buffer.len() < FLUSH_BYTES && !state.stop;
        let waited = self.wake.wait_timeout_while(state, FLUSH_EVERY, is_little);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut state.buffer, batch);
        state.stop
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // It panics only if the sink does, and then there is nothing left to write to.
            let _ = thread.join();
        }
    }
}

/// Appends `text` as the inside of a JSON string: quotes, backslashes and control characters escaped.
pub fn escape_into(line: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => line.extend_from_slice(&[b'\\', byte]),
            0..=0x1f | 0x7f => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                line.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
            other => line.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn all_lines_are_written_before_the_writer_ends() {
        let sink = Sink::default();
        let dropped = IntCounter::new("d", "d").unwrap();
        let (log, writer) = AccessLog::into_sink(sink.clone(), dropped).unwrap();
        for i in 0..10_000 {
            log.line(|line| write!(line, "{i}").unwrap());
        }
        drop(writer);
        let written = sink.0.lock().unwrap().clone();
        let lines: Vec<u32> =
            String::from_utf8(written).unwrap().lines().map(|l| l.parse().unwrap()).collect();
        assert_eq!(lines, (0..10_000).collect::<Vec<_>>());
    }

    #[test]
    fn r18_hostile_text_stays_inside_its_string() {
        let mut line = b"\"".to_vec();
        escape_into(&mut line, "a\"b\\c\r\n\u{1b}[0m");
        line.push(b'"');
        assert_eq!(serde_json::from_slice::<String>(&line).unwrap(), "a\"b\\c\r\n\u{1b}[0m");
    }
}
