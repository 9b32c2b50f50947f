//! The weights and the vocabulary: text to tokens and back, and whether this machine can run them at all.

use std::{path::Path, time::Duration};

use llama_cpp_2::{
    LogOptions,
    llama_backend::LlamaBackend,
    model::{LlamaModel, params::LlamaModelParams},
    send_logs_to_tracing,
    token::LlamaToken,
};

use super::prompt::{self, Template};
use crate::{clock, hardware};

/// A loaded model, shared by the HTTP side (which tokenises) and the engine thread (which computes).
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) weights: LlamaModel,
    pub(crate) backend: LlamaBackend,
    pub(crate) name: String,
    pub(crate) template: Template,
    /// Tokens of context; what was asked for, or what the model was trained with if that is less.
    pub(crate) context_tokens: u32,
    /// How long loading took.
    pub(crate) load_time: Duration,
    /// The texts of tokens with a meaning of their own, such as `<|im_end|>`.
    control_texts: Vec<String>,
    add_bos: bool,
}

/// Why a model cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "the model file {0} does not exist; fetch it with `make model` or `python3 scripts/fetch-model.py`, or name another with `local_engine`"
    )]
    Missing(String),
    #[error(
        "this CPU lacks {0}, which this build of llama.cpp needs (Intel Haswell or AMD Zen and later have it); build for this CPU with \
         `RUSTFLAGS=-Ctarget-cpu=native`, or set `local_engine: {{profile: off}}`"
    )]
    Cpu(String),
    #[error("llama.cpp does not start: {0}")]
    Backend(llama_cpp_2::LlamaCppError),
    #[error("{0} is not a model that llama.cpp can load ({1}); fetch it again with `make model`")]
    Load(String, llama_cpp_2::LlamaModelLoadError),
    #[error("the chat template in the model file is not usable: {0}")]
    Template(#[from] prompt::Error),
}

impl Model {
    /// Loads `path`; its memory is mapped, so that this takes well under a second.
    pub(crate) fn load(path: &Path, name: String, context_tokens: u32) -> Result<Self, Error> {
        if !path.is_file() {
            return Err(Error::Missing(path.display().to_string()));
        }
        let missing = hardware::missing_cpu_features();
        if !missing.is_empty() {
            return Err(Error::Cpu(missing.join(", ")));
        }
        send_logs_to_tracing(LogOptions::default().with_logs_enabled(false));
        let started = clock::now();
        let backend = LlamaBackend::init().map_err(Error::Backend)?;
        let weights = LlamaModel::load_from_file(&backend, path, &LlamaModelParams::default())
            .map_err(|error| Error::Load(path.display().to_string(), error))?;
        let vocab = weights.vocab();
        let control_texts = vocab
            .tokens()
            .filter(|token| vocab.is_control(*token))
            .filter_map(|token| vocab.text(token).and_then(|text| text.to_str().ok()).map(str::to_owned))
            .filter(|text| text.chars().count() > 1)
            .collect();
        let piece = |token| String::from_utf8_lossy(&vocab.token_to_piece(token, true, None)).into_owned();
        let source = weights.chat_template(None).ok().and_then(|template| template.to_string().ok());
        let template = Template::new(source, piece(vocab.bos()), piece(vocab.eos()))?;
        let add_bos = vocab.should_add_bos();
        let context_tokens = context_tokens.min(weights.n_ctx_train().max(256));
        Ok(Self {
            weights,
            backend,
            name,
            template,
            context_tokens,
            load_time: started.elapsed(),
            control_texts,
            add_bos,
        })
    }

    /// Tokens of a text in which nothing has a special meaning.
    pub(crate) fn tokenize_plain(&self, text: &str) -> Vec<LlamaToken> {
        self.weights.vocab().tokenize(text.as_bytes(), true, false)
    }

    /// Tokens of a rendered prompt: the template's control tokens count, those that a caller wrote into a message
    /// (broken up by [`Model::defuse`]) do not.
    pub(crate) fn tokenize_prompt(&self, text: &str) -> Vec<LlamaToken> {
        let mut tokens = Vec::new();
        for (index, piece) in text.split(prompt::SEAM).enumerate() {
            tokens.extend(self.weights.vocab().tokenize(piece.as_bytes(), index == 0 && self.add_bos, true));
        }
        tokens
    }

    /// Breaks up the control tokens' texts inside a caller's words, so that a message cannot pretend to end itself.
    pub(crate) fn defuse(&self, text: &str) -> String {
        let mut text = text.replace(prompt::SEAM, "");
        for control in &self.control_texts {
            if text.contains(control.as_str()) {
                let mut seamed = String::with_capacity(control.len() + prompt::SEAM.len_utf8());
                let mut characters = control.chars();
                seamed.extend(characters.next());
                seamed.push(prompt::SEAM);
                seamed.push_str(characters.as_str());
                text = text.replace(control.as_str(), &seamed);
            }
        }
        text
    }

    /// The bytes that a generated token stands for; control tokens stand for none.
    pub(crate) fn piece(&self, token: LlamaToken) -> Vec<u8> {
        self.weights.vocab().token_to_piece(token, false, None)
    }

    /// Whether this token ends an answer.
    pub(crate) fn is_end(&self, token: LlamaToken) -> bool {
        self.weights.vocab().is_eog(token)
    }

    /// Every token that ends an answer.
    pub(crate) fn end_tokens(&self) -> Vec<LlamaToken> {
        let vocab = self.weights.vocab();
        vocab.tokens().filter(|token| vocab.is_eog(*token)).collect()
    }

    /// Tokens in the vocabulary.
    pub(crate) fn vocabulary(&self) -> i32 {
        self.weights.n_vocab()
    }
}
