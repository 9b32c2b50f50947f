//! The project's files as `tests/tidy.rs` reads them: which there are, their code without comments and texts, its paths.

use std::fs;
use std::path::{Path, PathBuf};

/// One of this project's Rust files.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    /// The same without comments, texts and tests.
    pub(crate) code: String,
    pub(crate) is_test: bool,
}

impl Source {
    pub(crate) fn all() -> Vec<Self> {
        let rust = files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
        rust.map(|file| {
            let (path, text) = (name_of(&file), fs::read_to_string(&file).expect("a program is text"));
            let is_test =
                path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
            let code = if is_test { String::new() } else { without_tests(&bare(&text)) };
            Self { path, text, code, is_test }
        })
        .collect()
    }
}

/// Rust without comments and without what stands in texts and characters; lines stay where they are.
fn bare(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let raw = rest.strip_prefix('r').map(|tail| tail.len() - tail.trim_start_matches('#').len());
        let raw = raw.filter(|hashes| {
            rest[1 + hashes..].starts_with('"') && !code.ends_with(|c: char| c.is_alphanumeric() || c == '_')
        });
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if let Some(hashes) = raw {
            let end = format!("\"{}", "#".repeat(hashes));
            rest[hashes + 2..].find(&end).map_or(rest.len(), |at| at + hashes + 2 + end.len())
        } else if first == '"' {
            1 + quoted(&rest[1..], '"')
        } else if first == '\'' && is_character(&rest[1..]) {
            1 + quoted(&rest[1..], '\'')
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.extend(rest[..length].chars().filter(|c| *c == '\n'));
        if first == '"' || first == '\'' || raw.is_some() {
            code.push_str("\"\"");
        }
        rest = &rest[length..];
    }
    code
}

/// How long a text is, its closing `quote` included.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A character, and not a lifetime.
fn is_character(after_quote: &str) -> bool {
    let mut chars = after_quote.chars();
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}

/// Bare code without its `#[cfg(test)] mod … { … }`.
fn without_tests(code: &str) -> String {
    let Some(at) = code.find("#[cfg(test)]\nmod ") else { return code.to_owned() };
    let mut depth = 0_usize;
    for (offset, c) in code[at..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => {
                return format!("{}{}", &code[..at], without_tests(&code[at + offset + 1..]));
            }
            '}' => depth -= 1,
            ';' if depth == 0 => {
                return format!("{}{}", &code[..at], without_tests(&code[at + offset + 1..]));
            }
            _ => {}
        }
    }
    code[..at].to_owned()
}

/// Every path in bare code that begins with `root::`, groups in braces spelled out.
pub(crate) fn paths_from(code: &str, root: &str) -> Vec<String> {
    let begin = format!("{root}::");
    let starts = code.match_indices(&begin).filter(|(at, _)| {
        let before = code[..*at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
    });
    starts.flat_map(|(at, _)| spelled_out(root, &code[at + root.len()..])).collect()
}

fn spelled_out(prefix: &str, rest: &str) -> Vec<String> {
    let Some(rest) = rest.strip_prefix("::") else { return vec![prefix.to_owned()] };
    if let Some(group) = rest.strip_prefix('{') {
        let mut items = vec![String::new()];
        let mut depth = 0_usize;
        for c in group.chars().filter(|c| !c.is_whitespace()) {
            match c {
                '}' if depth == 0 => break,
                ',' if depth == 0 => {
                    items.push(String::new());
                    continue;
                }
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            items.last_mut().expect("there is always one").push(c);
        }
        return items
            .iter()
            .filter(|item| !item.is_empty())
            .flat_map(|item| spelled_out(prefix, &format!("::{item}")))
            .collect();
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    if end == 0 {
        vec![prefix.to_owned()]
    } else {
        spelled_out(&format!("{prefix}::{}", &rest[..end]), &rest[end..])
    }
}

pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub(crate) fn name_of(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// Every file of the project: all that `.gitignore` does not name.
pub(crate) fn files() -> Vec<PathBuf> {
    let ignored = read(".gitignore");
    let is_ignored = |name: &str| {
        name == ".git"
            || ignored.lines().any(|line| {
                let pattern = line.trim_matches('/');
                match pattern.split_once('*') {
                    Some((begin, end)) => name.starts_with(begin) && name.ends_with(end) && !line.is_empty(),
                    None => name == pattern,
                }
            })
    };
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project can be listed") {
            let entry = entry.expect("an entry can be read");
            let kind = entry.file_type().expect("an entry has a kind");
            match () {
                () if is_ignored(&entry.file_name().to_string_lossy()) => {}
                () if kind.is_dir() => folders.push(entry.path()),
                () if kind.is_file() => found.push(entry.path()),
                () => {}
            }
        }
    }
    found.sort();
    found
}
