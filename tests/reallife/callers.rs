//! The trace's callers: every request at its time, each over real sockets, until the last answer is over.

use std::sync::Arc;

use tokio::time::Instant;
use tollway::replay::trace::Trace;
use tollway_test_support::{Client, Gateway};

use crate::market::Market;
use crate::setup::{MODEL, key};
use crate::texts;

/// What a caller saw.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Status; 0: the answer broke off.
    pub(crate) status: u16,
    /// Microseconds to the first token.
    pub(crate) took_us: u64,
    /// What it was told that the answer cost, in USD.
    pub(crate) cost_usd: f64,
    /// What went wrong, if anything did.
    pub(crate) error: String,
}

/// Asks all of the trace in its own time.
pub(crate) async fn ask_all(market: &Arc<Market>, gateway: &Gateway, trace: &'static Trace) -> Vec<Seen> {
    let mut asked = Vec::with_capacity(trace.arrivals.len());
    for (place, arrival) in trace.arrivals.iter().enumerate() {
        let body = texts::body(trace, place, arrival, MODEL);
        let caller = arrival.key as usize;
        tokio::time::sleep_until(market.at(arrival.at_us)).await;
        asked.push(tokio::spawn(ask(gateway.client().clone(), body, caller)));
    }
    let mut seen = Vec::with_capacity(asked.len());
    for one in asked {
        seen.push(one.await.unwrap());
    }
    seen
}

async fn ask(client: Client, body: String, caller: usize) -> Seen {
    let began = Instant::now();
    let request = client.post("/v1/chat/completions", body);
    let request = request.header("authorization", &format!("Bearer {}", key(caller)));
    let mut response = match request.try_send().await {
        Ok(response) => response,
        Err(error) => return Seen { status: 0, took_us: u64::MAX, cost_usd: 0.0, error: error.to_string() },
    };
    let (mut text, mut took_us) = (Vec::new(), None);
    let end = loop {
        match response.next().await {
            Ok(piece) => text.extend_from_slice(&piece),
            Err(end) => break end,
        }
        let has_first = || memchr::memmem::find(&text, b"\"content\":\"word").is_some();
        if took_us.is_none() && has_first() {
            took_us = Some(u64::try_from(began.elapsed().as_micros()).unwrap());
        }
    };
    let text = String::from_utf8_lossy(&text);
    let whole = text.ends_with("data: [DONE]\n\n");
    let status = if response.status == 200 && !whole { 0 } else { response.status };
    let error = if whole { String::new() } else { format!("{end:?}: {text}") };
    Seen { status, took_us: took_us.unwrap_or(u64::MAX), cost_usd: cost(&text).unwrap_or(0.0), error }
}

fn cost(text: &str) -> Option<f64> {
    let last = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("data: ").filter(|data| data.contains("usage")))?;
    serde_json::from_str::<serde_json::Value>(last).ok()?["usage"]["cost"].as_f64()
}
