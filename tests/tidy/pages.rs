//! The pages in `docs/` as `tests/tidy.rs` compares them with the code: tests by number, codes, tables written anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::source::{files, name_of, read, root, words};

/// Tests with a promise's number in their name, by number: the file and the test.
pub(crate) fn numbered_tests() -> BTreeMap<u8, BTreeSet<(String, String)>> {
    let mut tests: BTreeMap<u8, BTreeSet<(String, String)>> = BTreeMap::new();
    for path in files() {
        let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        if !["rs", "py", "mjs", "js", "ts"].contains(&end) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a program is text");
        for line in text.lines().map(str::trim_start) {
            let line =
                ["pub ", "async "].iter().fold(line, |line, word| line.strip_prefix(word).unwrap_or(line));
            let Some(rest) =
                ["fn ", "def ", "test(\"", "test('"].iter().find_map(|begin| line.strip_prefix(begin))
            else {
                continue;
            };
            let name = words(rest).next().unwrap_or_default();
            let numbers = name
                .split('_')
                .filter_map(|part| part.strip_prefix('r').filter(|n| n.len() == 2)?.parse::<u8>().ok());
            for number in numbers {
                tests.entry(number).or_default().insert((name_of(&path), name.to_owned()));
            }
        }
    }
    tests
}

/// Texts in `code` that look like a code and stand where `fits` says, given what is before and after them.
pub(crate) fn literals(code: &str, fits: impl Fn(&str, &str) -> bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in code.lines() {
        for (at, _) in line.match_indices('"') {
            let Some((text, after)) = line[at + 1..].split_once('"') else { continue };
            let is_code = text.len() > 2 && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            if is_code && fits(&line[..at], after) {
                found.insert(text.to_owned());
            }
        }
    }
    found
}

pub(crate) fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start =
        text.find(from).unwrap_or_else(|| panic!("{from:?} is gone: this test reads the code's text"));
    let length =
        text[start..].find(to).unwrap_or_else(|| panic!("{to:?} is gone: this test reads the code's text"));
    &text[start..start + length]
}

/// The part of a page between `<!-- NAME: … -->` and `<!-- end -->` is `wanted`; with `UPDATE=1` it becomes so.
pub(crate) fn same_or_bless(page: &str, name: &str, wanted: &str) {
    let text = read(page);
    let mark = format!("<!-- {name}: ");
    let start = text
        .find(&mark)
        .and_then(|at| Some(at + text[at..].find("-->")? + 3))
        .expect("the page has the mark");
    let end = start + text[start..].find("<!-- end -->").expect("the page has the end mark");
    if text[start..end].trim() == wanted.trim() {
        return;
    }
    if std::env::var_os("UPDATE").is_some() {
        let new = format!("{}\n{wanted}\n{}", &text[..start], &text[end..]);
        fs::write(root().join(page), new).expect("the page can be written");
        return;
    }
    panic!("{page} is not what the code says: UPDATE=1 cargo test --test tidy writes it anew");
}

/// The examples of the page on policies: each as its test decides it.
pub(crate) fn examples() -> String {
    let folder = root().join("tests/routing/examples");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("the examples")
        .map(|entry| entry.expect("an example").path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    paths.sort();
    let mut page = String::new();
    for (at, path) in paths.iter().enumerate() {
        let text = fs::read_to_string(path).expect("an example is text");
        let title =
            text.lines().find_map(|line| line.strip_prefix("title: ")).expect("an example has a title");
        let [about, policies, decision] =
            ["about: >-\n", "policies: |\n", "expect: |\n"].map(|key| indented(&text, key));
        page = format!(
            "{page}\n### {}. {title}\n\n{about}\n```yaml\n{policies}```\n\n```\n{decision}```\n",
            at + 1
        );
    }
    page
}

/// The lines under `key`, without their indentation.
fn indented(text: &str, key: &str) -> String {
    let (_, rest) = text.split_once(key).unwrap_or_else(|| panic!("{key:?} is missing in {text}"));
    let lines = rest.lines().take_while(|line| line.is_empty() || line.starts_with("  "));
    lines.fold(String::new(), |text, line| text + line.strip_prefix("  ").unwrap_or(line) + "\n")
}
