//! A fake provider: a listener on loopback with a script, a memory, and a life that the test can end and renew.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc as blocking,
    },
    thread,
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    Dialect, Ending, Recorded, Reply,
    connection::{Received, serve},
    gate::PATIENCE,
};

/// Requests remembered; later ones are answered and counted, but not kept.
const RECORDED_MAX: usize = 100_000;

/// What a gateway says where it asks on its own account.
const PROBE: &str = "You check whether a service can be reached.";

/// Connections the kernel holds for a fake that has not accepted them yet.
const BACKLOG: u32 = 4096;

/// What a fake does with a connection before it reads anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Reads requests and answers them.
    Serve,
    /// Closes it at once.
    Close,
    /// Resets it at once.
    Reset,
    /// Leaves it with the kernel: connected, never read, never answered.
    Ignore,
}

type Script = Arc<dyn Fn(&Received) -> Reply + Send + Sync>;

/// A scripted provider on `127.0.0.1`. It lives until it is dropped.
#[derive(Debug)]
pub struct FakeProvider {
    address: SocketAddr,
    shared: Arc<Shared>,
    control: mpsc::Sender<Command>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
enum Command {
    Greet(Greeting, blocking::SyncSender<()>),
    Kill(blocking::SyncSender<()>),
    Revive(blocking::SyncSender<()>),
}

impl FakeProvider {
    /// Starts a fake that answers 404 until it is told otherwise.
    #[expect(clippy::unused_async, reason = "callers await it as they await the gateway's start")]
    pub async fn start() -> Self {
        Self::start_blocking()
    }

    /// Starts a fake that speaks `dialect`.
    pub async fn speaking(dialect: Dialect) -> Self {
        let fake = Self::start().await;
        fake.speak(dialect);
        fake
    }

    /// As [`FakeProvider::start`], from outside a runtime; `port` 0 of loopback.
    pub fn start_blocking() -> Self {
        Self::on_port(0).expect("a free port on loopback")
    }

    /// Starts a fake on that port of loopback.
    pub fn on_port(port: u16) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::new());
        let (control, commands) = mpsc::channel(4);
        let (told, bound) = blocking::sync_channel(1);
        let state = Arc::clone(&shared);
        let thread = thread::Builder::new().name("fake-provider".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a small runtime").block_on(live(port, told, commands, state));
        })?;
        let address = bound.recv().map_err(std::io::Error::other)??;
        Ok(Self { address, shared, control, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Every request gets this answer.
    pub fn script(&self, reply: Reply) {
        self.on(move |_| reply.clone());
    }

    /// Every request gets what `answer` makes of it.
    pub fn on(&self, answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) {
        *lock(&self.shared.script) = Arc::new(answer);
    }

    /// Every request is answered as that provider would.
    pub fn speak(&self, dialect: Dialect) {
        self.on(move |request| dialect.answer(request));
    }

    /// The next request gets this answer, before the script; several queue up.
    pub fn enqueue(&self, reply: Reply) {
        lock(&self.shared.queue).push_back(reply);
    }

    /// What new connections meet from now on.
    pub fn greet(&self, greeting: Greeting) {
        self.command(|done| Command::Greet(greeting, done));
    }

    /// Every caller's request so far, in the order of arrival. The gateway's own probes come when they like, and so are answered by
    /// the script but neither counted nor given what is queued: see [`FakeProvider::probed`].
    pub fn recorded(&self) -> Vec<Recorded> {
        lock(&self.shared.records).clone()
    }

    /// The latest request; panics where none came.
    pub fn last(&self) -> Recorded {
        lock(&self.shared.records).last().cloned().expect("a request has come")
    }

    /// Every probe of a gateway's own so far.
    pub fn probed(&self) -> Vec<Recorded> {
        lock(&self.shared.probes).clone()
    }

    /// How many requests of callers have come.
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::Acquire)
    }

    /// How many connections have been accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }

    /// How many requests broke off before their end.
    pub fn unfinished(&self) -> usize {
        self.shared.unfinished.load(Ordering::Relaxed)
    }

    /// Requests whose answer has not ended yet.
    pub fn open(&self) -> usize {
        lock(&self.shared.records).iter().filter(|record| record.ending == Ending::Open).count()
    }

    /// Answers from now on without remembering: for a fake that runs for long. Requests are still counted.
    pub fn keep_no_records(&self) {
        self.shared.recorded_max.store(0, Ordering::Relaxed);
    }

    /// Forgets the requests so far; the queue and the script stay.
    pub fn forget(&self) {
        // One that came between the two would have a place that is not its own, and never be seen to end.
        let mut records = lock(&self.shared.records);
        records.clear();
        self.shared.count.store(0, Ordering::Release);
    }

    /// Waits until the records are as `wanted`; panics with `what` when they never are. Cancel safe.
    pub async fn until(&self, what: &str, wanted: impl Fn(&[Recorded]) -> bool) {
        let mut changes = self.shared.changes.subscribe();
        let seen = tokio::time::timeout(PATIENCE, async {
            while !wanted(&lock(&self.shared.records)) {
                changes.changed().await.expect("the fake is alive");
            }
        });
        assert!(seen.await.is_ok(), "never seen by the fake provider: {what}");
    }

    /// Waits until a probe has come.
    pub async fn until_probed(&self) {
        self.until("a probe", |_| !lock(&self.shared.probes).is_empty()).await;
    }

    /// Waits until `count` requests have come.
    pub async fn arrived(&self, count: usize) {
        self.until(&format!("{count} requests"), |records| records.len() >= count).await;
    }

    /// Ends the listener and every connection at once, as a killed process would. Connecting is refused from
    /// the moment this returns; the port stays reserved.
    pub fn kill(&self) {
        self.command(Command::Kill);
    }

    /// Listens again on the same port, with the script and the records it had.
    pub fn revive(&self) {
        self.command(Command::Revive);
    }

    fn command(&self, command: impl FnOnce(blocking::SyncSender<()>) -> Command) {
        let (done, wait) = blocking::sync_channel(1);
        self.control.try_send(command(done)).expect("the fake takes one command at a time");
        wait.recv().expect("the fake is alive");
    }
}

impl Drop for FakeProvider {
    fn drop(&mut self) {
        // A closed control channel ends the thread's loop.
        self.control = mpsc::channel(1).0;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the test and the fake's own thread both see.
pub(crate) struct Shared {
    script: Mutex<Script>,
    queue: Mutex<VecDeque<Reply>>,
    records: Mutex<Vec<Recorded>>,
    probes: Mutex<Vec<Recorded>>,
    changes: watch::Sender<()>,
    count: AtomicUsize,
    /// The place of the next request among all, probes too.
    next: AtomicUsize,
    connections: AtomicUsize,
    recorded_max: AtomicUsize,
    pub(crate) unfinished: AtomicUsize,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Shared {
    fn new() -> Self {
        Self {
            script: Mutex::new(Arc::new(|_: &Received| {
                Reply::error(404, "no_script", "nothing is scripted")
            })),
            queue: Mutex::default(),
            records: Mutex::default(),
            probes: Mutex::default(),
            changes: watch::Sender::new(()),
            count: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            recorded_max: AtomicUsize::new(RECORDED_MAX),
            unfinished: AtomicUsize::new(0),
        }
    }

    pub(crate) fn reply_to(&self, request: &Received) -> Reply {
        if !is_probe(request)
            && let Some(reply) = lock(&self.queue).pop_front()
        {
            return reply;
        }
        let script = Arc::clone(&lock(&self.script));
        script(request)
    }

    pub(crate) fn record(&self, request: impl FnOnce(usize) -> Received) -> Arc<Received> {
        let request = Arc::new(request(self.next.fetch_add(1, Ordering::AcqRel)));
        let mut records = lock(self.records_of(&request));
        if !is_probe(&request) {
            self.count.fetch_add(1, Ordering::AcqRel);
        }
        if records.len() < self.recorded_max.load(Ordering::Relaxed) {
            records.push(Recorded { request: Arc::clone(&request), ending: Ending::Open });
        }
        drop(records);
        self.changes.send_replace(());
        request
    }

    pub(crate) fn end(&self, request: &Arc<Received>, ending: Ending) {
        let mut records = lock(self.records_of(request));
        // The test may have made the fake forget it. All come and go on one thread, in the order of their numbers.
        let place = records.binary_search_by_key(&request.index, |record| record.request.index);
        let record = place.ok().and_then(|place| records.get_mut(place));
        if let Some(record) = record.filter(|record| record.ending == Ending::Open) {
            record.ending = ending;
        }
        drop(records);
        self.changes.send_replace(());
    }

    fn records_of(&self, request: &Received) -> &Mutex<Vec<Recorded>> {
        if is_probe(request) { &self.probes } else { &self.records }
    }
}

/// Whether a gateway asks on its own account, to see whether anybody is there.
fn is_probe(request: &Received) -> bool {
    memchr::memmem::find(&request.body, PROBE.as_bytes()).is_some()
}

/// A fake's whole life on its own thread.
async fn live(
    port: u16,
    told: blocking::SyncSender<std::io::Result<SocketAddr>>,
    mut commands: mpsc::Receiver<Command>,
    shared: Arc<Shared>,
) {
    let door = bind(port).and_then(|socket| socket.listen(BACKLOG));
    let address = door.as_ref().map_err(|error| std::io::Error::from(error.kind()));
    let _ = told.send(address.and_then(TcpListener::local_addr));
    let Ok(listener) = door else { return };
    let port = listener.local_addr().map_or(port, |address| address.port());
    let mut door = Door::Open(listener);
    let mut connections = JoinSet::new();
    let mut greeting = Greeting::Serve;
    loop {
        tokio::select! {
                    command = commands.recv() => match command {
                        None => return,
                        Some(Command::Greet(new, done)) => {
                            greeting = new;
                            let _ = done.send(());
                        }
                        Some(Command::Kill(done)) => {
                            // Bound but not listening: the port is ours still, and connecting is refused.
                            drop(door);
                            connections.shutdown().await;
                            door = Door::Reserved(bind(port).expect("the port was ours a moment ago"));
                            let _ = done.send(());
                        }
                        Some(Command::Revive(done)) => {
                            if let Door::Reserved(socket) = door {
                                door = Door::Open(socket.listen(BACKLOG).expect("the reserved port can listen"));
                            }
                            let _ = done.send(());
                        }
                    },
                    Ok(stream) = door.accept(), if greeting != Greeting::Ignore => {
         welcome(stream, greeting, &shared, &mut connections);
        },
                    Some(_) = connections.join_next() => {}
                }
    }
}

enum Door {
    Open(TcpListener),
    Reserved(TcpSocket),
}

impl Door {
    async fn accept(&self) -> std::io::Result<TcpStream> {
        match self {
            Self::Open(listener) => listener.accept().await.map(|(stream, _)| stream),
            Self::Reserved(_) => std::future::pending().await,
        }
    }
}

fn welcome(stream: TcpStream, greeting: Greeting, shared: &Arc<Shared>, connections: &mut JoinSet<()>) {
    let number = shared.connections.fetch_add(1, Ordering::AcqRel);
    stream.set_nodelay(true).expect("an open socket takes the option");
    match greeting {
        Greeting::Serve | Greeting::Ignore => {
            connections.spawn(serve(stream, number, Arc::clone(shared)));
        }
        Greeting::Close => drop(stream),
        Greeting::Reset => stream.set_zero_linger().expect("an open socket takes the option"),
    }
}

fn bind(port: u16) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    Ok(socket)
}

/// A test that panicked elsewhere must not hide its own message behind a poisoned lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
