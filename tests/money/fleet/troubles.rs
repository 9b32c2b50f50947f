//! A Redis that is silent, comes back empty, or is followed by a replica that lacks its last writes, under three policies at once
//! that choose differently what its loss means; what is lost is within what docs/stores.md states for each.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tollway_test_support::Redis;

use super::kills::measured;
use super::load::{Load, Terms, Told, call};
use super::sums::{self, Sums, charged};
use super::{Fleet, Lane, REPLICAS};

const LANES: [&str; 3] = ["refuse", "local-share", "allow"];
/// A slice is a twentieth of a limit at most.
const SLICE: i64 = 20;
/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_mins(2);
/// A caller's requests are so far apart at least: each budget lasts until the trouble, however fast the machine is.
const PACE: Duration = Duration::from_millis(40);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Stopped for a while, its connections open.
    Paused,
    /// Killed, and started again with nothing in it.
    Emptied,
    /// Killed, and followed by a replica that has not heard the last of it.
    FailedOver,
}

struct Run {
    callers: u64,
    limit: i64,
    /// Tokens that each limit pays for.
    pays_for: i64,
    /// So many answers of each policy come before each trouble.
    before: u64,
    /// So many of `allow` come during it; during the last, until its limit is passed.
    during: u64,
    /// It lasts so long at least.
    lasts: Duration,
    rounds: usize,
}

impl Run {
    /// A few seconds.
    fn short() -> Self {
        Self {
            callers: 12,
            limit: 60_000_000,
            pays_for: 6_000,
            before: 25,
            during: 0,
            lasts: Duration::ZERO,
            rounds: 1,
        }
    }

    /// Each of the limits is spent over some ten thousand requests.
    fn long(rounds: usize) -> Self {
        let lasts = Duration::from_secs(5);
        Self {
            callers: 64,
            limit: 1_000_000_000,
            pays_for: 400_000,
            before: 1_000,
            during: 1_000,
            lasts,
            rounds,
        }
    }
}

/// Waits until `there` is true.
async fn until(what: &str, mut there: impl FnMut() -> bool) {
    let began = Instant::now();
    while !there() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn times_logged(fleet: &Fleet, text: &str) -> Vec<usize> {
    let count = |logs: String| logs.lines().filter(|line| line.contains(text)).count();
    fleet.running().map(|gateway| count(gateway.logs())).collect()
}

/// Waits until each gateway has said `text` once more than it had said.
async fn all_say(fleet: &Fleet, text: &str, before: &[usize]) {
    let each_more = || times_logged(fleet, text).iter().zip(before).all(|(now, before)| now > before);
    until(text, each_more).await;
}

const LOST: &str = "Redis does not keep budgets";
const BACK: &str = "Redis keeps budgets again";

struct Stage {
    fleet: Fleet,
    load: Arc<Load>,
    began: Timestamp,
    redis: Redis,
    /// What follows it, and who says so.
    replica: Option<Redis>,
    _sentinel: Option<Redis>,
}

impl Stage {
    async fn set(trouble: Trouble, run: &Run) -> Self {
        let redis = Redis::start().await;
        let (mut replica, mut sentinel) = (None, None);
        if trouble == Trouble::FailedOver {
            let follower = Redis::following(&redis).await;
            let watching = Redis::sentinel(&redis).await;
            until("the sentinel knows the replica", || watching.knows_a_replica()).await;
            (replica, sentinel) = (Some(follower), Some(watching));
        }
        let lanes = LANES.map(|name| Lane { name, on_store_loss: name, limit: run.limit });
        let store = sentinel.as_ref().unwrap_or(&redis).url().to_owned();
        let fleet = Fleet::start(&store, Vec::from(lanes), run.limit / run.pays_for).await;
        let (around, prompt) = measured(&fleet, &redis, &fleet.lanes[0]).await;
        let terms = Terms { token: fleet.token, prompt, around, lanes: Vec::from(LANES) };
        let load = Load::new(terms, u64::MAX, PACE);
        Self { fleet, load, began: Timestamp::now(), redis, replica, _sentinel: sentinel }
    }

    fn answered(&self) -> [u64; 3] {
        std::array::from_fn(|lane| self.load.told[lane].answered())
    }

    /// Waits until so many more are answered in the lane.
    async fn go_on(&self, lane: usize, by: u64) {
        let from = self.answered()[lane];
        until(&format!("{by} more answers of {}", LANES[lane]), || self.answered()[lane] >= from + by).await;
    }

    /// What requests that came within this time were charged, by lane.
    fn charged(&self, within: &Range<Timestamp>) -> [i64; 3] {
        std::array::from_fn(|lane| charged(&self.fleet, &self.fleet.lanes[lane], within))
    }

    /// Replicas that have a slice of the budget that may be spent in slices.
    fn slices(&self) -> usize {
        let fields = sums::fields(&self.redis, &self.fleet.lanes[1]);
        fields.iter().filter(|(kind, amount)| *kind == 'l' && *amount > 0).count()
    }
}

/// One trouble.
#[derive(Debug, Clone)]
struct Struck {
    /// From just before until all gateways were back.
    whole: Range<Timestamp>,
    /// While there was no Redis to ask.
    lost: Range<Timestamp>,
}

/// One trouble from its beginning until every gateway is back.
async fn strike(stage: &mut Stage, trouble: Trouble, run: &Run, is_last: bool) -> Struck {
    for lane in 0..LANES.len() {
        stage.go_on(lane, run.before).await;
    }
    until("each replica has a slice", || stage.slices() == REPLICAS).await;
    let (said_lost, said_back) = (times_logged(&stage.fleet, LOST), times_logged(&stage.fleet, BACK));
    if let Some(replica) = &stage.replica {
        // Acknowledged by the primary, and never heard by who follows it.
        replica.pause();
        stage.go_on(0, run.before / 2).await;
    }
    let before = Timestamp::now();
    match trouble {
        Trouble::Paused => stage.redis.pause(),
        Trouble::Emptied | Trouble::FailedOver => stage.redis.kill9(),
    }
    let (gone, began) = (Timestamp::now(), Instant::now());
    all_say(&stage.fleet, LOST, &said_lost).await;
    stage.go_on(2, run.during).await;
    if is_last {
        // What is stated of `allow` is put to the test.
        let charged = || stage.charged(&(stage.began..Timestamp::now()))[2];
        until("more than the limit is allowed", || charged() > run.limit).await;
    }
    tokio::time::sleep(run.lasts.saturating_sub(began.elapsed())).await;
    let returns = Timestamp::now();
    match (trouble, stage.replica.take()) {
        (Trouble::Paused, _) => stage.redis.resume(),
        (Trouble::Emptied, _) => stage.redis.restart().await,
        (Trouble::FailedOver, replica) => {
            // From now on the sums are asked of it.
            stage.redis = replica.expect("one that follows");
            stage.redis.resume();
        }
    }
    all_say(&stage.fleet, BACK, &said_back).await;
    Struck { whole: before..Timestamp::now(), lost: gone..returns }
}

async fn through(trouble: Trouble, run: Run) {
    let mut stage = Stage::set(trouble, &run).await;
    let addresses = stage.fleet.addresses.lock().unwrap().clone();
    let asking: Vec<_> = (0..run.callers)
        .map(|number| {
            let addresses = addresses.clone();
            tokio::spawn(call(number + 1, Arc::clone(&stage.load), move || addresses.clone()))
        })
        .collect();
    let mut rounds = Vec::new();
    for round in 1..=run.rounds {
        rounds.push(strike(&mut stage, trouble, &run, round == run.rounds).await);
    }
    // Until each budget is spent, so that whatever was lost would show.
    for lane in 0..LANES.len() {
        let refused = stage.load.told[lane].refused("insufficient_quota");
        until("the budget refuses", || stage.load.told[lane].refused("insufficient_quota") >= refused + 5)
            .await;
    }
    stage.load.stop();
    for one in asking {
        one.await.unwrap();
    }
    let told: Vec<&Told> = stage.load.told.iter().map(|told| &**told).collect();
    let sums = sums::agreed(&stage.fleet, &stage.redis, &told).await;
    judge(trouble, &run, &stage, &rounds, &sums);
}

fn judge(trouble: Trouble, run: &Run, stage: &Stage, rounds: &[Struck], sums: &[Sums]) {
    let limit = run.limit;
    println!(
        "Redis {trouble:?}, {} times; {} callers; each limit {limit} nano-dollars",
        rounds.len(),
        run.callers
    );
    let meanwhile: Vec<[i64; 3]> = rounds.iter().map(|round| stage.charged(&round.whole)).collect();
    let alone: Vec<[i64; 3]> = rounds.iter().map(|round| stage.charged(&round.lost)).collect();
    for (lane, name) in LANES.into_iter().enumerate() {
        let told = &stage.load.told[lane];
        let whole = meanwhile.iter().map(|round| round[lane]).sum::<i64>();
        let bound = if name == "allow" { whole } else { 0 };
        println!(
            "  {name}: {} requests, {} answered, refused {:?}; charged without Redis {:?}; spent {} (ledgers {}, their attempts {}, Redis \
             {}): beyond the limit {}, stated bound {bound}; refused though it could be held {}",
            told.asked.load(Ordering::Relaxed),
            told.answered(),
            told.refused.lock().unwrap(),
            alone.iter().map(|round| round[lane]).collect::<Vec<_>>(),
            sums[lane].spent,
            sums[lane].requests,
            sums[lane].attempts,
            sums[lane].spent,
            (sums[lane].spent - limit).max(0),
            told.unfounded.load(Ordering::Relaxed),
        );
        assert!(sums[lane].spent <= limit + bound, "{name}: {} of {limit}, bound {bound}", sums[lane].spent);
        assert_eq!(told.unfounded.load(Ordering::Relaxed), 0, "{name}: refused though it could be held");
    }
    let slices = i64::try_from(REPLICAS).unwrap() * (limit / SLICE);
    for [refuse, share, allow] in alone {
        assert_eq!(refuse, 0, "nothing is spent unseen");
        assert!(0 < share && share <= slices, "{share} of slices of {slices}");
        assert!(allow > 0);
    }
    assert!(sums[2].spent > limit, "what is stated of `allow` was put to the test");
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_r42_a_redis_that_is_silent_costs_what_each_policy_chose() {
    through(Trouble::Paused, Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_r42_a_redis_that_comes_back_empty_costs_what_each_policy_chose() {
    through(Trouble::Emptied, Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r41_r42_a_failover_that_loses_writes_costs_what_each_policy_chose() {
    through(Trouble::FailedOver, Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: `make fleet`"]
async fn r41_r42_a_redis_that_is_silent_for_five_seconds_three_times() {
    through(Trouble::Paused, Run::long(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: `make fleet`"]
async fn r41_r42_a_redis_that_comes_back_empty_three_times() {
    through(Trouble::Emptied, Run::long(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: `make fleet`"]
async fn r41_r42_a_failover_under_the_load_of_sixty_four_callers() {
    through(Trouble::FailedOver, Run::long(1)).await;
}
