//! Three gateways on one Redis: budgets are kept to the nano-dollar through callers who leave, gateways that are killed, and a
//! Redis that is silent, empty or another.

mod kills;
mod load;
mod sums;
mod troubles;

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use tollway_test_support::{Config, Dialect, FakeProvider, Gateway, Kind, Model, Price, Provider};

use crate::{BINARY, MODEL};

const REPLICAS: usize = 3;
/// The longest answer that the fake gives, in tokens.
const LONGEST: u64 = 30;

/// A policy with a budget of its own, chosen by the tag `lane`.
struct Lane {
    name: &'static str,
    on_store_loss: &'static str,
    limit: i64,
}

/// The gateways, and what they are started with.
struct Fleet {
    gateways: Vec<Option<Gateway>>,
    /// Where they are now.
    addresses: Mutex<Vec<SocketAddr>>,
    fake: FakeProvider,
    store: String,
    lanes: Vec<Lane>,
    /// What a token costs, prompt or answer, in nano-dollars.
    token: i64,
}

impl Fleet {
    async fn start(store: &str, lanes: Vec<Lane>, token: i64) -> Self {
        let fake = FakeProvider::speaking(Dialect::new(Kind::OpenAi).tokens(LONGEST)).await;
        fake.keep_no_records();
        let (gateways, addresses) = (Vec::new(), Mutex::default());
        let mut fleet = Self { gateways, addresses, fake, store: store.to_owned(), lanes, token };
        for _ in 0..REPLICAS {
            let gateway = Gateway::start(BINARY, fleet.config()).await;
            fleet.addresses.get_mut().unwrap().push(gateway.address());
            fleet.gateways.push(Some(gateway));
        }
        fleet
    }

    fn config(&self) -> Config {
        // A thousandth of a nano-dollar for a token is a thousandth of a dollar for a million of them.
        let price = format!("{}.{:03}", self.token / 1_000, self.token % 1_000);
        let model = Model::new("served", MODEL).price(Price::per_million(&price, &price, &price));
        let config = Config::new()
            .provider(Provider::fake("one", Kind::OpenAi, &self.fake).model(model))
            .with(&format!("store: {{url: '{}', on_store_loss: refuse, patience: 2s}}", self.store))
            .with("auth: open");
        self.lanes.iter().fold(config, |config, lane| {
            let Lane { name, on_store_loss, limit } = lane;
            let usd = format!("{}.{:09}", limit / 1_000_000_000, limit % 1_000_000_000);
            let policy = format!(
                "policy: {name}\nmatch: {{tags: {{lane: {name}}}}}\nprobe: off\n\
                 fallback: {{attempts: 1, midstream: error}}\non_store_loss: {on_store_loss}\n\
                 budget: {{usd: {usd}, per: month, scope: policy}}\n"
            );
            config.policy(&format!("{name}.yaml"), &policy)
        })
    }

    /// The gateways that run.
    fn running(&self) -> impl Iterator<Item = &Gateway> {
        self.gateways.iter().flatten()
    }

    /// Kills one without a word, and starts it again in its folder.
    async fn kill(&mut self, at: usize) {
        let mut victim = self.gateways[at].take().unwrap();
        victim.kill9();
        let again = victim.restarted(BINARY, self.config()).await;
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)[at] = again.address();
        self.gateways[at] = Some(again);
    }
}
