//! A text as one vector: the mean of its tokens' last hidden states, of length one. Computed in pieces between
//! the steps of the texts being written, in a small context of its own that exists once somebody asks.

use std::num::NonZeroU32;

use llama_cpp_2::{
    context::{
        LlamaContext,
        params::{LlamaContextParams, LlamaPoolingType},
    },
    llama_batch::LlamaBatch,
};

use super::{
    error::ApiError,
    model::Model,
    queue::{Embed, Queue},
};

/// The longest text that can be embedded, in tokens.
pub(crate) const TEXT_TOKENS_MAX: u32 = 2048;

/// Tokens computed at a time.
const PIECE_TOKENS: usize = 64;

/// The embedding side of the engine thread.
pub(crate) struct Embedder<'m> {
    model: &'m Model,
    threads: u16,
    context: Option<LlamaContext<'m>>,
    job: Option<Progress>,
}

struct Progress {
    job: Embed,
    done: Vec<Vec<f32>>,
    /// Tokens of the present text that are summed up.
    read: usize,
    sum: Vec<f32>,
}

impl<'m> Embedder<'m> {
    pub(crate) fn new(model: &'m Model, threads: u16) -> Self {
        Self { model, threads, context: None, job: None }
    }

    /// Computes one piece; false when there was nothing to do.
    pub(crate) fn step(&mut self, queue: &Queue) -> bool {
        if self.job.is_none() {
            self.job =
                queue.next_embed().map(|job| Progress { job, done: Vec::new(), read: 0, sum: Vec::new() });
        }
        let Some(mut progress) = self.job.take() else { return false };
        if progress.job.answer.is_closed() {
            return true;
        }
        match self.piece(&mut progress) {
            Ok(()) if progress.done.len() == progress.job.texts.len() => {
                // The caller may have left by now; then nobody wants it.
                let _ = progress.job.answer.send(Ok(progress.done));
            }
            Ok(()) => self.job = Some(progress),
            Err(error) => {
                let _ = progress.job.answer.send(Err(error));
            }
        }
        true
    }

    fn piece(&mut self, progress: &mut Progress) -> Result<(), ApiError> {
        let context = match &mut self.context {
            Some(context) => context,
            empty => {
                let fresh = context(self.model, self.threads)?;
                empty.insert(fresh)
            }
        };
        let Some(text) = progress.job.texts.get(progress.done.len()) else { return Ok(()) };
        if progress.read == 0 {
            context.clear_kv_cache();
            progress.sum.clear();
        }
        let mut batch = LlamaBatch::new(PIECE_TOKENS, 1);
        let piece = text.iter().zip(0..).skip(progress.read).take(PIECE_TOKENS);
        for (token, position) in piece {
            batch.add(*token, position, &[0], true).map_err(|error| ApiError::engine(error.to_string()))?;
        }
        context
            .decode(&mut batch)
            .map_err(|error| ApiError::engine(format!("the model could not compute this text: {error}")))?;
        for row in 0..batch.n_tokens() {
            let state = context
                .embeddings_ith(row)
                .map_err(|_| ApiError::engine("this model gives no embeddings"))?;
            progress.sum.resize(state.len(), 0.0);
            progress.sum.iter_mut().zip(state).for_each(|(sum, value)| *sum += value);
            progress.read += 1;
        }
        if progress.read >= text.len() {
            progress.done.push(unit(std::mem::take(&mut progress.sum)));
            progress.read = 0;
        }
        Ok(())
    }
}

fn context(model: &Model, threads: u16) -> Result<LlamaContext<'_>, ApiError> {
    let piece = u32::try_from(PIECE_TOKENS).unwrap_or(TEXT_TOKENS_MAX);
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(TEXT_TOKENS_MAX.min(model.context_tokens)))
        .with_n_batch(piece)
        .with_n_ubatch(piece)
        .with_embeddings(true)
        .with_pooling_type(LlamaPoolingType::None)
        .with_n_threads(i32::from(threads))
        .with_n_threads_batch(i32::from(threads));
    model
        .weights
        .new_context(&model.backend, params)
        .map_err(|error| ApiError::engine(format!("there is no memory for embeddings: {error}")))
}

/// The same direction with length one. The mean's division falls away in it.
fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        for value in &mut vector {
            *value /= length;
        }
    }
    vector
}
