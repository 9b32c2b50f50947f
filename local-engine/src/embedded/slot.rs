//! A sequence of the llama context: what its part of the cache holds, and the text that is being written in it.

use llama_cpp_2::token::LlamaToken;
use tokio::sync::mpsc;

use super::{
    queue::{Done, Event, Generate},
    sampling::Sampler,
    text::TextOut,
};

/// One sequence.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// The tokens whose keys and values are in the cache; a beginning of the writing's tokens while there is one.
    pub(crate) cached: Vec<LlamaToken>,
    pub(crate) writing: Option<Writing>,
    /// The step in which it was last used, to know whose cache to give up first.
    pub(crate) used: u64,
}

/// A text in the making.
#[derive(Debug)]
pub(crate) struct Writing {
    /// The prompt and what followed.
    pub(crate) tokens: Vec<LlamaToken>,
    pub(crate) sampler: Sampler,
    pub(crate) text: TextOut,
    pub(crate) generated: u32,
    pub(crate) answer_tokens_max: u32,
    pub(crate) ignore_end: bool,
    pub(crate) events: mpsc::Sender<Event>,
    /// Tokens of the prompt found in the cache when it first started; `None` before that.
    pub(crate) reused: Option<usize>,
    /// Order of arrival; the latest is set aside first.
    pub(crate) arrival: u64,
    /// Where in the present batch its scores will be.
    pub(crate) row: Option<i32>,
}

impl Slot {
    /// Cells it has or is sure to need in the next step.
    pub(crate) fn cells(&self) -> usize {
        self.writing.as_ref().map_or(self.cached.len(), |writing| writing.tokens.len().max(self.cached.len()))
    }

    /// How many tokens of a new text are already in the cache. The last one is computed anyway, for its scores.
    pub(crate) fn shared(&self, tokens: &[LlamaToken]) -> usize {
        let common = self.cached.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        common.min(tokens.len().saturating_sub(1))
    }

    /// Tokens of the text that are not in the cache yet.
    pub(crate) fn pending(&self) -> usize {
        self.writing.as_ref().map_or(0, |writing| writing.tokens.len() - self.cached.len())
    }
}

impl Writing {
    pub(crate) fn new(job: Generate, arrival: u64) -> Self {
        Self {
            tokens: job.prompt,
            sampler: job.sampler,
            text: TextOut::new(job.stops),
            generated: 0,
            answer_tokens_max: job.answer_tokens_max,
            ignore_end: job.ignore_end,
            events: job.events,
            reused: None,
            arrival,
            row: None,
        }
    }

    /// Takes a chosen token's bytes; true when the text has come to a stop sequence.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        let pushed = self.text.push(bytes);
        self.say(pushed.text);
        pushed.stopped
    }

    /// Gives out what was held back and the counts.
    pub(crate) fn finish(&mut self, cut: bool) {
        let rest = self.text.finish();
        self.say(rest);
        let cached_tokens = u32::try_from(self.reused.unwrap_or(0)).unwrap_or(u32::MAX);
        self.send(Event::Done(Done { cut, completion_tokens: self.generated, cached_tokens }));
    }

    /// The channel has room for all that an answer can have, so it only fails when the caller has left, which
    /// the next step sees by itself.
    pub(crate) fn send(&self, event: Event) {
        let _ = self.events.try_send(event);
    }

    fn say(&self, text: String) {
        if !text.is_empty() {
            self.send(Event::Text(text));
        }
    }
}
