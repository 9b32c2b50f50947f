//! `GET /admin/v1/decisions` and `/admin/v1/decisions/{request id}`: why the last requests went where they went.

use bytes::Bytes;
use http::{Response, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use crate::gateway::decisions::{Degraded, Filter, KEPT, Told};
use crate::gateway::target::percent_decoded;
use crate::relay::RelayBody;
use crate::routing::explain::{Explanation, Outcome};

use super::{Admin, error, json};

/// Decisions listed where the query does not say how many, and at most.
const LIMIT: usize = 50;
const LIMIT_MAX: usize = 500;

/// A decision in one line.
#[derive(Serialize, JsonSchema)]
pub(super) struct Row {
    request_id: String,
    at: String,
    policy: String,
    model: String,
    /// Whether the policy only watched, and if so whether it would have asked the same route first.
    shadow: bool,
    agrees: Option<bool>,
    degraded: String,
    decision: String,
    outcome: Option<Ended>,
}

/// How a request ended.
#[derive(Serialize, JsonSchema)]
pub(super) struct Ended {
    outcome: &'static str,
    route: Option<String>,
    attempts: u16,
    ttft_ms: Option<u32>,
    total_ms: u32,
    cost_usd: Option<String>,
}

/// One decision in full: as `explain` has it, with how the request ended.
#[derive(Serialize, JsonSchema)]
pub(super) struct Full {
    request_id: String,
    outcome: Option<Ended>,
    /// Routes that the record had no room for.
    routes_left_off: u16,
    #[serde(flatten)]
    explanation: Explanation,
}

impl Admin {
    pub(super) fn decisions(&self, query: &str) -> Response<RelayBody> {
        let filter = match filter(query) {
            Ok(filter) => filter,
            Err(problem) => return error(StatusCode::BAD_REQUEST, "invalid_value", &problem),
        };
        let rows: Vec<Row> =
            self.gateway.decisions.list(&filter).into_iter().filter_map(|told| row(&told)).collect();
        // Strings, numbers and lists of them always serialise.
        json(StatusCode::OK, serde_json::to_vec(&rows).map(Bytes::from).unwrap_or_default())
    }

    pub(super) fn decision(&self, id: &str) -> Response<RelayBody> {
        let found = percent_decoded(id).and_then(|id| self.gateway.decisions.find(&id));
        let Some((told, explanation)) = found else {
            return error(
                StatusCode::NOT_FOUND,
                "decision_not_found",
                &format!("No decision of such a request is kept; the last {KEPT} are."),
            );
        };
        let full = Full {
            request_id: told.record.id.as_str().to_owned(),
            outcome: ended(&told),
            routes_left_off: told.record.left_off,
            explanation,
        };
        json(StatusCode::OK, serde_json::to_vec(&full).map(Bytes::from).unwrap_or_default())
    }
}

fn row(told: &Told) -> Option<Row> {
    let Explanation { sentence, at, policy, degraded, .. } = told.explanation()?;
    let record = &told.record;
    Some(Row {
        request_id: record.id.as_str().to_owned(),
        at,
        policy,
        model: record.model.as_str().to_owned(),
        shadow: record.shadow,
        agrees: record.shadow.then_some(record.agrees),
        degraded,
        decision: sentence,
        outcome: ended(told),
    })
}

fn ended(told: &Told) -> Option<Ended> {
    let Outcome { ended, route, attempts, ttft_ms, total_ms, cost } = told.record.outcome;
    let route = route.and_then(|id| told.snapshot.route(id)).map(|route| route.name.to_string());
    let cost_usd = cost.map(|cost| cost.to_string());
    Some(Ended { outcome: ended?, route, attempts, ttft_ms, total_ms, cost_usd })
}

fn filter(query: &str) -> Result<Filter, String> {
    let mut filter = Filter { limit: LIMIT, ..Filter::default() };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decoded(&value.replace('+', " "))
            .ok_or_else(|| format!("{name}: a percent escape is malformed"))?;
        match name {
            "limit" => {
                filter.limit =
                    value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit)).ok_or_else(|| {
                        format!("limit: {value:?} is not a whole number from 1 to {LIMIT_MAX}")
                    })?;
            }
            "policy" => filter.policy = Some(value),
            "degraded" => {
                filter.degraded = Some(match value.as_str() {
                    "" | "true" => Degraded::Any(true),
                    "false" | "no" => Degraded::Any(false),
                    name if crate::routing::Degraded::ALL.iter().any(|one| one.code() == name) => {
                        Degraded::Named(value)
                    }
                    _ => {
                        let known = crate::routing::Degraded::ALL.map(crate::routing::Degraded::code);
                        return Err(format!(
                            "degraded: {value:?} is none of true, false, {}",
                            known.join(", ")
                        ));
                    }
                });
            }
            other => return Err(format!("{other:?} is not known here; there are limit, policy, degraded")),
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_names_what_is_wrong_with_it() {
        let read = filter("limit=3&policy=a%20b&degraded=slo").unwrap();
        assert_eq!((read.limit, read.policy.as_deref()), (3, Some("a b")));
        assert_eq!(read.degraded, Some(Degraded::Named("slo".to_owned())));
        assert_eq!(filter("degraded").unwrap().degraded, Some(Degraded::Any(true)));
        for bad in ["limit=0", "limit=501", "limit=x", "degraded=maybe", "policy=%zz", "tag=a"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
