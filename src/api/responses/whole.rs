//! A whole chat completion as a Response object: what a stream of the same would have ended with.

use bytes::Bytes;

use crate::api::face::{Start, Tally, Untold};

use super::emit::Emitter;
use super::face::Face;
use super::writer::Writer;

impl Face {
    /// The Response object for a whole chat completion.
    pub fn whole(&self, chat: &[u8], start: &Start<'_>, tally: &Tally) -> Result<Bytes, Untold> {
        let mut writer = Writer::with(self, start, Emitter::silent());
        let mut nothing = Vec::new();
        writer.event(chat, &mut nothing)?;
        writer.done(tally, &mut nothing);
        writer.body(tally).ok_or(Untold::SHAPE)
    }
}
