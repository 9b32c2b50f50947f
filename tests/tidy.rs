//! What no compiler checks of this project's own text: who may use whom, what pure code leaves alone, how files begin,
//! which promises have a test, and whether the tables in `docs/` say what the code says.
//!
//! `UPDATE=1 cargo test --test tidy` rewrites the tables that are made from the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

#[cfg(test)]
#[path = "tidy/pages.rs"]
mod pages;
#[cfg(test)]
#[path = "tidy/source.rs"]
mod source;

use pages::{between, literals, numbered_tests, same_or_bless};
use source::{Source, files, name_of, paths_from, read, words};

/// Who may use whom: read downwards only, a row names none above itself.
///
/// What a row allows beyond the bare flow of a request, and why:
/// - `cli` puts everything together; nothing else may start anything.
/// - `admin` shows the running gateway, so it uses `gateway`, whose decision it repeats for `explain`; it answers with the
///   gateway's own bodies (`relay`) and errors (`api`), and asks a provider's kind whether it is this machine.
/// - `relay` prices with the card that the decision rested on (`pricing`).
/// - `keys` knows budgets, rates and globs as types, so that a key's limits are made once, when it is loaded; `store` keeps keys.
/// - `config` holds `json_depth_max` to what the scanner can do (`api`).
/// - `api` and `providers` speak routing's words for what a call needs and a provider can (`Needs`, `Endpoint`,
///   `Capabilities`, `Retention`): types without behaviour, so that no list is kept twice.
const MAY_USE: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "admin",
            "replay",
            "gateway",
            "relay",
            "upstream",
            "config",
            "ledger",
            "providers",
            "api",
            "routing",
            "pricing",
            "budget",
            "treasury",
            "store",
            "keys",
            "telemetry",
            "units",
        ],
    ),
    (
        "admin",
        &[
            "gateway",
            "relay",
            "upstream",
            "config",
            "ledger",
            "providers",
            "api",
            "routing",
            "pricing",
            "budget",
            "treasury",
            "store",
            "keys",
            "telemetry",
            "units",
        ],
    ),
    (
        "gateway",
        &[
            "relay",
            "upstream",
            "config",
            "ledger",
            "providers",
            "api",
            "routing",
            "pricing",
            "budget",
            "treasury",
            "store",
            "keys",
            "telemetry",
            "units",
        ],
    ),
    ("replay", &["config", "routing", "pricing", "units"]),
    ("relay", &["upstream", "treasury", "ledger", "providers", "api", "pricing", "telemetry", "units"]),
    ("upstream", &["providers", "api", "routing", "pricing", "telemetry", "units"]),
    ("config", &["providers", "api", "routing", "pricing", "budget", "units"]),
    ("treasury", &["store", "ledger", "budget", "telemetry", "units"]),
    ("store", &["ledger", "keys", "budget", "units"]),
    ("ledger", &["pricing", "budget", "units"]),
    ("providers", &["api", "routing", "units"]),
    ("api", &["routing", "units"]),
    ("keys", &["budget", "routing", "units"]),
    ("routing", &["pricing", "units"]),
    ("pricing", &["units"]),
    ("budget", &["units"]),
    ("telemetry", &["units"]),
    ("units", &[]),
];

/// Modules that may name the `local-engine` crate: the rest knows it as one more provider behind a socket.
/// `config` asks it one thing: whether this build has the engine at all.
const MAY_USE_LOCAL_ENGINE: &[&str] = &["cli", "config"];

/// Files and folders without socket, file, task, lock, clock or random number: what they need arrives as an argument.
const PURE: &[&str] = &[
    "src/routing/",
    "src/pricing/",
    "src/api/sse.rs",
    "src/api/scan/",
    "src/api/splice.rs",
    "src/config/compile/",
    "src/units/ids.rs",
    "src/units/money.rs",
    "src/units/tokens.rs",
    "src/api/prefix.rs",
    "src/api/tokens.rs",
    "src/api/body/",
    "src/api/chat/",
    "src/api/responses/",
    "src/upstream/sizes.rs",
    "src/relay/meter.rs",
    "src/ledger/settle.rs",
    "src/ledger/record.rs",
    "src/ledger/ceiling.rs",
    "src/budget/",
    "src/keys/",
];

/// What pure code does not name.
const IMPURE_WORDS: &[&str] = &[
    "tokio",
    "hyper",
    "Mutex",
    "RwLock",
    "Condvar",
    "AtomicU64",
    "Instant",
    "SystemTime",
    "SystemClock",
    "RandomState",
    "rand",
    "async",
];
const IMPURE_PATHS: &[&str] = &["std::fs", "std::env", "std::process", "std::thread", "std::io", "std::net"];
/// Addresses are data.
const PURE_PATHS: &[&str] = &[
    "std::net::IpAddr",
    "std::net::Ipv4Addr",
    "std::net::Ipv6Addr",
    "std::net::SocketAddr",
    "std::process::ExitCode",
];

/// Longest file, in lines.
const LINES_MAX: usize = 450;
/// Files that are longer, and why that is one idea.
const LONGER: &[(&str, &str)] = &[("tests/conservation.rs", "a simulated world, read as one")];

/// Promises of docs/reliability.md that this version makes: each has a test that bears its number.
const PROMISED: &[u8] = &[
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 17, 18, 19, 20, 22, 24, 25, 27, 28, 29, 31, 32, 33, 34,
    35, 38, 39, 45, 46, 47, 48, 49, 51, 52, 53, 54, 55, 57,
];

#[test]
fn modules_use_only_what_is_below_them() {
    for (place, (module, uses)) in MAY_USE.iter().enumerate() {
        for used in *uses {
            let below =
                MAY_USE.iter().position(|(name, _)| name == used).expect("the table names only its own rows");
            assert!(below > place, "the table itself: {module} stands below {used}");
        }
    }
    let mut wrong = Vec::new();
    for source in Source::all().iter().filter(|source| source.path.starts_with("src/")) {
        let Some((module, rest)) = source.path["src/".len()..].split_once('/') else { continue };
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("src/{module} has no row in the table"));
            continue;
        };
        for path in paths_from(&source.code, "crate") {
            let used = path.split("::").nth(1).unwrap_or_default();
            if used != module && !allowed.contains(&used) {
                wrong.push(format!("{} uses {path}, which `{module}` may not", source.path));
            }
        }
        let depth = rest.split('/').count() + 1 - usize::from(rest.ends_with("mod.rs"));
        if source.code.contains(&"super::".repeat(depth)) {
            wrong.push(format!("{} climbs to the crate's root by `super`: write `crate::`", source.path));
        }
        if words(&source.code).any(|word| word == "local_engine") && !MAY_USE_LOCAL_ENGINE.contains(&module) {
            // A field of that name is the configuration's, not the crate.
            for path in paths_from(&source.code, "local_engine") {
                wrong.push(format!("{} uses {path}", source.path));
            }
        }
    }
    let engine = read("local-engine/Cargo.toml");
    assert!(
        !engine.lines().any(|line| line.starts_with("tollway")),
        "local-engine depends on nothing of ours"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_code_names_nothing_impure() {
    let sources = Source::all();
    let mut wrong = Vec::new();
    for pure in PURE {
        let files: Vec<&Source> = sources.iter().filter(|source| source.path.starts_with(pure)).collect();
        assert!(!files.is_empty(), "{pure} is gone: the list of pure code must follow");
        for source in files {
            for word in
                words(&source.code).filter(|word| IMPURE_WORDS.contains(word)).collect::<BTreeSet<_>>()
            {
                wrong.push(format!("{} names `{word}`", source.path));
            }
            for path in paths_from(&source.code, "std") {
                if IMPURE_PATHS.iter().any(|impure| path.starts_with(impure))
                    && !PURE_PATHS.iter().any(|pure| path.starts_with(pure))
                {
                    wrong.push(format!("{} names `{path}`", source.path));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn r30_no_money_is_a_float() {
    const MONEY: &[&str] = &[
        "src/pricing/",
        "src/ledger/",
        "src/units/money.rs",
        "src/units/tokens.rs",
        "src/routing/cost.rs",
        "src/telemetry/money.rs",
    ];
    let mut wrong = Vec::new();
    for source in
        Source::all().iter().filter(|source| MONEY.iter().any(|money| source.path.starts_with(money)))
    {
        for word in words(&source.code).filter(|word| ["f32", "f64"].contains(word)) {
            wrong.push(format!("{} names `{word}`", source.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_say_what_they_are_for_and_stay_short() {
    let mut wrong = Vec::new();
    for source in Source::all() {
        if !source.text.starts_with("//! ") {
            wrong.push(format!("{}: the first line must be `//! ` and what the file is for", source.path));
        }
        let lines = source.text.lines().count();
        let longer = LONGER.iter().any(|(path, _)| *path == source.path);
        if lines > LINES_MAX && !longer {
            wrong.push(format!(
                "{}: {lines} lines; {LINES_MAX} at most, or an entry with a reason in tests/tidy.rs",
                source.path
            ));
        }
        if lines <= LINES_MAX && longer {
            wrong.push(format!("{}: {lines} lines, so that its entry in tests/tidy.rs can go", source.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn r17_nothing_unfinished_and_no_unwrap_outside_tests() {
    let mut wrong = Vec::new();
    for source in Source::all().iter().filter(|source| !source.is_test) {
        for (number, line) in source.code.lines().enumerate() {
            for word in ["todo!", "unimplemented!", "dbg!", ".unwrap()", ".unwrap_err()"] {
                if line.contains(word) {
                    wrong.push(format!("{}:{}: {word}", source.path, number + 1));
                }
            }
        }
        for (number, line) in source.text.lines().enumerate() {
            // In two parts, so that this line is not one.
            if ["TO", "FIX"]
                .iter()
                .zip(["DO", "ME"])
                .any(|(a, b)| words(line).any(|word| word.strip_prefix(a) == Some(b)))
            {
                wrong.push(format!("{}:{}: a note of work left", source.path, number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_names_one_machine_or_a_package_mirror() {
    const FOLDERS: &[&str] =
        &[concat!("/", "work"), concat!("/", "root"), concat!("/", "home"), concat!("/tmp/", "bash_jobs")];
    // Where packages come from is for each machine's own set-up to say.
    const HOSTS: &[&str] = &[
        concat!("index.", "crates.io"),
        concat!("static.", "crates.io"),
        concat!("pypi.", "org/simple"),
        concat!("files.", "pythonhosted.org"),
        concat!("registry.", "npmjs.org"),
        concat!("arti", "factory"),
    ];
    let mut wrong = Vec::new();
    for path in files() {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let name = name_of(&path);
        for (number, line) in text.lines().enumerate() {
            for folder in FOLDERS.iter().filter(|folder| names_folder(line, folder)) {
                wrong.push(format!("{name}:{}: {folder}", number + 1));
            }
            for host in HOSTS.iter().filter(|host| line.contains(**host)) {
                wrong.push(format!("{name}:{}: {host}", number + 1));
            }
            let source = line.strip_prefix("source = ").filter(|_| name.ends_with("Cargo.lock"));
            if source
                .is_some_and(|source| source != "\"registry+https://github.com/rust-lang/crates.io-index\"")
            {
                wrong.push(format!("{name}:{}: {line}", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether `line` has `folder` as the beginning of an absolute path.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + folder.len()..].chars().next();
        before.is_none_or(|c| !c.is_alphanumeric() && !"._-/~*)}".contains(c))
            && after.is_none_or(|c| !c.is_alphanumeric() && !"-_.".contains(c))
    })
}

#[test]
fn every_promise_has_a_test_that_bears_its_number() {
    let tests = numbered_tests();
    let missing: Vec<String> = PROMISED
        .iter()
        .filter(|number| !tests.contains_key(number))
        .map(|number| format!("R{number}"))
        .collect();
    assert!(missing.is_empty(), "no test named after {}", missing.join(", "));
}

#[test]
fn the_page_on_reliability_names_every_numbered_test() {
    let mut table = String::from("\n| promise | tests |\n| --- | --- |\n");
    for (number, tests) in numbered_tests() {
        let mut by_file: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (file, test) in tests {
            by_file.entry(file).or_default().push(format!("`{test}`"));
        }
        let cells: Vec<String> =
            by_file.iter().map(|(file, tests)| format!("{file}: {}", tests.join(", "))).collect();
        table = format!("{table}| R{number} | {} |\n", cells.join("<br>"));
    }
    same_or_bless("docs/reliability.md", "numbered tests", &table);
}

#[test]
fn the_page_on_policies_teaches_by_tested_examples() {
    same_or_bless("docs/policies.md", "examples", &pages::examples());
}

#[test]
fn the_catalogue_of_errors_has_every_code() {
    let failure = read("src/gateway/failure.rs");
    let mut codes =
        literals(between(&failure, "    fn shape(&self)", "/// Names each route"), |before, after| {
            after.starts_with(')') && before.ends_with(", ")
        });
    let refused = between(&read("src/gateway/refused.rs"), "fn shape(", "\n}\n").to_owned();
    codes.extend(literals(&refused, |before, after| after.starts_with(')') && before.ends_with(", ")));
    let refusal = read("src/gateway/framing/refusal.rs");
    codes
        .extend(literals(between(&refusal, "pub fn code(self)", "/// What is wrong within"), |before, _| {
            before.ends_with("=> ")
        }));
    let body = read("src/api/body/error.rs");
    codes.extend(literals(between(&body, "pub const fn code(&self)", "\n}\n"), |before, _| {
        before.ends_with("=> ")
    }));
    for page in [
        "src/relay/body.rs",
        "src/admin/mod.rs",
        "src/admin/decisions.rs",
        "src/admin/explain.rs",
        "src/admin/keys.rs",
    ] {
        codes.extend(literals(&read(page), |before, after| {
            // An argument of `error(…)`, in the call's line or in one of its own.
            let of_error = before.contains("error(StatusCode::") && before.ends_with(", ");
            let alone = page.starts_with("src/admin/") && before.trim().is_empty();
            (before.ends_with("Some(") && after.starts_with("), id"))
                || ((of_error || alone) && after.starts_with(','))
        }));
    }
    for (page, before_it) in [("refusal", "code: "), ("request", "code: "), ("writer", "break_off(")] {
        let page = read(&format!("src/api/responses/{page}.rs"));
        codes.extend(literals(&page, |before, _| before.ends_with(before_it)));
    }
    assert!(codes.len() > 40, "too few codes found: {codes:?}");
    let page = read("docs/errors.md");
    let documented: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(code, _)| code.to_owned())
        .collect();
    let missing: Vec<&String> = codes.difference(&documented).collect();
    let gone: Vec<&String> = documented.difference(&codes).collect();
    assert!(missing.is_empty() && gone.is_empty(), "docs/errors.md lacks {missing:?} and still has {gone:?}");
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut wrong = Vec::new();
    for path in files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let text = fs::read_to_string(&path).expect("a page is text");
        for target in
            text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
        {
            let file = target.split('#').next().unwrap_or_default();
            let is_page = !target.contains("://") && !file.is_empty();
            if is_page && !path.parent().is_some_and(|folder| folder.join(file).exists()) {
                wrong.push(format!("{} links to {target}", name_of(&path)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
