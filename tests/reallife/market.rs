//! The replay's market in real time: a server for each seller, and every answer by the same draws as in the simulator.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tollway::pricing::PriceCard;
use tollway::replay::scenario::Scenario;
use tollway::replay::trace::Trace;
use tollway::replay::world::{Dealt, Fate, World};
use tollway::routing::RouteId;
use tollway::units::{PicoUsd, Usage};

use crate::texts;

/// Pieces that an answer is written in, at most.
const PIECES: u32 = 12;
/// Who was silent for so long was given up, not overtaken.
const GIVEN_UP: Duration = Duration::from_secs(29);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The market and what it has seen.
pub(crate) struct Market {
    state: Mutex<State>,
    scenario: &'static Scenario,
    trace: &'static Trace,
    began: Instant,
    first_us: u64,
}

struct State {
    world: World<'static>,
    /// By request: when it was first asked for, and of whom.
    firsts: Vec<Option<(u64, u16)>>,
    prices: Vec<Prices>,
    bills: Bills,
    probes: u64,
}

/// Prices of all sellers, from when they bill them.
#[derive(Debug, Clone)]
pub(crate) struct Prices {
    pub(crate) from_us: u64,
    /// When the gateway was seen to have them.
    pub(crate) known_us: Option<u64>,
    cards: Vec<Option<PriceCard>>,
}

/// An answer that was written to its end.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) place: usize,
    pub(crate) route: RouteId,
    /// What its seller bills: by the prices in force when it was asked.
    pub(crate) billed: PicoUsd,
    /// What it would cost by each of the prices so far.
    pub(crate) by_prices: Vec<PicoUsd>,
}

/// An attempt that was dropped before its answer was over.
#[derive(Debug, Clone)]
pub(crate) struct Dropped {
    pub(crate) route: RouteId,
    /// After so long a silence that it was given up, and no other was quicker.
    pub(crate) given_up: bool,
    /// What its seller bills.
    pub(crate) billed: PicoUsd,
    /// What its prompt costs at least, all of it cached, and at most, nothing cached and counted too long by what an
    /// estimate may.
    pub(crate) least: PicoUsd,
    pub(crate) most: PicoUsd,
}

/// What the sellers bill.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bills {
    pub(crate) answers: Vec<Written>,
    pub(crate) dropped: Vec<Dropped>,
    pub(crate) probes: PicoUsd,
    /// By route: answers written to their end.
    pub(crate) served: Vec<u64>,
    pub(crate) attempts: u64,
    pub(crate) probes_sent: u64,
    /// By route: probes that were given up.
    pub(crate) probes_dropped: Vec<usize>,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
}

impl Bills {
    /// For answers that were written to their end.
    pub(crate) fn written(&self) -> PicoUsd {
        self.answers.iter().fold(PicoUsd::ZERO, |sum, one| sum + one.billed)
    }

    /// For attempts that were dropped.
    pub(crate) fn wasted(&self) -> PicoUsd {
        self.dropped.iter().fold(PicoUsd::ZERO, |sum, one| sum + one.billed)
    }

    /// For everything.
    pub(crate) fn spend(&self) -> PicoUsd {
        self.written() + self.wasted() + self.probes
    }
}

impl Market {
    /// Opens the market at `began`. Returns it with an address for each route.
    pub(crate) async fn open(
        scenario: &'static Scenario,
        trace: &'static Trace,
        seed: u64,
        began: Instant,
    ) -> (Arc<Self>, Vec<SocketAddr>) {
        let mut world = World::new(scenario, trace, seed);
        let first_us = trace.arrivals.first().map_or(0, |arrival| arrival.at_us);
        world.set_prices(scenario, first_us);
        let routes = world.routes.len();
        let prices = vec![Prices { from_us: first_us, known_us: Some(first_us), cards: cards(&world) }];
        let state = State {
            world,
            firsts: vec![None; trace.arrivals.len()],
            prices,
            bills: Bills { served: vec![0; routes], probes_dropped: vec![0; routes], ..Bills::default() },
            probes: 0,
        };
        let market = Arc::new(Self { state: Mutex::new(state), scenario, trace, began, first_us });
        let mut addresses = Vec::new();
        for route in 0..routes {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap());
            tokio::spawn(serve(Arc::clone(&market), RouteId(u16::try_from(route).unwrap()), listener));
        }
        (market, addresses)
    }

    /// The trace's own time, in microseconds.
    pub(crate) fn now_us(&self) -> u64 {
        self.first_us + u64::try_from(self.began.elapsed().as_micros()).unwrap()
    }

    /// When the trace's time is `us`.
    pub(crate) fn at(&self, us: u64) -> Instant {
        self.began + Duration::from_micros(us.saturating_sub(self.first_us))
    }

    /// Prices for who asks at the start.
    pub(crate) fn routes(&self) -> Vec<tollway::routing::Route> {
        self.lock().world.routes.clone()
    }

    /// From now on sellers bill what is asked of them by the prices of this moment. Returns them for who asks.
    pub(crate) fn reprice(&self) -> Vec<tollway::routing::Route> {
        let now = self.now_us();
        let mut state = self.lock();
        state.world.set_prices(self.scenario, now);
        let cards = cards(&state.world);
        state.prices.push(Prices { from_us: now, known_us: None, cards });
        state.world.routes.clone()
    }

    /// The gateway has the latest prices.
    pub(crate) fn prices_known(&self) {
        let now = self.now_us();
        if let Some(last) = self.lock().prices.last_mut() {
            last.known_us = Some(now);
        }
    }

    /// All prices so far, in the order of time.
    pub(crate) fn prices(&self) -> Vec<Prices> {
        self.lock().prices.clone()
    }

    pub(crate) fn bills(&self) -> Bills {
        self.lock().bills.clone()
    }

    /// By request: when a seller was first asked for it, and which route.
    pub(crate) fn firsts(&self) -> Vec<Option<(u64, u16)>> {
        self.lock().firsts.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// How the attempt fares, and the place of the prices that it is billed by.
    fn ask(&self, route: RouteId, place: Option<usize>) -> (Dealt, usize) {
        let now = self.now_us();
        let mut state = self.lock();
        let prices = state.prices.len() - 1;
        let Some(place) = place else {
            state.probes += 1;
            state.bills.probes_sent += 1;
            let number = state.probes;
            let fate = state.world.probe(route, number, now);
            return (Dealt { fate, cached: 0, usage_factor: 1.0 }, prices);
        };
        state.bills.attempts += 1;
        if state.firsts[place].is_none() {
            state.firsts[place] = Some((now, route.0));
        }
        (state.world.ask(place, route, now), prices)
    }

    /// What `usage` costs at `route` by `prices`.
    fn bill(&self, usage: &Usage, route: RouteId, prices: &Prices) -> PicoUsd {
        let passed = i64::try_from(self.now_us() - self.first_us).unwrap();
        let wall = self.scenario.begins + jiff::SignedDuration::from_micros(passed);
        let card = prices.cards[usize::from(route.0)].as_ref();
        card.map_or(PicoUsd::ZERO, |card| card.cost_of(usage, wall).total())
    }
}

fn cards(world: &World<'_>) -> Vec<Option<PriceCard>> {
    world.routes.iter().map(|route| route.price.clone()).collect()
}

async fn serve(market: Arc<Market>, route: RouteId, listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let _ = stream.set_nodelay(true);
        let market = Arc::clone(&market);
        let service = service_fn(move |request| {
            let market = Arc::clone(&market);
            async move { Ok::<_, Infallible>(answer(market, route, request).await) }
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

async fn answer(market: Arc<Market>, route: RouteId, request: Request<Incoming>) -> Response<Body> {
    let Ok(body) = request.into_body().collect().await else { return plain(400, "no body") };
    let place = texts::place_of(&body.to_bytes());
    let (dealt, prices) = market.ask(route, place);
    let since = Instant::now();
    let mut open = Open { market: Arc::clone(&market), route, place, dealt, prices, since, over: false };
    match dealt.fate {
        Fate::Refused { at_us, retry_after_us } => {
            tokio::time::sleep_until(market.at(at_us)).await;
            open.over = true;
            market.lock().bills.refused += 1;
            let mut refusal = plain(429, "rate limit reached");
            if let Some(wait) = retry_after_us {
                let seconds = wait.div_ceil(1_000_000).into();
                refusal.headers_mut().insert(http::header::RETRY_AFTER, seconds);
            }
            refusal
        }
        Fate::Failed { at_us } => {
            tokio::time::sleep_until(market.at(at_us)).await;
            open.over = true;
            market.lock().bills.failed += 1;
            plain(500, "the model server went away")
        }
        Fate::Silent | Fate::Queued => std::future::pending().await,
        Fate::Answered { first_us, end_us } => {
            tokio::time::sleep_until(market.at(first_us)).await;
            if let Some(place) = place {
                let now = market.now_us();
                market.lock().world.began(place, route, now);
            }
            open.written(first_us, end_us)
        }
    }
}

fn plain(status: u16, message: &str) -> Response<Body> {
    let body = format!(r#"{{"error":{{"message":"{message}","type":"server_error","code":null}}}}"#);
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Full::from(body).boxed_unsync()).unwrap()
}

/// An attempt under way. Dropped before its answer is over, it was cancelled, and is billed as the seller does.
struct Open {
    market: Arc<Market>,
    route: RouteId,
    place: Option<usize>,
    dealt: Dealt,
    prices: usize,
    since: Instant,
    over: bool,
}

impl Open {
    fn usage(&self, output: u32) -> Usage {
        let prompt = self.place.map_or(60, |place| self.market.trace.arrivals[place].prompt_tokens);
        let reported = (f64::from(prompt) * self.dealt.usage_factor) as u64;
        Usage {
            prompt: reported,
            cached: u64::from(self.dealt.cached).min(reported),
            completion: u64::from(output),
            ..Usage::default()
        }
    }

    fn output(&self) -> u32 {
        self.place.map_or(1, |place| self.market.trace.arrivals[place].output_tokens)
    }

    /// The answer as it is written, from `first_us` to `end_us`.
    fn written(self, first_us: u64, end_us: u64) -> Response<Body> {
        let pieces = self.output().clamp(1, PIECES);
        let events = stream::unfold((self, 0), move |(mut open, piece)| async move {
            if piece > pieces {
                return None;
            }
            let share = u64::from(piece) * (end_us - first_us) / u64::from(pieces);
            tokio::time::sleep_until(open.market.at(first_us + share)).await;
            let text = if piece < pieces {
                event(
                    r#"{"index":0,"delta":{"role":"assistant","content":"word "},"finish_reason":null}"#,
                    "",
                )
            } else {
                open.close();
                let usage = open.usage(open.output());
                let (prompt, completion, cached) = (usage.prompt, usage.completion, usage.cached);
                let total = prompt + completion;
                let usage = format!(
                    r#","usage":{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":{cached}}}}}"#
                );
                event(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#, "")
                    + &event("", &usage)
                    + "data: [DONE]\n\n"
            };
            Some((Ok(Frame::data(Bytes::from(text))), (open, piece + 1)))
        });
        let response = Response::builder().header("content-type", "text/event-stream");
        response.body(StreamBody::new(events).boxed_unsync()).unwrap()
    }

    fn close(&mut self) {
        self.over = true;
        let usage = self.usage(self.output());
        let mut state = self.market.lock();
        let by_prices: Vec<PicoUsd> =
            state.prices.iter().map(|prices| self.market.bill(&usage, self.route, prices)).collect();
        let billed = by_prices[self.prices];
        let Some(place) = self.place else {
            state.bills.probes += billed;
            return;
        };
        state.bills.answers.push(Written { place, route: self.route, billed, by_prices });
        state.bills.served[usize::from(self.route.0)] += 1;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        if self.place.is_none() {
            self.market.lock().bills.probes_dropped[usize::from(self.route.0)] += 1;
            return;
        }
        let given_up = self.since.elapsed() >= GIVEN_UP;
        let (market, route) = (&self.market, self.route);
        let usage = self.usage(0);
        let mut state = market.lock();
        let whole = market.bill(&usage, route, &state.prices[self.prices]);
        let share = market.scenario.routes[usize::from(route.0)].cancelled_prompt_billed;
        let is_billed = !(given_up && self.dealt.fate == Fate::Silent);
        let billed = if is_billed { whole.times_ppm((share * 1e6) as u32) } else { PicoUsd::ZERO };
        let cached = Usage { cached: usage.prompt, ..usage };
        let counted = Usage { prompt: usage.prompt + usage.prompt / 200 + 1, cached: 0, ..usage };
        let by_any = |usage: Usage| state.prices.iter().map(move |prices| market.bill(&usage, route, prices));
        let (least, most) = (by_any(cached).min().unwrap(), by_any(counted).max().unwrap());
        state.bills.dropped.push(Dropped { route, given_up, billed, least, most });
    }
}

fn event(choice: &str, usage: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{choice}]{usage}}}\n\n"
    )
}
