//! Torture for the scanner: what `serde_json` takes, and no more.

use super::run::ends_run;
use super::*;

fn whole(text: &[u8]) -> Result<Span, Fault> {
    check_utf8(text)?;
    let mut scanner = Scanner::new(text, 128);
    let span = scanner.value()?;
    scanner.finish()?;
    Ok(span)
}

#[test]
fn r06_takes_what_serde_json_takes_and_no_more() {
    let cases: &[&str] = &[
        "{}",
        "[]",
        "[1]",
        "[1,]",
        "[,1]",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{a:1}",
        "01",
        "-",
        "-0",
        "1.",
        ".5",
        "1e",
        "1E+2",
        "\"\\u12\"",
        "\"\\u12G4\"",
        "\"\\x\"",
        "\"\t\"",
        "tru",
        "true",
        "nullx",
        "[1 2]",
        "{\"a\":{\"b\":[{}, []]}}",
        "[[]",
        "]",
        "{\"a\":1}{",
        "\u{feff}{}",
        "\"\\ud800\\udc00\"",
        "+1",
        "NaN",
        "1e5",
        " [ 1 , 2 ] ",
        "{\"a\":[1,{\"b\":null}],\"c\":\"\"}",
        "{\"a\"}",
        "{,}",
        "[\"a\",]",
        "\"",
        "\"\\\"",
        "",
        " ",
        "{\"a\":}",
        "[-]",
        "[1e+]",
        "--1",
        "[0x1]",
    ];
    for case in cases {
        let ours = whole(case.as_bytes()).is_ok();
        let theirs = serde_json::from_str::<serde_json::Value>(case).is_ok();
        assert_eq!(ours, theirs, "{case}");
    }
}

#[test]
fn r06_depth_is_bounded_without_recursion() {
    let deep = |levels: usize| [vec![b'['; levels], vec![b']'; levels]].concat();
    assert!(whole(&deep(128)).is_ok());
    assert_eq!(whole(&deep(129)), Err(Fault::TooDeep { max: 128 }));
    assert_eq!(whole(&vec![b'['; 100_000]), Err(Fault::TooDeep { max: 128 }));
}

#[test]
fn every_truncation_is_refused() {
    let text = br#"{"a":[1,2.5e-3,{"b":"x\u00e9\n"}],"c":null,"d":true}"#;
    for end in 0..text.len() {
        assert!(whole(&text[..end]).is_err(), "{end}");
    }
    assert!(whole(text).is_ok());
}

#[test]
fn escapes_are_undone() {
    let text = br#""mod\u0065l \ud83d\ude00 \ud800 \n""#;
    assert_eq!(text_of(text, &(0..text.len())), "model \u{1f600} \u{fffd} \n");
    assert!(says(br#""mod\u0065l""#, &(0..12), "model"));
}

proptest::proptest! {
    #[test]
    fn agrees_with_serde_json_on_any_bytes(text in "[\\[\\]{}:,\"\\\\0-9eE+.\\-truefalsn ]{0,40}") {
        let ours = whole(text.as_bytes()).is_ok();
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        // serde_json refuses numbers beyond f64; their grammar is fine all the same.
        let out_of_range = theirs.as_ref().is_err_and(|e| e.to_string().contains("out of range"));
        let lone = theirs.as_ref().is_err_and(|e| e.to_string().contains("surrogate"));
        proptest::prop_assert!(out_of_range || lone || ours == theirs.is_ok(), "{}", text);
    }
}

proptest::proptest! {
    #[test]
    fn a_plain_run_ends_where_it_ends_byte_by_byte(
        bytes in proptest::collection::vec(proptest::prop_oneof![9 => 0x20..=0xff_u8, 1 => proptest::prelude::any::<u8>()], 0..120),
        from in 0..8_usize,
    ) {
        let from = from.min(bytes.len());
        let end = bytes[from..].iter().position(|&byte| ends_run(byte)).map_or(bytes.len(), |run| from + run);
        proptest::prop_assert_eq!(plain_run_end(&bytes, from), end);
    }
}
