//! Whole answers read from bytes in any pieces, without a socket: what the fuzzer and the properties hold the readers to.

use super::Fault;
use super::framing::Taken;
use super::head::HeadReader;

/// A field's name and value.
pub type Field = (String, Vec<u8>);

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Status and fields, once the head is whole.
    pub head: Option<(u16, Vec<Field>)>,
    /// The body's data.
    pub data: Vec<u8>,
    /// How many bytes stand behind the answer, if it is whole.
    pub rest: Option<usize>,
    /// Whether the connection could be used again.
    pub keeps_alive: bool,
}

/// Reads one answer from `reads`, after which the connection ends. With a fault comes what was good before it.
pub fn read<'r>(reads: impl IntoIterator<Item = &'r [u8]>) -> (Reading, Option<Fault>) {
    let mut reading = Reading { head: None, data: Vec::new(), rest: None, keeps_alive: false };
    let mut head = HeadReader::default();
    let mut body = None;
    let mut reads = reads.into_iter().filter(|read| !read.is_empty());
    while let Some(mut read) = reads.next() {
        if body.is_none() {
            match head.take(read) {
                Ok(None) => continue,
                Err(fault) => return (reading, Some(fault)),
                Ok(Some((head, rest))) => {
                    let fields = head.headers.iter();
                    let fields = fields.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
                    reading.head = Some((head.status.as_u16(), fields.collect()));
                    reading.keeps_alive = head.keeps_alive;
                    body = Some(head.body);
                    read = rest;
                }
            }
        }
        let Some(decoder) = &mut body else { continue };
        if read.is_empty() && !decoder.is_empty() {
            continue;
        }
        match decoder.take(read, &mut reading.data) {
            Ok(Taken::Partial) => {}
            Ok(Taken::Whole(bytes)) => {
                reading.rest = Some(read.len() - bytes + reads.map(<[u8]>::len).sum::<usize>());
                return (reading, None);
            }
            Err(fault) => return (reading, Some(fault)),
        }
    }
    let fault = body.map_or(Err(Fault::Cut), |body| body.end()).err();
    if fault.is_none() {
        reading.rest = Some(0);
    }
    (reading, fault)
}
