//! HTTP/1.1 to providers: one exchange at a time on a connection, read by whoever wants the answer.
//!
//! There is no task behind a connection and no queue: the body's reader polls the socket, reads into the stack and keeps what
//! came, so that a stream that stands idle is a socket and the few words of [`Body`]. `head` and `framing` are pure and strict; what
//! is wrong with an answer ends its connection. `pool` keeps connections that wait for a next request.

mod body;
mod connection;
mod framing;
mod head;
mod pool;
pub mod reading;
#[cfg(test)]
mod tests;

use std::io;

use http::{Method, Request, Response};

use http_body::Body as _;

use super::client::RequestBody;
use super::connect::Stream;

pub use body::Body;
pub use pool::Pool;

use connection::{Connection, Unanswered};
use head::Head;

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not a head by the letter.
    #[error("the answer's head is not HTTP/1.1 as it must be")]
    Head,
    /// A longer head than is read.
    #[error("the answer's head is longer than {} bytes", head::HEAD_BYTES_MAX)]
    HeadTooLarge,
    /// More than one length, a length and chunks, an unknown coding.
    #[error("the answer's length is stated in more than one way, or badly")]
    Framing,
    /// Another protocol, which nobody asked for.
    #[error("the answer changes the protocol")]
    Upgrade,
    /// A chunk or what stands between chunks.
    #[error("the answer's chunks are malformed")]
    Chunk,
    /// The connection ended first.
    #[error("the connection was closed before the answer was whole")]
    Cut,
}

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request did not go out.
    #[error("the request could not be sent")]
    Send(#[source] io::Error),
    /// The connection failed.
    #[error("the connection failed")]
    Read(#[source] io::Error),
    /// It was closed.
    #[error("the connection was closed before it brought an answer")]
    Closed,
    /// What came is no answer.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A request on its way: its head and body, and where it may be sent again.
pub struct Sending {
    unsent: connection::Unsent,
    origin: pool::Origin,
}

impl Sending {
    /// The bytes of `request`. None where these are not to be sent here, since answers of another kind may follow.
    pub fn new(request: &Request<RequestBody>) -> Option<Self> {
        let (method, uri) = (request.method(), request.uri());
        if !matches!(*method, Method::GET | Method::POST) {
            return None;
        }
        let origin = pool::Origin::of(uri, request.body().is_read_whole())?;
        let pieces = request.body().pieces();
        let bytes = request.body().size_hint().exact()?;
        let head = head::request(method, uri, request.headers(), bytes);
        Some(Self { unsent: connection::Unsent::new(head, pieces), origin })
    }

    /// Sends it over a connection that waits in `pool`, if one does; it comes back if it could not be sent over any, none of it.
    pub async fn reuse(mut self, pool: &Pool) -> Result<Result<Response<Body>, Error>, Self> {
        while let Some(connection) = pool.take(&self.origin) {
            match connection.exchange(&mut self.unsent).await {
                Err(Unanswered::NothingSent(_)) => {}
                outcome => return Ok(self.answered(pool, outcome)),
            }
        }
        Err(self)
    }

    /// Sends it over `stream`, which is new; the connection waits in `pool` afterwards.
    pub async fn over(mut self, stream: Stream, pool: &Pool) -> Result<Response<Body>, Error> {
        let outcome = Connection::new(stream).exchange(&mut self.unsent).await;
        self.answered(pool, outcome)
    }

    fn answered(
        self,
        pool: &Pool,
        outcome: Result<(Connection, Head, Vec<u8>), Unanswered>,
    ) -> Result<Response<Body>, Error> {
        let (connection, head, rest) = outcome.map_err(Unanswered::into_error)?;
        let Head { status, headers, body, keeps_alive } = head;
        let place = keeps_alive.then(|| pool.place(self.origin));
        let mut response = Response::new(Body::new(connection, body, place, &rest));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}
