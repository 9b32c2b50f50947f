//! The names and wishes of a request meet the configuration: which routes may be meant, and what routing is to heed of the
//! caller's own routing fields. A request without any costs one look-up.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderMap;

use crate::api::body::Call;
use crate::api::scan::DEPTH_LIMIT;
use crate::api::wishes::{Wishes, without_suffix};
use crate::config::{NameKind, Resolved, Snapshot};
use crate::providers::steering::unheeded;
use crate::routing::learn::prefix::Held;
use crate::routing::wishes::is_named;
use crate::routing::{Endpoint, Model, RequestFacts, RouteId, Wants, select};
use crate::units::Mono;
use crate::upstream::fallback::Served;

use super::live::Live;

/// A request as its names and wishes have it.
pub struct Steering<'a> {
    /// The model that policies match on: the first of those named that is known, without a suffix.
    pub model: &'a str,
    /// What sort of name that is.
    pub kind: NameKind,
    /// Routes that may be meant.
    pub eligible: Cow<'a, [RouteId]>,
    wished: Option<Box<Wished<'a>>>,
    conversation: Option<u64>,
    session: Option<(usize, Held)>,
}

/// What most requests have nothing of.
struct Wished<'a> {
    wishes: &'a Wishes,
    models: Vec<Model<'a>>,
    model_of: Vec<u8>,
    order: Vec<&'a str>,
    only: Vec<&'a str>,
    ignore: Vec<&'a str>,
    foreign: Vec<&'a str>,
    quantizations: Vec<&'a str>,
    unheeded: Vec<Option<Arc<str>>>,
}

/// Completes `call`'s wishes by what only the configuration knows: whether a suffix is one, and which names are nobody's here.
pub fn complete(snapshot: &Snapshot, call: &mut Call) {
    if let Some((_, sort)) = without_suffix(&call.model)
        && snapshot.names.resolve(&call.model).is_none()
    {
        call.wishes.get_or_insert_default().sort.get_or_insert(sort);
    }
    if let Some(wishes) = &mut call.wishes {
        let names = wishes.order.iter().chain(&wishes.only);
        let is_foreign = |name: &str| !snapshot.routes.iter().any(|route| is_named(name, route));
        wishes.foreign = names.filter(|name| is_foreign(name)).cloned().collect();
    }
}

/// A request of which only its model is known, and members of its body that steer (`{"provider": {…}}`), for whoever explains.
pub fn call_of(
    snapshot: &Snapshot,
    endpoint: Endpoint,
    model: &str,
    wish: Option<&str>,
) -> Result<Call, String> {
    let members = wish.map_or(Ok(serde_json::Map::new()), serde_json::from_str);
    let mut members = members.map_err(|error| format!("it is not a JSON object: {error}"))?;
    if let Some(other) = members.keys().find(|name| !Wishes::is_member(name)) {
        return Err(format!(
            "{other:?} does not steer; there are models, provider, usage, session_id, prompt_cache_key"
        ));
    }
    members.insert("model".to_owned(), model.into());
    let prompt: &[(&str, serde_json::Value)] = match endpoint {
        Endpoint::Chat => &[("messages", serde_json::json!([{}]))],
        Endpoint::Completions => &[("prompt", "-".into())],
        Endpoint::Embeddings => &[("input", "-".into())],
        Endpoint::Rerank => &[("query", "-".into()), ("documents", serde_json::json!(["-"]))],
    };
    members.extend(prompt.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let body = serde_json::Value::Object(members).to_string();
    let mut call = Call::parse(endpoint, body.into(), DEPTH_LIMIT).map_err(|error| error.to_string())?;
    complete(snapshot, &mut call);
    Ok(call)
}

impl<'a> Steering<'a> {
    /// What `call` asks of the gateway in service; `asker` says whose it is, so far as policies look at that. `None`: none of
    /// the models is known here.
    pub(super) fn of(
        live: &'a Live,
        call: &'a Call,
        headers: &HeaderMap,
        asker: &RequestFacts<'_>,
        now: Mono,
    ) -> Option<Self> {
        let mut steering = Self::by(&live.snapshot, call, asker)?;
        let named = call.wishes.as_ref().and_then(|wishes| wishes.session.as_deref());
        let named = named.or_else(|| headers.get("x-session-id").and_then(|id| id.to_str().ok()));
        if let Some(name) = named {
            steering.stay(live, name, asker, now);
        }
        Some(steering)
    }

    /// As [`Self::of`], by the configuration alone.
    pub fn by(snapshot: &'a Snapshot, call: &'a Call, asker: &RequestFacts<'_>) -> Option<Self> {
        match call.wishes.as_deref() {
            None => Some(Self::plain(&call.model, snapshot.names.resolve(&call.model)?)),
            Some(wishes) => Self::wished(snapshot, call, wishes, asker),
        }
    }

    fn plain(model: &'a str, resolved: Resolved<'a>) -> Self {
        Self {
            model,
            kind: resolved.kind,
            eligible: Cow::Borrowed(resolved.routes),
            wished: None,
            conversation: None,
            session: None,
        }
    }

    /// `None`: none of the models is known here, or no policy decides any.
    fn wished(
        snapshot: &'a Snapshot,
        call: &'a Call,
        wishes: &'a Wishes,
        asker: &RequestFacts<'_>,
    ) -> Option<Self> {
        let named = std::iter::once(&call.model).chain(&wishes.models);
        let mut known = named.filter_map(|name| {
            let resolved = snapshot.names.resolve(name).map(|resolved| (&**name, resolved));
            resolved.or_else(|| {
                let (bare, _) = without_suffix(name)?;
                Some((bare, snapshot.names.resolve(bare)?))
            })
        });
        let (model, first) = known.next()?;
        let mut steering = Self::plain(model, first);
        let mut models = Vec::new();
        let mut model_of = Vec::new();
        let mut more = known.filter(|(name, _)| *name != model).peekable();
        if more.peek().is_some() {
            let mut eligible: Vec<RouteId> = Vec::new();
            for (name, resolved) in std::iter::once((model, first)).chain(more) {
                let facts = RequestFacts { model: name, ..*asker };
                let policy = select(&snapshot.policies, &facts).and_then(|at| snapshot.policies.get(at));
                // A model that no policy decides is served to nobody.
                let Some(policy) = policy else { continue };
                if models.iter().any(|model: &Model<'_>| model.name == name) {
                    continue;
                }
                let place = u8::try_from(models.len()).unwrap_or(u8::MAX);
                models.push(Model { name, policy });
                for id in resolved.routes {
                    if !eligible.contains(id) {
                        eligible.push(*id);
                        model_of.push(place);
                    }
                }
            }
            steering.model = models.first().map_or(model, |model| model.name);
            steering.eligible = Cow::Owned(eligible);
        }
        let unheeded = if wishes.require_parameters || !wishes.unknown.is_empty() {
            let kind = |id: &RouteId| snapshot.provider_of(*id).map(|provider| provider.kind);
            steering.eligible.iter().map(|id| unheeded(kind(id)?, call, wishes)).collect()
        } else {
            Vec::new()
        };
        let texts = |list: &'a [Box<str>]| list.iter().map(|name| &**name).collect();
        steering.wished = Some(Box::new(Wished {
            models,
            model_of,
            order: texts(&wishes.order),
            only: texts(&wishes.only),
            ignore: texts(&wishes.ignore),
            foreign: texts(&wishes.foreign),
            quantizations: texts(&wishes.quantizations),
            unheeded,
            wishes,
        }));
        Some(steering)
    }

    /// The caller names its conversation: where it is by now.
    fn stay(&mut self, live: &Live, name: &str, asker: &RequestFacts<'_>, now: Mono) {
        let upstreams = &live.upstreams;
        let first = self.eligible.first().and_then(|id| live.snapshot.route(*id));
        let checkpoint = first.map_or("none", |route| &*route.checkpoint);
        let conversation = upstreams.stays.conversation(asker.team, asker.key, checkpoint, name);
        self.conversation = Some(conversation);
        self.session = upstreams.stays.of(conversation, now).and_then(|(number, held)| {
            let is_it = |id: &RouteId| {
                upstreams.health.get(usize::from(id.0)).is_some_and(|health| health.number() == number)
            };
            Some((self.eligible.iter().position(is_it)?, held))
        });
    }

    /// What routing is to heed.
    pub fn wants(&self) -> Wants<'_> {
        let session = self.session;
        let Some(wished) = self.wished.as_deref() else { return Wants { session, ..Wants::default() } };
        let said = wished.wishes;
        Wants {
            order: &wished.order,
            only: &wished.only,
            ignore: &wished.ignore,
            foreign: &wished.foreign,
            no_fallbacks: said.no_fallbacks,
            quantizations: &wished.quantizations,
            retention_max: said.retention_max,
            input_price_max: said.prompt_price_max,
            output_price_max: said.completion_price_max,
            fee_max: said.fee_max,
            objective: said.sort.and_then(crate::routing::Sort::objective),
            throughput_min: &said.throughput_min,
            latency_max: &said.latency_max,
            unheeded: &wished.unheeded,
            models: &wished.models,
            model_of: &wished.model_of,
            across_models: said.across_models,
            session,
        }
    }

    /// `facts` of the same request, with its model, the routes that may be meant and what is to be heeded.
    pub fn steered<'s>(&'s self, facts: RequestFacts<'s>) -> RequestFacts<'s> {
        RequestFacts { model: self.model, eligible: &self.eligible, wants: self.wants(), ..facts }
    }

    /// Whether a second route may be asked beside a silent first one, as far as the caller goes.
    pub fn may_hedge(&self) -> bool {
        self.wished.as_ref().is_none_or(|wished| !wished.wishes.no_fallbacks)
    }

    /// The conversation is now where it was served.
    pub(super) fn served(&self, live: &Live, served: &Served, prompt_tokens: u64) {
        let Some(conversation) = self.conversation else { return };
        if let Some(health) = live.upstreams.health.get(usize::from(served.candidate.route.0)) {
            live.upstreams.stays.served(conversation, health.number(), prompt_tokens, served.answered);
        }
    }
}
