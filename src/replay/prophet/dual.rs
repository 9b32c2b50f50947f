//! The programme's dual: a price for each limit and one for lateness turn it into requests that choose by themselves. At
//! any prices, what they then pay, less what the limits are worth, is at most the programme's optimum.
//!
//! Given the limits' prices, the best price of lateness is known: it is what being in time is worth to the first request
//! that may not be late, so one pass and one selection are an iteration. The limits' prices climb along the
//! subgradient, each with a step of its own (Duchi, Hazan and Singer 2011).

use super::programme::{Choice, Programme};

/// Most iterations, and how many without a gain are enough.
const ROUNDS: usize = 400;
const PATIENCE: usize = 50;
/// First step of a price, as a share of what a limit is worth when it is full.
const STEP: f64 = 0.3;
/// A gain below this share is none.
const GAIN: f64 = 2e-5;
/// What rounding may add to a sum.
const ROUNDING: f64 = 1e-9;

/// A lower value of the programme.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Value {
    /// In USD; infinite where nobody can be late so seldom.
    pub(super) usd: f64,
    /// Whether it is the optimum.
    pub(super) exact: bool,
}

/// The highest dual value found with at most `late_max` late requests.
pub(super) fn value(programme: &Programme, late_max: usize) -> Value {
    let Some(late_left) = late_max.checked_sub(programme.late_anyway()) else {
        return Value { usd: f64::INFINITY, exact: true };
    };
    let flat = Flat::new(programme);
    let worth = flat.worth();
    let mut prices = vec![0.0; programme.limits];
    let mut squares = vec![0.0; programme.limits];
    let mut pass = Pass::default();
    let mut best = 0.0_f64;
    let (mut best_prices, mut since, mut step) = (prices.clone(), 0, STEP);
    for _ in 0..ROUNDS {
        let usd = pass.run(&flat, &prices, late_left);
        // With no limit that counts, requests choose by themselves anyway.
        let fits = pass
            .taken
            .iter()
            .zip(&prices)
            .all(|(taken, price)| *taken <= 1.0 && (*price <= 0.0 || *taken >= 1.0));
        if fits {
            return Value { usd: usd * (1.0 - ROUNDING), exact: true };
        }
        if usd > best * (1.0 + GAIN) {
            since = 0;
        } else {
            since += 1;
        }
        if usd > best {
            best = usd;
            best_prices.copy_from_slice(&prices);
        }
        if since >= PATIENCE {
            // Smaller steps from the best place, until they are too small to matter.
            if step < STEP / 1_000.0 {
                break;
            }
            step /= 4.0;
            since = PATIENCE / 2;
            prices.copy_from_slice(&best_prices);
            continue;
        }
        for (((price, square), taken), worth) in
            prices.iter_mut().zip(&mut squares).zip(&pass.taken).zip(&worth)
        {
            // Held to ±1: a first step that is far off would make all later ones too small to come back.
            let over = (taken - 1.0).clamp(-1.0, 1.0);
            *square += over * over;
            if *square > 0.0 {
                *price = (*price + step * worth * over / f64::sqrt(*square)).max(0.0);
            }
        }
    }
    Value { usd: best * (1.0 - ROUNDING), exact: false }
}

/// The programme in three runs of memory: a pass reads it from one end to the other.
struct Flat<'p> {
    choices: Vec<(&'p Choice, u32)>,
    takes: Vec<(u32, f64)>,
    ends: Vec<usize>,
    limits: usize,
}

impl<'p> Flat<'p> {
    fn new(programme: &'p Programme) -> Self {
        let mut flat = Self {
            choices: Vec::new(),
            takes: Vec::new(),
            ends: Vec::with_capacity(programme.choices.len()),
            limits: programme.limits,
        };
        for choices in &programme.choices {
            for choice in choices {
                flat.takes.extend_from_slice(&choice.takes);
                flat.choices.push((choice, u32::try_from(flat.takes.len()).unwrap_or(u32::MAX)));
            }
            flat.ends.push(flat.choices.len());
        }
        flat
    }

    /// What a full limit costs those who fill it, on average: the measure of its price.
    fn worth(&self) -> Vec<f64> {
        let mut sums = vec![(0.0, 0.0); self.limits];
        for (choice, _) in &self.choices {
            for (limit, share) in &choice.takes {
                if let Some((cost, shares)) = sums.get_mut(*limit as usize) {
                    *cost += choice.cost;
                    *shares += share;
                }
            }
        }
        // A node's work costs nothing: then what its requests would cost elsewhere is the measure.
        let elsewhere = self.elsewhere();
        let mut worth: Vec<f64> =
            sums.into_iter().map(|(cost, shares)| if shares > 0.0 { cost / shares } else { 0.0 }).collect();
        for (worth, other) in worth.iter_mut().zip(elsewhere) {
            *worth = worth.max(other);
        }
        worth
    }

    /// What those who could fill a limit pay at least to be in time elsewhere, on average.
    fn elsewhere(&self) -> Vec<f64> {
        let mut sums = vec![(0.0, 0.0); self.limits];
        let mut from = 0;
        for end in &self.ends {
            let own = self.choices.get(from..*end).unwrap_or_default();
            from = *end;
            let least = |without: u32| {
                let others = own
                    .iter()
                    .filter(|(choice, _)| !choice.late && choice.takes.iter().all(|take| take.0 != without));
                others.map(|(choice, _)| choice.cost).fold(f64::INFINITY, f64::min)
            };
            for (limit, share) in own.iter().flat_map(|(choice, _)| &choice.takes) {
                let elsewhere = least(*limit);
                if let Some((cost, shares)) = sums.get_mut(*limit as usize).filter(|_| elsewhere.is_finite())
                {
                    *cost += elsewhere;
                    *shares += share;
                }
            }
        }
        sums.into_iter().map(|(cost, shares)| if shares > 0.0 { cost / shares } else { 0.0 }).collect()
    }
}

/// One iteration's results.
#[derive(Default)]
struct Pass {
    /// What is taken of each limit.
    taken: Vec<f64>,
    /// What being late would save, by request that could be either: the saving, and its two choices.
    savings: Vec<(f64, usize, usize)>,
}

impl Pass {
    /// The dual value at `prices`, with the best price of lateness.
    fn run(&mut self, flat: &Flat<'_>, prices: &[f64], late_left: usize) -> f64 {
        self.taken.clear();
        self.taken.resize(prices.len(), 0.0);
        self.savings.clear();
        let mut usd = -prices.iter().sum::<f64>();
        let mut from = 0;
        let mut taken_from = 0;
        for end in &flat.ends {
            let mut least = [(f64::INFINITY, usize::MAX); 2];
            for at in from..*end {
                let Some((choice, taken_to)) = flat.choices.get(at) else { break };
                let takes = flat.takes.get(taken_from..*taken_to as usize).unwrap_or_default();
                taken_from = *taken_to as usize;
                let price = |limit: u32| prices.get(limit as usize).copied().unwrap_or(0.0);
                let extra: f64 = takes.iter().map(|(limit, share)| price(*limit) * share).sum();
                let cost = choice.cost + extra;
                let slot = &mut least[usize::from(choice.late)];
                if cost < slot.0 {
                    *slot = (cost, at);
                }
            }
            from = *end;
            let [in_time, late] = least;
            if in_time.1 == usize::MAX {
                usd += late.0;
                self.take(flat, late.1);
            } else {
                usd += in_time.0;
                if late.0 < in_time.0 {
                    self.savings.push((in_time.0 - late.0, in_time.1, late.1));
                } else {
                    self.take(flat, in_time.1);
                }
            }
        }
        let count = late_left.min(self.savings.len());
        if count > 0 && count < self.savings.len() {
            self.savings.select_nth_unstable_by(count - 1, |a, b| b.0.total_cmp(&a.0));
        }
        usd -= self.savings.iter().take(count).map(|saving| saving.0).sum::<f64>();
        let savings = std::mem::take(&mut self.savings);
        for (rank, (_, in_time, late)) in savings.iter().enumerate() {
            self.take(flat, if rank < count { *late } else { *in_time });
        }
        self.savings = savings;
        usd
    }

    fn take(&mut self, flat: &Flat<'_>, choice: usize) {
        for (limit, share) in flat.choices.get(choice).map(|(choice, _)| &choice.takes).into_iter().flatten()
        {
            if let Some(taken) = self.taken.get_mut(*limit as usize) {
                *taken += share;
            }
        }
    }
}
