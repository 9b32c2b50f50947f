//! Routers under test: the production library (`ours`), the same with true knowledge (the informed oracle), and the
//! baselines of others. A router sees what a gateway would.

pub mod baselines;
pub mod ours;

use crate::routing::RouteId;

use super::world::World;

/// Length of a probe's prompt, in tokens; its answer has one.
pub const PROBE_TOKENS: u32 = 60;

/// What a router does next with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// Ask this route now.
    Ask(RouteId),
    /// Nobody now; again then.
    Pause(u64),
    /// Wait for those who were asked.
    Wait,
    /// Nobody is left.
    GiveUp,
}

/// How an attempt ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// An error.
    Failed,
    /// Refused for its rate; how long to wait, if it said.
    Refused(Option<u64>),
    /// Silent until given up.
    Silent,
    /// Another route was quicker.
    Abandoned,
}

/// What is reported of an answer once it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Prompt tokens.
    pub prompt_tokens: u64,
    /// Of those, billed as cached.
    pub cached_tokens: u64,
    /// Answer tokens.
    pub output_tokens: u64,
    /// From the first token to the last, in microseconds.
    pub wrote_us: u64,
}

/// A router. Requests are known by their place in the trace, attempts by a number of their own.
pub trait Router {
    /// A request comes, or comes again after a pause or after its last attempt was lost: whom to ask?
    fn open(&mut self, world: &World<'_>, place: usize, now_us: u64) -> Move;
    /// When its one silent attempt is to be looked at.
    fn look_at_us(&self, place: usize) -> Option<u64>;
    /// The one attempt of a request is silent: ask a second?
    fn look(&mut self, world: &World<'_>, place: usize, now_us: u64) -> Move;
    /// The route it named was asked.
    fn asked(&mut self, world: &World<'_>, place: usize, route: RouteId, attempt: u64, now_us: u64);
    /// An attempt's first token came, and the request's caller has it.
    fn began(&mut self, world: &World<'_>, place: usize, route: RouteId, attempt: u64, now_us: u64);
    /// An attempt brought nothing.
    fn lost(
        &mut self,
        world: &World<'_>,
        place: usize,
        route: RouteId,
        attempt: u64,
        loss: Loss,
        now_us: u64,
    );
    /// An answer is over.
    fn ended(
        &mut self,
        world: &World<'_>,
        place: usize,
        route: RouteId,
        attempt: u64,
        report: &Report,
        now_us: u64,
    );
    /// The request is over; `late`: its first token did not come in time, or never.
    fn finished(&mut self, world: &World<'_>, place: usize, late: bool, now_us: u64);
    /// Once a second: which route wants a probe?
    fn probe(&mut self, _world: &World<'_>, _now_us: u64) -> Option<RouteId> {
        None
    }
    /// The probe it wanted was sent.
    fn probing(&mut self, _route: RouteId, _attempt: u64, _now_us: u64) {}
    /// A probe's outcome.
    fn probed(&mut self, _route: RouteId, _attempt: u64, _outcome: Result<(), Loss>, _now_us: u64) {}
    /// Prices changed.
    fn repriced(&mut self, _world: &World<'_>) {}
}
