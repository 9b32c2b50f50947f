//! A router that is looked over the shoulder: who served each request.

use crate::replay::world::World;
use crate::routing::RouteId;

use super::{Loss, Move, Report, Router};

/// A router, and who served what it routed.
#[derive(Debug)]
pub struct Watched<R> {
    router: R,
    /// By request: the route that served it; `u16::MAX`: none.
    pub served: Vec<u16>,
}

impl<R: Router> Watched<R> {
    /// `router`, for a trace of so many requests.
    pub fn new(router: R, requests: usize) -> Self {
        Self { router, served: vec![u16::MAX; requests] }
    }
}

impl<R: Router> Router for Watched<R> {
    fn open(&mut self, world: &World<'_>, place: usize, now_us: u64) -> Move {
        self.router.open(world, place, now_us)
    }
    fn look_at_us(&self, place: usize) -> Option<u64> {
        self.router.look_at_us(place)
    }
    fn look(&mut self, world: &World<'_>, place: usize, now_us: u64) -> Move {
        self.router.look(world, place, now_us)
    }
    fn asked(&mut self, world: &World<'_>, place: usize, route: RouteId, attempt: u64, now_us: u64) {
        self.router.asked(world, place, route, attempt, now_us);
    }
    fn began(&mut self, world: &World<'_>, place: usize, route: RouteId, attempt: u64, now_us: u64) {
        if let Some(served) = self.served.get_mut(place) {
            *served = route.0;
        }
        self.router.began(world, place, route, attempt, now_us);
    }
    fn lost(
        &mut self,
        world: &World<'_>,
        place: usize,
        route: RouteId,
        attempt: u64,
        loss: Loss,
        now_us: u64,
    ) {
        self.router.lost(world, place, route, attempt, loss, now_us);
    }
    fn ended(
        &mut self,
        world: &World<'_>,
        place: usize,
        route: RouteId,
        attempt: u64,
        report: &Report,
        now_us: u64,
    ) {
        self.router.ended(world, place, route, attempt, report, now_us);
    }
    fn finished(&mut self, world: &World<'_>, place: usize, late: bool, now_us: u64) {
        self.router.finished(world, place, late, now_us);
    }
    fn probe(&mut self, world: &World<'_>, now_us: u64) -> Option<RouteId> {
        self.router.probe(world, now_us)
    }
    fn probing(&mut self, route: RouteId, attempt: u64, now_us: u64) {
        self.router.probing(route, attempt, now_us);
    }
    fn probed(&mut self, route: RouteId, attempt: u64, outcome: Result<(), Loss>, now_us: u64) {
        self.router.probed(route, attempt, outcome, now_us);
    }
    fn repriced(&mut self, world: &World<'_>) {
        self.router.repriced(world);
    }
}
