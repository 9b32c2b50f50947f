//! A stream that breaks off goes on with another route's words: one stream, one text, one bill.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tollway_test_support::{
    Break, Config, Dialect, Event, FakeProvider, Gateway, Kind, Model, Price, Provider, Received, Reply,
    Usage,
};

use crate::gateway;

const PRICES: [&str; 2] = ["0.1", "0.3"];
/// Content pieces of an answer.
pub(crate) const TOKENS: u64 = 12;

/// How a stream stops being one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    Closed,
    Reset,
    Silent,
    Error,
    Garbage,
}

pub(crate) const FATES: [Fate; 5] = [Fate::Closed, Fate::Reset, Fate::Silent, Fate::Error, Fate::Garbage];

impl Fate {
    /// `reply`, stopped behind its first `events` events.
    pub(crate) fn befall(self, reply: Reply, events: usize) -> Reply {
        let with = |last: &str| {
            let body = reply.body();
            let end = tollway_test_support::data_ends(&body)[events - 1];
            let last = format!("data: {last}\n\n");
            Reply::stream([body.slice(..end), last.into(), "data: [DONE]\n\n".into()])
        };
        match self {
            Self::Closed => reply.cut_after_events(events, Break::Close),
            Self::Reset => reply.cut_after_events(events, Break::Reset),
            Self::Silent => reply.cut_after_events(events, Break::Stall),
            Self::Error => with(r#"{"error":{"message":"worker died","code":502}}"#),
            Self::Garbage => with(r#"{"id":"x","choices":[{"ind"#),
        }
    }
}

/// A provider that breaks off, and one that goes on with what it began; a model for each case, so that no case teaches
/// the next one anything. What the first does to a request, `broken` says by the case's number.
pub(crate) struct Pair {
    pub(crate) first: FakeProvider,
    pub(crate) second: FakeProvider,
    pub(crate) gateway: Gateway,
}

pub(crate) fn served(name: &str, kind: Kind, fake: &FakeProvider, price: &str, cases: usize) -> Provider {
    served_as("", name, kind, fake, price, cases)
}

/// The same with ids that begin with `models`.
fn served_as(
    models: &str,
    name: &str,
    kind: Kind,
    fake: &FakeProvider,
    price: &str,
    cases: usize,
) -> Provider {
    (0..cases).fold(Provider::fake(name, kind, fake), |provider, case| {
        let price = Price::per_million(price, price, price);
        provider.model(Model::new(&format!("{models}m-{case}"), &format!("c-{case}")).price(price))
    })
}

pub(crate) fn case_of(request: &Received) -> usize {
    let model = request.json()["model"].as_str().unwrap().to_owned();
    model
        .strip_prefix("qwen-")
        .unwrap_or(&model)
        .strip_prefix("m-")
        .unwrap()
        .split('-')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

const POLICY: &str = "policy: p\nroutes: [first, second]\nin_order: true\nprobe: off\n\
    fallback: {attempts: 2, idle_timeout: 400ms, first_token_timeout: 5s, midstream: resume}\n";

impl Pair {
    pub(crate) async fn of(
        [first, second]: [Dialect; 2],
        kinds: [Kind; 2],
        more: &str,
        cases: usize,
        broken: impl Fn(usize, Reply) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let fakes = [FakeProvider::start().await, FakeProvider::speaking(second).await];
        fakes[0].on(move |request| broken(case_of(request), first.answer(request)));
        // Alibaba goes on with its own models only.
        let models = if more.contains("dashscope") { "qwen-" } else { "" };
        let mut going_on = served_as(models, "second", kinds[1], &fakes[1], PRICES[1], cases);
        for line in more.lines() {
            going_on = going_on.with(line);
        }
        let config = Config::new()
            .provider(served("first", kinds[0], &fakes[0], PRICES[0], cases))
            .provider(going_on)
            .policy("a.yaml", POLICY);
        let [first, second] = fakes;
        Self { first, second, gateway: gateway(config).await }
    }

    /// The events of case `case`.
    pub(crate) async fn events(&self, case: usize) -> Vec<Event> {
        self.gateway.chat(&asking(case)).send().await.events().await
    }

    /// What the second was asked in case `case`.
    fn asked_second(&self, case: usize) -> Value {
        let recorded = self.second.recorded();
        recorded.iter().find(|one| case_of(one) == case).expect("it was asked").json()
    }
}

pub(crate) fn asking(case: usize) -> Value {
    json!({"model": format!("c-{case}"), "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "say tok-7 twice"}]})
}

/// What a stream of chats says, which is checked to be one.
pub(crate) struct Heard {
    pub(crate) text: String,
    pub(crate) finish: String,
    pub(crate) usage: Value,
    pub(crate) resumed: Value,
}

pub(crate) fn heard(events: &[Event]) -> Heard {
    let (last, rest) = events.split_last().expect("a stream");
    assert!(last.is_done(), "the end: {last:?}");
    let chunks: Vec<Value> = rest.iter().map(|event| event.json().expect("a chunk")).collect();
    for key in ["id", "created", "model"] {
        assert!(chunks.iter().all(|chunk| chunk[key] == chunks[0][key]), "one {key}: {chunks:#?}");
    }
    let marks: Vec<&Value> = chunks.iter().filter_map(|chunk| chunk.get("system_fingerprint")).collect();
    assert!(marks.windows(2).all(|pair| pair[0] == pair[1]), "one fingerprint: {marks:?}");
    let (usage, spoken): (Vec<&Value>, Vec<&Value>) =
        chunks.iter().partition(|chunk| chunk["choices"].as_array().is_some_and(Vec::is_empty));
    assert_eq!((usage.len(), usage[0]), (1, chunks.last().unwrap()), "usage once, at the end: {chunks:#?}");
    let choice = |chunk: &Value| chunk["choices"][0].clone();
    let finishes: Vec<Value> =
        spoken.iter().map(|chunk| choice(chunk)["finish_reason"].clone()).filter(|f| !f.is_null()).collect();
    assert_eq!(finishes.len(), 1, "one finish: {chunks:#?}");
    let finish = spoken.last().unwrap();
    assert!(!choice(finish)["finish_reason"].is_null(), "the finish comes last");
    let text = spoken.iter().filter_map(|chunk| {
        let choice = choice(chunk);
        choice["delta"]["content"].as_str().or(choice["text"].as_str()).map(str::to_owned)
    });
    Heard {
        text: text.collect(),
        finish: finishes[0].as_str().unwrap().to_owned(),
        usage: usage[0]["usage"].clone(),
        resumed: finish["tollway"]["resumed"].clone(),
    }
}

pub(crate) fn nanos(cost: &Value) -> u64 {
    (cost.as_f64().unwrap() * 1e9).round() as u64
}

fn price(of: usize) -> Price {
    Price::per_million(PRICES[of], PRICES[of], PRICES[of])
}

/// The text of an answer that nothing befell.
pub(crate) fn uncut(dialect: &Dialect) -> String {
    let body = json!({"model": "m-0", "stream": false, "messages": asking(0)["messages"]}).to_string();
    let received = tollway_test_support::received("/v1/chat/completions", &body);
    let body: Value = serde_json::from_slice(&dialect.answer(&received).body()).unwrap();
    body["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn r20_a_stream_cut_anywhere_and_anyhow_reads_as_if_it_never_was() {
    let dialect = Dialect::new(Kind::OpenAi).tokens(TOKENS);
    let cases = FATES.len() * TOKENS as usize;
    // Behind the role and so many pieces.
    let behind = |case: usize| 1 + case / FATES.len() + 1;
    let pair = Pair::of(
        [dialect.clone(), dialect.clone()],
        [Kind::OpenAi, Kind::OpenAi],
        "kind: vllm",
        cases,
        move |case, reply| FATES[case % FATES.len()].befall(reply, behind(case)),
    )
    .await;
    let whole = uncut(&dialect);
    let pair = Arc::new(pair);
    let mut under_way = tokio::task::JoinSet::new();
    for case in 0..cases {
        let pair = Arc::clone(&pair);
        under_way.spawn(async move { (case, pair.events(case).await) });
    }
    let all: BTreeMap<usize, Vec<Event>> = under_way.join_all().await.into_iter().collect();
    let mut total = 0;
    for (&case, events) in &all {
        let (fate, said) = (FATES[case % FATES.len()], (behind(case) - 1) as u64);
        let what = format!("{fate:?} after {said}");
        let Heard { text, finish, usage, resumed } = heard(events);
        assert_eq!((text.as_str(), finish.as_str()), (whole.as_str(), "stop"), "{what}");
        assert_eq!(resumed[0]["from"], format!("first/m-{case}"), "{what}: {resumed}");
        assert_eq!(resumed[0]["to"], format!("second/m-{case}"), "{what}");
        assert_eq!(resumed[0]["after_tokens"], said, "{what}");
        // The first reported nothing: its prompt is what the second's leaves when the text so far is taken off.
        let asked = pair.asked_second(case);
        let second = dialect.usage(asked.to_string().as_bytes());
        let first = Usage { prompt: second.prompt - said, completion: said, ..Usage::default() };
        assert_eq!(usage["prompt_tokens"], first.prompt, "{what}: {usage}");
        assert_eq!(usage["completion_tokens"], TOKENS, "{what}: {usage}");
        assert_eq!(usage["estimated"], true, "{what}: {usage}");
        let cost = price(0).cost_nano(&first) + price(1).cost_nano(&second);
        assert_eq!(nanos(&usage["cost"]), cost, "{what}: {usage}");
        total += cost;
        assert_eq!(
            (&asked["continue_final_message"], &asked["add_generation_prompt"]),
            (&json!(true), &json!(false))
        );
    }
    assert_eq!((pair.first.count(), pair.second.count()), (cases, cases), "each asked once");
    let metrics = pair
        .gateway
        .metrics_until("all are counted", |m| {
            m.sum("tollway_requests_total", &[("outcome", "ok")]) == f64::from(cases as u32)
        })
        .await;
    let counted = metrics.sum("tollway_cost_usd_total", &[]);
    assert_eq!((counted * 1e9).round() as u64, total, "charged once");
    assert_eq!(metrics.sum("tollway_retries_total", &[]), f64::from(cases as u32), "each is a retry");
    let line: Value = serde_json::from_str(&pair.gateway.logged("\"route\":\"second/m-7\"").await).unwrap();
    assert_eq!((&line["outcome"], &line["attempts"]), (&json!("ok"), &json!(2)), "{line}");
    assert_eq!(line["resumed"][0]["route"], "first/m-7");
    assert_eq!(nanos(&line["cost_usd"]), nanos(&heard(&all[&7]).usage["cost"]), "{line}");
}

#[tokio::test]
async fn each_dialect_goes_on_in_its_own_way() {
    let prefill = "continuation: prefill";
    let ways: [(Kind, &str, &str, bool); 7] = [
        (Kind::OpenAi, "kind: vllm", "continue_final_message", false),
        (Kind::OpenAi, "kind: sglang", "continue_final_message", false),
        (Kind::OpenAi, "kind: dashscope", "partial", false),
        (Kind::DeepSeek, "", "prefix", false),
        (Kind::OpenRouter, prefill, "", true),
        (Kind::Together, prefill, "", true),
        (Kind::Fireworks, prefill, "", true),
    ];
    for (kind, more, mark, prefills) in ways {
        for first in Kind::ALL {
            let plain = Dialect::new(kind).tokens(TOKENS);
            let second = if prefills { plain.prefills() } else { plain };
            let dialect = Dialect::new(first).tokens(TOKENS);
            let whole = uncut(&dialect);
            // OpenRouter begins without a role of its own.
            let role = usize::from(first != Kind::OpenRouter);
            let pair = Pair::of([dialect, second], [first, kind], more, 3, move |case, reply| {
                reply.cut_after_events(role + [1, 6, 12][case], Break::Close)
            })
            .await;
            for case in 0..3 {
                let what = format!("{first:?}, then {kind:?} {more}, case {case}");
                let Heard { text, usage, .. } = heard(&pair.events(case).await);
                assert_eq!(text, whole, "{what}");
                assert_eq!(usage["completion_tokens"], TOKENS, "{what}");
                let asked = pair.asked_second(case);
                assert_eq!(asked["messages"][1]["role"], "assistant", "{what}");
                assert!(mark.is_empty() || asked.to_string().contains(&format!("\"{mark}\":true")), "{what}");
            }
            let beta = pair.second.recorded().iter().all(|one| one.path.starts_with("/beta"));
            assert_eq!(beta, kind == Kind::DeepSeek, "{first:?}, then {kind:?}");
        }
    }
}

#[tokio::test]
async fn a_repeated_beginning_is_not_told_again() {
    let first = Dialect::new(Kind::OpenAi).tokens(TOKENS);
    let second = Dialect::new(Kind::OpenRouter).tokens(TOKENS).prefills().echoes();
    let whole = uncut(&first);
    // From 24 bytes on it is told apart from text that says the same twice.
    let pair = Pair::of(
        [first, second],
        [Kind::OpenAi, Kind::OpenRouter],
        "continuation: prefill",
        7,
        |case, reply| reply.cut_after_events(1 + 5 + case, Break::Close),
    )
    .await;
    for case in 0..7 {
        assert_eq!(heard(&pair.events(case).await).text, whole, "case {case}");
    }
}

#[tokio::test]
async fn blanks_line_ends_and_wide_characters_survive_the_seam() {
    let pieces =
        ["One", " two", "\n", "\n", "- \u{1f30a}", " ", " Łódź\n", "\t\"x\\", "\u{2028}", "  ", "end", ".\n"];
    let dialect = Dialect::new(Kind::OpenAi).saying(pieces);
    let cases = pieces.len();
    let pair = Pair::of(
        [dialect.clone(), dialect],
        [Kind::OpenAi, Kind::OpenAi],
        "kind: vllm",
        cases,
        |case, reply| reply.cut_after_events(2 + case, Break::Close),
    )
    .await;
    for case in 0..cases {
        assert_eq!(heard(&pair.events(case).await).text, pieces.concat(), "behind {} pieces", case + 1);
    }
}

#[tokio::test]
async fn what_was_said_counts_against_the_callers_bound() {
    let dialect = Dialect::new(Kind::OpenAi).tokens(TOKENS);
    let whole = uncut(&dialect);
    let pair =
        Pair::of([dialect.clone(), dialect], [Kind::OpenAi, Kind::OpenAi], "kind: vllm", 8, |case, reply| {
            reply.cut_after_events(2 + case, Break::Close)
        })
        .await;
    for (case, bound) in
        (0..8).map(|case| (case, if case % 2 == 0 { "max_tokens" } else { "max_completion_tokens" }))
    {
        let mut body = asking(case);
        body[bound] = json!(8);
        let Heard { text, finish, usage, .. } = heard(&pair.gateway.chat(&body).send().await.events().await);
        assert!(whole.starts_with(&text), "{text}");
        assert_eq!((finish.as_str(), &usage["completion_tokens"]), ("length", &json!(8)), "case {case}");
        if case < 7 {
            assert_eq!(pair.asked_second(case)[bound], 7 - case, "case {case}");
        }
    }
    // Where all of it had come, nobody need be asked for the reason alone.
    assert_eq!(pair.second.count(), 7);
}

#[tokio::test]
async fn thoughts_that_were_over_are_not_thought_again() {
    let first = Dialect::new(Kind::DeepSeek).tokens(TOKENS).reasoning(3);
    let second = Dialect::new(Kind::DeepSeek).tokens(TOKENS);
    let whole = uncut(&second);
    let pair = Pair::of([first, second], [Kind::DeepSeek, Kind::DeepSeek], "", 2, |case, reply| {
        reply.cut_after_events([6, 3][case], Break::Close)
    })
    .await;
    let Heard { text, usage, .. } = heard(&pair.events(0).await);
    assert_eq!((text, &usage["completion_tokens"]), (whole, &json!(3 + TOKENS)));
    assert_eq!(pair.asked_second(0)["messages"][1]["reasoning_content"], "hm hm hm ");
    // Cut while it thinks, there is no text to go on from.
    let last = pair.events(1).await.pop().unwrap().json().unwrap();
    assert_eq!(last["error"]["code"], "stream_broken");
}

#[tokio::test]
async fn usage_that_nobody_asked_for_is_charged_and_not_sent() {
    let dialect = Dialect::new(Kind::OpenAi).tokens(TOKENS);
    let whole = uncut(&dialect);
    let pair =
        Pair::of([dialect.clone(), dialect], [Kind::OpenAi, Kind::OpenAi], "kind: vllm", 1, |_, reply| {
            reply.cut_after_events(4, Break::Close)
        })
        .await;
    let mut body = asking(0);
    body.as_object_mut().unwrap().remove("stream_options");
    let events = pair.gateway.chat(&body).send().await.events().await;
    let chunks: Vec<Value> = events.iter().filter_map(Event::json).collect();
    assert!(chunks.iter().all(|chunk| !chunk["usage"].is_object() && chunk["choices"][0].is_object()));
    let text: String = chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, whole);
    assert_eq!(chunks.last().unwrap()["tollway"]["resumed"][0]["to"], "second/m-0");
    let line: Value = serde_json::from_str(&pair.gateway.logged("\"resumed\"").await).unwrap();
    assert_eq!(line["completion_tokens"], TOKENS);
}

#[tokio::test]
async fn a_text_completion_goes_on_with_anybody() {
    let dialect = Dialect::new(Kind::OpenAi).tokens(TOKENS);
    let whole = uncut(&dialect);
    let pair = Pair::of([dialect.clone(), dialect], [Kind::OpenAi, Kind::OpenAi], "", 3, |case, reply| {
        reply.cut_after_events([1, 5, 11][case], Break::Close)
    })
    .await;
    for case in 0..3 {
        let body = json!({"model": format!("c-{case}"), "prompt": "tok-7: ", "stream": true,
            "stream_options": {"include_usage": true}});
        let response = pair.gateway.post("/v1/completions", body.to_string()).send().await;
        let Heard { text, usage, .. } = heard(&response.events().await);
        assert_eq!((text, &usage["completion_tokens"]), (whole.clone(), &json!(TOKENS)), "case {case}");
    }
}
