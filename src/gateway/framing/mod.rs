//! One framing, one reading: what a connection's bytes mean, decided strictly before the HTTP library sees them.
//!
//! hyper takes heads that can be read in two ways (`Content-Length` beside `Transfer-Encoding`, a coding named twice, two
//! hosts, bare line feeds) and hides the evidence from the service behind it. So [`GuardedIo`] stands between the socket
//! and hyper. [`Framer`], which does no input or output, follows head, body, head … by the letter of RFC 9112; the guard
//! lets only whole, checked heads through, in place and without a copy where a head arrives in one read.
//!
//! A refused head is replaced by a well-formed stand-in, after which the guard is deaf. hyper thereby answers everything
//! before it in order, and the stand-in last; the listener recognises the stand-in by its number on the connection, which
//! no client can choose, and answers it with the [`Refusal`]. Invariants: no byte of a refused head, and none behind it,
//! reaches a service; a fault within a body ends that body with an error that [`RequestBody`] names.

mod body;
mod chars;
mod chunked;
mod framer;
mod guard;
mod head;
mod http2;
mod refusal;
mod shared;

pub use body::{BodyError, Pace, RequestBody};
pub use framer::{Framer, Scan, Stop};
pub use guard::{GuardedIo, Patience};
pub use head::HeadLimits;
pub use http2::refusal_of;
pub use refusal::{BodyFault, Refusal};
pub use shared::{ConnectionState, InFlight, Taking};
