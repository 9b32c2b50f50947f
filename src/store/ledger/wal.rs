//! SQLite's log, looked at before SQLite does. A torn end is what a crash leaves, and is cut; SQLite would cut at damage in the
//! middle just the same, and forget in silence all that was written after it.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::error::Error;
use super::schema::beside;

const HEAD: usize = 32;
const FRAME_HEAD: usize = 24;

/// Refuses a log with damage in the middle. See SQLite's file format, section 4.
pub(super) fn check(path: &Path) -> Result<(), Error> {
    let log = beside(path, "-wal");
    let file = match File::open(&log) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(&log, &error)),
    };
    let mut reader = BufReader::with_capacity(1 << 18, file);
    match first_fault(&mut reader) {
        Ok(None) => Ok(()),
        Ok(Some(what)) => Err(Error::damaged(&log, what)),
        Err(error) => Err(Error::io(&log, &error)),
    }
}

/// What is wrong beyond a torn end.
fn first_fault(reader: &mut impl Read) -> std::io::Result<Option<String>> {
    let mut head = [0; HEAD];
    // Less than a head is one that was being written.
    if fill(reader, &mut head)? < HEAD || head == [0; HEAD] {
        return Ok(None);
    }
    let word = |bytes: &[u8], at: usize| {
        u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    let little = match word(&head, 0) {
        0x377f_0682 => true,
        0x377f_0683 => false,
        _ => return Ok(Some("its head is not that of a log".to_owned())),
    };
    let mut sum = add((0, 0), &head[..24], little);
    if sum != (word(&head, 24), word(&head, 28)) {
        return Ok(Some("its head does not bear its checksum".to_owned()));
    }
    let page = word(&head, 8);
    if !(512..=65_536).contains(&page) || !page.is_power_of_two() {
        return Ok(Some(format!("its pages have {page} bytes")));
    }
    let salts = (word(&head, 16), word(&head, 20));
    let mut frame = vec![0; FRAME_HEAD + page as usize];
    let (mut number, mut broken) = (0_u64, None);
    loop {
        let read = fill(reader, &mut frame)?;
        if read < FRAME_HEAD {
            return Ok(None);
        }
        number += 1;
        let found = (word(&frame, 8), word(&frame, 12));
        let whole = read == frame.len();
        if let Some(broken) = broken {
            // A crash leaves nothing of this turn of the log behind the place where it stopped.
            if found == salts {
                return Ok(Some(format!(
                    "frame {broken} does not bear its checksum, and others were written after it"
                )));
            }
            if !whole {
                return Ok(None);
            }
            continue;
        }
        if !whole {
            return Ok(None);
        }
        let next = add(add(sum, &frame[..8], little), &frame[FRAME_HEAD..], little);
        if found == salts && next == (word(&frame, 16), word(&frame, 20)) {
            sum = next;
        } else if (found.0 == salts.0) != (found.1 == salts.1) {
            return Ok(Some(format!("frame {number} belongs half to this log")));
        } else {
            broken = Some(number);
        }
    }
}

/// SQLite's checksum: over pairs of 32-bit words.
fn add((mut a, mut b): (u32, u32), bytes: &[u8], little: bool) -> (u32, u32) {
    for pair in bytes.chunks_exact(8) {
        let word = |at: usize| {
            let word = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
            if little { u32::from_le_bytes(word) } else { u32::from_be_bytes(word) }
        };
        a = a.wrapping_add(word(0)).wrapping_add(b);
        b = b.wrapping_add(word(4)).wrapping_add(a);
    }
    (a, b)
}

/// As much as there is.
fn fill(reader: &mut impl Read, to: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < to.len() {
        match reader.read(&mut to[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
