//! What is told of each request: metrics and one access-log line. Label values come from the configuration alone.

pub mod access_log;
pub mod in_flight;
pub mod kept;
pub mod metrics;
pub mod money;

pub use access_log::AccessLog;
pub use in_flight::InFlight;
pub use metrics::{Metrics, Series};
