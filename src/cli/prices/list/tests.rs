//! What is listed, at which moment, and how it reads.

use crate::pricing::{PriceEntry, Version};
use crate::routing::Route;
use crate::units::PicoUsd;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn args(provider: &str, model: &str) -> ListArgs {
    ListArgs { provider: Some(provider.to_owned()), model: Some(model.to_owned()), ..ListArgs::default() }
}

fn route(provider: &str, card: PriceCard) -> Route {
    Route::named(&format!("{provider}/deepseek-v4-pro"), "deepseek-v4-pro-0813", Some(card))
}

#[test]
fn a_peak_is_told_while_it_holds_and_while_it_does_not() {
    let windows = "Mon-Fri 01:00-04:00, 06:00-10:00 UTC, also on Chinese public holidays (no calendar given)";
    let conditions = |moment| {
        let lines = lines(Book::shipped(), &[], &args("DeepSeek", "V4-Pro"), at(moment));
        assert_eq!(lines.len(), 1);
        (lines[0].price.short(), lines[0].conditions())
    };
    let off_peak = conditions("2026-11-24T12:00:00Z");
    assert_eq!(off_peak, ("0.66/0.022/1.98".to_owned(), format!("1.32/0.044/3.96 peak {windows}")));
    let peak = conditions("2026-11-24T02:00:00Z");
    assert_eq!(
        peak,
        ("1.32/0.044/3.96".to_owned(), format!("now peak {windows}; 0.66/0.022/1.98 otherwise"))
    );
}

#[test]
fn the_operators_price_stands_in_the_books_place() {
    let book = Book::shipped();
    let row = book.find("deepseek", "deepseek-v4-pro").unwrap();
    let rates = Rates {
        input: TokenPrice(500_000),
        cached_input: None,
        cache_write: None,
        output: TokenPrice(1_000_000),
        request: PicoUsd::ZERO,
    };
    let entry = PriceEntry {
        source: "tollway.yaml".into(),
        as_of: "2026-11-20".into(),
        confidence: "operator".into(),
    };
    let own = PriceCard::new(Version::always(entry, rates), 0);
    let routes = [route("deepseek", own.clone()), route("my-vllm", own), route("other", row.card.clone())];
    let lines = lines(book, &routes, &ListArgs::default(), at("2026-11-24T12:00:00Z"));
    let found: Vec<(&str, &str, &str)> = lines
        .iter()
        .filter(|line| line.model_id == "deepseek-v4-pro" && line.checkpoint == "deepseek-v4-pro-0813")
        .map(|line| (&*line.provider, &*line.price.input, &*line.source))
        .collect();
    assert_eq!(
        found,
        [
            ("deepseek", "0.5", "tollway.yaml"),
            ("my-vllm", "0.5", "tollway.yaml"),
            ("other", "0.66", &*row.card.entry_in_force(0, at("2026-11-24T12:00:00Z")).source),
        ]
    );
    assert_eq!(lines.len(), book.rows.len() + 2);
}

#[test]
fn a_calendar_of_the_configuration_counts() {
    let holiday = "2026-10-01T02:00:00Z";
    let book = Book::shipped().clone().with_holidays(&["2026-10-01".parse().unwrap()]);
    let row = book.find("deepseek", "deepseek-v4-pro").unwrap();
    let route = route("deepseek", row.card.clone());
    let lines = lines(Book::shipped(), &[route], &args("deepseek", "v4-pro"), at(holiday));
    assert_eq!((lines.len(), lines[0].price.short()), (1, "0.66/0.022/1.98".to_owned()));
    assert_eq!(lines[0].note, row.note.as_ref().map(ToString::to_string));
}

#[test]
fn the_table_lines_up_and_names_its_sources() {
    let lines = lines(Book::shipped(), &[], &args("openrouter", "gpt-oss"), at("2026-11-24T12:00:00Z"));
    assert_eq!(
        text(&lines),
        "provider    model id             checkpoint    input  cached  output  as of       confidence           in force, and otherwise\n\
         openrouter  openai/gpt-oss-120b  gpt-oss-120b    0.1       -     0.5  2026-11-03  third-party tracker\n\
         openrouter  openai/gpt-oss-20b   gpt-oss-20b    0.03   0.009    0.14  2026-11-03  third-party tracker\n\
         \nUSD per million tokens; input / cached / output. Read from:\n\
         \x20 OpenRouter model list as tracked by genai-prices 0.2.3 (top endpoint price)\n"
    );
}

#[test]
fn a_script_gets_prices_as_exact_text() {
    let lines = lines(Book::shipped(), &[], &args("dashscope", "v4.1"), at("2026-11-24T12:00:00Z"));
    let json = serde_json::to_value(&lines).unwrap();
    assert_eq!((&json[0]["input"], &json[0]["cache_write"]), (&"0.139".into(), &"0.17375".into()));
    assert_eq!(json[0]["otherwise"][0]["input"], "0.278");
}

#[test]
fn an_earlier_day_shows_what_held_then() {
    let input = |day: &str| {
        let lines = lines(Book::shipped(), &[], &args("openrouter", "llama-3.3"), moment(day).unwrap());
        (lines[0].price.short(), lines[0].valid_from.clone())
    };
    assert_eq!(input("2026-11-02"), ("0.1/-/0.32".to_owned(), None));
    assert_eq!(input("2026-11-05"), ("0.45/-/0.9".to_owned(), Some("2026-11-03T00:00:00Z".to_owned())));
    assert_eq!(input("2026-11-25").0, "0.59/0.295/0.79");
}

#[test]
fn what_was_fetched_goes_before_what_is_shipped_and_says_so() {
    let synced = r#"{"rows": [{"provider": "together", "model_id": "openai/gpt-oss-20b", "checkpoint": "gpt-oss-20b",
        "family": "gpt-oss-20b", "context_length": null, "input_usd_per_mtok": 0.04, "output_usd_per_mtok": 0.2,
        "valid_from": "2026-11-20T10:00:00Z", "as_of": "2026-11-25", "confidence": "fetched", "source": "list"}]}"#;
    let book = Book::shipped().clone().with_synced(Book::parse(synced).unwrap());
    let line = |moment| lines(&book, &[], &args("together", "gpt-oss-20b"), at(moment)).remove(0);
    assert_eq!(line("2026-11-20T09:59:59Z").price.input, "0.05");
    let fetched = line("2026-11-20T10:00:00Z");
    assert_eq!(
        (&*fetched.price.input, &*fetched.confidence, &*fetched.as_of),
        ("0.04", "fetched", "2026-11-25")
    );
}

#[test]
fn a_moment_before_every_known_price_says_that_one_is_assumed() {
    let row = Book::shipped().find("deepseek", "deepseek-v4-pro").unwrap();
    let version =
        Version { valid_from: Some(at("2026-11-03T00:00:00Z")), ..row.card.at(Timestamp::MIN).clone() };
    let route = route("mine", PriceCard::new(version, 0));
    let lines = lines(Book::shipped(), &[route], &args("mine", ""), at("2026-11-01T12:00:00Z"));
    assert!(lines[0].assumed);
    let words = lines[0].conditions();
    assert!(words.ends_with("; assumed: the first known price is from 2026-11-03T00:00:00Z"), "{words}");
}
