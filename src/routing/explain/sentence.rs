//! The decision in one line, for someone who pays the bill.

use super::super::choose;
use super::super::facts::RequestFacts;
use super::super::policy::{Objective, Policy};
use super::{LeftOut, Offer, short_usd};

pub(super) fn of(policy: &Policy, facts: &RequestFacts<'_>, order: &[Offer], excluded: &[LeftOut]) -> String {
    let Some(first) = order.first() else {
        return format!("no route may serve {}: {} left out", facts.model, excluded.len());
    };
    let figure = Figure { objective: choose::objective(policy, facts) };
    if first.last_resort {
        let why = excluded.iter().find(|left| left.route == first.route).map_or("", |left| &left.why);
        return format!("{}: a last resort, nothing else is left: {why}", first.route);
    }
    let Some(next) = order.get(1) else {
        return format!("{}: {}, the only route that may serve", first.route, figure.long(first));
    };
    let by_list = policy.in_order || !facts.wants.order.is_empty();
    let rank = if by_list {
        format!("first of {} in the order asked for", order.len())
    } else {
        format!("{} of {}", figure.superlative(), order.len())
    };
    format!("{}: {}, {rank}; next {} {}", first.route, figure.long(first), next.route, figure.short(next))
}

/// What an objective compares, in words.
struct Figure {
    objective: Objective,
}

impl Figure {
    fn superlative(&self) -> &'static str {
        match self.objective {
            Objective::Cost => "cheapest",
            Objective::Latency => "soonest to answer",
            Objective::Throughput => "fastest writer",
            Objective::Balanced => "best by cost and first token together",
        }
    }

    fn long(&self, offer: &Offer) -> String {
        match self.objective {
            Objective::Cost | Objective::Throughput => cost(offer),
            Objective::Latency => ttft(offer),
            Objective::Balanced => format!("{} and {}", cost(offer), ttft(offer)),
        }
    }

    fn short(&self, offer: &Offer) -> String {
        match (self.objective, &offer.cost_usd_expected) {
            (Objective::Cost | Objective::Throughput, Some(cost)) => format!("at {}", short_usd(cost)),
            _ => format!("with {}", self.long(offer)),
        }
    }
}

fn cost(offer: &Offer) -> String {
    offer
        .cost_usd_expected
        .as_deref()
        .map_or_else(|| "price not known".to_owned(), |cost| format!("{} USD expected", short_usd(cost)))
}

fn ttft(offer: &Offer) -> String {
    offer
        .ttft_ms_expected
        .map_or_else(|| "first token not seen yet".to_owned(), |ms| format!("first token in {ms} ms"))
}
