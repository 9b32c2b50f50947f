//! Tollway: a cost-aware LLM gateway. See `docs/ARCHITECTURE.md` for the request's way through these modules.

#![forbid(unsafe_code)]

pub mod admin;
pub mod api;
pub mod budget;
pub mod cli;
pub mod config;
pub mod gateway;
pub mod keys;
pub mod ledger;
pub mod pricing;
pub mod providers;
pub mod relay;
pub mod replay;
pub mod routing;
pub mod store;
pub mod telemetry;
pub mod treasury;
pub mod units;
pub mod upstream;
