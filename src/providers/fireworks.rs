//! Fireworks AI: strict about fields it does not know, so those are left out on the way there.

use super::fault::{Class, View};

/// Fields of its request schema; everything else it answers with 400.
pub(super) const FIELDS: &[&str] = &[
    "messages", "prompt", "input", "model", "stream", "stream_options", "context_length_exceeded_behavior", "echo", "echo_last",
    "frequency_penalty", "function_call", "functions", "ignore_eos", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens",
    "metadata", "min_p", "mirostat_lr", "mirostat_target", "n", "parallel_tool_calls", "perf_metrics_in_response", "prediction",
    "presence_penalty", "prompt_cache_isolation_key", "prompt_cache_key", "prompt_truncate_len", "raw_output", "reasoning_effort",
    "reasoning_history", "repetition_penalty", "response_format", "return_token_ids", "safe_tokenization", "seed", "service_tier",
    "speculation", "stop", "temperature", "thinking", "tool_choice", "tools", "top_k", "top_logprobs", "top_p", "typical_p", "user",
    "encoding_format", "dimensions",
];

pub(super) fn class(view: &View) -> Option<Class> {
    match view.status {
        400 if view.mentions(&["extra inputs are not permitted"]) => Some(Class::UnknownField),
        404 => Some(Class::UnknownModel),
        412 => Some(Class::NoMoney),
        _ => None,
    }
}
