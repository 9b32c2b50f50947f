//! A decision in, a response out: fallback > breaker > attempt. Retries and time-outs live here, once, for every provider.

pub mod answer;
pub mod attempt;
pub mod connect;
pub mod error;
pub mod fallback;

pub mod health;

pub use answer::{Answer, Streamed, Whole};
pub use error::{Error, Reason};
pub use health::{RouteHealth, Table};
