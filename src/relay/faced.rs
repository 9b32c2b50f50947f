//! The way out through a face: what the meter lets through of a chat stream, told in the caller's own shape.

use bytes::Bytes;

use crate::api::face::{Said, Tally, Untold, Writer};
use crate::api::sse::{Event, Scanner};

use super::meter::Out;
use super::parts::Bill;

/// One stream's face.
#[derive(Debug)]
pub struct Faced {
    writer: Writer,
}

impl Faced {
    /// A stream that `writer` tells.
    pub const fn new(writer: Writer) -> Self {
        Self { writer }
    }

    /// Appends to `told` what becomes of `out`, which holds whole events; with a tally, the stream has ended with them.
    /// What was told before something could not be told stays told.
    pub fn relay(&mut self, out: &Out, ended: Option<&Tally>, told: &mut Vec<u8>) -> Result<(), Untold> {
        let bytes = match out.as_slice() {
            [one] => one.clone(),
            many => Bytes::from(many.concat()),
        };
        // The meter gives whole events, of which none is longer than the scanner before it took.
        let mut events = Scanner::new(usize::MAX);
        events.push(bytes);
        while let Ok(Some(event)) = events.next_event() {
            self.one(&event, told)?;
        }
        if let Some(event) = events.finish() {
            self.one(&event, told)?;
        }
        if let Some(tally) = ended {
            self.writer.done(tally, told);
        }
        Ok(())
    }

    /// What is told of a break.
    pub fn failed(&mut self, said: &Said<'_>) -> Bytes {
        let mut told = Vec::new();
        self.writer.failed(said, &mut told);
        Bytes::from(told)
    }

    fn one(&mut self, event: &Event, told: &mut Vec<u8>) -> Result<(), Untold> {
        match event.data() {
            None => self.writer.alive(told),
            Some(data) if data.starts_with(b"[DONE]") => {}
            Some(data) => return self.writer.event(&data, told),
        }
        Ok(())
    }
}

impl From<Bill> for Tally {
    fn from(bill: Bill) -> Self {
        let Bill { cost, usage, estimated } = bill;
        Self { usage, cost, estimated }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::face::{Start, Surface};
    use crate::relay::meter::{Flow, Meter};

    /// What a caller of Messages gets of `stream`, which arrives in `frames`.
    fn told<'f>(frames: impl Iterator<Item = &'f [u8]>) -> Vec<u8> {
        let request =
            br#"{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"x"}]}"#;
        let (_, face) = Surface::Messages.translate(Bytes::from_static(request), 64).unwrap();
        let start = Start { request_id: "r", at_s: 0, prompt_tokens: 3 };
        let mut faced = Faced::new(face.unwrap().writer(&start));
        let (mut scanner, mut meter) = (Scanner::new(1 << 20), Meter::new(false, 3));
        let mut all = Vec::new();
        for frame in frames {
            scanner.push(Bytes::copy_from_slice(frame));
            while let Some(event) = scanner.next_event().unwrap() {
                let mut out = Out::new();
                let flow = meter.take(&event, |_, _| Bill::default(), &mut out);
                let tally = Tally::default();
                faced.relay(&out, (flow == Flow::Ended).then_some(&tally), &mut all).unwrap();
            }
        }
        all
    }

    const STREAM: &str = "\u{feff}: hello\n\n\
        data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"gr\u{fc}\u{df}e\"}}]}\r\n\r\n\
        data:{\"choices\":[{\"index\":0,\ndata:\"delta\":{\"content\":\" \\ud83d\\ude00\"}}]}\n\n\
        data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}}]}\r\r\
        data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1}}\n\n\
        data: [DONE]\n\n";

    #[test]
    fn a_whole_stream_is_told() {
        let text = String::from_utf8(told([STREAM.as_bytes()].into_iter())).unwrap();
        for part in [
            "message_start",
            "\"gr\u{fc}\u{df}e\"",
            "\" \u{1f600}\"",
            "\"name\":\"f\"",
            "tool_use",
            "message_stop",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    proptest! {
        #[test]
        fn any_split_of_a_stream_tells_the_same(cuts in prop::collection::vec(0..STREAM.len(), 0..12)) {
            let mut cuts = cuts;
            cuts.push(STREAM.len());
            cuts.sort_unstable();
            let mut from = 0;
            let frames = cuts.into_iter().map(|end| &STREAM.as_bytes()[std::mem::replace(&mut from, end)..end]);
            prop_assert_eq!(told(frames), told([STREAM.as_bytes()].into_iter()));
        }
    }
}
