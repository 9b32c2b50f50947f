//! What people mistype, and the exact words in which they hear of it. A case is `cases/NAME.config.yaml` or
//! `cases/NAME.policy.yaml` with the text expected in `cases/NAME.txt`; `UPDATE=1` writes the texts anew.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use crate::world::{World, said};

fn world() -> World {
    World(vec![("OPENROUTER_API_KEY", "sk-or-0123456789"), ("LINES", "a\nlisten: 0.0.0.0:1"), ("EMPTY", "")])
}

#[test]
fn every_case_is_worded_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/cases");
    let bless = std::env::var_os("UPDATE").is_some();
    let mut cases = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let (stem, problems) = if let Some(stem) = name.strip_suffix(".config.yaml") {
            (stem, said(&text, &[], &world()))
        } else if let Some(stem) = name.strip_suffix(".policy.yaml") {
            (stem, said("", &[&text], &world()))
        } else {
            continue;
        };
        cases += 1;
        let seen = problems.to_string();
        let expected = folder.join(format!("{stem}.txt"));
        if bless {
            fs::write(&expected, &seen).unwrap();
        }
        assert!(!problems.is_empty(), "{name} has no fault");
        assert_eq!(seen, fs::read_to_string(&expected).unwrap_or_default(), "{name}");
        assert!(!seen.contains("SECRET"), "{name} shows a secret: {seen}");
        for problem in &problems {
            assert!(problem.to_string().len() < 1024, "{name}: {problem}");
        }
    }
    assert!(cases >= 12, "{cases} cases found");
}

/// Lines with one fault each, and the column at which it is said.
const FAULTY: [(&str, u32); 8] = [
    ("listn: 127.0.0.1:1", 1),
    ("listen: here", 9),
    ("auth: opn", 7),
    ("state_dir:", 1),
    ("limits: {drain: 5 parsecs}", 17),
    ("log: {format: yaml}", 15),
    ("holidays: [2026-13-01]", 12),
    ("providers: {together: {regoin: us}}", 24),
];

proptest! {
    /// However many faults there are, each is reported once, at its own place.
    #[test]
    fn all_faults_are_reported_at_once(chosen in proptest::sample::subsequence(FAULTY.to_vec(), 0..=FAULTY.len())) {
        let text: String = chosen.iter().map(|(line, _)| format!("{line}\n")).collect();
        let problems = said(&text, &[], &world());
        let mut seen: Vec<(u32, u32)> = Vec::new();
        for problem in &problems {
            let place = problem.place.as_ref().expect("a place");
            seen.push((place.line, place.column));
        }
        let expected: Vec<(u32, u32)> = chosen.iter().enumerate().map(|(at, (_, column))| (u32::try_from(at).unwrap() + 1, *column)).collect();
        prop_assert_eq!(seen, expected);
    }
}
