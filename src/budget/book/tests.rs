//! The book against what it promises, number by number.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::budget::{Calendar, Concurrency, OnStoreLoss, Period, ScopeKind, WhenSpent};
use crate::units::Mono;

fn at(second: i64) -> Now {
    let mono = Mono(u64::try_from(second).unwrap() * 1_000_000_000);
    Now { mono, wall: Timestamp::from_second(second).unwrap() }
}

fn scope(name: &str) -> Scope {
    Scope { kind: ScopeKind::Key, name: name.into() }
}

fn budget(id: &str, limit: i64, period: Period) -> Budget {
    Budget {
        id: id.into(),
        scope: scope("k"),
        limit: NanoUsd(limit),
        calendar: Calendar::utc(period),
        hard: true,
        when_spent: WhenSpent::Reject,
    }
}

fn demand(id: u128, hold: i64, budgets: &[&Arc<Budget>]) -> Demand {
    Demand {
        id: HoldId(id),
        hold: NanoUsd(hold),
        tokens: 0,
        budgets: budgets.iter().map(|budget| Arc::clone(budget)).collect(),
        rates: Vec::new(),
        places: Vec::new(),
        on_loss: OnStoreLoss::default(),
    }
}

fn tokens(per_minute: u64) -> Arc<Rate> {
    Arc::new(Rate { scope: scope("k"), unit: Unit::Tokens, per_minute })
}

const HOUR: i64 = 3_600;

#[test]
fn r34_room_for_ten_admits_ten_of_a_thousand() {
    let ten = Arc::new(budget("b", 1_009, Period::Day));
    let mut book = Book::default();
    let admitted = (0..1_000).filter(|id| book.admit(&demand(*id, 100, &[&ten]), at(0)).is_ok()).count();
    assert_eq!((admitted, book.holds()), (10, 10));
    for id in 0..1_000 {
        assert_eq!(book.settle(HoldId(id), NanoUsd(100), 0, at(1)).was_held, id < 10);
    }
    assert_eq!((book.levels(at(1))[0].spent, book.levels(at(1))[0].held), (NanoUsd(1_000), NanoUsd(0)));
}

#[test]
fn what_is_refused_costs_nothing_of_anything() {
    let (room, none) = (Arc::new(budget("room", 100, Period::Day)), Arc::new(budget("none", 0, Period::Day)));
    let mut book = Book::default();
    let mut refused = demand(1, 1, &[&room, &none]);
    refused.tokens = 60;
    refused.rates = vec![tokens(60)];
    refused.places = vec![Arc::new(Concurrency { scope: scope("k"), max: 1 })];
    let refusal = book.admit(&refused, at(0)).unwrap_err();
    assert_eq!(refusal.retry_after, None, "it asks for more than the whole limit");
    assert_eq!(refusal.standing.tokens.unwrap().remaining, 60);
    refused.budgets.pop();
    refused.hold = NanoUsd(100);
    assert!(book.admit(&refused, at(0)).is_ok(), "nothing is taken yet");
}

#[test]
fn a_second_settlement_says_that_it_is_none_and_a_charge_beyond_the_hold_counts_whole() {
    let one = Arc::new(budget("b", 100, Period::Day));
    let mut book = Book::default();
    book.admit(&demand(1, 40, &[&one]), at(0)).unwrap();
    let settled = book.settle(HoldId(1), NanoUsd(90), 0, at(1));
    assert!(settled.was_held);
    assert_eq!(settled.crossed.iter().map(|crossed| crossed.percent).collect::<Vec<_>>(), [80]);
    assert!(!book.settle(HoldId(1), NanoUsd(90), 0, at(1)).was_held);
    assert_eq!(book.levels(at(1))[0].spent, NanoUsd(90));
}

#[test]
fn thresholds_are_told_once_in_a_window() {
    let mut soft = budget("b", 100, Period::Day);
    soft.hard = false;
    let soft = Arc::new(soft);
    let mut book = Book::default();
    let mut told = Vec::new();
    for id in 0..30 {
        book.admit(&demand(id, 0, &[&soft]), at(0)).expect("a soft budget refuses nothing");
        told.extend(book.settle(HoldId(id), NanoUsd(7), 0, at(0)).crossed.iter().map(|one| one.percent));
    }
    assert_eq!(told, [50, 80, 100]);
}

#[test]
fn r36_tokens_are_set_right_by_what_was_taken() {
    let rate = tokens(1_000);
    let mut book = Book::default();
    let mut ask = |id: u128, estimate: u64, used: u64| {
        let mut demand = demand(id, 0, &[]);
        (demand.tokens, demand.rates) = (estimate, vec![Arc::clone(&rate)]);
        let standing = book.admit(&demand, at(0)).map(|standing| standing.tokens.unwrap().remaining);
        book.settle(HoldId(id), NanoUsd(0), used, at(0));
        standing.map_err(|refusal| refusal.retry_after.unwrap().as_secs())
    };
    assert_eq!(ask(1, 600, 100), Ok(400));
    assert_eq!(ask(2, 900, 900), Ok(0), "what was not used was put back");
    // More than a minute's worth passes alone, counts as a minute's worth, and no more than that is ever put back.
    assert_eq!(ask(3, 5_000, 5_000), Err(60));
    let mut book = Book::default();
    let mut big = demand(4, 0, &[]);
    (big.tokens, big.rates) = (5_000, vec![Arc::clone(&rate)]);
    book.admit(&big, at(0)).unwrap();
    book.settle(HoldId(4), NanoUsd(0), 4_000, at(0));
    let refusal = book.admit(&Demand { id: HoldId(5), tokens: 1, ..big.clone() }, at(0)).unwrap_err();
    assert_eq!(refusal.retry_after, Some(Duration::from_millis(180_060)), "four minutes' worth were used");
}

#[test]
fn r37_a_hold_grows_only_while_there_is_room_in_the_window_it_was_admitted_in() {
    let hourly = Arc::new(budget("b", 100, Period::Hour));
    let mut book = Book::default();
    book.admit(&demand(1, 60, &[&hourly]), at(0)).unwrap();
    assert!(book.grow(HoldId(1), NanoUsd(30)) && !book.grow(HoldId(1), NanoUsd(11)));
    // The next hour has room of its own, which is not this request's.
    assert!(!book.grow(HoldId(1), NanoUsd(11)));
    book.admit(&demand(2, 100, &[&hourly]), at(HOUR)).unwrap();
    assert!(book.grow(HoldId(1), NanoUsd(10)), "and a full next hour does not stand in its way");
    assert!(!book.grow(HoldId(3), NanoUsd(1)), "nobody's hold");
    book.shrink(HoldId(2), NanoUsd(5));
    book.shrink(HoldId(2), NanoUsd(50));
    assert_eq!(book.levels(at(HOUR))[0].held, NanoUsd(5));
}

#[test]
fn r37_a_hold_of_nothing_grows_in_its_window_however_long_that_is_over() {
    let hour = Arc::new(budget("b", 100, Period::Hour));
    let mut book = Book::default();
    book.admit(&demand(1, 0, &[&hour]), at(0)).unwrap();
    book.admit(&demand(2, 74, &[&hour]), at(1)).unwrap();
    book.settle(HoldId(2), NanoUsd(74), 0, at(2));
    for id in 3..10 {
        book.admit(&demand(id, 1, &[&hour]), at(i64::try_from(id).unwrap() * HOUR)).unwrap();
    }
    assert!(!book.grow(HoldId(1), NanoUsd(27)) && book.grow(HoldId(1), NanoUsd(26)));
}

#[test]
fn r37_one_that_may_pass_the_limit_does_not_let_others_grow_past_it() {
    let hard = Arc::new(budget("b", 100, Period::Hour));
    let softened = Arc::new(Budget { hard: false, ..(*hard).clone() });
    let mut book = Book::default();
    book.admit(&demand(1, 90, &[&hard]), at(0)).unwrap();
    book.admit(&demand(2, 500, &[&softened]), at(0)).unwrap();
    assert!(!book.grow(HoldId(1), NanoUsd(1)) && book.grow(HoldId(2), NanoUsd(1)));
}

#[test]
fn r38_a_wait_is_true() {
    let hourly = Arc::new(budget("b", 100, Period::Hour));
    let mut book = Book::default();
    book.admit(&demand(1, 90, &[&hourly]), at(0)).unwrap();
    let wait =
        |book: &mut Book, now| book.admit(&demand(2, 50, &[&hourly]), at(now)).unwrap_err().retry_after;
    assert_eq!(wait(&mut book, 10), Some(MOMENT), "it fits as soon as the other costs less than it holds");
    book.settle(HoldId(1), NanoUsd(90), 0, at(10));
    assert_eq!(wait(&mut book, 10), Some(Duration::from_secs(3_590)));
    // Of a rolling hour: once enough parts are old, not merely the first.
    let rolling = Arc::new(budget("r", 100, Period::Rolling(Duration::from_hours(1))));
    for (id, second) in [(3, 0), (4, 600), (5, 1_200)] {
        book.admit(&demand(id, 30, &[&rolling]), at(second)).unwrap();
        book.settle(HoldId(id), NanoUsd(30), 0, at(second));
    }
    let refused = book.admit(&demand(6, 60, &[&rolling]), at(1_300)).unwrap_err();
    let wait = i64::try_from(refused.retry_after.unwrap().as_secs()).unwrap();
    assert!(book.admit(&demand(6, 60, &[&rolling]), at(1_299 + wait)).is_err());
    assert!(book.admit(&demand(6, 60, &[&rolling]), at(1_300 + wait)).is_ok());
}

#[test]
fn r39_a_clock_set_back_finds_what_was_spent_by_it() {
    let hourly = Arc::new(budget("b", 100, Period::Hour));
    let mut book = Book::default();
    let spend = |book: &mut Book, id, second| {
        let admitted = book.admit(&demand(id, 100, &[&hourly]), at(second)).is_ok();
        book.settle(HoldId(id), NanoUsd(100), 0, at(second));
        admitted
    };
    assert!(spend(&mut book, 1, 10) && spend(&mut book, 2, HOUR));
    assert!(!spend(&mut book, 3, HOUR - 1) && !spend(&mut book, 4, 0) && !spend(&mut book, 5, HOUR + 1));
    assert!(spend(&mut book, 6, 2 * HOUR));
}

#[test]
fn r39_a_clock_set_back_finds_what_was_spent_by_it_also_when_old_balances_were_looked_for() {
    let rolling = Period::Rolling(Duration::from_hours(1));
    for (period, back) in [(Period::Hour, SET_BACK), (rolling, ROLLING_SET_BACK)] {
        let one = Arc::new(budget("b", 100, period));
        let mut book = Book::default();
        let spend = |book: &mut Book, id, second| {
            let admitted = book.admit(&demand(id, 100, &[&one]), at(second)).is_ok();
            book.settle(HoldId(id), NanoUsd(100), 0, at(second));
            admitted
        };
        assert!(spend(&mut book, 1, 10 * HOUR));
        let last = one.calendar.counts_until(one.calendar.window(at(10 * HOUR).wall)) - 1;
        book.tidy(at(last + back));
        assert!(!spend(&mut book, 2, last), "{period}");
        assert!(spend(&mut book, 3, last + 1), "{period}");
    }
}

#[test]
fn r39_ten_thousand_turns_each_begin_anew_once_and_windows_that_are_over_go() {
    for (zone, period, step) in [
        ("Europe/Berlin", Period::Hour, 1_200),
        ("America/St_Johns", Period::Day, 28_800),
        ("Australia/Lord_Howe", Period::Hour, 1_200),
        ("Asia/Shanghai", Period::Week, 201_600),
        ("America/Santiago", Period::Month, 864_000),
    ] {
        let calendar = Calendar { period, zone: TimeZone::get(zone).unwrap() };
        let one = Arc::new(Budget { calendar, ..budget("b", 3, period) });
        let mut book = Book::default();
        // How many were admitted in each window, by the calendar alone.
        let mut admitted: HashMap<Window, i64> = HashMap::new();
        let mut second = 1_700_000_000;
        let mut id = 0;
        let mut running: Vec<u128> = Vec::new();
        while admitted.len() < 2_000 {
            // Every so often the clock is set back by up to an hour.
            let now = at(if id % 17 == 0 { second - 3_000 } else { second });
            for _ in 0..2 {
                id += 1;
                let window = one.calendar.window(now.wall);
                let before = admitted.entry(window).or_default();
                let fits = *before < 3;
                assert_eq!(
                    book.admit(&demand(id, 1, &[&one]), now).is_ok(),
                    fits,
                    "{zone} {period} {second}"
                );
                if fits {
                    *before += 1;
                    running.push(id);
                }
            }
            // Requests run for up to two steps: some end in another window than they began in.
            if running.len() > 4 {
                assert!(book.settle(HoldId(running.remove(0)), NanoUsd(1), 0, now).was_held);
            }
            second += step;
        }
        assert!(book.accounts.values().all(|account| account.windows.len() <= 32), "{zone} {period}");
    }
}

#[test]
fn memory_is_bounded_by_what_counts_now() {
    let mut book = Book::default();
    for id in 0..20_000_u32 {
        let mut one = budget("b", 10, Period::Hour);
        one.scope = scope(&format!("k{id}"));
        let mut demand = demand(id.into(), 1, &[&Arc::new(one)]);
        let rate = Rate { scope: scope(&format!("k{id}")), unit: Unit::Requests, per_minute: 60 };
        demand.rates = vec![Arc::new(rate)];
        let now = at(i64::from(id) * 1_000);
        book.admit(&demand, now).unwrap();
        book.settle(demand.id, NanoUsd(1), 0, now);
    }
    assert!(book.accounts.len() < 1_000 && book.rates.len() < 1_000, "{}", book.accounts.len());
}

#[test]
fn rates_alone_are_tidied_too() {
    let mut book = Book::default();
    for id in 0..5_000_u32 {
        let mut demand = demand(id.into(), 0, &[]);
        let rate = Rate { scope: scope(&format!("k{id}")), unit: Unit::Requests, per_minute: 60 };
        demand.rates = vec![Arc::new(rate)];
        book.admit(&demand, at(i64::from(id))).unwrap();
        book.settle(demand.id, NanoUsd(0), 0, at(i64::from(id)));
    }
    assert!(book.rates.len() <= TIDY_EVERY + 2, "{}", book.rates.len());
}

#[test]
fn r36_over_use_after_a_long_time_is_owed_all_the_same() {
    let rate = tokens(60);
    let ask = |id: u128| {
        let mut demand = demand(id, 0, &[]);
        (demand.tokens, demand.rates) = (1, vec![Arc::clone(&rate)]);
        demand
    };
    let mut book = Book::default();
    book.admit(&ask(1), at(HOUR)).unwrap();
    book.settle(HoldId(1), NanoUsd(0), 121, at(2 * HOUR));
    let refusal = book.admit(&ask(2), at(2 * HOUR)).unwrap_err();
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(61)), "120 more than asked for, a second each");
}

#[derive(Debug, Clone)]
enum Step {
    Admit { hold: i64, which: usize },
    Grow { nth: usize, extra: i64 },
    Shrink { nth: usize, to: i64 },
    Settle { nth: usize, charged: i64 },
    Wait { seconds: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_i64..60, 1_usize..4).prop_map(|(hold, which)| Step::Admit { hold, which }),
        2 => (any::<usize>(), 0_i64..40).prop_map(|(nth, extra)| Step::Grow { nth, extra }),
        1 => (any::<usize>(), 0_i64..60).prop_map(|(nth, to)| Step::Shrink { nth, to }),
        3 => (any::<usize>(), 0_i64..60).prop_map(|(nth, charged)| Step::Settle { nth, charged }),
        1 => (-600_i64..2_400).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// A request: what it holds or was charged, whether it is over, its window in each budget.
type Seen = (i64, bool, Vec<(usize, Window)>);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    /// Against a list of all that ever happened, summed anew each time.
    #[test]
    fn r38_who_fits_is_admitted_and_who_does_not_is_not(steps in prop::collection::vec(step(), 1..120)) {
        let budgets = [
            Arc::new(budget("hour", 100, Period::Hour)),
            Arc::new(budget("rolling", 120, Period::Rolling(Duration::from_hours(1)))),
        ];
        let mut book = Book::default();
        let mut all: Vec<Seen> = Vec::new();
        let mut second = 1_000_000;
        let mut latest = second;
        for step in steps {
            let now = at(second);
            let sum = |all: &[Seen], which: usize, counts: &dyn Fn(Window) -> bool| -> i64 {
                let lines = all.iter().flat_map(|(amount, _, lines)| lines.iter().map(move |line| (amount, line)));
                lines.filter(|(_, (at, window))| *at == which && counts(*window)).map(|(amount, _)| *amount).sum()
            };
            match step {
                Step::Admit { hold, which } => {
                    let asked: Vec<usize> = (0..2).filter(|at| which & (1 << at) != 0).collect();
                    let fits = asked.iter().all(|at| {
                        let budget = &budgets[*at];
                        let counts = |window| budget.calendar.counts(window, now.wall);
                        sum(&all, *at, &counts) + hold <= budget.limit.0
                    });
                    let asks: Vec<_> = asked.iter().map(|at| &budgets[*at]).collect();
                    let id = u128::try_from(all.len()).unwrap();
                    prop_assert_eq!(book.admit(&demand(id, hold, &asks), now).is_ok(), fits);
                    let lines = asked.iter().map(|at| (*at, budgets[*at].calendar.window(now.wall))).collect();
                    all.push((if fits { hold } else { 0 }, !fits, if fits { lines } else { Vec::new() }));
                }
                Step::Grow { nth, extra } if !all.is_empty() => {
                    let nth = nth % all.len();
                    let grown = book.grow(HoldId(nth.try_into().unwrap()), NanoUsd(extra));
                    prop_assert!(!grown || !all[nth].1);
                    if grown {
                        all[nth].0 += extra;
                    }
                }
                Step::Shrink { nth, to } if !all.is_empty() => {
                    let nth = nth % all.len();
                    book.shrink(HoldId(nth.try_into().unwrap()), NanoUsd(to));
                    if !all[nth].1 {
                        all[nth].0 = all[nth].0.min(to);
                    }
                }
                Step::Settle { nth, charged } if !all.is_empty() => {
                    let nth = nth % all.len();
                    // Within its bound, as a provider bills.
                    let charged = charged.min(all[nth].0);
                    let settled = book.settle(HoldId(nth.try_into().unwrap()), NanoUsd(charged), 0, now);
                    prop_assert_eq!(settled.was_held, !all[nth].1);
                    if !all[nth].1 {
                        (all[nth].0, all[nth].1) = (charged, true);
                    }
                }
                // Set back again and again it would pass what a book promises to remember.
                Step::Wait { seconds } => {
                    second = (second + seconds).max(latest - ROLLING_SET_BACK);
                    latest = latest.max(second);
                }
                _ => {}
            }
            // No window of the hour, and no hour of the rolling one, ever has more than the limit in it.
            let windows: Vec<(usize, Window)> = all.iter().flat_map(|(_, _, lines)| lines.clone()).collect();
            for (which, window) in windows {
                let calendar = &budgets[which].calendar;
                let counts = |one: Window| match calendar.period {
                    Period::Rolling(_) => one.start <= window.start && window.start < calendar.counts_until(one),
                    _ => one == window,
                };
                prop_assert!(sum(&all, which, &counts) <= budgets[which].limit.0);
            }
            let now = at(second);
            for level in book.levels(now) {
                let which = usize::from(&*level.budget.id == "rolling");
                let counts = |window| level.budget.calendar.counts(window, now.wall);
                prop_assert_eq!(level.spent.0 + level.held.0, sum(&all, which, &counts));
            }
        }
    }
}
