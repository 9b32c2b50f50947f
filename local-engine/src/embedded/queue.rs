//! The door to the engine thread: bounded lines of work, and the figures that thread lets others see.

use std::{
    collections::VecDeque,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use llama_cpp_2::token::LlamaToken;
use tokio::sync::{mpsc, oneshot};

use super::{error::ApiError, sampling::Sampler};

/// A text to be continued.
#[derive(Debug)]
pub(crate) struct Generate {
    pub(crate) prompt: Vec<LlamaToken>,
    pub(crate) sampler: Sampler,
    pub(crate) answer_tokens_max: u32,
    pub(crate) stops: Vec<String>,
    /// Go on past the model's end mark; load tests ask for it.
    pub(crate) ignore_end: bool,
    /// Where the answer goes; has room for every event an answer can have. Dropping its other end cancels the work.
    pub(crate) events: mpsc::Sender<Event>,
}

/// What happens to a text on its way.
#[derive(Debug)]
pub(crate) enum Event {
    /// More text; never empty.
    Text(String),
    /// The end, with the last of the counts.
    Done(Done),
    /// It ended badly.
    Failed(ApiError),
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    /// Whether it ran into a limit rather than coming to its end.
    pub(crate) cut: bool,
    /// Tokens computed, the end mark included.
    pub(crate) completion_tokens: u32,
    /// Tokens of the prompt that were still there from an earlier call.
    pub(crate) cached_tokens: u32,
}

/// Texts whose embeddings are wanted.
#[derive(Debug)]
pub(crate) struct Embed {
    pub(crate) texts: Vec<Vec<LlamaToken>>,
    /// Dropping its other end cancels the work.
    pub(crate) answer: oneshot::Sender<Result<Vec<Vec<f32>>, ApiError>>,
}

/// Work for the engine thread.
#[derive(Debug)]
pub(crate) struct Queue {
    lines: Mutex<Lines>,
    wake: Condvar,
    parallel: usize,
    waiting_max: usize,
    pub(crate) figures: Figures,
}

#[derive(Debug, Default)]
struct Lines {
    generate: VecDeque<Generate>,
    embed: VecDeque<Embed>,
    /// Sequences the engine thread has taken on, waiting for memory or not.
    taken: usize,
    closed: bool,
}

/// What the engine thread has to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Some,
    Closed,
}

/// Figures for `/status`. Each stands alone, so relaxed order is enough.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Steps computed since the start: what shows that the thread lives.
    pub(crate) steps: AtomicU64,
    /// Tokens generated since the start.
    pub(crate) tokens: AtomicU64,
    /// Sequences in the batch.
    pub(crate) running: AtomicU32,
    /// Sequences set aside until memory frees.
    pub(crate) aside: AtomicU32,
    /// Cells of the key-value cache in use, one a token.
    pub(crate) cells: AtomicU32,
    /// Tokens per second over the last steps, times 1,000.
    pub(crate) rate_milli: AtomicU64,
    /// The usual length of an answer, in tokens.
    pub(crate) answer_tokens: AtomicU32,
}

impl Queue {
    /// Lines for `parallel` sequences at work and `waiting_max` requests behind them.
    pub(crate) fn new(parallel: u16, waiting_max: u16) -> Self {
        Self {
            lines: Mutex::default(),
            wake: Condvar::new(),
            parallel: usize::from(parallel),
            waiting_max: usize::from(waiting_max),
            figures: Figures::default(),
        }
    }

    /// Hands in a text to continue, or says when to come again.
    pub(crate) fn generate(&self, job: Generate) -> Result<(), ApiError> {
        let mut lines = self.lines();
        if lines.closed {
            return Err(ApiError::stopping());
        }
        let places = self.waiting_max + self.parallel.saturating_sub(lines.taken);
        if lines.generate.len() >= places {
            return Err(self.full());
        }
        lines.generate.push_back(job);
        drop(lines);
        self.wake.notify_one();
        Ok(())
    }

    /// Hands in texts to embed, or says when to come again.
    pub(crate) fn embed(&self, job: Embed) -> Result<(), ApiError> {
        let mut lines = self.lines();
        if lines.closed {
            return Err(ApiError::stopping());
        }
        if lines.embed.len() > self.waiting_max {
            return Err(self.full());
        }
        lines.embed.push_back(job);
        drop(lines);
        self.wake.notify_one();
        Ok(())
    }

    /// Takes the next text to continue, unless its caller has left.
    pub(crate) fn next_generate(&self) -> Option<Generate> {
        let mut lines = self.lines();
        while let Some(job) = lines.generate.pop_front() {
            if !job.events.is_closed() {
                lines.taken += 1;
                return Some(job);
            }
        }
        None
    }

    /// Takes the next texts to embed, unless their caller has left.
    pub(crate) fn next_embed(&self) -> Option<Embed> {
        let mut lines = self.lines();
        while let Some(job) = lines.embed.pop_front() {
            if !job.answer.is_closed() {
                return Some(job);
            }
        }
        None
    }

    /// A sequence that was taken has ended.
    pub(crate) fn released(&self) {
        let mut lines = self.lines();
        lines.taken = lines.taken.saturating_sub(1);
    }

    /// Sleeps until there is work, or the end.
    pub(crate) fn wait(&self) -> Work {
        let mut lines = self.lines();
        loop {
            if !lines.generate.is_empty() || !lines.embed.is_empty() {
                return Work::Some;
            }
            if lines.closed {
                return Work::Closed;
            }
            lines = self.wake.wait(lines).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes no more work; what is there is still done.
    pub(crate) fn close(&self) {
        self.lines().closed = true;
        self.wake.notify_all();
    }

    /// Requests that wait: in the lines, or set aside.
    pub(crate) fn waiting(&self) -> usize {
        let lines = self.lines();
        lines.generate.len() + lines.embed.len() + self.figures.aside.load(Ordering::Relaxed) as usize
    }

    /// 429, with the time in which a place usually becomes free: an answer's usual length over the present speed.
    fn full(&self) -> ApiError {
        let tokens = u64::from(self.figures.answer_tokens.load(Ordering::Relaxed)).max(1);
        let rate_milli = self.figures.rate_milli.load(Ordering::Relaxed).max(1_000);
        let seconds = (tokens * 1_000).div_ceil(rate_milli).clamp(1, 60);
        ApiError {
            code: Some("engine_queue_full"),
            retry_after: Some(seconds),
            ..ApiError::new(
                429,
                "rate_limit_error",
                format!(
                    "the local engine has {} requests running and {} waiting, which is its limit; try again in {seconds} s",
                    self.parallel, self.waiting_max
                ),
            )
        }
    }

    /// The lines stay whole even if a holder panicked: every change to them is one call.
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
