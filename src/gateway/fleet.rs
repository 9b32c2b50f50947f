//! The task that tells the other replicas what this one knows of its routes, and tells its routes what the others know.
//!
//! Requests never meet it: they read outlooks, which it refreshes. While Redis is away it tries again, more and more seldom,
//! and what others last said runs out by itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::routing::learn::others::{Cap, Others, Spell, Standing, WORD_LASTS};
use crate::store::{Error, Message, Replicas, Shared, Word};
use crate::units::Mono;
use crate::upstream::RouteHealth;

use super::live::{Gateway, Live};

/// How often the others are read.
const LOOKS_EVERY: Duration = Duration::from_millis(250);
/// How often a word is said again when nothing but its figures has changed.
const SAYS_EVERY: Duration = Duration::from_secs(1);
/// News that come within this time go out together.
const GATHERS: Duration = Duration::from_millis(50);
/// The field of a replica that has said nothing for so long is taken away.
const DEAD_AFTER: Duration = Duration::from_secs(10);
/// Replicas that are remembered, those that are gone included.
const REPLICAS_MAX: usize = 512;
/// Wait after a failure; doubles up to the longest, so that its return is seen within five seconds (R40).
const WAIT_FIRST: Duration = Duration::from_millis(250);
const WAIT_LONGEST: Duration = Duration::from_secs(4);

/// Shares what is known until `stop`.
pub async fn run(gateway: Arc<Gateway>, shared: Shared, stop: CancellationToken) {
    let mut fleet = Fleet::new(shared);
    loop {
        let Some(rest) = stop.run_until_cancelled(fleet.turn(&gateway)).await else { break };
        let linked = fleet.failures == 0;
        let news = async {
            if !linked {
                return std::future::pending().await;
            }
            gateway.news().notified().await;
            tokio::time::sleep(GATHERS).await;
        };
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(rest) => {}
            () = news => {}
        }
    }
    // Otherwise the others count its load for a few seconds more.
    drop(fleet.shared.leave().await);
}

struct Fleet {
    shared: Shared,
    replicas: HashMap<Vec<u8>, Replica>,
    /// By route, what its mind was last told of the others.
    known: HashMap<Arc<str>, Others>,
    /// What this replica last told, and when; none while nobody may have it.
    told: BTreeMap<Arc<str>, Standing>,
    told_at: Option<Mono>,
    messages: u64,
    failures: u32,
}

struct Replica {
    message: u64,
    heard: Mono,
    standings: HashMap<String, Standing>,
    /// Its field was taken away after its death.
    buried: bool,
}

impl Fleet {
    fn new(shared: Shared) -> Self {
        Self {
            shared,
            replicas: HashMap::new(),
            known: HashMap::new(),
            told: BTreeMap::new(),
            told_at: None,
            messages: 0,
            failures: 0,
        }
    }

    /// Says and hears what is new. Returns how long to rest.
    async fn turn(&mut self, gateway: &Gateway) -> Duration {
        let live = gateway.live();
        let outcome = self.exchange(gateway, &live).await;
        let now = gateway.books.clock.now().mono;
        if let Ok(replicas) = &outcome {
            self.hear(replicas, now);
        }
        self.teach(&live, now);
        gateway.books.metrics.store_degraded(outcome.is_err());
        match outcome {
            Ok(_) => {
                if std::mem::take(&mut self.failures) > 0 {
                    tracing::info!("Redis is back: routes' state is shared with the other replicas again");
                }
                LOOKS_EVERY
            }
            Err(error) => {
                if self.failures == 0 {
                    tracing::warn!(
                        %error,
                        "Redis does not answer: nothing is shared with other replicas until it does, and routing goes on from \
                         this one's own evidence"
                    );
                }
                self.told_at = None;
                let wait = (WAIT_FIRST * 2_u32.saturating_pow(self.failures.min(8))).min(WAIT_LONGEST);
                self.failures = self.failures.saturating_add(1);
                // Replicas that lost it together should not come back together.
                wait.mul_f32(0.5 + 0.5 * gateway.draw())
            }
        }
    }

    async fn exchange(&mut self, gateway: &Gateway, live: &Live) -> Result<Replicas, Error> {
        if !self.shared.is_connected() {
            let began = gateway.books.clock.now().mono;
            let outcome = self.shared.connect().await;
            count(gateway, "connect", began, &outcome);
            outcome?;
        }
        let began = gateway.books.clock.now().mono;
        let standings = standings(live, began);
        let due =
            self.told_at.is_none_or(|at| began.since(at) >= SAYS_EVERY) || is_news(&standings, &self.told);
        let message = due.then(|| {
            self.messages += 1;
            let words = standings.iter().map(|(name, standing)| (name.to_string(), to_word(standing, began)));
            Message::new(self.messages, words).to_bytes()
        });
        let dead = self.replicas.iter().filter(|(_, replica)| !replica.buried && replica.is_dead(began));
        let gone: Vec<_> = dead.map(|(name, _)| name.clone()).collect();
        let outcome = self.shared.exchange(message.as_deref(), &gone).await;
        count(gateway, "exchange", began, &outcome);
        if outcome.is_ok() {
            for name in &gone {
                // Once only: should it come back, its new field must stay.
                self.replicas.entry(name.clone()).and_modify(|replica| replica.buried = true);
            }
            if due {
                (self.told, self.told_at) = (standings, Some(began));
            }
        }
        outcome
    }

    fn hear(&mut self, replicas: &Replicas, now: Mono) {
        // As long as its field may be there it is remembered, lest its last word be taken for a new one.
        self.replicas.retain(|_, replica| !replica.buried || replica.is_waited_for(now));
        for (name, bytes) in replicas {
            if *name == *self.shared.replica() {
                continue;
            }
            let Some(message) = Message::read(bytes) else { continue };
            let known = self.replicas.get(name);
            let is_new = known.is_none_or(|known| known.message != message.n);
            if is_new && (known.is_some() || self.replicas.len() < REPLICAS_MAX) {
                let said = message.routes.into_iter();
                let standings = said.map(|(route, word)| (route, to_standing(&word, now))).collect();
                let replica = Replica { message: message.n, heard: now, standings, buried: false };
                self.replicas.insert(name.clone(), replica);
            }
        }
    }

    /// Tells each route what the others say of it, if that is something else than before.
    fn teach(&mut self, live: &Live, now: Mono) {
        let mut known = HashMap::new();
        for (name, health) in shared_routes(live) {
            let words = self.replicas.values().filter_map(|replica| replica.word_on(name, now));
            let others = Others::of(words);
            let before = self.known.get(name).copied().unwrap_or_default();
            if others != before {
                health.others_say(now, others);
            }
            known.insert(Arc::clone(name), others);
        }
        self.known = known;
    }
}

impl Replica {
    fn is_dead(&self, now: Mono) -> bool {
        now.since(self.heard) >= DEAD_AFTER
    }

    /// Whether it asked for a wait that is not over: that is about the provider, whatever became of the replica.
    fn is_waited_for(&self, now: Mono) -> bool {
        let ends = |standing: &Standing| {
            let spells = [standing.open, standing.disabled].into_iter().flatten();
            spells.map(|spell| spell.until).chain(standing.limited_until).max()
        };
        self.standings.values().filter_map(ends).any(|until| now < until)
    }

    fn word_on(&self, route: &str, now: Mono) -> Option<(Mono, Standing)> {
        let mut word = *self.standings.get(route)?;
        if now.since(self.heard) >= WORD_LASTS {
            (word.rate, word.cap) = (0.0, None);
        }
        Some((self.heard, word))
    }
}

/// The routes that replicas have in common: all but the engine on this machine, which is another on each.
fn shared_routes(live: &Live) -> impl Iterator<Item = (&Arc<str>, &Arc<RouteHealth>)> {
    let routes = live.snapshot.routes.iter().zip(&live.upstreams.health);
    routes.filter(|(route, _)| !route.local).map(|(route, health)| (&route.name, health))
}

fn standings(live: &Live, now: Mono) -> BTreeMap<Arc<str>, Standing> {
    let all = shared_routes(live).map(|(name, health)| (Arc::clone(name), health.standing(now)));
    all.filter(|(_, standing)| !standing.is_blank()).collect()
}

fn is_news(now: &BTreeMap<Arc<str>, Standing>, told: &BTreeMap<Arc<str>, Standing>) -> bool {
    let blank = Standing::default();
    let mut names = now.keys().chain(told.keys());
    names.any(|name| now.get(name).unwrap_or(&blank).is_news_after(told.get(name).unwrap_or(&blank)))
}

fn count<T>(gateway: &Gateway, op: &str, began: Mono, outcome: &Result<T, Error>) {
    let seconds = gateway.books.clock.now().mono.since(began).as_secs_f64();
    let result = outcome.as_ref().map_or_else(Error::result, |_| "ok");
    gateway.books.metrics.store_operation(op, result, seconds);
}

fn to_word(standing: &Standing, now: Mono) -> Word {
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let spell = |spell: Spell| (ms(spell.until.since(now)), ms(now.since(spell.since)));
    Word {
        rate: standing.rate,
        cap: standing.cap.map(|cap| (cap.tokens, ms(now.since(cap.refused_at)))),
        limited_ms: standing.limited_until.map(|until| ms(until.since(now))),
        open_ms: standing.open.map(spell),
        disabled_ms: standing.disabled.map(spell),
    }
}

fn to_standing(word: &Word, now: Mono) -> Standing {
    let (ahead, ago) = (|ms| now.plus(Duration::from_millis(ms)), |ms| now.minus(Duration::from_millis(ms)));
    let spell = |(left, past)| Spell { since: ago(past), until: ahead(left) };
    Standing {
        rate: word.rate,
        cap: word.cap.map(|(tokens, past)| Cap { tokens, refused_at: ago(past) }),
        limited_until: word.limited_ms.map(ahead),
        open: word.open_ms.map(spell),
        disabled: word.disabled_ms.map(spell),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    #[test]
    fn a_wait_is_as_long_by_another_replicas_clock() {
        let standing = Standing {
            rate: 3.5,
            cap: Some(Cap { tokens: 900.0, refused_at: at(4_000) }),
            limited_until: Some(at(9_000)),
            open: Some(Spell { since: at(3_000), until: at(7_000) }),
            disabled: None,
        };
        let heard = to_standing(&to_word(&standing, at(5_000)), at(905_000));
        let moved = Standing {
            cap: Some(Cap { tokens: 900.0, refused_at: at(904_000) }),
            limited_until: Some(at(909_000)),
            open: Some(Spell { since: at(903_000), until: at(907_000) }),
            ..standing
        };
        assert_eq!(heard, moved);
    }

    #[test]
    fn the_dead_are_taken_away_once_nobody_waits_for_what_they_said() {
        let shared = Shared::new("redis://127.0.0.1:1", "me".to_owned()).unwrap();
        let mut fleet = Fleet::new(shared);
        let word = Word { rate: 5.0, limited_ms: Some(30_000), ..Word::default() };
        let said = |n| Message::new(n, std::iter::once(("a/b".to_owned(), word))).to_bytes();
        fleet.hear(
            &vec![(b"me".to_vec(), said(1)), (b"you".to_vec(), said(1)), (b"x".to_vec(), b"{}".to_vec())],
            at(0),
        );
        assert_eq!(fleet.replicas.len(), 1, "neither our own word nor garbage");
        let word_at = |fleet: &Fleet, now| fleet.replicas[&b"you".to_vec()].word_on("a/b", now).unwrap().1;
        assert!(word_at(&fleet, at(4_000)).rate > 4.0);
        fleet.hear(&vec![(b"you".to_vec(), said(1))], at(6_000));
        assert!(word_at(&fleet, at(6_000)).rate < 1e-9, "the same message again is no news");
        assert_eq!(word_at(&fleet, at(6_000)).limited_until, Some(at(30_000)));
        fleet.hear(&vec![(b"you".to_vec(), said(1))], at(12_000));
        assert!(fleet.replicas[&b"you".to_vec()].is_dead(at(12_000)), "its last word is no new one");
        fleet.replicas.get_mut(b"you".as_slice()).unwrap().buried = true;
        fleet.hear(&Vec::new(), at(29_000));
        assert_eq!(fleet.replicas.len(), 1);
        fleet.hear(&Vec::new(), at(31_000));
        assert!(fleet.replicas.is_empty());
        fleet.hear(&vec![(b"you".to_vec(), said(2))], at(32_000));
        assert!(!fleet.replicas[&b"you".to_vec()].buried, "it is back");
    }
}
