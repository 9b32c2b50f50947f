//! Vectors: their length, their two encodings, and what they mean.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::support::Worker;

fn vectors(worker: &Worker, input: &Value) -> Vec<Vec<f64>> {
    let answer =
        worker.post("/v1/embeddings", &json!({"model": "smollm2-135m-instruct", "input": input})).json();
    let read = |item: &Value| {
        item["embedding"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    };
    answer["data"].as_array().unwrap().iter().map(read).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn both_encodings_hold_the_same_numbers() {
    let worker = Worker::start(&[]);
    let floats = &vectors(&worker, &json!("A cat sat on the mat."))[0];
    let answer = worker.post("/v1/embeddings", &json!({"model": "smollm2-135m-instruct", "input": ["A cat sat on the mat."], "encoding_format": "base64"})).json();
    let bytes = BASE64_STANDARD.decode(answer["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let decoded: Vec<f64> =
        bytes.chunks_exact(4).map(|four| f64::from(f32::from_le_bytes(four.try_into().unwrap()))).collect();
    assert_eq!(decoded.len(), 576);
    assert!(decoded.iter().zip(floats).all(|(a, b)| (a - b).abs() < 1e-6));
    assert_eq!(answer["usage"]["prompt_tokens"], answer["usage"]["total_tokens"]);
}

#[test]
fn vectors_have_length_one_and_keep_their_order() {
    let worker = Worker::start(&[]);
    let long = "The harbour was quiet. ".repeat(60);
    let texts = ["The harbour was quiet.", "Rust is a programming language.", long.as_str()];
    let found = vectors(&worker, &json!(texts));
    assert!(found.iter().all(|vector| (dot(vector, vector) - 1.0).abs() < 1e-4));
    // Read in pieces or alone, a text has the same vector, whatever else was computed around it.
    for (text, vector) in texts.iter().zip(&found) {
        assert!(dot(&vectors(&worker, &json!(text))[0], vector) > 0.9999);
    }
    assert!(dot(&found[0], &found[2]) > dot(&found[0], &found[1]));
}

#[test]
fn a_text_that_is_too_long_is_refused() {
    let worker = Worker::start(&[]);
    let answer = worker
        .post("/v1/embeddings", &json!({"model": "smollm2-135m-instruct", "input": "word ".repeat(2100)}));
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].as_str()),
        (400, Some("context_length_exceeded"))
    );
}
