//! The matrix as a page: cases that went alike in every dialect share a row.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use tollway_test_support::Kind;

use super::{Case, Seen, Setting};

const BEGIN: &str = "<!-- matrix: written by UPDATE=1 cargo test --test gateway faults -->";
const END: &str = "<!-- end -->";

fn table(cases: &[Case], seen: &BTreeMap<usize, Seen>, streamed: bool, setting: Setting) -> String {
    let mut page =
        "| fault | what the caller sees | asked | cost charged | after |\n| --- | --- | --- | --- | --- |\n"
            .to_owned();
    let chosen = || cases.iter().filter(|case| case.streamed == streamed && case.setting == setting);
    for fault in super::FAULTS {
        let mut alike: BTreeMap<&Seen, Vec<Kind>> = BTreeMap::new();
        for case in chosen().filter(|case| case.fault == fault) {
            alike.entry(&seen[&case.number]).or_default().push(case.kind);
        }
        for (seen, kinds) in &alike {
            let whose = if alike.len() == 1 { String::new() } else { format!(" ({})", whose(kinds)) };
            let Seen { told, asked, cost, took } = seen;
            writeln!(page, "| {}{whose} | {told} | {asked} | {cost} | {took} |", fault.name()).unwrap();
        }
    }
    page
}

/// The dialects of a row, or those that it leaves out where that is shorter.
fn whose(kinds: &[Kind]) -> String {
    let names = |kinds: &mut dyn Iterator<Item = Kind>| kinds.map(Kind::name).collect::<Vec<_>>().join(", ");
    let mut others = Kind::ALL.into_iter().filter(|kind| !kinds.contains(kind));
    if kinds.len() * 2 > Kind::ALL.len() {
        format!("all but {}", names(&mut others))
    } else {
        names(&mut kinds.iter().copied())
    }
}

/// The page holds what was seen; with `UPDATE=1` it becomes so.
pub(super) fn same_or_bless(cases: &[Case], seen: &BTreeMap<usize, Seen>) {
    let mut wanted = String::new();
    for (title, streamed, setting) in [
        ("Streams, with another route", true, Setting::Next),
        ("Streams under `midstream: resume`: what comes after the first token", true, Setting::Resume),
        ("Streams, with nobody else", true, Setting::Alone),
        ("Whole answers, with another route", false, Setting::Next),
        ("Whole answers, with nobody else", false, Setting::Alone),
    ] {
        write!(wanted, "\n## {title}\n\n{}", table(cases, seen, streamed, setting)).unwrap();
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/faults.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    let start = page.find(BEGIN).expect("the page has the mark") + BEGIN.len();
    let end = start + page[start..].find(END).expect("the page has the end mark");
    if page[start..end].trim() == wanted.trim() {
        return;
    }
    if std::env::var_os("UPDATE").is_some() {
        let new = format!("{}\n{wanted}\n{}", &page[..start], &page[end..]);
        std::fs::write(path, new).expect("the page can be written");
        return;
    }
    let differ = |old: &str, new: &str| {
        let old: Vec<&str> = old.lines().collect();
        new.lines().filter(|line| !old.contains(line)).fold(String::new(), |text, line| text + line + "\n")
    };
    panic!(
        "docs/faults.md is not what was seen: UPDATE=1 cargo test --test gateway faults writes it anew. New:\n{}Old:\n{}",
        differ(&page[start..end], &wanted),
        differ(&wanted, &page[start..end])
    );
}
