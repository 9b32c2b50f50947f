//! The board of budgets, asked of a real Prometheus that watches a gateway with a Redis and a PostgreSQL: what is spent, who is
//! refused, and how far the records have come.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tollway_test_support::{
    Config, Dialect, FakeProvider, Gateway, Kind, Model, Postgres, Price, Provider, Redis,
};

use crate::board::{Board, Scope, Target};
use crate::load::nanos;
use crate::prometheus::{Prometheus, Series};

const MODEL: &str = "test-model-0101";
/// What is nought on a good day, or for most of it.
const MAY_BE_NOUGHT: [&str; 6] = [
    "Store lost",
    "Records not sent yet",
    "Failures of sending",
    "Entries under way",
    "Fastest growing",
    "Spent, held and limit",
];
/// Panels that want a PostgreSQL.
const OF_POSTGRES: [&str; 3] = ["Records not sent yet", "Failures of sending", "Database connected"];
const ROUNDS: (u32, u32) = (3, 6);

struct World {
    gateway: Gateway,
    _fake: FakeProvider,
    _redis: Redis,
}

impl World {
    async fn start(postgres: Option<&Postgres>) -> Self {
        let price = Price::per_million("3", "3", "7");
        let dialect = Dialect::new(Kind::OpenRouter).tokens(20).price(price).gap(Duration::from_millis(10));
        let fake = FakeProvider::speaking(dialect).await;
        let redis = Redis::start().await;
        let model = Model::new("served", MODEL).price(Price::per_million("30", "30", "30"));
        let mut config = Config::new()
            .provider(Provider::fake("router", Kind::OpenRouter, &fake).model(model))
            .with(
                "keys: [{name: rich, key: key-of-rich-0123456789, team: a, budget: {usd: 1, per: month}}, \
                 {name: poor, key: key-of-poor-0123456789, team: b, budget: {usd: 0.000000001, per: month}}, \
                 {name: slow, key: key-of-slow-0123456789, team: c, rpm: 1}]",
            )
            .with(&format!("store: '{}'", redis.url()))
            .policy("a.yaml", "policy: p\nprobe: off\nfallback: {midstream: error}\n");
        if let Some(postgres) = postgres {
            config = config.with(&format!("ledger: '{}'", postgres.url()));
        }
        Self {
            gateway: Gateway::start(env!("CARGO_BIN_EXE_tollway"), config).await,
            _fake: fake,
            _redis: redis,
        }
    }

    /// What is answered once the store says yes or no: on a machine that is short of time it may seem silent for a moment.
    async fn asked(&self, key: &str, stream: bool) -> tollway_test_support::Response {
        let body = json!({
            "model": MODEL, "max_tokens": 20, "stream": stream, "messages": [{"role": "user", "content": "tok-1 hello"}],
        });
        let patience = std::time::Instant::now() + Duration::from_mins(1);
        loop {
            let key = format!("key-of-{key}-0123456789");
            let response = self.gateway.chat(&body).key(&key).send().await;
            if response.status != 503 {
                return response;
            }
            assert!(std::time::Instant::now() < patience, "no store");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// An answer, a stream that its caller leaves, one who has no money, and one who comes too often.
    async fn round(&self) {
        let answer = self.asked("rich", false).await;
        assert_eq!(answer.status, 200);
        answer.bytes().await;
        let mut left = self.asked("rich", true).await;
        left.next().await.unwrap();
        left.reset();
        assert_eq!(self.asked("poor", false).await.status, 429);
        self.asked("slow", false).await.bytes().await;
    }

    /// What the budget of `rich` was charged: what is looked up later does not come back to a balance that others share.
    fn charged(&self) -> u64 {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_tollway"))
            .args(["ledger", "export", "--ledger"])
            .arg(self.gateway.path("data/ledger.db"))
            .output()
            .unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let records = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of_rich = records.filter(|record| record["key"] == "rich" && record["outcome"] != "adjusted");
        of_rich.map(|record| nanos(record["amount_usd"].as_str().unwrap().parse().unwrap())).sum()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_board_of_budgets_shows_what_is_spent_and_refused() {
    let mut postgres = Postgres::start().await;
    let world = World::start(postgres.as_ref()).await;
    assert_eq!(world.asked("rich", false).await.status, 200);
    let prometheus = Prometheus::watching(world.gateway.admin_address()).await;
    if let Some(postgres) = &mut postgres {
        postgres.kill9();
        world
            .gateway
            .metrics_until("the database is seen to be gone", |page| {
                page.sum("tollway_ledger_sink_errors_total", &[]) > 0.0
            })
            .await;
    }
    for _ in 0..ROUNDS.0 {
        world.round().await;
    }
    world
        .gateway
        .metrics_until("charges are looked up", |page| {
            page.sum("tollway_ledger_lookups_total", &[("result", "adjusted")]) >= f64::from(ROUNDS.0)
        })
        .await;
    if let Some(postgres) = &mut postgres {
        postgres.restart().await;
    }
    prometheus.until("sum(tollway_budget_denied_total)", f64::from(ROUNDS.0)).await;
    prometheus.until("sum(tollway_ledger_lookups_total{result=\"adjusted\"})", f64::from(ROUNDS.0)).await;
    let from = prometheus.number("timestamp(tollway_config_reload_generation)").await.unwrap();
    for _ in 0..ROUNDS.1 {
        world.round().await;
    }
    let all = f64::from(ROUNDS.0 + ROUNDS.1);
    prometheus.until("sum(tollway_budget_denied_total)", all).await;
    prometheus.until("sum(tollway_ledger_lookups_total{result=\"adjusted\"})", all).await;
    prometheus.until("sum(tollway_budget_reserved_usd)", 0.0).await;
    if postgres.is_some() {
        prometheus.until("min(tollway_ledger_sink_connected)", 1.0).await;
    }
    let charged = world.charged();
    prometheus.until("round(1e9 * sum(tollway_budget_spent_usd{name=\"rich\"}))", charged as f64).await;
    let to = prometheus.number("timestamp(tollway_config_reload_generation)").await.unwrap();
    let board = Board::shipped("tollway-budgets.json");
    let scope = Scope {
        range: Duration::from_millis(((to - from) * 1000.0).round() as u64),
        rate_interval: Duration::from_secs(4),
        interval: Duration::from_secs(1),
        chosen: BTreeMap::new(),
    };
    let ask = async |target: &Target| -> Vec<Series> {
        let expr = scope.expand(&board, &target.expr);
        if target.instant {
            prometheus.at(&expr, Some(to)).await
        } else {
            prometheus.over(&expr, from, to).await
        }
    };
    for target in board.targets() {
        let at = format!("{} ({})", target.panel, target.reference);
        if postgres.is_none() && OF_POSTGRES.contains(&target.panel.as_str()) {
            continue;
        }
        let found = ask(&target).await;
        let numbers: Vec<f64> = found
            .iter()
            .flat_map(|series| &series.points)
            .map(|point| point.1)
            .filter(|n| !n.is_nan())
            .collect();
        assert!(!numbers.is_empty(), "{at}: {found:?}");
        assert!(numbers.iter().all(|number| *number >= 0.0), "{at}: {numbers:?}");
        let may_be_nought = MAY_BE_NOUGHT.contains(&target.panel.as_str()) && target.reference != "C";
        assert!(may_be_nought || numbers.iter().any(|number| *number > 0.0), "{at}: nothing but nought");
    }
    let by = |panel: &str, reference: &str| {
        board.targets().into_iter().find(|one| one.panel == panel && one.reference == reference).unwrap()
    };
    let rich = |found: Vec<Series>| found.into_iter().find(|series| series.label("name") == "rich").unwrap();
    let spent = rich(ask(&by("Spent, held and limit", "A")).await);
    assert_eq!(nanos(spent.points.last().unwrap().1), charged, "to the nano-dollar");
    let used = rich(ask(&by("Used share of each budget", "A")).await).value();
    assert!((used - charged as f64 / 1e9).abs() < 1e-12, "{used}");
    let refused = ask(&by("Refusals in the range by reason", "A")).await;
    assert_eq!(refused[0].value().round(), f64::from(ROUNDS.1));
}
