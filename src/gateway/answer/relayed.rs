//! The way's last step: an answer becomes the response, its account open until the last byte has gone.

use std::sync::Arc;

use http::Response;

use crate::api::body::Call;
use crate::api::face::Start;
use crate::gateway::auth::Caller;
use crate::gateway::failure::Failure;
use crate::gateway::live::Live;
use crate::gateway::reply;
use crate::relay::account::{Account, Answered, Ended, Who};
use crate::relay::body::StreamBody;
use crate::relay::faced::{self, Faced};
use crate::relay::meter::Meter;
use crate::relay::{RelayBody, whole};
use crate::telemetry::InFlight;
use crate::units::{Now, Usage};
use crate::upstream::fallback::Served;
use crate::upstream::{Answer, Lessons};

use super::Way;

impl Way {
    #[expect(clippy::too_many_arguments, reason = "what the way has gathered by its last step")]
    pub(super) fn relayed(
        &mut self,
        live: &Arc<Live>,
        policy_at: usize,
        caller: &Caller<'_>,
        call: &Call,
        served: Served,
        lessons: Lessons,
        asked: Now,
        in_flight: InFlight,
    ) -> Result<Response<RelayBody>, Failure> {
        let Served { answer, candidate, attempts, answered, failures, underway, .. } = served;
        let snapshot = &live.snapshot;
        let (Some(route), Some(policy)) = (snapshot.route(candidate.route), snapshot.policies.get(policy_at))
        else {
            return Err(Failure::Bug);
        };
        self.trail.route = live.route_names.get(usize::from(candidate.route.0)).cloned();
        self.trail.attempts = attempts;
        let books = self.gateway.books.clone();
        let who = Who {
            id: self.id.clone(),
            model: call.model.clone(),
            policy: Arc::clone(&policy.name),
            team: caller.team_arc(),
            key: caller.key.map_or_else(|| "".into(), |(_, key)| Arc::clone(&key.name)),
            endpoint: call.surface_name(),
            stream: call.stream,
            decision: self.seen.decision.take(),
        };
        let waited = answered.since(asked.mono);
        let by = Answered {
            provider: Arc::clone(&route.provider),
            checkpoint: Arc::clone(&route.checkpoint),
            route: Arc::clone(&route.name),
            card: route.price.clone(),
            underway,
            lessons,
            attempts,
            failures,
            answered,
            asked: asked.mono,
            at: jiff::SignedDuration::try_from(waited)
                .ok()
                .and_then(|w| asked.wall.checked_add(w).ok())
                .unwrap_or(asked.wall),
        };
        let series = live.series(
            &books.metrics,
            policy_at,
            caller.key.map(|(place, _)| place),
            caller.team(),
            candidate.route,
        );
        let clock = Arc::clone(&books.clock);
        let mut account = Account::open(books, who, by, series, in_flight, self.began.mono);
        let prompt_tokens = call.prompt_tokens_estimated();
        let start = Start { request_id: self.id.as_str(), at_s: self.began.wall.as_second(), prompt_tokens };
        Ok(match answer {
            Answer::Whole(answer) => {
                let reported = whole::reported(&answer, call.endpoint.writes());
                let counted = Usage {
                    prompt: prompt_tokens,
                    completion: answer.body.len() as u64 / 4,
                    ..Usage::default()
                };
                let counted =
                    if call.endpoint.writes() { counted } else { Usage { completion: 0, ..counted } };
                let settlement = account.price(reported.as_ref(), counted);
                let cost = settlement.and_then(|settlement| settlement.cost());
                let body = match &call.face {
                    None => RelayBody::pieces(whole::body_with_cost(&answer, reported.as_ref(), cost)),
                    Some(face) => {
                        match face.whole(&answer.body, &start, &faced::tally(settlement.as_ref())) {
                            Ok(told) => RelayBody::of(told),
                            Err(untold) => {
                                // Paid for, and of no use: the account says so, and the caller is told.
                                account.note(reported.as_ref(), counted);
                                account.close(Ended::Broken(untold.0));
                                return Ok(reply::error(&Failure::Bug.told(self.id.as_str(), self.surface)));
                            }
                        }
                    }
                };
                let response = reply::answer(&answer.headers, false, cost, body);
                account.note(reported.as_ref(), counted);
                account.close(Ended::Well);
                response
            }
            Answer::Streamed(streamed) => {
                let headers = streamed.headers.clone();
                let meter = Meter::new(call.include_usage, prompt_tokens);
                let face = call.face.as_ref().map(|face| Box::new(Faced::new(face.writer(&start))));
                let idle_timeout = policy.fallback.idle_timeout;
                let body = StreamBody::new(*streamed, meter, face, account, clock, idle_timeout);
                reply::answer(&headers, true, None, RelayBody::Stream(Box::new(body)))
            }
        })
    }
}
