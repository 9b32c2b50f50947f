//! Opens a trace file, plain or gzipped, and sees by its content what it is.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::Trace;
use super::build::Builder;

/// Most bytes of a file, once unpacked, that are read.
const BYTES_MAX: u64 = 8 << 30;
/// Longest line, in bytes.
const LINE_BYTES_MAX: u64 = 4 << 20;
/// Most requests of a trace.
const REQUESTS_MAX: usize = 50_000_000;
/// Most tokens of a prompt or an answer.
const TOKENS_MAX: u64 = 100_000_000;

/// What a file leaves open.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    /// The seed of what a file does not say, such as when its sessions begin.
    pub seed: u64,
    /// At most so many requests: the first, or of a file of sessions as many whole sessions of chance as that takes.
    pub limit: Option<usize>,
    /// Over how many seconds sessions without a start of their own are laid; `None`: as many as make one request every
    /// two seconds.
    pub span_s: Option<f64>,
}

/// Why a file is not a trace.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("{file}: cannot be read: {error}")]
    Unreadable {
        /// The file.
        file: String,
        /// The system's words.
        error: io::Error,
    },
    /// A line is wrong.
    #[error("{file}:{line}: {what}\n   help: {fix}")]
    Line {
        /// The file.
        file: String,
        /// The line, from 1, of the text once unpacked.
        line: u64,
        /// What is wrong.
        what: String,
        /// What would be right.
        fix: String,
    },
    /// There is no request in it.
    #[error("{file}: holds no requests\n   help: {fix}")]
    Empty {
        /// The file.
        file: String,
        /// What would be right.
        fix: String,
    },
}

/// What is wrong with a line, and what would be right.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) what: String,
    pub(crate) fix: String,
}

impl Fault {
    pub(crate) fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into() }
    }
}

/// A file's lines, counted. Blank ones are left out.
pub(crate) struct Lines<R> {
    reader: io::Take<R>,
    file: String,
    number: u64,
    buffer: Vec<u8>,
}

impl Lines<Box<dyn BufRead>> {
    /// Opens `path`, unpacking it where it begins as gzip does.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = path.display().to_string();
        let unreadable = |error| Error::Unreadable { file: file.clone(), error };
        let mut opened = BufReader::with_capacity(1 << 16, File::open(path).map_err(unreadable)?);
        let is_gzip = opened.fill_buf().map_err(unreadable)?.starts_with(&[0x1f, 0x8b]);
        let reader: Box<dyn BufRead> = if is_gzip {
            Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(opened)))
        } else {
            Box::new(opened)
        };
        Ok(Self::new(reader, file))
    }
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(reader: R, file: String) -> Self {
        Self { reader: reader.take(BYTES_MAX), file, number: 0, buffer: Vec::new() }
    }

    /// The next line that holds something, without its end.
    pub(crate) fn next(&mut self) -> Result<Option<&str>, Error> {
        loop {
            self.buffer.clear();
            let mut within = (&mut self.reader).take(LINE_BYTES_MAX);
            let read = within.read_until(b'\n', &mut self.buffer);
            let read = read.map_err(|error| Error::Unreadable { file: self.file.clone(), error })?;
            self.number += 1;
            if read == 0 && self.reader.limit() == 0 {
                let fix = "cut the file into several and replay one after the other";
                return Err(self.fault(Fault::new("more than 8 GiB of text in one file", fix)));
            }
            if read == 0 {
                return Ok(None);
            }
            if read as u64 == LINE_BYTES_MAX && !self.buffer.ends_with(b"\n") {
                return Err(self.fault(Fault::new("a line longer than 4 MiB", "one request a line")));
            }
            if self.buffer.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            break;
        }
        let number = self.number;
        match str::from_utf8(&self.buffer) {
            // A byte-order mark is no part of the first name.
            Ok(text) => Ok(Some(text.trim_start_matches('\u{feff}').trim_end())),
            Err(_) => Err(Error::Line {
                file: self.file.clone(),
                line: number,
                what: "this is not UTF-8 text".to_owned(),
                fix: "a trace is CSV or JSON lines, plain or gzipped".to_owned(),
            }),
        }
    }

    /// `fault` with the place of the line that was read last.
    pub(crate) fn fault(&self, fault: Fault) -> Error {
        Error::Line { file: self.file.clone(), line: self.number, what: fault.what, fix: fault.fix }
    }

    pub(crate) fn file(&self) -> &str {
        &self.file
    }
}

/// Reads the trace in `path`.
pub fn load(path: &Path, options: &Load) -> Result<Trace, Error> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("trace");
    let name = name.split('.').next().unwrap_or(name);
    from_lines(Lines::open(path)?, name, options)
}

/// Reads the trace in `text`, which messages call `file`.
pub fn read(text: &str, file: &str, options: &Load) -> Result<Trace, Error> {
    from_lines(Lines::new(text.as_bytes(), file.to_owned()), file.split('.').next().unwrap_or(file), options)
}

fn from_lines<R: BufRead>(mut lines: Lines<R>, name: &str, options: &Load) -> Result<Trace, Error> {
    let Some(first) = lines.next()?.map(str::to_owned) else {
        let fix = "the first line of CSV names its columns; JSON lines hold one request each".to_owned();
        return Err(Error::Empty { file: lines.file().to_owned(), fix });
    };
    let mut builder = Builder::new(name);
    if first.starts_with('{') {
        super::lines::read(&mut lines, &first, options, &mut builder)?;
    } else {
        let header = super::table::Header::new(&first);
        match header.kind() {
            Ok(super::table::Kind::Requests) => {
                super::table::read(&mut lines, &header, options, &mut builder)?;
            }
            Ok(super::table::Kind::Sessions) => {
                super::sessions::read(&mut lines, &header, options, &mut builder)?;
            }
            Err(fault) => return Err(lines.fault(fault)),
        }
    }
    if builder.len() == 0 {
        let fix = "it needs a line a request after the names of its columns".to_owned();
        return Err(Error::Empty { file: lines.file().to_owned(), fix });
    }
    Ok(builder.finish())
}

/// Whether there is room for another request under the caller's own limit.
pub(super) fn has_room(builder: &Builder, options: &Load) -> bool {
    builder.len() < options.limit.unwrap_or(usize::MAX).min(REQUESTS_MAX)
}

/// A time in milliseconds as microseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time from 0 to ten years in ms, checked just before"
)]
pub(crate) fn micros(ms: f64, what: &str) -> Result<u64, Fault> {
    if (0.0..=3.2e11).contains(&ms) {
        return Ok((ms * 1000.0).round() as u64);
    }
    Err(Fault::new(format!("`{what}` must be milliseconds from the trace's start, not {ms}"), "0 or more"))
}

/// A number of tokens.
pub(crate) fn tokens(number: u64, what: &str) -> Result<u32, Fault> {
    match u32::try_from(number) {
        Ok(tokens) if number <= TOKENS_MAX => Ok(tokens),
        _ => Err(Fault::new(
            format!("`{what}` is {number} tokens, which no model takes"),
            format!("a whole number up to {TOKENS_MAX}"),
        )),
    }
}
