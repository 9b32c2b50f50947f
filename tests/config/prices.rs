//! Which price holds: the operator's, the fetched, the shipped, each from its own moment on.

use tollway::config::load::Source;
use tollway::config::{Documents, Snapshot, compile};
use tollway::pricing::{Book, PriceCard};

use crate::world::{World, compiled, good, said};

fn at(text: &str) -> jiff::Timestamp {
    let moment = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    moment.parse().unwrap()
}

fn card(snapshot: &Snapshot, route: &str) -> PriceCard {
    snapshot.routes.iter().find(|known| *known.name == *route).unwrap().price.clone().unwrap()
}

#[test]
fn contract_prices_beat_the_book_and_the_latest_in_force_wins() {
    let text = "prices:
      - {provider: deepseek, id: deepseek-v4-pro, valid_from: 2026-01-01, price: {input: 0.5, output: 1}}
      - {provider: deepseek, id: deepseek-v4-pro, valid_from: 2026-06-01, price: {input: 0.4, output: 0.9}}
      - {provider: deepseek, id: deepseek-v4-pro, valid_from: 2027-01-01, price: {input: 0.3, output: 0.8}}";
    let snapshot = good(text, &World(vec![("DEEPSEEK_API_KEY", "d")]));
    let card = card(&snapshot, "deepseek/deepseek-v4-pro");
    let peak = "2025-12-31T02:00:00Z";
    for (moment, input, as_of) in [
        (peak, "1.32", "2026-11-15"), // a Wednesday, before the contract: the book's peak
        ("2026-01-01T02:00:00Z", "0.5", "2026-01-01"),
        ("2026-11-24T02:00:00Z", "0.4", "2026-06-01"), // the contract says nothing of a peak
        ("2027-01-01T00:00:00Z", "0.3", "2027-01-01"), // without a reload
    ] {
        assert_eq!(card.rates(0, at(moment)).input.to_string(), input, "{moment}");
        assert_eq!(&*card.entry_in_force(0, at(moment)).as_of, as_of);
    }
    let entry = card.entry_in_force(0, at("2026-11-24"));
    assert_eq!((&*entry.source, &*entry.confidence), ("tollway.yaml", "operator"));
    assert_eq!(snapshot.warnings.len(), 0);
}

#[test]
fn a_contract_without_a_book_price_is_assumed_before_it_begins() {
    let text = "providers: {mine: {kind: openai, base_url: 'http://h/v1', models: [{id: m}]}}
prices:
      - {provider: mine, id: m, valid_from: '2026-06-01T12:00:00Z', price: {input: 1, output: 2}}";
    let snapshot = good(text, &World(Vec::new()));
    let card = card(&snapshot, "mine/m");
    let early = at("2026-06-01T11:59:59Z");
    assert_eq!((card.rates(0, early).input.to_string(), card.is_assumed(early)), ("1".to_owned(), true));
    let twice = format!(
        "{text}\n      - {{provider: mine, id: m, valid_from: '2026-06-01T12:00:00Z', price: {{input: 1, output: 3}}}}"
    );
    let problems = said(&twice, &[], &World(Vec::new())).to_string();
    assert!(problems.contains("two prices for `mine/m` begin at the same moment"), "{problems}");
}

#[test]
fn a_price_in_another_currency_needs_its_rate_and_says_it() {
    let config = |price: &str| {
        format!(
            "providers: {{mine: {{kind: openai, base_url: 'http://h/v1', models: [{{id: m, price: {price}}}]}}}}"
        )
    };
    let world = World(Vec::new());
    let text = "{currency: CNY, usd_per_unit: 0.1390, input: 2, output: 8, request: 0.01, tiers: [{prompt_tokens_above: 5, input: 4}]}";
    let snapshot = good(&config(text), &world);
    let card = card(&snapshot, "mine/m");
    let now = at("2026-11-24");
    let rates = card.rates(0, now);
    assert_eq!((rates.input.to_string(), rates.output.to_string()), ("0.278".to_owned(), "1.112".to_owned()));
    assert_eq!(
        (rates.request.to_nanos().0, card.rates(6, now).input.to_string()),
        (1_390_000, "0.556".to_owned())
    );
    let entry = card.entry_in_force(0, now);
    assert_eq!((&*entry.source, &*entry.confidence), ("tollway.yaml; CNY 1 = USD 0.139", "operator"));
    for (price, words) in [
        ("{currency: CNY, input: 2, output: 8}", "prices in CNY need `usd_per_unit`"),
        ("{usd_per_unit: 0.1, input: 2, output: 8}", "`usd_per_unit` is of no use without `currency`"),
        ("{currency: USD, usd_per_unit: 2, input: 2, output: 8}", "a USD is worth 1 USD"),
        ("{currency: yuan, usd_per_unit: 2, input: 2, output: 8}", "a currency's three-letter code"),
        ("{currency: CNY, usd_per_unit: 0, input: 2, output: 8}", "a number above 0"),
    ] {
        let problems = said(&config(price), &[], &world).to_string();
        assert!(problems.contains(words), "{price}: {problems}");
    }
}

const FETCHED: &str = r#"{"rows": [{"provider": "together", "model_id": "openai/gpt-oss-20b", "checkpoint": "gpt-oss-20b",
    "family": "gpt-oss-20b", "context_length": null, "input_usd_per_mtok": 0.04, "output_usd_per_mtok": 0.2,
    "valid_from": "2026-11-20T10:00:00Z", "as_of": "2026-11-25", "confidence": "fetched", "source": "list"}]}"#;

fn with_fetched(config: &str, fetched: &str) -> Snapshot {
    let source = |name: &str, text: &str| Source { name: name.into(), text: Ok(text.into()) };
    let documents = Documents {
        config: Some(source("tollway.yaml", config)),
        synced: Some(source("data/prices.json", fetched)),
        ..Documents::default()
    };
    let world = World(vec![("TOGETHER_API_KEY", "t")]);
    compile(&documents, &world, Book::shipped()).unwrap()
}

#[test]
fn fetched_prices_beat_the_book_and_the_operators_beat_both() {
    let now = at("2026-11-25");
    let route = "together/openai/gpt-oss-20b";
    let fetched = with_fetched("", FETCHED);
    assert_eq!(card(&fetched, route).rates(0, now).input.to_string(), "0.04");
    assert_eq!(
        card(&fetched, route).rates(0, at("2026-11-20")).input.to_string(),
        "0.05",
        "as shipped, until then"
    );
    assert_eq!(fetched.catalog.synced.unwrap().to_string(), "2026-11-25");
    assert!(fetched.catalog.book.is_some_and(|day| day < jiff::civil::date(2026, 11, 25)));
    let typed = "prices: [{provider: together, id: openai/gpt-oss-20b, price: {input: 0.03, output: 0.1}}]";
    let typed = with_fetched(typed, FETCHED);
    let card = card(&typed, route);
    assert_eq!(card.rates(0, now).input.to_string(), "0.03");
    assert_eq!(&*card.entry_in_force(0, now).confidence, "operator");
}

#[test]
fn a_broken_history_is_warned_of_and_the_book_serves() {
    let snapshot = with_fetched("", "{\"rows\": [{}]}");
    let problems = snapshot.warnings.to_string();
    assert!(problems.contains("data/prices.json cannot be used: price book row 1"), "{problems}");
    assert_eq!(
        card(&snapshot, "together/openai/gpt-oss-20b").rates(0, at("2026-11-25")).input.to_string(),
        "0.05"
    );
}

#[test]
fn a_price_may_be_45_days_old_unless_the_policy_says_otherwise() {
    let age = |policies: &[&str]| {
        let snapshot = compiled("", policies, &World(Vec::new())).unwrap();
        snapshot.policies[0].price_age_max.map(|age| age.as_secs() / 86_400)
    };
    assert_eq!(age(&[]), Some(45));
    assert_eq!(age(&["policy: p"]), Some(45));
    assert_eq!(age(&["policy: p\nprices: {max_age: 7d}"]), Some(7));
    assert_eq!(age(&["policy: p\nprices: {max_age: 0s}"]), None);
}
