//! A wire to a Redis that can be cut, and laid to another.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A wire. Dropped, it is cut.
pub(super) struct Wire {
    address: SocketAddr,
    far: Arc<Mutex<Option<SocketAddr>>>,
    cut: watch::Sender<u64>,
    task: tokio::task::JoinHandle<()>,
}

impl Wire {
    pub(super) async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let far = Arc::new(Mutex::new(Some(host(url))));
        let (cut, _) = watch::channel(0);
        let (target, cuts) = (Arc::clone(&far), cut.clone());
        let task = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let Some(far) = *target.lock().unwrap() else { continue };
                let mut cut = cuts.subscribe();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(far).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { address, far, cut, task }
    }

    pub(super) fn url(&self) -> String {
        format!("redis://{}/0", self.address)
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

pub(super) fn host(url: &str) -> SocketAddr {
    url.trim_start_matches("redis://").trim_end_matches("/0").parse().unwrap()
}
