//! What the replayed router knows when it decides: outlooks up to date, and of each request what was learnt of such.

use crate::replay::world::World;
use crate::routing::learn::breaker::State as Breaker;
use crate::routing::learn::hedge_spend::Stake;
use crate::routing::learn::lengths::Asker;
use crate::routing::learn::prefix::{Block, Held, held, tick};
use crate::routing::pursuit::Pursuit;
use crate::routing::{Candidate, Endpoint, Learned, Needs, RequestFacts, RouteId, choose, select, weigh};
use crate::units::PicoUsd;

use super::{
    EXTENDS, HORIZON_S, Knows, OUTLOOK_AGES_US, OUTLOOK_LASTS_US, OUTLOOK_RESTS_US, Ours, hash, mono,
};

/// How long a route that is left to its probe looks closed, at each look.
const LEFT_TO_PROBE_US: u64 = 1_000_000;

/// A request under way.
#[derive(Debug)]
pub(super) struct State {
    pub(super) policy: usize,
    pub(super) pursuit: Pursuit,
    pub(super) held: Vec<Held>,
    pub(super) facts: Facts,
    pub(super) chosen: Option<Candidate>,
    /// What its second attempt put at stake.
    pub(super) stake: Stake,
    /// Whether it has been counted as late already.
    pub(super) late: bool,
}

/// What is kept of a request's facts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) asker: Asker,
    pub(super) prompt: u64,
    pub(super) output_max: Option<u64>,
    pub(super) output: u64,
    pub(super) rest: f32,
    pub(super) model: usize,
}

impl Ours<'_> {
    /// Brings the outlooks up to date for a decision about the request at `place`.
    pub(super) fn refresh(&mut self, world: &World<'_>, place: usize, now_us: u64) {
        let node = world.node_id();
        for (index, shown) in self.minds.iter_mut().enumerate() {
            let id = RouteId(u16::try_from(index).unwrap_or(u16::MAX));
            let into = &mut self.outlooks[index];
            if let Knows::Truth(lucks, _) = &self.knows {
                world.truth(lucks, place, id, now_us, into);
                continue;
            }
            let age = now_us.saturating_sub(shown.at_us);
            let lasts = if shown.mind.is_waiting() { OUTLOOK_AGES_US } else { OUTLOOK_RESTS_US };
            if shown.urgent || (shown.dirty && age >= OUTLOOK_LASTS_US) || age >= lasts {
                *into = shown.mind.outlook(mono(now_us), node == Some(id));
                if node == Some(id) {
                    into.running_max = world.node.as_ref().map(|node| node.active_max);
                }
                (shown.at_us, shown.dirty, shown.urgent) = (now_us, false, false);
            }
        }
        if matches!(self.knows, Knows::Learnt) && self.policies.iter().any(|policy| policy.probe) {
            // The trial of a breaker is its probe's.
            for (index, (shown, into)) in self.minds.iter().zip(&mut self.outlooks).enumerate() {
                let own = node.is_some_and(|node| usize::from(node.0) == index);
                if !own && shown.mind.breaker_state(mono(now_us)) == Breaker::HalfOpen {
                    into.open_until = Some(mono(now_us + LEFT_TO_PROBE_US));
                }
            }
        }
        if let Some(node) = node
            && matches!(self.knows, Knows::Learnt)
            && let Some(shown) = self.minds.get(usize::from(node.0))
        {
            let into = &mut self.outlooks[usize::from(node.0)];
            (into.queued_tokens, into.running) = shown.mind.queue(mono(now_us));
        }
    }

    pub(super) fn state(&mut self, world: &World<'_>, place: usize, now_us: u64) -> Option<Box<State>> {
        if let Some(state) = self.states.get_mut(place)?.take() {
            return Some(state);
        }
        let arrival = world.trace.arrivals.get(place)?;
        let prompt = u64::from(arrival.prompt_tokens);
        let model = usize::from(arrival.model).min(self.models - 1);
        let asker = Asker { key: u64::from(arrival.key) + 1, model: model as u64 + 1, prompt_tokens: prompt };
        let output_max = (arrival.output_tokens_max > 0).then(|| u64::from(arrival.output_tokens_max));
        let tags = world.trace.tags.get(arrival.tags as usize);
        let tags: smallvec::SmallVec<[(&str, &str); 4]> =
            tags.into_iter().flatten().map(|(name, value)| (&**name, &**value)).collect();
        let name = world.trace.models.get(model).map_or("", |name| name);
        let key = world.trace.keys.get(arrival.key as usize).map_or("", |key| key);
        let eligible = &self.eligible[model];
        let facts = RequestFacts {
            model: name,
            key,
            team: "default",
            tags: &tags,
            eligible,
            ..RequestFacts::default()
        };
        let policy = select(self.policies, &facts)?;
        let rules = self.policies.get(policy)?;
        let links = world.trace.links_of(arrival);
        let mut state = self.spare.pop();
        let mut held_by_route =
            state.as_mut().map(|state| std::mem::take(&mut state.held)).unwrap_or_default();
        held_by_route.clear();
        let mut most = 0;
        if links.is_empty() {
            held_by_route.resize(eligible.len(), Held::default());
        } else {
            self.blocks.clear();
            self.blocks.extend(
                links.iter().map(|link| Block { hash: hash(link.block), tokens_end: link.tokens_end }),
            );
            let now = tick(mono(now_us));
            for id in eligible {
                let found = match &self.knows {
                    Knows::Learnt => held(&self.blocks, HORIZON_S, |block| self.ledger.age(block, *id, now)),
                    Knows::Truth(..) => world.holds(place, *id, now_us),
                };
                most = most.max(found.tokens);
                held_by_route.push(found);
            }
        }
        self.sessions
            .seen(asker.key, f64::from(most) >= EXTENDS * f64::from(arrival.prompt_tokens) && most > 0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a length in tokens")]
        let output = self.lengths.expected(asker, output_max, rules.output_tokens_assumed).round() as u64;
        let kept = Facts { asker, prompt, output_max, output, rest: self.sessions.rest(asker.key), model };
        let limit = choose::limit(rules, &RequestFacts { prompt_tokens: prompt, ..RequestFacts::default() });
        let fresh = State {
            policy,
            pursuit: Pursuit::new(mono(now_us), limit, rules, true),
            held: held_by_route,
            facts: kept,
            chosen: None,
            stake: Stake::default(),
            late: false,
        };
        self.retries.deposit(mono(now_us));
        Some(match state {
            Some(mut state) => {
                *state = fresh;
                state
            }
            None => Box::new(fresh),
        })
    }

    pub(super) fn decide(&mut self, world: &World<'_>, state: &State, now_us: u64) {
        let Some(policy) = self.policies.get(state.policy) else { return };
        let promise = &self.promises[state.policy * self.models + state.facts.model];
        let (lateness_usd, mean_cost_usd) = match self.knows {
            Knows::Learnt => (promise.usd(), promise.mean_cost_usd()),
            Knows::Truth(_, lateness_usd) => (Some(lateness_usd), promise.mean_cost_usd()),
        };
        #[expect(clippy::cast_possible_truncation, reason = "an estimate")]
        let whole = PicoUsd((mean_cost_usd * 1e12) as i128);
        let hedge_room = self.hedged.bears(mono(now_us), whole, policy.hedging.share_ppm());
        let facts = RequestFacts {
            endpoint: Endpoint::Chat,
            eligible: &self.eligible[state.facts.model],
            prompt_tokens: state.facts.prompt,
            output_tokens_max: state.facts.output_max,
            needs: Needs::default(),
            held: &state.held,
            learned: Learned {
                lateness_usd,
                mean_cost_usd,
                out_of_reach: promise.is_out_of_reach(),
                output_tokens: Some(state.facts.output),
                session_rest: state.facts.rest,
                hedge_room_usd: (mean_cost_usd > 0.0).then_some(weigh::usd(hedge_room)),
                behind: self.queue.behind(mono(now_us)),
            },
            waited: state.pursuit.waited(mono(now_us)),
            tried: state.pursuit.tried(),
            may_hedge: true,
            ..RequestFacts::default()
        };
        let now = self.now(now_us);
        choose::decide_into(&mut self.decision, &world.routes, policy, &facts, &self.outlooks[..], now);
    }
}
