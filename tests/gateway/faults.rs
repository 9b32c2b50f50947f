//! The fault matrix: every fault of a provider, in every dialect, streamed and not, with another route and without. What the
//! caller saw, who was asked, what it cost and how long it took is in `docs/faults.md`, which this test writes with `UPDATE=1`.

mod page;
mod scripts;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tollway_test_support::{
    Config, Dialect, End, Event, FakeProvider, Gateway, Greeting, Kind, Model, Price, Provider, Received,
    Response,
};

use crate::gateway;
use scripts::{FAULTS, Fault};

/// Time until a first token, and between two events.
const FIRST_TOKEN: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(3);
const POLICIES: [(&str, &str); 2] = [("resume", "resume"), ("error", "error")];
/// Pieces of an answer, and the bound that its caller sets.
const TOKENS: u64 = 8;
/// Requests under way at once: more would make a slow machine look like a slow provider.
const AT_ONCE: usize = 16;
/// The same of those that mostly wait.
const WAITING_AT_ONCE: usize = 64;

/// Who is there beside the route that the fault befalls, and what the policy says of broken streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Setting {
    Next,
    Resume,
    Alone,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    number: usize,
    kind: Kind,
    streamed: bool,
    setting: Setting,
    fault: Fault,
}

/// What became of one case, in the words of the page.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    told: String,
    asked: String,
    cost: String,
    took: &'static str,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in Kind::ALL {
        for fault in FAULTS {
            for (streamed, setting) in [
                (false, Setting::Next),
                (false, Setting::Alone),
                (true, Setting::Next),
                (true, Setting::Resume),
                (true, Setting::Alone),
            ] {
                let fits = (streamed || fault.befalls_whole_answers())
                    && (setting != Setting::Resume || fault.is_in_mid_stream());
                let fits = fits && (setting != Setting::Alone || !fault.needs_another());
                if fits {
                    cases.push(Case { number: cases.len(), kind, streamed, setting, fault });
                }
            }
        }
    }
    cases
}

impl Case {
    fn model(&self) -> Model {
        let model = Model::new(&format!("m-{}", self.number), &self.name());
        model.price(Price::per_million("0.1", "0.1", "0.4"))
    }

    /// The model's name, by which its policy is found.
    fn name(&self) -> String {
        format!("c-{}-{}", self.number, if self.setting == Setting::Resume { "resume" } else { "error" })
    }

    fn body(&self) -> Value {
        let mut body = json!({"model": self.name(), "max_tokens": TOKENS,
            "messages": [{"role": "user", "content": "say tok-7 twice"}]});
        if self.streamed {
            body["stream"] = json!(true);
            body["stream_options"] = json!({"include_usage": true});
        }
        body
    }
}

fn dialect(kind: Kind) -> Dialect {
    Dialect::new(kind).tokens(TOKENS)
}

/// The gateway asks what was charged for an answer that broke off.
fn is_look_up(request: &Received) -> bool {
    request.method == "GET"
}

/// The providers of one dialect: one that faults befall, two that cannot be reached, one that is well.
struct Side {
    faulty: FakeProvider,
    gone: FakeProvider,
    /// Closes every connection at once, in the middle of the handshake.
    closed: FakeProvider,
    well: FakeProvider,
}

impl Side {
    async fn of(kind: Kind, cases: &[Case]) -> Self {
        let by_number: BTreeMap<usize, Case> = cases.iter().map(|case| (case.number, *case)).collect();
        let of = move |request: &Received| by_number[&crate::rescue::case_of(request)];
        let side = Self {
            faulty: FakeProvider::start().await,
            gone: FakeProvider::start().await,
            closed: FakeProvider::start().await,
            well: FakeProvider::start().await,
        };
        let theirs = of.clone();
        let counts = Mutex::new(BTreeMap::<usize, usize>::new());
        side.faulty.on(move |request| {
            if is_look_up(request) {
                return dialect(kind).answer(request);
            }
            let case = theirs(request);
            let mut counts = counts.lock().unwrap();
            let count = counts.entry(case.number).or_default();
            *count += 1;
            case.fault.befall(kind, dialect(kind).answer(request), case.streamed, *count - 1)
        });
        side.well.on(move |request| {
            // Who goes on with a broken stream of this dialect needs no mark.
            let answer = dialect(kind).prefills().answer(request);
            if is_look_up(request) { answer } else { of(request).fault.befall_next(answer) }
        });
        side.gone.kill();
        side.closed.greet(Greeting::Close);
        side
    }

    fn providers(&self, kind: Kind, cases: &[Case]) -> [Provider; 4] {
        let name = |part: &str| format!("{}-{part}", kind.name());
        let tls = format!("https://{}/v1", self.closed.address());
        let mut providers = [
            Provider::fake(&name("faulty"), kind, &self.faulty),
            Provider::fake(&name("gone"), kind, &self.gone),
            Provider::at(&name("tls"), kind, &tls),
            Provider::fake(&name("well"), kind, &self.well).with("continuation: prefill"),
        ];
        for case in cases.iter().filter(|case| case.kind == kind) {
            let befallen = match case.fault {
                Fault::Refused => 1,
                Fault::Tls => 2,
                _ => 0,
            };
            providers[befallen] = providers[befallen].clone().model(case.model());
            if case.setting != Setting::Alone {
                // More room than the first, so that it takes what was too long there.
                providers[3] = providers[3].clone().model(case.model().context(262_144));
            }
        }
        providers
    }
}

/// A gateway for a dialect: all in one configuration would be more than a configuration may hold.
async fn started(kind: Kind, cases: &[Case]) -> (Side, Gateway) {
    let side = Side::of(kind, cases).await;
    let mut config = Config::new();
    for provider in side.providers(kind, cases) {
        config = config.provider(provider);
    }
    for (name, midstream) in POLICIES {
        let policy = format!(
            "policy: {name}\nmatch: {{models: ['c-*-{name}']}}\nroutes: ['*-faulty', '*-gone', '*-tls', '*-well']\nin_order: true\n\
             probe: off\nfallback: {{first_token_timeout: {}s, idle_timeout: {}s, midstream: {midstream}}}\n",
            FIRST_TOKEN.as_secs(),
            IDLE.as_secs()
        );
        config = config.policy(&format!("{name}.yaml"), &policy);
    }
    let gateway = gateway(config).await;
    (side, gateway)
}

/// The text of an answer that nothing befell.
fn whole_text() -> String {
    let request = tollway_test_support::received(
        "/v1/chat/completions",
        &json!({"model": "m", "messages": [{"role": "user", "content": "say tok-7 twice"}]}).to_string(),
    );
    let body: Value = serde_json::from_slice(&dialect(Kind::OpenAi).answer(&request).body()).unwrap();
    body["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn r08_r19_no_fault_makes_a_part_look_like_the_whole() {
    let cases = cases();
    let mut sides = BTreeMap::new();
    for kind in Kind::ALL {
        let (side, gateway) = started(kind, &cases).await;
        sides.insert(kind.name(), (side, Arc::new(gateway)));
    }
    let places = [AT_ONCE, WAITING_AT_ONCE].map(|places| Arc::new(Semaphore::new(places)));
    let mut under_way = tokio::task::JoinSet::new();
    for case in cases.clone() {
        let gateway = Arc::clone(&sides[case.kind.name()].1);
        let places = Arc::clone(&places[usize::from(case.fault.waits())]);
        under_way.spawn(async move {
            let _place = places.acquire().await.unwrap();
            let mut seen = None;
            // A route that flaps is met by several requests: the page tells of the last one, and all are judged.
            for _ in 0..case.fault.requests() {
                seen = Some(met(&gateway, case).await);
            }
            (case.number, seen.unwrap())
        });
    }
    let mut seen: BTreeMap<usize, Seen> = under_way.join_all().await.into_iter().collect();
    for case in &cases {
        let (side, _) = &sides[case.kind.name()];
        let of = |fake: &FakeProvider| {
            fake.recorded()
                .iter()
                .filter(|one| !is_look_up(one) && crate::rescue::case_of(one) == case.number)
                .count()
        };
        let unseen = usize::from(matches!(case.fault, Fault::Refused | Fault::Tls));
        let requests = case.fault.requests();
        let asked = (of(&side.faulty) + unseen, of(&side.well));
        let asked = if requests == 1 {
            format!("{} + {}", asked.0, asked.1)
        } else {
            format!("{} + {} for {requests} requests", asked.0, asked.1)
        };
        seen.get_mut(&case.number).unwrap().asked = if case.setting == Setting::Alone {
            asked.split(" + ").next().unwrap().to_owned()
        } else {
            asked
        };
    }
    for (_, gateway) in sides.values() {
        gateway
            .metrics_until("nothing is left under way", |m| m.sum("tollway_requests_in_flight", &[]) == 0.0)
            .await;
        assert_eq!(gateway.metrics().await.sum("tollway_panics_total", &[]), 0.0);
    }
    page::same_or_bless(&cases, &seen);
}

/// One request of a case, judged.
async fn met(gateway: &Gateway, case: Case) -> Seen {
    let began = Instant::now();
    let response = gateway.chat(&case.body()).send().await;
    let id = crate::header(&response, "x-request-id").to_owned();
    let what = format!("{case:?} {id}");
    let told = told(response, case, &what).await;
    let elapsed = began.elapsed();
    let (took, at_least) = case.fault.recovery(case.streamed, case.setting);
    assert!(elapsed >= at_least && elapsed < at_least + Duration::from_secs(20), "{what}: {elapsed:?}");
    let line = gateway.logged(&format!("\"request_id\":\"{id}\"")).await;
    let line: Value = serde_json::from_str(&line).expect("a line of JSON");
    Seen { told, asked: String::new(), cost: cost(&line, &what), took }
}

/// What the log says that it cost.
fn cost(line: &Value, what: &str) -> String {
    let Some(cost) = line["cost_usd"].as_f64() else {
        assert_ne!(line["outcome"], "ok", "{what}: an answer without a price: {line}");
        return "none".to_owned();
    };
    assert!(cost > 0.0, "{what}: {line}");
    let parts = line["resumed"].as_array().map_or(1, |parts| parts.len() + 1);
    let source = line["usage"].as_str().unwrap();
    let parts = if parts > 1 { format!(", {parts} parts") } else { String::new() };
    format!("{:.2} µ$ {source}{parts}", cost * 1e6)
}

/// What the caller was told; panics where it is a part that looks like the whole.
async fn told(response: Response, case: Case, what: &str) -> String {
    let status = response.status;
    let from = match crate::header(&response, "x-tollway-route").split('/').next().unwrap_or_default() {
        route if route.ends_with("-well") => "the next route",
        _ => "the route itself",
    };
    let is_stream = crate::header(&response, "content-type").starts_with("text/event-stream");
    if !is_stream {
        let body = response.json().await;
        if status != 200 {
            let error = &body["error"];
            assert!(
                error.is_object() || error.is_string(),
                "{what}: no error that a client can read: {body}"
            );
            // Only ours name the request.
            if error["request_id"].is_string() {
                return format!("{status} `{}`", error["code"].as_str().unwrap());
            }
            return format!("{status}, as the provider said it");
        }
        let choice = &body["choices"][0];
        let text = choice["message"]["content"].as_str().unwrap_or_default();
        return whole(text, &choice["finish_reason"], from, case, what);
    }
    let (bytes, end) = response.rest().await;
    assert_eq!(end, End::Whole, "{what}: the framing ends well, whatever the stream says");
    let events = tollway_test_support::events(&bytes);
    let chunks: Vec<Value> = events.iter().filter_map(Event::json).collect();
    let text: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    let finish =
        chunks.iter().map(|chunk| &chunk["choices"][0]["finish_reason"]).find(|finish| finish.is_string());
    let last = events.last().expect("an event");
    if last.is_done() {
        let usage = chunks.iter().filter(|chunk| chunk["usage"].is_object()).count();
        assert_eq!(usage, 1, "{what}: usage once");
        let resumed = chunks.iter().any(|chunk| chunk["tollway"]["resumed"].is_array());
        let from = if resumed { "both, as one stream" } else { from };
        return whole(&text, finish.unwrap_or(&Value::Null), from, case, what);
    }
    let error = &last.json().unwrap_or_else(|| panic!("{what}: {last:?}"))["error"];
    assert!(error["message"].is_string(), "{what}: the last event is no error: {last:?}");
    // OpenRouter's error says `error` as its finish reason too.
    let finish = finish.filter(|finish| {
        *finish != "error" || last.json().unwrap()["choices"][0]["finish_reason"] != "error"
    });
    assert!(finish.is_none(), "{what}: a finish reason, and then an error");
    assert!(whole_text().starts_with(&text), "{what}: {text}");
    let code = if error["code"] == "stream_broken" { "`stream_broken`" } else { "the provider's own" };
    format!("3 tokens, then an error event: {code}")
}

fn whole(text: &str, finish: &Value, from: &str, case: Case, what: &str) -> String {
    let expected = if case.fault == Fault::ContentFilter { "content_filter" } else { "stop" };
    // Together has a word of its own, and length may be said where the bound was reached in the last piece.
    assert!(finish == expected || finish == "length", "{what}: {finish}");
    if finish == "content_filter" {
        assert!(whole_text().starts_with(text), "{what}: {text}");
        return format!("3 tokens and `content_filter`, from {from}");
    }
    assert_eq!(text, whole_text(), "{what}: a part that looks like the whole");
    format!("the whole answer, from {from}")
}
