//! The threads that connections are served by: one a core, each with a runtime of its own.
//!
//! A connection stays with the worker it was given to, and so do its requests, their attempts, and the connections these use
//! (`upstream::http1::Pool`): the thread that waits for a token is the one that reads, meters and writes it. In one runtime of
//! many threads whoever hears of a token wakes another thread to help, which on a quiet machine costs as much as the token does.
//! What it costs in return: no work is taken off a busy worker. So connections are shared out evenly, but for a few: together these
//! are cheaper than apart, since a thread that wakes for one token finds the next ones there.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A worker is given so many connections in a row before the next one is. As many streams of 100 tokens a second each keep a core
/// busy for a tenth of its time.
const TOGETHER: usize = 32;
/// What an HTTP/2 connection counts as: it may carry as many requests.
const HTTP2_WEIGHT: usize = TOGETHER;
/// How long what blocks a worker's helpers, such as the lookup of a name, may go on once the worker is told to end.
const BLOCKED_MAX: Duration = Duration::from_millis(100);

/// All workers. Clones are the same ones; they end with the last.
#[derive(Debug, Clone)]
pub struct Workers {
    all: Arc<[Worker]>,
    _stop: Arc<DropGuard>,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    /// Its connections, each by what it counts as.
    load: Arc<AtomicUsize>,
}

/// A connection's place at a worker, which ends with this value; or none, where there are no workers.
#[derive(Debug, Default)]
pub struct Place {
    at: Option<Arc<AtomicUsize>>,
    weight: AtomicUsize,
}

impl Workers {
    /// Starts `count` of them, or as many as this process may use cores.
    ///
    /// # Errors
    ///
    /// The system has no thread or no descriptor left.
    pub fn start(count: Option<NonZero<usize>>) -> io::Result<Self> {
        let count = count.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get);
        let stop = CancellationToken::new();
        let all = (0..count).map(|number| Worker::start(number, stop.clone())).collect::<io::Result<_>>()?;
        Ok(Self { all, _stop: Arc::new(stop.drop_guard()) })
    }

    /// The first of the workers with the fewest full rows of connections, and a place there for one more.
    pub(super) fn place(&self) -> (&Handle, Place) {
        let rows = |worker: &&Worker| worker.load.load(Ordering::Relaxed) / TOGETHER;
        // There is at least one, and of several the first is found.
        let worker = self.all.iter().min_by_key(rows).unwrap_or(&self.all[0]);
        worker.load.fetch_add(1, Ordering::Relaxed);
        (&worker.runtime, Place { at: Some(Arc::clone(&worker.load)), weight: AtomicUsize::new(1) })
    }
}

impl Worker {
    fn start(number: usize, stop: CancellationToken) -> io::Result<Self> {
        // Signals and children are the main thread's.
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = runtime.handle().clone();
        thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            runtime.block_on(stop.cancelled());
            runtime.shutdown_timeout(BLOCKED_MAX);
        })?;
        Ok(Self { runtime: handle, load: Arc::default() })
    }
}

impl Place {
    /// The connection turned out to speak HTTP/2.
    pub(super) fn is_http2(&self) {
        if let Some(load) = &self.at {
            let before = self.weight.swap(HTTP2_WEIGHT, Ordering::Relaxed);
            load.fetch_add(HTTP2_WEIGHT - before, Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(load) = &self.at {
            load.fetch_sub(*self.weight.get_mut(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(workers: &Workers) -> Vec<usize> {
        workers.all.iter().map(|it| it.load.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn a_few_connections_stay_together_and_many_are_shared_out() {
        let workers = Workers::start(NonZero::new(3)).expect("threads");
        let mut places: Vec<_> = (0..TOGETHER).map(|_| workers.place().1).collect();
        assert_eq!(loads(&workers), [32, 0, 0]);
        places.extend((0..TOGETHER * 2).map(|_| workers.place().1));
        assert_eq!(loads(&workers), [32, 32, 32]);
        places.extend((0..3000).map(|_| workers.place().1));
        let loads_now = loads(&workers);
        assert!(loads_now.iter().all(|load| load.abs_diff(1032) < TOGETHER), "{loads_now:?}");
        drop(places);
        assert_eq!(loads(&workers), [0, 0, 0]);
    }

    #[test]
    fn connections_of_many_requests_are_shared_out_at_once() {
        let workers = Workers::start(NonZero::new(3)).expect("threads");
        let places: Vec<_> = (0..6)
            .map(|_| {
                let place = workers.place().1;
                place.is_http2();
                place
            })
            .collect();
        assert_eq!(loads(&workers), [64, 64, 64]);
        drop(places);
        assert_eq!(loads(&workers), [0, 0, 0]);
    }

    #[test]
    fn workers_end_with_the_last_that_has_them() {
        let workers = Workers::start(NonZero::new(1)).expect("threads");
        let (sent, seen) = std::sync::mpsc::sync_channel::<()>(0);
        workers.clone().place().0.spawn(async move {
            std::future::pending::<()>().await;
            drop(sent);
        });
        drop(workers);
        // Its task is dropped with it.
        assert_eq!(seen.recv(), Err(std::sync::mpsc::RecvError));
    }
}
