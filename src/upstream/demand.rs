//! What is learnt of requests, beside what is learnt of routes: what a late first token is worth, how long answers and
//! sessions are, how many bytes a token has, what our own queue costs. It outlives reloads, since it goes by names.
//!
//! Every table is bounded and behind a lock of its own, held for about a microsecond and never across an await.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::routing::learn::dual::LatenessPrice;
use crate::routing::learn::hedge_spend::{HedgeSpend, PROBE_SHARE_PPM, Stake};
use crate::routing::learn::lengths::{Asker, Lengths};
use crate::routing::learn::prefix::Held;
use crate::routing::learn::queue_price::{Behind, Demanded, QueuePrice};
use crate::routing::learn::route::AttemptId;
use crate::routing::learn::sessions::Sessions;
use crate::routing::weigh::usd;
use crate::routing::{Learned, Policy};
use crate::telemetry::Metrics;
use crate::units::{Mono, PicoUsd, Usage};

use super::health::RouteHealth;
use super::sizes::TokenSizes;

/// Who asks for what: hashes of names, so that no table keeps a caller's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asking {
    /// The caller's key, or the team of a caller without one.
    pub key: u64,
    /// The checkpoint.
    pub model: u64,
}

impl Asking {
    /// `key` (a name, empty without one) of `team` asks for the checkpoint `model`.
    pub fn new(key: &str, team: &str, model: &str) -> Self {
        Self { key: hash_of(&(team, key)), model: hash_of(&model) }
    }

    const fn asker(self, prompt_tokens: u64) -> Asker {
        Asker { key: self.key, model: self.model, prompt_tokens }
    }
}

/// A hash that is the same as long as the process lives.
fn hash_of(names: &impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    names.hash(&mut hasher);
    hasher.finish()
}

/// One policy's promise for one model.
#[derive(Debug)]
struct Promise {
    policy: Arc<str>,
    model: Arc<str>,
    price: LatenessPrice,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Demand {
    promises: Mutex<HashMap<u64, Promise>>,
    lengths: Mutex<Lengths>,
    sessions: Mutex<Sessions>,
    sizes: Mutex<TokenSizes>,
    queues: Mutex<HashMap<Arc<str>, QueuePrice>>,
    spend: Mutex<HashMap<Arc<str>, HedgeSpend>>,
    probed: Mutex<HedgeSpend>,
}

fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it was held can only have left a sample half counted.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Demand {
    /// Bytes a token has in this caller's requests to this model.
    pub fn bytes_per_token(&self, asking: Asking) -> f32 {
        lock(&self.sizes).bytes_per_token(asking.key, asking.model)
    }

    /// What is known of such requests; the price of our own queue is added by [`Self::behind`].
    pub fn learned(
        &self,
        asking: Asking,
        policy: &Policy,
        prompt_tokens: u64,
        output_tokens_max: Option<u64>,
    ) -> Learned {
        let promise = hash_of(&(&*policy.name, asking.model));
        let price = lock(&self.promises).get(&promise).map(|promise| promise.price);
        let price = price.unwrap_or_else(|| LatenessPrice::new(policy.slo.attainment));
        let length = lock(&self.lengths).expected(
            asking.asker(prompt_tokens),
            output_tokens_max,
            policy.output_tokens_assumed,
        );
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a length of at least 0")]
        Learned {
            lateness_usd: price.usd(),
            mean_cost_usd: price.mean_cost_usd(),
            out_of_reach: price.is_out_of_reach(),
            output_tokens: Some(length.round() as u64),
            session_rest: lock(&self.sessions).rest(asking.key),
            behind: Behind::default(),
            hedge_room_usd: None,
        }
    }

    /// What work on the local route `route` does to those behind it.
    pub fn behind(&self, route: &str, now: Mono) -> Behind {
        lock(&self.queues).get(route).map_or_else(Behind::default, |price| price.behind(now))
    }

    /// A request was decided that would ask `demanded` of the local route `route`; `here` if it was asked first.
    pub fn queue_decided(&self, route: &Arc<str>, now: Mono, demanded: Demanded, here: bool) {
        lock(&self.queues).entry(Arc::clone(route)).or_default().decided(now, demanded, here);
    }

    /// A request came; `extends` if most of its prompt was served lately.
    pub fn came(&self, asking: Asking, extends: bool) {
        lock(&self.sessions).seen(asking.key, extends);
    }

    /// A promise was made to a request whose first attempt `decision` is about. `model` is the checkpoint's name.
    pub fn promised(
        &self,
        asking: Asking,
        policy: &Policy,
        model: &Arc<str>,
        decision: &crate::routing::Decision,
    ) {
        let id = hash_of(&(&*policy.name, asking.model));
        let mut promises = lock(&self.promises);
        let promise = promises.entry(id).or_insert_with(|| Promise {
            policy: Arc::clone(&policy.name),
            model: Arc::clone(model),
            price: LatenessPrice::new(policy.slo.attainment),
        });
        promise.price.decided(decision);
    }

    /// A promise was kept, or not.
    pub fn finished(&self, asking: Asking, policy: &Policy, late: bool) {
        let id = hash_of(&(&*policy.name, asking.model));
        if let Some(promise) = lock(&self.promises).get_mut(&id) {
            promise.price.finished(late, policy.slo.attainment);
        }
    }

    /// A request under the policy was answered for `cost`.
    pub fn spent(&self, policy: &Arc<str>, now: Mono, cost: PicoUsd) {
        lock(&self.probed).spent(now, cost);
        let mut spend = lock(&self.spend);
        match spend.get_mut(policy) {
            Some(spend) => spend.spent(now, cost),
            None => spend.entry(Arc::clone(policy)).or_default().spent(now, cost),
        }
    }

    /// Whether the spend leaves room for a probe that costs `cost`; if so, it is counted.
    pub fn may_probe(&self, now: Mono, cost: PicoUsd) -> bool {
        lock(&self.probed).take(now, cost, cost, PROBE_SHARE_PPM)
    }

    /// Whether the policy's spend leaves room for a second attempt; see [`HedgeSpend::take`].
    pub fn may_hedge(&self, policy: &Policy, now: Mono, stake: Stake, whole: PicoUsd) -> bool {
        lock(&self.spend).entry(Arc::clone(&policy.name)).or_default().take(
            now,
            stake.most(),
            whole,
            policy.hedging.share_ppm(),
        )
    }

    /// What the prompt of a second attempt may cost under the policy now, in USD, for a request that is expected to cost
    /// `whole_usd`; `None`: that is not known yet.
    #[expect(clippy::cast_possible_truncation, reason = "an estimate")]
    pub fn hedge_room_usd(&self, policy: &Policy, now: Mono, whole_usd: f64) -> Option<f64> {
        let whole = PicoUsd((whole_usd * 1e12) as i128);
        let mut spend = lock(&self.spend);
        let room = |spend: &mut HedgeSpend| usd(spend.bears(now, whole, policy.hedging.share_ppm()));
        (whole_usd > 0.0)
            .then(|| spend.get_mut(&policy.name).map_or_else(|| room(&mut HedgeSpend::default()), room))
    }

    /// Of what [`Self::may_hedge`] counted so much was lost.
    pub fn hedged(&self, policy: &Policy, stake: Stake, lost: PicoUsd) {
        if let Some(spend) = lock(&self.spend).get_mut(&policy.name) {
            spend.settle(stake.most(), lost);
        }
    }

    /// Forgets what no policy and no local route stands for any more.
    pub fn keep_only(&self, policies: &[Policy], is_route: impl Fn(&str) -> bool) {
        let is_policy = |name: &Arc<str>| policies.iter().any(|policy| policy.name == *name);
        lock(&self.promises).retain(|_, promise| is_policy(&promise.policy));
        lock(&self.spend).retain(|policy, _| is_policy(policy));
        lock(&self.queues).retain(|route, _| is_route(route));
    }

    /// Sets the gauges of every promise.
    pub fn tell(&self, metrics: &Metrics) {
        for promise in lock(&self.promises).values() {
            let price = &promise.price;
            metrics.promise(
                &promise.policy,
                &promise.model,
                price.usd().unwrap_or_default(),
                price.is_out_of_reach(),
            );
        }
    }
}

/// What one answer teaches once it is over and its usage is known.
#[derive(Debug)]
pub struct Lessons {
    /// Where it is learnt.
    pub demand: Arc<Demand>,
    /// Who asked for what.
    pub asking: Asking,
    /// Under which policy.
    pub policy: Arc<str>,
    /// The prompt's size in bytes, and in tokens as estimated.
    pub prompt_bytes: u64,
    /// As above.
    pub prompt_tokens: u64,
    /// What the route was expected to hold of it.
    pub held: Held,
    /// The route that answered.
    pub health: Arc<RouteHealth>,
    /// Its attempt.
    pub attempt: AttemptId,
}

impl Lessons {
    /// The answer cost `cost`, for `usage` as the provider reported it; `whole` if it ended well.
    pub fn learn(&self, now: Mono, usage: Option<&Usage>, whole: bool, cost: Option<PicoUsd>) {
        if let Some(cost) = cost {
            self.demand.spent(&self.policy, now, cost);
        }
        let Some(usage) = usage.filter(|usage| usage.prompt > 0) else { return };
        let known = {
            let mut sizes = lock(&self.demand.sizes);
            let known = sizes.is_known(self.asking.key, self.asking.model);
            sizes.reported(self.asking.key, self.asking.model, self.prompt_bytes, usage.prompt);
            known
        };
        // Before a caller's texts are known, a wrong estimate is no fault of the route.
        self.health.billed(now, self.attempt, self.held, known.then_some(self.prompt_tokens), usage);
        if whole && usage.completion > 0 {
            lock(&self.demand.lengths).seen(self.asking.asker(self.prompt_tokens), usage.completion);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_different_teams_are_different_askers() {
        assert_ne!(Asking::new("a", "t", "m").key, Asking::new("a", "u", "m").key);
        assert_ne!(Asking::new("", "a", "m").key, Asking::new("a", "", "m").key);
        assert_eq!(Asking::new("a", "t", "m"), Asking::new("a", "t", "m"));
    }

    #[test]
    fn the_price_of_a_queue_is_kept_by_route() {
        let demand = Demand::default();
        let (busy, idle): (Arc<str>, Arc<str>) = ("local/a".into(), "local/b".into());
        let demanded = Demanded { loss_usd: 1e-3, work_s: 0.5, bears_s: Some(1.5) };
        demand.queue_decided(&busy, Mono(0), demanded, true);
        demand.queue_decided(&idle, Mono(0), demanded, false);
        let [usd, none] = [&busy, &idle].map(|route| demand.behind(route, Mono(1_000_000_000)).usd(3.0, 1.0));
        assert!(usd > 0.0 && none == 0.0, "{usd} {none}");
        demand.keep_only(&[], |_| false);
        assert!(lock(&demand.queues).is_empty());
    }
}
