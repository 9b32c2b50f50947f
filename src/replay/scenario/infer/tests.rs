//! A log of a market that is known, and the market that is read from it.

use std::fmt::Write as _;

use super::*;
use crate::replay::scenario::read;
use crate::replay::trace::{Draw, Load, records};

const SLO: SloClass = SloClass { ttft_s: 2.0, ttft_s_per_1k: 0.1 };

fn routes() -> Vec<Route> {
    let text = "\
routes:
  - name: one/m
    price: {input: 1, cached_input: 0.1, output: 2}
    first_token: {base: 500ms, prefill_tokens_per_second: 20000}
    pace: {tokens_per_second: 50}
  - name: two/m
    price: {input: 3, output: 4}
    first_token: {base: 200ms, prefill_tokens_per_second: 9000}
    pace: {tokens_per_second: 70}
";
    read(text, "x.yaml").unwrap().routes.into_iter().map(|market| market.route).collect()
}

/// Two hours of one request a second to `one`: base 500 ms, 20,000 tokens a second, 50 tokens a second after that; three
/// times as slow from a quarter to a half, at twice the price in the last quarter, down for ten minutes before that.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers of a test, none below zero"
)]
fn log() -> String {
    let mut draw = Draw::new(9, 9);
    let mut log = String::new();
    let begins: Timestamp = "2026-11-24T10:00:00Z".parse().unwrap();
    for second in 0..7200_i64 {
        let part = second as f64 / 7200.0;
        let prompt = 500 + draw.below(6000) as u64;
        let cached = if draw.uniform() < 0.5 { prompt / 2 / 64 * 64 } else { 0 };
        let completion = 50 + draw.below(200) as u64;
        let slow = if (0.25..0.5).contains(&part) { 3.0 } else { 1.0 };
        let price = if part >= 0.75 { 2 } else { 1 };
        let first_s = slow * (0.5 * (0.08 * draw.normal()).exp() + (prompt - cached) as f64 / 20_000.0);
        let whole_ms = (first_s * 1000.0) as i64 + completion.cast_signed() * 20;
        let cost = price * ((prompt - cached) * 1_000_000 + cached * 100_000 + completion * 2_000_000);
        let ended = begins + SignedDuration::from_millis(second * 1000 + whole_ms);
        let is_down = (4200..4800).contains(&second);
        let failed = match () {
            () if is_down => r#","failed":[{"route":"one/m","reason":"server","message":""}]"#,
            () if second % 100 == 7 => r#","failed":[{"route":"one/m","reason":"timeout","message":""}]"#,
            () => "",
        };
        let route = if is_down { "gone/m" } else { "one/m" };
        let route = if second % 900 == 3 { "two/m" } else { route };
        let ttft_ms = (first_s * 1000.0) as u64;
        writeln!(
            log,
            "{{\"ts\":\"{ended:.3}\",\"request_id\":\"r\",\"model\":\"m\",\"team\":\"t\",\"key\":\"k{}\",\"route\":\"{route}\",\
             \"status\":200,\"outcome\":\"ok\",\"stream\":true,\"prompt_tokens\":{prompt},\"cached_tokens\":{cached},\
             \"completion_tokens\":{completion},\"cost_usd\":0.{cost:012},\"ttft_ms\":{ttft_ms},\"total_ms\":{whole_ms}{failed}}}",
            second % 40,
        )
        .unwrap();
    }
    log
}

#[test]
fn the_market_of_a_log_is_the_one_that_wrote_it() {
    let records = records::read(&log(), "log", &Load::default()).unwrap();
    let inferred = from_records(&routes(), &records, SLO);
    let [one] = inferred.scenario.routes.as_slice() else { panic!("{:?}", inferred.scenario.routes.len()) };
    assert_eq!((&*one.route.name, inferred.scenario.slo), ("one/m", SLO));
    let near =
        |seen: f64, wanted: f64, off: f64| assert!((seen / wanted - 1.0).abs() < off, "{seen}, not {wanted}");
    near(one.first_token.base_s, 0.5, 0.08);
    near(one.first_token.prefill_tokens_per_s, 20_000.0, 0.08);
    near(one.pace.tokens_per_s, 50.0, 0.05);
    near(one.errors.share, 0.01, 0.3);
    assert!(one.errors.quick_share < 0.01 && one.limits.uncached_per_s.is_none());
    assert_eq!(one.cache.unwrap().granularity_tokens, 64);
    assert_eq!(inferred.unknown, [Box::<str>::from("gone/m")]);
    // One of its eight answers came after a failed attempt, and its wait is not its own.
    assert_eq!(inferred.too_rare, [("two/m".into(), 7)]);

    let incidents = &inferred.scenario.incidents;
    let of = |wanted: fn(&IncidentKind) -> Option<f64>| {
        incidents
            .iter()
            .filter_map(|incident| Some((incident.from, incident.to, wanted(&incident.kind)?)))
            .collect::<Vec<_>>()
    };
    let slow = of(|kind| if let IncidentKind::Slow(factor) = kind { Some(*factor) } else { None });
    let [(from, to, factor)] = slow.as_slice() else { panic!("{incidents:?}") };
    assert!((from - 0.25).abs() < 0.05 && (to - 0.5).abs() < 0.05, "{slow:?}");
    near(*factor, 3.0, 0.1);
    let down = of(|kind| (*kind == IncidentKind::Down).then_some(1.0));
    let [(from, to, _)] = down.as_slice() else { panic!("{incidents:?}") };
    assert!((from - 4200.0 / 7200.0).abs() < 0.02 && (to - 4800.0 / 7200.0).abs() < 0.02, "{down:?}");
    let price = of(|kind| if let IncidentKind::Price(factor) = kind { Some(*factor) } else { None });
    let [(from, to, factor)] = price.as_slice() else { panic!("{incidents:?}") };
    assert!((from - 0.75).abs() < 0.02 && *to > 0.99, "{price:?}");
    near(*factor, 2.0, 1e-6);
}

#[test]
fn a_limit_shows_in_what_was_refused() {
    let refused = r#","failed":[{"route":"one/m","reason":"rate","message":""}]"#;
    let text = log().replace(r#","failed":[{"route":"one/m","reason":"timeout","message":""}]"#, refused);
    let records = records::read(&text, "log", &Load::default()).unwrap();
    let inferred = from_records(&routes(), &records, SLO);
    let limit = inferred.scenario.routes[0].limits.uncached_per_s.unwrap();
    assert!((2_000.0..6_000.0).contains(&limit), "{limit}");
}
