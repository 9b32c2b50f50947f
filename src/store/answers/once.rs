//! Requests that their callers have named, so that each is made once: who has it under way, and what was answered.
//!
//! A name is claimed before anything is asked. Who has claimed it keeps the answer that was served, or lets the name go: what
//! failed may be asked again. Claims of this process are in its memory; where replicas share a Redis a claim is there as well,
//! and outlives its process by a lease at most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::units::Clock;

use super::KeptAnswer;
use super::file::File;
use super::sealed::{self, FORMAT, Ticket};
use super::shelf::{Done, Job, Shelf, Space};

/// The longest that a request waits for Redis to say whether its name is claimed (R40).
const CLAIM_MAX: Duration = Duration::from_millis(50);
/// The longest that an answer waits to be kept; it is told all the same.
const KEEP_MAX: Duration = Duration::from_millis(250);
/// A claim in Redis is its replica's for so long after that was last heard of.
const LEASE: Duration = Duration::from_secs(15);
/// How often claims are renewed.
const RENEWS_EVERY: Duration = Duration::from_secs(4);
/// What a claim in Redis begins with, and an answer: another byte than any sealed one's.
const CLAIMED: u8 = b'c';
const ANSWERED: u8 = b'k';
const _: () = assert!(FORMAT != CLAIMED && FORMAT != ANSWERED);
/// Of a value that is neither, so much says that it is the same one.
const ODD_BYTES: usize = 64;

/// What a request's words are compared by.
type Print = [u8; 32];

/// The names.
pub struct Once {
    here: Mutex<HashMap<[u8; 32], Under>>,
    place: Place,
    clock: Arc<dyn Clock>,
    keep: Duration,
}

/// A request under way in this process.
struct Under {
    print: Print,
    /// As it stands in Redis; empty if it does not.
    claim: Vec<u8>,
}

/// Where answers are kept.
enum Place {
    Nowhere,
    File(File),
    Shelf(Arc<Shelf>),
}

/// What is known of a name.
#[derive(Debug)]
pub enum Claimed {
    /// Nothing: it is this request's from now on.
    Ours(Claim),
    /// It was answered.
    Kept(Box<KeptAnswer>),
    /// It was answered at too great a length to be kept.
    Unkept,
    /// It was given to a request of other words.
    Other,
    /// A request of the same words is under way.
    Busy,
}

impl Once {
    /// Names whose answers are kept nowhere: they keep requests that come at once apart.
    pub fn forgetful(clock: Arc<dyn Clock>) -> Self {
        Self { here: Mutex::default(), place: Place::Nowhere, clock, keep: Duration::ZERO }
    }

    /// Names whose answers are kept for so long in `file`.
    pub fn in_file(file: File, keep: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { place: Place::File(file), keep, ..Self::forgetful(clock) }
    }

    /// Names that are shared with other replicas, and their answers, kept for so long.
    pub fn on_shelf(redis: Arc<Shelf>, keep: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { place: Place::Shelf(redis), keep, ..Self::forgetful(clock) }
    }

    /// Claims the name that `ticket` stands for, for a request whose words are `print`.
    ///
    /// Cancel safety: dropped, the name is nobody's.
    pub async fn claim(self: &Arc<Self>, ticket: Ticket, print: Print) -> Claimed {
        let mut claim = match self.claim_here(ticket, print) {
            Ok(claim) => claim,
            Err(is_same) => return if is_same { Claimed::Busy } else { Claimed::Other },
        };
        match &self.place {
            Place::Nowhere => Claimed::Ours(claim),
            Place::File(file) => {
                let Some(found) = file.find(ticket.name()) else { return Claimed::Ours(claim) };
                if found.print != print {
                    return Claimed::Other;
                }
                // There is more to be done than can wait: in a moment it can be read.
                let Some(read) = file.read(found).await else { return Claimed::Busy };
                let until = self.clock.now().mono.plus(self.keep);
                match read.and_then(|bytes| sealed::open(&ticket, &bytes, until)) {
                    Some(answer) => kept(answer),
                    // It has gone meanwhile, or is damaged.
                    None => Claimed::Ours(claim),
                }
            }
            Place::Shelf(redis) => {
                let mut odd = Vec::new();
                for _ in 0..2 {
                    let text = claim.in_redis();
                    let there = redis.claim(ticket.name(), &text, LEASE, &odd, CLAIM_MAX).await;
                    let there = match there {
                        Ok(there) => there,
                        Err(error) => {
                            tracing::debug!(%error, "a request's name was claimed in this process alone");
                            return Claimed::Ours(claim);
                        }
                    };
                    if there.is_empty() {
                        claim.shared = true;
                        if let Some(under) = self.here().get_mut(ticket.name()) {
                            under.claim = text;
                        }
                        return Claimed::Ours(claim);
                    }
                    match self.read(&ticket, &print, &there) {
                        Some(claimed) => return claimed,
                        None => odd = there.into_iter().take(ODD_BYTES).collect(),
                    }
                }
                Claimed::Ours(claim)
            }
        }
    }

    /// Claims it in this process. An error where that is done: whether by a request of the same words.
    fn claim_here(self: &Arc<Self>, ticket: Ticket, print: Print) -> Result<Claim, bool> {
        let mut here = self.here();
        if let Some(under) = here.get(ticket.name()) {
            return Err(under.print == print);
        }
        here.insert(*ticket.name(), Under { print, claim: Vec::new() });
        drop(here);
        let mut bits = [0; 16];
        // Without random bits two claims of one request might be taken for one: each is released once all the same.
        let _ = getrandom::fill(&mut bits);
        Ok(Claim { once: Some(Arc::clone(self)), ticket, print, bits, shared: false })
    }

    /// What `there` in Redis says of a name; `None`: nothing that was written here.
    fn read(&self, ticket: &Ticket, print: &Print, there: &[u8]) -> Option<Claimed> {
        let (kind, rest) = there.split_first()?;
        let (theirs, rest) = rest.split_first_chunk::<32>()?;
        match *kind {
            CLAIMED if theirs == print => Some(Claimed::Busy),
            ANSWERED if theirs == print => {
                let until = self.clock.now().mono.plus(self.keep);
                sealed::open(ticket, rest, until).map(kept)
            }
            CLAIMED | ANSWERED => Some(Claimed::Other),
            _ => None,
        }
    }

    /// Renews claims in Redis until `stop`. Nothing is to be done where there is none.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let Place::Shelf(redis) = &self.place else { return };
        while stop.run_until_cancelled(tokio::time::sleep(RENEWS_EVERY)).await.is_some() {
            let shared = |(name, under): (&[u8; 32], &Under)| {
                (!under.claim.is_empty()).then(|| (*name, under.claim.clone()))
            };
            let claims: Vec<([u8; 32], Vec<u8>)> = self.here().iter().filter_map(shared).collect();
            for (name, claim) in claims {
                // One that has ended meanwhile must not come back.
                let is_open = || self.here().get(&name).is_some_and(|under| under.claim == claim);
                if is_open() && redis.renew(&name, &claim, LEASE).await.is_err() {
                    break;
                }
                if !is_open() {
                    redis.push(Job::Release { name, claim });
                }
            }
        }
    }

    /// Writes what waits, and closes the file.
    pub async fn close(&self) {
        if let Place::File(file) = &self.place {
            file.close().await;
        }
    }

    fn here(&self) -> MutexGuard<'_, HashMap<[u8; 32], Under>> {
        // Nothing panics while it is held.
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Once {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Once").field("under_way", &self.here().len()).finish_non_exhaustive()
    }
}

fn kept(answer: KeptAnswer) -> Claimed {
    if answer.said.is_empty() { Claimed::Unkept } else { Claimed::Kept(Box::new(answer)) }
}

/// A name that is this request's. Dropped, it is nobody's, and may be claimed again.
#[must_use = "a claim that is dropped lets the name go"]
pub struct Claim {
    once: Option<Arc<Once>>,
    ticket: Ticket,
    print: Print,
    bits: [u8; 16],
    shared: bool,
}

impl Claim {
    /// Whether other replicas know of it, where there may be some.
    pub fn is_known(&self) -> bool {
        self.shared || !self.once.as_ref().is_some_and(|once| matches!(once.place, Place::Shelf(_)))
    }

    /// Keeps the answer. Ready once it is kept, or could not be; that happens whether or not anybody waits for it, and until
    /// then the request counts as under way.
    pub fn keep(mut self, answer: &KeptAnswer) -> impl Future<Output = ()> + Send + use<> {
        let (told, ready) = oneshot::channel();
        if let Some(once) = self.once.take() {
            let name = *self.ticket.name();
            let of = Arc::clone(&once);
            let claim = if self.shared { self.in_redis() } else { Vec::new() };
            let done: Done = Box::new(move |is_kept| {
                of.here().remove(&name);
                // It stays claimed in Redis until its lease ends, unless that is heard.
                if let (false, false, Place::Shelf(redis)) = (is_kept, claim.is_empty(), &of.place) {
                    redis.push(Job::Release { name, claim });
                }
                let _ = told.send(());
            });
            match (&once.place, sealed::seal(&self.ticket, answer)) {
                (Place::File(file), Some(value)) => file.keep(name, self.print, value, once.keep, done),
                (Place::Shelf(redis), Some(value)) => {
                    let value = [&[ANSWERED][..], &self.print, &value].concat();
                    let (space, ttl) = (Space::Once, once.keep);
                    redis.push(Job::Put { space, name, value, ttl, over: self.in_redis(), done: Some(done) });
                }
                _ => done(false),
            }
        }
        async move {
            let _ = tokio::time::timeout(KEEP_MAX, ready).await;
        }
    }

    /// As it stands in Redis.
    fn in_redis(&self) -> Vec<u8> {
        [&[CLAIMED][..], &self.print, &self.bits].concat()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(once) = self.once.take() else { return };
        let name = *self.ticket.name();
        if let Place::Shelf(redis) = &once.place {
            // Also where nobody heard whether Redis has it.
            redis.push(Job::Release { name, claim: self.in_redis() });
        }
        once.here().remove(&name);
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("shared", &self.shared).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sealed::made::{answer, ticket};
    use super::*;
    use crate::units::SystemClock;

    #[tokio::test]
    async fn a_name_is_claimed_by_one_and_free_again_when_that_one_lets_it_go() {
        let once = Arc::new(Once::forgetful(Arc::new(SystemClock::new())));
        let claim = once.claim(ticket("a"), [1; 32]).await;
        assert!(matches!(claim, Claimed::Ours(_)));
        assert!(matches!(once.claim(ticket("a"), [1; 32]).await, Claimed::Busy));
        assert!(matches!(once.claim(ticket("a"), [2; 32]).await, Claimed::Other));
        assert!(matches!(once.claim(ticket("b"), [2; 32]).await, Claimed::Ours(_)));
        drop(claim);
        let Claimed::Ours(claim) = once.claim(ticket("a"), [2; 32]).await else { panic!() };
        // Kept nowhere, it is free again too.
        claim.keep(&answer("x")).await;
        assert!(matches!(once.claim(ticket("a"), [1; 32]).await, Claimed::Ours(_)));
    }

    #[tokio::test]
    async fn what_is_kept_in_a_file_is_told_again_also_if_nobody_waited_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let file = File::open(&folder.path().join("once.db"), Arc::clone(&clock)).unwrap();
        let once = Arc::new(Once::in_file(file, Duration::from_hours(1), clock));
        let Claimed::Ours(claim) = once.claim(ticket("a"), [1; 32]).await else { panic!() };
        drop(claim.keep(&answer("said")));
        let kept = loop {
            match once.claim(ticket("a"), [1; 32]).await {
                Claimed::Busy => tokio::time::sleep(Duration::from_millis(1)).await,
                Claimed::Kept(kept) => break kept,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(&*kept.said, b"said");
        assert!(matches!(once.claim(ticket("a"), [2; 32]).await, Claimed::Other));
        // Empty words stand for an answer that was too long.
        let Claimed::Ours(claim) = once.claim(ticket("b"), [1; 32]).await else { panic!() };
        claim.keep(&answer("")).await;
        assert!(matches!(once.claim(ticket("b"), [1; 32]).await, Claimed::Unkept));
        once.close().await;
        // Nothing can be kept any more, and nobody is stopped.
        let Claimed::Ours(claim) = once.claim(ticket("c"), [1; 32]).await else { panic!() };
        claim.keep(&answer("x")).await;
        assert!(matches!(once.claim(ticket("c"), [1; 32]).await, Claimed::Ours(_)));
    }
}
