//! The trace's callers: every request at its time, each over real sockets, until the last answer is over.

use std::sync::Arc;

use tokio::time::Instant;
use tollway::replay::trace::Trace;
use tollway::units::NanoUsd;
use tollway_test_support::{Client, Gateway};

use crate::market::Market;
use crate::setup::{MODEL, key};
use crate::texts;

/// What a caller saw.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// When it asked, in the trace's time.
    pub(crate) sent_us: u64,
    /// Status; 0: the answer broke off.
    pub(crate) status: u16,
    /// Microseconds to the first token.
    pub(crate) took_us: u64,
    /// The provider that it was told has answered.
    pub(crate) provider: String,
    /// How many attempts it was told that it took.
    pub(crate) attempts: u32,
    /// What it was told that the answer cost, with the attempts that brought none.
    pub(crate) cost: NanoUsd,
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
        asked.push(tokio::spawn(ask(gateway.client().clone(), body, caller, market.now_us())));
    }
    let mut seen = Vec::with_capacity(asked.len());
    for one in asked {
        seen.push(one.await.unwrap());
    }
    seen
}

async fn ask(client: Client, body: String, caller: usize, sent_us: u64) -> Seen {
    let began = Instant::now();
    let mut seen = Seen { sent_us, ..Seen::default() };
    let request = client.post("/v1/chat/completions", body);
    let request = request.header("authorization", &format!("Bearer {}", key(caller)));
    let mut response = match request.try_send().await {
        Ok(response) => response,
        Err(error) => return Seen { error: error.to_string(), ..seen },
    };
    let mut text = Vec::new();
    let end = loop {
        match response.next().await {
            Ok(piece) => text.extend_from_slice(&piece),
            Err(end) => break end,
        }
        let has_first = || memchr::memmem::find(&text, b"\"content\":\"word").is_some();
        if seen.took_us == u64::MAX && has_first() {
            seen.took_us = u64::try_from(began.elapsed().as_micros()).unwrap();
        }
    };
    let text = String::from_utf8_lossy(&text);
    let route = response.headers.get("x-tollway-route").unwrap_or_default();
    seen.provider = route.split('/').next().unwrap_or_default().to_owned();
    let attempts = response.headers.get("x-tollway-attempts").unwrap_or_default();
    seen.attempts = attempts.parse().unwrap_or_default();
    seen.cost = cost(&text).unwrap_or_default();
    let whole = text.ends_with("data: [DONE]\n\n");
    seen.status = if response.status == 200 && !whole { 0 } else { response.status };
    if !whole {
        seen.error = format!("{end:?}: {text}");
    }
    seen
}

impl Default for Seen {
    fn default() -> Self {
        let (provider, error) = (String::new(), String::new());
        Self {
            sent_us: 0,
            status: 0,
            took_us: u64::MAX,
            provider,
            attempts: 1,
            cost: NanoUsd::default(),
            error,
        }
    }
}

fn cost(text: &str) -> Option<NanoUsd> {
    let last = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("data: ").filter(|data| data.contains("usage")))?;
    let usd = serde_json::from_str::<serde_json::Value>(last).ok()?["usage"]["cost"].as_f64()?;
    Some(NanoUsd((usd * 1e9).round() as i64))
}
