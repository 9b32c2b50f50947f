//! Who serves models, and each model they offer as a route with its price.

use std::sync::Arc;

use http::Uri;

use crate::config::document::TollwayDocument;
use crate::config::document::gateway::{ModelDocument, ProviderDocument, ResponsesWord};
use crate::config::naming;
use crate::config::node::Spot;
use crate::config::problem::nearest;
use crate::config::read::{At, Reader};
use crate::config::snapshot::{Provider, Settings, Unusable};
use crate::pricing::PriceCard;
use crate::pricing::book::{self, Book, BookRow};
use crate::providers::{Continuation, Kind};
use crate::routing::{Capabilities, Retention, Route};

use super::address::checked_url;
use super::contract::{Contract, contract_prices, refuse_stray_prices};
use super::prices;
use super::provider_words::{capabilities, continuation_of, kind_of};

/// What came of the providers.
pub(super) struct Made {
    pub(super) providers: Vec<Provider>,
    pub(super) routes: Vec<Route>,
    pub(super) route_provider: Vec<u16>,
    /// Each route's family, by its place.
    pub(super) families: Vec<Arc<str>>,
    /// Every word a policy's `routes` may name: providers, and the routes of usable ones.
    pub(super) known: Vec<Arc<str>>,
}

pub(super) fn compile(
    reader: &Reader<'_>,
    document: &TollwayDocument,
    settings: &Settings,
    book: &Book,
) -> Made {
    let mut made = Made {
        providers: Vec::new(),
        routes: Vec::new(),
        route_provider: Vec::new(),
        families: Vec::new(),
        known: Vec::new(),
    };
    let file = reader.files.first().map_or("tollway.yaml", |file| &*file.name).to_owned();
    let contract = contract_prices(reader, document, &file);
    let empty = ProviderDocument::default();
    let typed: Vec<(&At<String>, &At<ProviderDocument>)> = document
        .providers
        .iter()
        .flat_map(|providers| &providers.value.0)
        .map(|(name, typed)| (name, typed))
        .collect();

    made.local(
        &settings.local_engine,
        prices::local(document.local_engine.as_ref().and_then(|engine| engine.cost.as_ref()), &file),
    );
    for kind in Kind::ALL.into_iter().filter(|kind| kind.key_variable().is_some()) {
        let own = typed.iter().find(|(name, _)| name.value == kind.name());
        let spot = own.map_or(Spot::default(), |(_, typed)| typed.spot);
        let record = own.map_or(&empty, |(_, typed)| &typed.value);
        let one = One {
            reader,
            record,
            spot,
            name: kind.name().into(),
            kind,
            book,
            contract: &contract,
            file: &file,
        };
        if let Some(stated) = record.kind.as_ref().filter(|stated| kind_of(stated.value) != kind) {
            reader.error(
                stated.spot,
                &format!("`{}` is built in and of its own kind", kind.name()),
                Some("give your provider another name".to_owned()),
            );
        }
        one.add_to(&mut made);
    }
    for (name, record) in typed {
        if Kind::from_name(&name.value).is_some_and(|kind| kind.key_variable().is_some()) {
            continue;
        }
        if !naming::is_name(&name.value) || name.value == Kind::Local.name() {
            let message = format!(
                "`{}` cannot be a provider's name",
                crate::config::excerpt::shortened(&name.value, 60)
            );
            reader.error(
                name.spot,
                &message,
                Some("letters, digits and `. _ -`, 64 at most; `local` is this machine".to_owned()),
            );
            continue;
        }
        let Some(stated) = &record.kind else {
            let builtin = nearest(&name.value, Kind::ALL.iter().map(|kind| kind.name()));
            let help = builtin
                .map_or("add `kind: openai` for a server with OpenAI's API".to_owned(), |word| {
                    format!("did you mean `{word}`?")
                });
            if !reader.typed(record.spot).contains(&"kind") {
                reader.error(name.spot, &format!("the provider `{}` needs a `kind`", name.value), Some(help));
            }
            continue;
        };
        let kind = kind_of(stated.value);
        One {
            reader,
            record,
            spot: name.spot,
            name: name.value.as_str().into(),
            kind,
            book,
            contract: &contract,
            file: &file,
        }
        .add_to(&mut made);
    }
    made.known.extend(made.providers.iter().map(|provider| Arc::clone(&provider.name)));
    made.known.extend(made.routes.iter().map(|route| Arc::clone(&route.name)));
    refuse_stray_prices(reader, document, &made);
    made
}

/// One provider on its way into the snapshot.
struct One<'a> {
    reader: &'a Reader<'a>,
    record: &'a ProviderDocument,
    spot: Spot,
    name: Arc<str>,
    kind: Kind,
    book: &'a Book,
    contract: &'a Contract,
    file: &'a str,
}

impl One<'_> {
    fn add_to(self, made: &mut Made) {
        let base_url = self.base_url();
        let key = self.key();
        let region = self.region(base_url.as_ref());
        let retention = self
            .record
            .data_retention
            .as_ref()
            .map_or_else(|| self.kind.retention(), |word| super::policies::retention(word.value));
        let place = u16::try_from(made.providers.len()).unwrap_or(u16::MAX);
        let mut usable = self.usable(key.as_ref());
        let before = made.routes.len();
        if usable.is_ok() {
            self.routes(made, place, region.as_ref(), retention);
            if made.routes.len() == before {
                usable = Err(Unusable::NoModels);
            }
        } else {
            // What is wrong with its models is said even while it is left aside.
            let mut aside = Made {
                providers: Vec::new(),
                routes: Vec::new(),
                route_provider: Vec::new(),
                families: Vec::new(),
                known: Vec::new(),
            };
            self.routes(&mut aside, place, region.as_ref(), retention);
            made.known.extend(aside.routes.iter().map(|route| Arc::clone(&route.name)));
        }
        made.providers.push(Provider {
            headers: self.headers(),
            continuation: self
                .record
                .continuation
                .as_ref()
                .map_or(Continuation::of(self.kind), |word| continuation_of(word.value)),
            speaks_responses: match &self.record.responses {
                Some(word) => word.value == ResponsesWord::Native,
                None => {
                    base_url.as_ref().and_then(Uri::host).is_some_and(|host| self.kind.speaks_responses(host))
                }
            },
            allow_link_local: self.record.allow_link_local.as_ref().is_some_and(|flag| flag.0),
            api_key: key.and_then(Result::ok),
            name: self.name,
            kind: self.kind,
            base_url,
            region,
            usable,
        });
    }

    /// Where it lives: typed, or its kind's own address.
    fn base_url(&self) -> Option<Uri> {
        let Some(typed) = &self.record.base_url else {
            let own = self.kind.base_url();
            if own.is_none() {
                self.reader.error(
                    self.spot,
                    &format!("the provider `{}` needs a `base_url`", self.name),
                    None,
                );
            }
            return own.and_then(|url| url.parse().ok());
        };
        let allow_link_local = self.record.allow_link_local.as_ref().is_some_and(|flag| flag.0);
        match checked_url(&typed.0, allow_link_local) {
            Ok(url) => Some(url),
            Err((message, help)) => {
                self.reader.error(typed.spot, message, Some(help.to_owned()));
                None
            }
        }
    }

    /// Its key; the error names the variable that should hold it.
    fn key(&self) -> Option<Result<secrecy::SecretString, String>> {
        let typed = super::settings::secret(
            self.reader,
            self.record.api_key.as_ref(),
            self.record.api_key_file.as_ref(),
        );
        if typed.is_some() {
            return typed;
        }
        let named = self.record.api_key_env.as_ref().map(|variable| &*variable.0);
        let variable =
            named.or_else(|| self.kind.key_variable().filter(|_| *self.name == *self.kind.name()))?;
        let value = self.reader.environment.variable(variable).filter(|value| !value.trim().is_empty());
        match value {
            Some(value) if crate::config::environment::is_secret(value.trim()) => {
                Some(Ok(value.trim().to_owned().into()))
            }
            Some(_) => {
                let message =
                    format!("the variable {variable} must hold one line of visible ASCII characters");
                self.reader.error(self.spot, &message, None);
                None
            }
            None => named.map(|variable| Err(variable.to_owned())),
        }
    }

    fn usable(&self, key: Option<&Result<secrecy::SecretString, String>>) -> Result<(), Unusable> {
        if self.record.enabled.as_ref().is_some_and(|enabled| !enabled.0) {
            return Err(Unusable::Off);
        }
        match key {
            Some(Ok(_)) => Ok(()),
            Some(Err(variable)) => Err(Unusable::KeyUnset(variable.as_str().into())),
            // Another address than the public one may want no key.
            None if self.record.base_url.is_some() => Ok(()),
            None => Err(Unusable::NoKey(self.kind.key_variable().unwrap_or("its key variable").into())),
        }
    }

    fn region(&self, base_url: Option<&Uri>) -> Option<Arc<str>> {
        if let Some(typed) = &self.record.region {
            return Some(Arc::clone(&typed.0));
        }
        self.kind.region(base_url?.host()?).map(Into::into)
    }

    fn headers(&self) -> Vec<(http::HeaderName, http::HeaderValue)> {
        use secrecy::ExposeSecret as _;
        const RESERVED: [&str; 6] =
            ["host", "content-length", "transfer-encoding", "connection", "authorization", "content-type"];
        let mut headers = Vec::new();
        for (name, value) in self.record.headers.iter().flat_map(|headers| &headers.value.0) {
            let parsed = http::HeaderName::from_bytes(name.value.as_bytes())
                .ok()
                .filter(|parsed| !RESERVED.contains(&parsed.as_str()));
            let secret = value
                .value
                .0
                .as_ref()
                .ok()
                .and_then(|secret| http::HeaderValue::from_str(secret.expose_secret()).ok());
            match (parsed, secret) {
                (Some(name), Some(mut value)) => {
                    value.set_sensitive(true);
                    headers.push((name, value));
                }
                (None, _) => self.reader.error(name.spot, "this header cannot be set here", None),
                (_, None) => self.reader.error(value.spot, "this header's value is unset or malformed", None),
            }
        }
        headers
    }

    fn routes(&self, made: &mut Made, place: u16, region: Option<&Arc<str>>, retention: Retention) {
        if let Some(models) = &self.record.models {
            for model in &models.value {
                self.typed_route(made, place, model, region, retention);
            }
            return;
        }
        for row in self.book.of_provider(self.kind.name()) {
            let mut route =
                self.route(&row.model_id, Some(row), &ModelDocument::default(), region, retention);
            // The book lists models that chat.
            route.capabilities =
                route.capabilities.without(Capabilities::EMBEDDINGS.with(Capabilities::RERANK));
            made.push(route, Arc::clone(&row.family), place);
        }
    }

    fn typed_route(
        &self,
        made: &mut Made,
        place: u16,
        model: &At<ModelDocument>,
        region: Option<&Arc<str>>,
        retention: Retention,
    ) {
        let Some(id) = &model.id else {
            self.reader.missing(
                model.spot,
                &["id"],
                "a model needs the `id` that the provider wants to hear",
                None,
            );
            return;
        };
        let name = format!("{}/{}", self.name, id.0);
        if made.routes.iter().any(|route| *route.name == *name) {
            self.reader.error(id.spot, &format!("`{}` stands here twice", id.0), None);
            return;
        }
        let row = self.book.find(self.kind.name(), &id.0);
        let route = self.route(&id.0, row, &model.value, region, retention);
        let checkpoint = &route.checkpoint;
        let of_book = || {
            self.book.rows.iter().find(|row| row.checkpoint == *checkpoint).map(|row| Arc::clone(&row.family))
        };
        let same_checkpoint =
            row.filter(|row| row.checkpoint == *checkpoint).map(|row| Arc::clone(&row.family));
        let family =
            model.family.as_ref().map(|family| Arc::clone(&family.0)).or(same_checkpoint).or_else(of_book);
        let family = family.unwrap_or_else(|| Arc::clone(checkpoint));
        made.push(route, family, place);
    }

    /// Whether the book's price for `id` holds in the region where this provider is: one cloud's regions differ in price.
    fn is_priced_here(&self, id: &str, region: Option<&Arc<str>>) -> bool {
        self.kind.priced_region(id).is_none_or(|priced| region.is_none_or(|region| **region == *priced))
    }

    fn route(
        &self,
        id: &Arc<str>,
        row: Option<&BookRow>,
        typed: &ModelDocument,
        region: Option<&Arc<str>>,
        retention: Retention,
    ) -> Route {
        let checkpoint = typed
            .model
            .as_ref()
            .map(|model| Arc::clone(&model.0))
            .or_else(|| row.map(|row| Arc::clone(&row.checkpoint)));
        let own_region = typed
            .region
            .as_ref()
            .map(|region| Arc::clone(&region.0))
            .or_else(|| row.and_then(|row| row.region.clone()));
        let fee_ppm = self.kind.fee_ppm();
        let typed_price = typed
            .price
            .as_ref()
            .and_then(|price| prices::version(self.reader, price, self.file, "configured"))
            .map(|version| PriceCard::new(version, fee_ppm));
        // What was fetched came from this very provider, so it holds in its region.
        let shipped = row.filter(|_| self.is_priced_here(id, region)).map(|row| &row.card);
        let of_book = || book::joined(shipped, self.book.synced(&self.name, id), fee_ppm);
        let contract = self.contract.get(&(Arc::clone(&self.name), Arc::clone(id)));
        let untyped = || match (of_book(), contract) {
            (Some(book), Some(contract)) => Some(book.followed_by(contract)),
            (book, contract) => contract.cloned().or(book),
        };
        // A typed price that did not read is an error already; no other must stand in for it.
        let price = if typed.price.is_some() { typed_price } else { untyped() };
        Route {
            provider: Arc::clone(&self.name),
            upstream_model: Arc::clone(id),
            name: format!("{}/{id}", self.name).into(),
            checkpoint: checkpoint.unwrap_or_else(|| Arc::clone(id)),
            context_tokens: typed
                .context
                .as_ref()
                .map(|context| context.0)
                .or_else(|| row.and_then(|row| row.context_tokens)),
            region: own_region.or_else(|| region.cloned()),
            retention,
            quantization: typed.quantization.as_ref().map(|name| Arc::clone(&name.0)),
            capabilities: capabilities(self.kind, typed),
            price,
            local: false,
            pin_only: typed
                .pin_only
                .as_ref()
                .map_or_else(|| row.is_some_and(|row| row.pin_only), |flag| flag.0),
            slugs: self.kind.slugs(),
            passes_wishes_on: self.kind.passes_wishes_on(),
        }
    }
}

impl Made {
    pub(super) fn push(&mut self, route: Route, family: Arc<str>, place: u16) {
        if self.routes.len() < usize::from(u16::MAX) {
            self.routes.push(route);
            self.families.push(family);
            self.route_provider.push(place);
        }
    }
}
