//! Writes a gateway's configuration for fake providers.

use std::fmt::Write;

use crate::{BlackHole, FakeProvider, Kind, Price};

/// A model that a provider offers.
#[derive(Clone, Debug)]
pub struct Model {
    id: String,
    checkpoint: String,
    context: u64,
    price: Option<Price>,
    more: String,
}

impl Model {
    /// The provider's own id, and the checkpoint behind it.
    pub fn new(id: &str, checkpoint: &str) -> Self {
        let (id, checkpoint) = (id.to_owned(), checkpoint.to_owned());
        Self { id, checkpoint, context: 131_072, price: None, more: String::new() }
    }

    /// Its price.
    pub fn price(mut self, price: Price) -> Self {
        self.price = Some(price);
        self
    }

    /// Longest prompt and answer together, in tokens; 131,072 unless told.
    pub fn context(mut self, tokens: u64) -> Self {
        self.context = tokens;
        self
    }

    /// A further key, as it stands in YAML: `quantization: fp8`.
    pub fn with(mut self, key_and_value: &str) -> Self {
        write!(self.more, ", {key_and_value}").expect("a string grows");
        self
    }

    fn yaml(&self) -> String {
        let price = self.price.map_or(String::new(), |price| format!(", price: {}", price.yaml()));
        let Self { id, checkpoint, context, more, .. } = self;
        format!("{{id: {id:?}, model: {checkpoint:?}, context: {context}{price}{more}}}")
    }
}

/// One entry under `providers`.
#[derive(Clone, Debug)]
pub struct Provider {
    name: String,
    lines: Vec<String>,
    models: Vec<Model>,
}

impl Provider {
    /// A provider of that kind at any base URL.
    pub fn at(name: &str, kind: Kind, base_url: &str) -> Self {
        let lines = vec![
            format!("kind: {}", kind.name()),
            format!("base_url: {base_url}"),
            format!("api_key: sk-{name}-fixture-key"),
        ];
        Self { name: name.to_owned(), lines, models: Vec::new() }
    }

    /// A provider that is that fake.
    pub fn fake(name: &str, kind: Kind, fake: &FakeProvider) -> Self {
        Self::at(name, kind, &fake.base_url())
    }

    /// A provider that never answers a connection attempt.
    pub fn black_hole(name: &str, kind: Kind, hole: &BlackHole) -> Self {
        Self::at(name, kind, &hole.base_url())
    }

    /// Offers one more model.
    pub fn model(mut self, model: Model) -> Self {
        self.models.push(model);
        self
    }

    /// A further key, as it stands in YAML: `region: us`. It replaces a line of the same key.
    pub fn with(mut self, line: &str) -> Self {
        let key = line.split(':').next().unwrap_or_default();
        self.lines.retain(|old| old.split(':').next() != Some(key));
        self.lines.push(line.to_owned());
        self
    }

    fn yaml(&self) -> String {
        let mut text = format!("  {}:\n", self.name);
        for line in &self.lines {
            writeln!(text, "    {line}").expect("a string grows");
        }
        if !self.models.is_empty() {
            text.push_str("    models:\n");
        }
        for model in &self.models {
            writeln!(text, "      - {}", model.yaml()).expect("a string grows");
        }
        text
    }
}

/// A gateway's files: `tollway.yaml` and what lies under `policies/`.
#[derive(Clone, Debug)]
pub struct Config {
    providers: Vec<Provider>,
    lines: Vec<String>,
    pub(crate) policies: Vec<(String, String)>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) arguments: Vec<String>,
}

impl Config {
    /// Both listeners on free ports of loopback, the local engine off, no provider.
    pub fn new() -> Self {
        let lines = vec![
            "listen: 127.0.0.1:0".to_owned(),
            "admin: {listen: 127.0.0.1:0}".to_owned(),
            "local_engine: {profile: off}".to_owned(),
        ];
        let (providers, policies) = (Vec::new(), Vec::new());
        Self { providers, lines, policies, environment: Vec::new(), arguments: Vec::new() }
    }

    /// Adds a provider.
    pub fn provider(mut self, provider: Provider) -> Self {
        self.providers.push(provider);
        self
    }

    /// A further top-level entry, as it stands in YAML. It replaces one of the same key.
    pub fn with(mut self, entry: &str) -> Self {
        let key = entry.split(':').next().unwrap_or_default();
        self.lines.retain(|old| old.split(':').next() != Some(key));
        self.lines.push(entry.to_owned());
        self
    }

    /// A file under `policies/`.
    pub fn policy(mut self, file: &str, yaml: &str) -> Self {
        self.policies.push((file.to_owned(), yaml.to_owned()));
        self
    }

    /// A variable in the gateway's environment, which is otherwise nearly empty.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A further argument of `tollway serve`.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// The text of `tollway.yaml`.
    pub fn yaml(&self) -> String {
        let mut text = self.lines.join("\n") + "\n";
        if !self.providers.is_empty() {
            text.push_str("providers:\n");
        }
        self.providers.iter().for_each(|provider| text.push_str(&provider.yaml()));
        text
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}
