//! Arguments, the decision from a configuration's text, and a gateway's answers.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use clap::Parser;

use crate::config::environment::SecretFileError;
use crate::config::load::Source;
use crate::config::{Documents, Environment, compile};
use crate::pricing::Book;
use crate::units::Mono;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    explain: ExplainArgs,
}

fn args(words: &[&str]) -> ExplainArgs {
    Line::try_parse_from(["explain"].iter().chain(words)).unwrap().explain
}

/// An environment in which the named variables hold a key and nothing else exists.
struct Keys(&'static [&'static str]);

impl Environment for Keys {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.contains(&name).then(|| "sk-of-a-test".to_owned())
    }

    fn secret_file(&self, _path: &std::path::Path) -> Result<secrecy::SecretString, SecretFileError> {
        Err(SecretFileError::Empty)
    }
}

fn snapshot(keys: &'static [&'static str], policy: Option<&str>) -> Snapshot {
    let source = |text: &str| Source { name: "policies/p.yaml".into(), text: Ok(text.into()) };
    let documents = Documents { policies: policy.map(source).into_iter().collect(), ..Documents::default() };
    compile(&documents, &Keys(keys), Book::shipped()).unwrap()
}

const NOON: Now = Now { mono: Mono(0), wall: jiff::Timestamp::UNIX_EPOCH };

#[test]
fn the_shipped_prices_decide_without_any_file() {
    let snapshot = snapshot(&["DEEPSEEK_API_KEY", "TOGETHER_API_KEY"], None);
    let line = ["--model", "deepseek-v4-pro-0813", "--prompt-tokens", "1200", "--max-tokens", "210", "--at"];
    let routes = |at| {
        let args = args(&[&line[..], &[at]].concat());
        let explanation = explain(&args, &snapshot, NOON).unwrap();
        explanation.candidates.iter().map(|offer| offer.route.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        routes("2026-11-24T12:00:00Z"),
        ["deepseek/deepseek-v4-pro", "together/deepseek-ai/DeepSeek-V4-Pro-0813"]
    );
    // At its peak the two cost the same, and the name decides.
    assert_eq!(routes("2026-11-24T02:00:00Z").len(), 2);
}

#[test]
fn a_tag_picks_its_policy() {
    let policy = "policy: batch\nmatch: {tags: {tier: batch}}\nroutes: [together]\n";
    let snapshot = snapshot(&["DEEPSEEK_API_KEY", "TOGETHER_API_KEY"], Some(policy));
    let args = args(&["--model", "deepseek-v4-pro-0813", "--tag", "tier=batch"]);
    let explanation = explain(&args, &snapshot, NOON).unwrap();
    assert_eq!((explanation.policy.as_str(), explanation.candidates.len()), ("batch", 1));
    assert_eq!(explanation.excluded[0].code, "not_in_policy");
}

#[test]
fn what_is_not_known_is_named() {
    let snapshot = snapshot(&["DEEPSEEK_API_KEY"], None);
    let error = |words: &[&str]| explain(&args(words), &snapshot, NOON).unwrap_err().to_string();
    let typo = error(&["--model", "deepseek-v4-prq-0813"]);
    assert!(
        typo.starts_with("the model \"deepseek-v4-prq-0813\" is not known; did you mean deepseek-v4-pro"),
        "{typo}"
    );
    let unusable = error(&["--model", "kimi-k3"]);
    assert!(
        unusable.starts_with("nobody who offers kimi-k3 can be asked; set the API key of one of: "),
        "{unusable}"
    );
    let key = error(&["--model", "deepseek-v4-pro-0813", "--key", "nobody"]);
    assert_eq!(key, "there is no key named \"nobody\" in the configuration");
}

#[test]
fn wrong_words_are_refused() {
    for words in [
        &["--model", "m", "--tag", "tier"][..],
        &["--model", "m", "--endpoint", "images"],
        &["--model", "m", "--at", "yesterday"],
        &["--model", "m", "--url", "http://a", "--config", "f"],
        &[],
    ] {
        assert!(Line::try_parse_from(["explain"].iter().chain(words)).is_err(), "{words:?}");
    }
}

/// Answers one request with `answer`.
fn gateway(answer: Vec<u8>) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = vec![0; 4096];
        let length = stream.read(&mut asked).unwrap();
        stream.write_all(&answer).unwrap();
        String::from_utf8_lossy(&asked[..length]).into_owned()
    });
    (url, asked)
}

#[test]
fn a_running_gateways_explanation_comes_back_as_it_was() {
    let snapshot = snapshot(&["DEEPSEEK_API_KEY"], None);
    let args =
        args(&["--model", "deepseek-v4-pro-0813", "--max-tokens", "9", "--tag", "a=b c", "--key", "k"]);
    let explanation = explain(&ExplainArgs { key: None, ..args.clone() }, &snapshot, NOON).unwrap();
    let body = serde_json::to_string(&explanation).unwrap();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let (url, asked) = gateway(answer.into_bytes());
    assert_eq!(from_url(&args, &url).unwrap(), explanation);
    let line = asked.join().unwrap();
    let wanted = "GET /admin/v1/explain?model=deepseek-v4-pro-0813&prompt_tokens=1000&endpoint=chat&max_tokens=9&key=k&tag=a%3Db%20c HTTP/1.0";
    assert_eq!(line.lines().next(), Some(wanted));
}

#[test]
fn a_gateways_refusal_is_told_in_its_words() {
    let args = args(&["--model", "m"]);
    let refusal = br#"{"error": {"message": "The model \"m\" does not exist here."}}"#;
    let (url, _) = gateway([&b"HTTP/1.1 404 Not Found\r\n\r\n"[..], refusal].concat());
    let error = from_url(&args, &url).unwrap_err().to_string();
    assert_eq!(error, "the gateway answered 404: The model \"m\" does not exist here.");
    let (url, _) = gateway(b"HTTP/1.1 200 OK\r\n\r\n[]".to_vec());
    assert!(from_url(&args, &url).unwrap_err().to_string().contains("is it of another version?"));
}

#[test]
fn wishes_are_explained_as_a_request_would_have_them() {
    let snapshot = snapshot(&["DEEPSEEK_API_KEY", "TOGETHER_API_KEY"], None);
    let explained =
        |model: &str, wish: &str| explain(&args(&["--model", model, "--wish", wish]), &snapshot, NOON);
    let with = explained("deepseek-v4-pro-0813:nitro", r#"{"provider": {"ignore": ["DeepSeek"]}}"#).unwrap();
    assert_eq!((with.model.as_str(), with.objective.as_str()), ("deepseek-v4-pro-0813", "throughput"));
    assert_eq!(with.candidates[0].route, "together/deepseek-ai/DeepSeek-V4-Pro-0813");
    assert_eq!((with.excluded[0].code.as_str(), with.excluded.len()), ("not_wanted", 1));
    for (wish, told) in [
        ("x", "not a JSON object"),
        (r#"{"stop": "a"}"#, "does not steer"),
        (r#"{"provider": 1}"#, "'provider'"),
    ] {
        let error = explained("deepseek-v4-pro-0813", wish).unwrap_err().to_string();
        assert!(error.starts_with("--wish: ") && error.contains(told), "{error}");
    }
}
