//! Prices of the operator's own contracts, which replace the price book's from the moment they begin.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::config::document::TollwayDocument;
use crate::config::problem::nearest;
use crate::config::read::Reader;
use crate::pricing::{PriceCard, Version};
use crate::providers::Kind;

use super::prices;
use super::providers::Made;

/// Contract prices, those to come included, by provider and model id.
pub(super) type Contract = HashMap<(Arc<str>, Arc<str>), PriceCard>;

pub(super) fn contract_prices(reader: &Reader<'_>, document: &TollwayDocument, file: &str) -> Contract {
    let mut contract = Contract::new();
    for typed in document.prices.iter().flat_map(|prices| &prices.value) {
        let (Some(provider), Some(id), Some(price)) = (&typed.provider, &typed.id, &typed.price) else {
            reader.missing(
                typed.spot,
                &["provider", "id", "price"],
                "a price needs `provider`, `id` and `price`",
                None,
            );
            continue;
        };
        let valid_from = typed.valid_from.as_ref().map(|moment| moment.0);
        let day = |moment| jiff::tz::Offset::UTC.to_datetime(moment).date().to_string();
        let as_of = valid_from.map_or_else(|| "configured".to_owned(), day);
        let Some(version) = prices::version(reader, price, file, &as_of) else { continue };
        let version = Version { valid_from, ..version };
        match contract.entry((Arc::clone(&provider.0), Arc::clone(&id.0))) {
            Entry::Vacant(entry) => {
                let fee_ppm = Kind::from_name(&provider.0).map_or(0, Kind::fee_ppm);
                entry.insert(PriceCard::new(version, fee_ppm));
            }
            Entry::Occupied(mut entry) => {
                if !entry.get_mut().add(version) {
                    let help = "give each its own `valid_from`, or remove one".to_owned();
                    let message =
                        format!("two prices for `{}/{}` begin at the same moment", provider.0, id.0);
                    reader.error(typed.spot, &message, Some(help));
                }
            }
        }
    }
    contract
}

/// Prices in the configuration that name nothing the gateway knows would be in force nowhere.
pub(super) fn refuse_stray_prices(reader: &Reader<'_>, document: &TollwayDocument, made: &Made) {
    for typed in document.prices.iter().flat_map(|prices| &prices.value) {
        let (Some(provider), Some(id)) = (&typed.provider, &typed.id) else { continue };
        let name = format!("{}/{}", provider.0, id.0);
        if !made.known.iter().any(|known| **known == *name) {
            let help =
                nearest(&name, made.known.iter().map(|known| &**known).filter(|known| known.contains('/')))
                    .map(|word| format!("did you mean `{word}`?"));
            reader.error(id.spot, &format!("`{name}` is no route, so this price would never hold"), help);
        }
    }
}
