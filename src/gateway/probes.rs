//! The task that sends probes when they are due, and closes connections that nobody uses, until the gateway is told to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::live::Gateway;
use super::tasks::Tasks;

/// How often it looks for routes that are due.
const LOOKS_EVERY: Duration = Duration::from_millis(500);

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
            let (live, stop) = (Arc::clone(&live), stop.clone());
            tasks.spawn("probe", async move {
                let snapshot = &live.snapshot;
                let probe = live.upstreams.probe(&snapshot.routes, &snapshot.route_provider, place);
                stop.run_until_cancelled(Box::pin(probe)).await;
            });
        }
    }
}
