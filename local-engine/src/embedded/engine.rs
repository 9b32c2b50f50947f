//! The one thread that computes: it joins all running texts into one batch a step, lets new ones in between steps,
//! reads long prompts in pieces, and sets texts aside when the cache is full.

use std::{collections::VecDeque, num::NonZeroU32, sync::atomic::Ordering};

use llama_cpp_2::{
    DecodeError, LlamaContextLoadError,
    context::{LlamaContext, params::LlamaContextParams},
    llama_batch::LlamaBatch,
};

use super::{
    embeddings::Embedder,
    error::ApiError,
    model::Model,
    queue::{Event, Queue, Work},
    slot::{Slot, Writing},
};
use crate::clock;

/// Prompt tokens read in a step while other texts are being written, so that those keep flowing.
const PROMPT_TOKENS_BESIDE: usize = 48;

/// Prompt tokens read in a step when nobody else waits for one.
const PROMPT_TOKENS_ALONE: usize = 256;

/// The engine thread's own state.
pub(crate) struct Engine<'m> {
    model: &'m Model,
    queue: &'m Queue,
    context: LlamaContext<'m>,
    batch: LlamaBatch<'m>,
    slots: Vec<Slot>,
    /// Texts that lost their place in the cache, oldest first; never more than there are slots.
    aside: VecDeque<Writing>,
    embedder: Embedder<'m>,
    cells_max: usize,
    steps: u64,
    arrivals: u64,
}

impl<'m> Engine<'m> {
    /// Makes the context; this takes its memory.
    pub(crate) fn new(
        model: &'m Model,
        queue: &'m Queue,
        parallel: u16,
        threads: u16,
    ) -> Result<Self, LlamaContextLoadError> {
        let params = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(model.context_tokens))
            .with_n_batch(BATCH_TOKENS)
            .with_n_ubatch(BATCH_TOKENS)
            .with_n_seq_max(u32::from(parallel))
            // One pool of cells for all, so that one text may be as long as the whole context.
            .with_kv_unified(true)
            .with_n_threads(i32::from(threads))
            .with_n_threads_batch(i32::from(threads));
        let context = model.weights.new_context(&model.backend, params)?;
        queue.figures.answer_tokens.store(128, Ordering::Relaxed);
        Ok(Self {
            model,
            queue,
            context,
            batch: LlamaBatch::new(BATCH_TOKENS as usize, 1),
            slots: (0..parallel).map(|_| Slot::default()).collect(),
            aside: VecDeque::new(),
            embedder: Embedder::new(model, threads),
            cells_max: model.context_tokens as usize,
            steps: 0,
            arrivals: 0,
        })
    }

    /// Works until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        loop {
            self.forget_the_left();
            self.admit();
            let embedding = self.embedder.step(self.queue);
            let writing = self.slots.iter().any(|slot| slot.writing.is_some());
            if writing {
                self.step();
            }
            self.publish();
            if !writing && !embedding && self.queue.wait() == Work::Closed {
                return;
            }
        }
    }

    /// Ends the texts whose callers have left; their cache stays for whoever comes with the same beginning.
    fn forget_the_left(&mut self) {
        for slot in &mut self.slots {
            if slot.writing.as_ref().is_some_and(|writing| writing.events.is_closed()) {
                slot.writing = None;
                self.queue.released();
            }
        }
        let before = self.aside.len();
        self.aside.retain(|writing| !writing.events.is_closed());
        (self.aside.len()..before).for_each(|_| self.queue.released());
    }

    /// Gives free slots to waiting texts, those set aside first, as long as their tokens fit into the cache.
    fn admit(&mut self) {
        while self.slots.iter().any(|slot| slot.writing.is_none()) {
            let next = self.aside.pop_front().or_else(|| {
                self.arrivals += 1;
                self.queue.next_generate().map(|job| Writing::new(job, self.arrivals))
            });
            let Some(mut writing) = next else { return };
            let index = self.best_slot(&writing);
            let busy: usize = self.slots.iter().filter(|slot| slot.writing.is_some()).map(Slot::cells).sum();
            if busy > 0 && busy + writing.tokens.len() >= self.cells_max {
                self.aside.push_front(writing);
                return;
            }
            let Some(slot) = self.slots.get_mut(index) else { return };
            let mut shared = slot.shared(&writing.tokens);
            if !truncate(&mut self.context, index, slot, shared) {
                shared = 0;
            }
            writing.reused.get_or_insert(shared);
            slot.writing = Some(writing);
            slot.used = self.steps;
        }
    }

    /// The free slot that already holds the most of this text, or else the one unused the longest.
    fn best_slot(&self, writing: &Writing) -> usize {
        let free = || self.slots.iter().enumerate().filter(|(_, slot)| slot.writing.is_none());
        let (index, shared) = free()
            .map(|(index, slot)| (index, slot.shared(&writing.tokens)))
            .max_by_key(|(_, shared)| *shared)
            .unwrap_or((0, 0));
        let worth_it = self.slots.get(index).is_some_and(|slot| shared * 2 >= slot.cached.len());
        if worth_it && shared > 0 {
            return index;
        }
        free().min_by_key(|(_, slot)| (!slot.cached.is_empty(), slot.used)).map_or(0, |(index, _)| index)
    }

    /// One batch through the model, and a token for every text that is past its prompt.
    fn step(&mut self) {
        self.make_room();
        self.fill_batch();
        if self.batch.n_tokens() == 0 {
            return;
        }
        let started = clock::now();
        if let Err(error) = self.context.decode(&mut self.batch) {
            self.failed(&error);
            return;
        }
        let mut chosen = 0;
        for index in 0..self.slots.len() {
            chosen += u64::from(self.choose(index));
        }
        self.steps += 1;
        self.measure(chosen, started.elapsed());
    }

    /// Gives up idle caches, then sets the latest texts aside, until the next step is sure to fit.
    fn make_room(&mut self) {
        while self.slots.iter().map(Slot::cells).sum::<usize>() > self.cells_max {
            let idle = self
                .slots
                .iter()
                .enumerate()
                .filter(|(_, slot)| slot.writing.is_none() && !slot.cached.is_empty())
                .min_by_key(|(_, slot)| slot.used)
                .map(|(index, _)| index);
            let latest = || {
                let of = |slot: &Slot| slot.writing.as_ref().map(|writing| writing.arrival);
                self.slots
                    .iter()
                    .enumerate()
                    .filter_map(|(index, slot)| Some((of(slot)?, index)))
                    .max()
                    .map(|(_, index)| index)
            };
            let Some(index) = idle.or_else(latest) else { return };
            let Some(slot) = self.slots.get_mut(index) else { return };
            if let Some(writing) = slot.writing.take() {
                let place = self.aside.partition_point(|other| other.arrival < writing.arrival);
                self.aside.insert(place, writing);
            }
            truncate(&mut self.context, index, slot, 0);
        }
    }

    /// One token for each text being written, and then pieces of prompts, the oldest first.
    fn fill_batch(&mut self) {
        self.batch.clear();
        let mut order: Vec<usize> = (0..self.slots.len()).filter(|&index| self.pending(index) > 0).collect();
        let writing = order.iter().filter(|&&index| self.pending(index) == 1).count();
        let mut budget = if writing == 0 { PROMPT_TOKENS_ALONE } else { PROMPT_TOKENS_BESIDE };
        order.sort_by_key(|&index| {
            let slot = self.slots.get(index);
            (
                self.pending(index) > 1,
                slot.and_then(|slot| slot.writing.as_ref()).map(|writing| writing.arrival),
            )
        });
        for index in order {
            let pending = self.pending(index);
            let take = if pending == 1 { 1 } else { pending.min(budget) };
            if pending > 1 {
                budget -= take;
            }
            self.add_to_batch(index, take);
        }
    }

    fn pending(&self, index: usize) -> usize {
        self.slots.get(index).map_or(0, Slot::pending)
    }

    /// Adds the next `take` tokens of a slot; the last token of its text asks for scores.
    fn add_to_batch(&mut self, index: usize, take: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let Some(writing) = slot.writing.as_mut() else { return };
        writing.row = None;
        let from = slot.cached.len();
        let Some(tokens) = writing.tokens.get(from..from + take) else { return };
        for (position, token) in (from..).zip(tokens) {
            let last = position + 1 == writing.tokens.len();
            let row = self.batch.n_tokens();
            if self.batch.add(*token, number(position), &[number(index)], last).is_err() {
                // The batch is sized for the largest step, so this is never reached; the rest would follow in the next step.
                return;
            }
            slot.cached.push(*token);
            writing.row = last.then_some(row);
        }
    }

    /// Chooses a token for one slot; true when there was one to choose.
    fn choose(&mut self, index: usize) -> bool {
        let Some(slot) = self.slots.get_mut(index) else { return false };
        slot.used = self.steps;
        let Some(writing) = slot.writing.as_mut() else { return false };
        let Some(row) = writing.row.take() else { return false };
        let ended = match writing.sampler.choose(&self.context, row) {
            Err(error) => {
                writing.send(Event::Failed(error));
                true
            }
            Ok(token) => {
                writing.generated += 1;
                if self.model.is_end(token) && !writing.ignore_end {
                    writing.finish(false);
                    true
                } else {
                    writing.tokens.push(token);
                    let stopped = writing.write(&self.model.piece(token));
                    let cut = writing.generated >= writing.answer_tokens_max
                        || writing.tokens.len() >= self.cells_max;
                    if stopped || cut {
                        writing.finish(!stopped);
                    }
                    stopped || cut
                }
            }
        };
        if ended {
            let generated = writing.generated;
            slot.writing = None;
            self.queue.released();
            let usual = &self.queue.figures.answer_tokens;
            usual.store((usual.load(Ordering::Relaxed) * 7 + generated) / 8, Ordering::Relaxed);
        }
        true
    }

    /// llama.cpp could not compute a step: whoever was in it is told, and the cache starts afresh.
    fn failed(&mut self, error: &DecodeError) {
        tracing::error!(%error, "a step of the model failed");
        for slot in &mut self.slots {
            if let Some(writing) = slot.writing.take() {
                writing.send(Event::Failed(ApiError::engine(format!(
                    "the model could not compute this step ({error}); try again"
                ))));
                self.queue.released();
            }
            slot.cached.clear();
        }
        self.context.clear_kv_cache();
    }

    /// Keeps the speed as a moving average over some twenty steps.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rate for people and for Retry-After"
    )]
    fn measure(&self, chosen: u64, took: std::time::Duration) {
        let figures = &self.queue.figures;
        figures.tokens.fetch_add(chosen, Ordering::Relaxed);
        let seconds = took.as_secs_f64();
        if chosen > 0 && seconds > 0.0 {
            let before = figures.rate_milli.load(Ordering::Relaxed) as f64;
            let this = chosen as f64 * 1_000.0 / seconds;
            let next = if before > 0.0 { before * 0.95 + this * 0.05 } else { this };
            figures.rate_milli.store(next as u64, Ordering::Relaxed);
        }
    }

    fn publish(&self) {
        let figures = &self.queue.figures;
        let count = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        figures.steps.fetch_add(1, Ordering::Relaxed);
        figures
            .running
            .store(count(self.slots.iter().filter(|slot| slot.writing.is_some()).count()), Ordering::Relaxed);
        figures.aside.store(count(self.aside.len()), Ordering::Relaxed);
        figures.cells.store(count(self.slots.iter().map(|slot| slot.cached.len()).sum()), Ordering::Relaxed);
    }
}

/// The most tokens in a step: one for each of up to 64 slots, and a piece of a prompt.
const BATCH_TOKENS: u32 = 512;

/// Keeps the first `keep` tokens of a slot's cache. Models with a state that cannot be cut lose all of it: then false.
fn truncate(context: &mut LlamaContext<'_>, index: usize, slot: &mut Slot, keep: usize) -> bool {
    let sequence = u32::try_from(index).ok();
    let cut = context.clear_kv_cache_seq(sequence, u32::try_from(keep).ok(), None).unwrap_or(false);
    if cut {
        slot.cached.truncate(keep);
    } else {
        // Removing a whole sequence always works.
        let _ = context.clear_kv_cache_seq(sequence, None, None);
        slot.cached.clear();
    }
    cut
}

/// Positions and slots are far below the limit of llama.cpp's integers.
fn number(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
