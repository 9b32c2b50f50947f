//! Policies, in the order in which they are asked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::budgets::PolicyBudget;
use crate::config::document::PolicyDocument;
use crate::config::document::gateway::RetentionWord;
use crate::config::document::policy::{
    CacheDocument, CacheScopeWord, EndpointWord, FallbackDocument, HedgeSetting, MatchDocument,
    MidstreamWord, ModeWord, ObjectiveWord, OnOff,
};
use crate::config::document::values::Pattern;
use crate::config::node::Spot;
use crate::config::problem::{Severity, nearest};
use crate::config::read::{At, Reader};
use crate::routing::{
    Cache, CacheScope, Constraints, Fallback, Glob, Hedging, Matcher, Midstream, Mode, Objective, Policy,
    Retention, Slo,
};

use super::providers::Made;

/// Answer length that expected costs assume, in tokens.
const OUTPUT_TOKENS_ASSUMED: u64 = 512;
/// 45 days.
const PRICE_AGE_MAX: Duration = Duration::from_hours(45 * 24);
const ATTAINMENT: f32 = 0.95;
/// Name of the policy that decides where no other does.
const BUILT_IN: &str = "default";
/// More tries than this in one request are a mistake.
const ATTEMPTS_MAX: u64 = 20;

/// The policies and the budgets of each; without any, the built-in one.
pub(super) fn compile(
    reader: &Reader<'_>,
    typed: &[At<PolicyDocument>],
    made: &Made,
) -> (Vec<Policy>, Vec<Vec<PolicyBudget>>) {
    let mut names: HashMap<Arc<str>, Spot> = HashMap::new();
    let (mut policies, mut budgets) = (Vec::new(), Vec::new());
    for document in typed {
        let Some(name) = &document.policy else {
            reader.missing(
                document.spot,
                &["policy"],
                "a policy needs a name",
                Some("begin with `policy: some-name`".to_owned()),
            );
            continue;
        };
        if let Some(first) = names.insert(Arc::clone(&name.0), name.spot) {
            let message = format!(
                "there are two policies named `{}`; the first in line {} of its file",
                name.0, first.line
            );
            reader.error(name.spot, &message, Some("names are unique over all files".to_owned()));
        }
        let policy = policy(reader, document, Arc::clone(&name.0), made);
        let decides_all =
            |earlier: &&Policy| earlier.mode == Mode::Live && matches_everything(&earlier.matcher);
        if policy.mode == Mode::Live
            && let Some(all) = policies.iter().find(decides_all)
        {
            let message =
                format!("no request reaches this policy: `{}` stands before it and matches all", all.name);
            reader.push(
                Severity::Warning,
                Some(name.spot),
                &message,
                Some("files apply in name order: rename the file, or give the other a `match`".to_owned()),
            );
        }
        if let Some(budget) = document.budget.as_ref().filter(|_| policy.mode == Mode::Shadow) {
            let message = "a shadow decides nothing, and nothing counts for its `budget`";
            reader.push(Severity::Warning, Some(budget.spot), message, None);
        }
        budgets.push(super::budgets::of_policy(reader, document, &policy.name));
        policies.push(policy);
    }
    // Shadows decide nothing: beside them alone the built-in policy serves.
    if policies.iter().all(|policy| policy.mode == Mode::Shadow) {
        policies.push(built_in(if names.contains_key(BUILT_IN) { "built-in" } else { BUILT_IN }));
        budgets.push(Vec::new());
    }
    (policies, budgets)
}

const fn matches_everything(matcher: &Matcher) -> bool {
    matcher.models.is_empty()
        && matcher.keys.is_empty()
        && matcher.teams.is_empty()
        && matcher.endpoints.is_empty()
        && matcher.tags.is_empty()
}

/// What decides where nobody wrote a policy: the cheapest route that has the model.
fn built_in(name: &str) -> Policy {
    Policy {
        name: name.into(),
        matcher: Matcher::default(),
        routes: Vec::new(),
        objective: Objective::Cost,
        in_order: false,
        slo: Slo { attainment: ATTAINMENT, ..Slo::default() },
        constraints: Constraints::default(),
        fallback: Fallback::default(),
        hedging: Hedging::default(),
        probe: true,
        mode: Mode::Live,
        stream_upstream: false,
        cache: None,
        allow_unpriced: false,
        output_tokens_assumed: OUTPUT_TOKENS_ASSUMED,
        output_tokens_max: None,
        price_age_max: Some(PRICE_AGE_MAX),
    }
}

fn policy(reader: &Reader<'_>, typed: &PolicyDocument, name: Arc<str>, made: &Made) -> Policy {
    say_what_lacks_a_promise(reader, typed);
    let slo = typed.slo.as_ref();
    Policy {
        matcher: typed.matches.as_ref().map(|matches| matcher(reader, matches)).unwrap_or_default(),
        routes: routes(reader, typed, made),
        objective: match typed.objective.as_ref().map(|objective| objective.value) {
            None | Some(ObjectiveWord::Cost) => Objective::Cost,
            Some(ObjectiveWord::Latency) => Objective::Latency,
            Some(ObjectiveWord::Throughput) => Objective::Throughput,
            Some(ObjectiveWord::Balanced) => Objective::Balanced,
        },
        in_order: typed.in_order.as_ref().is_some_and(|flag| flag.0),
        slo: Slo {
            ttft: slo.and_then(|slo| slo.ttft.as_ref()).map(|ttft| ttft.0),
            ttft_per_1k: slo.and_then(|slo| slo.ttft_per_1k.as_ref()).map_or(Duration::ZERO, |span| span.0),
            tokens_per_second: slo.and_then(|slo| slo.tokens_per_second.as_ref()).map(|speed| speed.0),
            attainment: slo.and_then(|slo| slo.attainment.as_ref()).map_or(ATTAINMENT, |share| share.0),
        },
        constraints: constraints(typed),
        fallback: typed
            .fallback
            .as_ref()
            .map(|fallback| self::fallback(reader, fallback))
            .unwrap_or_default(),
        hedging: hedging(typed.hedge.as_ref().map(|hedge| &hedge.value)),
        probe: typed.probe.as_ref().is_none_or(|word| word.value == OnOff::On),
        mode: match typed.mode.as_ref().map(|word| word.value) {
            None | Some(ModeWord::Live) => Mode::Live,
            Some(ModeWord::Shadow) => Mode::Shadow,
        },
        stream_upstream: typed.stream_upstream.as_ref().is_some_and(|flag| flag.0),
        cache: typed.cache.as_ref().and_then(|typed| cache(&typed.value)),
        allow_unpriced: typed.allow_unpriced.as_ref().is_some_and(|flag| flag.0),
        output_tokens_assumed: typed
            .output_tokens_assumed
            .as_ref()
            .map_or(OUTPUT_TOKENS_ASSUMED, |count| count.0),
        output_tokens_max: typed.output_tokens_max.as_ref().map(|count| count.0),
        price_age_max: price_age_max(typed),
        name,
    }
}

fn matcher(reader: &Reader<'_>, typed: &MatchDocument) -> Matcher {
    let globs = |list: &Option<At<Vec<At<Pattern>>>>| -> Vec<Glob> {
        list.iter().flat_map(|list| &list.value).map(|pattern| Glob(Arc::clone(&pattern.0))).collect()
    };
    let endpoint = |word: EndpointWord| match word {
        EndpointWord::Chat => "chat",
        EndpointWord::Completions => "completions",
        EndpointWord::Embeddings => "embeddings",
        EndpointWord::Rerank => "rerank",
    };
    Matcher {
        models: globs(&typed.models),
        keys: globs(&typed.keys),
        teams: globs(&typed.teams),
        endpoints: typed
            .endpoints
            .iter()
            .flat_map(|list| &list.value)
            .map(|word| endpoint(word.value).into())
            .collect(),
        tags: super::keys::tags(reader, typed.tags.as_ref())
            .into_iter()
            .map(|(name, value)| (name, Glob(value)))
            .collect(),
    }
}

/// Who may serve: an entry without wildcard must name somebody, so that a slip of the pen leaves nobody out in silence.
fn routes(reader: &Reader<'_>, typed: &PolicyDocument, made: &Made) -> Vec<Glob> {
    let mut globs = Vec::new();
    for pattern in typed.routes.iter().flat_map(|routes| &routes.value) {
        let text = &*pattern.0;
        let has_wildcard = text.contains(['*', '?']);
        if !has_wildcard && !made.known.iter().any(|known| **known == *text) {
            let help = nearest(text, made.known.iter().map(|known| &**known)).map_or_else(
                || "name a provider of tollway.yaml, a built-in one, or provider/model".to_owned(),
                |word| format!("did you mean `{word}`?"),
            );
            reader.error(pattern.spot, &format!("`{text}` names no provider and no route"), Some(help));
        }
        globs.push(Glob(Arc::clone(&pattern.0)));
    }
    globs
}

fn constraints(typed: &PolicyDocument) -> Constraints {
    let Some(typed) = &typed.constraints else { return Constraints::default() };
    let names = |list: &Option<At<Vec<At<crate::config::document::values::Name>>>>| -> Vec<Arc<str>> {
        list.iter().flat_map(|list| &list.value).map(|name| Arc::clone(&name.0)).collect()
    };
    let max = typed.max_price.as_ref();
    Constraints {
        input_price_max: max.and_then(|max| max.input.as_ref()).map(|price| price.0),
        output_price_max: max.and_then(|max| max.output.as_ref()).map(|price| price.0),
        regions: names(&typed.regions),
        retention_max: typed.data_retention.as_ref().map(|word| retention(word.value)),
        quantizations: names(&typed.quantizations),
    }
}

/// A retention word as routing has it.
pub(super) const fn retention(word: RetentionWord) -> Retention {
    match word {
        RetentionWord::None => Retention::None,
        RetentionWord::Stored => Retention::Stored,
        RetentionWord::Training => Retention::Training,
    }
}

fn fallback(reader: &Reader<'_>, typed: &FallbackDocument) -> Fallback {
    let defaults = Fallback::default();
    if let Some(attempts) = typed.attempts.as_ref().filter(|attempts| attempts.0 > ATTEMPTS_MAX) {
        reader.error(attempts.spot, &format!("`attempts` must be at most {ATTEMPTS_MAX}"), None);
    }
    for timeout in [&typed.first_token_timeout, &typed.idle_timeout].into_iter().flatten() {
        if timeout.0 == Duration::ZERO {
            reader.error(timeout.spot, "a time-out of zero would let nobody answer", None);
        }
    }
    Fallback {
        attempts: typed
            .attempts
            .as_ref()
            .map_or(defaults.attempts, |count| u32::try_from(count.0).unwrap_or(u32::MAX)),
        first_token_timeout: typed
            .first_token_timeout
            .as_ref()
            .map_or(defaults.first_token_timeout, |span| span.0),
        idle_timeout: typed.idle_timeout.as_ref().map_or(defaults.idle_timeout, |span| span.0),
        midstream: match typed.midstream.as_ref().map(|word| word.value) {
            Some(MidstreamWord::Resume) => Midstream::Resume,
            None | Some(MidstreamWord::Error) => Midstream::Error,
        },
    }
}

fn hedging(typed: Option<&HedgeSetting>) -> Hedging {
    let defaults = Hedging::default();
    match typed {
        None | Some(HedgeSetting::Word(OnOff::On)) => defaults,
        Some(HedgeSetting::Word(OnOff::Off)) => Hedging { on: false, ..defaults },
        Some(HedgeSetting::Terms(terms)) => Hedging {
            on: true,
            after: terms.after.as_ref().map_or(defaults.after, |after| after.0),
            max_extra_cost: terms.max_extra_cost.as_ref().map_or(defaults.max_extra_cost, |share| share.0),
        },
    }
}

/// What rests on a promise of a first token, and does nothing without one.
fn say_what_lacks_a_promise(reader: &Reader<'_>, typed: &PolicyDocument) {
    let slo = typed.slo.as_ref();
    if slo.is_some_and(|slo| slo.ttft.is_some()) {
        return;
    }
    let help = || Some("add a time to first token, such as `slo: {ttft: 800ms}`".to_owned());
    if let Some(per_1k) = slo.and_then(|slo| slo.ttft_per_1k.as_ref()) {
        reader.error(per_1k.spot, "`ttft_per_1k` adds to `ttft`, which is not set", help());
    }
    if let Some(hedge) = typed.hedge.as_ref().filter(|hedge| matches!(hedge.value, HedgeSetting::Terms(_))) {
        let message = "`hedge` does nothing here: without `slo.ttft` no answer is ever late";
        reader.push(Severity::Warning, Some(hedge.spot), message, help());
    }
}

/// What is kept of answers; without a time, or with none, nothing is.
fn cache(typed: &CacheDocument) -> Option<Cache> {
    let ttl = typed.ttl.as_ref().map(|ttl| ttl.0).filter(|ttl| !ttl.is_zero())?;
    let scope = match typed.scope.as_ref().map(|word| word.value) {
        Some(CacheScopeWord::Key) => CacheScope::Key,
        None | Some(CacheScopeWord::Team) => CacheScope::Team,
        Some(CacheScopeWord::All) => CacheScope::All,
    };
    Some(Cache { ttl, scope })
}

/// How old a price may be unremarked; zero: as old as it likes.
fn price_age_max(typed: &PolicyDocument) -> Option<Duration> {
    let max_age = typed.prices.as_ref().and_then(|prices| prices.max_age.as_ref());
    Some(max_age.map_or(PRICE_AGE_MAX, |age| age.0)).filter(|age| !age.is_zero())
}
