//! A cable to a server of TCP that can be cut and laid again, to the same server or another.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A cable. Dropped, it is cut.
#[derive(Debug)]
pub struct Cable {
    address: SocketAddr,
    far: Arc<Mutex<Option<SocketAddr>>>,
    cut: watch::Sender<u64>,
    task: tokio::task::JoinHandle<()>,
}

impl Cable {
    /// A cable to the server at `far`.
    pub async fn to(far: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound one");
        let far = Arc::new(Mutex::new(Some(far)));
        let (cut, _) = watch::channel(0);
        let (target, cuts) = (Arc::clone(&far), cut.clone());
        let task = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let Some(far) = *target.lock().expect("no panic") else { continue };
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

    /// Where it begins.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Nothing goes through any more.
    pub fn cut(&self) {
        *self.far.lock().expect("no panic") = None;
        self.cut.send_modify(|times| *times += 1);
    }

    /// It ends at `far` from now on.
    pub fn lay(&self, far: SocketAddr) {
        self.cut();
        *self.far.lock().expect("no panic") = Some(far);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}
