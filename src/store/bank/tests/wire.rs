//! A wire to a Redis that can be cut, and laid to another.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A wire. Dropped, it is cut.
pub(super) struct Wire {
    address: SocketAddr,
    far: Arc<Mutex<Option<SocketAddr>>>,
    cut: watch::Sender<u64>,
    delay: Arc<Mutex<Duration>>,
    task: tokio::task::JoinHandle<()>,
}

impl Wire {
    pub(super) async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let far = Arc::new(Mutex::new(Some(host(url))));
        let (cut, _) = watch::channel(0);
        let (target, cuts) = (Arc::clone(&far), cut.clone());
        let delay = Arc::new(Mutex::new(Duration::ZERO));
        let delays = Arc::clone(&delay);
        let task = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let Some(far) = *target.lock().unwrap() else { continue };
                let (mut cut, delay) = (cuts.subscribe(), Arc::clone(&delays));
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(far).await else { return };
                    let ((mut from_near, mut to_near), (mut from_far, mut to_far)) =
                        (near.split(), far.split());
                    tokio::select! {
                        _ = copy(&mut from_near, &mut to_far) => {}
                        _ = slowly(&mut from_far, &mut to_near, &delay) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { address, far, cut, delay, task }
    }

    pub(super) fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// Answers take so much longer from now on.
    pub(super) fn delay(&self, by: Duration) {
        *self.delay.lock().unwrap() = by;
    }

    /// Nothing goes through any more.
    pub(super) fn cut(&self) {
        *self.far.lock().unwrap() = None;
        self.cut.send_modify(|times| *times += 1);
    }

    /// Ends at another Redis from now on.
    pub(super) fn lay(&self, url: &str) {
        self.cut();
        *self.far.lock().unwrap() = Some(host(url));
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

async fn slowly(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    delay: &Mutex<Duration>,
) -> std::io::Result<()> {
    let mut some = vec![0; 64 << 10];
    loop {
        let length = from.read(&mut some).await?;
        let wait = *delay.lock().unwrap();
        if length == 0 {
            return Ok(());
        }
        tokio::time::sleep(wait).await;
        to.write_all(&some[..length]).await?;
    }
}

pub(super) fn host(url: &str) -> SocketAddr {
    url.trim_start_matches("redis://").trim_end_matches("/0").parse().unwrap()
}
