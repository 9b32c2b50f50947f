//! What does not fit, who leaves, and the end.

use std::io::Read;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::{Worker, chat, until};

#[test]
fn a_prompt_past_the_context_is_refused_by_name() {
    let worker = Worker::start(&["--context", "512"]);
    let answer = worker.post(
        "/v1/chat/completions",
        &chat(&json!({"messages": [{"role": "user", "content": "word ".repeat(600)}]})),
    );
    assert_eq!(answer.status, 400);
    let error = &answer.json()["error"];
    assert_eq!(error["code"], "context_length_exceeded");
    assert_eq!(error["param"], "messages");
    assert!(error["message"].as_str().unwrap().contains("at most 511"), "{error}");
}

#[test]
fn an_answer_ends_where_the_context_does() {
    let worker = Worker::start(&["--context", "256"]);
    let answer = worker.chat(&json!({"max_tokens": 5000, "ignore_eos": true}));
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["total_tokens"], 256);
}

#[test]
fn texts_that_together_outgrow_the_cache_all_come_to_their_end() {
    let worker = Worker::start(&["--context", "256", "--parallel", "3"]);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| worker.chat(&json!({"max_tokens": 120, "ignore_eos": true}))))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    // One had to give way and was taken up again; its caller cannot tell.
    let whole = |answer: &serde_json::Value| {
        answer["usage"]["completion_tokens"] == 120 && answer["choices"][0]["finish_reason"] == "length"
    };
    assert!(answers.iter().all(whole), "{answers:?}");
}

#[test]
fn a_full_queue_says_when_to_come_again() {
    let worker = Worker::start(&["--parallel", "1", "--queue", "1"]);
    let _running = worker.long_answer();
    let _waiting = worker.open_long();
    until("one waits", || worker.status()["queued"] == 1);
    let answer = worker.post("/v1/chat/completions", &chat(&json!({})));
    assert_eq!(answer.status, 429);
    assert_eq!(answer.json()["error"]["type"], "rate_limit_error");
    let seconds = answer
        .head
        .lines()
        .find_map(|line| line.strip_prefix("retry-after: "))
        .unwrap()
        .parse::<u64>()
        .unwrap();
    assert!((1..=60).contains(&seconds));
    // The probe's way stays open all the same.
    assert_eq!(worker.ask("GET", "/health", "").status, 200);
}

#[test]
fn a_caller_who_leaves_frees_the_place_running_or_waiting() {
    let worker = Worker::start(&["--parallel", "1"]);
    let running = worker.long_answer();
    let waiting = worker.open_long();
    until("one waits", || worker.status()["queued"] == 1);
    drop(waiting);
    drop(running);
    until("nobody runs or waits", || {
        let status = worker.status();
        status["running"] == 0 && status["queued"] == 0
    });
    // The long answers would have taken thousands of tokens.
    assert!(worker.status()["tokens_total"].as_u64().unwrap() < 2000);
    assert_eq!(worker.chat(&json!({}))["choices"][0]["index"], 0);
}

#[test]
fn bad_requests_get_the_right_status_and_an_envelope() {
    let worker = Worker::start(&[]);
    for (method, path, body, status) in [
        ("POST", "/v1/chat/completions", "{", 400),
        ("POST", "/v1/chat/completions", "[]", 400),
        ("POST", "/v1/chat/completions", "{\"model\":\"gpt\",\"messages\":[]}", 404),
        ("GET", "/v1/chat/completions", "", 405),
        ("POST", "/v1/nothing", "{}", 404),
        ("POST", "/v1/completions", "{\"model\":\"smollm2-135m-instruct\",\"prompt\":[99999999]}", 400),
        ("POST", "/v1/embeddings", "{\"model\":\"smollm2-135m-instruct\"}", 400),
    ] {
        let answer = worker.ask(method, path, body);
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.body);
        assert!(answer.json()["error"]["message"].is_string());
    }
    let large = chat(&json!({"messages": [{"role": "user", "content": "x".repeat(5 << 20)}]}));
    assert_eq!(worker.post("/v1/chat/completions", &large).status, 413);
    let grammar = chat(
        &json!({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "array", "maxItems": 1_000_000}}}}),
    );
    assert_eq!(worker.post("/v1/chat/completions", &grammar).status, 400);
}

#[test]
fn sigterm_lets_a_running_answer_end() {
    let mut worker = Worker::start(&[]);
    // Waiting for a child closes its standard input, which is its lifeline.
    let _lifeline = worker.child.stdin.take();
    let body = chat(&json!({"stream": true, "max_tokens": 60, "ignore_eos": true}));
    let mut answer = worker.open("POST", "/v1/chat/completions", &body.to_string());
    until("it runs", || worker.status()["running"] == 1);
    let pid = Pid::from_raw(i32::try_from(worker.child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let mut text = String::new();
    answer.read_to_string(&mut text).unwrap();
    assert!(text.contains("\"finish_reason\":\"length\"") && text.contains("data: [DONE]"), "{text}");
    assert_eq!(worker.child.wait().unwrap().code(), Some(0));
}
