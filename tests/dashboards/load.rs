//! A gateway in front of three fake providers, and rounds of requests whose outcomes are known beforehand.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollway_test_support::{
    Break, Config, Dialect, End, FakeProvider, Gateway, Kind, Model, Price, Provider,
};

/// Served by `alpha`, cheap, and by `beta`, dear; `alpha` fails where the prompt asks for it.
const SMALL: &str = "small-model-0101";
/// Served by `router`, which states a tenth more than its card says.
const SMART: &str = "smart-model-0101";
/// Served by `alpha`; streams break off where the prompt asks for it.
pub(crate) const CUT: &str = "cut-model-0101";
/// Served by `beta`; nobody knows its price.
const UNPRICED: &str = "unpriced-model-0101";
/// The prompt at which `alpha` fails.
const FAIL: &str = "please-fail";
/// The prompt at which `alpha` breaks a stream.
const BREAK: &str = "please-break";
pub(crate) const TEAMS: [&str; 2] = ["search", "support"];

/// The world of the test.
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    _fakes: [FakeProvider; 3],
}

/// What a caller was told of an answer's cost.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) team: &'static str,
    pub(crate) provider: String,
    pub(crate) model: &'static str,
    pub(crate) nanos: u64,
}

/// What a round brought.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Answers that ended well and told their cost.
    pub(crate) answers: Vec<Answer>,
    pub(crate) requests: u32,
    pub(crate) fallbacks: u32,
    pub(crate) unpriced: u32,
    pub(crate) cut: u32,
    pub(crate) refused: u32,
}

impl Tally {
    pub(crate) fn nanos(&self) -> u64 {
        self.answers.iter().map(|answer| answer.nanos).sum()
    }

    pub(crate) fn ok(&self) -> u32 {
        self.requests - self.cut - self.refused
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.answers.extend(other.answers);
        self.requests += other.requests;
        self.fallbacks += other.fallbacks;
        self.unpriced += other.unpriced;
        self.cut += other.cut;
        self.refused += other.refused;
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        let alpha = FakeProvider::start().await;
        let dialect = Dialect::new(Kind::OpenAi).cached(4).reasoning(3);
        alpha.on(move |request| {
            let said = String::from_utf8_lossy(&request.body);
            let reply = dialect.answer(request);
            match () {
                () if said.contains(FAIL) => {
                    tollway_test_support::Reply::error(503, "overloaded", "try another")
                }
                () if said.contains(BREAK) => reply.cut_after_events(4, Break::Reset),
                () => reply,
            }
        });
        let beta = FakeProvider::speaking(Dialect::new(Kind::OpenAi)).await;
        let stated = Price::per_million("1.1", "0.11", "4.4");
        let router = FakeProvider::speaking(Dialect::new(Kind::OpenRouter).price(stated).reasoning(5)).await;

        let price = Price::per_million("0.1", "0.01", "0.4");
        let written = "price: {input: 0.3, cached_input: 0.03, cache_write: 0.375, output: 1.2}";
        let config = Config::new()
            .with(
                "keys: [{name: searcher, key: key-of-search-0123456789, team: search}, \
                 {name: supporter, key: key-of-support-0123456789, team: support}]",
            )
            .provider(
                Provider::fake("alpha", Kind::OpenAi, &alpha)
                    .model(Model::new("small", SMALL).price(price))
                    .model(Model::new("cut", CUT).price(price)),
            )
            .provider(
                Provider::fake("beta", Kind::OpenAi, &beta)
                    .model(Model::new("small-too", SMALL).with(written))
                    .model(Model::new("unpriced", UNPRICED)),
            )
            .provider(
                Provider::fake("router", Kind::OpenRouter, &router)
                    .model(Model::new("smart", SMART).price(Price::per_million("1", "0.1", "4"))),
            )
            .policy(
                "10-lab.yaml",
                &format!("policy: lab\nmatch: {{models: [\"{UNPRICED}\"]}}\nallow_unpriced: true\n"),
            )
            .policy("20-batch.yaml", "policy: batch\nmatch: {tags: {tier: batch}}\nobjective: cost\n")
            .policy("30-rest.yaml", "policy: rest\nobjective: cost\n");
        let gateway = Gateway::start(env!("CARGO_BIN_EXE_tollway"), config).await;
        Self { gateway, _fakes: [alpha, beta, router] }
    }

    /// One round: the same mixture each time, one request after the other, so that no breaker opens.
    pub(crate) async fn round(&self) -> Tally {
        let mut tally = Tally::default();
        for team in TEAMS {
            for tags in ["tier=batch", "tier=other"] {
                for stream in [false, true] {
                    self.priced(
                        &mut tally,
                        team,
                        tags,
                        SMALL,
                        stream,
                        "what is the tide at the pier tonight",
                    )
                    .await;
                    self.priced(&mut tally, team, tags, SMART, stream, "why is it so").await;
                    self.priced(&mut tally, team, tags, CUT, stream, "and tomorrow").await;
                }
                self.priced(&mut tally, team, tags, SMALL, true, FAIL).await;
                tally.fallbacks += 1;
            }
            self.unpriced(&mut tally, team).await;
            self.broken(&mut tally, team).await;
            self.refused(&mut tally, team).await;
        }
        tally
    }

    fn ask(&self, team: &str, tags: &str, body: &Value) -> tollway_test_support::Request {
        self.gateway.chat(body).key(&format!("key-of-{team}-0123456789")).header("x-tollway-tags", tags)
    }

    async fn priced(
        &self,
        tally: &mut Tally,
        team: &'static str,
        tags: &str,
        model: &'static str,
        stream: bool,
        text: &str,
    ) {
        let response = self.ask(team, tags, &body(model, stream, text)).send().await;
        assert_eq!(response.status, 200, "{model}");
        let route = response.headers.get("x-tollway-route").unwrap().to_owned();
        let told = response.headers.get("x-tollway-cost-usd").map(str::to_owned);
        let cost = if stream {
            let events = response.events().await;
            let usage = events
                .iter()
                .filter_map(tollway_test_support::Event::json)
                .find(|chunk| chunk["usage"]["cost"].is_number());
            usage.unwrap_or_else(|| panic!("{model}: a stream without a cost"))["usage"]["cost"]
                .as_f64()
                .unwrap()
        } else {
            let cost = response.json().await["usage"]["cost"].as_f64().unwrap();
            assert_eq!(told.and_then(|told| told.parse().ok()), Some(cost), "{model}: header and body");
            cost
        };
        let provider = route.split('/').next().unwrap().to_owned();
        let fails = text == FAIL;
        assert_eq!(provider == "beta", fails, "{model}: answered by {route}");
        tally.answers.push(Answer { team, provider, model, nanos: nanos(cost) });
        tally.requests += 1;
    }

    async fn unpriced(&self, tally: &mut Tally, team: &str) {
        let answer =
            self.ask(team, "tier=other", &body(UNPRICED, false, "at any price")).send().await.json().await;
        assert!(answer["usage"].is_object() && answer["usage"].get("cost").is_none(), "{answer}");
        tally.requests += 1;
        tally.unpriced += 1;
    }

    async fn broken(&self, tally: &mut Tally, team: &str) {
        let response = self.ask(team, "tier=other", &body(CUT, true, BREAK)).send().await;
        assert_eq!(response.status, 200);
        let (text, end) = response.rest().await;
        let text = String::from_utf8_lossy(&text);
        assert!(end != End::Whole || text.contains("\"error\""), "the caller is told: {text}");
        tally.requests += 1;
        tally.cut += 1;
    }

    async fn refused(&self, tally: &mut Tally, team: &str) {
        let response = self.ask(team, "tier=other", &body("no-such-model", false, "x")).send().await;
        assert_eq!(response.status, 404);
        response.bytes().await;
        tally.requests += 1;
        tally.refused += 1;
    }

    /// What the access log says that broken streams cost so far, once it has a line for each of `requests`.
    pub(crate) async fn cost_of_broken(&self, requests: u32) -> u64 {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let logs = self.gateway.logs();
            let lines = logs.lines().filter(|line| line.contains("\"request_id\":"));
            let lines: Vec<Value> = lines.filter_map(|line| serde_json::from_str(line).ok()).collect();
            if lines.len() >= requests as usize {
                let broken = lines.iter().filter(|line| line["status"] == 200 && line["outcome"] != "ok");
                return broken.map(|line| nanos(line["cost_usd"].as_f64().unwrap())).sum();
            }
            assert!(Instant::now() < deadline, "{} of {requests} lines in the log", lines.len());
            tokio::task::yield_now().await;
        }
    }
}

fn body(model: &str, stream: bool, text: &str) -> Value {
    let mut body = json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]});
    if stream {
        body["stream_options"] = json!({"include_usage": true});
    }
    body
}

/// Dollars as whole nano-dollars.
pub(crate) fn nanos(dollars: f64) -> u64 {
    assert!((0.0..1e6).contains(&dollars), "{dollars}");
    (dollars * 1e9).round() as u64
}
