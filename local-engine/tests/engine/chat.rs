//! Text: whole and streamed, repeatable, stopped, limited.

use std::thread;

use serde_json::json;

use crate::support::{Worker, streamed_text, text};

#[test]
fn a_greedy_answer_is_the_same_every_time_and_its_tokens_are_counted() {
    let worker = Worker::start(&[]);
    let fields = json!({"messages": [{"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": [{"type": "text", "text": "What is the capital of France?"}]}]});
    let (first, second) = (worker.chat(&fields), worker.chat(&fields));
    assert!(text(&first).contains("Paris"), "{first}");
    assert_eq!(text(&first), text(&second));
    assert_eq!(first["choices"][0]["finish_reason"], "stop");
    let usage = &second["usage"];
    assert_eq!(
        usage["total_tokens"].as_u64(),
        Some(usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap())
    );
    // The second time, all of the prompt but its last token was still there.
    assert_eq!(
        usage["prompt_tokens_details"]["cached_tokens"].as_u64(),
        usage["prompt_tokens"].as_u64().map(|tokens| tokens - 1)
    );
}

#[test]
fn a_stream_says_what_the_whole_answer_says() {
    let worker = Worker::start(&[]);
    let whole = worker.chat(&json!({}));
    let events = worker.stream(&json!({}));
    assert_eq!(streamed_text(&events), text(&whole));
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    let last = events.last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], whole["usage"]["completion_tokens"]);
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], whole["choices"][0]["finish_reason"]);
    assert!(
        events
            .iter()
            .all(|event| event["id"] == events[0]["id"] && event["model"] == "smollm2-135m-instruct")
    );
}

#[test]
fn a_stop_sequence_ends_the_answer_and_is_not_in_it() {
    let worker = Worker::start(&[]);
    let whole = text(&worker.chat(&json!({}))).to_owned();
    // Across a word's boundary, so that it spans tokens.
    let stop = &whole[10..16];
    let before = &whole[..whole.find(stop).unwrap()];
    let stopped = worker.chat(&json!({"stop": ["never said", stop]}));
    assert_eq!(text(&stopped), before);
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
    assert_eq!(streamed_text(&worker.stream(&json!({"stop": stop}))), before);
}

#[test]
fn the_limit_cuts_and_says_so() {
    let worker = Worker::start(&[]);
    for name in ["max_tokens", "max_completion_tokens"] {
        let answer = worker.chat(&json!({name: 3, "ignore_eos": true}));
        assert_eq!(answer["choices"][0]["finish_reason"], "length");
        assert_eq!(answer["usage"]["completion_tokens"], 3);
    }
}

#[test]
fn a_seed_makes_chance_repeatable() {
    let worker = Worker::start(&[]);
    let with =
        |seed: i64| text(&worker.chat(&json!({"temperature": 1.5, "top_p": 1, "seed": seed}))).to_owned();
    // A first call fills the cache, so that the compared ones start from the same one.
    with(1);
    assert_eq!(with(7), with(7));
    assert_ne!(with(7), with(8));
}

#[test]
fn characters_that_span_tokens_arrive_whole() {
    let worker = Worker::start(&[]);
    let body = json!({"model": "smollm2-135m-instruct", "prompt": "🦉🦊🐻🦉🦊🐻🦉🦊🐻🦉🦊", "temperature": 0, "max_tokens": 24, "ignore_eos": true});
    let whole =
        worker.post("/v1/completions", &body).json()["choices"][0]["text"].as_str().unwrap().to_owned();
    assert!(whole.chars().any(|character| character.len_utf8() == 4), "{whole:?}");
    let mut streamed = body.clone();
    streamed["stream"] = true.into();
    let answer = worker.post("/v1/completions", &streamed).body;
    let pieces: String = answer
        .split_terminator("\n\n")
        .filter_map(|event| serde_json::from_str::<serde_json::Value>(event.strip_prefix("data: ")?).ok())
        .map(|event| event["choices"][0]["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(pieces, whole);
}

#[test]
fn the_models_own_template_adds_its_system_message() {
    let worker = Worker::start(&[]);
    let tokens = |messages| {
        worker.chat(&json!({"messages": messages, "max_tokens": 1}))["usage"]["prompt_tokens"]
            .as_u64()
            .unwrap()
    };
    let implied = tokens(json!([{"role": "user", "content": "hi"}]));
    let system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
    let written = tokens(json!([{"role": "system", "content": system}, {"role": "user", "content": "hi"}]));
    assert_eq!(implied, written);
    assert!(
        tokens(json!([{"role": "developer", "content": "x"}, {"role": "user", "content": "hi"}])) < written
    );
}

#[test]
fn a_callers_words_cannot_act_as_the_templates_marks() {
    let worker = Worker::start(&[]);
    let tokens = |content: &str| {
        let messages = json!([{"role": "user", "content": content}]);
        worker.chat(&json!({"messages": messages, "max_tokens": 1}))["usage"]["prompt_tokens"]
            .as_u64()
            .unwrap()
    };
    // As a mark it would be one token.
    assert!(tokens("<|im_end|>") > tokens("a") + 2);
}

#[test]
fn several_answers_are_written_at_once() {
    let worker = Worker::start(&["--parallel", "4"]);
    let together: Vec<_> = thread::scope(|scope| {
        let ask = |number: u32| json!({"messages": [{"role": "user", "content": format!("Count from {number}.")}], "max_tokens": 40, "ignore_eos": true});
        let asked: Vec<_> = (0..6).map(|number| (number, worker.open_long())).collect();
        crate::support::until("four run and two wait", || {
            let status = worker.status();
            status["running"] == 4 && status["queued"] == 2
        });
        drop(asked);
        let running: Vec<_> = (0..6)
            .map(|number| {
                scope.spawn({
                    let worker = &worker;
                    move || worker.chat(&ask(number))
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(
        together.iter().all(|answer| answer["usage"]["completion_tokens"] == 40 && !text(answer).is_empty())
    );
}

#[test]
fn an_answer_that_somebody_else_began_is_gone_on_with() {
    let worker = Worker::start(&[]);
    let events = worker.stream(&json!({"max_tokens": 40}));
    let pieces: Vec<&str> =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    let whole = pieces.concat();
    let asked = json!({"role": "user", "content": "Write one sentence about the sea."});
    for said in 1..pieces.len() {
        let begun = pieces[..said].concat();
        let begun = begun.trim_end();
        if begun.is_empty() {
            continue;
        }
        let messages = json!([asked, {"role": "assistant", "content": begun}]);
        let answer = worker
            .chat(&json!({"messages": messages, "max_tokens": 40, "continue_final_message": true,
            "add_generation_prompt": false}));
        let going_on = format!("{begun}{}", text(&answer));
        assert!(going_on.starts_with(&whole), "after {said}: {going_on:?} is not {whole:?}");
    }
}
