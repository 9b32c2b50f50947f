//! The shipped book says what its data says and prices known answers to the nano-dollar; a wrong book names the row,
//! the field and the fix.

use crate::units::{NanoUsd, TokenPrice, Usage};

use super::*;

const SHIPPED_TEXT: &str = include_str!("../prices.json");

fn price(text: &str) -> TokenPrice {
    TokenPrice::from_usd_per_mtok(text).unwrap()
}

fn at(text: &str) -> jiff::Timestamp {
    text.parse().unwrap()
}

/// A Tuesday, off-peak and peak.
const OFF_PEAK: &str = "2026-11-24T12:00:00Z";
const PEAK: &str = "2026-11-24T02:00:00Z";

#[test]
fn every_row_of_the_file_is_in_the_book() {
    let book = Book::parse(SHIPPED_TEXT).unwrap();
    let versions: Vec<&Version> = book.rows.iter().flat_map(|row| row.card.versions()).collect();
    let overrides: usize = versions.iter().map(|version| version.overrides.len()).sum();
    assert_eq!((book.rows.len(), versions.len(), overrides), (66, 69, 6));
    assert_eq!(SHIPPED_TEXT.matches("\"provider\": ").count(), versions.len() + overrides);
    assert_eq!(Book::shipped(), &book);
}

#[test]
fn no_shipped_price_is_zero() {
    for row in &Book::shipped().rows {
        let bases = row.card.versions().map(|version| &version.base);
        let others = row.card.versions().flat_map(|version| version.overrides.iter().map(|(_, rates)| rates));
        for rates in bases.chain(others) {
            assert!(rates.input.0 > 0 && rates.output.0 > 0, "{}/{}", row.provider, row.model_id);
            assert!(rates.cached_input.is_none_or(|cached| cached.0 > 0 && cached <= rates.input));
        }
    }
}

#[test]
fn an_unstated_checkpoint_equals_no_stated_one() {
    let book = Book::shipped();
    let unstated: Vec<String> = book
        .rows
        .iter()
        .filter(|row| row.checkpoint.ends_with("-unstated"))
        .map(|row| format!("{} {} {}", row.provider, row.model_id, row.checkpoint))
        .collect();
    assert_eq!(
        unstated,
        [
            "fireworks accounts/fireworks/models/deepseek-v4-pro deepseek-v4-pro-unstated",
            "fireworks accounts/fireworks/models/deepseek-v4-flash deepseek-v4-flash-unstated",
            "dashscope deepseek-v4-flash deepseek-v4-flash-unstated",
            "dashscope deepseek-v4-pro deepseek-v4-pro-unstated",
            "modelarts deepseek-v4-flash deepseek-v4-flash-unstated",
        ]
    );
    let checkpoint = |kind, id| &*book.find(kind, id).unwrap().checkpoint;
    assert_eq!(checkpoint("deepseek", "deepseek-v4-flash"), "deepseek-v4.1-flash-1017");
    assert_eq!(checkpoint("openrouter", "deepseek/deepseek-v4.1-flash"), "deepseek-v4.1-flash");
}

#[test]
fn known_answers_cost_what_was_billed() {
    let cost = |kind, id, moment, prompt, cached, completion| {
        let usage = Usage { prompt, cached, completion, ..Usage::default() };
        Book::shipped().find(kind, id).unwrap().card.cost_of(&usage, at(moment)).recorded()
    };
    let openrouter_pro = cost("openrouter", "deepseek/deepseek-v4-pro-0813", OFF_PEAK, 1200, 1024, 210);
    assert_eq!(openrouter_pro, NanoUsd(554_488));
    assert_eq!(cost("openrouter", "deepseek/deepseek-v4-flash", OFF_PEAK, 60, 0, 3), NanoUsd(6_930));
    assert_eq!(cost("together", "deepseek-ai/DeepSeek-V4-Pro-0813", PEAK, 350, 0, 90), NanoUsd(818_400));
    let fireworks_pro = cost("fireworks", "accounts/fireworks/models/deepseek-v4-pro", PEAK, 500, 256, 80);
    assert_eq!(fireworks_pro, NanoUsd(740_080));
    assert_eq!(cost("deepseek", "deepseek-v4-pro", OFF_PEAK, 900, 768, 64), NanoUsd(230_736));
    assert_eq!(cost("deepseek", "deepseek-v4-pro", PEAK, 900, 768, 64), NanoUsd(461_472));
}

#[test]
fn a_cache_write_costs_a_quarter_more_at_dashscope() {
    let card = &Book::shipped().find("dashscope", "deepseek-v4.1-flash").unwrap().card;
    let usage = Usage { prompt: 2100, cache_write: 1800, completion: 33, reasoning: 20, cached: 0 };
    // 300 × 0.139 + 1800 × 0.17375 + 33 × 0.556 USD per million, and the peak prices.
    assert_eq!(card.cost_of(&usage, at(OFF_PEAK)).recorded(), NanoUsd(372_798));
    assert_eq!(card.cost_of(&usage, at(PEAK)).recorded(), NanoUsd(745_563));
}

#[test]
fn peak_begins_and_ends_to_the_minute_and_not_at_weekends() {
    let card = &Book::shipped().find("deepseek", "deepseek-v4-pro").unwrap().card;
    for (moment, input) in [
        ("2026-11-24T00:59:59Z", "0.66"),
        ("2026-11-24T01:00:00Z", "1.32"),
        ("2026-11-24T03:59:59Z", "1.32"),
        ("2026-11-24T04:00:00Z", "0.66"),
        ("2026-11-24T06:00:00Z", "1.32"),
        ("2026-11-24T10:00:00Z", "0.66"),
        ("2026-11-27T02:00:00Z", "1.32"),
        ("2026-11-28T02:00:00Z", "0.66"),
        ("2026-11-22T02:00:00Z", "0.66"),
        ("2026-11-23T02:00:00Z", "1.32"),
    ] {
        assert_eq!(card.rates(0, at(moment)).input, price(input), "{moment}");
    }
}

#[test]
fn without_a_calendar_holidays_are_peak() {
    let holiday = "2026-10-01T02:00:00Z";
    let input = |book: &Book, kind, id| book.find(kind, id).unwrap().card.rates(0, at(holiday)).input;
    assert_eq!(input(Book::shipped(), "deepseek", "deepseek-v4-pro"), price("1.32"));
    let with_days = Book::shipped().clone().with_holidays(&["2026-10-01".parse().unwrap()]);
    assert_eq!(input(&with_days, "deepseek", "deepseek-v4-pro"), price("0.66"));
    // Its recorded override names no exception, so a calendar changes nothing.
    assert_eq!(input(&with_days, "openrouter", "deepseek/deepseek-v4-pro-0813"), price("1.32"));
}

#[test]
fn a_long_prompt_reprices_the_whole_request() {
    let card = &Book::shipped().find("openrouter", "qwen/qwen3.7-plus").unwrap().card;
    assert_eq!(card.rates(256_000, at(PEAK)).input, price("0.32"));
    assert_eq!(card.rates(256_001, at(PEAK)).input, price("0.96"));
}

#[test]
fn an_override_read_elsewhere_keeps_its_own_date() {
    let card = &Book::shipped().find("openrouter", "deepseek/deepseek-v4-pro-0813").unwrap().card;
    assert_eq!(&*card.entry_in_force(0, at(OFF_PEAK)).as_of, "2026-11");
    let peak = card.entry_in_force(0, at(PEAK));
    assert_eq!((&*peak.as_of, &*peak.confidence), ("2026-08", "recorded"));
    assert_eq!(
        (card.fee_ppm, Book::shipped().find("deepseek", "deepseek-flash").unwrap().card.fee_ppm),
        (55_000, 0)
    );
}

#[test]
fn a_wrong_row_is_named_with_its_field() {
    let base = r#"{"provider": "p", "model_id": "m", "checkpoint": "c-1", "family": "c", "context_length": null,
        "input_usd_per_mtok": 0.1, "cached_input_usd_per_mtok": null, "output_usd_per_mtok": 0.2,
        "as_of": "2026-11", "confidence": "documented", "source": "a page"}"#;
    let fault = |rows: &[String]| {
        let text = format!(r#"{{"providers": {{}}, "rows": [{}]}}"#, rows.join(","));
        Book::parse(&text).unwrap_err().to_string()
    };
    let with = |from: &str, to: &str| {
        assert!(base.contains(from), "{from}");
        fault(&[base.replace(from, to)])
    };
    let conditional = |when: &str| {
        let row = base.replace("\"as_of\"", &format!("\"condition\": {when}, \"as_of\""));
        fault(&[base.to_owned(), row])
    };
    let cases = [
        with("0.1,", "-0.1,"),
        with("0.1,", "\"0.1\","),
        with("0.2,", "0.25999999999999995,"),
        fault(&[base.replace("0.1,", "0,").replace("0.2,", "0,")]),
        with("\"2026-11\"", "\"2026-13\""),
        with("\"documented\"", "\"rumour\""),
        with("\"c-1\"", "\"d-1\""),
        with("\"a page\"", "\"a page\", \"colour\": 1"),
        with("\"a page\"", "\"a page\", \"valid_from\": \"2026-11\""),
        with("\"a page\"", "\"a page\", \"currency\": \"CNY\""),
        with("\"input_usd_per_mtok\"", "\"input_per_mtok\""),
        fault(&[
            base.to_owned(),
            base.replace("c-1", "c-2").replace("\"as_of\"", "\"valid_from\": \"2026-12-01\", \"as_of\""),
        ]),
        fault(&[base.to_owned(), base.to_owned()]),
        fault(&[base.replace("\"as_of\"", r#""condition": {"min_prompt_tokens": 5}, "as_of""#)]),
        conditional("{}"),
        conditional(r#"{"utc_windows": [["01:00", "01:00"]]}"#),
        conditional(r#"{"utc_windows": [["1:00", "25:00"]]}"#),
        conditional(r#"{"days": ["mo"]}"#),
        conditional(r#"{"days": ["mon"], "timezone": "Asia/Shanghai"}"#),
    ];
    let expected = [
        r#"price book row 1 (p/m), `input_usd_per_mtok`: "-0.1" is negative"#,
        r#"price book row 1 (p/m), `input_usd_per_mtok`: "\"0.1\"" is not a decimal number"#,
        r#"price book row 1 (p/m), `output_usd_per_mtok`: "0.25999999999999995" is finer than a millionth of a dollar per million tokens"#,
        "price book row 1 (p/m), `input_usd_per_mtok`: a row that costs nothing; leave the offer out",
        r#"price book row 1 (p/m), `as_of`: "2026-13" is not a date like 2026-11-15, 2026-11 or 2026-H2"#,
        r#"price book row 1 (p/m), `confidence`: "rumour" is none of: documented, recorded, fetched, third-party tracker, inferred"#,
        "price book row 1 (p/m), `checkpoint`: does not begin with the `family`",
        "price book row 1 (p/m), `row`: unknown field `colour`",
        r#"price book row 1 (p/m), `valid_from`: "2026-11" is not a day like 2026-11-15 or a moment like 2026-11-15T08:00:00Z"#,
        r#"price book row 1 (p/m), `currency`: "CNY" has no rate in the book's `currencies`"#,
        "price book row 1 (p/m), `input_per_mtok`: this row's currency asks for `input_usd_per_mtok`",
        "price book row 2 (p/m), `checkpoint`: differs from that of the row it refines or follows",
        "price book row 2 (p/m), `model_id`: a second row without a `condition` from the same moment on; remove one, or say when each holds",
        "price book row 1 (p/m), `condition`: there is no row without a condition before it that begins at the same moment; put the base price first",
        "price book row 2 (p/m), `condition`: holds always; give `min_prompt_tokens`, `utc_windows` or `days`",
        r#"price book row 2 (p/m), `condition.utc_windows`: ["01:00", "01:00"] is not a window like ["22:00", "02:00"]"#,
        r#"price book row 2 (p/m), `condition.utc_windows`: ["1:00", "25:00"] is not a window like ["22:00", "02:00"]"#,
        r#"price book row 2 (p/m), `condition.days`: "mo" is not a weekday; write mon, tue, wed, thu, fri, sat, sun"#,
        "price book row 2 (p/m), `condition.timezone`: only UTC is understood; convert the windows",
    ];
    for (seen, wanted) in cases.iter().zip(expected) {
        assert!(seen.starts_with(wanted), "\n seen {seen}\nwanted {wanted}");
    }
    assert!(Book::parse("[]").unwrap_err().to_string().starts_with("the price book cannot be read"));
}

#[test]
fn rows_from_other_moments_on_are_history() {
    let card = &Book::shipped().find("openrouter", "meta-llama/llama-3.3-70b-instruct").unwrap().card;
    let input = |moment| card.rates(0, at(moment)).input;
    for (moment, usd) in [
        ("2026-10-25T10:00:00Z", "0.1"),
        ("2026-11-02T23:59:59Z", "0.1"),
        ("2026-11-03T00:00:00Z", "0.45"),
        ("2026-11-09T00:00:00Z", "0.59"),
        (OFF_PEAK, "0.59"),
    ] {
        assert_eq!(input(moment), price(usd), "{moment}");
    }
}

#[test]
fn a_request_of_last_month_is_priced_by_what_held_then() {
    let card = &Book::shipped().find("openrouter", "openai/gpt-oss-120b").unwrap().card;
    let usage = Usage { prompt: 10_000, completion: 1_000, ..Usage::default() };
    let cost = |moment| card.cost_of(&usage, at(moment)).recorded();
    // 10,000 × 0.03 + 1,000 × 0.17 USD per million, and 10,000 × 0.1 + 1,000 × 0.5.
    assert_eq!((cost("2026-10-24T12:00:00Z"), cost(OFF_PEAK)), (NanoUsd(470_000), NanoUsd(1_500_000)));
    assert_eq!(&*card.entry_in_force(0, at("2026-10-24T12:00:00Z")).as_of, "2026-08");
}

#[test]
fn each_version_has_its_own_conditions() {
    let row = |input: &str, more: &str| {
        format!(
            r#"{{"provider": "p", "model_id": "m", "checkpoint": "c", "family": "c", "context_length": null,
            "input_usd_per_mtok": {input}, "output_usd_per_mtok": 9, "as_of": "2026-11", "confidence": "documented",
            "source": "a page"{more}}}"#
        )
    };
    let peak = r#", "condition": {"utc_windows": [["01:00", "04:00"]]}"#;
    let later = r#", "valid_from": "2026-11-25T02:00:00Z""#;
    let rows = [row("1", ""), row("2", peak), row("3", later), row("4", &format!("{later}{peak}"))];
    let book = Book::parse(&format!(r#"{{"rows": [{}]}}"#, rows.join(","))).unwrap();
    let input = |moment| book.rows[0].card.rates(0, at(moment)).input;
    for (moment, usd) in [
        ("2026-11-25T00:00:00Z", "1"),
        ("2026-11-25T01:59:59Z", "2"),
        ("2026-11-25T02:00:00Z", "4"),
        ("2026-11-25T04:00:00Z", "3"),
    ] {
        assert_eq!(input(moment), price(usd), "{moment}");
    }
}

#[test]
fn a_price_in_yuan_is_converted_once_and_says_so() {
    let row = r#"{"provider": "dashscope", "model_id": "new", "checkpoint": "c", "family": "c", "context_length": null,
        "currency": "CNY", "input_per_mtok": 1, "cached_input_per_mtok": 0.000003, "output_per_mtok": 4, "request": 0.01,
        "as_of": "2026-11", "confidence": "documented", "source": "a page"}"#;
    let text = SHIPPED_TEXT.replacen("\"rows\": [", &format!("\"rows\": [{row},"), 1);
    let book = Book::parse(&text).unwrap();
    let card = &book.find("dashscope", "new").unwrap().card;
    let rates = card.rates(0, at(OFF_PEAK));
    assert_eq!((rates.input, rates.output), (price("0.139"), price("0.556")));
    // 0.000000417 USD per million tokens is less than half a pico-dollar a token.
    assert_eq!(rates.cached_input, Some(TokenPrice(0)));
    assert_eq!(rates.request.to_nanos(), NanoUsd(1_390_000));
    assert_eq!(
        &*card.entry_in_force(0, at(OFF_PEAK)).source,
        "a page; CNY 1 = USD 0.139 (models.dev's conversion of Alibaba's list prices (CNY 1 is USD 0.139 there), 2026-09-18)"
    );
    let usd = text.replacen("\"input_per_mtok\"", "\"input_usd_per_mtok\"", 1);
    let error = Book::parse(&usd).unwrap_err().to_string();
    assert!(
        error.ends_with("`input_usd_per_mtok`: this row's currency asks for `input_per_mtok`"),
        "{error}"
    );
    for bad in [
        ("\"0.139\"", "\"-1\""),
        ("\"0.139\"", "\"0\""),
        ("2026-09-18\", \"source\": \"models.dev's", "soon\", \"source\": \"models.dev's"),
    ] {
        assert!(text.contains(bad.0));
        let error = Book::parse(&text.replacen(bad.0, bad.1, 1)).unwrap_err().to_string();
        assert!(error.contains("`currency`: the rate of CNY needs"), "{error}");
    }
}
