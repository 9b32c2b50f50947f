//! The lowest bill that an answer could bring, for an end that is only known to lie between two moments.

use crate::pricing::PriceCard;
use crate::replay::run::bill;
use crate::replay::scenario::{IncidentKind, Scenario};
use crate::replay::trace::Arrival;
use crate::replay::world::World;
use crate::routing::Route;
use crate::units::Usage;

use super::calm::{cuts, inside, widened};

const MINUTE_US: u64 = 60_000_000;

/// Prices through a trace.
#[derive(Debug)]
pub(super) struct Bills {
    begin_us: u64,
    begins: jiff::Timestamp,
    spans: Vec<Prices>,
}

/// Prices between two changes of the market's.
#[derive(Debug)]
struct Prices {
    from_us: u64,
    to_us: u64,
    /// By route, and whether the hour matters there.
    routes: Vec<(Route, bool)>,
}

impl Bills {
    /// The prices of `scenario`; those of `world` are left at the last ones.
    pub(super) fn new(world: &mut World<'_>, scenario: &Scenario) -> Self {
        let prices = scenario.incidents.iter().filter(|one| matches!(one.kind, IncidentKind::Price(_)));
        let cuts = cuts(world.trace, prices.flat_map(|one| [one.from, one.to]));
        let spans = cuts
            .into_iter()
            .map(|cut| {
                world.set_prices(scenario, inside(cut));
                let (from_us, to_us) = widened(cut);
                let routes = world.routes.iter().map(|route| {
                    let hourly = route.price.as_ref().is_some_and(minds_the_hour);
                    (route.clone(), hourly)
                });
                Prices { from_us, to_us, routes: routes.collect() }
            })
            .collect();
        let begin_us = world.trace.arrivals.first().map_or(0, |arrival| arrival.at_us);
        Self { begin_us, begins: scenario.begins, spans }
    }

    /// The lowest bill in USD for a whole answer whose end lies in `over`. At most `cached` tokens are from the cache, and
    /// the report says `factor` times the prompt.
    #[expect(clippy::cast_precision_loss, reason = "a bill far below 2⁵³ pico-dollars loses nothing")]
    pub(super) fn least_usd(
        &self,
        route: usize,
        arrival: &Arrival,
        cached: u32,
        factor: f64,
        over: (u64, u64),
    ) -> f64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a token count")]
        let prompt = (f64::from(arrival.prompt_tokens) * factor) as u64;
        let warm = Usage {
            prompt,
            cached: u64::from(cached).min(prompt),
            completion: u64::from(arrival.output_tokens),
            ..Usage::default()
        };
        // A bill is linear in what is cached, which may cost more than what is not.
        let cold = Usage { cached: 0, ..warm };
        let mut least = i128::MAX;
        for prices in self.spans.iter().filter(|span| span.from_us <= over.1 && span.to_us >= over.0) {
            let Some((route, hourly)) = prices.routes.get(route) else { continue };
            let (mut at, to) = (over.0.max(prices.from_us), over.1.min(prices.to_us));
            loop {
                let wall = self.wall(at);
                least = least.min(bill(route, &warm, wall).0);
                if cached > 0 {
                    least = least.min(bill(route, &cold, wall).0);
                }
                // Prices change at whole minutes.
                at += MINUTE_US - self.past_minute_us(at);
                if !hourly || at > to {
                    break;
                }
            }
        }
        least as f64 * 1e-12
    }

    fn wall(&self, at_us: u64) -> jiff::Timestamp {
        let passed = i64::try_from(at_us.saturating_sub(self.begin_us)).unwrap_or(i64::MAX);
        self.begins.checked_add(jiff::SignedDuration::from_micros(passed)).unwrap_or(self.begins)
    }

    fn past_minute_us(&self, at_us: u64) -> u64 {
        let wall = self.wall(at_us).as_microsecond();
        u64::try_from(wall.rem_euclid(60_000_000)).unwrap_or(0)
    }
}

fn minds_the_hour(card: &PriceCard) -> bool {
    card.versions().count() > 1
        || card.versions().flat_map(|version| &version.overrides).any(|(condition, _)| {
            !condition.utc_minutes.is_empty() || condition.weekdays != 0 || !condition.except_days.is_empty()
        })
}
