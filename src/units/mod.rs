//! The few quantities everything else is made of: money, tokens, time, ids.

pub mod ids;
pub mod money;
pub mod names;
pub mod time;
pub mod tokens;

pub use ids::RequestId;
pub use money::{Factor, MoneyError, NanoUsd, PicoUsd, TokenPrice};
pub use time::{Clock, ManualClock, Mono, Now, SystemClock};
pub use tokens::{Reported, Usage};
