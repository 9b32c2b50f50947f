//! The bank and the book of one process decide alike, whatever is asked of them and whenever.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tollway_test_support::Redis;

use crate::budget::{
    Book, Budget, Calendar, Concurrency, Demand, HoldId, Period, Rate, Scope, ScopeKind, Unit, WhenSpent, Why,
};
use crate::units::{Mono, NanoUsd, Now};

use super::Replica;

/// Where the store's clock begins: shortly before a year ends, and later than now, since Redis drops what is over.
const BEGINS_US: i64 = 1_798_761_000_000_000;

#[derive(Debug, Clone)]
enum Step {
    Admit {
        replica: usize,
        budgets: Vec<usize>,
        rates: Vec<usize>,
        places: Vec<usize>,
        hold: i64,
        tokens: u64,
    },
    Settle {
        which: usize,
        charged: i64,
        tokens: u64,
    },
    Shrink {
        which: usize,
        to: i64,
    },
    Grow {
        which: usize,
        extra: i64,
    },
    Wait {
        us: i64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let some = |of: usize| {
        prop::collection::btree_set(0..of, 0..=2).prop_map(|set| set.into_iter().collect::<Vec<_>>())
    };
    let admit = (0..3_usize, some(5), some(3), some(2), 0..400_i64, 0..90_u64).prop_map(
        |(replica, budgets, rates, places, hold, tokens)| Step::Admit {
            replica,
            budgets,
            rates,
            places,
            hold,
            tokens,
        },
    );
    let which = || 0..64_usize;
    prop::collection::vec(
        prop_oneof![
            6 => admit,
            3 => (which(), 0..450_i64, 0..120_u64)
                .prop_map(|(which, charged, tokens)| Step::Settle { which, charged, tokens }),
            1 => (which(), 0..300_i64).prop_map(|(which, to)| Step::Shrink { which, to }),
            1 => (which(), 1..200_i64).prop_map(|(which, extra)| Step::Grow { which, extra }),
            2 => prop_oneof![0..2_000_000_i64, 0..100_000_000_i64, Just(3_600_000_000)].prop_map(|us| Step::Wait { us }),
        ],
        1..60,
    )
}

/// The lines that demands are made of; `case` keeps the cases of one Redis apart.
struct Lines {
    budgets: Vec<Arc<Budget>>,
    rates: Vec<Arc<Rate>>,
    places: Vec<Arc<Concurrency>>,
}

fn lines(case: u64) -> Lines {
    let scope = |kind, name: &str| Scope { kind, name: format!("{name}-{case}").into() };
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let budget = |id: &str, limit, period, hard| {
        Arc::new(Budget {
            id: id.into(),
            scope: scope(ScopeKind::Team, "t"),
            limit: NanoUsd(limit),
            calendar: Calendar { period, zone: zone.clone() },
            hard,
            when_spent: WhenSpent::Reject,
        })
    };
    let rate = |name: &str, unit, per_minute| {
        Arc::new(Rate { scope: scope(ScopeKind::Key, name), unit, per_minute })
    };
    Lines {
        budgets: vec![
            budget("hour", 900, Period::Hour, true),
            budget("day", 2_000, Period::Day, true),
            budget("month", 3_000, Period::Month, true),
            budget("soft", 100, Period::Week, false),
            budget("rolling", 1_200, Period::Rolling(Duration::from_mins(10)), true),
        ],
        // A whole number of microseconds each, so that both clocks can tell them exactly.
        rates: vec![rate("r", Unit::Requests, 10), rate("t", Unit::Tokens, 100), rate("u", Unit::Tokens, 60)],
        places: [2, 3]
            .map(|max| Arc::new(Concurrency { scope: scope(ScopeKind::User, &format!("p{max}")), max }))
            .into(),
    }
}

fn kind(why: &Why) -> String {
    match why {
        Why::Budget { budget, spent, held } => format!("{} {} {}", budget.id, spent.0, held.0),
        other => format!("{other:?}"),
    }
}

async fn same(redis: &Redis, replicas: &[Replica], case: u64, steps: Vec<Step>) {
    let lines = lines(case);
    let mut book = Book::default();
    // Where the store's clock stands; it never goes back, since epochs and leases of the replicas go on from case to case.
    let mut at = BEGINS_US + i64::try_from(case).unwrap() * 200_000_000_000;
    let mut open: BTreeMap<u128, usize> = BTreeMap::new();
    let now = |at: i64| Now {
        mono: Mono(u64::try_from(at).unwrap() * 1_000),
        wall: Timestamp::from_microsecond(at).unwrap(),
    };
    let set = |at: i64| redis.command(&[b"SET", b"tollway:{default}:clock", at.to_string().as_bytes()]);
    set(at);
    for (number, step) in steps.into_iter().enumerate() {
        let pick = |open: &BTreeMap<u128, usize>, which: usize| {
            let all: Vec<_> = open.iter().map(|(id, replica)| (HoldId(*id), *replica)).collect();
            (!all.is_empty()).then(|| all[which % all.len()])
        };
        match step {
            Step::Wait { us } => {
                at += us;
                set(at);
            }
            Step::Admit { replica, budgets, rates, places, hold, tokens } => {
                let demand = Demand {
                    id: HoldId(u128::from(case) << 64 | number as u128),
                    hold: NanoUsd(hold),
                    tokens,
                    budgets: budgets.iter().map(|one| Arc::clone(&lines.budgets[*one])).collect(),
                    rates: rates.iter().map(|one| Arc::clone(&lines.rates[*one])).collect(),
                    places: places.iter().map(|one| Arc::clone(&lines.places[*one])).collect(),
                    on_loss: crate::budget::OnStoreLoss::Refuse,
                };
                let here = book.admit(&demand, now(at));
                let there = replicas[replica].bank.admit(&demand, now(at)).await;
                match (here, there) {
                    (Ok(here), Ok(there)) => {
                        assert_eq!(here, there, "step {number}");
                        open.insert(demand.id.0, replica);
                    }
                    (Err(here), Err(there)) => {
                        assert_eq!(kind(&here.why), kind(&there.why), "step {number}");
                        assert_eq!(here.standing, there.standing, "step {number}");
                        assert_eq!(here.retry_after, there.retry_after, "step {number}: {:?}", here.why);
                    }
                    (here, there) => panic!("step {number}: the book says {here:?}, the bank {there:?}"),
                }
            }
            Step::Settle { which, charged, tokens } => {
                let Some((id, replica)) = pick(&open, which) else { continue };
                open.remove(&id.0);
                assert!(book.settle(id, NanoUsd(charged), tokens, now(at)).was_held);
                assert!(replicas[replica].bank.settle(id, NanoUsd(charged), tokens).was_held);
                told(&replicas[replica]).await;
            }
            Step::Shrink { which, to } => {
                let Some((id, replica)) = pick(&open, which) else { continue };
                book.shrink(id, NanoUsd(to));
                replicas[replica].bank.shrink(id, NanoUsd(to));
                told(&replicas[replica]).await;
            }
            Step::Grow { which, extra } => {
                let Some((id, replica)) = pick(&open, which) else { continue };
                // What was told in the background was told by this machine's clock, which is not the one here.
                replicas[replica].bank.inner().ahead = 0;
                let here = book.grow(id, NanoUsd(extra));
                assert_eq!(
                    here,
                    replicas[replica].bank.grow(id, NanoUsd(extra), now(at)).await,
                    "step {number}"
                );
            }
        }
    }
    for (id, replica) in open {
        replicas[replica].bank.settle(HoldId(id), NanoUsd(0), 0);
        told(&replicas[replica]).await;
    }
}

/// Waits until what was settled has been told.
async fn told(replica: &Replica) {
    let (before, nothing) = {
        let inner = replica.bank.inner();
        (inner.sequence, inner.account.changes.is_empty())
    };
    if nothing {
        return;
    }
    super::until("it is told", || {
        let inner = replica.bank.inner();
        inner.account.changes.is_empty() && inner.sequence > before
    })
    .await;
}

#[test]
fn the_bank_of_three_replicas_and_the_book_of_one_decide_alike() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (redis, replicas) = runtime.block_on(async {
        let redis = Redis::start().await;
        let mut replicas = Vec::new();
        for name in ["a", "b", "c"] {
            // The clock leaps: nobody is to be taken for dead for that, nor to beat while calls are compared.
            let leaps = |options: &mut super::Options| {
                options.lease = Duration::from_hours(24 * 10_000);
                options.beat = Duration::from_hours(1);
            };
            replicas.push(Replica::open(redis.url(), name, leaps).await);
        }
        (redis, replicas)
    });
    let cases = std::cell::Cell::new(0_u64);
    let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&steps(), |steps| {
        cases.set(cases.get() + 1);
        runtime.block_on(same(&redis, &replicas, cases.get(), steps));
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
