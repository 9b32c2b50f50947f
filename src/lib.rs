//! Tollway: a cost-aware LLM gateway. See `docs/ARCHITECTURE.md` for the request's way through these modules.

#![forbid(unsafe_code)]

pub mod gateway;
pub mod pricing;
pub mod routing;
pub mod units;
