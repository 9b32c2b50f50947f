//! From the model's scores to a token: what a request may ask for, as a chain of llama.cpp's samplers.

use llama_cpp_2::{
    context::LlamaContext,
    sampling::LlamaSampler,
    token::{LlamaToken, data_array::LlamaTokenDataArray, logit_bias::LlamaLogitBias},
};

use super::{error::ApiError, model::Model};

/// How a request wants its tokens chosen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sampling {
    /// 0 takes the best token always.
    pub(crate) temperature: f32,
    pub(crate) top_p: f32,
    /// 0 is off.
    pub(crate) top_k: i32,
    pub(crate) min_p: f32,
    pub(crate) seed: u32,
    pub(crate) presence_penalty: f32,
    pub(crate) frequency_penalty: f32,
    /// 1 is off.
    pub(crate) repetition_penalty: f32,
    pub(crate) logit_bias: Vec<(i32, f32)>,
    /// Never choose the model's end mark.
    pub(crate) ignore_end: bool,
}

/// One sequence's way of choosing, with its memory of what was chosen.
#[derive(Debug)]
pub(crate) struct Sampler {
    chain: LlamaSampler,
    grammar: Option<LlamaSampler>,
}

/// Tokens that the penalties look back on.
const PENALTY_TOKENS: i32 = 8192;

impl Sampler {
    /// Builds the chain. `grammar` is GBNF; `prompt` is what the repetition penalty already counts.
    pub(crate) fn new(
        model: &Model,
        wanted: &Sampling,
        grammar: Option<&str>,
        prompt: &[LlamaToken],
    ) -> Result<Self, ApiError> {
        let grammar = grammar
            .map(|text| LlamaSampler::grammar(&model.weights, text, "root"))
            .transpose()
            .map_err(|error| {
                ApiError::field(
                    "response_format",
                    format!("this schema does not make a usable grammar: {error}"),
                )
            })?;
        let mut links = Vec::new();
        if wanted.logit_bias.iter().any(|(token, _)| *token >= model.vocabulary()) {
            return Err(ApiError::field(
                "logit_bias",
                format!("`logit_bias` names a token that this model lacks; it has {}", model.vocabulary()),
            ));
        }
        let mut bias: Vec<LlamaLogitBias> = wanted
            .logit_bias
            .iter()
            .map(|&(token, bias)| LlamaLogitBias::new(LlamaToken(token), bias))
            .collect();
        if wanted.ignore_end {
            bias.extend(
                model.end_tokens().into_iter().map(|token| LlamaLogitBias::new(token, f32::NEG_INFINITY)),
            );
        }
        if !bias.is_empty() {
            links.push(LlamaSampler::logit_bias(model.vocabulary(), &bias));
        }
        if differs(wanted.repetition_penalty, 1.0) {
            let link = LlamaSampler::penalties(
                model.vocabulary(),
                PENALTY_TOKENS,
                wanted.repetition_penalty,
                0.0,
                0.0,
            );
            links.push(link.with_tokens(prompt));
        }
        if differs(wanted.presence_penalty, 0.0) || differs(wanted.frequency_penalty, 0.0) {
            // These count the answer alone, as OpenAI's do.
            links.push(LlamaSampler::penalties(
                model.vocabulary(),
                PENALTY_TOKENS,
                1.0,
                wanted.frequency_penalty,
                wanted.presence_penalty,
            ));
        }
        if wanted.temperature > 0.0 {
            links.push(LlamaSampler::temp(wanted.temperature));
            if wanted.top_k > 0 {
                links.push(LlamaSampler::top_k(wanted.top_k));
            }
            links.push(LlamaSampler::top_p(wanted.top_p, 1));
            links.push(LlamaSampler::min_p(wanted.min_p, 1));
            links.push(LlamaSampler::dist(wanted.seed));
        } else {
            links.push(LlamaSampler::greedy());
        }
        Ok(Self { chain: LlamaSampler::chain(links, true), grammar })
    }

    /// Chooses the token after the text whose scores are in `row` of the last batch.
    pub(crate) fn choose(&mut self, context: &LlamaContext<'_>, row: i32) -> Result<LlamaToken, ApiError> {
        let Some(grammar) = &mut self.grammar else {
            return Ok(self.chain.sample(context, row));
        };
        // Most choices fit the grammar anyway, and asking it about one token is far cheaper than about all of them.
        let mut candidates = context.token_data_array_ith(row);
        self.chain.apply(&mut candidates);
        let mut token = candidates.selected_token();
        if !token.is_some_and(|token| allows(grammar, token)) {
            candidates = context.token_data_array_ith(row);
            grammar.apply(&mut candidates);
            self.chain.apply(&mut candidates);
            token = candidates.selected_token();
        }
        let token = token.ok_or_else(|| ApiError::engine("no token fits the grammar"))?;
        grammar
            .try_accept(token)
            .map_err(|error| ApiError::engine(format!("the grammar has no way on: {error}")))?;
        self.chain.accept(token);
        Ok(token)
    }
}

fn allows(grammar: &mut LlamaSampler, token: LlamaToken) -> bool {
    let mut one =
        LlamaTokenDataArray::new(vec![llama_cpp_2::token::data::LlamaTokenData::new(token, 0.0, 0.0)], false);
    grammar.apply(&mut one);
    one.data.first().is_some_and(|data| data.logit().is_finite())
}

fn differs(value: f32, neutral: f32) -> bool {
    (value - neutral).abs() > f32::EPSILON
}
