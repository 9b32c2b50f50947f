//! From a body to work for the engine thread, and from that thread's events to an answer.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use llama_cpp_2::token::LlamaToken;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
};

use super::{
    answer::Answer,
    embeddings::TEXT_TOKENS_MAX,
    error::ApiError,
    fields::{Form, Options},
    message::Text,
    model::Model,
    prompt,
    queue::{Done, Embed, Event, Generate},
    request::{Chat, Completion, Embeddings},
    sampling::Sampler,
    server::Service,
    tools,
};

/// Work that is ready to be queued, and both ends of its answer.
pub(crate) struct Prepared {
    pub(crate) job: Generate,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) answer: Answer,
    pub(crate) stream: bool,
}

/// Reads a chat's body.
pub(crate) fn chat(model: &Model, answer_tokens_default: u32, body: &[u8]) -> Result<Prepared, ApiError> {
    let chat = Chat::parse(body, &model.name)?;
    let mut prompt = render(model, chat.messages, &chat.form)?;
    // The template has opened the assistant's message; what was said of it comes right behind.
    prompt.extend(chat.begun.map(|begun| model.defuse(&begun)));
    let prompt = model.tokenize_prompt(&prompt);
    fits(model, "messages", &prompt)?;
    let answer = Answer::chat(&model.name, &chat.form, count(prompt.len()), chat.options.include_usage);
    prepare(model, answer_tokens_default, prompt, &chat.form, chat.options, answer)
}

/// Reads a plain completion's body.
pub(crate) fn completion(
    model: &Model,
    answer_tokens_default: u32,
    body: &[u8],
) -> Result<Prepared, ApiError> {
    let completion = Completion::parse(body, &model.name)?;
    let prompt = tokens(model, "prompt", completion.prompt)?;
    fits(model, "prompt", &prompt)?;
    let answer = Answer::completion(&model.name, count(prompt.len()), completion.options.include_usage);
    prepare(model, answer_tokens_default, prompt, &completion.form, completion.options, answer)
}

/// Answers an embeddings request.
pub(crate) async fn embeddings(service: &Service, body: Bytes) -> Result<Value, ApiError> {
    let model = std::sync::Arc::clone(&service.model);
    let reading = spawn_blocking(move || -> Result<_, ApiError> {
        let wanted = Embeddings::parse(&body, &model.name, i64::from(model.weights.n_embd()))?;
        let texts = wanted
            .texts
            .into_iter()
            .map(|text| tokens(&model, "input", text))
            .collect::<Result<Vec<_>, _>>()?;
        let most = TEXT_TOKENS_MAX.min(model.context_tokens) as usize;
        if let Some(long) = texts.iter().find(|text| text.len() > most) {
            return Err(ApiError::too_long("input", long.len(), most));
        }
        Ok((texts, wanted.base64))
    });
    let (texts, base64) = reading
        .await
        .map_err(|_| ApiError::engine("reading this request failed; see the engine's log"))??;
    let prompt_tokens: usize = texts.iter().map(Vec::len).sum();
    let (answer, vectors) = oneshot::channel();
    service.queue.embed(Embed { texts, answer })?;
    let vectors = vectors.await.map_err(|_| ApiError::stopping())??;
    let data: Vec<Value> = vectors
        .iter()
        .enumerate()
        .map(|(index, vector)| json!({"object": "embedding", "index": index, "embedding": encode(vector, base64)}))
        .collect();
    Ok(json!({
        "object": "list", "data": data, "model": service.model.name,
        "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
    }))
}

/// Waits for the whole answer. Dropping this cancels the work.
pub(crate) async fn collect(mut events: mpsc::Receiver<Event>) -> Result<(String, Done), ApiError> {
    let mut text = String::new();
    loop {
        match events.recv().await {
            Some(Event::Text(more)) => text.push_str(&more),
            Some(Event::Done(done)) => return Ok((text, done)),
            Some(Event::Failed(error)) => return Err(error),
            None => return Err(ApiError::stopping()),
        }
    }
}

/// The prompt's text. Callers' words are defused first, so that none of them can act as the template's own marks.
fn render(model: &Model, mut messages: Vec<Value>, form: &Form) -> Result<String, ApiError> {
    let mut functions: Option<Vec<Value>> = match form {
        Form::Call(functions) => Some(functions.iter().map(|function| function.entry.clone()).collect()),
        Form::Text | Form::Json(_) => None,
    };
    if !model.template.takes_tool_calls {
        messages.iter_mut().for_each(calls_as_text);
    }
    if !model.template.takes_tools
        && let Some(functions) = functions.take()
    {
        prompt::describe_tools(&mut messages, &functions);
    }
    messages.iter_mut().chain(functions.iter_mut().flatten()).for_each(|value| defuse(model, value));
    model.template.render(&messages, functions.as_deref()).map_err(|error| {
        ApiError::field(
            "messages",
            format!("the model's chat template refuses these messages: {}", error.words()),
        )
    })
}

/// An assistant's earlier calls as part of its words.
fn calls_as_text(message: &mut Value) {
    let Some(Value::Array(calls)) = message.get("tool_calls") else { return };
    let mut text = message["content"].as_str().unwrap_or_default().to_owned();
    for call in calls {
        text.push_str(&call["function"].to_string());
    }
    message["content"] = text.into();
}

fn defuse(model: &Model, value: &mut Value) {
    match value {
        Value::String(text) => *text = model.defuse(text),
        Value::Array(list) => list.iter_mut().for_each(|item| defuse(model, item)),
        Value::Object(map) => map.values_mut().for_each(|item| defuse(model, item)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn prepare(
    model: &Model,
    answer_tokens_default: u32,
    prompt: Vec<LlamaToken>,
    form: &Form,
    options: Options,
    answer: Answer,
) -> Result<Prepared, ApiError> {
    let grammar = tools::grammar(form)?;
    let sampler = Sampler::new(model, &options.sampling, grammar.as_deref(), &prompt)?;
    let room = model.context_tokens.saturating_sub(count(prompt.len()));
    let answer_tokens_max = options.answer_tokens_max.unwrap_or(answer_tokens_default).min(room);
    // A text for each token, the held-back rest, and the end: it can never be full.
    let (sender, events) = mpsc::channel(answer_tokens_max as usize + 3);
    let job = Generate {
        prompt,
        sampler,
        answer_tokens_max,
        stops: options.stops,
        ignore_end: options.sampling.ignore_end,
        events: sender,
    };
    Ok(Prepared { job, events, answer, stream: options.stream })
}

fn tokens(model: &Model, param: &str, text: Text) -> Result<Vec<LlamaToken>, ApiError> {
    match text {
        Text::Words(words) => Ok(model.tokenize_plain(&words)),
        Text::Tokens(numbers) => {
            if numbers.iter().any(|number| !(0..model.vocabulary()).contains(number)) {
                return Err(ApiError::field(
                    param,
                    format!("`{param}` has a token outside 0 to {}", model.vocabulary() - 1),
                ));
            }
            Ok(numbers.into_iter().map(LlamaToken).collect())
        }
    }
}

/// A prompt needs at least one token, and room for one more after it.
fn fits(model: &Model, param: &str, prompt: &[LlamaToken]) -> Result<(), ApiError> {
    let most = model.context_tokens as usize - 1;
    if prompt.is_empty() {
        return Err(ApiError::field(param, format!("`{param}` is empty; give some text")));
    }
    if prompt.len() > most { Err(ApiError::too_long(param, prompt.len(), most)) } else { Ok(()) }
}

fn encode(vector: &[f32], base64: bool) -> Value {
    if base64 {
        let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
        BASE64_STANDARD.encode(bytes).into()
    } else {
        json!(vector)
    }
}

fn count(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}
