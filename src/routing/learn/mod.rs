//! What is learnt from traffic: small state machines over evidence and times that are given to them. No clock, no lock, no
//! task: the gateway and the replay feed the same ones.
//!
//! `route` gathers what concerns one route (`first_token`, which begins with a `prior` and learns a `level`, a `shape` and a
//! `luck_share`; `errors`, `cache_hits`, `counts`, `load`, `pace`, `breaker`; `writing` and `residence` of an engine of our own)
//! and shows it as a `RouteOutlook`; `others` is what other replicas say of it. What concerns requests: `lengths` of answers,
//! `sessions`, `dual`, the price of a late one, `queue_price`, that of our own queue, and what extra attempts may cost, in
//! number (`retries`) and money (`hedge_spend`).

pub mod breaker;
pub mod cache_hits;
pub mod counts;
pub mod dual;
pub mod errors;
pub mod first_token;
mod first_token_outlook;
mod heard;
pub mod hedge_spend;
pub mod lengths;
pub mod level;
mod line;
pub mod load;
pub mod luck_share;
pub mod others;
pub mod pace;
pub mod prefix;
pub mod prior;
pub mod queue_price;
mod reading;
pub mod residence;
pub mod retries;
pub mod route;
pub mod sessions;
pub mod shape;
pub mod writing;
