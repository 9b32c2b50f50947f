//! A decision in, an answer out: whom to ask next, beside whom, and what is learnt from it. Time-outs and extra attempts live
//! here, once, for every provider.
//!
//! `fallback` drives the steps of `routing::pursuit` and keeps the `story`, `trial` makes one attempt and counts it, `attempt` is the bare exchange
//! over a `client`: HTTP/1.1 by `http1`, HTTP/2 by hyper, both over what `connect` dials; `judge` says what is an answer.
//! `health` keeps what is learnt of routes, `demand` what is learnt of requests (with `sizes` and `spend`), `prefix` which
//! prompts were served where, `stays` where conversations are that callers name; `probe` asks routes that nothing was heard of.

pub mod answer;
pub mod attempt;
pub mod client;
pub mod connect;
pub mod demand;
pub mod error;
pub mod fallback;
mod gather;
pub mod health;
pub mod http1;
mod judge;
pub mod lookup;
pub mod prefix;
pub mod probe;
mod prompts;
pub mod sizes;
pub mod stays;
mod story;
pub mod trial;

pub use answer::{Answer, Form, Streamed, Whole};
pub use demand::{Asking, Demand, Lessons};
pub use error::{Error, Reason};
pub use health::{RouteHealth, Table};
pub use prefix::Prefixes;
pub use stays::Stays;
pub use trial::Underway;
