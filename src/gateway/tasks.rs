//! The only place that starts tasks, so that stopping can wait for all of them and no panic goes unseen.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio_util::task::TaskTracker;

use super::workers::{Place, Workers};

/// Told of each panic: the task's name and what it said.
type OnPanic = Box<dyn Fn(&'static str, &str) + Send + Sync>;

/// A group of tasks. Clones are the same group.
#[derive(Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    panics: Arc<Panics>,
    workers: Option<Workers>,
}

struct Panics {
    count: AtomicU64,
    on_panic: Option<OnPanic>,
}

pin_project_lite::pin_project! {
    /// A task whose panic ends it alone. No async block, which would have room for the task twice.
    struct Caught<F> {
        #[pin]
        task: F,
        name: &'static str,
        panics: Arc<Panics>,
    }
}

impl<F: Future> Future for Caught<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        match catch_unwind(AssertUnwindSafe(|| this.task.poll(cx))) {
            Ok(polled) => polled.map(drop),
            Err(payload) => {
                this.panics.record(this.name, payload.as_ref());
                Poll::Ready(())
            }
        }
    }
}

impl Tasks {
    /// An empty group that only counts panics.
    pub fn new() -> Self {
        Self::with_panics(None)
    }

    /// An empty group that also reports each panic, say to a counter and the log.
    pub fn reporting(on_panic: impl Fn(&'static str, &str) + Send + Sync + 'static) -> Self {
        Self::with_panics(Some(Box::new(on_panic)))
    }

    fn with_panics(on_panic: Option<OnPanic>) -> Self {
        let panics = Arc::new(Panics { count: AtomicU64::new(0), on_panic });
        Self { tracker: TaskTracker::new(), panics, workers: None }
    }

    /// Another empty group, to be waited for on its own, whose panics are counted with these.
    pub fn group(&self) -> Self {
        Self { tracker: TaskTracker::new(), ..self.clone() }
    }

    /// Another empty group, as [`group`](Self::group) makes, that spreads over `workers`.
    pub fn over(&self, workers: Workers) -> Self {
        Self { workers: Some(workers), ..self.group() }
    }

    /// Starts a task. If it panics it ends, and nothing else does. It runs to its end unless the runtime stops first.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future + Send + 'static,
    {
        self.tracker.spawn(Caught { task, name, panics: Arc::clone(&self.panics) });
    }

    /// Starts the task that `make` makes, with its place among the workers; or here, if there are none.
    pub fn spread<F>(&self, name: &'static str, make: impl FnOnce(Place) -> F)
    where
        F: Future + Send + 'static,
    {
        let Some(workers) = &self.workers else { return self.spawn(name, make(Place::default())) };
        let (worker, place) = workers.place();
        let task = make(place);
        self.tracker.spawn_on(Caught { task, name, panics: Arc::clone(&self.panics) }, worker);
    }

    /// How many tasks of this group run.
    pub fn count(&self) -> usize {
        self.tracker.len()
    }

    /// How many tasks have panicked, over all groups that came from the same first one.
    pub fn panics(&self) -> u64 {
        self.panics.count.load(Ordering::Relaxed)
    }

    /// Waits until no task of this group runs. Tasks may still be started meanwhile, and are waited for too. Dropping
    /// the future stops nothing but the waiting.
    pub async fn drained(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Tasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tasks").field("count", &self.count()).field("panics", &self.panics()).finish()
    }
}

/// Lets hyper start one task for each HTTP/2 stream.
impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn("stream", task);
    }
}

impl Panics {
    fn record(&self, name: &'static str, payload: &(dyn Any + Send)) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if let Some(on_panic) = &self.on_panic {
            let said = payload.downcast_ref::<&str>().copied();
            let said = said.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
            on_panic(name, said.unwrap_or("a panic without words"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn r17_a_panic_ends_its_task_alone_and_is_counted() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let tasks = {
            let heard = Arc::clone(&heard);
            Tasks::reporting(move |name, said| heard.lock().expect("lock").push(format!("{name}: {said}")))
        };
        let group = tasks.group();
        let (reply, replied) = tokio::sync::oneshot::channel();
        group.spawn("bad", async { panic!("number {}", 7) });
        group.spawn("good", async move { reply.send(1).expect("somebody waits") });
        group.drained().await;
        assert_eq!(replied.await, Ok(1));
        assert_eq!((tasks.panics(), group.panics(), group.count()), (1, 1, 0));
        assert_eq!(*heard.lock().expect("lock"), ["bad: number 7"]);
    }

    #[tokio::test]
    async fn r57_drained_waits_for_every_task() {
        let tasks = Tasks::new();
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        tasks.spawn("waits", gone);
        let waiting = tasks.drained();
        tokio::pin!(waiting);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        go.send(()).expect("the task waits");
        waiting.await;
        assert_eq!(tasks.count(), 0);
    }
}
