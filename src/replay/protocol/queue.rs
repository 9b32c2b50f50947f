//! Work for all cores: each job's result stands in its own place, so that what comes out does not depend on who did what.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Does `work` for each job on `threads` threads (0: one a core), and says after each how many are done, of how many.
pub fn map<J: Sync, R: Send>(
    jobs: &[J],
    threads: usize,
    work: impl Fn(&J) -> R + Sync,
    done: &(dyn Fn(usize, usize) + Sync),
) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = if threads == 0 { cores } else { threads }.clamp(1, jobs.len().max(1));
    let (next, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results: Vec<Mutex<Option<R>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    let take = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (Some(job), Some(place)) = (jobs.get(at), results.get(at)) else { break };
            let result = work(job);
            *place.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(result);
            done(finished.fetch_add(1, Ordering::Relaxed) + 1, jobs.len());
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(take);
        }
        take();
    });
    // A thread that fails takes the whole run with it: every place is filled here.
    let results = results.into_iter().map(|place| place.into_inner().unwrap_or_default());
    results.flatten().collect()
}
