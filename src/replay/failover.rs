//! How a replayed router meets an outage: how soon first attempts go elsewhere, and how many it cost.

use super::run::{scaled, seconds_of};
use super::scenario::{IncidentKind, Scenario};
use super::tally::Failover;
use super::world::World;

/// How soon first attempts left each route that went down or slow. `firsts` are their times and routes.
pub(super) fn failovers(world: &World<'_>, scenario: &Scenario, firsts: &[(u64, u16)]) -> Vec<Failover> {
    let mut met = Vec::new();
    let begin = world.trace.arrivals.first().map_or(0, |arrival| arrival.at_us);
    let span = world.trace.span_us();
    for incident in &scenario.incidents {
        let slow = match incident.kind {
            IncidentKind::Down => None,
            IncidentKind::Slow(times) if times >= 2.0 => Some(times),
            _ => continue,
        };
        let Some(route) = world.routes.iter().position(|route| *route.name == *incident.route) else {
            continue;
        };
        let (from, to) = (begin + scaled(span, incident.from), begin + scaled(span, incident.to));
        let to_it = |one: &&(u64, u16)| usize::from(one.1) == route;
        let before = firsts.iter().filter(|one| (from.saturating_sub(120_000_000)..from).contains(&one.0));
        let (all, there) =
            before.fold((0, 0), |(all, there), one| (all + 1, there + usize::from(to_it(&one))));
        let during: Vec<&(u64, u16)> = firsts.iter().filter(|one| (from..to).contains(&one.0)).collect();
        let left = (20..=during.len())
            .find(|end| during[end - 20..*end].iter().filter(|one| to_it(one)).count() <= 1);
        // The last that went there is where it was left, not the twentieth after it.
        let last = left.and_then(|end| during[..end].iter().rposition(to_it));
        let seconds = left.map(|_| last.map_or(0.0, |at| seconds_of(during[at].0 - from)));
        met.push(Failover {
            route,
            slow,
            began_us: from,
            seconds,
            exposed: during[..left.unwrap_or(during.len())].iter().filter(|one| to_it(one)).count() as u64,
            mattered: there * 10 >= all && all > 0,
        });
    }
    met
}
