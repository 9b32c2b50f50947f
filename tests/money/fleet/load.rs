//! Callers who ask for answers of random length, whichever gateway is there, and leave some of them; and what they were told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tollway_test_support::{Client, End, Response};

use crate::{chat, nanos, streamed};

use super::{LONGEST, REPLICAS};

/// What the callers of one lane were told.
#[derive(Default)]
pub(super) struct Told {
    /// Requests that reached a gateway.
    pub(super) asked: AtomicU64,
    /// Answered to the end.
    pub(super) served: AtomicU64,
    /// Answered, and left by the caller.
    pub(super) left: AtomicU64,
    /// Answered in part: the gateway was killed.
    pub(super) broken: AtomicU64,
    /// Refused, by the word for it.
    pub(super) refused: Mutex<BTreeMap<String, u64>>,
    /// How many had been asked, and how many answered, at the first refusal of the budget.
    pub(super) first: Mutex<Option<(u64, u64)>>,
    /// Refused by the budget although what was not spent would have paid for it: it was held by others.
    pub(super) false_refusals: AtomicU64,
    /// The most that was left unspent at such a refusal, in nano-dollars.
    pub(super) most_room: AtomicI64,
    /// Refused although what was neither spent nor held would have held it.
    pub(super) unfounded: AtomicU64,
    /// By request, what callers were told it cost, in nano-dollars.
    pub(super) charges: Mutex<Vec<(String, i64)>>,
}

impl Told {
    pub(super) fn answered(&self) -> u64 {
        [&self.served, &self.left, &self.broken].map(|count| count.load(Ordering::Relaxed)).iter().sum()
    }

    pub(super) fn refused(&self, word: &str) -> u64 {
        self.refused.lock().unwrap().get(word).copied().unwrap_or(0)
    }
}

/// What callers need to know.
pub(super) struct Terms {
    /// Nano-dollars for a token.
    pub(super) token: i64,
    /// Tokens that every prompt has.
    pub(super) prompt: i64,
    /// What a request holds beside its answer, in nano-dollars.
    pub(super) around: i64,
    pub(super) lanes: Vec<&'static str>,
}

impl Terms {
    /// The most that a request can cost.
    pub(super) fn ceiling(&self, tokens: u64) -> i64 {
        self.around + i64::try_from(tokens).unwrap() * self.token
    }

    /// What it does cost.
    pub(super) fn truth(&self, tokens: u64) -> i64 {
        (self.prompt + i64::try_from(tokens.min(LONGEST)).unwrap()) * self.token
    }
}

/// All callers.
pub(super) struct Load {
    pub(super) told: Vec<Arc<Told>>,
    terms: Terms,
    tickets: AtomicU64,
    stop: AtomicBool,
    /// From one request of a caller to its next, at least.
    pace: Duration,
}

/// The longest answer that anybody asks for.
pub(super) const MAX: u64 = 44;

impl Load {
    /// Callers who make so many requests in all, each of them one in `pace` at most.
    pub(super) fn new(terms: Terms, requests: u64, pace: Duration) -> Arc<Self> {
        let told = terms.lanes.iter().map(|_| Arc::default()).collect();
        Arc::new(Self { told, terms, tickets: AtomicU64::new(requests), stop: AtomicBool::new(false), pace })
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Requests that are still to be made.
    pub(super) fn left(&self) -> u64 {
        self.tickets.load(Ordering::Relaxed)
    }

    fn takes_ticket(&self) -> bool {
        let take = |left: u64| left.checked_sub(1);
        !self.stop.load(Ordering::Relaxed)
            && self.tickets.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// Asks until all requests are made.
pub(super) async fn call(number: u64, load: Arc<Load>, addresses: impl Fn() -> Vec<SocketAddr>) {
    let mut draw = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut clients: Vec<(SocketAddr, Client)> = Vec::new();
    let mut pace = (!load.pace.is_zero()).then(|| tokio::time::interval(load.pace));
    while load.takes_ticket() {
        if let Some(pace) = &mut pace {
            pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            pace.tick().await;
        }
        draw ^= draw << 13;
        draw ^= draw >> 7;
        draw ^= draw << 17;
        let at = usize::try_from(draw >> 8).unwrap() % REPLICAS;
        let there = addresses();
        if clients.iter().map(|(address, _)| *address).ne(there.iter().copied()) {
            clients = there.into_iter().map(|address| (address, Client::new(address))).collect();
        }
        let tokens = 5 + (draw >> 16) % (MAX - 4);
        let lane = usize::try_from(draw >> 32).unwrap() % load.told.len();
        let stream = !(draw >> 40).is_multiple_of(5);
        let leaves = stream && (draw >> 48) % 10 < 3;
        let body = if stream { streamed(tokens) } else { chat(tokens) };
        let request = clients[at].1.post("/v1/chat/completions", body.to_string());
        let request = request.header("content-type", "application/json");
        let request = request.header("x-tollway-tags", &format!("lane={}", load.terms.lanes[lane]));
        match request.try_send().await {
            Ok(response) => answered(&load, lane, tokens, leaves, response).await,
            // A gateway that was just killed answers nobody, and was not asked.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                load.tickets.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(_) => {
                load.told[lane].asked.fetch_add(1, Ordering::Relaxed);
                load.told[lane].broken.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

async fn answered(load: &Load, lane: usize, tokens: u64, leaves: bool, mut response: Response) {
    let told = &load.told[lane];
    let asked = told.asked.fetch_add(1, Ordering::Relaxed) + 1;
    if response.status == 200 && leaves {
        let _ = response.next().await;
        response.reset();
        told.left.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let (status, id) = (response.status, response.headers.get("x-request-id").unwrap_or_default().to_owned());
    let (bytes, end) = response.rest().await;
    let text = String::from_utf8_lossy(&bytes);
    if status == 200 {
        if end == End::Whole {
            told.served.fetch_add(1, Ordering::Relaxed);
            let cost = cost(&text).unwrap_or_else(|| panic!("no cost is told: {text}"));
            told.charges.lock().unwrap().push((id, cost));
        } else {
            told.broken.fetch_add(1, Ordering::Relaxed);
        }
        return;
    }
    if end != End::Whole {
        told.broken.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let error: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{status} {error}: {text}"));
    let word = error["error"]["code"].as_str().unwrap_or_else(|| panic!("{status}: {text}")).to_owned();
    if word == "insufficient_quota" {
        refused(load, told, tokens, error["error"]["message"].as_str().unwrap());
        told.first.lock().unwrap().get_or_insert((asked, told.answered()));
    }
    let waits = word == "store_unavailable";
    *told.refused.lock().unwrap().entry(word).or_default() += 1;
    if waits {
        // As `retry-after` says, a little less patiently.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Looks whether a refusal by the budget was founded: by what the bank says, and by what the request would have cost.
fn refused(load: &Load, told: &Told, tokens: u64, message: &str) {
    let (_, figures) = message.split_once("request: ").unwrap_or_else(|| panic!("{message}"));
    let figures: Vec<&str> = figures.split_whitespace().collect();
    let [spent, "of", limit, "USD", "are", "spent", "and", held, ..] = figures[..] else {
        panic!("{message}")
    };
    let [spent, limit, held] = [spent, limit, held].map(|figure| nanos(&Value::String(figure.to_owned())));
    let room = limit - spent;
    if room - held >= load.terms.ceiling(tokens) {
        told.unfounded.fetch_add(1, Ordering::Relaxed);
    }
    if room >= load.terms.truth(tokens) {
        told.false_refusals.fetch_add(1, Ordering::Relaxed);
        told.most_room.fetch_max(room, Ordering::Relaxed);
    }
}

/// The last `cost` in a body, as it is spelled there.
fn cost(text: &str) -> Option<i64> {
    let number = text.rsplit_once("\"cost\":")?.1;
    let number = number.trim_start().split(|c: char| !(c.is_ascii_digit() || c == '.')).next()?;
    Some(nanos(&Value::String(number.to_owned())))
}
