//! Prices of the operator's own contracts, which replace the price book's.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::document::TollwayDocument;
use crate::config::problem::nearest;
use crate::config::read::Reader;
use crate::pricing::PriceCard;
use crate::providers::Kind;

use super::prices;
use super::providers::Made;

/// Contract prices that are in force, by provider and model id.
pub(super) type Contract = HashMap<(Arc<str>, Arc<str>), PriceCard>;

pub(super) fn contract_prices(reader: &Reader<'_>, document: &TollwayDocument, file: &str) -> Contract {
    let mut latest: HashMap<(Arc<str>, Arc<str>), (jiff::civil::Date, PriceCard)> = HashMap::new();
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
        let from = typed.valid_from.as_ref().map_or(jiff::civil::Date::MIN, |day| day.0);
        let as_of =
            typed.valid_from.as_ref().map_or_else(|| "configured".to_owned(), |day| day.0.to_string());
        let fee_ppm = Kind::from_name(&provider.0).map_or(0, Kind::fee_ppm);
        let Some(card) = prices::card(reader, price, file, &as_of, fee_ppm) else { continue };
        let key = (Arc::clone(&provider.0), Arc::clone(&id.0));
        let is_newer = latest.get(&key).is_none_or(|(known, _)| *known <= from);
        if from <= reader.environment.today() && is_newer {
            latest.insert(key, (from, card));
        }
    }
    latest.into_iter().map(|(key, (_, card))| (key, card)).collect()
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
        let today = reader.environment.today();
        if let Some(from) = typed.valid_from.as_ref().filter(|from| from.0 > today) {
            let message =
                format!("this price waits until {}, and for a start or reload on or after that day", from.0);
            reader.push(crate::config::Severity::Warning, Some(from.spot), &message, None);
        }
    }
}
