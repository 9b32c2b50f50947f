//! The gateway's books beside the sellers' bills, to the nano-dollar where both can know, and line by line why a bill is
//! another amount.

use std::fmt;

use tollway::units::{NanoUsd, PicoUsd};

use crate::callers::Seen;
use crate::market::{Dropped, Written};
use crate::report::Compared;

/// What the sellers bill, by why, and what the gateway has booked for it.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    /// Answers, as callers were told and as the metrics have it.
    pub(crate) answers: PicoUsd,
    /// What the sellers bill more for them, or less: a request that was admitted by one price goes on by it, and the seller
    /// whom it asks after a change bills another.
    pub(crate) repriced: PicoUsd,
    /// Answers that were written to their end and lost all the same.
    pub(crate) in_vain: PicoUsd,
    /// Losers of two attempts, cancelled before their answers were over.
    pub(crate) losers: Line,
    /// Attempts that were given up.
    pub(crate) given_up: Line,
}

/// A bill that the gateway can only estimate, since nobody reports what a dropped attempt used.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) count: usize,
    pub(crate) billed: PicoUsd,
    pub(crate) booked: NanoUsd,
}

impl Compared {
    /// The books. Panics where the two differ:
    /// - A caller whose first attempt answered was told anything but what its answer cost by the prices in force when it asked.
    /// - What dropped attempts are booked at is not what callers of more attempts were told beyond that.
    /// - The metrics say anything but the sum of what all were told.
    /// - Attempts that were dropped are not as many, at any seller, as the gateway has counted.
    /// - They are booked at less than their prompts cost if all was cached, or at more than if nothing was.
    pub(crate) fn accounts(&self) -> Accounts {
        let mut accounts = Accounts::default();
        let (mut told, mut least_beyond, mut most_beyond) = (0, 0, 0);
        for (place, seen) in self.seen.iter().enumerate().filter(|(_, seen)| seen.status == 200) {
            told += seen.cost.0;
            let answer = self
                .written_for(place)
                .find(|one| self.name(one.route.0) == seen.provider)
                .unwrap_or_else(|| panic!("{place}: who answered {seen:?}?"));
            let costs = self.in_force(place, seen).map(|prices| answer.by_prices[prices]);
            // Attempts that brought no answer are charged with it.
            let may_be = |cost: &PicoUsd| match seen.attempts {
                1 => cost.to_nanos() == seen.cost,
                _ => cost.to_nanos() <= seen.cost,
            };
            let cost = costs.clone().filter(may_be).max().unwrap_or_else(|| {
                let costs: Vec<PicoUsd> = costs.collect();
                panic!("{place}: told {:?} for what costs {costs:?} at {}", seen.cost, seen.provider)
            });
            // Which of several prices counted is not told where a rest beside it is.
            let cheapest =
                self.in_force(place, seen).map(|prices| answer.by_prices[prices]).filter(may_be).min();
            least_beyond += seen.cost.0 - cost.to_nanos().0;
            most_beyond += seen.cost.0 - cheapest.unwrap_or(cost).to_nanos().0;
            accounts.answers += cost;
            accounts.repriced += PicoUsd(answer.billed.0 - cost.0);
        }
        assert_eq!(self.nanos("tollway_cost_usd_total", &[]), NanoUsd(told), "the metrics and the callers");
        let wasted = self.nanos("tollway_wasted_usd_total", &[]);
        assert!(
            (least_beyond..=most_beyond).contains(&wasted.0),
            "dropped attempts are booked at {wasted:?}, and callers were told {least_beyond} to {most_beyond} of them"
        );
        let all = self.bills.written();
        accounts.in_vain = PicoUsd(all.0 - accounts.answers.0 - accounts.repriced.0);
        for route in 0..self.scenario.routes.len() {
            self.dropped_at(route, &mut accounts);
        }
        accounts
    }

    /// What was dropped at one seller.
    fn dropped_at(&self, route: usize, accounts: &mut Accounts) {
        let provider = self.name(u16::try_from(route).unwrap());
        let here = || self.bills.dropped.iter().filter(|one| usize::from(one.route.0) == route);
        let attempts = |outcome| {
            let labels = [("provider", provider), ("outcome", outcome)];
            self.metrics.sum("tollway_upstream_attempts_total", &labels) as usize
        };
        let vain = self.in_vain_at(route);
        let counted = attempts("cancelled") + attempts("timeout");
        let dropped = here().count() + vain.len() + self.bills.probes_dropped[route];
        assert_eq!(dropped, counted, "attempts dropped at {provider}");
        let vain: PicoUsd = vain.iter().fold(PicoUsd::ZERO, |sum, one| sum + one.billed);
        for (given_up, reason, more) in
            [(false, "hedge_loser", vain), (true, "failed_attempt", PicoUsd::ZERO)]
        {
            let these: Vec<&Dropped> = here().filter(|one| one.given_up == given_up).collect();
            let sum =
                |part: fn(&Dropped) -> PicoUsd| these.iter().fold(PicoUsd::ZERO, |sum, one| sum + part(one));
            let booked =
                self.nanos("tollway_wasted_usd_total", &[("provider", provider), ("reason", reason)]);
            let (least, most) = (sum(|one| one.least).to_nanos(), (sum(|one| one.most) + more).to_nanos());
            // Each is rounded for itself.
            let rounded = NanoUsd(i64::try_from(these.len()).unwrap());
            assert!(
                least.0 - rounded.0 <= booked.0 && booked.0 <= most.0 + rounded.0,
                "{reason} at {provider} is booked at {booked:?}, and costs {least:?} to {most:?}: {these:?}"
            );
            let line = if given_up { &mut accounts.given_up } else { &mut accounts.losers };
            line.count += these.len();
            line.billed += sum(|one| one.billed);
            line.booked.0 += booked.0;
        }
    }

    fn written_for(&self, place: usize) -> impl Iterator<Item = &Written> {
        self.bills.answers.iter().filter(move |one| one.place == place)
    }

    /// Answers that this seller wrote to their end and no caller got.
    fn in_vain_at(&self, route: usize) -> Vec<&Written> {
        let here = self.bills.answers.iter().filter(|one| usize::from(one.route.0) == route);
        here.filter(|one| self.seen[one.place].provider != self.name(one.route.0)).collect()
    }

    fn name(&self, route: u16) -> &str {
        &self.scenario.routes[usize::from(route)].route.name
    }

    fn nanos(&self, metric: &str, labels: &[(&str, &str)]) -> NanoUsd {
        NanoUsd((self.metrics.sum(metric, labels) * 1e9).round() as i64)
    }

    /// Places of the prices that the gateway may have had when it took up the request at `place`: after it was sent, and
    /// before the first seller was asked for it.
    fn in_force(&self, place: usize, seen: &Seen) -> impl Iterator<Item = usize> + Clone {
        let asked_us = self.firsts[place].map_or(u64::MAX, |first| first.0);
        let gone = |at: usize| self.prices.get(at + 1).and_then(|next| next.known_us);
        let sent_us = seen.sent_us;
        (0..self.prices.len()).filter(move |at| {
            self.prices[*at].from_us <= asked_us && gone(*at).is_none_or(|gone| gone >= sent_us)
        })
    }
}

impl fmt::Display for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usd = |amount: PicoUsd| amount.0 as f64 * 1e-12;
        let (billed, booked) = (usd(self.answers) + usd(self.repriced), usd(self.answers));
        writeln!(f, "| USD | billed | booked |\n| --- | ---: | ---: |")?;
        writeln!(f, "| answers | {billed:.9} | {booked:.9} |")?;
        writeln!(f, "| of it by prices that changed on the way | {:.9} | 0 |", usd(self.repriced))?;
        writeln!(f, "| written to the end in vain | {:.9} | as cancelled |", usd(self.in_vain))?;
        for (what, line) in [("cancelled losers", &self.losers), ("given up", &self.given_up)] {
            let booked = line.booked.0 as f64 * 1e-9;
            writeln!(f, "| {} {what} | {:.9} | {booked:.9} |", line.count, usd(line.billed))?;
        }
        Ok(())
    }
}
