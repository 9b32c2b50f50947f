//! An address where connecting neither succeeds nor fails: a host behind a firewall that drops packets.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A listener whose queue is full, so that the kernel drops every further connection attempt.
#[derive(Debug)]
pub struct BlackHole {
    listener: TcpListener,
    _fillers: Vec<TcpStream>,
}

impl BlackHole {
    /// Opens the hole.
    pub async fn open() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port on loopback");
        let listener = socket.listen(0).expect("a queue of one");
        let address = listener.local_addr().expect("a bound socket has an address");
        // A queue of length 0 still holds one connection on Linux.
        let filler = TcpStream::connect(address).await.expect("the queue's only place");
        Self { listener, _fillers: vec![filler] }
    }

    /// `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address())
    }

    /// Where it swallows.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound socket has an address")
    }
}
