//! A decision in figures, of fixed size: what its explanation and its line in the log are made from, and what is kept of it.
//!
//! Routes and policy are named by their places in the snapshot that decided; `generation` says which that was.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use smallvec::SmallVec;

use crate::routing::decision::{Candidate, Decision, Degraded, Excluded, Hedge, Place};
use crate::routing::facts::RequestFacts;
use crate::routing::policy::{Objective, Policy};
use crate::routing::route::{RouteId, Routes};
use crate::routing::{choose, cost};
use crate::units::{NanoUsd, Now, RequestId};

use super::sentence;

/// Candidates, and routes left out, that a record keeps; of further ones only the number.
pub const KEPT: usize = 12;
/// As many of either find room in a record itself that is kept for long; most decisions have no more.
pub const KEPT_WITHIN: usize = 2;
/// Bytes of a model's name that a record keeps.
pub const MODEL_BYTES: usize = 96;

/// What a ranking rested on for one candidate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Which.
    pub route: RouteId,
    /// Expected cost; `None`: unpriced and allowed.
    pub cost: Option<NanoUsd>,
    /// Predicted time to first token; `None`: never seen.
    pub ttft_ms: Option<u32>,
    /// Prompt tokens expected to be billed as cached.
    pub cached_tokens: u32,
    /// Chance of a first token in time, 0..1.
    pub in_time: f32,
    /// What choosing it is expected to cost the rest of the session, in USD.
    pub session_usd: f32,
    /// What else counts, in USD: our own queue, the objective's own terms.
    pub other_usd: f32,
    /// What it is ranked by, in USD.
    pub score_usd: f64,
    /// Its place by lists that come before the score, if they count.
    pub place: Place,
    /// Whether it is new and starts slowly.
    pub ramping: bool,
    /// Whether it is asked no more for now, since it is.
    pub waits: bool,
    /// Whether it is asked only because nothing else is left.
    pub last_resort: bool,
}

impl From<&Candidate> for Figures {
    #[expect(clippy::cast_possible_truncation, reason = "dollars for print")]
    fn from(candidate: &Candidate) -> Self {
        let small = |number: u128| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            route: candidate.route,
            cost: candidate.cost_expected.map(crate::units::PicoUsd::to_nanos),
            ttft_ms: candidate.ttft_expected.map(|ttft| small(ttft.as_millis())),
            cached_tokens: small(candidate.cached_expected.into()),
            in_time: candidate.in_time,
            session_usd: candidate.session_usd as f32,
            other_usd: (candidate.offer.other_usd + candidate.offer.queue_usd - candidate.session_usd) as f32,
            score_usd: candidate.score_usd,
            place: candidate.place,
            ramping: candidate.ramping,
            waits: candidate.waits,
            last_resort: candidate.last_resort,
        }
    }
}

/// What a decision was made under and what it came to, but for its routes.
#[derive(Debug, Clone, Copy)]
pub struct Gist {
    /// The moment whose prices were in force.
    pub at: Timestamp,
    /// What was wanted least of.
    pub objective: Objective,
    /// Prompt tokens, estimated.
    pub prompt_tokens: u64,
    /// Answer tokens that the expected cost assumes.
    pub output_tokens: u64,
    /// When a first token is late; `None`: nothing is promised.
    pub limit: Option<Duration>,
    /// What one late first token counts (λ), in USD.
    pub lateness_usd: f64,
    /// What a second of our own engine's prefill counts (ν), in USD.
    pub queue_usd_per_s: f64,
    /// When a second route is asked, and which.
    pub hedge: Option<Hedge>,
    /// Whether less was possible than the policy wants.
    pub degraded: Degraded,
    /// With nobody to ask: when to decide again.
    pub wait: Option<Duration>,
    /// Whether a list came before the score: the policy's `in_order`, or the caller's own order.
    pub by_list: bool,
}

impl Gist {
    /// Of `decision`, made by `policy` from these facts at `now`.
    pub fn new(policy: &Policy, decision: &Decision, facts: &RequestFacts<'_>, now: Now) -> Self {
        Self {
            at: now.wall,
            objective: choose::objective(policy, facts),
            prompt_tokens: facts.prompt_tokens,
            output_tokens: cost::output_tokens(policy, facts),
            limit: decision.limit,
            lateness_usd: decision.lateness_usd,
            queue_usd_per_s: decision.queue_usd_per_s,
            hedge: decision.hedge,
            degraded: decision.degraded,
            wait: decision.wait_min(),
            by_list: policy.in_order || !facts.wants.order.is_empty() || facts.has_several_models(),
        }
    }
}

/// A decision as its words are made from it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// All but the routes.
    pub gist: &'a Gist,
    /// The model as the caller wrote it.
    pub model: &'a str,
    /// Who is asked, in order.
    pub candidates: &'a [Figures],
    /// Who is not.
    pub excluded: &'a [Excluded],
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// `ok`, or a failure's name; `None`: still under way.
    pub ended: Option<&'static str>,
    /// Who served it.
    pub route: Option<RouteId>,
    /// Attempts made.
    pub attempts: u16,
    /// Time from arrival to the first token, in milliseconds.
    pub ttft_ms: Option<u32>,
    /// Time from arrival to the end, in milliseconds.
    pub total_ms: u32,
    /// What it cost, as recorded.
    pub cost: Option<NanoUsd>,
}

/// One decision, kept: with room for `N` candidates, and as many that are left out, in itself.
#[derive(Debug, Clone)]
pub struct Record<const N: usize = KEPT> {
    /// The request.
    pub id: Short<{ RequestId::LENGTH_MAX }>,
    /// The model as the caller wrote it, cut where it is very long.
    pub model: Short<MODEL_BYTES>,
    /// The snapshot whose places these are.
    pub generation: u64,
    /// The policy's place there.
    pub policy: u16,
    /// Whether the policy only watched.
    pub shadow: bool,
    /// For a shadow: whether the route asked first was the same.
    pub agrees: bool,
    /// All but the routes.
    pub gist: Gist,
    /// Who is asked, in order.
    pub candidates: SmallVec<[Figures; N]>,
    /// Who is not.
    pub excluded: SmallVec<[Excluded; N]>,
    /// Routes of either kind that found no room.
    pub left_off: u16,
    /// How it ended; a shadow's stays empty.
    pub outcome: Outcome,
}

/// The snapshot that decided, by its number, and the policy's place there.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The snapshot's generation.
    pub generation: u64,
    /// The policy's place.
    pub policy: usize,
}

impl Record {
    /// Of a decision that `policy`, which stands at `origin`, made from these facts at `now`.
    pub fn new(
        id: &str,
        origin: Origin,
        policy: &Policy,
        decision: &Decision,
        facts: &RequestFacts<'_>,
        now: Now,
    ) -> Self {
        let more = |length: usize| length.saturating_sub(KEPT);
        let left_off = more(decision.order.len()) + more(decision.excluded.len());
        Self {
            id: Short::new(id),
            model: Short::new(facts.model),
            generation: origin.generation,
            policy: u16::try_from(origin.policy).unwrap_or(u16::MAX),
            shadow: false,
            agrees: true,
            gist: Gist::new(policy, decision, facts, now),
            candidates: decision.order.iter().take(KEPT).map(Figures::from).collect(),
            excluded: decision.excluded.iter().take(KEPT).cloned().collect(),
            left_off: u16::try_from(left_off).unwrap_or(u16::MAX),
            outcome: Outcome::default(),
        }
    }

    /// The same in little room, for as long as it is kept.
    pub fn small(&self) -> Record<KEPT_WITHIN> {
        Record {
            id: self.id,
            model: self.model,
            generation: self.generation,
            policy: self.policy,
            shadow: self.shadow,
            agrees: self.agrees,
            gist: self.gist,
            candidates: small(&self.candidates),
            excluded: small(&self.excluded),
            left_off: self.left_off,
            outcome: self.outcome,
        }
    }
}

/// These in a list without room to spare.
fn small<T: Clone, const N: usize>(all: &[T]) -> SmallVec<[T; N]> {
    if all.len() <= N { all.iter().cloned().collect() } else { SmallVec::from_vec(all.to_vec()) }
}

impl<const N: usize> Record<N> {
    /// As its words are made from it.
    pub fn view(&self) -> View<'_> {
        View {
            gist: &self.gist,
            model: self.model.as_str(),
            candidates: &self.candidates,
            excluded: &self.excluded,
        }
    }

    /// The decision in one line, written without allocating.
    pub fn write_line(&self, routes: &Routes, line: &mut dyn fmt::Write) -> fmt::Result {
        sentence::write(line, routes, &self.view())
    }
}

/// A text of at most `N` bytes (255 at most), in place; a longer one is cut at a character's end.
#[derive(Clone, Copy)]
pub struct Short<const N: usize> {
    length: u8,
    bytes: [u8; N],
}

impl<const N: usize> Short<N> {
    /// The beginning of `text`.
    pub fn new(text: &str) -> Self {
        let kept = text.get(..text.floor_char_boundary(N.min(usize::from(u8::MAX)))).unwrap_or_default();
        let mut bytes = [0; N];
        if let Some(room) = bytes.get_mut(..kept.len()) {
            room.copy_from_slice(kept.as_bytes());
        }
        Self { length: u8::try_from(kept.len()).unwrap_or(0), bytes }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let kept = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        std::str::from_utf8(kept).unwrap_or_default()
    }
}

impl<const N: usize> fmt::Debug for Short<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_is_cut_between_characters() {
        assert_eq!(Short::<8>::new("model").as_str(), "model");
        assert_eq!(Short::<3>::new("aéé").as_str(), "aé");
        assert_eq!(Short::<2>::new("aé").as_str(), "a");
        assert_eq!(Short::<0>::new("a").as_str(), "");
    }

    #[test]
    fn a_record_stays_small() {
        assert!(size_of::<Record>() <= 2_048, "{}", size_of::<Record>());
        let kept = size_of::<Record<KEPT_WITHIN>>();
        assert!(kept <= 768, "{kept}");
        let small = |all: &[u8]| super::small::<u8, KEPT_WITHIN>(all);
        assert_eq!((small(&[]).to_vec(), small(&[1, 2, 3]).to_vec()), (vec![], vec![1, 2, 3]));
        assert_eq!(small(&[1, 2, 3]).capacity(), 3);
    }
}
