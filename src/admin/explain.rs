//! `GET /admin/v1/explain`: the decision that a request would get now, from live health and prices.

use bytes::Bytes;
use http::{Response, StatusCode};

use crate::gateway::auth::Caller;
use crate::gateway::steering::{self, Steering};
use crate::gateway::target::percent_decoded;
use crate::relay::RelayBody;
use crate::routing::{Endpoint, Explanation, RequestFacts, select};
use crate::upstream::Asking;

use super::{Admin, error, json};

/// Answer length assumed where the query names none is the policy's own.
struct Query {
    model: String,
    prompt_tokens: u64,
    max_tokens: Option<u64>,
    endpoint: Endpoint,
    key: String,
    tags: Vec<(String, String)>,
    wish: Option<String>,
}

impl Admin {
    pub(super) fn explain(&self, query: &str) -> Response<RelayBody> {
        let query = match Query::parse(query) {
            Ok(query) => query,
            Err(problem) => return error(StatusCode::BAD_REQUEST, "invalid_value", &problem),
        };
        let live = self.gateway.live();
        let keys = self.gateway.keys.table();
        let snapshot = &live.snapshot;
        let wish = query.wish.as_deref();
        let call = match steering::call_of(snapshot, query.endpoint, &query.model, wish) {
            Ok(call) => call,
            Err(problem) => {
                return error(StatusCode::BAD_REQUEST, "invalid_value", &format!("wish: {problem}"));
            }
        };
        let asker = RequestFacts { endpoint: query.endpoint, ..RequestFacts::default() };
        if Steering::by(snapshot, &call, &asker).is_none() {
            let near = snapshot.names.nearest(&query.model, 3).join(", ");
            let message = format!("The model {:?} does not exist here. Nearest: {near}.", query.model);
            return error(StatusCode::NOT_FOUND, "model_not_found", &message);
        }
        let Some(caller) = Caller::named(&keys, &query.key) else {
            return error(
                StatusCode::NOT_FOUND,
                "key_not_found",
                &format!("There is no key named {:?}.", query.key),
            );
        };
        let mut tags: Vec<(&str, &str)> =
            query.tags.iter().map(|(name, value)| (&**name, &**value)).collect();
        caller.replace_tags(&mut tags);
        let facts = RequestFacts {
            prompt_tokens: query.prompt_tokens,
            output_tokens_max: query.max_tokens,
            ..caller.facts(query.endpoint, &tags)
        };
        let Some(steering) = Steering::by(snapshot, &call, &facts) else {
            return error(StatusCode::NOT_FOUND, "no_policy", "No policy matches such a request.");
        };
        let facts = RequestFacts { may_hedge: steering.may_hedge(), ..steering.steered(facts) };
        let now = self.gateway.books.clock.now();
        let policies = &snapshot.policies;
        let Some(policy) = select(policies, &facts).and_then(|at| policies.get(at)) else {
            return error(StatusCode::NOT_FOUND, "no_policy", "No policy matches such a request.");
        };
        let first = facts.eligible.first().and_then(|id| snapshot.route(*id));
        let asking = Asking::new(facts.key, facts.team, first.map_or("none", |route| &*route.checkpoint));
        let facts = RequestFacts { learned: live.learned(asking, policy, &facts, now.mono), ..facts };
        let seen = live.upstreams.observed_by(policy, facts.eligible, now.mono);
        let explanation = Explanation::decided(&snapshot.routes, policies, &facts, &seen, now);
        // Strings, numbers and lists of them always serialise.
        json(StatusCode::OK, serde_json::to_vec(&explanation).map(Bytes::from).unwrap_or_default())
    }
}

impl Query {
    fn parse(text: &str) -> Result<Self, String> {
        let mut query = Self {
            model: String::new(),
            prompt_tokens: 1000,
            max_tokens: None,
            endpoint: Endpoint::Chat,
            key: String::new(),
            tags: Vec::new(),
            wish: None,
        };
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decoded(&value.replace('+', " "))
                .ok_or_else(|| format!("{name}: a percent escape is malformed"))?;
            let number =
                || value.parse::<u64>().map_err(|_| format!("{name}: {value:?} is not a whole number"));
            match name {
                "model" => query.model = value,
                "prompt_tokens" => query.prompt_tokens = number()?,
                "max_tokens" => query.max_tokens = Some(number()?),
                "key" => query.key = value,
                "wish" => query.wish = Some(value),
                "endpoint" => {
                    query.endpoint = Endpoint::from_name(&value).ok_or_else(|| {
                        format!("endpoint: {value:?} is none of chat, completions, embeddings, rerank")
                    })?;
                }
                "tag" => {
                    let (tag, value) =
                        value.split_once('=').ok_or_else(|| format!("tag: {value:?} is not name=value"))?;
                    query.tags.push((tag.to_owned(), value.to_owned()));
                }
                other => {
                    return Err(format!(
                        "{other:?} is not known here; there are model, prompt_tokens, max_tokens, endpoint, key, tag, wish"
                    ));
                }
            }
        }
        if query.model.is_empty() {
            return Err("model: name one, as in ?model=deepseek-v4-flash".to_owned());
        }
        Ok(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_what_is_wrong_with_it() {
        let query = Query::parse("model=a%2Fb&prompt_tokens=7&tag=tier%3Dbatch").unwrap();
        assert_eq!((query.model.as_str(), query.prompt_tokens, query.tags.len()), ("a/b", 7, 1));
        for bad in
            ["", "model=%zz", "model=a&prompt_tokens=x", "model=a&tag=x", "model=a&endpoint=x", "model=a&q=1"]
        {
            assert!(Query::parse(bad).is_err(), "{bad}");
        }
    }
}
