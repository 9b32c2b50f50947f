//! The words of a provider's record, as the rest of the program has them.

use crate::config::document::gateway::{CapabilityWord, ContinuationWord, KindWord, ModelDocument};
use crate::providers::{Continuation, Kind};
use crate::routing::Capabilities;

pub(super) const fn continuation_of(word: ContinuationWord) -> Continuation {
    match word {
        ContinuationWord::None => Continuation::None,
        ContinuationWord::Prefill => Continuation::Prefill,
        ContinuationWord::FinalMessage => Continuation::FinalMessage,
        ContinuationWord::Prefix => Continuation::Prefix,
        ContinuationWord::Partial => Continuation::Partial,
    }
}

pub(super) const fn kind_of(word: KindWord) -> Kind {
    match word {
        KindWord::OpenRouter => Kind::OpenRouter,
        KindWord::Together => Kind::Together,
        KindWord::Fireworks => Kind::Fireworks,
        KindWord::DeepSeek => Kind::DeepSeek,
        KindWord::DashScope => Kind::DashScope,
        KindWord::Hunyuan => Kind::Hunyuan,
        KindWord::ModelArts => Kind::ModelArts,
        KindWord::OpenAi => Kind::OpenAi,
        KindWord::Vllm => Kind::Vllm,
        KindWord::Sglang => Kind::Sglang,
    }
}

pub(super) fn capabilities(kind: Kind, typed: &ModelDocument) -> Capabilities {
    let Some(typed) = &typed.capabilities else { return kind.capabilities() };
    typed.value.iter().fold(Capabilities::default(), |all, word| {
        all.with(match word.value {
            CapabilityWord::Chat => Capabilities::CHAT,
            CapabilityWord::Completions => Capabilities::COMPLETIONS,
            CapabilityWord::Embeddings => Capabilities::EMBEDDINGS,
            CapabilityWord::Rerank => Capabilities::RERANK,
            CapabilityWord::Tools => Capabilities::TOOLS,
            CapabilityWord::JsonSchema => Capabilities::JSON_SCHEMA,
            CapabilityWord::ForcedTool => Capabilities::FORCED_TOOL,
            CapabilityWord::ManyChoices => Capabilities::MANY_CHOICES,
            CapabilityWord::Logprobs => Capabilities::LOGPROBS,
        })
    })
}
