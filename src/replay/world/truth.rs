//! What the informed oracle knows at an instant: every distribution, drift, incident, price, limit and cache as it really
//! is, and no single draw.

use crate::replay::scenario::{IncidentKind, MarketRoute};
use crate::routing::learn::first_token::{FirstTokenOutlook, STRUCK};
use crate::routing::learn::pace::PaceOutlook;
use crate::routing::learn::prefix::Held;
use crate::routing::learn::shape::{BINS, LOWEST, WIDTH};
use crate::routing::outlook::{Abandoned, CacheShares, Counted};
use crate::routing::{RouteId, RouteOutlook};
use crate::units::Mono;

use super::World;

/// Chance of each bin's edge of luck, by route: made once, since it does not change.
#[derive(Debug)]
pub struct Lucks(Vec<[f32; BINS + 1]>);

/// The normal distribution, by the logistic curve that is nearest to it.
fn normal_below(z: f64) -> f64 {
    1.0 / (1.0 + (-1.5976 * z - 0.070_56 * z.powi(3)).exp())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "shares")]
fn lucks(market: &MarketRoute) -> [f32; BINS + 1] {
    let first = &market.first_token;
    let whole = first.rtt_s + first.base_s;
    let sigma = first.noise_sigma.max(1e-3);
    std::array::from_fn(|edge| {
        let luck = f64::from((LOWEST + edge as f32 * WIDTH).exp());
        let noise = (luck * whole - first.rtt_s) / first.base_s;
        if noise <= 0.0 {
            return 0.0;
        }
        let below = |noise: f64| {
            let shares =
                first.noise.iter().map(|draw| normal_below((noise.ln() - f64::from(*draw).ln()) / sigma));
            shares.sum::<f64>() / first.noise.len().max(1) as f64
        };
        ((1.0 - first.tail_share) * below(noise) + first.tail_share * below(noise / first.tail_factor)) as f32
    })
}

impl World<'_> {
    /// The distributions of luck of all sellers.
    pub fn lucks(&self) -> Lucks {
        Lucks(self.sellers.iter().map(|seller| lucks(&seller.market)).collect())
    }

    /// What `route` is really like for the request at `place`, at `now_us`.
    #[expect(clippy::cast_possible_truncation, reason = "rates and shares")]
    pub fn truth(&self, lucks: &Lucks, place: usize, route: RouteId, now_us: u64, into: &mut RouteOutlook) {
        let Some(arrival) = self.trace.arrivals.get(place) else { return };
        let index = usize::from(route.0);
        let Some(seller) = self.sellers.get(index) else {
            self.truth_of_node(now_us, into);
            return;
        };
        let market = &seller.market;
        let level = seller.level(now_us);
        let mut error = market.errors.share * market.errors.quick_share;
        let silent = market.errors.share * (1.0 - market.errors.quick_share);
        let mut writes = market.pace.tokens_per_s;
        let mut counts = 1.0;
        for kind in seller.now(now_us) {
            match kind {
                IncidentKind::ErrorInside(share) => error += share,
                IncidentKind::SlowStream(share) => writes *= share,
                IncidentKind::WrongUsage(factor) => counts *= factor,
                _ => {}
            }
        }
        let heard = 1.0 - silent as f32;
        if let Some(luck) = lucks.0.get(index) {
            for row in &mut into.first_token.within {
                for (slot, share) in row.iter_mut().zip(luck) {
                    *slot = share * heard;
                }
            }
        }
        into.first_token.base_s = (market.first_token.rtt_s + market.first_token.base_s * level) as f32;
        into.first_token.per_token_s = (level / market.first_token.prefill_tokens_per_s) as f32;
        into.first_token.prefill_luck = 0.0;
        into.first_token.level = 1.0;
        into.first_token.doubt = [0.0; 3];
        into.error = error as f32;
        into.pace = PaceOutlook::of((1.0 / writes) as f32, market.pace.noise_sigma as f32);
        into.cache_hits = CacheShares::even(market.cache.map_or(0.0, |cache| cache.honoured) as f32);
        into.counts = Counted(counts as f32);
        into.abandoned_billed = Abandoned(market.cancelled_prompt_billed as f32);
        into.heard = u32::MAX;
        let links = self.trace.links_of(arrival);
        let honoured = market.cache.map_or(0.0, |cache| cache.honoured);
        let uncached = f64::from(arrival.prompt_tokens) - honoured * f64::from(seller.cached(links, now_us));
        into.rate = 1.0;
        into.cap = (!seller.takes(arrival, uncached, now_us)).then_some(0.0);
        into.open_until = seller.is_down(now_us).then(|| Mono(seller.down_until_us(now_us) * 1_000));
    }

    #[expect(clippy::cast_possible_truncation, reason = "rates and shares")]
    fn truth_of_node(&self, now_us: u64, into: &mut RouteOutlook) {
        let Some(node) = &self.node else { return };
        let load = (f64::from(node.active) * node.stream_per_s / node.decode_per_s).min(1.0);
        let rate = node.prefill_per_s * (1.0 - 0.5 * load);
        // Its times have no luck, but behind others they are not known so well: a tenth more, and a spread of a sixth.
        let queued_tokens = (node.queued_s(now_us) * rate) as f32;
        let (more, spread) = if queued_tokens > 0.0 { (0.1, 0.16) } else { (0.0, 0.02) };
        #[expect(clippy::cast_precision_loss, reason = "a few dozen bins")]
        let step = std::array::from_fn(|edge| {
            normal_below(f64::from(LOWEST + edge as f32 * WIDTH - more) / spread) as f32
        });
        into.first_token = FirstTokenOutlook {
            doubt: [0.0; 3],
            base_s: 0.02,
            per_token_s: (1.0 / rate) as f32,
            prefill_luck: 1.0,
            level: 1.0,
            within: [step; STRUCK.len()],
        };
        into.error = 0.0;
        into.pace = PaceOutlook::of((1.0 / node.stream_per_s) as f32, 0.1);
        into.cache_hits = CacheShares::even(1.0);
        into.abandoned_billed = Abandoned(0.0);
        into.heard = u32::MAX;
        into.queued_tokens = queued_tokens;
        into.running = node.active;
        into.running_max = Some(node.active_max);
        into.open_until = node.away_until_us(now_us).map(|until| Mono(until * 1_000));
    }

    /// What `route` really holds of the prompt of the request at `place`.
    pub fn holds(&self, place: usize, route: RouteId, now_us: u64) -> Held {
        let Some(arrival) = self.trace.arrivals.get(place) else { return Held::default() };
        let links = self.trace.links_of(arrival);
        let tokens = match (self.sellers.get(usize::from(route.0)), &self.node) {
            (Some(seller), _) => seller.cached(links, now_us),
            (None, Some(node)) => node.cached(links, now_us),
            (None, None) => 0,
        };
        Held { tokens, age_s: 0.0 }
    }
}
