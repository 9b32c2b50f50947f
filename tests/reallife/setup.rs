//! A gateway's files for a scenario: a provider for each seller, a key for each who asks, one policy with the promise.

use std::fmt::Write as _;
use std::net::SocketAddr;

use tollway::config::environment::{Environment, SecretFileError};
use tollway::config::load::Source;
use tollway::config::{Documents, compile};
use tollway::pricing::Book;
use tollway::replay::scenario::Scenario;
use tollway::replay::trace::Trace;
use tollway::routing::{Policy, Route};
use tollway_test_support::{Config, Kind, Model, Price, Provider};

/// The checkpoint that all sell.
pub(crate) const MODEL: &str = "market-model";
/// Room for the longest prompt of any trace, in tokens.
const CONTEXT: u64 = 2_000_000;

/// The gateway's files; `routes` has the prices in force.
pub(crate) fn config(routes: &[Route], addresses: &[SocketAddr], trace: &Trace, policy: &str) -> Config {
    let mut config = Config::new().policy("live.yaml", policy);
    for (route, address) in routes.iter().zip(addresses) {
        let base = &route.price.as_ref().unwrap().versions().next().unwrap().base;
        let price = Price {
            input: base.input.0,
            cached_input: base.cached_input.unwrap_or(base.input).0,
            output: base.output.0,
        };
        let model = Model::new(MODEL, MODEL).price(price).context(CONTEXT);
        let provider = Provider::at(&route.provider, Kind::OpenAi, &format!("http://{address}/v1"));
        config = config.provider(provider.model(model));
    }
    let mut keys = String::new();
    for (at, _) in trace.keys.iter().enumerate() {
        write!(keys, "{{name: caller-{at}, key: {}, team: live}}, ", key(at)).unwrap();
    }
    config.with(&format!("keys: [{keys}]"))
}

/// What the caller with this number says it is.
pub(crate) fn key(caller: usize) -> String {
    format!("sk-caller-{caller:05}-of-a-replayed-trace")
}

/// The policy's file: the scenario's promise, and nothing but defaults beside.
pub(crate) fn policy(scenario: &Scenario, attainment: f64) -> String {
    let ms = |seconds: f64| (seconds * 1e3).round() as u64;
    let slo = scenario.slo;
    format!(
        "policy: live\nslo: {{ttft: {}ms, ttft_per_1k: {}ms, attainment: {attainment}}}\nfallback: {{attempts: 5, first_token_timeout: 30s}}\n",
        ms(slo.ttft_s),
        ms(slo.ttft_s_per_1k)
    )
}

struct Nothing;

impl Environment for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn secret_file(&self, _: &std::path::Path) -> Result<secrecy::SecretString, SecretFileError> {
        Err(SecretFileError::NotRegular)
    }
}

/// The policy as the gateway reads it, for the simulator.
pub(crate) fn compiled(config: &Config, policy: &str) -> Vec<Policy> {
    let documents = Documents {
        config: Some(Source { name: "tollway.yaml".into(), text: Ok(config.yaml().into()) }),
        policies: vec![Source { name: "policies/live.yaml".into(), text: Ok(policy.to_owned().into()) }],
        ..Documents::default()
    };
    let snapshot =
        compile(&documents, &Nothing, Book::shipped()).unwrap_or_else(|problems| panic!("{problems}"));
    snapshot.policies
}
