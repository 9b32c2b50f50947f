//! The linear programme: one choice for each request, at most so many late ones, and limits that choices share.

/// A way to serve a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    /// In USD.
    pub(super) cost: f64,
    /// Whether it counts as late.
    pub(super) late: bool,
    /// Of which limits it takes what share.
    pub(super) takes: smallvec::SmallVec<[(u32, f64); 6]>,
}

/// All requests' choices; the limits are 1 each.
#[derive(Debug, Clone, Default)]
pub(super) struct Programme {
    /// By request; there is at least one.
    pub(super) choices: Vec<Vec<Choice>>,
    /// How many limits there are.
    pub(super) limits: usize,
}

impl Programme {
    /// Leaves out limits that no choice of choices can break, and then choices that others of their kind beat.
    pub(super) fn prune(&mut self) {
        let mut most = vec![0.0; self.limits];
        let mut last = vec![(usize::MAX, 0.0_f64); self.limits];
        for (request, choices) in self.choices.iter().enumerate() {
            // Of one request's choices, one is made.
            for (limit, share) in choices.iter().flat_map(|choice| &choice.takes) {
                let (Some(most), Some(last)) = (most.get_mut(*limit as usize), last.get_mut(*limit as usize))
                else {
                    continue;
                };
                let known = if last.0 == request { last.1 } else { 0.0 };
                *most += (share - known).max(0.0);
                *last = (request, known.max(*share));
            }
        }
        let mut kept = 0;
        let numbers: Vec<Option<u32>> = most
            .iter()
            .map(|most| {
                (*most > 1.0).then(|| {
                    kept += 1;
                    kept - 1
                })
            })
            .collect();
        self.limits = kept as usize;
        for choices in &mut self.choices {
            for choice in choices.iter_mut() {
                choice.takes.retain(|(limit, _)| numbers.get(*limit as usize).is_some_and(Option::is_some));
                for (limit, _) in &mut choice.takes {
                    *limit = numbers.get(*limit as usize).copied().flatten().unwrap_or(0);
                }
            }
            thin(choices);
        }
    }

    /// Requests that are late whatever is done.
    pub(super) fn late_anyway(&self) -> usize {
        self.choices.iter().filter(|choices| choices.iter().all(|choice| choice.late)).count()
    }
}

/// Keeps of the choices that take nothing of any limit the cheapest that is in time and the cheapest that is late, and of
/// the others those that are cheaper still.
fn thin(choices: &mut Vec<Choice>) {
    let free = |late: bool| {
        let those = choices.iter().filter(|choice| choice.takes.is_empty() && (!choice.late || late));
        those.map(|choice| choice.cost).fold(f64::INFINITY, f64::min)
    };
    let (in_time, late) = (free(false), free(true));
    let mut seen = [false; 2];
    choices.retain(|choice| {
        let least = if choice.late { late } else { in_time };
        if !choice.takes.is_empty() {
            return choice.cost < least;
        }
        // A late choice that costs as much as one in time is of no use.
        let best = choice.cost <= least && !(choice.late && late >= in_time);
        best && !std::mem::replace(&mut seen[usize::from(choice.late)], true)
    });
}
