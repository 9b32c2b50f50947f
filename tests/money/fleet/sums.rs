//! Whether all sums agree once it is quiet: the ledgers', what callers were told, and what Redis says.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tollway_test_support::{Gateway, Redis};

use crate::{ledger, metric_nanos, nanos};

use super::load::Told;
use super::{Fleet, Lane};

/// How long anything is waited for: leases of 30 s are in it.
const PATIENCE: Duration = Duration::from_mins(2);

/// What a lane came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sums {
    /// Of the records of all ledgers.
    pub(super) requests: i64,
    /// Of the attempts in them.
    pub(super) attempts: i64,
    /// By Redis.
    pub(super) spent: i64,
}

/// The words of an answer that is a list.
fn words(answer: &str) -> Vec<String> {
    let words = answer.lines().filter(|line| !line.starts_with(['*', '$']));
    words.map(|line| line.trim_end().to_owned()).collect()
}

/// Balance fields of a lane, by their first letter: `s` spent, `h` held, `l` leased.
pub(super) fn fields(redis: &Redis, lane: &Lane) -> Vec<(char, i64)> {
    let pattern = format!("tollway:{{default}}:b:*:policy/{}/policy", lane.name);
    let mut fields = Vec::new();
    for key in words(&redis.command(&[b"KEYS", pattern.as_bytes()])) {
        let all = words(&redis.command(&[b"HGETALL", key.as_bytes()]));
        let pairs = all.as_chunks::<2>().0.iter();
        fields.extend(pairs.map(|[field, value]| {
            let amount = value.split('@').next().unwrap_or_default();
            (field.chars().next().unwrap(), amount.parse::<i64>().unwrap())
        }));
    }
    fields
}

/// How many requests are held by Redis, in all.
pub(super) fn holds(redis: &Redis) -> usize {
    let keys = words(&redis.command(&[b"KEYS", b"tollway:{default}:holds:*"]));
    let counts = keys.iter().map(|key| redis.command(&[b"HLEN", key.as_bytes()]));
    counts.map(|count| count.trim().trim_start_matches(':').parse::<usize>().unwrap()).sum()
}

pub(super) fn of(redis: &Redis, lane: &Lane, kind: char) -> i64 {
    fields(redis, lane).iter().filter(|(is, _)| *is == kind).map(|(_, amount)| amount).sum()
}

/// Waits until nothing is held any more, then compares all sums of each lane.
pub(super) async fn agreed(fleet: &Fleet, redis: &Redis, told: &[&Told]) -> Vec<Sums> {
    let began = Instant::now();
    let mut last = String::new();
    loop {
        assert!(began.elapsed() < PATIENCE, "the sums never agree: {last}");
        let held = holds(redis);
        let on_hold: i64 = fleet.lanes.iter().map(|lane| of(redis, lane, 'h')).sum();
        if held == 0 && on_hold == 0 {
            let ledgers: Vec<Vec<Value>> = fleet.running().map(ledger).collect();
            let sums = fleet.lanes.iter().map(|lane| summed(redis, lane, &ledgers)).collect::<Vec<_>>();
            if sums.iter().all(|sums| sums.requests == sums.attempts && sums.requests == sums.spent)
                && holds(redis) == 0
            {
                for told in told {
                    compare(told, &ledgers);
                }
                for (lane, sums) in fleet.lanes.iter().zip(&sums) {
                    for gateway in fleet.running() {
                        shows(gateway, lane, sums.spent).await;
                    }
                }
                return sums;
            }
            last = format!("{sums:?}");
        } else {
            last = format!("{held} requests hold {on_hold} nano-dollars");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the gateway's own page says the same.
async fn shows(gateway: &Gateway, lane: &Lane, spent: i64) {
    let began = Instant::now();
    let label = format!("name=\"{}\"", lane.name);
    loop {
        let shown = metric_nanos(gateway, "tollway_budget_spent_usd", &label).await;
        // Slices that this replica or another has leased count as held.
        if shown == spent {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{} is shown, {spent} is spent of {}", shown, lane.name);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn summed(redis: &Redis, lane: &Lane, ledgers: &[Vec<Value>]) -> Sums {
    // What was charged for a dead replica bears no policy's name; here nobody is dead for that long.
    let records = ledgers.iter().flatten().filter(|record| record["policy"] == lane.name);
    let (mut requests, mut attempts) = (0, 0);
    for record in records {
        requests += nanos(&record["amount_usd"]);
        let each = record["attempts"].as_array().unwrap().iter();
        attempts += each.map(|attempt| nanos(&attempt["amount_usd"])).sum::<i64>();
    }
    Sums { requests, attempts, spent: of(redis, lane, 's') }
}

/// What callers were told that their answers cost is what the ledgers have, each once.
fn compare(told: &Told, ledgers: &[Vec<Value>]) {
    let mut by_id: HashMap<&str, (i64, u32)> = HashMap::new();
    for record in ledgers.iter().flatten() {
        let one = by_id.entry(record["id"].as_str().unwrap()).or_default();
        *one = (one.0 + nanos(&record["amount_usd"]), one.1 + 1);
    }
    for (id, cost) in told.charges.lock().unwrap().iter() {
        assert_eq!(by_id.get(id.as_str()), Some(&(*cost, 1)), "{id}: told to its caller");
    }
}

/// What all ledgers have charged requests of a lane that came within this time.
pub(super) fn charged(fleet: &Fleet, lane: &Lane, within: &Range<Timestamp>) -> i64 {
    let each = fleet.running().map(|gateway| {
        let path = gateway.path("data/ledger.db");
        let file = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let sum = "SELECT coalesce(sum(amount_nanos), 0) FROM requests WHERE policy = ? AND began_ns >= ? AND began_ns < ?";
        let [from, until] =
            [within.start, within.end].map(|moment| i64::try_from(moment.as_nanosecond()).unwrap());
        file.query_row(sum, (lane.name, from, until), |row| row.get::<_, i64>(0)).unwrap()
    });
    each.sum()
}
