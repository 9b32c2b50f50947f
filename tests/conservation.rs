//! No money is lost and none appears: gateways with their ledgers, simulated in virtual time, with faults between any two steps.
//!
//! `CONSERVATION_SEED=n` replays one run; a failure prints its seed.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a simulation that is a test as a whole, and says how to replay it"
)]

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use tollway::budget::{
    Allowance, Book, Budget, Calendar, Demand, HoldId, OnStoreLoss, Period, Scope, ScopeKind, Why, Window,
};
use tollway::units::{Mono, NanoUsd, Now};

/// Who says yes or no: the same for one process and for several.
trait Bank: Default {
    /// Whether it is held, or the reason why not.
    fn admit(&mut self, demand: &Demand, now: Now) -> Result<(), Why>;
    fn shrink(&mut self, id: HoldId, amount: NanoUsd);
    /// Whether it was held.
    fn settle(&mut self, id: HoldId, charged: NanoUsd, now: Now) -> bool;
    fn load(&mut self, budget: &Budget, window: Window, spent: NanoUsd);
    /// Held at present by requests, and in all budgets.
    fn held(&self, now: Now) -> (usize, i64);
}

impl Bank for Book {
    fn admit(&mut self, demand: &Demand, now: Now) -> Result<(), Why> {
        Self::admit(self, demand, now).map(drop).map_err(|refusal| refusal.why)
    }
    fn shrink(&mut self, id: HoldId, amount: NanoUsd) {
        Self::shrink(self, id, amount);
    }
    fn settle(&mut self, id: HoldId, charged: NanoUsd, now: Now) -> bool {
        Self::settle(self, id, charged, 0, now).was_held
    }
    fn load(&mut self, budget: &Budget, window: Window, spent: NanoUsd) {
        Self::load(self, &budget.id, &budget.scope, window, spent);
    }
    fn held(&self, now: Now) -> (usize, i64) {
        (self.holds(), self.levels(now).iter().map(|level| level.held.0).sum())
    }
}

/// Numbers from a seed (splitmix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    fn amount(&mut self, most: i64) -> i64 {
        i64::try_from(self.below(u64::try_from(most + 1).unwrap())).unwrap()
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

type Line = (usize, Window);

/// A hold as the disk has it.
struct Journalled {
    amount: i64,
    lines: Vec<Line>,
}

/// What survives a crash.
#[derive(Default)]
struct Ledger {
    holds: HashMap<HoldId, Journalled>,
    spent: HashMap<Line, i64>,
    records: u64,
    charged: i64,
}

impl Ledger {
    /// Exactly once: a second time there is no hold to settle.
    fn settle(&mut self, id: HoldId, charged: i64) -> Vec<Line> {
        let hold = self.holds.remove(&id).expect("a hold is settled once");
        self.records += 1;
        self.charged += charged;
        for line in &hold.lines {
            *self.spent.entry(*line).or_default() += charged;
        }
        hold.lines
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Step {
    /// The bank holds it, the disk does not know yet.
    Admitted,
    /// It is sent, or waits for a further attempt.
    Journalled { attempts_left: u32 },
    /// The disk has its record, the bank does not know yet.
    Recorded,
}

struct Live {
    demand: Demand,
    lines: Vec<Line>,
    /// What the provider bills in the end.
    truth: i64,
    /// What attempts without an answer have cost so far; within the truth.
    lost: i64,
    held: i64,
    charged: i64,
    step: Step,
}

struct Gateway<B> {
    bank: B,
    ledger: Ledger,
    live: Vec<Live>,
    /// What providers billed above their bounds, by line.
    above: HashMap<Line, i64>,
    skew_s: i64,
}

#[derive(Debug, Default)]
struct Tally {
    asked: u64,
    admitted: u64,
    refused: u64,
    refused_falsely: u64,
    crashes: u64,
    lost: u64,
    left: u64,
    above: u64,
    clock_steps: u64,
    most_slack: i64,
}

struct World<B> {
    draw: Draw,
    budgets: Vec<Arc<Budget>>,
    gateways: Vec<Gateway<B>>,
    at_ms: i64,
    ids: u128,
    tally: Tally,
}

const GATEWAYS: usize = 3;
const LIVE_MAX: usize = 24;
const HOLD_MAX: i64 = 1_000_000;

fn budgets() -> Vec<Arc<Budget>> {
    let one = |id: &str, kind, name: &str, limit, period| {
        let calendar = Calendar::utc(period);
        let scope = Scope { kind, name: name.into() };
        Arc::new(Allowance::hard(NanoUsd(limit), calendar).budget(id.into(), scope))
    };
    vec![
        one("policy/p/policy", ScopeKind::Policy, "p", 60_000_000, Period::Hour),
        one("team/a", ScopeKind::Team, "a", 40_000_000, Period::Hour),
        one("team/b", ScopeKind::Team, "b", 300_000_000, Period::Day),
        one("key/k", ScopeKind::Key, "k", 12_345_678, Period::Hour),
    ]
}

impl<B: Bank> World<B> {
    fn new(seed: u64) -> Self {
        let gateway = |_| Gateway {
            bank: B::default(),
            ledger: Ledger::default(),
            live: Vec::new(),
            above: HashMap::new(),
            skew_s: 0,
        };
        let gateways = (0..GATEWAYS).map(gateway).collect();
        Self {
            draw: Draw(seed),
            budgets: budgets(),
            gateways,
            at_ms: 1_795_000_000_000,
            ids: 0,
            tally: Tally::default(),
        }
    }

    fn now(&self, gateway: usize) -> Now {
        let wall = Timestamp::from_millisecond(self.at_ms + self.gateways[gateway].skew_s * 1_000).unwrap();
        Now { wall, mono: Mono(u64::try_from(self.at_ms).unwrap() * 1_000_000) }
    }

    fn run(&mut self, requests: u64) {
        while self.tally.asked < requests {
            self.at_ms += self.draw.amount(3_000);
            let at = usize::try_from(self.draw.below(GATEWAYS as u64)).unwrap();
            match self.draw.below(4_000) {
                0 => self.crash(at),
                1 => {
                    // Forth and back, over the ends of windows too.
                    self.gateways[at].skew_s = self.draw.amount(7_200) - 3_600;
                    self.tally.clock_steps += 1;
                }
                n if n % 5 < 2 || self.gateways[at].live.is_empty() => self.ask(at),
                _ => self.step(at),
            }
        }
        for at in 0..GATEWAYS {
            while !self.gateways[at].live.is_empty() {
                self.step(at);
            }
            self.all_adds_up(at);
        }
    }

    fn ask(&mut self, at: usize) {
        if self.gateways[at].live.len() >= LIVE_MAX {
            return self.step(at);
        }
        let now = self.now(at);
        self.tally.asked += 1;
        self.ids += 1;
        let mut counted = vec![0];
        counted.extend([1 + usize::from(self.draw.one_in(2))]);
        counted.extend(self.draw.one_in(4).then_some(3));
        let hold = 1 + self.draw.amount(HOLD_MAX);
        let truth = self.draw.amount(hold);
        let demand = Demand {
            id: HoldId(self.ids),
            hold: NanoUsd(hold),
            tokens: 0,
            budgets: counted.iter().map(|one| Arc::clone(&self.budgets[*one])).collect(),
            rates: Vec::new(),
            places: Vec::new(),
            on_loss: OnStoreLoss::Refuse,
        };
        let lines: Vec<Line> =
            counted.iter().map(|one| (*one, self.budgets[*one].calendar.window(now.wall))).collect();
        let gateway = &mut self.gateways[at];
        match gateway.bank.admit(&demand, now) {
            Ok(()) => {
                self.tally.admitted += 1;
                gateway.live.push(Live {
                    demand,
                    lines,
                    truth,
                    lost: 0,
                    held: hold,
                    charged: 0,
                    step: Step::Admitted,
                });
            }
            Err(why) => {
                self.tally.refused += 1;
                let Why::Budget { budget, spent, held } = why else { panic!("there are only budgets here") };
                let line =
                    *lines.iter().find(|(one, _)| self.budgets[*one].id == budget.id).expect("asked for");
                // What the bank says is what is so.
                let recorded = gateway.ledger.spent.get(&line).copied().unwrap_or(0);
                let waits = |live: &&Live| live.lines.contains(&line) && live.step == Step::Recorded;
                let untold: i64 = gateway.live.iter().filter(waits).map(|live| live.charged).sum();
                assert_eq!(spent.0, recorded - untold, "spent of {}", budget.id);
                let counts = gateway.live.iter().filter(|live| live.lines.contains(&line));
                assert_eq!(
                    held.0,
                    counts.clone().map(|live| live.held).sum::<i64>(),
                    "held of {}",
                    budget.id
                );
                assert!(spent.0 + held.0 + hold > budget.limit.0, "a false refusal");
                // Who knows all true costs would have let it pass: only as far as holds are above what they become.
                let truths: i64 = counts.clone().map(|live| live.truth.max(live.charged)).sum();
                let room = budget.limit.0 - spent.0 - truths;
                if room >= truth {
                    self.tally.refused_falsely += 1;
                    let slack = held.0 - truths + hold - truth;
                    assert!(room - truth < slack, "{room} left of {}, slack {slack}", budget.id);
                    self.tally.most_slack = self.tally.most_slack.max(slack);
                }
            }
        }
    }

    fn step(&mut self, at: usize) {
        let now = self.now(at);
        if self.gateways[at].live.is_empty() {
            return;
        }
        let place = usize::try_from(self.draw.below(self.gateways[at].live.len() as u64)).unwrap();
        let gateway = &mut self.gateways[at];
        let live = &mut gateway.live[place];
        let id = live.demand.id;
        match live.step {
            Step::Admitted if self.draw.one_in(50) => {
                // The caller left before it was durable: given back.
                self.tally.left += 1;
                assert!(gateway.bank.settle(id, NanoUsd::ZERO, now));
                gateway.live.swap_remove(place);
            }
            Step::Admitted => {
                let hold = Journalled { amount: live.held, lines: live.lines.clone() };
                assert!(gateway.ledger.holds.insert(id, hold).is_none());
                live.step = Step::Journalled { attempts_left: 3 };
            }
            Step::Journalled { attempts_left } => match self.draw.below(10) {
                // An attempt failed, or a hedge lost: it has cost something.
                0 | 1 if attempts_left > 1 => {
                    live.lost += (live.truth - live.lost) / 4;
                    live.step = Step::Journalled { attempts_left: attempts_left - 1 };
                }
                // Somebody began to answer: what others might have cost is given back.
                2 => {
                    let least = live.truth.max(live.held / 2);
                    if least < live.held {
                        gateway.bank.shrink(id, NanoUsd(least));
                        live.held = least;
                    }
                }
                outcome => {
                    live.charged = match outcome {
                        // Nobody answered, or the caller left: what was lost until then is charged.
                        3 | 4 => live.lost,
                        _ => live.truth,
                    };
                    if self.draw.one_in(1_000) {
                        let extra = 1 + self.draw.amount(HOLD_MAX);
                        live.charged = live.held + extra;
                        self.tally.above += 1;
                        for line in &live.lines {
                            *gateway.above.entry(*line).or_default() += extra;
                        }
                    }
                    for line in gateway.ledger.settle(id, live.charged) {
                        let most =
                            self.budgets[line.0].limit.0 + gateway.above.get(&line).copied().unwrap_or(0);
                        assert!(
                            gateway.ledger.spent[&line] <= most,
                            "{} is overspent",
                            self.budgets[line.0].id
                        );
                    }
                    live.step = Step::Recorded;
                }
            },
            Step::Recorded => {
                assert!(gateway.bank.settle(id, NanoUsd(live.charged), now));
                assert!(
                    !gateway.bank.settle(id, NanoUsd(live.charged), now),
                    "a second time changes nothing"
                );
                gateway.live.swap_remove(place);
            }
        }
    }

    /// The process dies wherever its requests are, and comes back with what the disk has.
    fn crash(&mut self, at: usize) {
        self.tally.crashes += 1;
        let gateway = &mut self.gateways[at];
        gateway.live.clear();
        let open: Vec<(HoldId, i64)> =
            gateway.ledger.holds.iter().map(|(id, hold)| (*id, hold.amount)).collect();
        for (id, amount) in open {
            self.tally.lost += 1;
            for line in gateway.ledger.settle(id, amount) {
                let most = self.budgets[line.0].limit.0 + gateway.above.get(&line).copied().unwrap_or(0);
                // Where a hold was made smaller the disk still has all of it.
                let most = most + HOLD_MAX * i64::try_from(LIVE_MAX).unwrap();
                assert!(gateway.ledger.spent[&line] <= most, "{} is overspent", self.budgets[line.0].id);
                let over = gateway.ledger.spent[&line] - self.budgets[line.0].limit.0;
                let known = gateway.above.entry(line).or_default();
                *known = over.max(*known);
            }
        }
        gateway.bank = B::default();
        for (line, spent) in &gateway.ledger.spent {
            gateway.bank.load(&self.budgets[line.0], line.1, NanoUsd(*spent));
        }
    }

    fn all_adds_up(&self, at: usize) {
        let gateway = &self.gateways[at];
        assert!(gateway.ledger.holds.is_empty(), "a hold was never settled");
        assert_eq!(gateway.bank.held(self.now(at)), (0, 0), "something stays held");
        let of_all: i64 =
            gateway.ledger.spent.iter().filter(|(line, _)| line.0 == 0).map(|(_, spent)| spent).sum();
        assert_eq!(of_all, gateway.ledger.charged, "each record counts for the policy once");
    }
}

fn simulated(seed: u64, requests: u64) -> Tally {
    struct Tell(u64);
    impl Drop for Tell {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("replay it with CONSERVATION_SEED={}", self.0);
            }
        }
    }
    let tell = Tell(seed);
    let mut world = World::<Book>::new(seed);
    world.run(requests);
    drop(tell);
    world.tally
}

fn seeds(several: std::ops::Range<u64>) -> Vec<u64> {
    match std::env::var("CONSERVATION_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => several.collect(),
    }
}

#[test]
fn r26_money_is_conserved_whatever_happens() {
    for seed in seeds(0..10) {
        let tally = simulated(seed, 10_000);
        assert!(tally.refused > 0 && tally.admitted > 0, "{tally:?}");
    }
}

#[test]
fn r26_a_million_requests() {
    for seed in seeds(100..110) {
        println!("{seed}: {:?}", simulated(seed, 100_000));
    }
}

/// A budget of so much for the policy.
fn of_policy(limit: i64, calendar: Calendar) -> Arc<Budget> {
    let scope = Scope { kind: ScopeKind::Policy, name: "p".into() };
    Arc::new(Allowance::hard(NanoUsd(limit), calendar).budget("policy/p/policy".into(), scope))
}

fn demand(id: u128, hold: i64, budget: &Arc<Budget>) -> Demand {
    let budgets = vec![Arc::clone(budget)];
    let on_loss = OnStoreLoss::Refuse;
    Demand {
        id: HoldId(id),
        hold: NanoUsd(hold),
        tokens: 0,
        budgets,
        rates: Vec::new(),
        places: Vec::new(),
        on_loss,
    }
}

fn at(second: i64) -> Now {
    let mono = Mono(u64::try_from(second).unwrap() * 1_000_000_000);
    Now { wall: Timestamp::from_second(second).unwrap(), mono }
}

#[test]
fn r34_with_room_for_ten_a_thousand_at_once_are_ten() {
    for (hold, rest) in [(1, 0), (7, 6), (1_000_000, 999_999)] {
        let mut book = Book::default();
        let budget = of_policy(10 * hold + rest, Calendar::utc(Period::Month));
        let now = at(1_795_000_000);
        let admitted =
            (0..1_000).filter(|id| Bank::admit(&mut book, &demand(*id, hold, &budget), now).is_ok()).count();
        assert_eq!(admitted, 10, "{hold} {rest}");
    }
}

#[test]
fn r38_all_of_a_budget_can_be_spent_to_the_last_unit() {
    let mut draw = Draw(7);
    let mut book = Book::default();
    let budget = of_policy(1_000_000, Calendar::utc(Period::Month));
    let now = at(1_795_000_000);
    let mut left = 1_000_000;
    let mut id = 0;
    while left > 0 {
        id += 1;
        let hold = (1 + draw.amount(5_000)).min(left);
        assert_eq!(
            Bank::admit(&mut book, &demand(id, hold, &budget), now),
            Ok(()),
            "{left} left, {hold} asked"
        );
        let charged = if draw.one_in(3) { hold } else { draw.amount(hold) };
        assert!(Bank::settle(&mut book, HoldId(id), NanoUsd(charged), now));
        left -= charged;
    }
    assert!(Bank::admit(&mut book, &demand(id + 1, 1, &budget), now).is_err());
}

#[test]
fn r39_ten_thousand_windows_turn_over_once_with_requests_under_way_and_clocks_set_back() {
    let mut draw = Draw(39);
    let zones = ["UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Asia/Kolkata"];
    let mut turns = 0;
    for zone in zones {
        for period in [Period::Hour, Period::Day, Period::Week, Period::Month] {
            let calendar = Calendar { period, zone: jiff::tz::TimeZone::get(zone).unwrap() };
            let budget = of_policy(10, calendar.clone());
            let mut book = Book::default();
            let (mut second, mut id) = (1_795_000_000, 0_u128);
            let mut ask = |book: &mut Book, hold, second| {
                id += 1;
                (HoldId(id), Bank::admit(book, &demand(id, hold, &budget), at(second)).is_ok())
            };
            for _ in 0..500 {
                let window = calendar.window(at(second).wall);
                // Under way at the end: charged to the window that it was admitted in.
                let (early, held) = ask(&mut book, 6, window.end - 1);
                assert!(held, "{zone} {period}: the turn before is over");
                assert!(!ask(&mut book, 5, window.end - 1).1);
                let (next, held) = ask(&mut book, 4, window.end);
                assert!(held, "a new turn has all of it");
                let charged = draw.amount(6);
                assert!(Bank::settle(&mut book, early, NanoUsd(charged), at(window.end)));
                assert!(!ask(&mut book, 7, window.end).1, "4 of 10 are held in this turn");
                // The clock is set back: what was spent then still counts then, and now afterwards.
                let (back, held) = ask(&mut book, 10 - charged, window.end - 1);
                assert!(held, "{charged} of 10 are spent");
                assert!(!ask(&mut book, 1, window.end - 1).1, "not a second time");
                assert!(Bank::settle(&mut book, back, NanoUsd::ZERO, at(window.end)));
                assert!(Bank::settle(&mut book, next, NanoUsd::ZERO, at(window.end)));
                let (whole, held) = ask(&mut book, 10, window.end);
                assert!(held, "nothing of the turn before counts");
                assert!(Bank::settle(&mut book, whole, NanoUsd::ZERO, at(window.end)));
                assert_eq!(book.holds(), 0);
                second = window.end;
                turns += 1;
            }
        }
    }
    assert_eq!(turns, 10_000);
}
