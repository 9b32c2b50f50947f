//! The threads that connections are served by: one a core, each with a runtime of its own.
//!
//! A connection stays with the worker it was given to, and so do its requests, their attempts, and the connections these use
//! (`upstream::http1::Pool`): the thread that waits for a token is the one that reads, meters and writes it. In one runtime of
//! many threads whoever hears of a token wakes another thread to help, which on a quiet machine costs as much as the token does.
//! What it costs in return: work is not taken off a busy worker, so that connections are shared out as evenly as they can be.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

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
    connections: Arc<AtomicUsize>,
}

/// A place at a worker, which ends with this value.
#[derive(Debug)]
pub struct Place {
    connections: Arc<AtomicUsize>,
}

impl Workers {
    /// Starts `count` of them, at least one.
    ///
    /// # Errors
    ///
    /// The system has no thread or no descriptor left.
    pub fn start(count: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let all =
            (0..count.max(1)).map(|number| Worker::start(number, stop.clone())).collect::<io::Result<_>>()?;
        Ok(Self { all, _stop: Arc::new(stop.drop_guard()) })
    }

    /// The worker with the fewest connections, and a place there for one more.
    pub(super) fn place(&self) -> (&Handle, Place) {
        // A turn later another may have fewer: it evens out.
        let load = |worker: &&Worker| worker.connections.load(Ordering::Relaxed);
        // There is at least one.
        let worker = self.all.iter().min_by_key(load).unwrap_or(&self.all[0]);
        worker.connections.fetch_add(1, Ordering::Relaxed);
        (&worker.runtime, Place { connections: Arc::clone(&worker.connections) })
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
        Ok(Self { runtime: handle, connections: Arc::default() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_go_where_the_fewest_are() {
        let workers = Workers::start(3).expect("threads");
        let open = || workers.all.iter().map(|it| it.connections.load(Ordering::Relaxed)).collect::<Vec<_>>();
        let mut places: Vec<_> = (0..7).map(|_| workers.place().1).collect();
        assert_eq!(open(), [3, 2, 2]);
        places.remove(2);
        places.remove(0);
        assert_eq!(open(), [2, 2, 1]);
        places.push(workers.place().1);
        assert_eq!(open(), [2, 2, 2]);
        drop(places);
        assert_eq!(open(), [0, 0, 0]);
    }

    #[test]
    fn workers_end_with_the_last_that_has_them() {
        let workers = Workers::start(0).expect("threads");
        let (sent, seen) = std::sync::mpsc::channel::<()>();
        workers.clone().place().0.spawn(async move {
            std::future::pending::<()>().await;
            drop(sent);
        });
        drop(workers);
        // Its task is dropped with it.
        assert_eq!(seen.recv(), Err(std::sync::mpsc::RecvError));
    }
}
