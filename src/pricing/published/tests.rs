//! Price lists as they were recorded, and lists gone wrong.

use super::*;

const TOGETHER: &str = include_str!("../../../tests/fixtures/providers/together_models_array.json");
const ENDPOINTS: &str = include_str!("../../../tests/fixtures/providers/openrouter_model_endpoints.json");

fn prices(quote: &Quote) -> String {
    match &quote.prices {
        Ok(Quoted { base, overrides }) => {
            let one = |rates: &Rates| {
                let cached = rates.cached_input.map_or("-".to_owned(), |price| price.to_string());
                format!("{}/{cached}/{}", rates.input, rates.output)
            };
            let others = overrides.iter().map(|(when, rates)| format!("; {} {when}", one(rates)));
            std::iter::once(one(base)).chain(others).collect()
        }
        Err(why) => why.clone(),
    }
}

#[test]
fn togethers_floats_are_rounded_to_what_was_meant() {
    let quotes = together(TOGETHER).unwrap();
    let of = |id: &str| prices(quotes.iter().find(|quote| quote.model_id == id).unwrap());
    assert_eq!(of("deepseek-ai/DeepSeek-V4-Pro-0813"), "1.32/0.13/3.96");
    assert_eq!(of("deepseek-ai/DeepSeek-V4-Flash-0731"), "0.14/0.03/0.28");
    assert_eq!(of("zai-org/GLM-5.2"), "1.4/0.26/4.4");
    assert_eq!(of("meta-llama/Llama-3.3-70B-Instruct-Turbo"), "1.04/-/1.04");
    assert_eq!(of("example-org/Reserved-Only-13B"), "0/-/0", "refused later, by name");
}

#[test]
fn openrouters_windows_become_one_condition() {
    let quote = openrouter_endpoints(ENDPOINTS).unwrap();
    assert_eq!(quote.model_id, "deepseek/deepseek-v4-pro-0813");
    assert_eq!(prices(&quote), "0.66/0.022/1.98; 1.32/0.044/3.96 Mon-Fri 01:00-04:00, 06:00-10:00 UTC");
}

/// The quote for a `pricing` object.
fn quoted(pricing: &str) -> String {
    let list = format!(r#"{{"data": [{{"id": "a/b", "pricing": {pricing}}}]}}"#);
    prices(&openrouter(&list).unwrap()[0])
}

#[test]
fn a_discount_and_tiers_are_reckoned_in() {
    let base = r#""prompt": "0.0000005", "completion": "0.0000015", "input_cache_read": "0.0000001""#;
    assert_eq!(quoted(&format!(r#"{{{base}, "discount": 0.1}}"#)), "0.45/0.09/1.35");
    assert_eq!(quoted(&format!(r#"{{{base}, "discount": 0}}"#)), "0.5/0.1/1.5");
    assert_eq!(
        quoted(&format!(
            r#"{{{base}, "overrides": [{{"min_prompt_tokens": 256000, "prompt": "0.000001"}}, {{"utc_days": ["sunday"], "completion": "0.000001"}}]}}"#
        )),
        "0.5/0.1/1.5; 1/0.1/1.5 prompts over 256000 tokens; 0.5/0.1/1 Sun UTC"
    );
}

#[test]
fn a_price_that_is_not_understood_is_not_taken() {
    let base = r#""prompt": "0.0000005", "completion": "0.0000015""#;
    let with = |more: &str| quoted(&format!("{{{base}, {more}}}"));
    for (said, words) in [
        (quoted("null"), "no price is given"),
        (quoted(r#"{"prompt": "-1", "completion": "-1"}"#), "`prompt`: \"-1\" is negative"),
        (quoted(r#"{"prompt": "1"}"#), "`completion` is missing"),
        (with(r#""discount": 1"#), "`discount` \"1\" is not a share below 1"),
        (
            with(r#""overrides": [{"moon": "full", "prompt": "1"}]"#),
            "an override depends on `moon`, which is not understood",
        ),
        (with(r#""overrides": [{"prompt": "1"}]"#), "an override holds always"),
        (with(r#""overrides": [{"utc_start": 100}]"#), "an override's window has no two ends"),
        (
            with(r#""overrides": [{"utc_start": 100, "utc_end": 2460}]"#),
            "an override's `utc_end` is not a time such as 1000",
        ),
        (with(r#""overrides": [{"utc_days": ["mon"]}]"#), "an override's day \"mon\" is not a weekday"),
    ] {
        assert_eq!(said, words);
    }
    for odd in ["", "[]", "{}", "<html>"] {
        assert!(openrouter(odd).is_err() && openrouter_endpoints(odd).is_err(), "{odd}");
    }
    assert!(together("{\"data\": []}").is_err());
    assert!(openrouter_endpoints(r#"{"data": {"id": "a", "endpoints": []}}"#).unwrap_err().contains("well"));
}
