//! Every query of the board of costs, asked of a real Prometheus that watches a gateway under load. What the panels show is held
//! against what the answers said they cost.
//!
//! `increase()` extrapolates to the ends of its range, by less than one scrape interval at each. Here the range begins and
//! ends exactly at a scrape and every series is there before it, so nothing is left to extrapolate and sums agree to the
//! nano-dollar.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::board::{BOARDS, Board, Scope, Target};
use crate::load::{CUT, TEAMS, Tally, World, nanos};
use crate::prometheus::{Prometheus, Series};

/// Rounds before the range begins, and in it. Prometheus scrapes at least once between two.
const ROUNDS: (u32, u32) = (4, 6);

/// A stretch of load between two scrapes.
struct Watched {
    world: World,
    prometheus: Prometheus,
    /// Times of the scrapes at both ends, in seconds.
    from: f64,
    to: f64,
    /// What happened before, and what in between.
    before: Tally,
    within: Tally,
    /// Cost of broken streams in between, from the access log: their callers were not told.
    broken_nanos: u64,
    /// All that was ever spent.
    total_nanos: u64,
}

impl Watched {
    async fn load() -> Self {
        let world = World::start().await;
        let prometheus = Prometheus::watching(world.gateway.admin_address()).await;
        let (mut before, mut within) = (Tally::default(), Tally::default());
        for _ in 0..ROUNDS.0 {
            before.add(world.round().await);
            scraped(&world, &prometheus, before.requests).await;
        }
        let broken_before = world.cost_of_broken(before.requests).await;
        let from = last_scrape(&prometheus).await;
        for _ in 0..ROUNDS.1 {
            within.add(world.round().await);
            scraped(&world, &prometheus, before.requests + within.requests).await;
        }
        let broken_ever = world.cost_of_broken(before.requests + within.requests).await;
        let to = last_scrape(&prometheus).await;
        let total_nanos = before.nanos() + within.nanos() + broken_ever;
        Self {
            world,
            prometheus,
            from,
            to,
            before,
            within,
            broken_nanos: broken_ever - broken_before,
            total_nanos,
        }
    }

    fn scope(&self) -> Scope {
        Scope {
            range: Duration::from_millis(((self.to - self.from) * 1000.0).round() as u64),
            rate_interval: Duration::from_secs(4),
            interval: Duration::from_secs(1),
            chosen: BTreeMap::new(),
        }
    }

    async fn ask(&self, board: &Board, scope: &Scope, target: &Target) -> Vec<Series> {
        let expr = scope.expand(board, &target.expr);
        if target.instant {
            self.prometheus.at(&expr, Some(self.to)).await
        } else {
            self.prometheus.over(&expr, self.from, self.to).await
        }
    }

    /// The one number of a panel.
    async fn shown(&self, board: &Board, scope: &Scope, panel: &str) -> f64 {
        let shown = self.ask(board, scope, &board.target(panel)).await;
        assert_eq!(shown.len(), 1, "{panel}: {shown:?}");
        shown[0].value()
    }
}

/// Waits until Prometheus has seen all requests and all that they cost.
async fn scraped(world: &World, prometheus: &Prometheus, requests: u32) {
    let all = world
        .gateway
        .metrics_until("every request", |page| page.sum("tollway_requests_total", &[]) == f64::from(requests))
        .await;
    drop(all);
    // The request is counted a moment before its cost is.
    world
        .gateway
        .metrics_until("nothing in flight", |page| page.sum("tollway_requests_in_flight", &[]) == 0.0)
        .await;
    let cost = nanos(world.gateway.metrics().await.sum("tollway_cost_usd_total", &[]));
    prometheus.until("sum(tollway_requests_total)", f64::from(requests)).await;
    prometheus.until("round(1e9 * sum(tollway_cost_usd_total))", cost as f64).await;
}

async fn last_scrape(prometheus: &Prometheus) -> f64 {
    prometheus.number("timestamp(tollway_config_reload_generation)").await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_shows_what_happened() {
    let watched = Watched::load().await;
    counters_are_exact(&watched).await;
    for name in BOARDS {
        annotations_are_understood(&watched, &Board::shipped(name)).await;
    }
    let board = Board::shipped("tollway-cost.json");
    every_query_has_data(&watched, &board).await;
    money_agrees(&watched, &board).await;
    variables_filter(&watched, &board).await;
    shares_agree(&watched, &board).await;
    counts_agree(&watched, &board).await;
}

async fn counters_are_exact(watched: &Watched) {
    let seen = watched.prometheus.at("sum(tollway_cost_usd_total)", Some(watched.to)).await;
    assert_eq!(nanos(seen[0].value()), watched.total_nanos, "the counter, to the nano-dollar");
    let parts = watched.prometheus.at("sum(tollway_cost_component_usd_total)", Some(watched.to)).await;
    assert_eq!(nanos(parts[0].value()), watched.total_nanos, "its parts, to the nano-dollar");
}

async fn every_query_has_data(watched: &Watched, board: &Board) {
    let scope = watched.scope();
    let panels = board.panels();
    for target in board.targets() {
        let at = format!("{} ({})", target.panel, target.reference);
        let result = watched.ask(board, &scope, &target).await;
        assert!(!result.is_empty(), "{at}: no series for {}", scope.expand(board, &target.expr));
        let values: Vec<f64> = result.iter().flat_map(|series| &series.points).map(|point| point.1).collect();
        // A quantile or a ratio of nothing is not a number, and draws nothing; some of it must be one.
        let numbers: Vec<f64> = values.into_iter().filter(|value| !value.is_nan()).collect();
        assert!(!numbers.is_empty(), "{at}: nothing but NaN in {result:?}");
        let panel = panels.iter().find(|panel| panel["title"] == target.panel.as_str()).unwrap();
        let defaults = &panel["fieldConfig"]["defaults"];
        let signed = ["Price drift", "Change against the period before"].contains(&target.panel.as_str());
        let highest = match defaults["unit"].as_str().unwrap() {
            "percentunit" if signed => 10.0,
            "percentunit" => 1.0 + 1e-9,
            "s" => 60.0,
            _ => 1e9,
        };
        let lowest = if signed { -1.0 } else { 0.0 };
        assert!(numbers.iter().all(|number| (lowest..=highest).contains(number)), "{at}: {numbers:?}");
        if !signed && !["Local share of tokens", "Circuit breakers"].contains(&target.panel.as_str()) {
            assert!(numbers.iter().any(|number| *number > 0.0), "{at}: nothing but nought");
        }
    }
}

async fn annotations_are_understood(watched: &Watched, board: &Board) {
    for expr in board.annotations() {
        // A query that Prometheus refuses panics; on a quiet day it finds nothing, and nothing was reloaded here.
        let found =
            watched.prometheus.over(&watched.scope().expand(board, &expr), watched.from, watched.to).await;
        assert!(found.is_empty(), "{expr}: {found:?}");
    }
}

async fn money_agrees(watched: &Watched, board: &Board) {
    let scope = watched.scope();
    let spent = watched.within.nanos() + watched.broken_nanos;
    assert_eq!(nanos(watched.shown(board, &scope, "Spend").await), spent);
    let dollars = spent as f64 / 1e9;
    let per_thousand = watched.shown(board, &scope, "Cost per 1k requests").await;
    close("cost per 1k requests", per_thousand, 1000.0 * dollars / f64::from(watched.within.ok()));

    let mut expected = BTreeMap::new();
    for answer in &watched.within.answers {
        *expected
            .entry((answer.team.to_owned(), answer.provider.clone(), answer.model.to_owned()))
            .or_insert(0) += answer.nanos;
    }
    let table = board
        .targets()
        .into_iter()
        .find(|t| t.panel == "Teams, providers and models" && t.reference == "A")
        .unwrap();
    let mut rows = BTreeMap::new();
    for row in watched.ask(board, &scope, &table).await {
        let key =
            (row.label("team").to_owned(), row.label("provider").to_owned(), row.label("model").to_owned());
        rows.insert(key, nanos(row.value()));
    }
    // What broken streams cost stands in the rows of their model, beside what its whole answers cost.
    let broken: u64 = rows
        .iter_mut()
        .filter(|((_, _, model), _)| model == CUT)
        .map(|(key, shown)| std::mem::replace(shown, expected[key]) - expected[key])
        .sum();
    assert_eq!(broken, watched.broken_nanos, "broken streams, by the log");
    rows.retain(|_, nanos| *nanos > 0);
    assert_eq!(rows, expected, "by team, provider and model, to the nano-dollar");
}

async fn variables_filter(watched: &Watched, board: &Board) {
    for team in TEAMS {
        let mut scope = watched.scope();
        scope.chosen.insert("team".to_owned(), vec![team.to_owned()]);
        scope.chosen.insert("provider".to_owned(), vec!["router".to_owned(), "beta".to_owned()]);
        let expected = watched
            .within
            .answers
            .iter()
            .filter(|a| a.team == team && a.provider != "alpha")
            .map(|a| a.nanos)
            .sum::<u64>();
        assert_eq!(nanos(watched.shown(board, &scope, "Spend").await), expected, "{team}");
    }
}

async fn shares_agree(watched: &Watched, board: &Board) {
    let scope = watched.scope();
    for panel in ["Share of requests by route", "Share of spend by route"] {
        let shares = watched.ask(board, &scope, &board.target(panel)).await;
        close(panel, shares.iter().map(Series::value).sum(), 1.0);
    }
    let by_route = watched.ask(board, &scope, &board.target("Share of requests by route")).await;
    let router: f64 =
        by_route.iter().filter(|series| series.label("provider") == "router").map(Series::value).sum();
    let answers = watched.within.answers.iter().filter(|answer| answer.provider == "router").count();
    close("the router's share", router, answers as f64 / f64::from(watched.within.ok()));
    let good = f64::from(watched.within.ok()) / f64::from(watched.within.requests - watched.within.refused);
    close("success", watched.shown(board, &scope, "Success").await, good);
    close("drift", watched.shown(board, &scope, "Price drift").await, 0.1);
    close("local share", watched.shown(board, &scope, "Local share of tokens").await, 0.0);
    let estimated = f64::from(watched.within.cut) / f64::from(watched.within.ok() + watched.within.cut);
    close("estimated usage", watched.shown(board, &scope, "Estimated usage").await, estimated);
}

async fn counts_agree(watched: &Watched, board: &Board) {
    let scope = watched.scope();
    close(
        "unpriced",
        watched.shown(board, &scope, "Unpriced requests").await,
        f64::from(watched.within.unpriced),
    );
    let fallbacks = watched.ask(board, &scope, &board.target("Fallbacks from and to")).await;
    assert!(
        fallbacks.iter().all(|series| (series.label("from"), series.label("to")) == ("alpha", "beta")),
        "{fallbacks:?}"
    );
    assert_eq!(fallbacks.iter().map(Series::value).sum::<f64>().round(), f64::from(watched.within.fallbacks));
    let hundreds = watched.before.requests + watched.within.requests;
    assert!(hundreds >= 300, "{hundreds} requests are too few to say anything");
    assert_eq!(watched.world.gateway.metrics().await.sum("tollway_panics_total", &[]), 0.0);
}

/// Equal but for the last digits of floating-point sums.
fn close(what: &str, shown: f64, expected: f64) {
    assert!(
        (shown - expected).abs() <= 1e-6 * expected.abs().max(1e-3),
        "{what}: {shown} instead of {expected}"
    );
}
