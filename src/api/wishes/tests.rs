//! Every field, well and badly written.

use bytes::Bytes;

use super::*;
use crate::api::body::Call;
use crate::routing::Endpoint;

fn parse(more: &str) -> Result<Call, Error> {
    let body = format!(r#"{{"model":"m","messages":[{{}}],{more}}}"#);
    Call::parse(Endpoint::Chat, Bytes::from(body), 128)
}

fn wishes(more: &str) -> Wishes {
    *parse(more).unwrap().wishes.unwrap()
}

#[test]
fn every_field_is_read() {
    let read = wishes(
        r#""models":["a","b"],"session_id":"s","prompt_cache_key":"k","usage":{"include":true},"provider":{"order":["X"],
        "only":["y"],"ignore":["z"],"allow_fallbacks":false,"require_parameters":true,"data_collection":"deny",
        "zdr":true,"quantizations":["FP8"],"sort":{"by":"latency","partition":"none"},"max_price":{"prompt":1e-1,
        "completion":"2.5","request":0.001,"image":1},"preferred_min_throughput":{"p90":50},"preferred_max_latency":2,
        "enforce_distillable_text":true,"only_in_the_future":null}"#,
    );
    let names = |list: &[Box<str>]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    assert_eq!(names(&read.models), "a,b");
    assert_eq!([names(&read.order), names(&read.only), names(&read.ignore)], ["X", "y", "z"]);
    assert!(read.no_fallbacks && read.require_parameters && read.across_models && read.include_usage);
    assert_eq!(read.retention_max, Some(Retention::None), "zdr is stricter than deny");
    assert_eq!((names(&read.quantizations), read.sort), ("fp8".into(), Some(Sort::Latency)));
    assert_eq!(read.prompt_price_max, Some(TokenPrice(100_000)));
    assert_eq!(read.completion_price_max, Some(TokenPrice(2_500_000)));
    assert_eq!(read.fee_max, Some(NanoUsd(1_000_000)));
    assert_eq!(read.throughput_min.as_slice(), [Quantile { share: 0.9, value: 50.0 }]);
    assert_eq!(read.latency_max.as_slice(), [Quantile { share: 0.5, value: 2.0 }]);
    assert_eq!(names(&read.unknown), "enforce_distillable_text");
    assert_eq!(read.session.as_deref(), Some("s"), "session_id wins, wherever it stands");
    assert_eq!(wishes(r#""prompt_cache_key":"k","session_id":"s""#).session.as_deref(), Some("s"));
    assert_eq!(wishes(r#""prompt_cache_key":"k""#).session.as_deref(), Some("k"));
}

#[test]
fn null_and_the_defaults_ask_for_nothing() {
    let nothing = wishes(
        r#""models":null,"session_id":null,"usage":null,"provider":{"order":null,"allow_fallbacks":null,"sort":null,
        "max_price":null,"zdr":false,"data_collection":"allow","preferred_max_latency":null,"max_price":{}}"#
            .replace(r#""max_price":null,"#, "")
            .as_str(),
    );
    assert_eq!(nothing, Wishes::default());
    assert!(parse(r#""stop":["x"]"#).unwrap().wishes.is_none());
    assert!(parse(r#""provider":{"allow_fallbacks":true}"#).unwrap().wishes.is_some());
}

#[test]
fn a_finer_ceiling_is_never_rounded_up() {
    let read = wishes(r#""provider":{"max_price":{"prompt":0.1000009,"completion":99999999999999999999}}"#);
    assert_eq!(read.prompt_price_max, Some(TokenPrice(100_000)));
    assert_eq!(read.completion_price_max, Some(TokenPrice(u64::MAX)));
}

#[test]
fn what_is_wrong_is_named() {
    for (more, param, code) in [
        (r#""models":"a""#, "models", "invalid_type"),
        (r#""models":[1]"#, "models", "invalid_type"),
        (r#""models":[""]"#, "models", "invalid_value"),
        (r#""models":["a\u0007"]"#, "models", "invalid_value"),
        (r#""usage":true"#, "usage", "invalid_type"),
        (r#""usage":{"include":1}"#, "usage.include", "invalid_type"),
        (r#""session_id":"""#, "session_id", "invalid_value"),
        (r#""session_id":1"#, "session_id", "invalid_type"),
        (r#""provider":"deepseek""#, "provider", "invalid_type"),
        (r#""provider":{"order":"a"}"#, "provider.order", "invalid_type"),
        (r#""provider":{"only":[1]}"#, "provider.only", "invalid_type"),
        (r#""provider":{"ignore":{}}"#, "provider.ignore", "invalid_type"),
        (r#""provider":{"allow_fallbacks":"no"}"#, "provider.allow_fallbacks", "invalid_type"),
        (r#""provider":{"require_parameters":1}"#, "provider.require_parameters", "invalid_type"),
        (r#""provider":{"data_collection":"never"}"#, "provider.data_collection", "invalid_value"),
        (r#""provider":{"zdr":"yes"}"#, "provider.zdr", "invalid_type"),
        (r#""provider":{"quantizations":"fp8"}"#, "provider.quantizations", "invalid_type"),
        (r#""provider":{"sort":"cheap"}"#, "provider.sort", "invalid_value"),
        (r#""provider":{"sort":{"by":"x"}}"#, "provider.sort.by", "invalid_value"),
        (r#""provider":{"sort":{"partition":"x"}}"#, "provider.sort.partition", "invalid_value"),
        (r#""provider":{"max_price":1}"#, "provider.max_price", "invalid_type"),
        (r#""provider":{"max_price":{"input":1}}"#, "provider.max_price", "invalid_value"),
        (r#""provider":{"max_price":{"prompt":-1}}"#, "provider.max_price.prompt", "invalid_value"),
        (r#""provider":{"max_price":{"prompt":"x"}}"#, "provider.max_price.prompt", "invalid_value"),
        (r#""provider":{"max_price":{"completion":[]}}"#, "provider.max_price.completion", "invalid_type"),
        (r#""provider":{"max_price":{"request":"-1"}}"#, "provider.max_price.request", "invalid_value"),
        (r#""provider":{"max_price":{"image":true}}"#, "provider.max_price.image", "invalid_type"),
        (
            r#""provider":{"preferred_min_throughput":0}"#,
            "provider.preferred_min_throughput",
            "invalid_value",
        ),
        (
            r#""provider":{"preferred_max_latency":{"p42":1}}"#,
            "provider.preferred_max_latency",
            "invalid_value",
        ),
        (r#""provider":{"preferred_max_latency":"1"}"#, "provider.preferred_max_latency", "invalid_type"),
    ] {
        let error = parse(more).unwrap_err();
        assert_eq!((error.param(), error.code()), (Some(param), code), "{more}: {error}");
    }
    let many: Vec<String> = (0..=MODELS_MAX).map(|at| format!("\"m{at}\"")).collect();
    assert_eq!(parse(&format!(r#""models":[{}]"#, many.join(","))).unwrap_err().param(), Some("models"));
    let twice = r#""provider":{"only":["a"],"on\u006cy":["b"]}"#;
    assert!(parse(twice).unwrap_err().to_string().contains("twice"));
}

#[test]
fn without_a_model_the_first_of_the_list_is_asked_for() {
    let call = |body: &'static str| Call::parse(Endpoint::Chat, Bytes::from_static(body.as_bytes()), 128);
    assert_eq!(&*call(r#"{"models":["a","b"],"messages":[{}]}"#).unwrap().model, "a");
    let error = call(r#"{"models":[],"messages":[{}]}"#).unwrap_err();
    assert_eq!(error.param(), Some("model"));
}

#[test]
fn a_suffix_is_a_sort() {
    assert_eq!(without_suffix("a/b:floor"), Some(("a/b", Sort::Price)));
    assert_eq!(without_suffix("b:nitro"), Some(("b", Sort::Throughput)));
    for other in ["b", "b:free", ":nitro", "b:nitro:x", "floor"] {
        assert_eq!(without_suffix(other), None, "{other}");
    }
}
