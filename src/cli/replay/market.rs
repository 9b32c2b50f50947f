//! The trace, the market and the policies that a replay is of.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use crate::config::environment::SecretFileError;
use crate::config::load::Source;
use crate::config::{Documents, Environment, Location, Machine, Snapshot, compile, watch};
use crate::pricing::Book;
use crate::pricing::card::Rates;
use crate::providers::Kind as ProviderKind;
use crate::replay::protocol::judge::policy;
use crate::replay::scenario::{self, Scenario, Shapes, SloClass};
use crate::replay::trace::{Kind, Load, Trace, generate, load, records};
use crate::routing::{Policy, Retention, Route, RouteId};

use super::{Error, ReplayArgs};

/// How long a generated trace is where nothing else is said.
const GENERATED: usize = 6_000;
/// The promise that requests are held to where neither a policy nor a market says another.
const PROMISE: SloClass = SloClass { ttft_s: 2.0, ttft_s_per_1k: 0.1 };
const SEED: u64 = 1;

/// What is replayed.
#[derive(Debug)]
pub(super) struct Matter {
    pub(super) trace: Trace,
    pub(super) scenario: Scenario,
    pub(super) policies: Named,
    pub(super) against: Option<Named>,
    /// Who may serve each of the trace's models; empty: everybody any.
    pub(super) eligible: Vec<Vec<RouteId>>,
    /// What the reader should know of how these came to be.
    pub(super) notes: Vec<String>,
}

/// A set of policies, by what it is called in the report.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) policies: Vec<Policy>,
}

/// Opens a trace: a file, or `generate:kind[:N]`.
pub(super) fn trace(name: &str, requests: Option<usize>) -> Result<Trace, Error> {
    let Some(wanted) = name.strip_prefix("generate:") else {
        return Ok(load(Path::new(name), &Load { seed: SEED, limit: requests, span_s: None })?);
    };
    let (kind, count) = wanted.split_once(':').map_or((wanted, None), |(kind, count)| (kind, Some(count)));
    let kind = Kind::ALL
        .into_iter()
        .find(|known| known.name() == kind)
        .ok_or_else(|| Error::Generate(name.to_owned()))?;
    let count = match count {
        Some(count) => {
            count.parse().ok().filter(|count| *count > 0).ok_or_else(|| Error::Generate(name.to_owned()))?
        }
        None => requests.unwrap_or(GENERATED),
    };
    Ok(generate(kind, SEED, requests.map_or(count, |most| most.min(count))))
}

/// Opens a scenario: a file, or the name of one that comes with the binary.
pub(super) fn scenario(file: &Path) -> Result<Scenario, Error> {
    let name = file.to_str().unwrap_or_default();
    match scenario::shipped(name).filter(|_| !file.exists()) {
        Some(shipped) => shipped.map_err(Error::Scenario),
        None if !file.exists() && !name.contains(['/', '.']) => Err(Error::NoScenario(name.to_owned())),
        None => scenario::load(file, &Shapes::fitted()).map_err(Error::Scenario),
    }
}

/// Everything that `args` name.
pub(super) fn read(args: &ReplayArgs) -> Result<Matter, Error> {
    let name = args.trace.as_deref().ok_or(Error::NoTrace)?;
    let logged =
        if name.starts_with("generate:") || !args.scenario.is_empty() { None } else { log(name, args)? };
    let mut matter = match logged {
        Some(records) => of_log(&records, args)?,
        None => of_market(name, args)?,
    };
    if let Some(rate) = args.rate {
        matter.trace = matter.trace.scaled(rate);
    }
    Ok(matter)
}

/// The access log in `name`, if that is what it is.
fn log(name: &str, args: &ReplayArgs) -> Result<Option<records::Records>, Error> {
    let options = Load { seed: SEED, limit: args.requests, span_s: None };
    // Any other format is the business of who reads those.
    if !records::is_log(Path::new(name))? {
        return Ok(None);
    }
    Ok(Some(records::load(Path::new(name), &options)?))
}

fn of_log(records: &records::Records, args: &ReplayArgs) -> Result<Matter, Error> {
    let (documents, _) = watch::read(&Location::new(args.config.clone(), None));
    let snapshot = |policies: Option<&PathBuf>| {
        let mut documents = documents.clone();
        if let Some(path) = policies {
            documents.policies = policy_sources(path)?;
        }
        let environment = Keyless(Machine { folder: documents.folder.clone() });
        compile(&documents, &environment, Book::shipped()).map_err(Error::Configuration)
    };
    let (own, other) = (
        snapshot(args.policies.as_ref())?,
        args.against.as_ref().map(|path| snapshot(Some(path))).transpose()?,
    );
    let slo = args.promise().or_else(|| promised(&own)).unwrap_or(PROMISE);
    let inferred = scenario::from_records(&own.routes, records, slo);
    if inferred.scenario.routes.is_empty() {
        return Err(Error::NoMarket { asked: records.routes.len(), unknown: inferred.unknown.len() });
    }
    let mut notes = vec![inferred.scenario.about.clone()];
    if records.unanswered > 0 {
        notes.push(format!(
            "{} requests of the log nobody answered; how long they were is not known",
            records.unanswered
        ));
    }
    for (route, answers) in &inferred.too_rare {
        notes.push(format!("{route} is left out: {answers} timed answers are too few to know it by"));
    }
    for route in &inferred.unknown {
        notes.push(format!("{route} is left out: the configuration has no such route"));
    }
    let eligible = eligible(&own, &records.trace, &inferred.scenario);
    if !eligible.is_empty() && (args.baselines || args.html.is_some()) {
        notes.push(
            "baselines are left out: they take any route for any model, and this log has several".to_owned(),
        );
    }
    let named = |path: Option<&PathBuf>, snapshot: Snapshot| Named {
        name: path.map_or_else(|| "the policies in force".to_owned(), |path| path.display().to_string()),
        policies: snapshot.policies,
    };
    Ok(Matter {
        trace: records.trace.clone(),
        scenario: inferred.scenario,
        policies: named(args.policies.as_ref(), own),
        against: other.map(|other| named(args.against.as_ref(), other)),
        eligible,
        notes,
    })
}

/// Who in the market serves what each name of the log stands for in the configuration; empty where everybody serves all.
fn eligible(snapshot: &Snapshot, trace: &Trace, market: &Scenario) -> Vec<Vec<RouteId>> {
    let everybody = || (0..u16::try_from(market.routes.len()).unwrap_or(u16::MAX)).map(RouteId);
    let serving = |name: &str| -> Vec<RouteId> {
        let Some(resolved) = snapshot.names.resolve(name) else { return everybody().collect() };
        let serves = |id: &RouteId| {
            let route = market.routes.get(usize::from(id.0)).map(|market| &market.route.name);
            resolved.routes.iter().any(|own| snapshot.route(*own).map(|own| &own.name) == route)
        };
        everybody().filter(serves).collect()
    };
    let all: Vec<Vec<RouteId>> = trace.models.iter().map(|name| serving(name)).collect();
    if all.iter().all(|own| own.len() == market.routes.len()) { Vec::new() } else { all }
}

/// The promise of the first policy that makes one.
fn promised(snapshot: &Snapshot) -> Option<SloClass> {
    let slo = snapshot.policies.iter().map(|policy| policy.slo).find(|slo| slo.ttft.is_some())?;
    Some(SloClass { ttft_s: slo.ttft?.as_secs_f64(), ttft_s_per_1k: slo.ttft_per_1k.as_secs_f64() })
}

fn of_market(name: &str, args: &ReplayArgs) -> Result<Matter, Error> {
    let trace = trace(name, args.requests)?;
    let mut scenario = match args.scenario.as_slice() {
        [] => super::protocol::shipped("reference")?,
        [one] => scenario(one)?,
        _ => return Err(Error::ManyScenarios),
    };
    scenario.slo = args.promise().unwrap_or(scenario.slo);
    let mut notes = vec![format!("market {}: {}", scenario.name, scenario.about)];
    let attainment = args.attainment.unwrap_or(super::ATTAINMENT);
    let policies = match &args.policies {
        Some(path) => compiled(path, &scenario, args, &mut notes)?,
        None => Named {
            name: format!("the market's promise at {} %", attainment * 100.0),
            policies: vec![policy(scenario.slo, attainment)],
        },
    };
    let against =
        args.against.as_ref().map(|path| compiled(path, &scenario, args, &mut notes)).transpose()?;
    Ok(Matter { trace, scenario, policies, against, eligible: Vec::new(), notes })
}

/// The policies in `path`, compiled for this market by the compiler that serves.
fn compiled(
    path: &Path,
    scenario: &Scenario,
    args: &ReplayArgs,
    notes: &mut Vec<String>,
) -> Result<Named, Error> {
    if args.config.is_some() {
        notes.push("--config is used with an access log only: this market has its own routes".to_owned());
    }
    let config = Source { name: "(the market's routes)".into(), text: Ok(config_of(scenario).into()) };
    let documents =
        Documents { config: Some(config), policies: policy_sources(path)?, ..Documents::default() };
    let snapshot = compile(&documents, &Nothing, &Book::default()).map_err(Error::Configuration)?;
    notes.extend(snapshot.warnings.iter().map(ToString::to_string));
    Ok(Named { name: path.display().to_string(), policies: snapshot.policies })
}

/// The texts of a policy file, or of all in a folder.
fn policy_sources(path: &Path) -> Result<Vec<Source>, Error> {
    if path.is_dir() {
        let location = Location::new(None, Some(path.to_owned()));
        let documents = Location { config: path.join("none.yaml"), ..location }.read();
        return match documents.faults.into_iter().next() {
            Some(fault) => Err(Error::Policies(path.to_owned(), fault.text.err().unwrap_or_default())),
            None if documents.policies.is_empty() => {
                Err(Error::Policies(path.to_owned(), "the folder holds no *.yaml file".to_owned()))
            }
            None => Ok(documents.policies),
        };
    }
    let text =
        std::fs::read_to_string(path).map_err(|error| Error::Policies(path.to_owned(), error.to_string()))?;
    Ok(vec![Source { name: path.display().to_string().into(), text: Ok(text.into()) }])
}

/// This machine, with a key for whoever lacks one: nobody is called, and a log is often read where no keys are.
struct Keyless(Machine);

impl Environment for Keyless {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.variable(name).or_else(|| name.ends_with("_KEY").then(|| "unused".to_owned()))
    }

    fn secret_file(&self, path: &Path) -> Result<SecretString, SecretFileError> {
        self.0.secret_file(path).or_else(|_| Ok(SecretString::from("unused")))
    }
}

/// A market's policies read nothing of this machine.
struct Nothing;

impl Environment for Nothing {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn secret_file(&self, _path: &Path) -> Result<SecretString, SecretFileError> {
        Err(SecretFileError::Empty)
    }
}

/// A configuration whose providers are the sellers of a market, so that a policy may name them and nobody else.
fn config_of(scenario: &Scenario) -> String {
    let mut text = "providers:\n".to_owned();
    let routes = scenario.routes.iter().map(|market| &market.route);
    let routes: Vec<&Route> = routes.chain(scenario.local.iter().map(|node| &node.route)).collect();
    let mut written: Vec<&str> = Vec::new();
    for route in &routes {
        // `local` is always there.
        if &*route.provider == ProviderKind::Local.name() || written.contains(&&*route.provider) {
            continue;
        }
        written.push(&route.provider);
        let _ = writeln!(text, "  {}:", quoted(&route.provider));
        let built_in =
            ProviderKind::from_name(&route.provider).is_some_and(|kind| kind.key_variable().is_some());
        if !built_in {
            text.push_str("    kind: openai\n");
        }
        text.push_str("    base_url: http://127.0.0.1:9/v1\n    api_key: unused\n");
        if let Some(word) = retention(route.retention) {
            let _ = writeln!(text, "    data_retention: {word}");
        }
        if let Some(region) = &route.region {
            let _ = writeln!(text, "    region: {}", quoted(region));
        }
        text.push_str("    models:\n");
        for own in routes.iter().filter(|own| own.provider == route.provider) {
            let _ = write!(
                text,
                "      - {{id: {}, model: {}",
                quoted(&own.upstream_model),
                quoted(&own.checkpoint)
            );
            if let Some(rates) =
                own.price.as_ref().and_then(|card| card.versions().last()).map(|last| last.base)
            {
                let _ = write!(text, ", price: {}", price(&rates));
            }
            text.push_str("}\n");
        }
    }
    if written.is_empty() { String::new() } else { text }
}

/// Prices of a million tokens in USD.
fn price(rates: &Rates) -> String {
    let usd = |price: crate::units::TokenPrice| format!("{}.{:06}", price.0 / 1_000_000, price.0 % 1_000_000);
    let mut text = format!("{{input: {}, output: {}", usd(rates.input), usd(rates.output));
    if let Some(cached) = rates.cached_input {
        let _ = write!(text, ", cached_input: {}", usd(cached));
    }
    text.push('}');
    text
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

const fn retention(retention: Retention) -> Option<&'static str> {
    match retention {
        Retention::None => Some("none"),
        Retention::Stored => Some("stored"),
        Retention::Training => Some("training"),
        Retention::Unknown => None,
    }
}
