//! Chunks of an HTTP/1 answer that arrive in one read become one chunk, before hyper takes them apart.
//!
//! hyper hands a body over chunk by chunk, from one task to another. A provider that sends faster than we read has many
//! chunks ready at a time, and each would cost two turns of a task and a write of its own. The bytes inside the chunks stay
//! as they are, and so does all else: what is not of the plainest form goes through as it came, from there to the
//! connection's end, and is hyper's to judge. A paced stream has a chunk a read, and is never touched.

use std::io::Write as _;

/// Hex digits of the largest chunk that is merged, and of the largest that is made.
const DIGITS_MAX: usize = 7;
const CHUNK_MAX: usize = (1 << (4 * DIGITS_MAX)) - 1;
/// The longest beginning of a chunk: what closes the one before, its size, and a line end.
const BEGINNING_MAX: usize = 2 + DIGITS_MAX + 2;

/// One connection's reading side.
#[derive(Debug)]
pub(super) struct Coalescer {
    state: State,
    /// The beginning of a chunk that a read cut off.
    held: [u8; BEGINNING_MAX],
    held_len: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before an answer.
    Head,
    /// Within a body of a stated length, of which so much is to come.
    Length(u64),
    /// Before a chunk's size.
    Size,
    /// Within a chunk, of which so much is to come.
    Chunk(usize),
    /// Behind a chunk's data, before the line end that closes it.
    Close,
    /// Behind the last chunk's size, before the line end of a body without trailers.
    Last,
    /// All goes through as it comes.
    Off,
}

/// What stands before a chunk's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// So many bytes, behind which a chunk of this size begins.
    Of { bytes: usize, size: usize },
    /// Not all of it is here.
    Cut,
    /// Nothing that may be merged.
    Odd,
}

impl Coalescer {
    pub(super) const fn new() -> Self {
        Self { state: State::Head, held: [0; BEGINNING_MAX], held_len: 0 }
    }

    /// Whether all that comes goes through as it is.
    pub(super) const fn is_off(&self) -> bool {
        matches!(self.state, State::Off)
    }

    /// How many bytes of earlier reads are held back.
    pub(super) const fn held(&self) -> usize {
        self.held_len
    }

    /// Gives what was `read` to `out`, chunks merged: at most as many bytes as were read and held. A read of nothing is the end.
    pub(super) fn pass(&mut self, read: &[u8], out: &mut impl FnMut(&[u8])) {
        if self.held_len == 0 {
            return self.walk(read, out);
        }
        let mut start = [0; 2 * BEGINNING_MAX];
        let held = std::mem::take(&mut self.held_len);
        let known = held + read.len().min(BEGINNING_MAX);
        start[..held].copy_from_slice(&self.held[..held]);
        start[held..known].copy_from_slice(&read[..known - held]);
        let start = &start[..known];
        match beginning(start, self.state) {
            Beginning::Of { bytes, size } if bytes >= held => {
                out(&start[..bytes]);
                self.enter(size);
                self.walk(&read[bytes - held..], out);
            }
            Beginning::Cut if !read.is_empty() => self.hold(start),
            _ => {
                self.state = State::Off;
                out(&start[..held]);
                out(read);
            }
        }
    }

    fn enter(&mut self, size: usize) {
        self.state = if size == 0 { State::Last } else { State::Chunk(size) };
    }

    fn hold(&mut self, bytes: &[u8]) {
        // What is cut is shorter than the longest beginning.
        if let Some(room) = self.held.get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
            self.held_len = bytes.len();
        }
    }

    fn walk(&mut self, mut rest: &[u8], out: &mut impl FnMut(&[u8])) {
        while !rest.is_empty() {
            let passed = match self.state {
                State::Size | State::Close => {
                    rest = self.merge(rest, out);
                    continue;
                }
                State::Head => {
                    let (bytes, body) = head(rest).unwrap_or((rest.len(), State::Off));
                    self.state = body;
                    bytes
                }
                State::Length(bytes) => {
                    let here = usize::try_from(bytes).unwrap_or(usize::MAX).min(rest.len());
                    let left = bytes - here as u64;
                    self.state = if left == 0 { State::Head } else { State::Length(left) };
                    here
                }
                State::Chunk(bytes) => {
                    let here = bytes.min(rest.len());
                    self.state = if here == bytes { State::Close } else { State::Chunk(bytes - here) };
                    here
                }
                State::Last if rest.starts_with(b"\r\n") => {
                    self.state = State::Head;
                    2
                }
                State::Last | State::Off => {
                    self.state = State::Off;
                    rest.len()
                }
            };
            out(&rest[..passed]);
            rest = &rest[passed..];
        }
    }

    /// Merges the chunks that begin in `bytes`, and gives back what is behind them.
    fn merge<'b>(&mut self, bytes: &'b [u8], out: &mut impl FnMut(&[u8])) -> &'b [u8] {
        let (mut total, mut count, mut end, mut state) = (0, 0, 0, self.state);
        let next = loop {
            let next = beginning(&bytes[end.min(bytes.len())..], state);
            match next {
                Beginning::Of { bytes: before, size: size @ 1.. } if total + size <= CHUNK_MAX => {
                    (total, count, end, state) = (total + size, count + 1, end + before + size, State::Close);
                }
                other => break other,
            }
        };
        match count {
            0 => return self.odd_one(bytes, next, out),
            1 => out(&bytes[..end.min(bytes.len())]),
            _ => self.tell(bytes, count, total, out),
        }
        self.state = match end.checked_sub(bytes.len()) {
            None | Some(0) => State::Close,
            Some(more) => State::Chunk(more),
        };
        &bytes[end.min(bytes.len())..]
    }

    /// Gives the data of `count` chunks to `out`, as one chunk of `total` bytes.
    fn tell(&self, bytes: &[u8], count: usize, total: usize, out: &mut impl FnMut(&[u8])) {
        let mut line = [0; BEGINNING_MAX];
        let mut room = &mut line[..];
        let close = if self.state == State::Close { "\r\n" } else { "" };
        // It is as long as the longest beginning at most.
        let written = write!(room, "{close}{total:x}\r\n").map(|()| BEGINNING_MAX - room.len());
        out(&line[..written.unwrap_or(0)]);
        let (mut rest, mut state) = (bytes, self.state);
        for _ in 0..count {
            let Beginning::Of { bytes, size } = beginning(rest, state) else { return };
            let end = (bytes + size).min(rest.len());
            out(&rest[bytes..end]);
            (rest, state) = (&rest[end..], State::Close);
        }
    }

    /// What begins no chunk that can be merged: the last chunk, one that is cut off, or something else.
    fn odd_one<'b>(&mut self, bytes: &'b [u8], what: Beginning, out: &mut impl FnMut(&[u8])) -> &'b [u8] {
        let passed = match what {
            Beginning::Of { bytes: before, size } => {
                self.enter(size);
                before
            }
            // Between two chunks of a paced stream.
            Beginning::Cut if bytes == b"\r\n" => {
                self.state = State::Size;
                2
            }
            Beginning::Cut => {
                self.hold(bytes);
                return &[];
            }
            Beginning::Odd => {
                self.state = State::Off;
                bytes.len()
            }
        };
        out(&bytes[..passed]);
        &bytes[passed..]
    }
}

/// What `bytes` begin with in `state`, which is before a chunk's size or before what closes the chunk before.
fn beginning(bytes: &[u8], state: State) -> Beginning {
    let line = match bytes {
        _ if state == State::Size => bytes,
        [b'\r', b'\n', line @ ..] => line,
        [] | [b'\r'] => return Beginning::Cut,
        _ => return Beginning::Odd,
    };
    let mut size = 0;
    let mut digits = 0;
    for digit in line.iter().take(DIGITS_MAX).map_while(|byte| char::from(*byte).to_digit(16)) {
        size = size * 16 + digit as usize;
        digits += 1;
    }
    match &line[digits..] {
        [] | [b'\r'] => Beginning::Cut,
        [b'\r', b'\n', ..] if digits > 0 => {
            Beginning::Of { bytes: bytes.len() - line.len() + digits + 2, size }
        }
        _ => Beginning::Odd,
    }
}

/// Length of the head that `bytes` begin with, and what follows it. None for a head that is not whole or of the plainest form.
fn head(bytes: &[u8]) -> Option<(usize, State)> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
    let mut lines = bytes[..end - 2].split_inclusive(|byte| *byte == b'\n');
    let status = lines.next()?.strip_prefix(b"HTTP/1.1 ")?;
    if !matches!(status, [b'2'..=b'5', _, _, b' ' | b'\r', ..]) || matches!(&status[..3], b"204" | b"304") {
        return None;
    }
    let mut body = None;
    for line in lines {
        let line = line.strip_suffix(b"\r\n")?;
        let (name, value) = line.split_at(memchr::memchr(b':', line)?);
        let value = value[1..].trim_ascii();
        if name.iter().any(u8::is_ascii_whitespace) {
            return None;
        }
        let stated = if name.eq_ignore_ascii_case(b"transfer-encoding") {
            value.eq_ignore_ascii_case(b"chunked").then_some(State::Size)?
        } else if name.eq_ignore_ascii_case(b"content-length") {
            match std::str::from_utf8(value).ok()?.parse().ok()? {
                0 => State::Head,
                bytes => State::Length(bytes),
            }
        } else {
            continue;
        };
        if body.replace(stated).is_some() {
            return None;
        }
    }
    Some((end, body?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

    /// What comes out of reads of these, one after the other; each as long as it was at most.
    fn passed(reads: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut coalescer = Coalescer::new();
        let pass = |read: &&[u8]| {
            let held = coalescer.held();
            let mut out = Vec::new();
            coalescer.pass(read, &mut |bytes| out.extend_from_slice(bytes));
            assert!(out.len() + coalescer.held() <= read.len() + held, "more than there was");
            out
        };
        reads.iter().chain([&&b""[..]]).map(pass).collect()
    }

    /// A plain reader of answers with chunks: what they say, and what is left where it cannot go on.
    fn read(mut bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut said = Vec::new();
        let mut in_chunks = false;
        while let Some(end) = memchr::memmem::find(bytes, if in_chunks { b"\r\n" } else { b"\r\n\r\n" }) {
            if !in_chunks {
                said.extend_from_slice(&bytes[..end]);
                bytes = &bytes[end + 4..];
                in_chunks = true;
                continue;
            }
            let size = std::str::from_utf8(&bytes[..end]).ok();
            let plain = size.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let Some(size) = plain.and_then(|text| usize::from_str_radix(text, 16).ok()) else { break };
            let data = &bytes[end + 2..];
            let here = &data[..size.min(data.len())];
            said.extend_from_slice(here);
            if here.len() < size {
                return (said, Vec::new());
            }
            if size == 0 {
                in_chunks = false;
            }
            match data[size..].strip_prefix(b"\r\n") {
                Some(rest) => bytes = rest,
                // Of the line end behind a chunk all, a part or nothing may be there yet.
                None if b"\r\n".starts_with(&data[size..]) => return (said, Vec::new()),
                None => return (said, data[size..].to_vec()),
            }
        }
        (said, bytes.to_vec())
    }

    fn chunk(data: &str) -> String {
        format!("{:x}\r\n{data}\r\n", data.len())
    }

    fn cut(bytes: &[u8], cuts: Vec<usize>) -> Vec<&[u8]> {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).filter(|read| !read.is_empty()).collect()
    }

    #[test]
    fn chunks_of_one_read_become_one() {
        let chunks = [chunk("data: a\n\n"), chunk("data: b\n\n"), chunk("x")].concat();
        let end = "0\r\n\r\n";
        let out = passed(&[HEAD.as_bytes(), chunks.as_bytes(), chunks.as_bytes(), end.as_bytes()]);
        let one = "13\r\ndata: a\n\ndata: b\n\nx\r\n";
        assert_eq!(out.concat(), [HEAD, one, one, end].concat().as_bytes());
        // A chunk that goes on in the next read is part of it, and the next answer is read as this one.
        let whole = [HEAD, &chunks, &chunks, end].concat();
        let (first, rest) = whole.as_bytes().split_at(whole.len() - end.len() - 9);
        let out = passed(&[first, rest, whole.as_bytes()]);
        let five = "25\r\ndata: a\n\ndata: b\n\nxdata: a\n\ndata: b\n\n\r\n";
        let six = "26\r\ndata: a\n\ndata: b\n\nxdata: a\n\ndata: b\n\nx\r\n";
        assert_eq!(out.concat(), [HEAD, five, "1\r\nx\r\n", end, HEAD, six, end].concat().as_bytes());
    }

    #[test]
    fn a_chunk_a_read_comes_through_at_once_and_untouched() {
        let chunk = chunk("data: a\n\n");
        let reads = [HEAD.as_bytes(), chunk.as_bytes(), chunk.as_bytes(), b"0\r\n\r\n", HEAD.as_bytes()];
        assert_eq!(passed(&reads)[..5], reads);
    }

    #[test]
    fn what_is_not_plain_comes_through_as_it_is() {
        let two = [chunk("a"), chunk("b")].concat();
        for head in [
            "HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: y\n\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: y\r\n transfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding : chunked\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
        ] {
            let all = [head, &two].concat();
            assert_eq!(passed(&[all.as_bytes()]).concat(), all.as_bytes(), "{head}");
        }
        for odd in [
            "1;x=y\r\na\r\n1\r\nb\r\n",
            "+1\r\na\r\n1\r\nb\r\n",
            "1\na\r\n1\r\nb\r\n",
            "00000001\r\na\r\n1\r\nb\r\n",
        ] {
            let all = [HEAD, odd].concat();
            assert_eq!(passed(&[all.as_bytes()]).concat(), all.as_bytes(), "{odd:?}");
        }
        let length = ["HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n", &two, HEAD, &two].concat();
        let out = passed(&[length.as_bytes()]).concat();
        assert!(
            out.ends_with(b"2\r\nab\r\n") && out.len() == length.len() - 5,
            "only the second answer has chunks"
        );
    }

    proptest! {
        #[test]
        fn any_reads_say_the_same(
            answers in prop::collection::vec(prop::collection::vec("[a\r\n0-9]{1,40}", 0..12), 1..3),
            cuts in prop::collection::vec(0..700_usize, 0..20),
        ) {
            let answer = |chunks: &Vec<String>| [HEAD, &chunks.iter().map(|data| chunk(data)).collect::<String>(), "0\r\n\r\n"].concat();
            let bytes: String = answers.iter().map(answer).collect();
            let out = passed(&cut(bytes.as_bytes(), cuts)).concat();
            prop_assert_eq!(read(&out), read(bytes.as_bytes()));
        }

        #[test]
        fn any_nonsense_says_the_same(
            text in "(1\r\na\r\n|2\r\nbc\r\n|0\r\n\r\n|[0-2a;\r\n]){0,60}",
            cuts in prop::collection::vec(0..200_usize, 0..8),
        ) {
            let bytes = [HEAD, &text].concat();
            let out = passed(&cut(bytes.as_bytes(), cuts)).concat();
            let (said, left) = read(&out);
            let expected = read(bytes.as_bytes());
            prop_assert_eq!((&said, &left), (&expected.0, &expected.1));
        }
    }
}
