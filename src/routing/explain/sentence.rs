//! The decision in one line, for someone who pays the bill.

use std::fmt::{self, Write};

use crate::routing::decision::{Degraded, Place};
use crate::routing::policy::Objective;
use crate::routing::route::{RouteId, Routes};
use crate::units::NanoUsd;

use super::figures::{Percent, Span, Usd, rough};
use super::record::{Figures, View};

/// Writes the line.
pub(super) fn write(out: &mut dyn Write, routes: &Routes, view: &View<'_>) -> fmt::Result {
    let teller = Teller { routes, view };
    let Some(first) = view.candidates.first() else { return teller.nobody(out) };
    if first.last_resort {
        let why = view.excluded.iter().find(|left| left.route == first.route);
        write!(out, "{}: a last resort, nothing else is left", teller.name(first.route))?;
        return why.map_or(Ok(()), |left| write!(out, ": {}", left.why));
    }
    if view.gist.limit.is_some() { teller.promised(out, first) } else { teller.plain(out, first) }
}

/// Why the best is not another one.
enum But {
    Place,
    Slower,
    New,
    Late,
    Session,
    Other,
    Nothing,
}

impl But {
    /// What speaks most against `other`.
    fn reason(first: &Figures, other: &Figures) -> Self {
        // A better score that does not come first was overruled.
        if other.place > first.place {
            let but_for_speed = Place { slower: first.place.slower, ..other.place };
            return if but_for_speed == first.place { Self::Slower } else { Self::Place };
        }
        if other.waits && !first.waits && other.score_usd <= first.score_usd {
            return Self::New;
        }
        let other_than_late = |one: &Figures| f64::from(one.session_usd) + f64::from(one.other_usd);
        let late = |one: &Figures| one.score_usd - dollars(one.cost) - other_than_late(one);
        let more = [
            (late(other) - late(first), Self::Late),
            (f64::from(other.session_usd) - f64::from(first.session_usd), Self::Session),
            (f64::from(other.other_usd) - f64::from(first.other_usd), Self::Other),
        ];
        let most = more.into_iter().filter(|(usd, _)| *usd > 0.0).max_by(|(a, _), (b, _)| a.total_cmp(b));
        most.map_or(Self::Nothing, |(_, but)| but)
    }
}

struct Teller<'a> {
    routes: &'a Routes,
    view: &'a View<'a>,
}

impl<'a> Teller<'a> {
    fn name(&self, id: RouteId) -> &'a str {
        self.routes.get(usize::from(id.0)).map_or("?", |route| &route.name)
    }

    fn nobody(&self, out: &mut dyn Write) -> fmt::Result {
        let (model, left_out) = (self.view.model, self.view.excluded.len());
        match (self.view.gist.degraded, self.view.gist.wait) {
            (Degraded::Limited, Some(wait)) => write!(
                out,
                "no route may serve {model} now: every one that would do is at its limit, the first of them for {} s more",
                wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
            ),
            (Degraded::Price, _) => {
                write!(out, "no route may serve {model} within the price ceiling: {left_out} left out")
            }
            (Degraded::Residency, _) => {
                write!(out, "no route may serve {model} where its data may go: {left_out} left out")
            }
            _ => write!(out, "no route may serve {model}: {left_out} left out"),
        }
    }

    /// Without a promise about speed.
    fn plain(&self, out: &mut dyn Write, first: &Figures) -> fmt::Result {
        write!(out, "{}: ", self.name(first.route))?;
        self.long(out, first)?;
        let count = self.view.candidates.len();
        let Some(next) = self.view.candidates.get(1) else {
            return out.write_str(", the only route that may serve");
        };
        let cheaper = self.cheaper(first);
        if self.view.gist.by_list {
            write!(out, ", first of {count} in the order asked for")?;
        } else if self.view.gist.objective == Objective::Latency && first.ttft_ms.is_none() {
            write!(out, ", first of {count} by assumption")?;
        } else if cheaper.is_none() || self.view.gist.objective != Objective::Cost {
            write!(out, ", {} of {count}", self.superlative())?;
        } else {
            write!(out, ", best of {count}")?;
        }
        let by_cost = !self.view.gist.by_list && self.view.gist.objective == Objective::Cost;
        if let Some((cheaper, saved)) = cheaper.filter(|_| by_cost) {
            return self.but(out, first, cheaper, saved);
        }
        write!(out, "; next {} ", self.name(next.route))?;
        self.short(out, next)?;
        // Who is quicker and comes second fails too often: said, or the line contradicts itself.
        let soonest = self.view.gist.objective == Objective::Latency && !self.view.gist.by_list;
        if soonest && next.ttft_ms.zip(first.ttft_ms).is_some_and(|(next, first)| next < first) {
            write!(out, ", where it answers {} of requests", Percent(next.in_time.into()))?;
        }
        Ok(())
    }

    /// With a promise about speed.
    fn promised(&self, out: &mut dyn Write, first: &Figures) -> fmt::Result {
        let gist = self.view.gist;
        write!(out, "{}: ", self.name(first.route))?;
        match first.cost {
            Some(cost) => write!(out, "{} USD", Usd(cost))?,
            None => out.write_str("price not known")?,
        }
        self.cached(out, first)?;
        let chance = gist.hedge.map_or(first.in_time, |hedge| hedge.in_time);
        if first.ttft_ms.is_none() {
            out.write_str(", not measured yet")?;
        } else if let Some(limit) = gist.limit {
            write!(out, ", {} within {}", Percent(chance.into()), Span(limit))?;
        }
        if self.view.candidates.len() == 1 {
            out.write_str(", the only route that may serve")?;
        } else if gist.by_list {
            write!(out, ", first of {} in the order asked for", self.view.candidates.len())?;
        } else if gist.objective != Objective::Cost && first.ttft_ms.is_some() {
            write!(out, ", {} of {}", self.superlative(), self.view.candidates.len())?;
        }
        if let Some(hedge) = gist.hedge {
            write!(out, "; {}", self.name(hedge.route))?;
            let backup = self.view.candidates.iter().find(|one| one.route == hedge.route);
            if let Some(cost) = backup.and_then(|backup| backup.cost) {
                write!(out, " at {}", Usd(cost))?;
            }
            write!(
                out,
                " backs it up after {} (in {} of requests)",
                Span(hedge.after),
                Percent(hedge.chance.into())
            )?;
        }
        if let Some((cheaper, saved)) = self.cheaper(first) {
            self.but(out, first, cheaper, saved)?;
        } else if let Some(next) = self.view.candidates.get(1)
            && gist.hedge.is_none_or(|hedge| hedge.route != next.route)
        {
            write!(out, "; next {} ", self.name(next.route))?;
            self.short(out, next)?;
            if next.ttft_ms.is_some() {
                write!(out, " and {} in time", Percent(next.in_time.into()))?;
            }
        }
        if gist.degraded == Degraded::Slo {
            out.write_str("; nobody keeps the promise now, so the best there is serves")?;
        }
        Ok(())
    }

    /// The cheapest of the others, and by how much, if it is cheaper than `first`.
    fn cheaper(&self, first: &Figures) -> Option<(&'a Figures, NanoUsd)> {
        let mine = first.cost?;
        let others = self.view.candidates.iter().skip(1).filter(|other| !other.last_resort);
        let cheapest = others.filter_map(|other| Some((other, other.cost?))).min_by_key(|(_, cost)| *cost);
        cheapest
            .filter(|(_, cost)| *cost < mine)
            .map(|(other, cost)| (other, NanoUsd(mine.0.saturating_sub(cost.0))))
    }

    fn but(&self, out: &mut dyn Write, first: &Figures, other: &Figures, saved: NanoUsd) -> fmt::Result {
        write!(out, "; {} is {} cheaper but ", self.name(other.route), Usd(saved))?;
        let gist = self.view.gist;
        match But::reason(first, other) {
            But::Place => out.write_str("comes later in the order asked for"),
            But::Slower => out.write_str("slower than the request prefers"),
            But::New => out.write_str(
                "new: it starts with one request at a time, and one more for each that it answers",
            ),
            But::Late if gist.limit.is_some() => {
                let assumed = if other.ttft_ms.is_none() { " by assumption" } else { "" };
                write!(out, "{} in time{assumed}", Percent(other.in_time.into()))?;
                write!(out, " (a late answer counts {})", rough(gist.lateness_usd))
            }
            But::Late => {
                write!(
                    out,
                    "answers {} (a failure counts {})",
                    Percent(other.in_time.into()),
                    rough(gist.lateness_usd)
                )
            }
            But::Session => {
                let dearer = f64::from(other.session_usd) - f64::from(first.session_usd);
                write!(out, "{} dearer for the rest of the session", rough(dearer))
            }
            But::Other if gist.objective == Objective::Throughput => out.write_str("writes more slowly"),
            But::Other if gist.objective == Objective::Cost => {
                write!(out, "its queue counts {}", rough(other.other_usd.into()))
            }
            But::Other => match other.ttft_ms {
                Some(ms) => write!(out, "takes {ms} ms to its first token"),
                None => out.write_str("not measured yet"),
            },
            But::Nothing => out.write_str("scores no better"),
        }
    }

    fn superlative(&self) -> &'static str {
        match self.view.gist.objective {
            Objective::Cost => "cheapest",
            Objective::Latency => "soonest to answer",
            Objective::Throughput => "fastest writer",
            Objective::Balanced => "best by cost and first token together",
        }
    }

    fn long(&self, out: &mut dyn Write, one: &Figures) -> fmt::Result {
        let objective = self.view.gist.objective;
        if objective != Objective::Latency {
            match one.cost {
                Some(cost) => write!(out, "{} USD expected", Usd(cost))?,
                None => out.write_str("price not known")?,
            }
            self.cached(out, one)?;
        }
        if objective == Objective::Balanced {
            out.write_str(" and ")?;
        }
        match one.ttft_ms {
            _ if matches!(objective, Objective::Cost | Objective::Throughput) => Ok(()),
            Some(ms) => write!(out, "first token in {ms} ms"),
            None => out.write_str("first token not seen yet"),
        }
    }

    fn short(&self, out: &mut dyn Write, one: &Figures) -> fmt::Result {
        let by_cost = matches!(self.view.gist.objective, Objective::Cost | Objective::Throughput);
        match one.cost {
            Some(cost) if by_cost || self.view.gist.limit.is_some() => write!(out, "at {}", Usd(cost)),
            _ => {
                out.write_str("with ")?;
                self.long(out, one)
            }
        }
    }

    fn cached(&self, out: &mut dyn Write, one: &Figures) -> fmt::Result {
        if one.cached_tokens == 0 {
            return Ok(());
        }
        write!(
            out,
            " with {} of {} prompt tokens from its cache",
            one.cached_tokens, self.view.gist.prompt_tokens
        )
    }
}

/// An expected cost in the ranking's dollars.
#[expect(clippy::cast_precision_loss, reason = "a ranking needs no last digit")]
fn dollars(cost: Option<NanoUsd>) -> f64 {
    cost.map_or(0.0, |cost| cost.0 as f64 * 1e-9)
}
