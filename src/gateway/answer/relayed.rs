//! The way's last step: an answer becomes the response, its account open until the last byte has gone.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Response};
use smallvec::SmallVec;

use crate::api::body::Call;
use crate::api::face::Start;
use crate::api::tokens::{Tally, Vocabulary};
use crate::gateway::auth::Caller;
use crate::gateway::failure::Failure;
use crate::gateway::intake::Tags;
use crate::gateway::live::Live;
use crate::gateway::reply;
use crate::relay::account::{Account, Answered, Ended, Who};
use crate::relay::body::StreamBody;
use crate::relay::faced::Faced;
use crate::relay::kept::{self, Keeping};
use crate::relay::meter::Meter;
use crate::relay::native::{self, NativeMeter};
use crate::relay::{Ear, RelayBody, whole};
use crate::routing::Route;
use crate::store::answers::Claim;
use crate::telemetry::InFlight;
use crate::units::{Now, Reported, Usage};
use crate::upstream::fallback::Served;
use crate::upstream::trial::is_rescue_wanted;
use crate::upstream::{Answer, Form, Lessons};

use super::Way;
use super::admitted::lengths;
use super::decided::Asked;
use super::kept::Place;
use super::rescue::Kit;

/// What the last step needs of the steps before.
pub(super) struct Gathered<'w> {
    pub(super) live: &'w Arc<Live>,
    pub(super) policy_at: usize,
    pub(super) caller: Caller<'w>,
    pub(super) call: Call,
    pub(super) tags: Tags,
    pub(super) headers: &'w HeaderMap,
    pub(super) asked: Asked,
    /// How long the request may take in all.
    pub(super) limit: Duration,
    /// Since when it was waited for upstreams.
    pub(super) waits_from: Now,
    pub(super) in_flight: InFlight,
    /// Where the answer is to be kept, if it is.
    pub(super) place: Option<Place>,
    /// Where its caller has named the request.
    pub(super) claim: Option<Claim>,
}

impl Way {
    #[expect(
        clippy::too_many_lines,
        reason = "the last step for answers of two kinds, a line each of what it opens"
    )]
    pub(super) async fn relayed(
        &mut self,
        gathered: Gathered<'_>,
        served: Served,
        lessons: Lessons,
    ) -> Result<Response<RelayBody>, Failure> {
        let Gathered {
            live,
            policy_at,
            caller,
            call,
            tags,
            headers,
            asked,
            limit,
            waits_from,
            in_flight,
            place,
            claim,
        } = gathered;
        let snapshot = &live.snapshot;
        let id = served.candidate.route;
        let (Some(route), Some(policy)) = (snapshot.route(id), snapshot.policies.get(policy_at)) else {
            return Err(Failure::Bug);
        };
        self.trail.route = live.route_names.get(usize::from(id.0)).cloned();
        self.trail.attempts = served.attempts;
        let books = self.gateway.books.clone();
        let who = Who {
            id: self.id.clone(),
            model: call.model.clone(),
            policy: Arc::clone(&policy.name),
            team: caller.team_arc(),
            key: caller.key.map_or_else(|| "".into(), |key| Arc::clone(&key.name)),
            endpoint: call.surface_name(),
            stream: call.stream,
            decision: self.seen.decision.take(),
        };
        if !is_rescue_wanted(policy, &call) {
            self.give_back(&call, asked.prompt_tokens, route).await;
        }
        let attempts = served.attempts;
        let (by, answer) = answered(route, served, lessons, waits_from);
        let series = live.series(&books.metrics, policy_at, caller.team_arc(), id);
        let (clock, metrics) = (Arc::clone(&books.clock), Arc::clone(&books.metrics));
        let mut account = Account::open(
            books,
            who,
            by,
            series,
            in_flight,
            self.began.mono,
            (Arc::clone(&self.course), self.purse.take()),
        );
        let vocabulary = Vocabulary::of(&route.checkpoint);
        let prompt_tokens = call.prompt_tokens_estimated(vocabulary);
        let (_, held_for) = lengths(&call, prompt_tokens, route.context_tokens);
        let start = Start { request_id: self.id.as_str(), at_s: self.began.wall.as_second(), prompt_tokens };
        Ok(match answer {
            Answer::Whole(answer) => {
                let reported = whole::reported(&answer, call.endpoint.writes());
                let counted = Usage {
                    prompt: prompt_tokens,
                    completion: said(&answer.body, reported.as_ref(), vocabulary),
                    ..Usage::default()
                };
                let counted =
                    if call.endpoint.writes() { counted } else { Usage { completion: 0, ..counted } };
                let bill = account.bill(reported.as_ref(), counted);
                let cost = bill.cost;
                let body = match &call.face {
                    _ if answer.form == Form::Responses => {
                        RelayBody::pieces(native::body_with_bill(&answer.body, reported.as_ref(), &bill))
                    }
                    None => RelayBody::pieces(whole::body_with_cost(&answer, reported.as_ref(), cost)),
                    Some(face) => {
                        match face.whole(&answer.body, &start, &bill.into()) {
                            Ok(told) => RelayBody::of(told),
                            Err(untold) => {
                                // Paid for, and of no use: the account says so, and the caller is told.
                                account.note(reported.as_ref(), counted);
                                account.close(Ended::Broken(untold.0)).await;
                                return Ok(reply::error(&Failure::Bug.told(self.id.as_str(), self.surface)));
                            }
                        }
                    }
                };
                let response = reply::answer(&answer.headers, false, cost, body);
                let native = answer.form == Form::Responses;
                let noted = self.note(claim, native, route, &answer, bill);
                // What was cut short for want of money is no answer to anybody else.
                if let Some((place, cost)) = place.filter(|_| call.bound.is_none()).zip(cost)
                    && let Some(said) = kept::kept(&answer)
                {
                    place.keeper(self, route)(said, cost);
                }
                account.note(reported.as_ref(), counted);
                account.close(Ended::Well).await;
                if let Some(noted) = noted {
                    noted.await;
                }
                response
            }
            Answer::Streamed(streamed) => {
                let answer_headers = streamed.headers.clone();
                let noting = self.noting(claim, streamed.form == Form::Responses, route);
                let (ear, face) = match streamed.form {
                    Form::Responses => (Ear::Native(NativeMeter::new(prompt_tokens)), None),
                    Form::Chat => {
                        let face = call.face.as_ref().map(|face| Box::new(Faced::new(face.writer(&start))));
                        (
                            Ear::Chat(Meter::new(call.include_usage, prompt_tokens).counting_by(vocabulary)),
                            face,
                        )
                    }
                };
                let place = place.filter(|_| call.bound.is_none());
                let keeping = place.map(|place| Box::new(Keeping::new(place.keeper(self, route))));
                let rescue = is_rescue_wanted(policy, &call).then(|| {
                    let kit = Kit {
                        live: Arc::clone(live),
                        metrics,
                        policy_at,
                        key: caller.key.cloned(),
                        call,
                        headers: headers.clone(),
                        tags,
                        asked,
                        began: self.began.mono,
                        limit,
                        broken: SmallVec::from_iter([id]),
                        attempts,
                        course: Arc::clone(&self.course),
                        told: String::new(),
                    };
                    kit.rescue()
                });
                let idle_timeout = policy.fallback.idle_timeout;
                let body = StreamBody::new(*streamed, ear, face, account, clock, idle_timeout, rescue)
                    .held_for(held_for)
                    .keeping(keeping, noting)
                    .begun();
                reply::answer(&answer_headers, true, None, RelayBody::Stream(Box::new(body)))
            }
        })
    }
}

/// Tokens of a whole answer by our own count, where the report is none to go by.
fn said(body: &[u8], reported: Option<&Reported>, vocabulary: Vocabulary) -> u64 {
    if reported.is_some_and(|report| !report.odd && report.usage.completion > 0) {
        return 0;
    }
    let mut tally = Tally::new();
    tally.answer(body);
    tally.tokens(vocabulary)
}

/// Who gave an answer that was waited for since `asked`, and the answer.
pub(super) fn answered(route: &Route, served: Served, lessons: Lessons, asked: Now) -> (Answered, Answer) {
    let Served { answer, attempts, answered, failures, underway, .. } = served;
    let waited = jiff::SignedDuration::try_from(answered.since(asked.mono)).ok();
    let by = Answered {
        provider: Arc::clone(&route.provider),
        checkpoint: Arc::clone(&route.checkpoint),
        route: Arc::clone(&route.name),
        generation: answer.generation(),
        card: route.price.clone(),
        underway,
        lessons,
        attempts,
        failures,
        answered,
        asked: asked.mono,
        at: waited.and_then(|waited| asked.wall.checked_add(waited).ok()).unwrap_or(asked.wall),
    };
    (by, answer)
}
