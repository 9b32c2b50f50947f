//! THE WAY: one request from its head to its answer, a line a step. Each step's output is the next one's argument.

mod admitted;
mod counted;
mod decided;
mod demand;
mod ended;
mod kept;
mod once;
mod relayed;
mod rescue;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use smallvec::SmallVec;

use crate::api::body::Call;
use crate::api::face::Surface;
use crate::relay::RelayBody;
use crate::routing::{Capabilities, Decision, Endpoint, Policy, RequestFacts, select};
use crate::telemetry::InFlight;
use crate::telemetry::kept::Kept;
use crate::treasury::Purse;
use crate::units::{Now, RequestId};
use crate::upstream;
use crate::upstream::fallback::Errand;
use crate::upstream::trial::Course;

use super::auth::{self, Caller};
use super::cors;
use super::failure::Failure;
use super::framing::{Refusal, RequestBody};
use super::intake::{self, Tags};
use super::live::{Gateway, Live};
use super::models;
use super::reply::{self, Trail};
use super::steering::{self, Steering};
use super::target::{self, Target, Unknown};
use admitted::Ask;
use decided::{Asked, Promise, nobody};
use kept::Place;
use once::{Named, Turn};
use relayed::Gathered;

/// Longest part of a path that an error message repeats, in bytes.
const PATH_BYTES_SHOWN: usize = 200;

/// Answers one request. When the caller leaves, the future is dropped: the upstream attempt under way is cancelled and
/// counted, and an account that was open closes itself as cut.
pub async fn answer(gateway: Arc<Gateway>, request: Request<RequestBody>) -> Response<RelayBody> {
    let mut way = Way {
        began: gateway.books.clock.now(),
        id: gateway.request_id(request.headers()),
        trail: Trail::default(),
        surface: Surface::Plain,
        seen: Seen::default(),
        course: Arc::default(),
        purse: None,
        named: None,
        over: false,
        gateway,
    };
    // Only browsers send an origin.
    let live = request.headers().contains_key(header::ORIGIN).then(|| way.gateway.live());
    let cors = live.as_ref().and_then(|live| live.snapshot.settings.cors.as_ref());
    let origin = cors::allowed(cors, request.headers());
    let preflight = cors.filter(|_| origin.is_some());
    if let Some(mut answer) =
        preflight.and_then(|cors| cors::preflight(cors, request.method(), request.headers()))
    {
        way.over = true;
        reply::stamp(&mut answer, way.id.as_str(), Trail::default(), None);
        cors::stamp(&mut answer, origin);
        return answer;
    }
    // Boxed, so that what the way needs until it has an answer is given back then: hyper keeps the room for this future as
    // long as the connection lives, and a stream may stand idle for minutes.
    let outcome = AssertUnwindSafe(Box::pin(way.go(request))).catch_unwind().await;
    let outcome = outcome.unwrap_or_else(|_| {
        way.gateway.books.metrics.panicked();
        Err(Failure::Bug)
    });
    way.over = true;
    let mut response = outcome.unwrap_or_else(|failure| way.failed(&failure));
    let took = way.gateway.books.clock.now().mono.since(way.began.mono);
    reply::stamp(&mut response, way.id.as_str(), std::mem::take(&mut way.trail), Some(took));
    reply::stamp_surface(&mut response, way.surface);
    cors::stamp(&mut response, origin);
    response
}

/// A head that the listener refused before it was a request.
pub fn refused(gateway: &Gateway, refusal: Refusal) -> Response<RelayBody> {
    let id = gateway.request_id(&HeaderMap::new());
    let failure = Failure::Head(refusal);
    let told = failure.told(id.as_str(), Surface::Plain);
    gateway.books.metrics.ended("none", "none", "none", "none", told.status.as_u16(), failure.outcome());
    let mut response = reply::error(&told);
    reply::stamp(&mut response, id.as_str(), Trail::default(), None);
    response
}

/// A request on its way, and what is known of it so far. Dropped before it is over, its caller has left.
struct Way {
    gateway: Arc<Gateway>,
    began: Now,
    id: RequestId,
    trail: Trail,
    surface: Surface,
    seen: Seen,
    course: Arc<Course>,
    /// What is held for it, until an answer's account has it.
    purse: Option<Purse>,
    /// Its name, until that is claimed.
    named: Option<Box<Named>>,
    over: bool,
}

/// What a failed request's log line and metrics say; filled as the steps go. Empty until known.
#[derive(Default)]
struct Seen {
    policy: Option<Arc<str>>,
    team: Option<Arc<str>>,
    provider: Option<Arc<str>>,
    checkpoint: Option<Arc<str>>,
    model: Box<str>,
    endpoint: &'static str,
    decision: Option<Kept>,
}

impl Way {
    async fn go(&mut self, request: Request<RequestBody>) -> Result<Response<RelayBody>, Failure> {
        let live = self.gateway.live();
        let (head, body) = request.into_parts();
        let target = target::of(&head.method, head.uri.path()).map_err(|unknown| {
            self.surface = target::surface_at(head.uri.path());
            Self::no_such(&head, &unknown)
        })?;
        self.surface = target.surface();
        if target == Target::Health {
            return Ok(reply::plain(
                StatusCode::OK,
                "application/json",
                RelayBody::of(Bytes::from_static(b"{\"status\":\"ok\"}")),
            ));
        }
        let keys = self.gateway.keys.table();
        let caller = auth::admit(&self.gateway, &keys, &live.snapshot.settings, &head, self.began.wall);
        let caller = caller.map_err(Failure::Stranger)?;
        self.seen.team = Some(caller.team_arc());
        let endpoint = match target {
            Target::Call(endpoint) => endpoint,
            Target::Faced(_) => Endpoint::Chat,
            Target::CountTokens => return self.count_tokens(&live, &caller, &head.headers, body).await,
            Target::Models => {
                let list = models::list(&live.snapshot, &head.headers, self.began.wall);
                return Ok(varied(json(list)));
            }
            Target::Model(id) => {
                return models::one(&live.snapshot, &id, self.began.wall)
                    .map(json)
                    .ok_or_else(|| unknown_model(&live, &id));
            }
            Target::Response(id) => {
                return Err(Failure::UnknownResponse { id: id.chars().take(PATH_BYTES_SHOWN).collect() });
            }
            Target::Health => return Err(Failure::Bug),
        };
        let in_flight = self.gateway.enter().ok_or(Failure::Busy)?;
        let limits = live.snapshot.settings.limits;
        let body = intake::body(&head.headers, body, limits).await?;
        let depth_max = usize::try_from(limits.json_depth_max).unwrap_or(usize::MAX);
        let (chat, face) = self.surface.translate(body.clone(), depth_max)?;
        let mut call = Call::parse(endpoint, chat, depth_max)?;
        call.wear(face);
        if !live.snapshot.settings.idempotency.is_zero() {
            self.named = Named::of(&caller, &head.headers, call.surface_name(), &body)?.map(Box::new);
        }
        drop(body);
        call.deadline = intake::patience(&head.headers);
        let tags = intake::tags(&head.headers)?;
        self.serve(&live, caller, call, tags, &head.headers, in_flight).await
    }

    /// From a call to its answer.
    #[expect(clippy::too_many_lines, reason = "a step of the way a line")]
    async fn serve(
        &mut self,
        live: &Arc<Live>,
        caller: Caller<'_>,
        mut call: Call,
        mut tags: Tags,
        headers: &HeaderMap,
        mut in_flight: InFlight,
    ) -> Result<Response<RelayBody>, Failure> {
        self.seen.model = call.model.clone();
        self.seen.endpoint = call.surface_name();
        let snapshot = &live.snapshot;
        steering::complete(snapshot, &mut call);
        merge_tags(&mut tags, &call, &caller);
        let tag_pairs: SmallVec<[(&str, &str); 8]> =
            tags.iter().map(|(name, value)| (&**name, &**value)).collect();
        let limit = patience(&call, snapshot.settings.limits.request_timeout);
        let now = self.gateway.books.clock.now();
        let facts = RequestFacts {
            output_tokens_max: call.output_tokens_max,
            needs: call.needs,
            deadline: Some(limit),
            ..caller.facts(call.endpoint, &tag_pairs)
        };
        let steering = Steering::of(live, &call, headers, &facts, now.mono)
            .ok_or_else(|| unknown_model(live, &call.model))?;
        let asked = Asked::of(live, &caller, &call, &steering.eligible, now.mono);
        let facts = RequestFacts {
            prompt_tokens: asked.prompt_tokens,
            held: &asked.held,
            // A whole answer has no first token to see, and of several choices only one could be raced.
            may_hedge: call.stream
                && !call.needs.0.covers(Capabilities::MANY_CHOICES)
                && steering.may_hedge(),
            ..steering.steered(facts)
        };
        let (policy_at, policy) = policy_for(live, &facts)?;
        let facts = RequestFacts { learned: asked.learned(live, policy, &facts, now.mono), ..facts };
        self.trail.policy = live.policy_names.get(policy_at).cloned();
        self.seen.policy = Some(Arc::clone(&policy.name));
        let metrics = &self.gateway.books.metrics;
        in_flight.count_on(metrics.in_flight(&policy.name));
        if intake::is_client_retry(headers) {
            metrics.client_retry(&policy.name);
        }
        let mut decision = Decision::default();
        let ask = Ask { live, caller: &caller, policy_at, policy, tags: &tag_pairs, limit };
        let context = |way: &Self| way.hold_context(&ask, &call, &Decision::default());
        let claim = match self.named.take() {
            None => None,
            Some(named) => match Box::pin(self.claim(*named, &call, context)).await? {
                Turn::Answered(response) => return Ok(response),
                Turn::Serve(claim) => Some(claim),
            },
        };
        let place = Place::of(policy, &caller, &call, asked.model(), headers, now.mono);
        if let Some(place) = &place
            && let Some((response, answer)) = Box::pin(self.kept(place, &call, context)).await
        {
            // Whoever has named it gets the same again, also when it is kept for equal requests no more.
            if let Some(claim) = claim {
                claim.keep(&self.as_told(&answer)).await;
            }
            return Ok(response);
        }
        let (barred, terms) = self
            .decide_and_admit(&ask, &call, &facts, &mut decision, |way, facts, decision| {
                way.decide(live, (policy_at, policy), facts, steering.kind, decision)
            })
            .await?;
        let facts = RequestFacts { tried: &barred, ..facts };
        let bounded = terms.output_max.map(|max| call.clone().bounded(max));
        self.trail.output_max = bounded.as_ref().and_then(|bounded| bounded.bound);
        let facts = match &bounded {
            Some(bounded) => RequestFacts { output_tokens_max: bounded.output_tokens_max, ..facts },
            None => facts,
        };
        let promise = asked.promise(live, policy, &facts, &decision, self.began.mono);
        asked.weighed(live, policy, &facts, &decision, now.mono);
        let late = || promise.iter().for_each(Promise::late);
        let errand = Errand {
            call: bounded.as_ref().unwrap_or(&call),
            headers,
            routes: &snapshot.routes,
            route_provider: &snapshot.route_provider,
            policy,
            late: &late,
            course: &self.course,
            facts,
            began: self.began.mono,
            limit,
            broken: None,
        };
        let waits_from = self.gateway.books.clock.now();
        match live.upstreams.serve(&errand, &mut decision).await {
            Ok(served) => {
                if let Some(promise) = promise {
                    promise.answered(served.answered);
                }
                asked.served(live, &served);
                steering.served(live, &served, asked.prompt_tokens);
                let call = bounded.unwrap_or(call);
                let lessons = asked.lessons(live, policy, &call, &served).ok_or(Failure::Bug)?;
                drop(tag_pairs);
                let gathered = Gathered {
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
                };
                self.relayed(gathered, served, lessons).await
            }
            Err(error) => {
                if let Some(promise) = promise {
                    promise.failed(&error);
                }
                // It waited for a provider's pause to end, and then nobody was left.
                if matches!(&error, upstream::Error::Exhausted(reasons) if reasons.is_empty()) {
                    return Err(nobody(live, policy, &facts, &decision, waits_from));
                }
                Err(self.nobody_answered(live, error))
            }
        }
    }

    fn nobody_answered(&mut self, live: &Live, error: upstream::Error) -> Failure {
        let reasons = error.reasons();
        self.trail.attempts = u32::try_from(reasons.len()).unwrap_or(u32::MAX);
        if let Some(last) = reasons.last() {
            let place = live.snapshot.routes.iter().position(|route| route.name == last.route);
            self.trail.route = place.and_then(|place| live.route_names.get(place).cloned());
            let route = place.and_then(|place| live.snapshot.routes.get(place));
            self.seen.provider = route.map(|route| Arc::clone(&route.provider));
            self.seen.checkpoint = route.map(|route| Arc::clone(&route.checkpoint));
        }
        Failure::Upstream(error)
    }

    fn no_such(head: &http::request::Parts, unknown: &Unknown) -> Failure {
        let method = head.method.as_str().chars().take(32).collect();
        let path = head.uri.path().chars().take(PATH_BYTES_SHOWN).collect();
        match unknown {
            Unknown::Path => Failure::UnknownPath { method, path },
            Unknown::Method(allowed) => Failure::WrongMethod { method, path, allowed },
        }
    }
}

/// The first policy that matches. The built-in one matches everything, but an operator's files may leave a gap.
fn policy_for<'l>(live: &'l Live, facts: &RequestFacts<'_>) -> Result<(usize, &'l Policy), Failure> {
    let policies = &live.snapshot.policies;
    let found = select(policies, facts).and_then(|at| Some((at, policies.get(at)?)));
    found.ok_or_else(|| Failure::NoRoute {
        reasons: "No policy matches it: ask whoever runs this gateway to add one that matches everything."
            .to_owned(),
    })
}

/// The caller's patience, within the gateway's own.
fn patience(call: &Call, request_timeout: Duration) -> Duration {
    call.deadline.map_or(request_timeout, |own| own.min(request_timeout))
}

/// The key's tags count most, then the header's, then the body's: who pays is not for a request to say.
fn merge_tags(tags: &mut Tags, call: &Call, caller: &Caller<'_>) {
    for (name, value) in &call.tags {
        if !tags.iter().any(|(known, _)| known == name) {
            tags.push((name.clone(), value.clone()));
        }
    }
    for (name, value) in caller.tags() {
        tags.retain(|(known, _)| **known != *name);
        tags.push((name.into(), value.into()));
    }
}

fn unknown_model(live: &Live, model: &str) -> Failure {
    let shown: String = model.chars().take(PATH_BYTES_SHOWN).collect();
    let near = live.snapshot.names.nearest(model, 3);
    let hint = if near.is_empty() { String::new() } else { format!(" Did you mean {}?", near.join(", ")) };
    Failure::UnknownModel {
        message: format!("The model {shown:?} does not exist here.{hint} GET /v1/models lists what does."),
    }
}

/// The list has another shape for another client.
fn varied(mut response: Response<RelayBody>) -> Response<RelayBody> {
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("user-agent"));
    response
}

fn json(body: Bytes) -> Response<RelayBody> {
    reply::plain(StatusCode::OK, "application/json", RelayBody::of(body))
}
