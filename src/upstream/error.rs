//! Why no route answered: whose side failed each time, and what the caller may be told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use crate::providers::fault::{Class, Fault};

/// One attempt's failure.
#[derive(Debug, Clone)]
pub struct Reason {
    /// `provider/model`.
    pub route: Arc<str>,
    /// What happened.
    pub fault: Fault,
    /// The upstream's answer as it came, where there was one: status, content type, body (bounded).
    pub answer: Option<(StatusCode, Option<http::HeaderValue>, Bytes)>,
}

/// Every attempt failed, or none could be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller's own fault, as the upstream put it; no other route would differ.
    #[error("the request was refused by {}: {}", .0.route, .0.fault.message)]
    Refused(Box<Reason>),
    /// All that were tried failed.
    #[error("{} attempts failed, the last one with {}", .0.len(), .0.last().map_or("nothing", |r| r.fault.class.code()))]
    Exhausted(Vec<Reason>),
    /// Every breaker was open, and what was asked all the same failed too.
    #[error("every route is down")]
    Down(Vec<Reason>),
    /// The caller's time, or the request's own limit, ran out.
    #[error("no answer within {limit:?}")]
    DeadlinePassed {
        /// The limit that was reached.
        limit: Duration,
        /// What had failed before.
        reasons: Vec<Reason>,
    },
}

impl Error {
    /// The attempts behind it.
    pub fn reasons(&self) -> &[Reason] {
        match self {
            Self::Refused(reason) => std::slice::from_ref(reason),
            Self::Exhausted(reasons) | Self::Down(reasons) | Self::DeadlinePassed { reasons, .. } => reasons,
        }
    }

    /// The smallest wait a limited route asked for, if every route was limited.
    pub fn wait(&self) -> Option<Duration> {
        let reasons = self.reasons();
        let all_limited = !reasons.is_empty()
            && reasons.iter().all(|r| matches!(r.fault.class, Class::Rate | Class::InFlightBudget));
        all_limited
            .then(|| reasons.iter().map(|r| r.fault.retry_after.unwrap_or(Duration::from_secs(1))).min())
            .flatten()
    }

    /// The upstream's own answer, if every attempt ended with the same one and it may be shown.
    pub fn shared_answer(&self) -> Option<&(StatusCode, Option<http::HeaderValue>, Bytes)> {
        let reasons = self.reasons();
        let (first, rest) = reasons.split_first()?;
        let answer = first.answer.as_ref()?;
        let same = |other: &Reason| {
            other.answer.as_ref().is_some_and(|o| o.0 == answer.0) && other.fault.class == first.fault.class
        };
        let may_be_shown = reasons.iter().all(|reason| !reason.fault.class.is_operators());
        (may_be_shown && rest.iter().all(same)).then_some(answer)
    }
}
