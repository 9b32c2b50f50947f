//! The task that sends probes when they are due, and closes connections that nobody uses, until the gateway is told to stop; and
//! what probes cost, which the gateway itself owes: held before, recorded after, like a caller's request.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use crate::budget::{Demand, OnStoreLoss};
use crate::ledger::{Bounds, Closing, HoldContext, settle};
use crate::relay::account::{Asked, attempt_record, lost_attempts};
use crate::relay::meter::{Flow, Meter, Out};
use crate::relay::{Bill, whole};
use crate::routing::Route;
use crate::treasury::Purse;
use crate::units::{NanoUsd, Reported, Usage};
use crate::upstream::fallback::Upstreams;
use crate::upstream::probe::Probed;
use crate::upstream::{Answer, Streamed};

use super::live::{Gateway, Live};
use super::tasks::Tasks;

/// How often it looks for routes that are due.
const LOOKS_EVERY: Duration = Duration::from_millis(500);
/// How long a probe's end is waited for.
const REST: Duration = Duration::from_secs(5);
/// A probe is priced by the hour in which it ends at the latest.
const LASTS_MAX: SignedDuration = SignedDuration::from_secs(60);
/// Whose probes are, in the ledger: no team can have this name.
const OWNER: &str = "(gateway)";

/// Probes whatever is due, each probe in a task of its own. `stop` ends it and cancels the probes under way.
pub async fn run(gateway: Arc<Gateway>, tasks: Tasks, stop: CancellationToken) {
    let mut looks = tokio::time::interval(LOOKS_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(looks.tick()).await.is_some() {
        let live = gateway.live();
        live.upstreams.client.sweep();
        let now = gateway.books.clock.now().mono;
        for place in 0..live.snapshot.routes.len() {
            if !live.upstreams.is_probe_due(place, live.snapshot.routes.get(place), now) {
                continue;
            }
            let (gateway, live, stop) = (Arc::clone(&gateway), Arc::clone(&live), stop.clone());
            tasks.spawn("probe", async move {
                stop.run_until_cancelled(Box::pin(probe(&gateway, &live, place))).await;
            });
        }
    }
}

/// One probe. Dropped under way, what it held is charged.
async fn probe(gateway: &Gateway, live: &Live, place: usize) {
    let Some(route) = live.snapshot.routes.get(place) else { return };
    let began = gateway.books.clock.now();
    let purse = match held(gateway, route).await {
        Ok(purse) => purse,
        Err(error) => {
            tracing::debug!(%error, route = &*route.name, "not probed: what it would cost cannot be held");
            return;
        }
    };
    let probed = live.upstreams.probe(&live.snapshot.routes, &live.snapshot.route_provider, place).await;
    let Some(Probed { outcome, answered, lost, prompt }) = probed else {
        // Nobody was asked.
        if let Some(purse) = purse {
            purse.settle(closing(Vec::new(), "none", Duration::ZERO)).await;
        }
        return;
    };
    let metrics = &gateway.books.metrics;
    let mut attempts = lost_attempts(&lost, gateway.books.clock.now());
    let mut word = "upstream_error";
    if let Some((answer, mut underway, sent)) = answered {
        let at = gateway.books.clock.now().wall;
        let generation = answer.generation();
        let (reported, counted, is_whole) = heard(answer, prompt).await;
        underway.ended(None);
        let settlement = settle(route.price.as_ref(), reported.as_ref(), counted, is_whole, at);
        let by = Asked {
            provider: &route.provider,
            route: &route.name,
            checkpoint: &route.checkpoint,
            card: route.price.as_ref(),
            at,
            asked: sent,
        };
        word = if is_whole { "ok" } else { "upstream_error" };
        let how = if is_whole { "ok" } else { "broken" };
        attempts.push(attempt_record(by, &settlement, how, "", &generation, gateway.books.clock.now()));
    }
    let cost = attempts.iter().fold(0_i64, |sum, one| sum.saturating_add(one.amount.0));
    metrics.probe(&route.provider, &route.checkpoint, outcome).add(NanoUsd(cost));
    let total = gateway.books.clock.now().mono.since(began.mono);
    if let Some(purse) = purse {
        purse.settle(closing(attempts, word, total)).await;
    }
}

/// Holds the most that a probe of `route` can cost; nothing where nothing is accounted for.
async fn held(gateway: &Gateway, route: &Route) -> Result<Option<Purse>, crate::treasury::Denied> {
    let (Some(treasury), Some((prompt, output))) = (gateway.treasury(), Upstreams::probe_bounds()) else {
        return Ok(None);
    };
    let now = gateway.books.clock.now().wall;
    let bounds = Bounds { prompt, output, attempts: 1, searches: 0, resumes: false };
    let hold = bounds.ceiling(&route.price, now, now.saturating_add(LASTS_MAX).unwrap_or(now));
    let id = gateway.hold_id();
    let demand = Demand {
        id,
        hold,
        tokens: 0,
        budgets: Vec::new(),
        rates: Vec::new(),
        places: Vec::new(),
        on_loss: OnStoreLoss::default(),
    };
    let nobody = || Arc::from("");
    let context = HoldContext {
        id: gateway.own_id(),
        key: nobody(),
        user: nobody(),
        team: OWNER.into(),
        organisation: nobody(),
        policy: nobody(),
        tags: Vec::new(),
        model: (&*route.checkpoint).into(),
        endpoint: "probe",
        stream: true,
        began: now,
        provider: Arc::clone(&route.provider),
        route: Arc::clone(&route.name),
        checkpoint: Arc::clone(&route.checkpoint),
    };
    treasury.admit(demand, context).await.map(|(purse, _)| Some(purse))
}

fn closing(attempts: Vec<crate::ledger::AttemptRecord>, outcome: &'static str, total: Duration) -> Closing {
    let status = if outcome == "ok" { 200 } else { 0 };
    let total_ms = u64::try_from(total.as_millis()).unwrap_or(u64::MAX);
    Closing { ttft_ms: None, total_ms, status, outcome, attempts }
}

/// Hears an answer to its end, so that the connection serves again: what was reported, what we count, and whether it was whole.
async fn heard(answer: Answer, prompt: u64) -> (Option<Reported>, Usage, bool) {
    let streamed = match answer {
        Answer::Streamed(streamed) => *streamed,
        Answer::Whole(answer) => {
            let counted = Usage { prompt, completion: 1, ..Usage::default() };
            return (whole::reported(&answer, true), counted, true);
        }
    };
    let mut meter = Meter::new(false, prompt);
    let listening = tokio::time::timeout(REST, listen(streamed, &mut meter)).await;
    (meter.reported().copied(), meter.counted(), listening.unwrap_or(false))
}

/// Whether the stream was whole.
async fn listen(streamed: Streamed, meter: &mut Meter) -> bool {
    let Streamed { prelude, mut events, mut body, .. } = streamed;
    let bill = |_: Option<&Reported>, _: Usage| Bill::default();
    let mut flow = Flow::On;
    let mut take = |event: &_, flow: &mut Flow| {
        if *flow == Flow::On {
            // Nobody gets any of it.
            *flow = meter.take(event, bill, &mut Out::new());
        }
    };
    for event in &prelude {
        take(event, &mut flow);
    }
    loop {
        while let Ok(Some(event)) = events.next_event() {
            take(&event, &mut flow);
        }
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    events.push(data);
                }
            }
            Some(Err(_)) => return flow == Flow::Ended,
            None => break,
        }
    }
    flow == Flow::Ended || (flow == Flow::On && meter.end(bill, &mut Out::new()) == Flow::Ended)
}
